# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A cluster that Patroni runs: what matrixon_patroni asks of its API, and has it do.

Patroni holds the leader's lock. Who promotes around it is demoted again, or
makes two primaries. So it is told what the cluster should be, and what its
members say of themselves is the proof that it is so.
"""

from __future__ import annotations

import base64
import concurrent.futures
import datetime
import ipaddress
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._dr import lsn
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import Facts, Options, refuse
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, Response, Url, parse_url
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    PARSE,
    REFUSED,
    TIMEOUT,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    UNKNOWN,
    WARNING,
    CheckResult,
    Report,
)

READ, PROMOTED, SWITCHOVER, STANDBY = "read", "promoted", "switchover", "standby"

# Patroni before 4 says master.
PRIMARY = ("primary", "master")
STANDBY_LEADER = "standby_leader"
LEADERS = (*PRIMARY, STANDBY_LEADER)
RUNNING = "running"
STREAMING = "streaming"
# What Patroni holds against a candidate where its configuration says nothing else.
MAXIMUM_LAG = 1024 * 1024
# No Patroni has such a setting: to remove it changes nothing, and is only done for whoever may write.
NO_SETTING = "matrixon_ops"
# How long one member is waited for, in seconds: one that hangs must leave time for what is asked.
PATIENCE = 5.0
POLL = 0.2

Clock = t.Callable[[], float]
Sleep = t.Callable[[float], None]


# --- what it says


@dataclass(frozen=True)
class Member:
    """A member: what the cluster's store has of it, and what it says of itself, or why it does not."""

    name: str
    role: str
    state: str
    api_url: str
    host: str = ""
    port: int = 0
    timeline: int | None = None
    lag_bytes: int | None = None
    word: Facts | None = None
    failure: ProbeFailure | None = None

    @property
    def leads(self) -> bool:
        """Say whether it takes itself for the leader."""
        return (self.word or {}).get("role") in LEADERS

    @property
    def is_primary(self) -> bool:
        """Say whether it is a primary that runs, by its own word."""
        word = self.word or {}
        return word.get("role") in PRIMARY and word["state"] == RUNNING

    def said(self) -> str:
        """Return in words what is known of it."""
        if self.failure:
            return f"{self.name} gives no answer ({self.failure.message})"
        word = self.word or {}
        streams = f", {word['replication']}" if word.get("replication") else ""
        return f"{self.name} is {word.get('role')}, {word.get('state')}{streams}, on timeline {word.get('timeline')}"

    def facts(self) -> Facts:
        """Return it as the module's result has it."""
        word = self.word or {}
        return {
            "name": self.name,
            "role": self.role,
            "state": self.state,
            "api_url": self.api_url,
            "host": self.host,
            "port": self.port,
            "timeline": word.get("timeline") or self.timeline,
            "lag_bytes": self.lag_bytes,
            "own_role": word.get("role"),
            "replication": word.get("replication"),
            "replay_paused": word.get("replay_paused"),
            "error": self.failure.message if self.failure else None,
        }


@dataclass(frozen=True)
class View:
    """A cluster at one moment."""

    scope: str
    version: str
    asked: str
    system_identifier: str
    paused: bool
    standby_cluster: Facts | None
    maximum_lag: int
    members: tuple[Member, ...]

    @property
    def leader(self) -> Member | None:
        """Return who has the leader's lock."""
        return next((each for each in self.members if each.role in ("leader", STANDBY_LEADER)), None)

    def member(self, name: str) -> Member | None:
        """Return the member of that name."""
        return next((each for each in self.members if each.name == name), None)

    def streams(self, member: Member) -> bool:
        """Say whether a member gets the log, by the word of the leader or, with newer ones of Patroni, its own."""
        own, leader = member.word, self.leader
        if own is None or own["role"] in PRIMARY:
            return False
        return own["replication"] == STREAMING or bool(
            leader and leader.word and member.name in leader.word["standbys"]
        )

    def facts(self) -> Facts:
        """Return it as the module's result has it. What the configuration may hold beside is nobody's business."""
        source = self.standby_cluster
        leader = self.leader
        return {
            "scope": self.scope,
            "version": self.version,
            "member": self.asked,
            "system_identifier": self.system_identifier,
            "paused": self.paused,
            "standby_cluster": source is not None,
            "primary": {name: (source or {}).get(name) for name in ("host", "port", "primary_slot_name")},
            "leader": leader.name if leader else None,
            "timeline": leader.facts()["timeline"] if leader else None,
            "members": [each.facts() for each in self.members],
        }


