"""Every host, asked: what systemd, the kernel, the journal and a stranger get from it."""

from __future__ import annotations

import json
import pathlib
import typing as t
import uuid

import pytest
import yaml

testinfra_hosts = ["ansible://all"]

ROOT = pathlib.Path(__file__).resolve().parents[3]
DEFAULTS = yaml.safe_load((ROOT / "roles/system_setup/defaults/main.yml").read_text())
# The message with which a journal says how large it may grow.
JOURNAL_SIZE = "ec387f577b844b8fa948f33cad9a75e6"
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Root:
    """A host, with root's rights, and what its inventory asks for."""

    def __init__(self, host: t.Any) -> None:
        self.host = host
        variables = host.ansible.get_variables()
        self.groups = variables["group_names"]
        self.asked = {**DEFAULTS, **{key: value for key, value in variables.items() if key in DEFAULTS}}
        profile = variables.get("matrixon_profile", "matrixon")
        self.profile = yaml.safe_load((ROOT / f"roles/matrixon/files/profiles/{profile}.yml").read_text())

    def run(self, command: str, *arguments: str) -> t.Any:
        with self.host.sudo():
            return self.host.run(command, *arguments)

    def out(self, command: str, *arguments: str) -> str:
        done = self.run(command, *arguments)
        assert done.rc == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def may(self, user: str, command: str, *arguments: str) -> bool:
        """Whether a command succeeds as a user."""
        return self.run(f"runuser -u {user} -- {command}", *arguments).rc == 0


@pytest.fixture
def root(host: t.Any) -> Root:
    return Root(host)


@pytest.fixture
def service(root: Root) -> str:
    """The homeserver's user, on hosts that have one."""
    if "homeserver" not in root.groups:
        pytest.skip("no homeserver runs here")
    return root.profile["service"]["user"]


def test_a_unit_may_open_as_many_files_as_asked(root: Root) -> None:
    limits = root.out("systemd-run --quiet --wait --pipe sh -c 'ulimit -Sn; ulimit -Hn'").split()
    assert limits == [str(root.asked["system_setup_nofile_soft"]), str(root.asked["system_setup_nofile_hard"])]


def test_the_kernel_has_every_setting(root: Root) -> None:
    wanted = dict(root.asked["system_setup_sysctl"])
    for group, settings in root.asked["system_setup_sysctl_by_group"].items():
        wanted.update(settings if group in root.groups else {})
    wanted.update(root.asked["system_setup_sysctl_override"])
    wanted = {key: str(value) for key, value in wanted.items() if key not in root.asked["system_setup_sysctl_skip"]}
    assert "net.core.somaxconn" in wanted, "nothing that a container can show is left"
    live = {key: " ".join(root.out("sysctl -n %s", key).split()) for key in wanted}
    assert live == wanted


def test_a_line_of_the_journal_is_on_disk(root: Root) -> None:
    marker = uuid.uuid4().hex
    root.out("logger -t molecule %s", marker)
    # --sync returns once what was written before is in the file.
    root.out("journalctl --sync")
    assert marker in root.out("journalctl --directory /var/log/journal -t molecule -n 5 -o cat")


def test_the_journal_knows_its_limits(root: Root) -> None:
    lines = root.out(f"journalctl -o json MESSAGE_ID={JOURNAL_SIZE}").splitlines()
    said = [json.loads(line) for line in lines]
    newest = [line for line in said if line["JOURNAL_PATH"].startswith("/var/log/journal/")][-1]
    sizes = [root.asked["system_setup_journal_max_use"], root.asked["system_setup_journal_keep_free"]]
    assert [newest["MAX_USE"], newest["DISK_KEEP_FREE"]] == [str(int(s[:-1]) * UNITS[s[-1]]) for s in sizes]


def test_needrestart_lists_and_neither_asks_nor_restarts(root: Root) -> None:
    unit, folder = f"molecule-{uuid.uuid4().hex[:8]}", "/opt/molecule-needrestart"
    try:
        root.out(f"mkdir -p {folder}")
        root.out(f"cp /usr/bin/sleep {folder}/sleep")
        root.out(f"systemd-run --quiet --unit={unit} {folder}/sleep 600")
        before = root.out(f"systemctl show -p MainPID --value {unit}")
        # A package's new version takes the place of the program that runs.
        root.out(f"cp /usr/bin/sleep {folder}/new")
        root.out(f"mv {folder}/new {folder}/sleep")
        # With a terminal, on which it could ask.
        listed = root.out("timeout 60 script -qec needrestart /dev/null < /dev/null")
        assert f"systemctl restart {unit}" in listed
        assert "Which services" not in listed
        assert root.out(f"systemctl show -p MainPID --value {unit}") == before != "0"
    finally:
        root.run(f"systemctl stop {unit}")
        root.run(f"rm -r {folder}")


def test_the_time_zone_is_the_one_asked_for(root: Root) -> None:
    zone = root.asked["system_setup_timezone"]
    assert root.out("date +%z") == root.out("env TZ=%s date +%%z", zone)
    assert root.out("readlink -f /etc/localtime") == root.out("readlink -f %s", f"/usr/share/zoneinfo/{zone}")


def test_the_time_is_kept(root: Root) -> None:
    service = root.asked["system_setup_time_sync"]
    if service == "none":
        pytest.skip("something else keeps this host's clock")
    assert root.out("systemctl is-active %s", service) == "active"


def test_the_modules_of_the_collection_find_their_libraries(root: Root) -> None:
    libraries = {"homeserver": ["cryptography", "dns"], "load_balancer": ["cryptography", "dns"]}
    libraries["postgresql"] = ["cryptography", "psycopg2"]
    wanted = {name for group in root.groups for name in libraries.get(group, [])}
    for name in wanted:
        root.out("/usr/bin/python3 -c %s", f"import {name}")


def test_the_service_user_cannot_log_in(root: Root, service: str) -> None:
    assert root.run("su - %s -c true", service).rc != 0
    # It is its shell that refuses: with another one, root can be that user.
    assert root.out("su -s /bin/sh - %s -c 'id -un'", service) == service
    assert root.out("passwd -S %s", service).split()[1] == "L"


def test_sessions_of_the_service_user_have_its_limits(root: Root, service: str) -> None:
    limits = root.out("su -s /bin/sh %s -c 'ulimit -Sn; ulimit -Hn'", service).split()
    assert limits == [str(root.asked["system_setup_nofile_soft"]), str(root.asked["system_setup_nofile_hard"])]


def test_a_stranger_sees_nothing_of_the_homeserver(root: Root, service: str) -> None:
    paths = root.profile["paths"]
    assert root.may("nobody", "ls /var/lib"), "a stranger sees nothing at all, so this would show nothing"
    for name in ("config_dir", "data_dir", "media_dir", "log_dir"):
        assert not root.may("nobody", "ls %s", paths[name]), paths[name]
        assert not root.may("nobody", "touch %s", f"{paths[name]}/molecule"), paths[name]


def test_the_service_writes_its_data_and_reads_its_configuration(root: Root, service: str) -> None:
    paths = root.profile["paths"]
    for name in ("data_dir", "media_dir", "log_dir"):
        file = f"{paths[name]}/molecule-{uuid.uuid4().hex[:8]}"
        assert root.may(service, "touch %s", file), file
        root.out("rm %s", file)
    assert root.may(service, "ls %s", paths["config_dir"])
    assert not root.may(service, "touch %s", f"{paths['config_dir']}/molecule")
