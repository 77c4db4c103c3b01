# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""PostgreSQL 13 and later: what one server says of itself, and how many primaries its cluster has.

Each question knows on which role it makes sense. A standby is never asked
what only a primary can answer.
"""

from __future__ import annotations

import functools
import hashlib
import queue
import re
import threading
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Context,
    Judge,
    Limits,
    Plan,
    Probe,
    Skip,
    Verdict,
    grade,
    human_bytes,
    human_seconds,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    duplicate_errors,
    login_errors,
    port_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Row, Server, Session
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, REFUSED, Deadline, Facts, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, UNKNOWN, WARNING

MIB = 1024**2
GIB = 1024**3
PRIMARY = "primary"
STANDBY = "standby"

# A paused replay is critical once what it has replayed is this old.
PAUSED_SECONDS = 600.0
# What asking the other nodes leaves of its time for saying what they said.
LEEWAY = 0.1
NAMES_SHOWN = 8

_NODE = {
    "name": {"type": "str", "required": True},
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 5432},
}
SPEC: dict[str, t.Any] = {
    **_postgresql.LOGIN_SPEC,
    **_postgresql.PASSWORD_FILE_SPEC,
    "role": {"type": "str", "choices": [PRIMARY, STANDBY], "default": PRIMARY},
    "standbys": {"type": "list", "elements": "str", "default": []},
    "nodes": {"type": "list", "elements": "dict", "options": _NODE, "default": []},
    "settings_checksum": {"type": "str"},
}


# Questions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """One query. ``role`` is who can answer it, ``right`` the predefined role whose members see the whole answer."""

    sql: str
    role: str | None = None
    right: str | None = None


DROP_SLOT = "drop it with pg_drop_replication_slot"

STATS = "pg_read_all_stats"
SETTINGS = "pg_read_all_settings"

IDENTITY = f"""
SELECT pg_is_in_recovery() AS in_recovery,
       split_part(current_setting('server_version'), ' ', 1) AS version,
       current_setting('server_version_num')::int AS number,
       pg_has_role('{STATS}', 'USAGE') AS {STATS},
       pg_has_role('{SETTINGS}', 'USAGE') AS {SETTINGS}"""

# Sessions of clients. Autovacuum and walsenders hold what they hold by design.
_OTHERS = "backend_type = 'client backend' AND pid <> pg_backend_pid()"


def _oldest_session(state: str, since: str) -> str:
    return f"""
SELECT pid, usename AS user, datname AS database, application_name AS application,
       extract(epoch FROM clock_timestamp() - {since})::float8 AS seconds,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction
FROM pg_stat_activity WHERE {_OTHERS} AND {state} AND {since} IS NOT NULL
ORDER BY {since} LIMIT 1"""


def questions(number: int) -> dict[str, Question]:
    """Return what to ask a server of this version number, such as 150018."""
    # Before 14 nothing says when a wait began; the start of the query is the nearest thing.
    wait_start = "coalesce(l.waitstart, clock_timestamp())" if number >= 140000 else "a.query_start"
    return {
        "connections": Question(
            f"""
SELECT (SELECT count(*) FROM pg_stat_activity WHERE {_OTHERS}) AS used,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true), '0')::int AS usable""",
            right=STATS,
        ),
        "replication": Question(
            """
SELECT application_name AS name, host(client_addr) AS address, state,
       pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 AS behind,
       pg_wal_lsn_diff(pg_current_wal_lsn(), write_lsn)::float8 AS unwritten
FROM pg_stat_replication""",
            role=PRIMARY,
            right=STATS,
        ),
        "replay": Question(
            """
SELECT pg_is_wal_replay_paused() AS paused,
       pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::float8 AS waiting,
       extract(epoch FROM clock_timestamp()
               - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()))::float8 AS age""",
            role=STANDBY,
        ),
        "walreceiver": Question(
            """
SELECT status, sender_host AS host, sender_port AS port,
       extract(epoch FROM clock_timestamp() - last_msg_receipt_time)::float8 AS silent
FROM pg_stat_wal_receiver""",
            role=STANDBY,
            right=STATS,
        ),
        "slots": Question(
            """