class Api:
    """The API of one member, and for questions that need no password that of the others."""

    def __init__(self, options: Options) -> None:
        self.url = parse_url(options["url"].rstrip("/"))
        self.user = options["user"]
        self._client = HttpClient(ca_file=options["ca_file"] or None)
        login = f"{options['user']}:{options['password']}".encode()
        self._headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"} if options["user"] else {}

    @property
    def peer(self) -> str:
        """Return who is asked, for messages."""
        return f"{self.url.scheme}://{self.url.authority}"

    def get(self, path: str, deadline: Deadline, base: str = "") -> Facts:
        """Return an answer, which must be a JSON object."""
        url = f"{base or self.url}{path}"
        answer = self._client.request("GET", url, deadline)
        if answer.status != 200:
            raise ProbeFailure(REFUSED, f"{url} answered {answer.status}: {answer.excerpt(200)}")
        found = answer.json()
        if not isinstance(found, dict):
            raise ProbeFailure(PARSE, f"{url} answered no JSON object: {answer.excerpt()}")
        return found

    def change(self, method: str, path: str, body: Facts, deadline: Deadline) -> Response:
        """Ask for a change, with the password. Whoever is refused for it is told so."""
        answer = self._client.request(method, f"{self.url}{path}", deadline, headers=self._headers, body=body)
        if answer.status in (401, 403):
            who = f"the user {self.user!r} and this password" if self.user else "a change without a user"
            raise ProbeFailure(
                AUTH, f"user, password: {self.peer} does not take {who}; see restapi.authentication of this Patroni"
            )
        return answer

    def configure(self, change: Facts, deadline: Deadline) -> None:
        """Change the configuration of the cluster."""
        answer = self.change("PATCH", "/config", change, deadline)
        if answer.status != 200:
            raise ProbeFailure(
                REFUSED,
                f"{self.peer} did not change the configuration of the cluster ({answer.status}: "
                f"{answer.excerpt(200)}); see whether its store (DCS) can be reached, and run this again",
            )


def look(api: Api, deadline: Deadline) -> View:
    """Return what the cluster is."""
    own = api.get("/patroni", deadline)
    cluster = api.get("/cluster", deadline)
    config = api.get("/config", deadline)
    about = own.get("patroni")
    if not isinstance(about, dict) or not isinstance(cluster.get("members"), list):
        raise ProbeFailure(PARSE, f"url: what answers at {api.peer} is no API of Patroni; name its restapi address")
    members = tuple(_member(each) for each in cluster["members"] if isinstance(each, dict))
    source = config.get("standby_cluster")
    return View(
        scope=str(about.get("scope") or cluster.get("scope") or ""),
        version=str(about.get("version", "")),
        asked=str(about.get("name") or _named_by(api.url, members)),
        system_identifier=str(own.get("database_system_identifier", "")),
        paused=bool(cluster.get("pause") or config.get("pause")),
        standby_cluster=source if isinstance(source, dict) and source else None,
        maximum_lag=_number(config.get("maximum_lag_on_failover")) or MAXIMUM_LAG,
        members=_heard(api, members, deadline),
    )


def _number(value: t.Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _member(found: Facts) -> Member:
    return Member(
        name=str(found.get("name", "")),
        role=str(found.get("role", "")),
        state=str(found.get("state", "")),
        api_url=str(found.get("api_url", "")),
        host=str(found.get("host", "")),
        port=_number(found.get("port")) or 0,
        timeline=_number(found.get("timeline")),
        lag_bytes=_number(found.get("lag")),
    )


def _named_by(url: Url, members: t.Iterable[Member]) -> str:
    """Return whose API it is where it does not say so, as before Patroni 3.2."""
    for member in members:
        try:
            found = parse_url(member.api_url)
        except ValueError:
            continue
        if (found.host, found.port) == (url.host, url.port):
            return member.name
    return ""


def _heard(api: Api, members: tuple[Member, ...], deadline: Deadline) -> tuple[Member, ...]:
    """Return the members with what each says of itself. All are asked at once."""
    if not members:
        return ()
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(len(members), 16)) as pool:
        return tuple(pool.map(lambda each: _hear(api, each, deadline.within(PATIENCE)), members))


