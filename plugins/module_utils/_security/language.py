# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Find events in log text: whole chunks are searched for words that stand in every line of a kind.

Only lines that hold such a word are looked at with a regular expression, so
what costs is the number of events and not the size of the log.
"""

from __future__ import annotations

import json
import os
import re
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._security.model import Access, Event, address_of

LONGEST_NAME = 255
BINARY = b'"MESSAGE":['
SAMPLE, SAMPLED = 16384, 8
# Each line of a traceback is an entry of its own.
JOURNAL_SAMPLED = 64
LEAST_SHARED = 12
MOST_LOGGERS = 1000

Sink = t.Callable[[t.Union[Event, Access]], None]


@dataclass(frozen=True)
class Rule:
    """One pattern of a kind, or of the access line, whose kind is empty."""

    kind: str
    needle: bytes
    logger: re.Pattern[bytes]
    pattern: re.Pattern[bytes]
    # What was said of a logger before.
    known: dict[bytes, bool] = field(default_factory=dict, compare=False, repr=False)

    def writes(self, logger: bytes) -> bool:
        """Return whether this logger writes such lines."""
        found = self.known.get(logger)
        if found is None:
            found = self.logger.fullmatch(logger) is not None
            if len(self.known) < MOST_LOGGERS:
                self.known[logger] = found
        return found


@dataclass(frozen=True)
class Language:
    """How a log is read: how lines begin, and the rules."""

    line: re.Pattern[bytes]
    rules: tuple[Rule, ...]
    internal_paths: bytes | None = None


def compile_language(given: dict[str, t.Any]) -> Language:
    """Return the language of a profile's group ``security``. Raise ValueError naming what cannot be."""
    line = _compiled("line", given["line"], {"time", "logger"})
    rules = [
        Rule(
            event["kind"],
            event["needle"].encode(),
            _compiled(f"events[{number}].logger", event["logger"]),
            _compiled(f"events[{number}].pattern", event["pattern"]),
        )
        for number, event in enumerate(given["events"])
    ]
    access = given.get("access")
    if access:
        logger = _compiled("access.logger", access["logger"])
        pattern = _compiled("access.pattern", access["pattern"], {"address"})
        rules += [Rule("", needle.encode(), logger, pattern) for needle in access["needles"]]
    internal = given.get("internal_paths")
    return Language(line, tuple(rules), internal.encode() if internal else None)


def _compiled(where: str, text: str, groups: t.Collection[str] = ()) -> re.Pattern[bytes]:
    try:
        pattern = re.compile(text.encode())
    except re.error as error:
        raise ValueError(f"{where}: {text!r} is no regular expression: {error}") from error
    missing = sorted(set(groups) - set(pattern.groupindex))
    if missing:
        raise ValueError(f"{where}: {text!r} lacks the group {missing[0]}; write (?P<{missing[0]}>...)")
    return pattern


class Clock:
    """Turns the times of log lines into seconds since 1970. A log file is written in the time of its host."""

    def __init__(self, mktime: t.Callable[[time.struct_time], float] = time.mktime) -> None:
        self._mktime = mktime
        self._minutes: dict[bytes, float | None] = {}

    def seconds(self, text: bytes) -> float | None:
        """Return the seconds of a time such as 2026-11-27 16:54:20; None for one that cannot be."""
        minute = text[:16]
        if minute not in self._minutes:
            if len(self._minutes) > 10000:
                self._minutes.clear()
            self._minutes[minute] = self._read(minute)
        start = self._minutes[minute]
        second = text[17:19]
        return start + int(second) if start is not None and second.isdigit() else start

    def _read(self, minute: bytes) -> float | None:
        try:
            words = minute.decode("ascii").replace("T", " ")
            return self._mktime(time.strptime(words, "%Y-%m-%d %H:%M"))
        except (ValueError, OverflowError):
            return None


