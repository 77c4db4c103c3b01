# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What must be true before a deployment moves to another region. Pure: facts in, checks out.

A gate refuses with the value that it measured. Where moving is still possible, an operator can
take the consequence by a variable that repeats this value; where there is nothing to move to,
nobody can.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import lag, parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, SKIPPED, UNKNOWN, CheckResult

Facts = dict[str, t.Any]

NO_HEARTBEAT = "there is no heartbeat to hold it against"

# Of the size of the database: what must be free beside it, for the log that nobody takes away at first.
FREE_SHARE = 0.1
# Seconds by which the standby may have seen more than the last heartbeat before that is called an old one.
STALE_S = 60
# To whole steps of so many bytes is rounded down what is free.
DISK_STEP = 2**30


@dataclass(frozen=True)
class Limits:
    """What is allowed. Seconds; ``rpo_bytes`` of None leaves the loss to the seconds alone."""

    rpo_s: float = 900
    rpo_bytes: int | None = None
    media_age_s: float = 900
    ttl_s: int = 60


@dataclass(frozen=True)
class Found:
    """What a gate saw: ``measured`` is what an override has to repeat, in the unit of its variable."""

    good: bool | None
    message: str
    measured: t.Any = None
    value: float | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Gate:
    """One thing that must be true.

    ``accept`` ends the name of the variable that overrides it (``dr_failover_accept_<accept>``), and is
    empty where nothing can. ``judge`` returns a text for what has no part in the move: the reason why.
    """

    name: str
    meaning: str
    judge: t.Callable[[Facts, Limits], Found | str]
    accept: str = ""


def _regions(facts: Facts, _limits: Limits) -> Found:
    source, target = facts["from"], facts["to"]
    if source == target:
        return Found(False, f"the deployment is to move from {source} to {target}, which is the same region")
    serving = (facts.get("record") or {}).get("region")
    if serving not in (None, "", source):
        return Found(False, f"the witness says that {serving} serves, so there is nothing to move from {source}")
    return Found(True, f"from {source} to {target}")


def _identity(facts: Facts, _limits: Limits) -> Found | str:
    heartbeat, standby = facts.get("heartbeat"), facts["standby"]
    if not heartbeat:
        return NO_HEARTBEAT
    theirs, ours = str(heartbeat["system_identifier"]), standby.get("system_identifier")
    if ours is None:
        return Found(None, "the standby does not say of which system it is")
    if theirs != str(ours):
        return Found(False, f"the standby is of another system ({ours}) than the primary was ({theirs})")
    return Found(True, f"the standby is of the primary's system {ours}")


def _recovery(facts: Facts, _limits: Limits) -> Found:
    standby = facts["standby"]
    if standby.get("in_recovery") is None:
        return Found(None, "whether the standby is in recovery could not be asked: its server does not answer")
    if not standby["in_recovery"]:
        return Found(False, "the server of the other region is no standby: it takes writes already")
    return Found(True, "the standby is in recovery")


def _replay(facts: Facts, _limits: Limits) -> Found:
    standby = facts["standby"]
    delay = standby.get("apply_delay_s") or 0
    if standby.get("replay_paused") is None:
        return Found(None, "whether the standby replays could not be asked: its server does not answer")
    if standby["replay_paused"]:
        return Found(False, "its replay is paused; resume it with SELECT pg_wal_replay_resume()")
    if delay:
        return Found(
            False, f"it replays {delay:g} s late; set recovery_min_apply_delay to 0, reload, and let it catch up"
        )
    return Found(True, "it replays what it receives")


def _timeline(facts: Facts, _limits: Limits) -> Found | str:
    heartbeat, standby = facts.get("heartbeat"), facts["standby"]
    if not heartbeat:
        return NO_HEARTBEAT
    last, here = int(heartbeat["timeline"]), standby.get("timeline")
    if here is None:
        return Found(None, "the standby does not say on which timeline it is")
    if here < last:
        return Found(
            False, f"the standby is on timeline {here}, and the primary was on {last}: it follows an old history"
        )
    return Found(True, f"it is on timeline {here}")


def _heartbeat(facts: Facts, _limits: Limits) -> Found:
    heartbeat, standby = facts.get("heartbeat"), facts["standby"]
    if not heartbeat:
        return Found(False, "the witness has no heartbeat, so what would be lost is not known", "none")
    replayed = standby.get("replayed_at") or ""
    if _apart(heartbeat["at"], replayed) > STALE_S:
        return Found(
            False,
            f"the last heartbeat is of {heartbeat['at']}, and the standby has replayed what was written at {replayed}: "
            "the primary went on without its heartbeat, so what would be lost is not known",
            heartbeat["at"],
        )
    return Found(True, f"the last heartbeat of the primary is of {heartbeat['at']}")