def _hear(api: Api, member: Member, deadline: Deadline) -> Member:
    try:
        parse_url(member.api_url)
        return _with(member, word=word(api.get("", deadline, member.api_url)))
    except ValueError:
        failure = ProbeFailure(PARSE, f"the cluster has no address of its API, but {member.api_url!r:.80}")
        return _with(member, failure=failure)
    except ProbeFailure as error:
        return _with(member, failure=error)


def _with(member: Member, **changes: t.Any) -> Member:
    return Member(**{**member.__dict__, **changes})


def word(found: Facts) -> Facts:
    """Return what a member says of itself, in our words."""
    position = found.get("xlog")
    position = position if isinstance(position, dict) else {}
    senders = found.get("replication")
    return {
        "role": str(found.get("role", "")),
        "state": str(found.get("state", "")),
        "timeline": _number(found.get("timeline")),
        "replication": str(found.get("replication_state") or ""),
        "replay_paused": bool(position.get("paused")),
        "replayed": _number(position.get("replayed_location")),
        "written": _number(position.get("location")),
        "standbys": [
            str(each.get("application_name"))
            for each in (senders if isinstance(senders, list) else [])
            if isinstance(each, dict) and each.get("state") == STREAMING
        ],
    }


# --- what stands in the way


def _common(view: View) -> t.Iterator[str]:
    """Yield what keeps Patroni from doing anything."""
    if view.paused:
        yield f"the cluster {view.scope} is paused, so Patroni would not act; run patronictl resume first"
    claimants = [each.name for each in view.members if each.leads]
    if len(claimants) > 1:
        yield (
            f"{', '.join(claimants)} each take themselves for the leader of {view.scope}; see which of them writes, "
            "and stop the others first"
        )
    leader = view.leader
    if leader is None:
        known = ", ".join(f"{each.name} {each.state}" for each in view.members) or "no member is known"
        yield f"the cluster {view.scope} has no leader ({known}); have Patroni find one first, see patronictl list"
    elif leader.failure:
        yield f"the leader {leader.said()}; bring its API back first"


def of_system(view: View, wanted: str | None) -> t.Iterator[str]:
    """Yield why it is not the cluster that is meant."""
    if wanted and view.system_identifier != wanted:
        yield (
            f"system_identifier: {view.scope} is the cluster {view.system_identifier}, and {wanted} is meant; name the "
            "right url"
        )


def promotion_obstacles(view: View, options: Options) -> list[str]:
    """Return why the standby cluster must not become a primary one: all reasons at once."""
    found = [*_common(view), *of_system(view, options["system_identifier"])]
    leader = view.leader
    if leader is None or leader.word is None:
        return found
    if leader.name != view.asked:
        found.append(
            f"url: it is the API of {view.asked or 'no member'}, and {leader.name} leads; name {leader.api_url}"
        )
    before, timeline = options["from_timeline"], leader.word["timeline"]
    if leader.word["role"] in PRIMARY:
        if view.standby_cluster is not None:
            found.append(f"{leader.name} is a primary in a standby cluster; see what patronictl list and its log say")
        elif before is None:
            found.append(
                f"{view.scope} is no standby cluster: {leader.said()}; name the timeline that it came from in "
                "from_timeline if it was promoted by an earlier run"
            )
        elif timeline is None or timeline <= before:
            found.append(
                f"from_timeline: {leader.said()}, so it was not promoted from timeline {before}; it may be the old "
                "primary"
            )
        return found
    if leader.word["state"] != RUNNING:
        found.append(f"the leader {leader.name} is {leader.word['state']}; see its log, and have it run first")
    if leader.word["replay_paused"]:
        found.append(f"the replay on {leader.name} is paused; run SELECT pg_wal_replay_resume() there")
    if before is not None and timeline != before:
        found.append(
            f"from_timeline: {leader.name} replays timeline {timeline}, and not {before}; look which primary it follows"
        )
    return found


