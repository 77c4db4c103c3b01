"""The playbooks and roles as an operator runs them, against the lab."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
import typing as t

import jsonschema
import pytest

pytestmark = pytest.mark.integration

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
HOSTS = ("lab-lb", "lab-hs", "lab-db", "lab-cache")


@dataclasses.dataclass
class Run:
    """One run of ansible-playbook."""

    code: int
    output: str
    reports: pathlib.Path

    @property
    def fleet(self) -> dict[str, t.Any]:
        return json.loads((self.reports / "health-lab.json").read_text())

    def host(self, name: str) -> dict[str, t.Any]:
        return json.loads((self.reports / f"hosts/health-{name}.json").read_text())


@pytest.fixture
def play(lab: t.Any, tmp_path: pathlib.Path) -> t.Callable[..., Run]:
    """Run the health playbook on the lab's inventory; keywords are extra variables."""

    def run(*arguments: str, inventory: dict[str, t.Any] | None = None, **variables: t.Any) -> Run:
        reports = tmp_path / "reports"
        command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), str(ROOT / "playbooks/health.yml")]
        command += ["-i", str(ROOT / "inventories/lab")]
        if inventory:
            path = tmp_path / "more.json"
            path.write_text(json.dumps(inventory))
            command += ["-i", str(path)]
        command += ["-e", json.dumps({"matrixon_report_dir": str(reports), **variables}), *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=lab.environment, capture_output=True, text=True, timeout=300, check=False
        )
        return Run(done.returncode, done.stdout + done.stderr, reports)

    return run


def test_healthy_lab_is_published_and_changes_no_host(play: t.Callable[..., Run]) -> None:
    run = play(health_retries=3)
    assert run.code == 0, run.output
    assert "[WARNING]" not in run.output and "[DEPRECATION" not in run.output, run.output
    assert run.fleet["status"] in ("ok", "warning")
    for name in HOSTS:
        report = run.host(name)
        jsonschema.validate(report, SCHEMA)
        assert report["counts"]["critical"] == report["counts"]["unknown"] == 0
    assert (run.reports / "health-lab.html").read_text().startswith("<!DOCTYPE html>")
    # Publishing is the only change of the play, and it is the controller's.
    assert run.output.count("changed: [") == 1


def test_each_host_is_looked_at_for_what_it_is(play: t.Callable[..., Run]) -> None:
    run = play(health_retries=3)
    names = {host: {check["name"] for check in run.host(host)["checks"]} for host in HOSTS}
    assert {"canary", "delegation", "haproxy_servers"} <= names["lab-lb"]
    assert {"client_api", "database_read", "self_report"} <= names["lab-hs"]
    assert "postgresql_connect" in names["lab-db"] and "redis_ping" in names["lab-cache"]
    assert "canary" not in names["lab-hs"] | names["lab-db"] | names["lab-cache"], "one canary a run is enough"
    assert all("disk_space" in found for found in names.values())


def test_second_run_measures_against_the_first(play: t.Callable[..., Run]) -> None:
    play(health_retries=3)
    second = play(health_retries=3)
    settings = [c for c in second.host("lab-db")["checks"] if c["name"] == "postgresql_settings"]
    assert [check["status"] for check in settings] == ["ok"], "the first report is the baseline of the second"


def test_check_mode_gives_verdicts_and_writes_nothing(play: t.Callable[..., Run]) -> None:
    run = play("--check", health_retries=3)
    assert run.code == 0, run.output
    assert "All 4 hosts are ok" in run.output or "warning" in run.output
    assert not run.reports.exists()


def test_stopped_database_fails_the_run_after_the_report_is_out(lab: t.Any, play: t.Callable[..., Run]) -> None:
    lab("stop", "postgresql")
    try:
        run = play(health_retries=0, health_timeout=2)
    finally:
        lab("start", "postgresql")
        lab.settle()
    assert run.code != 0
    assert run.fleet["status"] == "critical"
    assert run.host("lab-db")["status"] == "critical"
    assert run.host("lab-cache")["status"] in ("ok", "warning")
    assert "connection refused, nothing listens there" in (run.reports / "health-lab.html").read_text()


def test_fail_on_never_succeeds_with_a_bad_verdict(lab: t.Any, play: t.Callable[..., Run]) -> None:
    lab("stop", "redis")
    try:
        run = play(health_retries=0, health_timeout=2, health_canary_timeout=2, health_fail_on="never")
    finally:
        lab("start", "redis")
        lab.settle()
    assert run.code == 0, run.output
    assert run.fleet["status"] == "critical"


