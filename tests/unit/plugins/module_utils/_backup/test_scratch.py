"""What a scratch cluster is started with, and where its recovery ended; the rest needs a server."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import scratch
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._backup.scratch import Recovered, Scratch
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline


def cluster(tmp_path: pathlib.Path, log: str = "") -> Scratch:
    (tmp_path / "data/pg_wal").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "data/PG_VERSION").write_text("15\n")
    (tmp_path / "work/log").write_text(log)
    return Scratch(str(tmp_path / "data"), str(tmp_path / "work"), Runner(), "/nonexistent")


def test_it_talks_to_nobody_and_waits_for_nobody() -> None:
    alone = ("listen_addresses", "primary_conninfo", "shared_preload_libraries", "synchronous_standby_names")
    assert {scratch.SETTINGS[name] for name in alone} == {""}
    assert (scratch.SETTINGS["archive_mode"], scratch.SETTINGS["fsync"]) == ("off", "off")


def test_what_is_no_data_directory_is_refused(tmp_path: pathlib.Path) -> None:
    for content in (None, "nonsense"):
        if content:
            (tmp_path / "PG_VERSION").write_text(content)
        with pytest.raises(BackupError, match="is no data directory of PostgreSQL"):
            Scratch(str(tmp_path), None, Runner(), "/nonexistent")


SERVER = """#!/bin/sh
case "$0" in */pg_controldata) echo "max_prepared_xacts setting: 7"; exit 0 ;; esac
echo "FATAL:  {}"
exit 1
"""


@pytest.mark.parametrize(
    ("words", "kind", "outside"),
    [
        ("recovery ended before configured recovery target was reached", "parse", False),
        ('could not open shared memory segment "/PostgreSQL.1": Permission denied', "internal", True),
        ("could not write to file: No space left on device", "internal", True),
    ],
)
def test_a_server_that_does_not_start_says_whether_the_host_is_to_blame(
    tmp_path: pathlib.Path, words: str, kind: str, outside: bool
) -> None:
    (tmp_path / "PG_VERSION").write_text("15\n")
    for name in ("postgres", "pg_controldata"):
        (tmp_path / name).write_text(SERVER.format(words))
        (tmp_path / name).chmod(0o755)
    with (
        pytest.raises(BackupError, match="it ended with code 1: FATAL:") as caught,
        Scratch(str(tmp_path), None, Runner(), str(tmp_path)) as server,
    ):
        server.start(Deadline(5))
    assert (caught.value.kind, caught.value.facts["outside"]) == (kind, outside)
    assert not os.path.exists(server.work)


def test_the_end_of_recovery_is_read_from_the_history_that_it_wrote(tmp_path: pathlib.Path) -> None:
    found = cluster(
        tmp_path,
        "LOG:  redo done at 0/30000D8 system usage: CPU\nLOG:  selected new timeline ID: 3\n",
    )
    history = "1\t0/2000000\tno recovery target specified\n\n2\t0/3000100\tbefore 2026-11-23 10:00:00+00\n"
    (tmp_path / "data/pg_wal/00000003.history").write_text(history)
    assert found.recovered(Deadline(5)) == Recovered(2, 0x3000100, "before 2026-11-23 10:00:00+00")


def test_closing_removes_only_what_it_made(tmp_path: pathlib.Path) -> None:
    found = cluster(tmp_path)
    found.close()
    assert (tmp_path / "work/log").exists()
    with pytest.raises(BackupError, match="work is not empty"):
        found.start(Deadline(5))
    found.close()
    assert (tmp_path / "work/log").exists()