def switchover_obstacles(view: View, options: Options) -> list[str]:
    """Return why the leader must not be changed: all reasons at once."""
    found = [*_common(view), *of_system(view, options["system_identifier"])]
    leader, wanted = view.leader, options["leader"]
    candidate = view.member(options["candidate"])
    if candidate is None:
        names = ", ".join(each.name for each in view.members)
        found.append(f"candidate: {options['candidate']} is no member of {view.scope}; name one of {names}")
    if leader is None:
        return found
    if candidate is leader:
        return found
    if wanted and wanted != leader.name:
        found.append(
            f"leader: {wanted} was given, and {leader.name} leads {view.scope}; see whether you still want this"
        )
    if candidate is not None:
        found += _candidate_obstacles(candidate, leader, view)
    return found


def _candidate_obstacles(candidate: Member, leader: Member, view: View) -> t.Iterator[str]:
    name = f"candidate: {candidate.name}"
    if candidate.word is None:
        yield f"candidate: {candidate.said()}; bring it back first"
        return
    if candidate.word["state"] != RUNNING:
        yield f"{name} is {candidate.word['state']}; wait until it runs, or name another member"
    if not view.streams(candidate):
        yield f"{name} does not stream from {leader.name}; see its log, or name another member"
    if candidate.word["replay_paused"]:
        yield f"{name} has its replay paused; run SELECT pg_wal_replay_resume() there"
    if candidate.lag_bytes is not None and candidate.lag_bytes > view.maximum_lag:
        yield (
            f"{name} is {human(candidate.lag_bytes, 'B')} behind, more than maximum_lag_on_failover allows; wait until "
            "it has caught up"
        )


def standby_obstacles(view: View, options: Options) -> list[str]:
    """Return why the cluster must not become the standby of another one: all reasons at once."""
    found = [*_common(view), *of_system(view, options["system_identifier"])]
    primary = options["primary"]
    own = [each.name for each in view.members if (each.host, each.port) == (primary["host"], primary["port"])]
    if own:
        found.append(
            f"primary: {primary['host']}:{primary['port']} is {own[0]}, a member of {view.scope} itself; name the "
            "leader of the other cluster"
        )
    leader = view.leader
    if leader is not None and leader.is_primary:
        found += _history_obstacles(leader, view, options)
    return found


def _history_obstacles(leader: Member, view: View, options: Options) -> t.Iterator[str]:
    """Yield why Patroni, which knows timelines by number, would not rewind a primary, or why it could not be seen."""
    own = leader.word or {}
    if (own["timeline"] or 0) >= options["timeline"]:
        yield (
            f"timeline: {leader.name} is a primary on timeline {own['timeline']} itself, so Patroni would not rewind "
            f"it to follow one on timeline {options['timeline']}, and it would never get anything; move its data away, "
            f"and have {view.scope} built anew as a standby cluster"
        )
    if (own["written"] or 0) >= lsn.parse_lsn(options["until_lsn"]):
        yield (
            f"until_lsn: {leader.name} has written up to {lsn.format_lsn(own['written'])} itself, so "
            f"{options['until_lsn']} would show nothing; name a position of the primary that is behind this, after "
            "SELECT pg_switch_wal() there if need be"
        )


# --- doing it


@dataclass
class Work:
    """One act on its way. ``changed`` is true from the moment when Patroni may have taken an order."""

    api: Api
    options: Options
    deadline: Deadline
    view: View
    sleep: Sleep = time.sleep
    changed: bool = False
    checks: list[CheckResult] = field(default_factory=list)

    def proven(self, name: str, message: str) -> None:
        """Note what was seen to be so."""
        self.checks.append(CheckResult(name, self.options["target"] or self.view.scope, OK, message))

    def until(self, done: t.Callable[[View], bool], wanted: str) -> View:
        """Look until it is so. A member that gives no answer meanwhile is only not there yet."""
        while True:
            problem = ""
            try:
                self.view = look(self.api, self.deadline)
                if done(self.view):
                    return self.view
            except ProbeFailure as failure:
                problem = failure.message
            if not self.deadline.remaining():
                seen = "; ".join(each.said() for each in self.view.members)
                raise BackupError(
                    TIMEOUT,
                    f"timeout: Patroni has not made {wanted} within {self.deadline.seconds:g} s: {problem or seen}; "
                    "see patronictl list and the logs of Patroni, and run this again",
                )
            self.sleep(POLL)

    def order(self, change: Facts) -> None:
        """Change the configuration. Whether it was, is not known where the answer got lost."""
        try:
            self.api.configure(change, self.deadline)
        except ProbeFailure as failure:
            self.changed |= bool(failure.facts.get("sent"))
            raise
        self.changed = True


