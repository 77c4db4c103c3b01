"""Tests of what is found in log text: lines that a running server wrote, and lines that try to look like them."""

from __future__ import annotations

import json
import pathlib
import re
import time
from collections import Counter
from typing import Any

import pytest
import yaml

from ansible_collections.matrixon.ops.plugins.module_utils._security.language import (
    HOST_LANGUAGE,
    Clock,
    Reader,
    compile_language,
    found_at,
)
from ansible_collections.matrixon.ops.plugins.module_utils._security.model import (
    KINDS,
    SERVER,
    Access,
    Event,
    address_of,
    source_of,
)
from ansible_collections.matrixon.ops.plugins.module_utils._security.tally import Tally

ROOT = pathlib.Path(__file__).resolve().parents[5]
FIXTURES = sorted((ROOT / "tests/unit/fixtures/security").glob("*.log"))
PROFILE = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/synapse.yml").read_text())["security"]
LANGUAGE = compile_language(PROFILE)
SERVLETS = "synapse.http.server"

# Counted with grep in what the server wrote; the lines are the requests that were made to provoke them.
COUNTS = {
    "main": {"login_wrong_password": 1, "admin_refused": 4, "token_refused": 1},
    "worker1": {
        "login_wrong_password": 8,
        "login_unknown_user": 1,
        "rate_limited": 9,
        "registration_refused": 1,
        "ban": 2,
        "kick": 1,
        "banned_user": 1,
        "federation_refused": 2,
    },
    "worker2": {
        "login_wrong_password": 4,
        "login_unknown_user": 5,
        "rate_limited": 6,
        "token_refused": 1,
        "account_locked": 1,
        "federation_signature": 3,
    },
}


def utc(when: time.struct_time) -> float:
    import calendar

    return float(calendar.timegm(when))


def read(*chunks: bytes, language: Any = LANGUAGE, unit: str = "u") -> list[Event | Access]:
    seen: list[Event | Access] = []
    reader = Reader(language, seen.append, Clock(utc))
    for chunk in chunks:
        reader.text(chunk, unit)
    return seen


def events(*chunks: bytes) -> list[Event]:
    return [one for one in read(*chunks) if isinstance(one, Event)]


def entry(message: Any, **fields: str) -> bytes:
    given = {"__REALTIME_TIMESTAMP": "1795798554545419", "_SYSTEMD_UNIT": "matrix-synapse.service", "_PID": "7"}
    whole = {**given, "MESSAGE": message, **fields}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def line(message: str, logger: str = "synapse.handlers.auth", request: str = "POST-1") -> str:
    return f"2026-11-27 16:54:20,242 - {logger} - 1435 - WARNING - {request} - {message}"


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_real_lines_give_exact_counts(path: pathlib.Path) -> None:
    found = Counter(event.kind for event in events(path.read_bytes()))
    assert found == COUNTS[path.stem]


def test_every_kind_of_the_profile_has_real_lines() -> None:
    shown = {kind for counts in COUNTS.values() for kind in counts}
    assert {event["kind"] for event in PROFILE["events"]} == shown
    assert shown == {kind.name for kind in KINDS.values() if kind.origin == SERVER}
    # And every pattern, where a kind has several.
    text = b"".join(path.read_bytes() for path in FIXTURES)
    for rule in LANGUAGE.rules:
        alone = Reader(LANGUAGE.__class__(LANGUAGE.line, (rule,), LANGUAGE.internal_paths), (seen := []).append)
        alone.text(text, "u")
        assert seen or rule.needle == b'B 400 "', rule.needle


def test_every_event_of_the_real_lines_gets_its_address_but_the_one_that_was_forged() -> None:
    tally = Tally()
    for path in FIXTURES:
        Reader(LANGUAGE, tally.take, Clock(utc)).text(path.read_bytes(), path.stem)
    total = sum(sum(counts.values()) for counts in COUNTS.values())
    assert sum(tally.kinds.values()) == total
    assert sum(tally.with_address.values()) == total - 1
    (waiting,) = tally.waiting
    assert waiting == ("worker1", "POST-1")
    addresses = Counter()
    for (_minute, kind, address), count in tally.addresses.items():
        addresses[(kind, address)] += count
    assert addresses[("login_wrong_password", "2001:db8:1:2::7")] == 1
    assert addresses[("login_unknown_user", "2001:db8:1:2::9")] == 2
    assert addresses[("admin_refused", "198.51.100.77")] == 1
    assert tally.details[("rate_limited", "rc_login.failed_attempts")] == 8
    assert tally.details[("federation_signature", "evil.example")] == 1


