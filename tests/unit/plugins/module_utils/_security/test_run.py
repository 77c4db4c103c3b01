"""Tests of whole runs over real files, with a clock that is set by hand and a journal that is canned."""

from __future__ import annotations

import calendar
import datetime
import gzip
import json
import os
import pathlib
import time
from typing import Any

import jsonschema
import pytest
import yaml

from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import MISSING_TOOL, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._security import state
from ansible_collections.matrixon.ops.plugins.module_utils._security.language import Clock
from ansible_collections.matrixon.ops.plugins.module_utils._security.options import SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._security.run import Tools, watched

ROOT = pathlib.Path(__file__).resolve().parents[5]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
FIXTURES = ROOT / "tests/unit/fixtures/security"
PATTERNS = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/synapse.yml").read_text())["security"]
PATTERNS.pop("log")
NOW = datetime.datetime(2026, 11, 27, 17, 0, tzinfo=datetime.timezone.utc)


def utc(when: time.struct_time) -> float:
    return float(calendar.timegm(when))


def no_tool(argv: list[str], deadline: Deadline) -> Finished:
    raise ProbeFailure(MISSING_TOOL, f"{argv[0]} is not installed")


class Journal:
    """A journalctl that holds entries and knows cursors."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.calls: list[list[str]] = []

    def add(self, message: Any, seconds: float, **fields: str) -> None:
        given = {"MESSAGE": message, "_SYSTEMD_UNIT": "matrix-synapse.service", "_PID": "7", **fields}
        stamps = {"__CURSOR": f"i={len(self.entries)}", "__REALTIME_TIMESTAMP": str(int(seconds * 1e6))}
        self.entries.append({**given, **stamps})

    def __call__(self, argv: list[str]) -> Journal:
        self.calls.append(argv)
        first = 0
        for word in argv:
            if word.startswith("--cursor=i="):
                first = int(word.rpartition("=")[2])
        wanted = "_COMM=sshd" in argv
        chosen = [one for one in self.entries[first:] if ("_COMM" in one) == wanted]
        text = "".join(json.dumps(one, separators=(",", ":"), ensure_ascii=False) + "\n" for one in chosen)
        self.left = text.encode()
        return self

    def read(self, size: int, deadline: Deadline) -> bytes:
        block, self.left = self.left[:size], self.left[size:]
        return block

    def end(self, stop: bool) -> tuple[int, bytes]:
        return 0, b""


class Host:
    """One host with its logs, looked at again and again."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.log = directory / "homeserver.log"
        self.journal = Journal()
        self.now = NOW
        self.minute = 0

    def options(self, **given: Any) -> dict[str, Any]:
        defaults = {name: spec.get("default") for name, spec in SPEC.items()}
        fixed = {
            "target": "hs1",
            "deployment": "lab",
            "profile": "synapse",
            "unknown_as": "unknown",
            "patterns": PATTERNS,
            "log_files": [str(self.log)],
            "host_log": False,
            "state_dir": str(self.state),
        }
        return {**defaults, **fixed, **given}

    def look(self, check_mode: bool = False, commit: bool = True, **given: Any) -> dict[str, Any]:
        tools = Tools(self.journal, no_tool, str(self.directory), logs=Clock(utc))
        with watched(self.options(**given), check_mode, self.now, tools) as outcome:
            document = outcome.report.as_dict()
            if commit:
                outcome.commit()
        jsonschema.validate(document, SCHEMA)
        return document

    def fail(
        self, number: int, address: str = "203.0.113.5", user: str = "@bob:lab.test", when: str = "16:54:20"
    ) -> None:
        with open(self.log, "a") as file:
            file.write(wrong(number, user, when) + access(number, address, when))


def wrong(number: int, user: str = "@bob:lab.test", when: str = "16:54:20") -> str:
    return (
        f"2026-11-27 {when},242 - synapse.handlers.auth - 1435 - WARNING - POST-{number} - "
        f"Failed password login for user {user}\n"
    )


def access(number: int, address: str = "203.0.113.5", when: str = "16:54:20") -> str:
    return (
        f"2026-11-27 {when},243 - synapse.access.http.8008 - 643 - INFO - POST-{number} - {address} - 8008 - {{None}} "
        "Processed request: 0.005sec/0.000sec ru=(0.001sec, 0.000sec) db=(0.000sec/0.001sec/1) 64B 403 "
        '"POST /_matrix/client/v3/login HTTP/1.1" "agent" [0 dbevts]\n'
    )


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    return Host(tmp_path)