def promote(work: Work) -> None:
    """Have Patroni make a standby cluster a primary one, and see that its leader is a primary on a new timeline."""
    leader = t.cast(Member, work.view.leader)
    before = work.options["from_timeline"] or (leader.word or {}).get("timeline") or 0
    if work.view.standby_cluster is not None:
        work.order({"standby_cluster": None})

    def done(view: View) -> bool:
        now = view.leader
        if now is None or view.standby_cluster is not None or not now.is_primary or now.name != leader.name:
            return False
        return ((now.word or {})["timeline"] or 0) > before

    view = work.until(done, f"{leader.name} a primary behind timeline {before}")
    work.proven("patroni_promoted", f"{t.cast(Member, view.leader).said()}, and came from timeline {before}")


def switch_over(work: Work) -> None:
    """Have Patroni change the leader, and see that the old one follows the new one."""
    name = work.options["candidate"]
    leader = t.cast(Member, work.view.leader)
    # Of a run that died the old leader is known only by its option.
    old = leader.name if leader.name != name else work.options["leader"]
    if leader.name != name:
        work.changed = True
        try:
            _require_taken(work.api.change("POST", "/switchover", {"leader": old, "candidate": name}, work.deadline))
        except ProbeFailure as failure:
            work.changed = bool(failure.facts.get("sent")) and failure.kind != AUTH
            if failure.kind != TIMEOUT:
                raise

    def done(view: View) -> bool:
        new, former = view.leader, view.member(old) if old else None
        if new is None or new.name != name or not (new.is_primary or (view.standby_cluster and new.leads)):
            return False
        return not old or (former is not None and view.streams(former))

    view = work.until(done, f"{name} the leader" + (f" and {old} its standby" if old else ""))
    said = t.cast(Member, view.leader).said()
    former = view.member(old) if old else None
    work.proven("patroni_leader_changed", said + (f"; {former.said()}" if former else ""))


def _require_taken(answer: Response) -> None:
    """Raise for what Patroni refuses. Where it does not know how it ended, what it says next will show."""
    unknown = answer.status == 503 and b"unknown" in answer.body
    if answer.status not in (200, 202) and not unknown:
        raise ProbeFailure(REFUSED, f"Patroni refuses the switchover ({answer.status}): {answer.excerpt(200)}")


def source(options: Options, now: Facts | None) -> Facts:
    """Return what the configuration should say of the primary that is followed."""
    primary = options["primary"]
    wanted: Facts = {"host": primary["host"], "port": primary["port"]}
    if primary["slot"]:
        wanted["primary_slot_name"] = primary["slot"]
    elif "primary_slot_name" in (now or {}):
        wanted["primary_slot_name"] = None
    return wanted


def differs(wanted: Facts, now: Facts | None) -> bool:
    """Say whether the cluster follows nobody, or somebody else."""
    return now is None or any(str(now.get(name) or "") != str(value or "") for name, value in wanted.items())


def follow(work: Work) -> None:
    """Have Patroni make a cluster the standby of another, and see that its leader replays what the other one writes.

    That it has a receiver would show nothing: one that was not rewound has it,
    too, and gets nothing. Its position alone may be one of the old timeline.
    """
    wanted = source(work.options, work.view.standby_cluster)
    if differs(wanted, work.view.standby_cluster):
        work.order({"standby_cluster": wanted})
    until, timeline = work.options["until_lsn"], work.options["timeline"]
    position = lsn.parse_lsn(until)

    def done(view: View) -> bool:
        leader = view.leader
        if leader is None or leader.word is None or differs(wanted, view.standby_cluster):
            return False
        found = leader.word
        there = found["timeline"] == timeline and (found["replayed"] or 0) >= position
        return bool(found["role"] == STANDBY_LEADER and found["state"] == RUNNING and there)

    to = f"{work.options['primary']['host']}:{work.options['primary']['port']}"
    view = work.until(done, f"{work.view.scope} a standby cluster of {to} that has {until} of timeline {timeline}")
    leader = t.cast(Member, view.leader)
    reached = lsn.format_lsn((leader.word or {})["replayed"])
    work.proven("patroni_follows", f"{leader.said()}, follows {to}, and has replayed up to {reached}")


