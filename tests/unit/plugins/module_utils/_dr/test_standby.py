"""The verdicts on a standby, at both sides of each threshold."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dr import standby
from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import Asked

HEARTBEAT = {
    "lsn": "0/5000060",
    "at": "2026-11-27T12:00:00.000Z",
    "timeline": 1,
    "system_identifier": "7000",
    "limits": {"max_connections": 200},
}
FACTS = {
    "server": "running",
    "unreadable": [],
    "half_rewound": False,
    "data_directory": "/data",
    "in_recovery": True,
    "replay_paused": False,
    "replay_pause_state": "not paused",
    "apply_delay_s": 0.0,
    "replay_lsn": "0/5000060",
    "replayed_at": "2026-11-27T11:59:00.000Z",
    "receiver": {"status": "streaming", "sender_host": "db1", "sender_port": 5432, "received_timeline": 1},
    "primary_conninfo": True,
    "restore_command": False,
    "system_identifier": "7000",
    "timeline": 1,
    "limits": dict.fromkeys(standby.LIMITS, 200),
    "marker": {"id": "one", "visible": True},
}
ASKED = Asked("db2", HEARTBEAT, "one", lag_warning=60, lag_critical=900)


def verdicts(facts: dict[str, t.Any], asked: Asked = ASKED) -> dict[str, str]:
    return {check.name.removeprefix("standby_"): check.status for check in standby.judge(facts, asked)}


def said(facts: dict[str, t.Any], name: str, asked: Asked = ASKED) -> str:
    return next(check.message for check in standby.judge(facts, asked) if check.name == f"standby_{name}")


def test_a_standby_without_fault_has_nine_checks_that_are_ok() -> None:
    assert set(verdicts(FACTS).values()) == {"ok"} and len(verdicts(FACTS)) == 9


@pytest.mark.parametrize(
    ("changes", "check", "status"),
    [
        ({"in_recovery": False}, "recovery", "critical"),
        ({"in_recovery": False}, "replay", "skipped"),
        ({"in_recovery": False}, "lag", "skipped"),
        ({"in_recovery": False}, "marker", "critical"),
        ({"replay_paused": True, "replay_pause_state": "paused"}, "replay", "critical"),
        ({"apply_delay_s": 0.001}, "replay", "critical"),
        ({"receiver": {"status": "stopped"}}, "receiver", "critical"),
        ({"receiver": {"status": "stopped"}, "restore_command": True}, "receiver", "warning"),
        ({"receiver": {"status": "stopped"}, "primary_conninfo": False}, "receiver", "critical"),
        ({"system_identifier": "7001"}, "identity", "critical"),
        ({"timeline": 2}, "timeline", "critical"),
        ({"timeline": 2}, "marker", "critical"),
        ({"marker": {"id": "one", "visible": False}}, "marker", "critical"),
        ({"limits": {**FACTS["limits"], "max_connections": 199}}, "limits", "critical"),
        ({"half_rewound": True}, "server", "critical"),
        ({"replay_lsn": None}, "lag", "unknown"),
        ({"replay_lsn": "0/5000000", "replayed_at": None}, "lag", "unknown"),
    ],
)
def test_each_fault_has_its_verdict(changes: dict[str, t.Any], check: str, status: str) -> None:
    assert verdicts({**FACTS, **changes})[check] == status


@pytest.mark.parametrize(
    ("replayed_at", "status"),
    [
        ("2026-11-27T11:59:00.001Z", "ok"),
        ("2026-11-27T11:59:00.000Z", "warning"),
        ("2026-11-27T11:45:00.001Z", "warning"),
        ("2026-11-27T11:45:00.000Z", "critical"),
    ],
)
def test_the_lag_is_judged_by_its_seconds(replayed_at: str, status: str) -> None:
    assert verdicts({**FACTS, "replay_lsn": "0/5000000", "replayed_at": replayed_at})["lag"] == status


def test_the_lag_is_nothing_where_nothing_is_missing_however_old_the_last_transaction() -> None:
    old = {**FACTS, "replayed_at": "2020-01-01T00:00:00.000Z"}
    assert standby.lag(old, HEARTBEAT) == {"lag_bytes": 0, "lag_seconds": 0.0}
    further = {**old, "replay_lsn": "0/6000000"}
    assert standby.lag(further, HEARTBEAT) == {"lag_bytes": 0, "lag_seconds": 0.0}
    less = {**FACTS, "replay_lsn": "0/5000000"}
    assert standby.lag(less, HEARTBEAT) == {"lag_bytes": 0x60, "lag_seconds": 60.0}
    # A clock that goes ahead makes no negative lag.
    assert standby.lag({**less, "replayed_at": "2026-11-27T12:00:09.000Z"}, HEARTBEAT)["lag_seconds"] == 0.0


def test_what_could_not_be_asked_is_unknown_with_its_reason() -> None:
    dark = {
        **{key: FACTS[key] for key in ("server", "data_directory", "half_rewound")},
        "unreadable": [{"what": "server", "error_kind": "refused", "message": "nobody answers"}],
    }
    found = verdicts(dark)
    assert found == dict.fromkeys(("server", "identity", "limits", "lag", "timeline", "marker"), "unknown")
    assert said(dark, "timeline") == "nobody answers"


def test_a_server_that_is_down_is_critical() -> None:
    down = {
        **{
            key: FACTS[key] for key in ("data_directory", "half_rewound", "unreadable", "system_identifier", "timeline")
        },
        "server": "stopped",
        "control_state": "shut down in recovery",
    }
    found = verdicts(down)
    assert found["server"] == "critical" and found["identity"] == found["timeline"] == "ok"
    assert found["marker"] == "critical" and found["lag"] == "unknown"


def test_without_a_heartbeat_the_lag_is_skipped_and_never_ok() -> None:
    assert verdicts(FACTS, Asked("db2"))["lag"] == "skipped"
    assert set(verdicts(FACTS, Asked("db2"))) == {"server", "recovery", "replay", "receiver", "lag"}
    # A timeline that is named counts more than that of the heartbeat.
    assert verdicts(FACTS, ASKED._replace(timeline=2))["marker"] == "critical"


@pytest.mark.parametrize(
    "conninfo",
    [
        "user=postgres password=secret host=db1",
        "user=postgres password='it''s se cret' host=db1".replace("''", "\\'"),
        "user=postgres password = secret  host=db1",
        "user=postgres sslpassword=secret host=db1",
    ],
)
def test_no_password_of_a_receiver_is_shown(conninfo: str) -> None:
    assert standby.without_secrets(conninfo) == "user=postgres host=db1"


@pytest.mark.parametrize(
    ("text", "second"),
    [("2026-11-27T12:00:07Z", 7.0), ("2026-11-27T14:00:07.5+02:00", 7.5), ("2026-11-27T12:00:07.123456789Z", 7.123456)],
)
def test_times_are_read_with_their_offset(text: str, second: float) -> None:
    gap = standby.parse_time(text) - standby.parse_time("2026-11-27T12:00:00.000Z")
    assert gap.total_seconds() == pytest.approx(second)


@pytest.mark.parametrize("text", ["2026-11-27T12:00:00", "yesterday", "2026-11-27"])
def test_a_time_without_an_offset_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no time such as"):
        standby.parse_time(text)


OPTIONS: dict[str, t.Any] = {
    "deadline": 60,
    "lag_warning": 60,
    "lag_critical": 900,
    "heartbeat": HEARTBEAT,
    "marker": {"id": "one", "timeline": None},
}


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"deadline": 0}, "deadline:"),
        ({"lag_warning": 901}, "lag_warning:"),
        ({"heartbeat": {}}, "heartbeat:"),
        ({"heartbeat": {**HEARTBEAT, "lsn": "5000060"}}, "heartbeat.lsn:"),
        ({"heartbeat": {**HEARTBEAT, "at": "12:00"}}, "heartbeat.at:"),
        ({"heartbeat": {**HEARTBEAT, "timeline": "one"}}, "heartbeat.timeline:"),
        ({"heartbeat": {**HEARTBEAT, "limits": {"max_connections": "many"}}}, "heartbeat.limits:"),
        ({"marker": {"id": "'; DROP TABLE", "timeline": 1}}, "marker.id:"),
        ({"heartbeat": None}, "marker.timeline:"),
    ],
)
def test_bad_options_are_refused_by_name(changes: dict[str, t.Any], option: str) -> None:
    assert list(standby.problems(OPTIONS)) == []
    (problem,) = standby.problems({**OPTIONS, **changes})
    assert problem.startswith(option)
