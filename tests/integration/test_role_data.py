"""What roles work out from their variables, and the script that one of them leaves, without a host."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml

from lab import software

pytestmark = pytest.mark.integration

ROOT = pathlib.Path(__file__).resolve().parents[2]
CERTBOT = {"certificates_method": "certbot", "certificates_certbot_email": "a@example.com"}


EvaluateEach = t.Callable[..., list[dict[str, t.Any]]]


@pytest.fixture
def evaluate_each(tmp_path: pathlib.Path) -> EvaluateEach:
    """Say what expressions of a role come to in several cases, which share one run; keywords are for all of them."""

    def call(
        role: str, expressions: dict[str, str], cases: t.Sequence[dict[str, t.Any]], **variables: t.Any
    ) -> list[dict[str, t.Any]]:
        files = [ROOT / f"roles/{name}/{kind}/main.yml" for name in ("matrixon", role) for kind in ("defaults", "vars")]
        answers, play = [tmp_path / f"answer{number}.json" for number in range(len(cases))], tmp_path / "play.yml"
        tasks = [
            {
                "ansible.builtin.copy": {
                    "dest": str(answer),
                    "content": "{{ expressions | to_json }}",
                    "mode": "0600",
                },
                "vars": {**case, "expressions": expressions},
            }
            for answer, case in zip(answers, cases, strict=True)
        ]
        play.write_text(
            json.dumps(
                [
                    {
                        "hosts": "localhost",
                        "connection": "local",
                        "gather_facts": False,
                        "vars_files": [str(file) for file in files],
                        "tasks": tasks,
                    }
                ]
            )
        )
        given = {"matrixon_server_name": "example.com", "role_path": str(ROOT / "roles" / role), **variables}
        # As the role itself would find its templates.
        (tmp_path / "templates").symlink_to(ROOT / "roles" / role / "templates")
        command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), str(play), "-i", "localhost,"]
        command += ["-e", json.dumps({"ansible_python_interpreter": sys.executable, **given})]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (tmp_path / "templates").unlink()
        found = [json.loads(answer.read_text()) for answer in answers]
        # So that no later run can be answered by an earlier one.
        for answer in answers:
            answer.unlink()
        return found

    return call


@pytest.fixture
def evaluate(evaluate_each: EvaluateEach) -> t.Callable[..., dict[str, t.Any]]:
    """Say what expressions of a role come to; keywords are variables."""

    def call(role: str, expressions: dict[str, str], **variables: t.Any) -> dict[str, t.Any]:
        (answer,) = evaluate_each(role, expressions, [{}], **variables)
        return answer

    return call


def test_the_last_releases_are_kept_and_the_running_one_whatever_its_age(evaluate_each: EvaluateEach) -> None:
    base = "/opt/matrix-synapse/releases"
    found = {"files": [{"path": f"{base}/{number}/.complete", "mtime": number} for number in (3, 1, 5, 2, 4)]}

    def case(keep: int, running: str | None) -> dict[str, t.Any]:
        stat = {"exists": True, "lnk_source": f"{base}/{running}"} if running else {"exists": False}
        return {"homeserver_keep_releases": keep, "__homeserver_running": {"stat": stat}}

    removed = {
        (3, "4"): ["2", "1"],
        # The one that still runs is the oldest, and the new one is not it.
        (2, "1"): ["4", "3", "2"],
        (1, "1"): ["4", "3", "2"],
        (9, "4"): [],
        (2, None): ["3", "2", "1"],
    }
    answers = evaluate_each(
        "homeserver",
        {"old": "{{ __homeserver_old_releases }}"},
        [case(*given) for given in removed],
        matrixon_profile="synapse",
        homeserver_version="5",
        __homeserver_found=found,
    )
    assert [[path.removeprefix(f"{base}/") for path in answer["old"]] for answer in answers] == list(removed.values())


def test_a_standby_with_fewer_cores_waits_for_nothing(evaluate_each: EvaluateEach) -> None:
    def case(**limits: int) -> dict[str, t.Any]:
        found = {"major": 17, "memory_bytes": 2**33, "cores": 2, "data": "cluster", "control": {"limits": limits}}
        return {"__postgresql_found": found}

    answers = evaluate_each(
        "postgresql",
        {"plan": "{{ __postgresql_plan }}", "lowers": "{{ __postgresql_lowers }}"},
        [
            # The primary has 16 cores, and will keep them.
            case(max_worker_processes=20, max_connections=30),
            # Fewer connections are wanted on all servers, and the primary must have fewer first.
            case(max_worker_processes=8, max_connections=500),
        ],
        matrixon_profile="synapse",
        matrixon_database_role="standby",
        matrixon_processes=[{"name": "main", "host": "hs1"}],
    )
    found = [({line["name"]: line["value"] for line in answer["plan"]}, answer["lowers"]) for answer in answers]
    assert [(plan["max_worker_processes"], plan["max_connections"], lowers) for plan, lowers in found] == [
        ("20", "30", False),
        ("8", "500", True),
    ]


def test_chrony_is_judged_without_a_file_that_apparmor_would_keep_from_it(
    evaluate: t.Callable[..., dict[str, t.Any]],
) -> None:
    answer = evaluate(
        "system_setup",
        {"command": "{{ __system_setup_files_chrony[0].validate }}"},
        matrixon_profile="synapse",
        system_setup_ntp_servers=["ntp1.example.com"],
        group_names=[],
    )
    assert answer["command"][:3] == ["chronyd", "-p", "server ntp1.example.com iburst"]
    assert "makestep 1 3" in answer["command"] and "%s" not in answer["command"]
    assert not [word for word in answer["command"] if word.startswith("#")]


CHALLENGES: list[tuple[str, bool, list[str], list[str]]] = [
    ("standalone", False, ["--standalone", "--preferred-challenges", "http"], ["http01_port", "http01_address"]),
    (
        "standalone",
        True,
        ["--standalone", "--preferred-challenges", "http", "--http-01-port", "8402", "--http-01-address"],
        ["http01_port", "http01_address"],
    ),
    # A bare host has no web server yet.
    ("webroot", False, ["--standalone", "--preferred-challenges", "http"], ["authenticator", "webroot_path"]),
    ("webroot", True, ["--webroot", "--webroot-path", "/var/www/html"], ["authenticator", "webroot_path"]),
    ("dns", True, ["--dns-rfc2136"], []),
]


def test_certbot_proves_a_name_on_a_bare_host_and_renews_behind_the_load_balancer(evaluate_each: EvaluateEach) -> None:
    answers = evaluate_each(
        "certificates",
        {
            "first": "{{ __certificates_certonly }}",
            "renewal": "{{ __certificates_renewal[certificates_certbot_challenge] | default([]) }}",
            "certbot": "{{ __certificates_certbot | bool }}",
        },
        [
            {"certificates_certbot_challenge": challenge, "__certificates_placed": {"http": port_80}}
            for challenge, port_80, dummy, dummy in CHALLENGES
        ],
        matrixon_profile="synapse",
        certificates_certbot_dns_arguments=["--dns-rfc2136"],
        certificates_wanted=[{"name": "public", "names": ["example.com"]}],
        **CERTBOT,
    )
    for answer, (challenge, port_80, first, renewal) in zip(answers, CHALLENGES, strict=True):
        start = answer["first"].index(first[0])
        assert answer["first"][start : start + len(first)] == first, (challenge, port_80)
        assert [one["option"] for one in answer["renewal"]] == renewal, (challenge, port_80)
        assert answer["certbot"] is True


def test_a_host_without_a_certificate_gets_no_certbot(evaluate: t.Callable[..., dict[str, t.Any]]) -> None:
    answer = evaluate(
        "certificates",
        {"certbot": "{{ __certificates_certbot | bool }}", "packages": "{{ __certificates_packages }}"},
        matrixon_profile="synapse",
        group_names=[],
        **CERTBOT,
    )
    assert answer["certbot"] is False and "certbot" not in answer["packages"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the hook gives files to root")
def test_the_deploy_hook_replaces_a_certificate_by_a_good_one_alone(
    evaluate: t.Callable[..., dict[str, t.Any]], tmp_path: pathlib.Path
) -> None:
    target, lineage = tmp_path / "tls/public", tmp_path / "live/public"
    answer = evaluate(
        "certificates",
        {"hook": "{{ lookup('ansible.builtin.template', 'deploy-hook.sh.j2') }}"},
        matrixon_profile="synapse",
        matrixon_tls_dir=str(tmp_path / "tls"),
        certificates_wanted=[{"name": "public", "names": ["example.com"]}],
        certificates_group="root",
        certificates_reload_services=["haproxy", "stopped"],
    )
    hook, bin_dir, said = tmp_path / "hook", tmp_path / "bin", tmp_path / "said"
    hook.write_text(answer["hook"])
    for directory in (bin_dir, lineage):
        directory.mkdir(parents=True)
    (bin_dir / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {said}\n[ "$3" != stopped ]\n')
    (bin_dir / "systemctl").chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}"}

    def issue(key: str, certificate: str) -> None:
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=example.com"]
        subprocess.run(
            [*made, "-keyout", str(lineage / key), "-out", str(lineage / certificate)], check=True, capture_output=True
        )

    def run(name: str = "public") -> subprocess.CompletedProcess[str]:
        said.write_text("")
        given = {**environment, "RENEWED_LINEAGE": str(tmp_path / "live" / name)}
        return subprocess.run(["sh", str(hook)], env=given, capture_output=True, text=True, check=False)

    issue("privkey.pem", "fullchain.pem")
    done = run()
    assert done.returncode == 0, done.stderr
    both = (lineage / "fullchain.pem").read_text() + (lineage / "privkey.pem").read_text()
    assert (target / "haproxy.pem").read_text() == both
    modes = {path.name: path.stat().st_mode & 0o777 for path in target.iterdir()}
    assert modes == {"fullchain.pem": 0o644, "privkey.pem": 0o640, "haproxy.pem": 0o640}
    assert said.read_text().splitlines() == ["is-active --quiet haproxy", "reload haproxy", "is-active --quiet stopped"]

    # A key that is not the certificate's, and a certificate of somebody else, change and reload nothing.
    issue("other.pem", "fullchain.pem")
    done = run()
    assert done.returncode == 1 and "the key is not the one of the certificate" in done.stderr
    assert run("elsewhere").returncode == 0
    assert (target / "haproxy.pem").read_text() == both and said.read_text() == ""


def test_no_process_is_touched_where_a_homeserver_host_failed_before(tmp_path: pathlib.Path) -> None:
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"homeserver": {"hosts": {"hs1": host, "hs2": host}}}
    fail = {"name": "Break off", "ansible.builtin.fail": {}, "when": "inventory_hostname == 'hs1'"}
    plays = [
        {"hosts": "all", "gather_facts": False, "tasks": [fail]},
        {"ansible.builtin.import_playbook": str(ROOT / "playbooks/homeserver.yml")},
    ]
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), str(tmp_path / "play.yml"), "--check"]
    command += ["-i", str(tmp_path / "hosts.json"), "-e", "ansible_become=false"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "hs1 failed before, so no process was touched anywhere" in said
    assert done.stdout.count("TASK [") == 2, done.stdout


def unit(name: str, active: str, *, stale: bool = False, sub: str = "", pid: int = 0) -> dict[str, t.Any]:
    """What matrixon_units_info says of a unit."""
    return {"name": name, "active": active, "sub": sub, "stale": stale, "main_pid": pid, "enabled": True}


MAIN, WORKER = "matrix-synapse.service", "matrix-synapse-worker@worker1.service"
PROCESSES = {
    "matrixon_profile": "synapse",
    "inventory_hostname": "localhost",
    "matrixon_processes": [
        {"name": "main", "host": "localhost", "address": "10.0.0.11"},
        {"name": "worker1", "host": "localhost", "address": "10.0.0.11", "port": 8081},
    ],
}


def test_a_main_process_starts_only_where_every_other_host_says_that_it_runs_none(evaluate_each: EvaluateEach) -> None:
    def case(active: str, *others: dict[str, t.Any]) -> dict[str, t.Any]:
        return {
            "__homeserver_state": {"units": [unit(MAIN, active), unit(WORKER, "inactive")]},
            "__homeserver_asked": {"results": [{"item": f"hs{number}", **one} for number, one in enumerate(others, 2)]},
        }

    dead, alive = {"units": [unit(MAIN, "inactive")]}, {"units": [unit(MAIN, "active")]}
    stopping = {"units": [unit(MAIN, "deactivating")]}
    quiet, busy, away, running = evaluate_each(
        "homeserver",
        {"starts": "{{ __homeserver_starts_main | bool }}", "others": "{{ __homeserver_other_mains }}"},
        [
            case("inactive", dead, {"units": [unit(MAIN, "failed")]}),
            case("failed", dead, alive, stopping),
            case("inactive", {"unreachable": True}),
            case("active"),
        ],
        **PROCESSES,
    )
    assert quiet == {"starts": True, "others": []}
    assert busy["others"] == ["hs3 still runs one", "hs4 still runs one"]
    assert away["others"] == ["hs2 could not be asked whether it runs one"]
    # What runs here is restarted, which makes no second one.
    assert running["starts"] is False


def test_what_is_starting_is_waited_for_unless_its_files_are_newer(evaluate_each: EvaluateEach) -> None:
    mains: list[dict[str, t.Any]] = [
        {"active": "activating", "sub": "start", "pid": 70},
        {"active": "activating", "sub": "start", "pid": 70, "stale": True},
        # Between two tries nothing is under way.
        {"active": "activating", "sub": "auto-restart"},
        {"active": "active", "sub": "running", "pid": 70},
    ]
    answers = evaluate_each(
        "homeserver",
        {
            "pending": "{{ __homeserver_pending | map(attribute='name') }}",
            "awaited": "{{ __homeserver_starting_units }}",
            "due": "{{ __homeserver_due | map(attribute='name') }}",
        },
        [{"__homeserver_state": {"units": [unit(WORKER, "failed"), unit(MAIN, **main)]}} for main in mains],
        **PROCESSES,
    )
    assert answers == [
        {"pending": ["worker1"], "awaited": [MAIN], "due": ["main", "worker1"]},
        {"pending": ["main", "worker1"], "awaited": [], "due": ["main", "worker1"]},
        {"pending": ["main", "worker1"], "awaited": [], "due": ["main", "worker1"]},
        {"pending": ["worker1"], "awaited": [], "due": ["worker1"]},
    ]


def test_what_a_release_was_made_of_is_recorded_only_once_it_was_found_good() -> None:
    def names(file: str) -> list[str]:
        return [task["name"] for task in yaml.safe_load((ROOT / f"roles/homeserver/tasks/{file}.yml").read_text())]

    install = names("install")
    assert install.index("Ask the release for its version") < install.index("Record what it was made of")
    assert install.index("Record what it was made of") < install.index("Record that the release is whole")
    assert "Record them" in names("record_venv")
    # Nothing else writes where the next try looks.
    text = (ROOT / "roles/homeserver/tasks/install_venv.yml").read_text()
    assert "{{ __homeserver_constraints }}" not in text and "pip, freeze" not in text


def test_no_pool_is_set_where_the_database_does_not_count_it(evaluate_each: EvaluateEach) -> None:
    pool = {"database": {"args": {"cp_max": 50}}}
    workers = {"worker1": pool, "worker2": {}}
    answers = evaluate_each(
        "homeserver",
        {"found": "{{ __homeserver_problems }}"},
        [
            {"homeserver_settings": pool},
            {"homeserver_secret_settings": pool, "homeserver_worker_settings": workers},
            {"homeserver_settings": {"database": {"args": {"keepalives_idle": 5}}}},
        ],
        homeserver_version="1",
        **PROCESSES,
    )
    named = [[text for text in answer["found"] if "cp_max is not set there" in text] for answer in answers]
    assert ["".join(text.split(":")[0] for text in found) for found in named] == [
        "homeserver_settings",
        "homeserver_secret_settings, homeserver_worker_settings",
        "",
    ]


def test_constraints_are_looked_for_in_one_place(evaluate_each: EvaluateEach, tmp_path: pathlib.Path) -> None:
    """The run is called where the relative path leads to a file, and a role looks for it elsewhere."""
    there, absent = tmp_path / "constraints.txt", tmp_path / "absent.txt"
    there.write_text("")
    wanted = {"README.md": False, str(there): True, str(absent): False, "": True}
    answers = evaluate_each(
        "homeserver",
        {"problems": "{{ __homeserver_problems }}", "used": "{{ __homeserver_constraints_used }}"},
        [{"homeserver_constraints_file": name} for name in wanted],
        homeserver_version="1.2.3",
        **PROCESSES,
    )
    for answer, (name, good) in zip(answers, wanted.items(), strict=True):
        found = [text for text in answer["problems"] if text.startswith("homeserver_constraints_file: ")]
        assert (found == []) is good, name
        assert ("given" in answer["used"]) is (name != ""), name


# What Synapse itself makes of a process's files.
READ = """
import json, sys
from synapse.config.homeserver import HomeServerConfig
config = HomeServerConfig.load_config("", [word for path in sys.argv[1:] for word in ("-c", path)])
names = [name for one in config.server.listeners if one.http_options for res in one.http_options.resources
         for name in res.names]