SELECT slot_name AS name, active, wal_status, nullif(current_setting('max_slot_wal_keep_size'), '-1') AS most,
       pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 AS retained
FROM pg_replication_slots ORDER BY slot_name""",
            role=PRIMARY,
        ),
        "wraparound": Question(
            "SELECT datname AS database, age(datfrozenxid) AS age FROM pg_database ORDER BY 2 DESC LIMIT 1",
            role=PRIMARY,
        ),
        "idle_in_transaction": Question(
            _oldest_session("state LIKE 'idle in transaction%'", "state_change"), right=STATS
        ),
        "long_queries": Question(_oldest_session("state = 'active'", "query_start"), right=STATS),
        "lock_waits": Question(
            f"""
SELECT w.pid, w.user, w.database, w.application, w.seconds, b.pid AS blocker,
       s.usename AS blocker_user, s.state AS blocker_state
FROM (SELECT a.pid, a.usename AS user, a.datname AS database, a.application_name AS application,
             extract(epoch FROM clock_timestamp() - {wait_start})::float8 AS seconds
      FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE NOT l.granted AND a.backend_type = 'client backend' ORDER BY 5 DESC LIMIT 1) w
LEFT JOIN LATERAL unnest(pg_blocking_pids(w.pid)) b(pid) ON true
LEFT JOIN pg_stat_activity s ON s.pid = b.pid
ORDER BY blocker LIMIT 1""",
            right=STATS,
        ),
        "archive": Question(
            """
SELECT current_setting('archive_mode') AS mode, r.waiting, r.waited, a.last_failed_wal AS failed_wal,
       extract(epoch FROM clock_timestamp() - a.last_archived_time)::float8 AS archived_ago,
       extract(epoch FROM clock_timestamp() - a.last_failed_time)::float8 AS failed_ago
FROM pg_stat_archiver a,
     (SELECT count(*) AS waiting, extract(epoch FROM clock_timestamp() - min(modification))::float8 AS waited
      FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') r""",
            role=PRIMARY,
        ),
        "settings": Question(
            """
SELECT name, setting, pending_restart AS pending,
       source IN ('configuration file', 'command line', 'environment variable') AS given
FROM pg_settings
WHERE source IN ('configuration file', 'command line', 'environment variable') OR pending_restart ORDER BY name""",
            right=SETTINGS,
        ),
    }


QUESTIONS = questions(150000)


# Probes -----------------------------------------------------------------------------------------------------------


def observe(server: Server, deadline: Deadline) -> Facts:
    """Ask one server everything that its role can answer.

    A question that fails leaves its failure in place of its answer. A server
    whose connections are used up has told us something, so that failure is a
    fact as well.
    """
    try:
        session = _postgresql.connect(server, deadline)
    except ProbeFailure as failure:
        if _used_up(failure):
            return {"failure": failure}
        raise
    with session:
        connected = deadline.elapsed()
        session.rows("SELECT 1")
        facts: Facts = {"connect_ms": connected * 1000, "query_ms": (deadline.elapsed() - connected) * 1000}
        try:
            identity = session.row(IDENTITY)
        except ProbeFailure as failure:
            return {**facts, "failure": failure}
        facts["role"] = STANDBY if identity["in_recovery"] else PRIMARY
        for name, question in questions(identity["number"]).items():
            if question.role in (None, facts["role"]):
                facts[name] = answer(session, question, identity, server)
        return {**facts, "report": _report(identity, facts)}


def answer(session: Session, question: Question, identity: Row, server: Server) -> list[Row] | ProbeFailure:
    """Return the rows of one question, or why there are none. ``identity`` tells which rights the login has."""
    if question.right and not identity[question.right]:
        # Without it the rows of others come back, but empty, and would pass for harmless.
        return ProbeFailure(AUTH, f"{server}: {server.user} may not see everything; GRANT pg_monitor TO {server.user}")
    try:
        return session.rows(question.sql)
    except ProbeFailure as failure:
        return failure


def _report(identity: Row, facts: Facts) -> Facts:
    known: Facts = {"role": facts["role"]}
    if isinstance(facts["settings"], list):
        known["settings"] = setting_hashes(facts["settings"])
        known["settings_checksum"] = checksum(known["settings"])
    return {"versions": {"postgresql": identity["version"]}, "postgresql": known}