# --- the whole


def judge(view: View, target: str) -> list[CheckResult]:
    """Return the verdicts on a cluster as it is."""
    checks = [_judge_leader(view, target)]
    if view.paused:
        checks.append(
            CheckResult("patroni_paused", target, WARNING, f"{view.scope} is paused: Patroni heals nothing there")
        )
    else:
        checks.append(CheckResult("patroni_paused", target, OK, f"{view.scope} is not paused"))
    return checks + [_judge_member(each, view) for each in view.members]


def _judge_leader(view: View, target: str) -> CheckResult:
    kind = "standby cluster" if view.standby_cluster is not None else "primary cluster"
    claimants = [each.name for each in view.members if each.leads]
    leader = view.leader
    if len(claimants) > 1:
        text = f"{', '.join(claimants)} each take themselves for the leader of {view.scope}"
        return CheckResult("patroni_leader", target, CRITICAL, text)
    if leader is None:
        return CheckResult("patroni_leader", target, CRITICAL, f"the {kind} {view.scope} has no leader")
    if leader.failure:
        return CheckResult("patroni_leader", target, UNKNOWN, leader.said(), error_kind=leader.failure.kind)
    good = leader.leads and (leader.word or {})["state"] == RUNNING
    return CheckResult("patroni_leader", target, OK if good else CRITICAL, f"{kind} {view.scope}: {leader.said()}")


def _judge_member(member: Member, view: View) -> CheckResult:
    name = "patroni_member"
    if member.failure:
        return CheckResult(name, member.name, UNKNOWN, member.said(), error_kind=member.failure.kind)
    leader = view.leader
    found = member.word or {}
    if found["state"] != RUNNING:
        return CheckResult(name, member.name, CRITICAL, member.said())
    if member is leader:
        return CheckResult(name, member.name, OK, member.said())
    lag: Facts = {}
    if member.lag_bytes is not None:
        lag = {"value": member.lag_bytes, "unit": "B", "warning": view.maximum_lag}
    if leader and leader.word and found["timeline"] != leader.word["timeline"]:
        return CheckResult(name, member.name, WARNING, f"{member.said()}, and its leader is not", **lag)
    if not view.streams(member) or (member.lag_bytes or 0) > view.maximum_lag:
        return CheckResult(name, member.name, WARNING, f"{member.said()}; it would not be made the leader", **lag)
    return CheckResult(name, member.name, OK, member.said(), **lag)


def problems(options: Options) -> t.Iterator[str]:
    """Yield what is wrong with the options: one sentence for each."""
    if not 0 < options["timeout"] <= 86400:
        yield f"timeout: {options['timeout']:g} is not from 0 to 86400 seconds; 60 is the default"
    yield from _login_problems(options)
    if options["from_timeline"] is not None and options["from_timeline"] < 1:
        yield f"from_timeline: {options['from_timeline']} is no timeline; the first one is 1"
    wanted = options["system_identifier"]
    if wanted is not None and not wanted.isdigit():
        yield f"system_identifier: {wanted!r:.40} is no number; name what pg_controldata calls the system identifier"
    if options["leader"] and options["leader"] == options["candidate"]:
        yield f"candidate: {options['candidate']} is the leader that is to be left; name another member"
    primary = options["primary"]
    if primary and not (primary["host"] and 1 <= primary["port"] <= 65535):
        yield f"primary: {primary['host']!r}, port {primary['port']} is no address of a server; name its host and port"
    if options["timeline"] is not None and options["timeline"] < 1:
        yield f"timeline: {options['timeline']} is no timeline; name the one that the primary is on"
    if options["until_lsn"] is not None:
        try:
            lsn.parse_lsn(options["until_lsn"])
        except ProbeFailure as error:
            yield f"until_lsn: {error.message}"


