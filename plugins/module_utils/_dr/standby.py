# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What a standby is, and how far behind its primary: what matrixon_standby_info observes and how it is judged."""

from __future__ import annotations

import datetime
import os
import platform
import re
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_host
from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import Session, literal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._dr import lsn
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import (
    CLEAN,
    Facts,
    Host,
    Options,
    open_host,
    refuse,
    rewind_phase,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
    Report,
)

SCHEMA = "matrixon_dr"
NAME = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
HEARTBEAT = ("lsn", "at", "timeline", "system_identifier")
LIMITS = tuple(_postgresql_host.LIMITS.values())
RUNNING, STOPPED, ABSENT = "running", "stopped", "absent"

# to_char has no way to say that a time is UTC.
STAMP = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
STATE = f"""
SELECT pg_is_in_recovery() AS in_recovery,
    (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
    CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END AS replay_pause_state,
    pg_last_wal_receive_lsn()::text AS receive_lsn,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END AS replay_lsn,
    CASE WHEN pg_is_in_recovery() THEN {STAMP.format("pg_last_xact_replay_timestamp()")} END AS replayed_at,
    CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn()::text END AS flush_lsn,
    (SELECT timeline_id FROM pg_control_checkpoint()) AS checkpoint_timeline,
    (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name IN (
        'recovery_min_apply_delay', 'restore_command', 'primary_conninfo', 'data_checksums', 'wal_log_hints',
        'archive_mode', 'full_page_writes', 'synchronous_standby_names',
        'max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',
        'max_locks_per_transaction')) AS settings
"""
SIZE = "SELECT sum(pg_database_size(oid))::bigint AS data_bytes FROM pg_database"
RECEIVER = f"""
SELECT status, received_tli, flushed_lsn::text AS flushed_lsn, sender_host, sender_port, slot_name, conninfo,
    {STAMP.format("last_msg_receipt_time")} AS last_message_at
FROM pg_stat_wal_receiver WHERE status IS NOT NULL
"""


# --- looking


def look(place: Host, deadline: Deadline, marker: str | None = None, sized: bool = True) -> Facts:
    """Return what the server says, or what its files say where it is down. What could not be read is named.

    ``sized`` also asks how large the databases are, which takes its time where
    there are many files.
    """
    facts: Facts = {"data_directory": place.data, "major": place.major, "unreadable": []}
    stats = os.statvfs(place.data)
    facts["disk_free_bytes"] = stats.f_bavail * stats.f_frsize
    facts["half_rewound"] = rewind_phase(place.data) is not None
    facts["patroni"] = place.patroni
    facts["standby_signal"] = os.path.exists(place.path("standby.signal"))
    if place.running():
        facts["server"] = RUNNING
        _ask(place, facts, deadline, marker)
        if sized and not _unreadable(facts, "server"):
            with _named(facts, "data_bytes"), place.session(deadline) as session:
                facts.update(session.row(SIZE))
    else:
        facts["server"] = STOPPED
        _read(place, facts, deadline)
    return facts


def _ask(place: Host, facts: Facts, deadline: Deadline, marker: str | None) -> None:
    with _named(facts, "server"), place.session(deadline) as session:
        facts.update(_state(session.row(STATE)))
        facts["receiver"] = receiver(session) if facts["in_recovery"] else None
    if facts["unreadable"]:
        return
    if marker:
        # Not everybody who may ask for the state may read this table.
        with _named(facts, "marker"), place.session(deadline) as session:
            facts["marker"] = find_marker(session, marker)
    with _named(facts, "timeline"):
        dummy, facts["timeline"] = place.identify(deadline)
    facts["received_timeline"] = (facts["receiver"] or {}).get("received_timeline")


class _named:
    """Write down what could not be read in place of failing."""

    def __init__(self, facts: Facts, what: str) -> None:
        self._facts, self._what = facts, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, ProbeFailure):
            return False
        self._facts["unreadable"].append({"what": self._what, "error_kind": error.kind, "message": error.message})
        return True