def _loss(facts: Facts, limits: Limits) -> Found | str:
    heartbeat, standby = facts.get("heartbeat"), facts["standby"]
    if not heartbeat:
        return NO_HEARTBEAT
    if not standby.get("replay_lsn"):
        return Found(None, "the standby does not say how far it has replayed")
    behind = lag(standby, heartbeat)
    lost, late = behind["lag_bytes"], behind["lag_seconds"]
    if lost == 0:
        return Found(True, "the standby has all that the last heartbeat knew of", 0, 0, "B")
    when = f"what was written in the {late:.0f} s before it" if late is not None else "from an unknown time on"
    few = limits.rpo_bytes is None or lost <= limits.rpo_bytes
    # Few bytes of an unknown time can be within the objective or not.
    good = False if not few else None if late is None else late <= limits.rpo_s
    allowed = f"{limits.rpo_s:g} s" + (f" and {limits.rpo_bytes} bytes" if limits.rpo_bytes is not None else "")
    text = f"{lost} bytes of the log that the last heartbeat knew of would be lost, {when}; allowed are {allowed}"
    return Found(good, text, lost, lost, "B")


def _connections(facts: Facts, _limits: Limits) -> Found | str:
    heartbeat, here = facts.get("heartbeat"), facts["standby"].get("limits") or {}
    wanted = (heartbeat or {}).get("limits") or {}
    if not wanted:
        return NO_HEARTBEAT if not heartbeat else "the last heartbeat does not say what the primary allowed"
    if not here:
        return Found(None, "the standby does not say what it allows")
    less = {name: here.get(name) or 0 for name, value in sorted(wanted.items()) if (here.get(name) or 0) < value}
    if less:
        words = ", ".join(f"{name} {value} < {wanted[name]}" for name, value in less.items())
        alone = [*less] == ["max_connections"]
        measured = less["max_connections"] if alone else ",".join(f"{name}:{value}" for name, value in less.items())
        return Found(False, f"the standby allows less than the primary did: {words}", measured)
    return Found(True, "the standby allows as many connections as the primary did")


def _disk(facts: Facts, _limits: Limits) -> Found:
    standby = facts["standby"]
    free, size = standby.get("disk_free_bytes"), standby.get("data_bytes")
    if free is None or size is None:
        return Found(None, "the standby does not say how much of its disk is free")
    if free < size * FREE_SHARE:
        return Found(
            False,
            f"{free} bytes are free beside {size} bytes of data, less than {FREE_SHARE:.0%} of them",
            # A server that runs changes the last digits all the time, and nobody could repeat them.
            free - free % DISK_STEP,
            free,
            "B",
        )
    return Found(True, f"{free} bytes are free", value=free, unit="B")


def _release(facts: Facts, _limits: Limits) -> Found | str:
    if not facts["homeservers"]:
        return Found(None, "no homeserver host of the region could be asked which release it has")
    found = sorted({str(one.get("release") or "none") for one in facts["homeservers"]})
    here = ",".join(found)
    wanted = sorted({one["release"] for one in facts.get("primary_homeservers") or [] if one.get("release")})
    if not wanted:
        return Found(None, f"the witness does not know which release served; the release here is {here}", here)
    if found != wanted:
        return Found(
            False,
            f"the release here is {here}, and what served was {', '.join(wanted)}; a schema that is newer "
            "than the release does not let it start",
            here,
        )
    return Found(True, f"the release is {here}, as it was")


def _signing_key(facts: Facts, _limits: Limits) -> Found | str:
    if not facts["homeservers"]:
        return Found(None, "no homeserver host of the region could be asked which key it signs with")
    served = facts.get("primary_homeservers") or []
    keys = {one["host"]: set(one.get("signing_key_ids") or []) for one in facts["homeservers"]}
    wanted = {key for one in served for key in one.get("signing_key_ids") or []}
    if not served:
        here = _ids(set().union(*keys.values()))
        return Found(None, f"the witness does not know which key what served signed with; here it is {here}", here)
    if not wanted:
        return "what served has no file of signing keys"
    others = {host: here for host, here in keys.items() if not wanted <= here}
    if others:
        words = "; ".join(f"{host} signs with {_ids(here)}" for host, here in sorted(others.items()))
        return Found(
            False,
            f"{words}, and what served signed with {_ids(wanted)}; other servers would not believe it",
            ",".join(sorted({_ids(here) for here in others.values()})),
        )
    return Found(True, f"it signs with {_ids(wanted)}, as before")


def _ids(keys: set[str]) -> str:
    return ",".join(sorted(keys)) or "none"


