"""What is read of PostgreSQL on a host without a running server."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_host as host

CONTROL = """\
pg_control version number:            1700
Database system identifier:           7576123456789012345
Database cluster state:               in archive recovery
Latest checkpoint's TimeLineID:       3
max_connections setting:              160
max_worker_processes setting:         12
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
Data page checksum version:           1
"""


def test_a_control_file_is_read() -> None:
    assert host.control_data(CONTROL) == {
        "system_identifier": "7576123456789012345",
        "state": "in archive recovery",
        "checksums": True,
        "timeline": 3,
        "limits": {
            "max_connections": 160,
            "max_worker_processes": 12,
            "max_wal_senders": 10,
            "max_prepared_transactions": 0,
            "max_locks_per_transaction": 64,
        },
    }


def test_a_promotion_is_seen_before_its_first_checkpoint() -> None:
    assert host.control_data(CONTROL + "Min recovery ending loc's timeline:   4\n")["timeline"] == 4
    assert host.control_data(CONTROL + "Min recovery ending loc's timeline:   0\n")["timeline"] == 3


def server(timeline: int = 1, *, standby: bool = False, running: bool = True, identifier: str = "7") -> dict:
    """What matrixon_postgresql_info says of a host with data."""
    control = {"system_identifier": identifier, "timeline": timeline}
    return {"data": "cluster", "standby": standby, "running": running, "control": control}


BARE = {"data": "absent", "standby": False, "running": False, "control": host.control_data("")}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (server(standby=True), ""),
        (server(standby=True, running=False), ""),
        (server(2, identifier="8"), ""),
        (BARE, ""),
        # A former primary, left behind by a promotion of this one.
        (server(1, running=False), ""),
        (server(2), "db2 was promoted to timeline 2 of this cluster, and the data here ends on timeline 1"),
        (server(2, running=False), "db2 was promoted to timeline 2"),
        (server(2, standby=True), "db2 follows timeline 2"),
        (server(1), "db2 runs as a primary of this cluster"),
        (None, "db2 could not be asked"),
    ],
)
def test_a_stopped_primary_starts_only_if_no_other_server_can_be_it(other: dict | None, reason: str) -> None:
    found = host.rivals(server(running=False), {"db2": other})
    assert len(found) == bool(reason) and all(reason in text for text in found)


def test_a_first_cluster_is_made_on_bare_hosts_and_beside_no_other() -> None:
    assert host.rivals(BARE, {"db2": BARE, "db3": None}) == []
    assert "an empty one would be made here" in host.rivals(BARE, {"db2": server(standby=True)})[0]


def test_a_control_file_without_checksums_or_without_anything_is_told() -> None:
    assert not host.control_data(CONTROL.replace("version:           1", "version:           0"))["checksums"]
    nothing = host.control_data("pg_controldata: error: could not open file")
    assert (nothing["system_identifier"], nothing["checksums"], nothing["limits"]) == ("", False, {})


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('ID=debian\nVERSION_ID="12"\n', ("debian", "12")),
        ('NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\n', ("ubuntu", "24.04")),
        ("", ("", "")),
    ],
)
def test_a_distribution_is_told_by_its_file(content: str, found: tuple[str, str]) -> None:
    assert host.os_release(content) == found
    assert found in host.MAJORS or found == ("", "")


@pytest.mark.parametrize(
    ("limit", "expected"), [("", 2**34), ("max\n", 2**34), ("1073741824\n", 2**30), ("9223372036854771712", 2**34)]
)
def test_the_smaller_of_machine_and_control_group_counts(limit: str, expected: int) -> None:
    assert host.memory_bytes("MemTotal:       16777216 kB\nMemFree: 1 kB\n", limit) == expected


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (
            "data_directory = '/var/lib/postgresql/17/main'\t\t# use data in another directory",
            "/var/lib/postgresql/17/main",
        ),
        ("data_directory '/srv/it''s here'", "/srv/it's here"),
        ("data_directory=/srv/pg # here", "/srv/pg"),
        ("#data_directory = 'ConfigDir'", ""),
        ("data_directory = '/old'\ndata_directory = '/new'", "/new"),
        ("my_data_directory = '/other'", ""),
    ],
)
def test_a_setting_is_read_as_the_server_reads_it(line: str, value: str) -> None:
    assert host.setting(line, "data_directory") == value
