"""Every host, asked: what systemd, the kernel, the journal and a stranger get from it."""

from __future__ import annotations

import json
import pathlib
import typing as t
import uuid

testinfra_hosts = ["ansible://all"]

ROOT = pathlib.Path(__file__).resolve().parents[3]
# The message with which a journal says how large it may grow.
JOURNAL_SIZE = "ec387f577b844b8fa948f33cad9a75e6"
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def test_a_unit_may_open_as_many_files_as_asked(root: t.Any) -> None:
    limits = root.out("systemd-run --quiet --wait --pipe sh -c 'ulimit -Sn; ulimit -Hn'").split()
    assert limits == [str(root.asked["system_setup_nofile_soft"]), str(root.asked["system_setup_nofile_hard"])]


def test_the_kernel_has_every_setting(root: t.Any) -> None:
    wanted = dict(root.asked["system_setup_sysctl"])
    for group, settings in root.asked["system_setup_sysctl_by_group"].items():
        wanted.update(settings if group in root.groups else {})
    wanted.update(root.asked["system_setup_sysctl_override"])
    wanted = {key: str(value) for key, value in wanted.items() if key not in root.asked["system_setup_sysctl_skip"]}
    assert "net.core.somaxconn" in wanted, "nothing that a container can show is left"
    live = {key: " ".join(root.out("sysctl -n %s", key).split()) for key in wanted}
    assert live == wanted


def test_a_line_of_the_journal_is_on_disk(root: t.Any) -> None:
    marker = uuid.uuid4().hex
    root.out("logger -t molecule %s", marker)
    # --sync returns once what was written before is in the file.
    root.out("journalctl --sync")
    assert marker in root.out("journalctl --directory /var/log/journal -t molecule -n 5 -o cat")


def test_the_journal_knows_its_limits(root: t.Any) -> None:
    lines = root.out(f"journalctl -o json MESSAGE_ID={JOURNAL_SIZE}").splitlines()
    said = [json.loads(line) for line in lines]
    newest = [line for line in said if line["JOURNAL_PATH"].startswith("/var/log/journal/")][-1]
    sizes = [root.asked["system_setup_journal_max_use"], root.asked["system_setup_journal_keep_free"]]
    assert [newest["MAX_USE"], newest["DISK_KEEP_FREE"]] == [str(int(s[:-1]) * UNITS[s[-1]]) for s in sizes]


def test_needrestart_lists_and_neither_asks_nor_restarts(root: t.Any) -> None:
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


def test_the_time_zone_is_the_one_asked_for(root: t.Any) -> None:
    zone = root.asked["system_setup_timezone"]
    assert root.out("date +%z") == root.out("env TZ=%s date +%%z", zone)
    assert root.out("readlink -f /etc/localtime") == root.out("readlink -f %s", f"/usr/share/zoneinfo/{zone}")


def test_the_time_is_kept(root: t.Any) -> None:
    asked = root.asked["system_setup_time_sync"]
    known = ("chrony", "systemd-timesyncd")
    # Two that keep one clock fight for it; none is asked for where something else does.
    assert [name for name in known if root.run("systemctl is-active %s", name).rc == 0] == [asked] * (asked in known)


def test_the_modules_of_the_collection_find_their_libraries(root: t.Any) -> None:
    libraries = {"homeserver": ["cryptography", "dns"], "load_balancer": ["cryptography", "dns"]}
    libraries["postgresql"] = ["cryptography", "psycopg2"]
    wanted = {name for group in root.groups for name in libraries.get(group, [])}
    for name in wanted:
        root.out("/usr/bin/python3 -c %s", f"import {name}")
