"""Maintenance windows: when they may be announced, opened and go on, and what their report says."""

from __future__ import annotations

import datetime
import json
import pathlib
import typing as t

import jsonschema
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._journal import NotAJournal
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339
from ansible_collections.matrixon.ops.plugins.module_utils._window import answer, journal
from ansible_collections.matrixon.ops.plugins.module_utils._window.model import window_of
from ansible_collections.matrixon.ops.plugins.module_utils._window.run import run
from ansible_collections.matrixon.ops.plugins.module_utils._window.silence import Wanted

SCHEMA = json.loads((pathlib.Path(__file__).resolve().parents[5] / "docs/report.schema.json").read_text())
STARTS = datetime.datetime(2026, 12, 1, 2, tzinfo=datetime.timezone.utc)
WINDOW = {
    "id": "2026-12-01-db",
    "starts": "2026-12-01T02:00:00Z",
    "ends": "2026-12-01T04:00:00Z",
    "summary": "The database is updated.",
    "affects": ["postgresql"],
    "rollback": "https://wiki.example.com/rollback",
}


def at(hours: float) -> datetime.datetime:
    """A moment, by the hours behind the start of the window."""
    return STARTS + datetime.timedelta(hours=hours)


def health(target: str, now: datetime.datetime, **statuses: str) -> dict[str, t.Any]:
    checks = [
        {"name": name, "target": target, "status": status, "message": f"{name} says {status}", "source": "probe"}
        for name, status in statuses.items()
    ]
    return {"target": target, "started": rfc3339(now), "finished": rfc3339(now), "checks": checks}


def backup(target: str, age: float | None) -> dict[str, t.Any]:
    check = {"name": "verified_age", "target": target, "status": "ok", "source": "probe", "message": "none was proven"}
    return {"target": target, "checks": [{**check, **({"value": age} if age is not None else {})}]}


@pytest.fixture
def ask(tmp_path: pathlib.Path) -> t.Callable[..., dict[str, t.Any]]:
    """A way to ask for a state at a time, with a fleet that is well."""

    def ask(state: str, hours: float, check_mode: bool = False, **given: t.Any) -> dict[str, t.Any]:
        now = at(hours)
        options = {
            "state": state,
            "deployment": "example.com",
            "profile": "synapse",
            "directory": str(tmp_path),
            "window": WINDOW if state in ("announced", "opened") else None,
            "longest_hours": 24.0,
            "notice_hours": 48.0,
            "earliest_hours": 72.0,
            "short_notice": "",
            "margin": 900.0,
            "backup_max_age": 93600.0,
            "clock_tolerance": 5.0,
            "health": [health("db1", now, disk_space="ok", load="warning")],
            "silent": {},
            "backups": [backup("db1", 3600)],
            "drained": [],
            "clocks": [
                {"host": "db1", **dict.fromkeys(("before", "started", "finished", "after"), rfc3339(now))},
            ],
            "answer": "none",
            "step": "update db1",
            "required": True,
            "silence": "abc",
            "answers": {},
            "silence_error": None,
            "told": [],
            **given,
        }
        return run(options, check_mode, now)

    return ask


def checks(result: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    jsonschema.validate(result["report"], SCHEMA)
    return {check["name"]: check for check in result["report"]["checks"]}


# --- the window


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "../x"}, "window.id"),
        ({"id": ""}, "window.id"),
        ({"starts": "2026-12-01 02:00"}, "window.starts"),
        ({"starts": "2026-12-01T02:00:00+01:00"}, "not in UTC"),
        ({"ends": "2026-12-01T02:00:00Z"}, "not behind window.starts"),
        ({"ends": "2026-12-02T02:00:01Z"}, "longer than the 24 hours"),
        ({"summary": ""}, "window.summary"),
        ({"affects": []}, "window.affects"),
    ],
)
def test_a_window_that_cannot_be_right_is_refused(change: dict[str, t.Any], said: str) -> None:
    with pytest.raises(OptionErrors, match=said):
        window_of({**WINDOW, **change})


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(OptionErrors) as caught:
        window_of({**WINDOW, "id": "a b", "starts": "soon", "summary": ""})
    assert len(caught.value.errors) == 3


def test_the_longest_window_is_taken() -> None:
    assert window_of({**WINDOW, "ends": "2026-12-02T02:00:00Z"}).left(STARTS) == 86400


