"""The copy for a drill: whose it is, why it cannot be taken, and what it is told."""

from __future__ import annotations

import datetime
import pathlib
import socket

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._dr import backup_set, copy
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import Host
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

NOW = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.timezone.utc)
BEGUN, BEFORE, LATER = "2026-11-27T11:00:00.000Z", "2026-11-27T11:59:59.000Z", "2026-11-27T12:10:00.000Z"
OPTIONS = {
    "directory": "/var/lib/postgresql/matrixon-drill",
    "accept_primary": False,
    "max_rate": 0,
    "checkpoint": "fast",
    "open_seconds": 1800.0,
    "memory_max": "",
    "listen_address": None,
    "listen_port": 5499,
    "admit": [],
    "deadline": 60,
    "jobs": 1,
}
LISTENING = {
    **OPTIONS,
    "listen_address": "192.0.2.32",
    "admit": [{"database": "synapse", "user": "synapse", "address": "192.0.2.22"}],
}
FACTS = {
    "server": "running",
    "data_directory": "/data",
    "unreadable": [],
    "in_recovery": True,
    "data_bytes": 10 << 30,
    "room_bytes": 12 << 30,
    "tablespaces": (),
}
LIMITS = {
    "max_connections": 200,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}
PLAIN = {"ssl": "off", "ssl_cert_file": "/data/server.crt", "ssl_key_file": "/data/server.key"}
TLS = {"ssl": "on", "ssl_cert_file": "/etc/pg/it's.pem", "ssl_key_file": "/etc/pg/key.pem"}
PLACE = Host(
    "/data", "/usr/lib/postgresql/17/bin", 17, "", Server("/run/postgresql", 5432, "postgres", "postgres"), Runner()
)


def state(step: str = copy.OPEN, until: str = LATER) -> dict[str, str]:
    return {"begun": BEGUN, "until": until, "step": step}


def test_a_place_is_free_without_a_drill_and_after_one_that_died() -> None:
    assert copy.busy(None, False, "", "", NOW) is None
    # Whoever copies holds the lock.
    assert copy.busy(state(copy.COPYING), False, "", "", NOW) is None
    assert copy.busy(state(until=BEFORE), False, "", "", NOW) is None
    assert copy.busy(state(), False, BEGUN, "", NOW) is None
    assert copy.busy(state(), False, "", BEGUN, NOW) is None


def test_another_drill_is_named_with_the_way_out() -> None:
    words = copy.busy(state(), False, "", "2026-11-27T11:30:00.000Z", NOW)
    assert words
    assert f"dr_drill_forget={BEGUN}" in words
    assert "taking its copy" in (copy.busy(state(), True, BEGUN, BEGUN, NOW) or "")


def test_what_a_drill_wrote_down_is_read_again_and_nonsense_is_not_believed(tmp_path) -> None:
    assert copy.read_state(str(tmp_path)) is None
    copy.write_state(str(tmp_path), state())
    assert copy.read_state(str(tmp_path)) == state()
    assert (tmp_path / copy.MARK).stat().st_mode & 0o777 == 0o600
    (tmp_path / copy.MARK).write_text("[]")
    with pytest.raises(BackupError, match="look at it"):
        copy.read_state(str(tmp_path))


def test_only_what_a_drill_made_is_removed(tmp_path) -> None:
    place = tmp_path / "copy"
    assert copy.stranger(str(place)) is None
    place.mkdir()
    assert copy.stranger(str(place)) is None
    (place / "photos").mkdir()
    assert "no drill made it" in (copy.stranger(str(place)) or "")
    copy.write_state(str(place), state())
    assert copy.stranger(str(place)) is None
    link = tmp_path / "link"
    link.symlink_to(place)
    assert "is no directory" in (copy.stranger(str(link)) or "")
    assert "is no directory" in (copy.stranger(str(tmp_path / "a/b")) or "")


def test_one_drill_at_a_time_holds_the_lock(tmp_path) -> None:
    path = str(tmp_path / "lock")
    with copy.held(path) as first, copy.held(path) as second:
        assert (first, second) == (True, False)
    with copy.held(path) as again:
        assert again


def test_a_standby_with_room_can_be_copied() -> None:
    assert copy.obstacles(FACTS, OPTIONS) == []


def test_all_reasons_are_named_at_once() -> None:
    facts = {**FACTS, "in_recovery": False, "room_bytes": (12 << 30) - 1, "tablespaces": (("fast", "/ssd"),)}
    # 10 GiB, a tenth of it, and 1 GiB.
    assert copy.obstacles({**FACTS, "room_bytes": 12 << 30}, OPTIONS) == []
    found = copy.obstacles(facts, OPTIONS)
    assert len(found) == 3
    assert "dr_drill_confirm" in found[0]
    assert "make room" in found[1]
    assert "/ssd" in found[2]
    assert len(copy.obstacles(facts, {**OPTIONS, "accept_primary": True})) == 2
    assert "no server runs" in copy.obstacles({**FACTS, "server": "stopped"}, OPTIONS)[0]