def test_unreachable_host_is_unknown_and_hides_no_other(play: t.Callable[..., Run]) -> None:
    # A directory that nobody can make: Ansible calls that host unreachable.
    gone = {"ansible_connection": "local", "ansible_pipelining": False, "ansible_remote_tmp": "/proc/none"}
    run = play(inventory={"homeserver": {"hosts": {"gone": gone}}}, health_retries=3)
    assert run.code != 0, "what could not be seen is no success"
    assert run.fleet["status"] == "unknown"
    assert run.host("lab-db")["status"] in ("ok", "warning")
    assert "gone" in (run.reports / "health-lab.html").read_text()


def test_limit_still_publishes(play: t.Callable[..., Run]) -> None:
    run = play("--limit", "lab-db", health_retries=3)
    assert run.code == 0, run.output
    assert run.host("lab-db")["target"] == "lab-db"


def test_textfile_is_written_on_each_host_that_wants_it(play: t.Callable[..., Run], tmp_path: pathlib.Path) -> None:
    run = play("--limit", "lab-cache", health_retries=3, report_textfile_dir=str(tmp_path))
    assert run.code == 0, run.output
    metrics = (tmp_path / "matrixon_health.prom").read_text()
    assert 'matrixon_health_check_status{deployment="lab",host="lab-cache",check="redis_ping"' in metrics
    assert "time_offset" not in metrics, "what was skipped was not measured"
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_secrets_are_in_no_output(lab: t.Any, play: t.Callable[..., Run]) -> None:
    run = play("-vvv", health_retries=0)
    texts = [run.output] + [path.read_text() for path in run.reports.rglob("*") if path.is_file()]
    for path in (lab.dir / "secrets").iterdir():
        secret = path.read_text().strip()
        assert not any(secret in text for text in texts), path.name


def test_ten_line_inventory_is_enough(play: t.Callable[..., Run], tmp_path: pathlib.Path) -> None:
    # Nothing but the required: every default of the roles has to hold by itself.
    for profile in ("matrixon", "synapse"):
        (tmp_path / "small").mkdir(exist_ok=True)
        hosts = tmp_path / "small/hosts.json"
        values = {
            "matrixon_server_name": "example.com",
            "matrixon_profile": profile,
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
        }
        groups = {name: {"hosts": {"one": None}} for name in ("homeserver", "postgresql", "redis")}
        hosts.write_text(json.dumps({"all": {"vars": values, "children": groups}}))
        command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(hosts)]
        command += [str(ROOT / "playbooks/health.yml"), "-e", f"matrixon_report_dir={tmp_path}/reports"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert "Publish the reports of the fleet" in done.stdout, done.stdout + done.stderr
        report = json.loads((tmp_path / "reports/hosts/health-one.json").read_text())
        assert report["profile"] == profile
        assert "[WARNING]" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (
            {"matrixon_profile": "dendrite"},
            "matrixon_profile: 'dendrite' is not a profile; known are matrixon, synapse",
        ),
        (
            {"matrixon_public_url": "matrix.example.com"},
            "matrixon_public_url: 'matrix.example.com' is not a URL; write",
        ),
        (
            {"matrixon_database_port": 70000},
            "matrixon_database_port: 70000 is not a port; give a number from 1 to 65535",
        ),
        (
            {"matrixon_redis_port": "redis"},
            "argument 'matrixon_redis_port' is of type str and we were unable to convert",
        ),
        ({"health_thresholds": {"disk_space": {"warning": -1}}}, "thresholds.disk_space.warning: -1 is below 0"),
        (
            {"health_thresholds": {"disk_space": {"warning": 95, "critical": 90}}},
            "thresholds.disk_space: warning 95 is above critical 90, so it would never warn",
        ),
        (
            {"health_thresholds": {"disk_space": {"warning": "much"}}},
            "thresholds.disk_space.warning: 'much' is not a number",
        ),
        ({"health_checks": ["disk_spaec"]}, "checks: 'disk_spaec' is not a check; did you mean disk_space?"),
        ({"health_groups": ["webserver"]}, "is in none of the groups homeserver, postgresql, redis, load_balancer"),
        (
            {"matrixon_redis_password_file": "/nonexistent"},
            "redis.password_file: /nonexistent cannot be read: No such file or directory",
        ),
        ({"health_deadline": 0}, "deadline: 0 is no time to wait; give seconds above 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_clear_error(play: t.Callable[..., Run], variables: dict[str, t.Any], says: str) -> None:
    run = play("--limit", "lab-cache", **variables)
    assert run.code != 0
    assert says in " ".join(run.output.split()), run.output
    assert not run.reports.exists()