def check(document: dict[str, Any], name: str, target: str | None = None) -> dict[str, Any]:
    found = [one for one in document["checks"] if one["name"] == name and target in (None, one["target"])]
    assert len(found) == 1, (name, [(one["name"], one["target"]) for one in document["checks"]])
    return found[0]


def ranking(document: dict[str, Any], name: str) -> list[list[Any]]:
    found = [table["rows"] for table in document["facts"]["rankings"] if table["name"] == name]
    return found[0] if found else []


def test_the_recorded_logs_give_a_whole_report(host: Host) -> None:
    document = host.look(log_files=[f"{FIXTURES}/*.log"], show=["addresses", "users"])
    assert sum(document["facts"]["events"].values()) == 51
    assert document["facts"]["with_address"] == 50
    assert document["facts"]["events"]["login_wrong_password"] == 13
    # Moderation makes nobody stand out: alice, who banned, is here for what was tried with her name.
    assert ranking(document, "addresses")[0][:2] == ["203.0.113.7", 22.0]
    assert [row[:2] for row in ranking(document, "networks")] == [
        ["2001:db8:1:2::/64", 3.0],
        ["2001:db8:1:3::/64", 1.0],
    ]
    assert ranking(document, "users")[0][:2] == ["@alice:lab.test", 8.0]
    assert ranking(document, "limits")[0] == ["rc_login.failed_attempts", 8.0]
    (plot,) = document["facts"]["plots"]
    assert [series["name"] for series in plot["series"]][:2] == ["failed logins", "over a rate limit"]
    points = plot["series"][0]["points"]
    assert [point for point in points if point[1]] == [["2026-11-27T16:00:00Z", 19.0]]
    assert points[0][0] == "2026-11-26T17:00:00Z"
    assert document["facts"]["answer"].startswith(
        "19 failed logins to the homeserver since 2026-11-26 17:00 UTC; 203.0.113.7"
    )
    assert document["status"] == "warning"
    assert check(document, "admin_refused")["value"] == 4


def test_a_report_names_nobody_unless_it_is_asked_to(host: Host) -> None:
    text = json.dumps(host.look(log_files=[f"{FIXTURES}/*.log"]))
    for secret in ("203.0.113", "198.51.100", "192.0.2", "2001:db8", "@bob", "@alice", "carol", "nosuch"):
        assert secret not in text


def test_nothing_counts_twice_and_check_mode_does_not_move_the_place(host: Host) -> None:
    host.fail(1)
    for _run in range(2):
        assert host.look(check_mode=True)["facts"]["events"] == {"login_wrong_password": 1}
    assert not host.state.exists()
    assert host.look(commit=False)["facts"]["events"] == {"login_wrong_password": 1}
    assert host.look()["facts"]["events"] == {"login_wrong_password": 1}
    before = (host.state / state.NAME).read_bytes()
    host.fail(2)
    for _run in range(2):
        assert host.look(check_mode=True)["facts"]["events"] == {"login_wrong_password": 1}
    assert (host.state / state.NAME).read_bytes() == before
    assert host.look()["facts"]["events"] == {"login_wrong_password": 1}
    assert host.look()["facts"]["events"] == {}


def test_an_address_that_comes_in_the_next_run_is_joined(host: Host) -> None:
    host.log.write_text(wrong(1))
    first = host.look(show=["addresses"])
    assert (first["facts"]["events"], first["facts"]["with_address"]) == ({"login_wrong_password": 1}, 0)
    with open(host.log, "a") as file:
        file.write(access(1))
    second = host.look(show=["addresses"])
    assert (second["facts"]["events"], second["facts"]["with_address"]) == ({}, 1)
    assert ranking(second, "addresses") == [["203.0.113.5", 1.0, "wrong passwords 1"]]