def _used_up(failure: ProbeFailure) -> bool:
    """Tell a full server from a role or database that has a limit of its own."""
    if failure.facts.get("sqlstate") != _postgresql.TOO_MANY:
        return False
    return any(sign in failure.facts["words"] for sign in ("too many clients", "slots are reserved"))


def ask_nodes(nodes: dict[str, Server], deadline: Deadline) -> Facts:
    """Ask all nodes at once whether they are primaries; a node that cannot say leaves its failure."""
    answers: queue.Queue[tuple[str, bool | ProbeFailure]] = queue.Queue()
    inner = deadline.within(deadline.remaining() - LEEWAY)

    def ask(name: str) -> None:
        answers.put((name, is_primary(nodes[name], inner)))

    for name in nodes:
        threading.Thread(target=ask, args=(name,), daemon=True).start()
    found: dict[str, bool | ProbeFailure] = {name: inner.failure(f"asking {server}") for name, server in nodes.items()}
    for _node in nodes:
        try:
            name, answer = answers.get(timeout=inner.remaining() + LEEWAY / 2)
        except queue.Empty:
            break
        found[name] = answer
    return {"nodes": found}


def is_primary(server: Server, deadline: Deadline) -> bool | ProbeFailure:
    """Return whether a server takes writes, or why that is not known."""
    try:
        with _postgresql.connect(server, deadline) as session:
            return not session.row("SELECT pg_is_in_recovery() AS standby")["standby"]
    except ProbeFailure as failure:
        return failure


def setting_hashes(rows: list[Row]) -> dict[str, str]:
    """Return a short hash of each setting that was given in a file or on the command line."""
    return {row["name"]: _digest(_without_secrets(row["setting"]))[:8] for row in rows if row["given"]}