def _login_problems(options: Options) -> t.Iterator[str]:
    try:
        url = parse_url(options["url"].rstrip("/"))
    except ValueError as error:
        # Nothing of what was given is shown: it may hold a password.
        yield f"url: {error}; write for example https://10.20.0.31:8008"
        return
    if url.path:
        yield f"url: {url} has a path; write {url.scheme}://{url.authority}"
    if options["password"] and not options["user"]:
        yield "user: it is empty, and a password was given; name the user of restapi.authentication"
    if ":" in options["user"]:
        yield f"user: {options['user']!r} has a colon, which no user of HTTP has; name that of restapi.authentication"
    if url.scheme == "http" and options["password"] and not _is_loopback(url.host):
        yield (
            f"url: {url} is not https, and the password would go over the wire in clear; give this Patroni a "
            "certificate (restapi.certfile)"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def plan(view: View, options: Options) -> tuple[str, ...]:
    """Return what would be done, in sentences."""
    state, leader = options["state"], view.leader
    if state == PROMOTED and view.standby_cluster is not None:
        where = leader.said() if leader else ""
        return (f"have Patroni make {view.scope} a primary cluster: {where}", "wait until the leader is a primary")
    if state == SWITCHOVER and leader and leader.name != options["candidate"]:
        return (f"have Patroni make {options['candidate']} the leader of {view.scope} in place of {leader.name}",)
    wanted = source(options, view.standby_cluster) if state == STANDBY else {}
    if wanted and differs(wanted, view.standby_cluster):
        to = f"{wanted['host']}:{wanted['port']}"
        return (f"have Patroni make {view.scope} a standby cluster of {to}, and give up what is not there",)
    return ()


OBSTACLES: dict[str, t.Callable[[View, Options], list[str]]] = {
    PROMOTED: promotion_obstacles,
    SWITCHOVER: switchover_obstacles,
    STANDBY: standby_obstacles,
}
ACTS: dict[str, t.Callable[[Work], None]] = {PROMOTED: promote, SWITCHOVER: switch_over, STANDBY: follow}


def run(options: Options, check: bool, clock: Clock = time.monotonic, sleep: Sleep = time.sleep) -> Outcome:
    """Say what the cluster is, and bring it into the state that is asked for."""
    refuse(problems(options))
    started = datetime.datetime.now(datetime.timezone.utc)
    deadline = Deadline(options["timeout"], clock)
    api = Api(options)
    view = look(api, deadline)
    state = options["state"]
    if state == READ:
        return Outcome(_report(options, view, [], started, deadline), values={"cluster": view.facts(), "reasons": []})
    reasons = OBSTACLES[state](view, options)
    if check:
        reasons += _login(api, deadline)
    refuse(reasons)
    steps = plan(view, options)
    if check:
        msg = "; ".join(steps) or "nothing is to be done"
        return Outcome(changed=bool(steps), msg=msg, plan=steps, values={"cluster": view.facts(), "reasons": []})
    return _act(Work(api, options, deadline, view, sleep), started)


def _login(api: Api, deadline: Deadline) -> list[str]:
    """Return why this user may change nothing: asked by a change that changes nothing."""
    try:
        api.configure({NO_SETTING: None}, deadline)
    except ProbeFailure as failure:
        return [failure.message]
    return []


def _act(work: Work, started: datetime.datetime) -> Outcome:
    options = work.options
    failure = None
    try:
        ACTS[options["state"]](work)
    except ProbeFailure as error:
        failure = error
        target = options["target"] or work.view.scope
        name = f"patroni_{options['state']}"
        work.checks.append(CheckResult(name, target, CRITICAL, error.message, error_kind=error.kind))
    report = _report(options, work.view, work.checks, started, work.deadline)
    values: Facts = {"cluster": work.view.facts(), "reasons": [failure.message] if failure else []}
    if failure:
        values["error_kind"] = failure.kind
    msg = failure.message if failure else "; ".join(each.message for each in work.checks)
    return Outcome(report, work.changed, msg, values=values, failed=failure is not None)


def _report(
    options: Options, view: View, done: list[CheckResult], started: datetime.datetime, deadline: Deadline
) -> Report:
    target = options["target"] or view.scope
    return Report(
        kind="patroni",
        target=target,
        deployment=options["deployment"],
        profile=options["profile"],
        started=started,
        finished=started + datetime.timedelta(seconds=deadline.elapsed()),
        checks=(*done, *judge(view, target)),
        facts=view.facts(),
    )