def test_its_start_is_in_it_and_its_end_is_not() -> None:
    window = window_of(WINDOW)
    moments = (-0.001, 0, 1.999, 2)
    assert [window.stage(at(moment)) for moment in moments] == ["before", "in", "in", "after"]


# --- announce


@pytest.mark.parametrize(("ahead", "allowed"), [(71, True), (48, True), (47.99, False), (1, False), (-1, False)])
def test_people_are_told_in_time_or_not_at_all(ask: t.Any, ahead: float, allowed: bool) -> None:
    result = ask("announced", -ahead)
    assert result["allowed"] is allowed and bool(result["reasons"]) is not allowed
    assert bool(ask("read", -ahead, window=WINDOW)["journal"]) is allowed


def test_too_early_nobody_is_told(ask: t.Any) -> None:
    result = ask("announced", -72.5)
    assert "from 2026-11-28 02:00 UTC on" in result["early"] and not result["journal"]
    assert ask("announced", -72)["early"] == ""


def test_short_notice_needs_its_reason_which_the_report_keeps(ask: t.Any) -> None:
    told = ask("announced", -3, short_notice="a hole in the kernel")["journal"]["announced"]
    assert told["short_notice"] == "a hole in the kernel"
    ask("opened", 0.1)
    found = checks(ask("closed", 0.5))["window_announced"]
    assert found["status"] == "warning" and "a hole in the kernel" in found["message"]


def test_a_reason_that_was_not_needed_does_not_count(ask: t.Any) -> None:
    assert ask("announced", -50, short_notice="just so")["journal"]["announced"]["short_notice"] == ""


def test_short_notice_does_not_announce_what_is_over(ask: t.Any) -> None:
    assert not ask("announced", 2, short_notice="late")["allowed"]


def test_what_was_announced_is_announced_once_and_stands(ask: t.Any) -> None:
    first = ask("announced", -50)["journal"]
    assert ask("announced", -10)["journal"] == first
    other = ask("announced", -49, window={**WINDOW, "ends": "2026-12-01T05:00:00Z"})
    assert "give it a new id" in other["reasons"][0]


def test_check_mode_writes_nothing(ask: t.Any, tmp_path: pathlib.Path) -> None:
    assert ask("announced", -50, check_mode=True)["journal"]["state"] == "announced"
    assert not list(tmp_path.rglob("*.json"))


# --- open


def test_everything_against_a_window_is_told_at_once(ask: t.Any) -> None:
    behind = {
        "host": "db1",
        "before": rfc3339(at(0)),
        "started": rfc3339(at(-0.1)),
        "finished": rfc3339(at(-0.1)),
        "after": rfc3339(at(0)),
    }
    result = ask(
        "opened",
        -1,
        window={**WINDOW, "rollback": " "},
        backups=[backup("db1", 93601), backup("hs1", None)],
        silent={"hs1": "no route"},
        drained=["homeserver_main/main"],
        clocks=[behind],
    )
    said = (
        "has not begun",
        "was not announced",
        "window.rollback",
        "of maintenance_window_backup_max_age",
        "hs1: none was proven",
        "no route",
        "homeserver_main/main",
        "behind the controller's",
    )
    assert len(result["reasons"]) == len(said)
    for text, reason in zip(said, result["reasons"], strict=True):
        assert text in reason
    assert not result["journal"]


@pytest.mark.parametrize(("hours", "allowed"), [(-0.001, False), (0, True), (1.75, True), (1.751, False), (2, False)])
def test_a_window_opens_in_its_time_only(ask: t.Any, hours: float, allowed: bool) -> None:
    ask("announced", -50)
    assert ask("opened", hours)["allowed"] is allowed


def test_a_proven_backup_of_the_oldest_age_will_do(ask: t.Any) -> None:
    ask("announced", -50)
    assert ask("opened", 0, backups=[backup("db1", 93600)])["allowed"]


@pytest.mark.parametrize("lacking", [{"backups": []}, {"health": []}])
def test_nothing_looked_at_is_no_permission(ask: t.Any, lacking: dict[str, t.Any]) -> None:
    ask("announced", -50)
    assert not ask("opened", 0, **lacking)["allowed"]


@pytest.mark.parametrize(("off", "allowed"), [(4, True), (6, False), (-4, True), (-6, False)])
def test_clocks_must_agree(ask: t.Any, off: float, allowed: bool) -> None:
    ask("announced", -50)
    there, here = rfc3339(at(off / 3600)), rfc3339(at(0))
    clock = {"host": "db1", "before": here, "started": there, "finished": there, "after": here}
    assert ask("opened", 0, clocks=[clock])["allowed"] is allowed