def test_a_port_that_somebody_has_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "is in use" in (copy.port_problem("127.0.0.1", port) or "")
    assert copy.port_problem("127.0.0.1", port) is None
    assert "no address of this host" in (copy.port_problem("192.0.2.1", port) or "")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"directory": "copy"}, "directory: 'copy'"),
        ({"directory": "/"}, "directory: '/'"),
        ({"max_rate": 31}, "max_rate: 31"),
        ({"memory_max": "2 GB"}, "memory_max: '2 GB'"),
        ({"open_seconds": 0}, "open_seconds: 0"),
        ({"listen_address": "db2"}, "listen_address: 'db2'"),
        ({"listen_address": "192.0.2.1", "listen_port": 0}, "listen_port: 0"),
        ({"admit": [{"database": "a b", "user": "u", "address": "192.0.2.1"}]}, "admit: database 'a b'"),
        ({"admit": [{"database": "d", "user": "u", "address": "0.0.0.0/0"}]}, "admit: '0.0.0.0/0'"),
    ],
)
def test_what_cannot_be_right_is_refused(wrong, words) -> None:
    found = list(copy.problems({**OPTIONS, **wrong}))
    assert len(found) == 1
    assert found[0].startswith(words)
    assert not list(copy.problems(LISTENING))


def test_a_set_that_cannot_be_restored_is_a_reason_and_nothing_is_made(tmp_path: pathlib.Path) -> None:
    backup = {"root": str(tmp_path / "sets"), "deployment": "d", "profile": "synapse", "server": "db1"}
    backup.update(set="latest", target="latest", archive=None, accept_unverified="", pgbackrest=None)
    options = {**OPTIONS, "directory": str(tmp_path / "copy"), "owner": None, "backup": backup}
    facts = {**FACTS, "system_identifier": "7"}
    source, (reason,) = copy.restorable(copy.Work(options, Deadline(60), PLACE), facts)
    assert source is None and reason.startswith("backup: there is no complete set")
    backup["set"] = "unproven"
    source, (reason,) = copy.restorable(copy.Work(options, Deadline(60), PLACE), facts)
    assert reason == "backup: set: 'unproven' is not one set; name one, or latest"
    assert list(tmp_path.iterdir()) == []
    assert copy.restorable(copy.Work({**options, "backup": None}, Deadline(60), PLACE), facts) == (None, [])


@pytest.mark.parametrize(
    ("kind", "found", "words"),
    [
        ("full", "7", None),
        ("incremental", "7", None),
        ("logical", "7", "set s is a dump"),
        ("full", "8", "set s is of the database 8, and this host has 7"),
        ("full", None, "set s is of the database without a name"),
    ],
)
def test_a_set_of_another_database_and_a_dump_do_not_fit(kind: str, found: str | None, words: str | None) -> None:
    why = backup_set.unfit("s", kind, found, "7")
    assert why is None if words is None else str(why).startswith(words)


def test_limits_are_those_of_the_server_that_needs_more() -> None:
    scratch = {"max_wal_senders": 0, "max_connections": 300}
    assert copy.at_least(scratch, LIMITS) == {"max_wal_senders": 10, "max_connections": 300}


def test_the_copy_follows_nobody_archives_nothing_and_listens_to_nobody() -> None:
    lines = copy.configuration(LIMITS, PLAIN, OPTIONS).splitlines()
    for line in (
        "primary_conninfo = ''",
        "restore_command = ''",
        "archive_mode = 'off'",
        "listen_addresses = ''",
        "max_connections = '200'",
        "max_locks_per_transaction = '64'",
        "port = '5432'",
        "ssl = 'off'",
    ):
        assert line in lines
    assert "fsync" not in "\n".join(lines)


def test_a_copy_that_listens_does_so_with_the_certificate_of_its_server() -> None:
    lines = copy.configuration(LIMITS, TLS, LISTENING).splitlines()
    assert "listen_addresses = '192.0.2.32'" in lines
    assert "port = '5499'" in lines
    assert "ssl_cert_file = '/etc/pg/it''s.pem'" in lines


def test_only_whoever_runs_it_and_the_homeserver_may_come() -> None:
    hba, ident = copy.admission("postgres", "admin", True, LISTENING["admit"])
    assert hba.splitlines() == [
        "local all all peer map=drill",
        "local replication all peer map=drill",
        'hostssl "synapse" "synapse" 192.0.2.22/32 scram-sha-256',
    ]
    assert ident == 'drill "postgres" "admin"\n'
    assert "\nhost " in copy.admission("postgres", "postgres", False, LISTENING["admit"])[0]
    six = [{"database": "d", "user": "u", "address": "2001:db8::22"}]
    assert "2001:db8::22/128" in copy.admission("postgres", "postgres", True, six)[0]


def test_its_unit_ends_by_itself_and_reaches_nobody() -> None:
    lines = copy.unit(PLACE, "postgres", OPTIONS).splitlines()
    assert "RuntimeMaxSec=1800" in lines
    assert "PrivateNetwork=yes" in lines
    assert "ExecStart=/usr/lib/postgresql/17/bin/postgres -D /var/lib/postgresql/matrixon-drill/data" in lines
    assert not [line for line in lines if line.startswith("MemoryMax")]
    lines = copy.unit(PLACE, "postgres", {**LISTENING, "memory_max": "2G"}).splitlines()
    assert "IPAddressDeny=any" in lines
    assert "IPAddressAllow=localhost 192.0.2.32 192.0.2.22" in lines
    assert "PrivateNetwork=yes" not in lines
    assert "MemoryMax=2G" in lines


def test_a_copy_is_none_of_patroni(tmp_path: pathlib.Path) -> None:
    for _turn in range(2):
        copy.disown(str(tmp_path))
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "patroni.dynamic.json").write_text("{}")
    copy.disown(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