def checksum(hashes: dict[str, str]) -> str:
    """Return one checksum over all settings."""
    return _digest("".join(f"{name}={value}\n" for name, value in sorted(hashes.items())))[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _without_secrets(setting: str) -> str:
    """Take passwords out of connection strings: even a short hash lets guesses be tried."""
    setting = re.sub(r"(?i)(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", r"\1", setting)
    return re.sub(r"://[^/@\s]*@", "://", setting)


# Judges -----------------------------------------------------------------------------------------------------------

RowsJudge = t.Callable[[list[Row], Facts, Limits], t.Union[Verdict, list[Verdict]]]


def _of(name: str) -> t.Callable[[RowsJudge], Judge]:
    """Make a judge of one question's rows: it is skipped on the other role, and fails as the question did."""

    def decorate(judge: RowsJudge) -> Judge:
        @functools.wraps(judge)
        def judged(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
            if "failure" in facts:
                raise facts["failure"]
            role = QUESTIONS[name].role
            if role not in (None, facts["role"]):
                return skipped(f"asked on the {role} only, and this server is a {facts['role']}")
            if isinstance(facts[name], ProbeFailure):
                raise facts[name]
            return judge(facts[name], facts, limits)

        return judged

    return decorate


def judge_connect(facts: Facts, limits: Limits) -> Verdict:
    """Grade one round trip."""
    if "query_ms" not in facts:
        raise facts["failure"]
    message = (
        f"{facts['server']} answers a query in {facts['query_ms']:.1f} ms, connecting took {facts['connect_ms']:.1f} ms"
    )
    return grade(facts["query_ms"], limits, message)


def judge_role(facts: Facts, _limits: Limits) -> Verdict:
    """Compare the role that was found with the one that is expected."""
    if "failure" in facts:
        raise facts["failure"]
    if facts["role"] == facts["expected_role"]:
        return Verdict(OK, f"{facts['server']} is a {facts['role']}, as expected")
    message = f"{facts['server']} is a {facts['role']}, but is expected to be a {facts['expected_role']}"
    return Verdict(CRITICAL, message)


def judge_primaries(facts: Facts, _limits: Limits) -> Verdict:
    """Demand exactly one primary, and claim it only when every node has answered."""
    nodes: dict[str, bool | ProbeFailure] = facts["nodes"]
    primaries = [name for name, answer in nodes.items() if answer is True]
    silent = {name: answer for name, answer in nodes.items() if isinstance(answer, ProbeFailure)}
    if len(primaries) > 1:
        message = f"{len(primaries)} primaries: {_names(primaries)} all take writes, this is a split brain"
        return Verdict(CRITICAL, message, value=len(primaries))
    if silent:
        seen = f"primary seen: {primaries[0]}" if primaries else "no primary seen"
        reasons = "; ".join(f"{name}: {failure.message}" for name, failure in sorted(silent.items()))
        kind = next(iter(silent.values())).kind
        message = f"{seen}, but {len(silent)} of {len(nodes)} nodes could not be asked ({reasons})"
        return Verdict(UNKNOWN, message, error_kind=kind)
    if not primaries:
        return Verdict(CRITICAL, f"no primary: {_names(list(nodes))} are all standbys, nothing can be written", value=0)
    return Verdict(OK, f"{primaries[0]} is the only primary among {len(nodes)} nodes", value=1)


def judge_connections(facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    """Grade the share of usable connections that is taken; being turned away by a full server is 100 %."""
    failure = facts.get("failure")
    if failure and _used_up(failure):
        return Verdict(CRITICAL, failure.message, value=100.0, error_kind=REFUSED)
    return _judge_counted_connections(facts, limits)


@_of("connections")
def _judge_counted_connections(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    used, usable = rows[0]["used"], rows[0]["usable"]
    share = 100.0 * used / usable
    return grade(share, limits, f"{facts['server']} uses {used} of {usable} usable connections ({share:.0f} %)")


@_of("replication")
def judge_replication(rows: list[Row], facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    """Grade each connected standby by bytes, and miss those that must be there."""
    wanted: list[str] = facts["standbys"]
    connected = {row["name"] for row in rows}
    verdicts = [
        Verdict(CRITICAL, f"standby {name} is not connected to {facts['server']}", target=_part(facts, "standby", name))
        for name in wanted
        if name not in connected
    ]
    by_peer: dict[str, Verdict] = {}
    for row in rows:
        if row["name"] not in wanted and (row["state"] == "backup" or _only_stores(row)):
            continue
        verdict = _judge_standby(row, facts, limits)
        peer = verdict.target or ""
        by_peer[peer] = _worse(verdict, by_peer.get(peer))
    verdicts += by_peer.values()
    return verdicts or skipped("no standby is configured and none is connected")


def _judge_standby(row: Row, facts: Facts, limits: Limits) -> Verdict:
    peer = f"{row['name']} at {row['address'] or 'the local socket'}"
    target = _part(facts, "standby", peer)
    behind = row["behind"]
    if _only_stores(row):
        return Verdict(OK, f"{peer} is connected and stores WAL; it replays nothing, so it has no lag", target=target)
    if row["state"] in ("startup", "backup") or behind is None:
        message = f"standby {peer} is catching up (state {row['state']}), there is no lag to tell yet"
        return Verdict(WARNING, message, target=target)
    message = f"standby {peer} has {human_bytes(max(0.0, behind))} of WAL not replayed yet (state {row['state']})"
    return grade(max(0.0, behind), limits, message, target=target)


def _only_stores(row: Row) -> bool:
    """Tell pg_receivewal, or the WAL stream of a base backup, from a standby that says nothing yet."""
    return row["state"] == "streaming" and row["behind"] is None and row["unwritten"] is not None


@_of("replay")
def judge_replay(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Grade the WAL that was received and not replayed; a paused replay is never fine."""
    row = rows[0]
    waiting = None if row["waiting"] is None else max(0.0, row["waiting"])
    if row["paused"]:
        old = bool(waiting) and row["age"] >= PAUSED_SECONDS
        amount = "an unknown amount" if waiting is None else human_bytes(waiting)
        message = (
            f"replay is paused on {facts['server']}: {amount} of WAL waits, the last replayed transaction is at least "
            f"{human_seconds(row['age'])} old; resume with SELECT pg_wal_replay_resume()"
        )
        verdict = Verdict(CRITICAL if old else WARNING, message, value=waiting)
        return verdict if waiting is None else _worse(verdict, grade(waiting, limits, message))
    if waiting is None:
        message = f"{facts['server']} has received no WAL by streaming since it started, so what waits is not known"
        return Verdict(UNKNOWN, message)
    return grade(waiting, limits, f"{facts['server']} has {human_bytes(waiting)} of received WAL left to replay")


@_of("walreceiver")
def judge_walreceiver(rows: list[Row], facts: Facts, _limits: Limits) -> Verdict:
    """Demand that a standby is fed."""
    if not rows:
        return Verdict(CRITICAL, f"{facts['server']} receives no WAL: no walreceiver runs, it gets no new data")
    row = rows[0]
    sender = f"{row['host']}:{row['port']}"
    if row["status"] != "streaming":
        return Verdict(CRITICAL, f"{facts['server']} receives no WAL: its walreceiver from {sender} is {row['status']}")
    silent = "" if row["silent"] is None else f", last message {human_seconds(max(0.0, row['silent']))} ago"
    return Verdict(OK, f"{facts['server']} streams from {sender}{silent}")


@_of("slots")
def judge_slots(rows: list[Row], facts: Facts, limits: Limits) -> Verdict | list[Verdict]:
    """Grade what each slot keeps from being removed."""
    return [_judge_slot(row, facts, limits) for row in rows] or skipped("there are no replication slots")


def _judge_slot(row: Row, facts: Facts, limits: Limits) -> Verdict:
    target = _part(facts, "slot", row["name"])
    retained = None if row["retained"] is None else max(0.0, row["retained"])
    if row["wal_status"] == "lost":
        message = f"slot {row['name']} is lost: its WAL was removed, what used it must be built again; {DROP_SLOT}"
        return Verdict(CRITICAL, message, target=target)
    keeps = "no WAL" if retained is None else f"{human_bytes(retained)} of WAL"
    message = f"slot {row['name']} keeps {keeps}{'' if row['active'] else _idle(row)}"
    floor = Verdict(OK if row["active"] else WARNING, message, value=retained, target=target)
    return floor if retained is None else _worse(floor, grade(retained, limits, message, target=target))


def _idle(row: Row) -> str:
    if row["retained"] is None:
        return f" and is inactive: nothing has read from it yet; if nothing will, {DROP_SLOT}"
    much = f"up to {row['most']} (max_slot_wal_keep_size) and is lost then" if row["most"] else "more and more"
    return f" and is inactive: nothing reads from it, so it keeps {much}; if nothing will read again, {DROP_SLOT}"


@_of("wraparound")
def judge_wraparound(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Grade how far the oldest database is from running out of transaction ids."""
    row = rows[0]
    message = (
        f"the oldest transaction id, in database {row['database']} of {facts['server']}, is "
        f"{row['age']:,} transactions old; near 2,100,000,000 the server stops taking writes"
    )
    return grade(row["age"], limits, message)


@_of("idle_in_transaction")
def judge_idle_in_transaction(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Grade the session that has been idle inside a transaction for longest."""
    if not rows:
        return grade(0.0, limits, f"no session of {facts['server']} is idle in a transaction")
    row = rows[0]
    message = f"{_session(row)} has been idle in a transaction for {human_seconds(max(0.0, row['seconds']))}"
    if row["transaction"] is not None:
        message += f"; the transaction is {human_seconds(max(0.0, row['transaction']))} old"
    return grade(max(0.0, row["seconds"]), limits, message)


@_of("long_queries")
def judge_long_queries(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Grade the client query that has been running for longest."""
    if not rows:
        return grade(0.0, limits, f"no client query is running on {facts['server']}")
    seconds = max(0.0, rows[0]["seconds"])
    return grade(seconds, limits, f"a query of {_session(rows[0])} has been running for {human_seconds(seconds)}")


@_of("lock_waits")
def judge_lock_waits(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Grade the longest wait for a lock, and name who holds it."""
    if not rows:
        return grade(0.0, limits, f"no session of {facts['server']} waits for a lock")
    row = rows[0]
    seconds = max(0.0, row["seconds"])
    if row["blocker"] is None:
        holder = "a lock that was set free meanwhile"
    elif row["blocker"] == 0:
        holder = "a lock held by a prepared transaction"
    else:
        holder = f"a lock held by pid {row['blocker']} ({row['blocker_user']}, {row['blocker_state']})"
    return grade(seconds, limits, f"{_session(row)} has waited {human_seconds(seconds)} for {holder}")


@_of("archive")
def judge_archive(rows: list[Row], facts: Facts, limits: Limits) -> Verdict:
    """Grade how long the oldest finished WAL segment has waited to be archived.

    The time since the last archived segment says nothing on an idle server,
    and the absence of failures says nothing at all.
    """
    row = rows[0]
    if row["mode"] == "off":
        return skipped("archive_mode is off")
    waiting, waited = row["waiting"], max(0.0, row["waited"] or 0.0)
    queued = "no WAL waits to be archived"
    if waiting:
        queued = f"finished WAL segments that wait to be archived: {waiting}, the oldest for {human_seconds(waited)}"
    archived = row["archived_ago"]
    last = "nothing was ever archived" if archived is None else f"the last was archived {human_seconds(archived)} ago"
    if row["failed_ago"] is not None and (archived is None or row["failed_ago"] < archived):
        message = (
            f"{facts['server']} cannot archive WAL {row['failed_wal']}: last tried "
            f"{human_seconds(row['failed_ago'])} ago; {last}; {queued}"
        )
        return Verdict(CRITICAL, message, value=waited)
    message = f"{facts['server']}: {queued}; {last}"
    if waiting and archived is None:
        return Verdict(CRITICAL, message, value=waited)
    return grade(waited, limits, message)


@_of("settings")
def judge_settings(rows: list[Row], facts: Facts, _limits: Limits) -> Verdict:
    """Compare the settings with what is expected, or else with the earlier report."""
    hashes = setting_hashes(rows)
    found, expected, before = checksum(hashes), facts["settings_checksum"], facts["settings_before"]
    changed = sorted(name for name in {*hashes, *(before or {})} if before and hashes.get(name) != before.get(name))
    pending = [row["name"] for row in rows if row["pending"]]
    problems = []
    if expected and expected != found:
        named = f"; since the earlier report {_names(changed)} changed" if changed else ""
        problems.append(f"settings have checksum {found}, expected is {expected}{named}")
    elif changed and not expected:
        problems.append(f"settings changed since the earlier report: {_names(changed)}")
    if pending:
        problems.append(f"settings wait for a restart: {_names(pending)}")
    if problems:
        return Verdict(WARNING, f"{facts['server']}: {'; '.join(problems)}")
    if not expected and not before:
        return skipped("nothing to compare with: neither settings_checksum nor an earlier report is given")
    return Verdict(OK, f"the {len(hashes)} settings of {facts['server']} are as {'expected' if expected else 'before'}")


def _worse(one: Verdict, other: Verdict | None) -> Verdict:
    """Return the worse verdict; of equals the one with the larger value."""
    order = {OK: 0, WARNING: 1, CRITICAL: 2}
    if other is None:
        return one
    return max((one, other), key=lambda verdict: (order[verdict.status], verdict.value or 0.0))


def _part(facts: Facts, kind: str, name: str) -> str:
    return f"{facts['where']} {kind} {name}"


def _session(row: Row) -> str:
    application = f", {row['application']}" if row["application"] else ""
    return f"pid {row['pid']} ({row['user']} on {row['database']}{application})"


def _names(names: t.Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


# Declarations -----------------------------------------------------------------------------------------------------

CONNECT = Check(
    "postgresql_connect",
    "A session can be opened, and a query makes its round trip in time",
    judge_connect,
    unit="ms",
    warning=100,
    gate=True,
)
ROLE = Check(
    "postgresql_role", "The server is the primary or standby that it is expected to be", judge_role, fixed=True
)
PRIMARIES = Check(
    "postgresql_primaries",
    "Exactly one node of the cluster takes writes, and every node has been asked",
    judge_primaries,
    unit="count",
    fixed=True,
)
SERVER_CHECKS = (
    CONNECT,
    ROLE,
    Check(
        "postgresql_connections",
        "Share of the usable connections (without the reserved ones) that clients hold",
        judge_connections,
        unit="%",
        warning=80,
        critical=90,
    ),
    Check(
        "postgresql_replication",
        "WAL that each standby has not replayed yet, seen from the primary; a missing standby is critical",
        judge_replication,
        unit="B",
        warning=16 * MIB,
        critical=256 * MIB,
    ),
    Check(
        "postgresql_replay",
        "WAL that a standby has received and not replayed; a paused replay warns at once",
        judge_replay,
        unit="B",
        warning=16 * MIB,
        critical=256 * MIB,
    ),
    Check("postgresql_walreceiver", "A standby is streaming from its primary", judge_walreceiver, fixed=True),
    Check(
        "postgresql_slots",
        "WAL that each replication slot keeps from being removed; an inactive slot warns, a lost one is critical",
        judge_slots,
        unit="B",
        warning=5 * GIB,
        critical=20 * GIB,
    ),
    Check(
        "postgresql_wraparound",
        "Age of the oldest transaction id that is not frozen yet",
        judge_wraparound,
        unit="count",
        warning=1_000_000_000,
        critical=1_400_000_000,
    ),
    Check(
        "postgresql_idle_in_transaction",
        "Longest time that a session has been idle inside a transaction",
        judge_idle_in_transaction,
        unit="s",
        warning=300,
        critical=1800,
    ),
    Check(
        "postgresql_long_queries",
        "Longest time that a client's query has been running",
        judge_long_queries,
        unit="s",
        warning=120,
        critical=600,
    ),
    Check(
        "postgresql_lock_waits",
        "Longest time that a client has been waiting for a lock",
        judge_lock_waits,
        unit="s",
        warning=30,
        critical=300,
    ),
    Check(
        "postgresql_archive",
        "Time that the oldest finished WAL segment has waited to be archived; a failing archive is critical",
        judge_archive,
        unit="s",
        warning=600,
        critical=900,
    ),
    Check(
        "postgresql_settings",
        "Settings differ from the expected checksum or the earlier report, or wait for a restart",
        judge_settings,
        fixed=True,
    ),
)
CHECKS: tuple[Check, ...] = (*SERVER_CHECKS, PRIMARIES)


def validate(options: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield a sentence for each option that cannot be right."""
    yield from login_errors("postgresql", options)
    if not all(name.strip() for name in options["standbys"]):
        yield "postgresql.standbys: a name is empty; give the application_name of each standby"
    yield from duplicate_errors("postgresql.standbys", options["standbys"])
    yield from duplicate_errors("postgresql.nodes", [node["name"] for node in options["nodes"]])
    for index, node in enumerate(options["nodes"]):
        if not node["host"].strip():
            yield f"postgresql.nodes[{index}].host: it is empty; give the host of node {node['name']}"
        yield from port_errors(f"postgresql.nodes[{index}].port", node["port"])
    expected = options["settings_checksum"]
    if expected and not re.fullmatch("[0-9a-f]{16}", expected):
        yield (
            f"postgresql.settings_checksum: {expected!r} is no checksum of 16 hexadecimal digits; "
            "copy facts.postgresql.settings_checksum from a report"
        )


def plan(options: dict[str, t.Any], context: Context) -> Plan:
    """Return one probe of the server itself, and one that asks every node of its cluster."""
    server = _postgresql.server_of(options)
    before = context.before("postgresql", "settings")
    given = {
        "server": str(server),
        "where": server.where,
        "expected_role": options["role"],
        "standbys": options["standbys"],
        "settings_checksum": options["settings_checksum"],
        "settings_before": before if isinstance(before, dict) else None,
    }
    entries: Plan = [Probe(server.where, SERVER_CHECKS, functools.partial(observe, server), given)]
    nodes = {node["name"]: replace(server, host=node["host"], port=node["port"]) for node in options["nodes"]}
    if nodes:
        entries.append(Probe("postgresql nodes", (PRIMARIES,), functools.partial(ask_nodes, nodes)))
    else:
        entries.append(Skip(PRIMARIES, server.where, "no cluster to count primaries in: postgresql.nodes is empty"))
    return entries