def test_a_slow_answer_is_no_wrong_clock(ask: t.Any) -> None:
    ask("announced", -50)
    clock = {"host": "db1", "before": rfc3339(at(0)), "after": rfc3339(at(0.1))}
    clock.update(started=rfc3339(at(0.02)), finished=rfc3339(at(0.05)))
    assert ask("opened", 0.1, clocks=[clock])["allowed"]


def test_another_window_that_is_open_is_in_the_way_and_a_closed_one_is_not(ask: t.Any) -> None:
    ask("announced", -50)
    ask("opened", 0)
    second = {**WINDOW, "id": "second"}
    ask("announced", -50, window=second)
    assert "2026-12-01-db was opened at" in ask("opened", 0.1, window=second)["reasons"][0]
    ask("closed", 0.2)
    assert ask("opened", 0.3, window=second)["allowed"]


def test_a_run_that_died_goes_on_and_keeps_what_was_before(ask: t.Any) -> None:
    ask("announced", -50)
    first = ask("opened", 0)["journal"]
    again = ask("opened", 1, health=[health("db1", at(1), disk_space="critical")], drained=["b/main"])
    assert again["allowed"] and again["journal"] == first


def test_a_window_opens_once(ask: t.Any) -> None:
    ask("announced", -50)
    ask("opened", 0)
    ask("closed", 0.5)
    assert "is closed, and a window opens once" in ask("opened", 1)["reasons"][0]


# --- steps, and time that runs out


@pytest.mark.parametrize(("hours", "allowed"), [(1.75, True), (1.7501, False), (2, False)])
def test_a_step_begins_while_enough_is_left(ask: t.Any, hours: float, allowed: bool) -> None:
    ask("announced", -50)
    ask("opened", 0)
    result = ask("step", hours)
    assert result["allowed"] is allowed
    assert bool(result["journal"]["steps"]) is allowed and bool(result["journal"]["refused"]) is not allowed


def test_without_a_window_a_step_begins_only_where_none_is_needed(ask: t.Any, tmp_path: pathlib.Path) -> None:
    assert not ask("step", 0)["allowed"]
    assert ask("step", 0, required=False)["allowed"]
    # A question makes no place for journals, where perhaps none can be made.
    assert not list(tmp_path.iterdir())
    ask("announced", -50)
    ask("opened", 0)
    # Once there is one, its time counts.
    assert not ask("step", 2, required=False)["allowed"]


def test_whoever_looks_first_notices_that_time_ran_out(ask: t.Any) -> None:
    ask("announced", -50)
    ask("opened", 0)
    assert ask("read", 1.9)["journal"]["state"] == "open"
    found = ask("read", 2)
    assert found["journal"]["state"] == "expired" and found["unfinished"] == ["2026-12-01-db"]
    assert "ran out" not in ask("step", 2.5)["reasons"][0] and not ask("step", 2.5)["allowed"]


def test_what_was_not_begun_is_in_the_report(ask: t.Any) -> None:
    ask("announced", -50)
    ask("opened", 0)
    ask("step", 1)
    ask("step", 1.9, step="update db2")
    found = checks(ask("closed", 2.5))
    assert found["window_steps"]["status"] == "critical"
    assert "not done: update db2" in found["window_steps"]["message"]
    assert "Begun: update db1" in found["window_steps"]["message"]
    assert found["window_time"]["status"] == "critical" and found["window_time"]["value"] == 1800


# --- close


def test_a_good_window_is_ok_and_closes_once(ask: t.Any) -> None:
    ask("announced", -50)
    ask("opened", 0)
    ask("step", 0.1)
    result = ask("closed", 1, answers={"lb1": ""}, silence_error="")
    found = checks(result)
    assert result["report"]["status"] == "ok" and result["journal"]["state"] == "closed"
    assert {name: check["status"] for name, check in found.items()} == dict.fromkeys(found, "ok")
    again = ask("closed", 1.5)
    assert "report" not in again and not again["unfinished"]


def test_nothing_to_close_is_no_report(ask: t.Any) -> None:
    assert "report" not in ask("closed", 0)