def test_the_window_reaches_over_runs(host: Host) -> None:
    for number in range(10):
        host.fail(number)
    assert check(host.look(), "failed_logins_address")["value"] == 10
    host.now += datetime.timedelta(minutes=5)
    for number in range(10, 20):
        host.fail(number, when="17:02:00")
    document = host.look()
    assert check(document, "failed_logins_address")["value"] == 20
    assert check(document, "failed_logins_address")["status"] == "warning"
    host.now += datetime.timedelta(hours=3)
    document = host.look()
    # Each run judges what happened since the one before, and one window before that.
    assert check(document, "failed_logins_address")["value"] == 20
    assert check(host.look(), "failed_logins_address")["value"] == 0
    assert sum(point[1] for point in document["facts"]["plots"][0]["series"][0]["points"]) == 20


@pytest.mark.parametrize(("count", "status"), [(19, "ok"), (20, "warning"), (99, "warning"), (100, "critical")])
def test_thresholds_of_an_address(host: Host, count: int, status: str) -> None:
    for number in range(count):
        host.fail(number, user=f"@u{number}:lab.test", when=f"16:{number % 60:02}:00")
    assert check(host.look(), "failed_logins_address")["status"] == status
    assert check(host.look(), "failed_logins_user")["status"] == "ok"


def test_an_attack_from_one_ipv6_network_is_seen(host: Host) -> None:
    for number in range(30):
        host.fail(number, address=f"2001:db8:0:1::{number + 1:x}", when=f"16:{number:02}:00")
    found = check(host.look(show=["addresses"]), "failed_logins_address")
    assert (found["status"], found["value"]) == ("warning", 30)
    assert "2001:db8:0:1::/64" in found["message"]


def test_an_attack_on_one_user_from_everywhere_is_seen(host: Host) -> None:
    for number in range(25):
        host.fail(number, address=f"203.0.113.{number}", when=f"16:{number:02}:00")
    document = host.look(show=["users"])
    assert check(document, "failed_logins_address")["status"] == "ok"
    assert "@bob:lab.test" in check(document, "failed_logins_user")["message"]
    assert check(document, "failed_logins_user")["status"] == "warning"


def test_a_log_without_access_lines_makes_the_address_unknown(host: Host) -> None:
    host.log.write_text("".join(wrong(number) for number in range(25)))
    found = check(host.look(), "failed_logins_address")
    assert (found["status"], found["error_kind"]) == ("unknown", "parse")


@pytest.mark.parametrize(("proxies", "address"), [(["10.0.0.0/24"], "10.0.0.5"), ([], "127.0.0.1"), ([], "::1")])
def test_a_homeserver_that_sees_only_its_proxy_is_told(host: Host, proxies: list[str], address: str) -> None:
    host.fail(1, address=address)
    host.fail(2)
    found = check(host.look(proxies=proxies), "security_addresses")
    assert (found["status"], found["value"]) == ("warning", 50)
    assert "x_forwarded" in found["message"]


def test_a_log_of_another_format_is_unknown(host: Host) -> None:
    host.log.write_text("something else\n" * 100)
    document = host.look()
    assert check(document, "security_log", str(host.log))["error_kind"] == "parse"
    assert check(document, "failed_logins_minute")["status"] == "unknown"
    assert document["status"] == "unknown"
    assert "Not all was seen" in document["facts"]["answer"]
    assert "Nobody failed to log in" not in document["facts"]["answer"]


def test_a_journal_of_another_format_is_unknown(host: Host) -> None:
    given: dict[str, Any] = {"log_files": [], "journal_units": ["matrix-synapse.service"], "host_log": True}
    seconds = NOW.timestamp() - 60
    for _entry in range(20):
        host.journal.add("Started Synapse.", seconds, _PID="1")
    document = host.look(**given)
    assert check(document, "security_log", "journal: homeserver")["status"] == "ok"
    assert document["facts"]["answer"].startswith("Nobody failed to log in to the homeserver and SSH since")
    for _entry in range(20):
        host.journal.add("something else", seconds)
    document = host.look(**given)
    assert check(document, "security_log", "journal: homeserver")["error_kind"] == "parse"
    assert check(document, "failed_logins_minute")["status"] == "unknown"
    # Of the homeserver nothing is known.
    assert document["facts"]["answer"].startswith("Nobody failed to log in to SSH since")
    for _line in range(20):
        host.journal.add("  File of a traceback", seconds)
    host.journal.add(wrong(1).strip(), seconds)
    document = host.look(**given)
    assert check(document, "security_log", "journal: homeserver")["status"] == "ok"
    assert document["facts"]["events"] == {"login_wrong_password": 1}