if config.worker.worker_app:
    names = [name for one in config.worker.worker_listeners if one.http_options
             for res in one.http_options.resources for name in res.names]
media = config.media
print(json.dumps([media.can_load_media_repo,
                  getattr(media, "media_instance_running_background_jobs", None), sorted(set(names))]))
"""


@pytest.fixture
def synapse_reads(
    evaluate: t.Callable[..., dict[str, t.Any]], tmp_path: pathlib.Path
) -> t.Callable[..., dict[str, t.Any]]:
    """Say how Synapse understands the files that the role writes for the processes of a host."""

    def call(processes: list[dict[str, t.Any]], **variables: t.Any) -> dict[str, t.Any]:
        given = {**PROCESSES, **variables, "matrixon_processes": processes}
        for name in ("registration_shared_secret", "macaroon_secret_key", "form_secret", "worker_replication_secret"):
            given[f"homeserver_{name}"] = f"a secret of the test, {name}"
        given["homeserver_signing_key"] = "ed25519 a_test bW9sZWN1bGUgZmxlZXQgc2lnbmluZyBrZXkgc2VlZCE"
        expressions = {"files": "{{ __homeserver_configuration }}", "paths": "{{ matrixon_facts.paths }}"}
        answer = evaluate("homeserver", expressions, homeserver_version="1.163.2", **given)
        root = tmp_path / "config"
        for file in answer["files"]["files"] + answer["files"]["secret_files"]:
            path, content = root / file["path"], file["content"]
            path.parent.mkdir(parents=True, exist_ok=True)
            for key, name in (("media_dir", "media"), ("config_dir", "config")):
                content = content.replace(answer["paths"][key], str(tmp_path / name))
            path.write_text(content)
        read = {}
        for process in processes:
            files = [root / "homeserver.yaml", root / "secrets.yaml", root / f"workers/{process['name']}.yaml"]
            command = [str(software.ensure_venv()), "-c", READ, *(str(file) for file in files if file.exists())]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            read[process["name"]] = json.loads(done.stdout)
        return read

    return call


def test_a_worker_that_serves_media_has_it_and_the_main_process_has_it_no_more(
    synapse_reads: t.Callable[..., dict[str, t.Any]],
) -> None:
    main, worker = PROCESSES["matrixon_processes"]
    keeper = {"name": "media1", "host": "localhost", "address": "10.0.0.11", "port": 8082, "serves": ["media"]}
    assert synapse_reads([main, worker, keeper]) == {
        "main": [False, None, ["client", "federation", "replication"]],
        "worker1": [False, None, ["client", "federation"]],
        "media1": [True, "media1", ["client", "federation", "media"]],
    }


def test_whom_synapse_asks_for_keys_is_said(evaluate_each: EvaluateEach) -> None:
    answers = evaluate_each(
        "homeserver",
        {"files": "{{ __homeserver_configuration.files }}"},
        [{}, {"homeserver_trusted_key_servers": []}],
        homeserver_version="1.163.2",
        **PROCESSES,
    )
    written = [file["content"] for answer in answers for file in answer["files"] if file["path"] == "homeserver.yaml"]
    assert [yaml.safe_load(text)["trusted_key_servers"] for text in written] == [[{"server_name": "matrix.org"}], []]


def test_processes_are_removed_everywhere_before_one_is_started_anywhere() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/homeserver.yml").read_text())
    entries = [task["ansible.builtin.include_role"]["tasks_from"] for play in plays[1:] for task in play["tasks"]]
    assert entries == ["remove", "restart"]
    remove = plays[1]
    # One host after the other would let the first go on to its start.
    assert remove["any_errors_fatal"] is True and "serial" not in remove
    assert "remove_process" not in (ROOT / "roles/homeserver/tasks/restart.yml").read_text()


def test_hosts_let_each_other_in_before_a_service_starts_and_close_when_none_needs_it() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    names = [play["ansible.builtin.import_playbook"].removesuffix(".yml") for play in plays]
    assert names.count("firewall") == 2 and names[-1] == "firewall"
    first = names.index("firewall")
    services = {"certificates", "postgresql", "redis", "homeserver", "load_balancer"}
    assert services == set(names[first + 1 : -1])
    # What leaves is still reached until it is drained.
    assert plays[first]["vars"]["firewall_only_add"] is True
    assert "firewall_only_add" not in plays[-1]["vars"]