def _state(row: Facts) -> Facts:
    settings = row.pop("settings")
    return {
        **row,
        "replay_paused": row["replay_pause_state"] not in (None, "not paused"),
        # Without a unit it is in milliseconds.
        "apply_delay_s": int(settings["recovery_min_apply_delay"]) / 1000,
        "restore_command": bool(settings["restore_command"]),
        "primary_conninfo": bool(settings["primary_conninfo"]),
        "checksums": settings["data_checksums"] == "on",
        "wal_log_hints": settings["wal_log_hints"] == "on",
        "full_page_writes": settings["full_page_writes"] == "on",
        "archive_mode": settings["archive_mode"],
        "synchronous_standby_names": settings["synchronous_standby_names"],
        "limits": {name: int(settings[name]) for name in LIMITS},
    }


def receiver(session: Session) -> Facts:
    """Return what receives the log, without the password that it may use."""
    rows = session.rows(RECEIVER)
    if not rows:
        return {"status": STOPPED}
    row = rows[0]
    row["received_timeline"] = row.pop("received_tli")
    row["conninfo"] = without_secrets(row["conninfo"] or "")
    return row


def without_secrets(conninfo: str) -> str:
    """Return a connection string without the words that are secret or say where a secret lies."""
    words = re.findall(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|\S*)", conninfo)
    return " ".join(f"{name}={value}" for name, value in words if name not in ("password", "sslpassword"))


def find_marker(session: Session, name: str) -> Facts:
    """Say whether a row with that name is in the table of markers."""
    if session.value(f"SELECT to_regclass('{SCHEMA}.marker') IS NOT NULL") != "t":
        return {"id": name, "visible": False}
    rows = session.rows(
        f"SELECT {STAMP.format('written_at')} AS written_at FROM {SCHEMA}.marker WHERE id = {literal(name)}"
    )
    return {"id": name, "visible": bool(rows), **(rows[0] if rows else {})}


def _read(place: Host, facts: Facts, deadline: Deadline) -> None:
    with _named(facts, "control"):
        control = place.control(deadline)
        short = _postgresql_host.control_data("\n".join(f"{name}: {value}" for name, value in control.items()))
        facts.update(
            system_identifier=short["system_identifier"],
            timeline=short["timeline"],
            checksums=short["checksums"],
            limits=short["limits"],
            wal_log_hints=control.get("wal_log_hints setting") == "on",
            control_state=control.get("Database cluster state", ""),
            checkpoint_lsn=control.get("Latest checkpoint location"),
            clean=control.get("Database cluster state") in CLEAN,
        )
        if facts["control_state"] == CLEAN[0]:
            facts["end_lsn"] = place.end_of_log(control, deadline)


# --- judging


class Asked(t.NamedTuple):
    """What a standby is held against."""

    target: str
    heartbeat: Facts | None = None
    marker: str | None = None
    timeline: int | None = None
    lag_warning: float = 60.0
    lag_critical: float = 900.0


def lag(facts: Facts, heartbeat: Facts) -> Facts:
    """Return how far the replay is behind what the primary had written at its last heartbeat.

    The seconds are None where no transaction was replayed since the start of
    the server: then nobody knows of when the data are.
    """
    if facts.get("replay_lsn") is None:
        return {"lag_bytes": None, "lag_seconds": None}
    missing = lsn.behind(heartbeat["lsn"], facts["replay_lsn"])
    if not missing:
        return {"lag_bytes": 0, "lag_seconds": 0.0}
    replayed = facts.get("replayed_at")
    seconds = None
    if replayed:
        seconds = max(0.0, round((parse_time(heartbeat["at"]) - parse_time(replayed)).total_seconds(), 3))
    return {"lag_bytes": missing, "lag_seconds": seconds}