def test_a_log_that_is_not_there_is_unknown_and_the_rest_is_told(host: Host) -> None:
    host.fail(1)
    document = host.look(log_files=[str(host.log), str(host.directory / "none.log")])
    assert document["facts"]["events"] == {"login_wrong_password": 1}
    assert check(document, "security_log", str(host.directory / "none.log"))["error_kind"] == "missing_tool"
    assert check(document, "failed_logins_minute")["status"] == "unknown"


def test_what_is_bad_enough_is_critical_though_not_all_was_seen(host: Host) -> None:
    for number in range(150):
        host.fail(number)
    document = host.look(log_files=[str(host.log), str(host.directory / "none.log")])
    assert check(document, "failed_logins_minute")["status"] == "critical"


def test_the_time_that_is_up_is_unknown_and_the_next_run_goes_on(host: Host) -> None:
    for number in range(100):
        host.fail(number)
    host.log.rename(f"{host.log}.1")
    host.fail(100)
    document = host.look(deadline=1e-9)
    found = check(document, "security_log", str(host.log))
    # One block is read whatever the time, so that each run gets on.
    assert document["facts"]["events"] == {"login_wrong_password": 100}
    assert (found["status"], found["error_kind"]) == ("unknown", "timeout")
    assert check(document, "rate_limited_minute")["error_kind"] == "timeout"
    document = host.look(deadline=1e-9)
    assert document["facts"]["events"] == {"login_wrong_password": 1}
    assert check(document, "security_log", str(host.log))["status"] == "ok"


def test_times_that_go_back_are_told_and_count(host: Host) -> None:
    with open(host.log, "w") as file:
        file.write(access(1, when="16:50:00"))
    host.look()
    host.fail(2, when="16:50:00")
    host.fail(3, when="14:10:00")
    document = host.look()
    assert document["facts"]["events"] == {"login_wrong_password": 2}
    host.fail(4, when="18:30:00")
    found = check(host.look(), "security_clock")
    assert (found["status"], found["value"]) == ("critical", 5400)
    assert "ahead" in found["message"]


def test_a_clock_that_went_back_between_blocks_is_told(host: Host) -> None:
    host.fail(1, when="16:50:00")
    (host.directory / "homeserver.log").rename(host.directory / "homeserver.log.1")
    host.fail(2, when="16:20:00")
    found = check(host.look(), "security_clock")
    assert (found["status"], found["value"]) == ("warning", 1800)
    assert "go back by" in found["message"]


def test_a_run_after_the_clock_went_back_says_so(host: Host) -> None:
    host.fail(1)
    host.look()
    host.now -= datetime.timedelta(hours=1)
    host.fail(2, when="15:55:00")
    document = host.look()
    assert check(document, "security_cursor")["status"] == "warning"
    assert document["facts"]["events"] == {"login_wrong_password": 1}


def test_a_garbled_cursor_is_kept_and_told(host: Host) -> None:
    host.fail(1)
    host.state.mkdir()
    (host.state / state.NAME).write_text("garbled")
    document = host.look()
    assert check(document, "security_cursor")["status"] == "warning"
    assert document["facts"]["events"] == {"login_wrong_password": 1}
    (kept,) = host.state.glob("*.garbled-*")
    assert kept.read_text() == "garbled"
    assert check(host.look(), "security_cursor")["status"] == "ok"


def test_a_first_run_leaves_out_what_is_older(host: Host) -> None:
    host.fail(1, when="01:00:00")
    host.fail(2, when="16:00:00")
    assert host.look(since_hours=2)["facts"]["events"] == {"login_wrong_password": 1}


def test_a_log_that_comes_later_is_read_as_a_first_run_reads(host: Host) -> None:
    host.fail(1)
    host.look()
    other = host.directory / "worker3.log"
    other.write_text(wrong(7, when="01:00:00") + wrong(8, when="16:00:00"))
    document = host.look(log_files=[str(host.log), str(other)], since_hours=2)
    assert document["facts"]["events"] == {"login_wrong_password": 1}