def test_an_event_tells_user_and_time() -> None:
    (event,) = events(line("Failed password login for user @bob:lab.test").encode() + b"\n")
    assert event == Event("login_wrong_password", 1795798460.0, "u", "POST-1", None, "@bob:lab.test")


@pytest.mark.parametrize(
    "text",
    [
        "Failed password login for user @bob:lab.test",
        line("Failed password login for user @bob:lab.test", logger="synapse.access.http.8008"),
        line('1.2.3.4 - 8008 - {None} Processed request: 0.1sec "Failed password login for user @a:b"', "x.y"),
        "x" + line("Failed password login for user @bob:lab.test"),
        line("I say: Failed password login for user @bob:lab.test"),
        line("Failed password login for user @bob:lab.test").replace("2026-11-27", "2026-13-99"),
        line("Attempted to login as @bob:lab.test"),
        line(
            "<R uri='/_synapse/replication/x' site='1'> SynapseError: 429 - Too Many Requests (rc_x)",
            "synapse.http.server",
        ),
        line(
            "<R uri='/_matrix/client/v3/sync' site='1'> SynapseError: 401 - Missing access token", "synapse.http.server"
        ),
    ],
    ids=[
        "bare",
        "other logger",
        "user agent",
        "not at the start",
        "not at once",
        "no time",
        "cut",
        "internal",
        "no admin",
    ],
)
def test_what_only_looks_like_an_event_is_none(text: str) -> None:
    assert events(text.encode() + b"\n") == []


def test_a_line_of_a_megabyte_costs_no_more_than_its_length() -> None:
    needle = b"Failed password login for user "
    text = needle * 200_000 + b"\n" + line("Failed password login for user @b:c").encode() + b"\n"
    started = time.monotonic()
    assert len(events(text)) == 1
    # Looking back from each of the needles would take minutes.
    assert time.monotonic() - started < 20


def test_a_long_name_is_cut_and_counts() -> None:
    (event,) = events(line(f"Attempted to login as @{'x' * 100_000}:l but they do not exist").encode())
    assert event.user == "@" + "x" * 254


def test_lines_are_found_in_their_order() -> None:
    assert found_at(b"b\nab\nc a b\n", [b"a", b"b"]) == [(0, 1), (2, 0), (2, 1), (5, 0), (5, 1)]


def test_the_journal_gives_the_same_as_files() -> None:
    for path in FIXTURES:
        lines = path.read_bytes().splitlines()
        seen: list[Event | Access] = []
        chunk = b"".join(entry(one.decode()) for one in lines)
        assert Reader(LANGUAGE, seen.append).journal(chunk) == 0
        assert Counter(one.kind for one in seen if isinstance(one, Event)) == COUNTS[path.stem]
        assert sum(isinstance(one, Access) for one in seen) == sum(
            isinstance(one, Access) for one in read(path.read_bytes())
        )


def test_binary_fields_and_fields_that_stand_twice_are_read() -> None:
    raw = line("Attempted to login as @x").encode() + b"\xff\x00:lab.test but they do not exist"
    seen: list[Event | Access] = []
    chunk = entry(list(raw)) + entry([line("Failed password login for user @a:b"), "second"]) + entry(None) + entry([])
    assert Reader(LANGUAGE, seen.append).journal(chunk) == 0
    assert [one.user for one in seen] == ["@x�\0:lab.test", "@a:b"]
    assert {one.seconds for one in seen if isinstance(one, Event)} == {1795798554.545419}
    assert {one.unit for one in seen} == {"matrix-synapse.service 7"}


def test_entries_that_are_no_json_are_counted() -> None:
    assert Reader(LANGUAGE, list().append).journal(b'{"MESSAGE":[1,\n{"MESSAGE":[300]}\n{"a":"b"}\n') == 2