def parse_time(text: str) -> datetime.datetime:
    """Return the moment that RFC 3339 text says; without an offset it is none."""
    # Python before 3.11 knows neither the Z nor fractions of another length than 3 or 6 digits.
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", text)
    if not match:
        raise ValueError(f"{text!r} is no time such as 2026-11-27T12:00:00.000Z")
    fraction = (match[3] or "0").ljust(6, "0")[:6]
    offset = "+00:00" if match[4] in "Zz" else match[4]
    return datetime.datetime.fromisoformat(f"{match[1]}T{match[2]}.{fraction}{offset}")


def judge(facts: Facts, asked: Asked) -> list[CheckResult]:
    """Return the verdicts."""
    verdicts = [_server(facts, asked)]
    if facts.get("in_recovery") is not None:
        verdicts += [_recovery(facts, asked), _replay(facts, asked), _receiver(facts, asked)]
    verdicts += [check for check in (_identity(facts, asked), _limits(facts, asked), _lag(facts, asked)) if check]
    verdicts += [check for check in (_timeline(facts, asked), _marker(facts, asked)) if check]
    return verdicts


def _result(name: str, asked: Asked, status: str, message: str, **more: t.Any) -> CheckResult:
    if status == SKIPPED:
        more.setdefault("skipped_reason", message)
    return CheckResult(name=f"standby_{name}", target=asked.target, status=status, message=message, **more)


def _unreadable(facts: Facts, what: str) -> Facts | None:
    return next((entry for entry in facts["unreadable"] if entry["what"] == what), None)


def _server(facts: Facts, asked: Asked) -> CheckResult:
    if failure := _unreadable(facts, "server") or _unreadable(facts, "control"):
        return _result("server", asked, UNKNOWN, failure["message"], error_kind=failure["error_kind"])
    if facts["half_rewound"]:
        words = f"a rewind of {facts['data_directory']} was begun and not ended, so it must not be started"
        return _result("server", asked, CRITICAL, words)
    if facts["server"] == STOPPED:
        state = facts["control_state"]
        return _result(
            "server", asked, CRITICAL, f"no server runs on {facts['data_directory']}; its control file says: {state}"
        )
    return _result("server", asked, OK, f"the server of {facts['data_directory']} answers")


def _recovery(facts: Facts, asked: Asked) -> CheckResult:
    if facts["in_recovery"]:
        return _result("recovery", asked, OK, "it is a standby")
    return _result(
        "recovery", asked, CRITICAL, f"it is no standby: it takes writes, on timeline {facts.get('timeline', '?')}"
    )


def replay_problems(facts: Facts) -> list[str]:
    """Return why a standby does not replay what it has."""
    found = []
    if facts["replay_paused"]:
        found.append(
            f"its replay is {facts['replay_pause_state']}: resume it by pg_wal_replay_resume(); a server that "
            "paused by itself says in its log which setting is smaller than the primary's"
        )
    if facts["apply_delay_s"]:
        found.append(
            f"recovery_min_apply_delay is {facts['apply_delay_s']:g} s, so what it received last is not replayed; "
            "set it to 0 and reload"
        )
    return found


def _replay(facts: Facts, asked: Asked) -> CheckResult:
    if not facts["in_recovery"]:
        return _result("replay", asked, SKIPPED, "a primary replays nothing")
    found = replay_problems(facts)
    if found:
        return _result("replay", asked, CRITICAL, "; ".join(found))
    return _result("replay", asked, OK, f"it replays at once, up to {facts['replay_lsn']}")


def _receiver(facts: Facts, asked: Asked) -> CheckResult:
    if not facts["in_recovery"]:
        return _result("receiver", asked, SKIPPED, "a primary receives nothing")
    found = facts["receiver"]
    if found["status"] == "streaming":
        sender = f"{found['sender_host']}:{found['sender_port']}"
        return _result("receiver", asked, OK, f"it streams from {sender}, timeline {found['received_timeline']}")
    if not facts["primary_conninfo"]:
        words = "primary_conninfo is empty, as after a promotion that was begun, so it follows nobody"
    else:
        words = f"the receiver of the log is {found['status']}"
    status = WARNING if facts["restore_command"] else CRITICAL
    more = "what comes by restore_command is replayed" if facts["restore_command"] else "nothing new comes in"
    return _result("receiver", asked, status, f"{words}; {more}")