def test_other_units_of_the_homeserver_do_not_count_the_old_ones_again(host: Host) -> None:
    seconds = NOW.timestamp() - 60
    host.journal.add(wrong(1).strip(), seconds)
    host.look(log_files=[], journal_units=["a.service"])
    host.journal.add(wrong(2).strip(), seconds)
    document = host.look(log_files=[], journal_units=["a.service", "b.service"])
    assert document["facts"]["events"] == {"login_wrong_password": 1}


def test_rotated_and_packed_logs_count_once(host: Host) -> None:
    host.fail(1)
    host.look()
    host.fail(2)
    packed = host.directory / "homeserver.log.1.gz"
    packed.write_bytes(gzip.compress(host.log.read_bytes()))
    os.truncate(host.log, 0)
    host.fail(3)
    assert host.look()["facts"]["events"] == {"login_wrong_password": 2}
    assert host.look()["facts"]["events"] == {}


def test_the_journal_is_read_on_from_its_cursor(host: Host) -> None:
    seconds = NOW.timestamp() - 60
    host.journal.add(wrong(1).strip(), seconds)
    host.journal.add("Failed password for root from 203.0.113.5 port 4 ssh2", seconds, _COMM="sshd", _UID="0")
    host.journal.add(access(1).strip(), seconds)
    given: dict[str, Any] = {"log_files": [], "journal_units": ["matrix-synapse.service"], "host_log": True}
    document = host.look(**given)
    assert document["facts"]["events"] == {"login_wrong_password": 1, "ssh_failed": 1}
    assert document["facts"]["with_address"] == 2
    assert all(any(word.startswith("--since=") for word in call) for call in host.journal.calls)
    host.journal.calls.clear()
    host.journal.add(list(wrong(2).strip().encode() + b"\xff"), seconds)
    document = host.look(**given)
    assert document["facts"]["events"] == {"login_wrong_password": 1}
    assert sorted(word for call in host.journal.calls for word in call if word.startswith("--cursor=")) == [
        "--cursor=i=1",
        "--cursor=i=2",
    ]
    assert host.look(**given)["facts"]["events"] == {}


def test_a_journal_without_a_line_of_the_homeserver_is_unknown_at_first(host: Host) -> None:
    found = check(host.look(log_files=[], journal_units=["other.service"]), "security_log", "journal: homeserver")
    assert (found["status"], found["error_kind"]) == ("unknown", "internal")


def test_a_profile_without_patterns_skips_and_says_why(host: Host) -> None:
    document = host.look(patterns=None, log_files=[], unsupported="nobody saw its log", host_log=True)
    for name in ("failed_logins_minute", "bans"):
        assert check(document, name)["skipped_reason"] == "nobody saw its log"
    assert check(document, "ssh_failed_minute")["status"] == "ok"


def test_checks_can_be_skipped_with_a_reason(host: Host) -> None:
    host.fail(1)
    document = host.look(skip_checks={"bans": "a room for tests"})
    assert check(document, "bans")["skipped_reason"] == "a room for tests"


def test_jails_that_must_be_there_make_a_missing_fail2ban_critical(host: Host) -> None:
    host.fail(1)
    assert check(host.look(), "fail2ban")["status"] == "skipped"
    assert check(host.look(fail2ban_jails=["sshd"]), "fail2ban")["status"] == "critical"


def test_wrong_options_are_refused_before_anything_is_made(host: Host) -> None:
    with pytest.raises(OptionErrors, match="top: 0 cannot be"):
        host.look(top=0)
    assert not host.state.exists()


def test_a_log_larger_than_what_is_held_at_once_and_a_line_of_a_megabyte(host: Host) -> None:
    filler = "2026-11-27 16:54:20,242 - synapse.x - 1 - INFO - GET-1 - " + "x" * 200 + "\n"
    with open(host.log, "w") as file:
        for number in range(60):
            file.write(wrong(number) + filler * 500 + access(number))
            if number == 30:
                file.write("y" * 1_500_000 + "\n" + wrong(900)[:-1] + " " * 1_200_000 + "\n")
    tools = Tools(self_journal := host.journal, no_tool, logs=Clock(utc), chunk=65536)
    assert not self_journal.entries
    with watched(host.options(), True, NOW, tools) as outcome:
        facts = outcome.report.facts
    assert facts["events"] == {"login_wrong_password": 61}
    assert facts["with_address"] == 60
    assert facts["sources"][0]["long_lines"] == 2