SSH = {"_COMM": "sshd", "_UID": "0", "_EXE": "/usr/sbin/sshd"}
SUDO = {"_COMM": "sudo", "_UID": "1000", "_EXE": "/usr/bin/sudo"}


@pytest.mark.parametrize(
    ("message", "fields", "expected"),
    [
        ("Failed password for root from 203.0.113.5 port 4242 ssh2", SSH, ("ssh_failed", "root", "203.0.113.5", 1)),
        (
            "Failed password for root from 2001:db8::5 port 4242 ssh2",
            {**SSH, "_COMM": "sshd-session", "_EXE": "/usr/lib/openssh/sshd-session"},
            ("ssh_failed", "root", "2001:db8::5", 1),
        ),
        ("Invalid user admin from 203.0.113.5 port 4242", SSH, ("ssh_unknown_user", "admin", "203.0.113.5", 1)),
        # The name comes from whoever asks, and so may hold an address of somebody else.
        (
            "Invalid user a from 192.0.2.1 port 1 from 203.0.113.5 port 4242",
            SSH,
            ("ssh_unknown_user", "a from 192.0.2.1 port 1", "203.0.113.5", 1),
        ),
        ("Failed password for invalid user admin from 203.0.113.5 port 4242 ssh2", SSH, None),
        ("Failed password for root from 203.0.113.5 port 4242 ssh2", {"_COMM": "logger", "_UID": "0"}, None),
        ("Failed password for root from 203.0.113.5 port 4242 ssh2", {**SSH, "_UID": "1000"}, None),
        (
            "     bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
            SUDO,
            ("sudo_failed", "bob", None, 3),
        ),
        ("bob : user NOT in sudoers ; TTY=pts/0 ; COMMAND=/bin/ls", SUDO, ("sudo_refused", "bob", None, 1)),
        ("bob : command not allowed ; TTY=pts/0 ; COMMAND=/bin/ls", SUDO, ("sudo_refused", "bob", None, 1)),
        ("bob : user NOT in sudoers ; TTY=pts/0", {**SUDO, "_EXE": "/home/bob/sudo"}, None),
        ("bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/echo 3 incorrect password attempts ;", SUDO, None),
    ],
)
def test_the_host_own_log(message: str, fields: dict[str, str], expected: tuple[Any, ...] | None) -> None:
    seen: list[Event | Access] = []
    Reader(HOST_LANGUAGE, seen.append, programs=True).journal(entry(message, **fields))
    found = [(one.kind, one.user, one.address, one.times) for one in seen if isinstance(one, Event)]
    assert found == ([expected] if expected else [])


def test_a_log_of_another_format_is_told_from_a_quiet_one() -> None:
    reader = Reader(LANGUAGE, list().append)
    reader.text(b"something else\n" * 20, "u")
    assert (reader.tried, reader.fitting) == (8, 0)
    reader.text(FIXTURES[0].read_bytes(), "u")
    assert reader.fitting > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"line": "(?P<time>.*)"}, "line: '(?P<time>.*)' lacks the group logger"),
        ({"line": "(?P<time>.*)("}, "line: '(?P<time>.*)(' is no regular expression: missing ), unterminated"),
        ({"access": {"logger": "x", "needles": ["x"], "pattern": "x"}}, "access.pattern: 'x' lacks the group address"),
    ],
)
def test_patterns_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        compile_language({**PROFILE, **changes})


@pytest.mark.parametrize(
    ("text", "address", "source"),
    [
        ("203.0.113.5", "203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5", "203.0.113.5"),
        ("2001:DB8:0:0:1::7", "2001:db8::1:0:0:7", "2001:db8:0:0::/64"),
        ("fe80::1%eth0", "fe80::1", "fe80::/64"),
        ("::1", "::1", "::1"),
    ],
)
def test_addresses_are_written_one_way(text: str, address: str, source: str) -> None:
    import ipaddress

    assert address_of(text) == address
    expected = str(ipaddress.ip_network(source)) if "/" in source else source
    assert source_of(address) == expected


def test_a_text_that_is_no_address_is_none() -> None:
    assert address_of("unknown") is None
    assert address_of("") is None