def _identity(facts: Facts, asked: Asked) -> CheckResult | None:
    if not asked.heartbeat:
        return None
    if not facts.get("system_identifier"):
        return _result("identity", asked, UNKNOWN, "the system identifier could not be read", error_kind="internal")
    ours, theirs = facts["system_identifier"], str(asked.heartbeat["system_identifier"])
    if ours != theirs:
        return _result(
            "identity", asked, CRITICAL, f"it is a copy of another cluster: {ours}, and the heartbeat is of {theirs}"
        )
    return _result("identity", asked, OK, f"it is a copy of the cluster {ours}")


def _limits(facts: Facts, asked: Asked) -> CheckResult | None:
    theirs = (asked.heartbeat or {}).get("limits")
    if not theirs:
        return None
    ours = facts.get("limits")
    if not ours:
        return _result("limits", asked, UNKNOWN, "the settings could not be read", error_kind="internal")
    small = [f"{name} {ours[name]} < {theirs[name]}" for name in LIMITS if name in theirs and ours[name] < theirs[name]]
    if small:
        return _result("limits", asked, CRITICAL, f"settings are smaller than the primary's: {', '.join(small)}")
    return _result("limits", asked, OK, "no setting is smaller than the primary's")


def _lag(facts: Facts, asked: Asked) -> CheckResult | None:
    if not asked.heartbeat:
        return _result("lag", asked, SKIPPED, "no heartbeat was given to hold it against")
    if facts.get("in_recovery") is False:
        return _result("lag", asked, SKIPPED, "a primary lags behind nobody")
    found = lag(facts, asked.heartbeat)
    missing, seconds = found["lag_bytes"], found["lag_seconds"]
    if missing is None:
        words = "it is not known how far it replayed"
        return _result("lag", asked, UNKNOWN, words, error_kind="internal")
    more = {"unit": "s", "warning": asked.lag_warning, "critical": asked.lag_critical}
    at = asked.heartbeat["at"]
    if not missing:
        return _result("lag", asked, OK, f"it has all that the primary had written at {at}", value=0.0, **more)
    words = f"{human(missing, 'B')} ({missing} bytes) of log are missing of what the primary had written at {at}"
    if seconds is None:
        words += "; no transaction was replayed since it started, so their time is not known"
        return _result("lag", asked, UNKNOWN, words, error_kind="internal")
    status = CRITICAL if seconds >= asked.lag_critical else WARNING if seconds >= asked.lag_warning else OK
    words += f"; the last transaction here is of {facts['replayed_at']}, {seconds:g} s before"
    return _result("lag", asked, status, words, value=seconds, **more)


def wanted_timeline(asked: Asked) -> int | None:
    """Return the timeline of the primary that the standby must be on."""
    if asked.timeline:
        return asked.timeline
    return int(asked.heartbeat["timeline"]) if asked.heartbeat else None


def _timeline(facts: Facts, asked: Asked) -> CheckResult | None:
    wanted = wanted_timeline(asked)
    if wanted is None:
        return None
    failure = _unreadable(facts, "timeline") or _unreadable(facts, "server") or _unreadable(facts, "control")
    if failure:
        return _result("timeline", asked, UNKNOWN, failure["message"], error_kind=failure["error_kind"])
    here = facts["timeline"]
    if here == wanted:
        return _result("timeline", asked, OK, f"it is on timeline {here}, as the primary")
    return _result("timeline", asked, CRITICAL, f"it is on timeline {here}, and the primary is on {wanted}")