def grouped(rules: t.Sequence[Rule]) -> list[tuple[bytes, tuple[Rule, ...]]]:
    """Return what a log is searched for, and the rules of each: those whose needles begin alike are sought once."""
    groups: list[tuple[bytes, list[Rule]]] = []
    for rule in rules:
        for at, (needle, members) in enumerate(groups):
            shared = os.path.commonprefix([needle.decode(), rule.needle.decode()]).encode()
            if len(shared) >= LEAST_SHARED or needle == rule.needle:
                groups[at] = shared, [*members, rule]
                break
        else:
            groups.append((rule.needle, [rule]))
    return [(needle, tuple(members)) for needle, members in groups]


def found_at(chunk: bytes, needles: t.Sequence[bytes]) -> list[tuple[int, int]]:
    """Return (start of line, number of needle) in the order of the lines, each pair once."""
    found = []
    for number, needle in enumerate(needles):
        at = chunk.find(needle)
        while at >= 0:
            found.append((chunk.rfind(b"\n", 0, at) + 1, number))
            end = chunk.find(b"\n", at)
            at = chunk.find(needle, end) if end >= 0 else -1
    found.sort()
    return found


@dataclass
class Reader:
    """Finds the events of one log and hands them on, in the order of its lines.

    ``awaited`` says of a request whether anybody wants to know where it came
    from: the ends of all others are passed over.
    """

    language: Language
    sink: Sink
    clock: Clock = field(default_factory=Clock)
    # Whether the program that wrote a journal entry stands before its message, as the loggers of a server do.
    programs: bool = False
    awaited: t.Callable[[tuple[str, str]], bool] | None = None
    # Of each chunk the first lines are held against how lines begin: a log of another format is not a quiet one.
    tried: int = 0
    fitting: int = 0

    def __post_init__(self) -> None:
        groups = grouped(self.language.rules)
        self._needles = [needle for needle, _rules in groups]
        self._rules = [rules for _needle, rules in groups]
        escaped = [json.dumps(one.decode(), ensure_ascii=False)[1:-1].encode() for one in self._needles]
        self._escaped = [*escaped, BINARY]
        self._has_request = "request" in self.language.line.groupindex
        self._internal = self.language.internal_paths

    def text(self, chunk: bytes, unit: str) -> None:
        """Read whole lines of a log file."""
        for line in chunk[:SAMPLE].split(b"\n", SAMPLED)[:SAMPLED]:
            self._try(line)
        for start, number in found_at(chunk, self._needles):
            end = chunk.find(b"\n", start)
            self._line(chunk, start, len(chunk) if end < 0 else end, self._rules[number], unit, None)

    def journal(self, chunk: bytes) -> int:
        """Read whole lines of ``journalctl -o json``; return how many were not understood."""
        if not self.programs and not self.fitting:
            self._sample(chunk)
        bad, last = 0, -1
        for start, _number in found_at(chunk, self._escaped):
            if start == last:
                continue
            last = start
            end = chunk.find(b"\n", start)
            try:
                entry = json.loads(chunk[start : len(chunk) if end < 0 else end])
                seconds = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
                messages = message_of(entry).split(b"\n")
            except (ValueError, KeyError, TypeError, AttributeError):
                bad += 1
                continue
            unit = f"{entry.get('_SYSTEMD_UNIT', '')} {entry.get('_PID', '')}"
            program = program_of(entry) + b": " if self.programs else b""
            for message in messages:
                self._line(program + message, 0, len(program) + len(message), self.language.rules, unit, seconds)
        return bad

    def _sample(self, chunk: bytes) -> None:
        """Look for an entry that begins as lines do. What systemd tells of the unit is not the server's."""
        for line in chunk.split(b"\n", JOURNAL_SAMPLED)[:JOURNAL_SAMPLED]:
            try:
                entry = json.loads(line)
                message = message_of(entry).split(b"\n", 1)[0]
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if entry.get("_PID") != "1":
                self._try(message)
            if self.fitting:
                return

    def _try(self, line: bytes) -> None:
        self.tried += bool(line)
        self.fitting += bool(self.language.line.match(line))

    def _line(
        self, text: bytes, start: int, end: int, rules: t.Sequence[Rule], unit: str, seconds: float | None
    ) -> None:
        begun = None
        for rule in rules:
            if text.find(rule.needle, start, end) < 0:
                continue
            if begun is None:
                begun = self.language.line.match(text, start, end)
                if begun is None:
                    return
            if rule.writes(begun["logger"]):
                self._apply(rule, begun, text, end, unit, seconds)

    def _apply(
        self, rule: Rule, begun: re.Match[bytes], text: bytes, end: int, unit: str, seconds: float | None
    ) -> None:
        request = begun["request"] if self._has_request else None
        named = request.decode() if request else None
        if not rule.kind and (named is None or (self.awaited is not None and not self.awaited((unit, named)))):
            return
        match = rule.pattern.match(text, begun.end(), end)
        when = self.clock.seconds(begun["time"]) if seconds is None else seconds
        if match is None or when is None:
            return
        get = match.groupdict().get
        path, origin, user = get("path"), get("address"), get("user")
        internal = path is not None and self._internal is not None and path.startswith(self._internal)
        address = address_of(origin.decode("utf-8", "replace")) if origin else None
        named_user = _user(user, origin is not None) if user is not None else None
        if not rule.kind:
            if named and address:
                self.sink(Access(unit, named, address, named_user, internal))
        elif not internal:
            detail, times = get("detail"), get("count")
            words = _text(detail) if detail is not None else None
            self.sink(Event(rule.kind, when, unit, named, address, named_user, words, int(times) if times else 1))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")[:LONGEST_NAME]