@pytest.mark.parametrize(
    ("now", "status", "said"),
    [
        ({"disk_space": "critical", "load": "warning"}, "critical", "disk_space of db1 was ok and is critical"),
        ({"disk_space": "warning", "load": "warning"}, "critical", "disk_space of db1 was ok and is warning"),
        ({"disk_space": "unknown", "load": "warning"}, "unknown", "disk_space of db1 was ok and is unknown"),
        ({"disk_space": "ok"}, "unknown", "load of db1 is not looked at any more"),
        ({"disk_space": "ok", "load": "skipped"}, "unknown", "load of db1 is not looked at any more"),
        ({"disk_space": "ok", "load": "ok"}, "ok", "none of 2 checks is worse"),
        ({"disk_space": "ok", "load": "warning", "dns": "critical"}, "critical", "dns of db1 is new and critical"),
    ],
)
def test_a_host_is_held_against_what_it_was(ask: t.Any, now: dict[str, str], status: str, said: str) -> None:
    ask("announced", -50)
    ask("opened", 0)
    found = checks(ask("closed", 1, health=[health("db1", at(1), **now)]))["window_health"]
    assert found["status"] == status and said in found["message"]


def test_what_cannot_be_seen_is_unknown(ask: t.Any) -> None:
    ask("announced", -50)
    ask("opened", 0)
    found = checks(
        ask("closed", 1, health=[], silent={"db1": "no route"}, answers={"lb1": "no route"}, silence_error="refused")
    )
    assert {found[name]["status"] for name in ("window_health", "window_answer", "window_silence")} == {"unknown"}


def test_a_channel_that_failed_is_told(ask: t.Any) -> None:
    ask("announced", -50)
    ask("opened", 0)
    told = [{"channel": "chat", "status": "failed", "message": "refused"}]
    assert checks(ask("closed", 1, told=told))["window_told"]["status"] == "warning"


# --- the journal, the map, the silence


def test_a_file_that_is_no_journal_is_left_alone(ask: t.Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "example.com").mkdir()
    (tmp_path / "example.com/x.json").write_text("{}")
    with pytest.raises(NotAJournal, match="move it away"):
        ask("read", 0)


def test_journals_are_for_their_owner_alone(ask: t.Any, tmp_path: pathlib.Path) -> None:
    ask("announced", -50)
    assert (tmp_path / "example.com/2026-12-01-db.json").stat().st_mode & 0o777 == 0o600
    assert journal.known(str(tmp_path), "example.com")[0]["state"] == "announced"
    assert journal.known(str(tmp_path), "elsewhere") == []


@pytest.mark.parametrize("name", ["longest_hours", "notice_hours", "backup_max_age", "clock_tolerance"])
def test_numbers_that_switch_a_gate_off_are_refused(ask: t.Any, name: str) -> None:
    with pytest.raises(OptionErrors, match=name):
        ask("read", 0, **{name: 0.0})


def test_a_map_is_read_as_haproxy_shows_it() -> None:
    assert answer.parse_map("0x55d5f62254a0 all 1795814270\n0x55d5f62254f0 writes 0\n\n") == {
        "all": 1795814270,
        "writes": 0,
    }
    with pytest.raises(ProbeFailure):
        answer.parse_map("0x55d5f62254a0 all soon\n")


def test_one_answer_is_given_at_a_time() -> None:
    assert answer.wanted("writes", 7) == {"all": 0, "writes": 7}
    assert answer.wanted("none", 0) == {"all": 0, "writes": 0}
    assert answer.holds({}, answer.wanted("none", 0)) and not answer.holds({}, answer.wanted("all", 7))


def test_a_silence_is_known_by_its_matchers_and_times() -> None:
    matcher = {"name": "host", "value": "db1", "isRegex": False}
    wanted = Wanted([{**matcher, "isEqual": True}], at(0), at(2), "matrixon.ops", "window one")
    found = {
        "matchers": [matcher],
        "startsAt": rfc3339(at(0.5)),
        "endsAt": rfc3339(at(2)),
        "createdBy": "matrixon.ops",
        "comment": "window one",
    }
    assert wanted.is_same(found)
    assert not wanted.is_same({**found, "endsAt": rfc3339(at(3))})
    assert not wanted.is_same({**found, "startsAt": rfc3339(at(-1))})
    assert not wanted.is_same({**found, "matchers": [{**matcher, "value": "db2"}]})
    assert not wanted.is_ours({**found, "comment": "window two"})