def _marker(facts: Facts, asked: Asked) -> CheckResult | None:
    if not asked.marker:
        return None
    if failure := next(filter(None, (_unreadable(facts, what) for what in ("server", "timeline", "marker"))), None):
        return _result("marker", asked, UNKNOWN, failure["message"], error_kind=failure["error_kind"])
    problems = []
    if not facts.get("in_recovery"):
        problems.append("it is no running standby")
    elif not facts["marker"]["visible"]:
        problems.append(f"the marker {asked.marker} has not come here")
    wanted = wanted_timeline(asked)
    if facts.get("timeline") != wanted:
        problems.append(f"it is on timeline {facts.get('timeline')}, and the primary is on {wanted}")
    if problems:
        return _result("marker", asked, CRITICAL, f"it has not joined its primary: {'; '.join(problems)}")
    return _result(
        "marker", asked, OK, f"the marker {asked.marker} came here on timeline {wanted}: it follows its primary"
    )


# --- the whole


def problems(options: Options) -> t.Iterator[str]:
    """Yield what is wrong with the options: one sentence for each."""
    for name in ("deadline", "lag_warning", "lag_critical"):
        if options[name] <= 0:
            yield f"{name}: {options[name]:g} is not more than 0; name a number of seconds"
    if options["lag_warning"] > options["lag_critical"]:
        yield (
            f"lag_warning: {options['lag_warning']:g} is more than lag_critical, {options['lag_critical']:g}; "
            "a warning comes first"
        )
    yield from heartbeat_problems(options["heartbeat"])
    marker = options["marker"]
    if marker and not NAME.fullmatch(marker["id"]):
        yield (
            f"marker.id: {marker['id']!r:.80} is no name of a marker; name what matrixon_promote or matrixon_marker "
            "returned"
        )
    if marker and marker["timeline"] is None and options["heartbeat"] is None:
        yield (
            "marker.timeline: it is not given, nor is a heartbeat; without the primary's timeline nobody can say "
            "that a standby has joined it"
        )


def heartbeat_problems(heartbeat: Facts | None) -> t.Iterator[str]:
    """Yield what is wrong with a heartbeat."""
    if heartbeat is None:
        return
    missing = [name for name in HEARTBEAT if heartbeat.get(name) in (None, "")]
    if missing:
        yield f"heartbeat: it has no {', '.join(missing)}; give it whole, as the witness has it"
        return
    try:
        lsn.parse_lsn(str(heartbeat["lsn"]))
    except ProbeFailure as error:
        yield f"heartbeat.lsn: {error.message}"
    try:
        parse_time(str(heartbeat["at"]))
    except ValueError as error:
        yield f"heartbeat.at: {error}"
    if not str(heartbeat["timeline"]).isdigit():
        yield f"heartbeat.timeline: {heartbeat['timeline']!r:.40} is no number of a timeline"
    limits = heartbeat.get("limits") or {}
    wrong = [name for name in limits if name not in LIMITS or not str(limits[name]).isdigit()]
    if wrong:
        yield f"heartbeat.limits: {', '.join(wrong)} is no setting with a number; known are {', '.join(LIMITS)}"


def run(options: Options, _check: bool, clock: t.Callable[[], float] = time.monotonic) -> Outcome:
    """Look at the server of this host, and judge it."""
    refuse(problems(options))
    deadline = Deadline(options["deadline"], clock)
    started = datetime.datetime.now(datetime.timezone.utc)
    marker = options["marker"] or {}
    heartbeat = options["heartbeat"]
    if heartbeat and heartbeat.get("limits"):
        heartbeat = {**heartbeat, "limits": {name: int(value) for name, value in heartbeat["limits"].items()}}
    facts = look(open_host(options), deadline, marker.get("id"))
    if heartbeat:
        facts.update(lag(facts, heartbeat))
    asked = Asked(
        target=options["target"] or platform.node(),
        heartbeat=heartbeat,
        marker=marker.get("id"),
        timeline=marker.get("timeline"),
        lag_warning=options["lag_warning"],
        lag_critical=options["lag_critical"],
    )
    report = Report(
        kind="standby",
        target=asked.target,
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=tuple(judge(facts, asked)),
        facts=facts,
        unknown_as=options["unknown_as"],
    )
    return Outcome(report=report, values={"standby": facts})
