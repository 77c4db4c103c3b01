"""Tests of reading whole lines in bounded memory."""

from __future__ import annotations

import io
import random

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._security.lines import Lines


def taken(text: bytes, chunk: int, longest: int = 1000, last: bool = False) -> tuple[bytes, Lines]:
    lines = Lines(io.BytesIO(text).read, longest, last, chunk)
    return b"".join(lines), lines


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("text", [b"", b"\n", b"a\n", b"a\n\nbc\n", b"abcdefgh\nij\n"])
def test_whole_lines_come_as_they_are(text: bytes, chunk: int) -> None:
    found, lines = taken(text, chunk)
    assert found == text
    assert (lines.lines, lines.consumed, lines.cut) == (text.count(b"\n"), len(text), 0)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_a_line_that_is_still_being_written_is_left(chunk: int) -> None:
    found, lines = taken(b"ab\ncd", chunk)
    assert (found, lines.consumed, lines.lines) == (b"ab\n", 3, 1)
    found, lines = taken(b"ab\ncd", chunk, last=True)
    assert (found, lines.consumed, lines.lines) == (b"ab\ncd\n", 5, 2)


@pytest.mark.parametrize("chunk", [1, 3, 8, 64])
def test_of_a_long_line_the_beginning_is_kept(chunk: int) -> None:
    text = b"ab\n" + b"x" * 50 + b"\ncd\n"
    found, lines = taken(text, chunk, longest=10)
    kept = found.split(b"\n")
    assert (kept[0], kept[2], lines.lines, lines.consumed) == (b"ab", b"cd", 3, len(text))
    assert kept[1].startswith(b"x" * 10)
    # A line that lies within one block costs no memory beyond it, and stays whole.
    assert lines.cut == (1 if chunk < 50 else 0)


def test_random_texts_and_chunks_lose_nothing() -> None:
    source = random.Random(7)
    for _round in range(300):
        text = bytes(source.choices(b"ab\n", k=source.randrange(60)))
        found, lines = taken(text, source.randrange(1, 9))
        end = text.rfind(b"\n") + 1
        assert (found, lines.consumed) == (text[:end], end)
