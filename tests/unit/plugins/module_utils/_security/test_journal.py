"""Tests of reading the journal as journalctl prints it: cursor, gap, failure, and the time that is up."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._security import journal
from ansible_collections.matrixon.ops.plugins.module_utils._security.journal import Read, argv, read_journal, time_of


def entries(*numbers: int, message: str = "m") -> bytes:
    return b"".join(
        json.dumps(
            {"MESSAGE": message, "__CURSOR": f"s=1;i={number}", "__REALTIME_TIMESTAMP": str(number * 1_000_000)},
            separators=(",", ":"),
        ).encode()
        + b"\n"
        for number in numbers
    )


class Canned:
    """A journalctl that prints what it was given, in blocks, and hangs where a block is None."""

    def __init__(self, blocks: list[bytes | None], code: int = 0, complaint: bytes = b"") -> None:
        self.blocks, self.code, self.complaint = list(blocks), code, complaint
        self.argv: list[str] = []
        self.stopped: bool | None = None

    def __call__(self, words: list[str]) -> Canned:
        self.argv = words
        return self

    def read(self, size: int, deadline: Deadline) -> bytes | None:
        return self.blocks.pop(0) if self.blocks else b""

    def end(self, stop: bool) -> tuple[int, bytes]:
        self.stopped = stop
        return self.code, self.complaint


def read(canned: Canned, cursor: str | None = None) -> tuple[Read, bytes]:
    seen: list[bytes] = []

    def take(block: bytes) -> int:
        seen.append(block)
        return 0

    done = read_journal(["--unit=x"], cursor, 100.5, take, Deadline(9), canned)
    return done, b"".join(seen)


def test_the_command_names_cursor_or_time_and_asks_for_long_fields() -> None:
    assert argv(["--unit=x"], None, 100.5)[-2:] == ["--since=@100", "--unit=x"]
    words = argv(["--unit=x"], "s=1;i=2", 100.5)
    assert words[-2:] == ["--cursor=s=1;i=2", "--unit=x"]
    assert "--all" in words


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_all_entries_are_taken_and_the_last_cursor_is_kept(size: int) -> None:
    text = entries(1, 2, 3)
    blocks = [text[at : at + size] for at in range(0, len(text), size)]
    done, seen = read(Canned([*blocks]))
    assert seen == text
    assert (done.cursor, done.lines, done.lost, done.failure, done.partial) == ("s=1;i=3", 3, "", None, False)


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_the_entry_of_the_cursor_does_not_count_again(size: int) -> None:
    text = entries(3, 4, 5)
    blocks = [text[at : at + size] for at in range(0, len(text), size)]
    done, seen = read(Canned([*blocks]), "s=1;i=3")
    assert seen == entries(4, 5)
    assert (done.cursor, done.lines, done.lost) == ("s=1;i=5", 2, "")


def test_nothing_new_is_no_gap() -> None:
    done, seen = read(Canned([entries(3)]), "s=1;i=3")
    assert (seen, done.cursor, done.lines, done.lost) == (b"", "s=1;i=3", 0, "")


@pytest.mark.parametrize("text", [entries(5, 6), b""])
def test_a_journal_without_the_entry_of_the_cursor_has_a_gap(text: bytes) -> None:
    done, seen = read(Canned([text]), "s=1;i=3")
    assert seen == text
    assert "is gone" in done.lost


def test_where_the_time_is_up_the_cursor_is_that_of_the_last_whole_entry() -> None:
    canned = Canned([entries(1, 2) + entries(3)[:20], None], code=-15)
    done, seen = read(canned)
    assert seen == entries(1, 2)
    assert (done.cursor, done.partial, done.failure) == ("s=1;i=2", True, None)
    assert canned.stopped is True


@pytest.mark.parametrize(
    ("code", "complaint", "kind", "words"),
    [
        (0, b"Hint: You are currently not seeing messages from other users and the system.", "auth", "run with become"),
        (0, b"No journal files were found.\n", "missing_tool", "has no journal"),
        (1, b"Failed to seek to cursor: Invalid argument\n", "internal", "Failed to seek to cursor"),
        (7, b"", "internal", "it ended with code 7"),
    ],
)
def test_failures_are_named_and_what_was_read_counts(code: int, complaint: bytes, kind: str, words: str) -> None:
    done, seen = read(Canned([entries(1)], code, complaint))
    assert done.failure is not None
    assert done.failure.kind == kind
    assert words in done.failure.message
    assert (seen, done.cursor) == (entries(1), "s=1;i=1")


def test_an_entry_that_is_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LONGEST_ENTRY", 500)
    long = entries(2, message="x" * 2000)
    done, _seen = read(Canned([entries(1), long[:700], long[700:], entries(3)]))
    assert (done.cut, done.lines, done.cursor) == (1, 3, "s=1;i=3")


def test_the_time_is_that_of_the_last_entry() -> None:
    assert time_of(entries(4, 7)) == 7.0
    assert time_of(b"{}\n") is None


@pytest.fixture
def tool(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Put a journalctl of one's own before that of the system."""
    path = tmp_path / "journalctl"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return path


def run_tool(seconds: float = 9) -> tuple[Read, list[bytes]]:
    seen: list[bytes] = []

    def take(block: bytes) -> int:
        seen.append(block)
        return 0

    return read_journal([], None, 0, take, Deadline(seconds)), seen


def test_a_real_process_is_read_to_its_end(tool: pathlib.Path) -> None:
    text = entries(*range(3000)).decode()
    (tool.parent / "text").write_text(text)
    tool.write_text(f"#!/bin/sh\necho complaint >&2\ncat {tool.parent}/text\n")
    tool.chmod(0o755)
    done, seen = run_tool()
    assert b"".join(seen).decode() == text
    assert (done.lines, done.failure) == (3000, None)


def test_a_process_that_hangs_is_stopped(tool: pathlib.Path) -> None:
    (tool.parent / "text").write_bytes(entries(1, 2))
    tool.write_text(f"#!/bin/sh\ncat {tool.parent}/text\nexec sleep 300\n")
    tool.chmod(0o755)
    done, seen = run_tool(1.5)
    assert b"".join(seen) == entries(1, 2)
    assert (done.partial, done.cursor) == (True, "s=1;i=2")


def test_a_host_without_journalctl_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProbeFailure, match="journalctl is not installed"):
        run_tool()
