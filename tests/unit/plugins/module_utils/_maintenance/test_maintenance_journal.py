"""No entry that is to be kept goes with a file that begins before it."""

from __future__ import annotations

import os
import pathlib
import struct
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._maintenance import journal

NOW = 1_800_000_000.0
OPTIONS = {"target": "h", "keep_days": 7.0, "directory": None, "rotate": True, "deadline": 60.0}


def header(head: float, tail: float, entries: int = 5) -> bytes:
    """A header with the times in days ago."""
    data = bytearray(journal.HEADER)
    data[:8] = journal.SIGNATURE
    struct.pack_into("<Q", data, journal.ENTRIES_AT, entries)
    struct.pack_into("<QQ", data, journal.HEAD_AT, *(int((NOW - day * 86400) * 1e6) for day in (head, tail)))
    return bytes(data)


class Host:
    """A directory with files of a journal, and a journalctl that removes by the beginning, as systemd's does."""

    def __init__(self, root: pathlib.Path, place: str = journal.PERSISTENT) -> None:
        self.root, self.folder, self.calls = root, root / place / "abc", []
        self.folder.mkdir(parents=True)
        self.works = True

    def add(self, name: str, head: float, tail: float, entries: int = 5) -> None:
        (self.folder / f"{name}.journal").write_bytes(header(head, tail, entries))

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.folder.iterdir())

    def run(self, argv: list[str], deadline: Any) -> Finished:
        self.calls.append(argv)
        if "--rotate" in argv:
            os.rename(self.folder / "system.journal", self.folder / "system@new.journal")
            self.add("system", 0, 0, 0)
        elif self.works:
            age = float(argv[1].split("=")[1].rstrip("s"))
            for path in list(self.folder.glob("*@*.journal")):
                head, _tail = journal.times_of(path.read_bytes())
                if head is not None and head < NOW - age:
                    path.unlink()
        return Finished(0, "", "")

    def vacuum(self, dry: bool = False, **options: Any) -> journal.Done:
        return journal.vacuum({**OPTIONS, **options}, dry, journal.Tools(str(self.root), self.run, lambda: NOW))


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    return Host(tmp_path)


def test_only_what_is_old_from_end_to_end_goes(host: Host) -> None:
    for name, head, tail in (("system@a", 40, 30), ("system@b", 29, 20), ("system@c", 20, 0.1), ("system", 0.1, 0)):
        host.add(name, head, tail)
    done = host.vacuum()
    assert host.names() == ["system", "system@c"]
    assert done.changed and done.check.status == "ok" and "before" in done.check.message
    assert not host.vacuum().changed and len(host.calls) == 1


def test_an_old_file_stays_while_one_with_young_entries_begins_before_it(host: Host) -> None:
    host.add("user@a", 40, 1)
    host.add("system@b", 29, 20)
    assert not host.vacuum().changed and host.calls == []


def test_a_file_in_use_that_begins_too_early_is_closed_and_kept(host: Host) -> None:
    host.add("system", 30, 0)
    done = host.vacuum()
    assert done.changed and host.calls == [["journalctl", "--rotate"]] and "system@new" in host.names()
    assert not host.vacuum().changed


def test_a_file_in_use_is_not_closed_where_that_is_not_wanted(host: Host) -> None:
    host.add("system", 30, 0)
    assert not host.vacuum(rotate=False).changed and host.calls == []


def test_a_dry_run_says_what_would_go(host: Host) -> None:
    host.add("system@a", 40, 30)
    done = host.vacuum(dry=True)
    assert done.changed and host.calls == [] and "would be removed" in done.plan[0]


def test_what_was_not_removed_is_not_called_removed(host: Host) -> None:
    host.add("system@a", 40, 30)
    host.works = False
    done = host.vacuum()
    assert done.check.status == "critical" and "still there" in done.check.message and not done.changed


def test_no_journal_is_said_and_a_volatile_one_too(tmp_path: pathlib.Path) -> None:
    assert Host(tmp_path / "a").vacuum().check.status == "skipped"
    memory = Host(tmp_path / "b", journal.VOLATILE)
    memory.add("system", 1, 0)
    assert "volatile" in memory.vacuum().check.message


def test_a_file_that_is_no_journal_is_left_alone(host: Host) -> None:
    (host.folder / "system@x.journal").write_bytes(b"something else")
    host.add("system@empty", 40, 40, entries=0)
    assert not host.vacuum().changed and host.calls == []
    with pytest.raises(ValueError, match="does not begin"):
        journal.times_of(b"x")