def _media(facts: Facts, limits: Limits) -> Found | str:
    media = facts.get("media")
    if media is None:
        return "nobody said where a copy of the media would be"
    age = media.get("age_s")
    if age is None:
        return Found(False, f"there is no copy of the media here: {media.get('message') or 'none was found'}", "none")
    text = f"the copy of the media is {age:.0f} s old"
    return Found(
        age <= limits.media_age_s, f"{text}; allowed are {limits.media_age_s:g} s", media.get("taken"), round(age), "s"
    )


def _ttl(facts: Facts, limits: Limits) -> Found | str:
    records = facts.get("dns")
    if not records:
        return "no records are to be changed"
    unknown = [record["name"] for record in records if record.get("ttl") is None]
    if unknown:
        return Found(None, f"the TTL of {', '.join(unknown)} could not be asked", "none")
    longest = max(records, key=lambda record: record["ttl"])
    ttl = longest["ttl"]
    return Found(
        ttl <= limits.ttl_s,
        f"others keep {longest['name']} for {ttl} s; allowed are {limits.ttl_s} s",
        ttl,
        ttl,
        "s",
    )


def _fence(facts: Facts, _limits: Limits) -> Found:
    fences = facts.get("fences") or []
    if not fences:
        return Found(
            False,
            f"nothing can make sure that {facts['from']} takes no more writes: its database cannot be reached, and "
            "there is neither dr_failover_fence_command nor a lease that ends nor dr_failover_fence_statement",
        )
    return Found(True, f"the old side can be fenced by {', '.join(fences)}")


GATES = (
    Gate("dr_regions", "The move leads from the region that serves to another one", _regions),
    Gate("dr_fence", "There is a way to keep the old region from taking writes", _fence),
    Gate("dr_recovery", "The standby answers and is one", _recovery),
    Gate("dr_identity", "The standby is of the primary's system", _identity),
    Gate("dr_replay", "The standby replays without pause and delay", _replay),
    Gate("dr_timeline", "The standby follows the primary's last history", _timeline),
    Gate("dr_heartbeat", "The witness knows how far the primary was", _heartbeat, "heartbeat"),
    Gate("dr_loss", "What would be lost is within the objective", _loss, "loss_bytes"),
    Gate("dr_connections", "The standby allows what the primary did", _connections, "max_connections"),
    Gate("dr_disk", "The standby has room to go on", _disk, "disk_free_bytes"),
    Gate("dr_release", "The homeserver here is of the release that served", _release, "release"),
    Gate("dr_signing_key", "The homeserver here signs with the same key", _signing_key, "signing_key"),
    Gate("dr_media", "The copy of the media is not older than the objective", _media, "media_taken"),
    Gate("dr_dns_ttl", "Others do not keep the old address for long", _ttl, "dns_ttl"),
)
ACCEPTED = tuple(gate.accept for gate in GATES if gate.accept)


def judge(facts: Facts, limits: Limits, accepted: t.Mapping[str, t.Any], target: str) -> list[CheckResult]:
    """Return one check for each gate. What an operator accepted is ok, and its message says so."""
    return [_judged(gate, facts, limits, accepted, target) for gate in GATES]


def _judged(gate: Gate, facts: Facts, limits: Limits, accepted: t.Mapping[str, t.Any], target: str) -> CheckResult:
    found = gate.judge(facts, limits)
    if isinstance(found, str):
        return CheckResult(gate.name, target, SKIPPED, found, skipped_reason=found)
    check = CheckResult(gate.name, target, OK, found.message, value=found.value, unit=found.unit)
    if found.good:
        return check
    repeated = str(accepted.get(gate.accept) or "") if gate.accept else ""
    if repeated and found.measured is not None and repeated == str(found.measured):
        return replace(check, message=f"{found.message}; accepted by dr_failover_accept_{gate.accept}={repeated}")
    status = UNKNOWN if found.good is None else CRITICAL
    return replace(check, status=status, message=found.message + _way_out(gate, found, repeated))


def _way_out(gate: Gate, found: Found, repeated: str) -> str:
    if not gate.accept or found.measured is None:
        return ""
    variable = f"dr_failover_accept_{gate.accept}"
    if repeated:
        return f". {variable} is {repeated}, and the value is {found.measured} now"
    return f". To go on none the less give {variable}={found.measured}"


def refusals(checks: t.Iterable[CheckResult]) -> list[str]:
    """Return why a move is refused: a sentence for each gate that is not ok."""
    return [f"{check.name}: {check.message}" for check in checks if check.status in (CRITICAL, UNKNOWN)]


def _apart(earlier: str, later: str) -> float:
    """Return the seconds between two times in RFC 3339, 0 if the first is later or one is missing."""
    if not earlier or not later:
        return 0.0
    return max(0.0, (parse_time(later) - parse_time(earlier)).total_seconds())