def _user(raw: bytes, requester: bool) -> str | None:
    """Return a user. Of a requester who acts for somebody else, the one who acts."""
    user = _text(raw)
    if requester:
        user = user.partition("|")[0]
    return user if user not in ("", "None") else None


def program_of(entry: dict[str, t.Any]) -> bytes:
    """Return the program that wrote an entry, by what journald itself saw of the process; empty if it does not fit.

    The identifier is what the process called itself, so anybody can write as sshd.
    """
    program = str(entry.get("_COMM", ""))
    path = str(entry.get("_EXE", ""))
    if program.startswith("sshd") and entry.get("_UID") != "0":
        return b""
    if path and not path.startswith("/usr/"):
        return b""
    return program.encode("utf-8", "replace")


def message_of(entry: dict[str, t.Any]) -> bytes:
    """Return the message of a journal entry: a text, or the bytes of one that is no UTF-8, or the first of several."""
    message = entry["MESSAGE"]
    if isinstance(message, list) and message and not isinstance(message[0], int):
        message = message[0]
    if isinstance(message, list):
        return bytes(message)
    return str(message).encode("utf-8", "surrogatepass")


# What sshd and sudo write, in the words of Debian 12 and 13. A name comes from whoever asks: what counts as the
# address is what stands last.
HOST_LANGUAGE = compile_language(
    {
        "line": "(?P<time>)(?P<logger>[\\w-]+): ",
        "events": [
            {
                "kind": "ssh_failed",
                "needle": "Failed password for ",
                "logger": "sshd.*",
                "pattern": r"Failed password for (?!invalid user )(?P<user>.*) from (?P<address>\S+) port \d+ ssh2$",
            },
            {
                "kind": "ssh_unknown_user",
                "needle": "Invalid user ",
                "logger": "sshd.*",
                "pattern": r"Invalid user (?P<user>.*) from (?P<address>\S+)(?: port \d+)?$",
            },
            {
                "kind": "sudo_failed",
                "needle": " incorrect password attempt",
                "logger": "sudo",
                "pattern": r"\s*(?P<user>\S+) : (?P<count>\d{1,3}) incorrect password attempts? ;",
            },
            {
                "kind": "sudo_refused",
                "needle": " : user NOT in sudoers ;",
                "logger": "sudo",
                "pattern": r"\s*(?P<user>\S+) : user NOT in sudoers ;",
            },
            {
                "kind": "sudo_refused",
                "needle": " : command not allowed ;",
                "logger": "sudo",
                "pattern": r"\s*(?P<user>\S+) : command not allowed ;",
            },
        ],
    }
)
HOST_PROGRAMS = ("sshd", "sshd-session", "sshd-auth", "sudo")
