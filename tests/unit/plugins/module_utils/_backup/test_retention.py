"""Retention: only proven sets count, the last proven one never goes, and every decision says why."""

from __future__ import annotations

import datetime
import random
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import retention
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Manifest, PostgresqlFacts, Retention
from ansible_collections.matrixon.ops.plugins.module_utils._backup.retention import Decision, Policy, WalNeed
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Drill, Entry

NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.timezone.utc)
HOUR = 1 / 24
MONTH = Policy(max_age=30)


def entry(number: int, days: float, status: str | None = "ok", chain: tuple[str, ...] = (), **more: Any) -> Entry:
    """Return a set with this sequence that was finished so many days ago."""
    finished = NOW - datetime.timedelta(days=days)
    described = Manifest(
        id=f"s{number}",
        sequence=number,
        fleet="fleet",
        server="db1",
        created=finished,
        finished=finished,
        kind="incremental" if chain else "full",
        parent=chain[-1] if chain else None,
        chain=(*chain, f"s{number}") if chain else (),
        **{"retention": Retention(keep_until=more.pop("keep_until", None)), "pg": more.pop("pg", None)},
    )
    drill = Drill(1, "", "", status, {}) if status else None
    return Entry(f"s{number}", f"/s{number}", described, drill=drill, **more)


def kept(entries: list[Entry], policy: Policy) -> list[str]:
    return [decision.id for decision in retention.plan(entries, policy, NOW) if decision.keep]


def why(entries: list[Entry], policy: Policy, set_id: str) -> str:
    (found,) = [decision for decision in retention.plan(entries, policy, NOW) if decision.id == set_id]
    return "; ".join(found.reasons).replace("\N{NO-BREAK SPACE}", " ")


# --- single rules


def test_three_bad_nights_do_not_take_the_good_ones_with_them() -> None:
    # F6: find -mtime +7 -delete removed the good ones, and three stumps were left.
    good = [entry(number, 11 - number) for number in (1, 2, 3)]
    bad = [entry(number, 7 - number, None) for number in (4, 5, 6)]
    assert kept([*good, *bad], Policy(max_age=7)) == ["s2", "s3", "s4", "s5", "s6"]
    assert why([*good, *bad], Policy(max_age=7), "s3") == "it is the newest verified set, which stays whatever its age"
    assert why([*good, *bad], Policy(max_age=7), "s6").startswith("it is newer than the newest verified set")
    assert why([*good, *bad], Policy(max_age=7), "s1") == "it is verified, it is 10 d old, and max_age is 7 days"


@pytest.mark.parametrize(("days", "stays"), [(30, True), (30 + HOUR, False)])
def test_max_age(days: float, stays: bool) -> None:
    entries = [entry(1, days), entry(2, 2), entry(3, 1)]
    assert ("s1" in kept(entries, MONTH)) == stays
    assert ("s1" in kept(entries, Policy(keep_last=3, max_age=30))) == stays


def test_keep_last_counts_verified_sets_only() -> None:
    entries = [entry(1, 5), entry(2, 4), entry(3, 3, "critical"), entry(4, 2, None), entry(5, 1)]
    assert kept(entries, Policy(keep_last=2, min_verified=1)) == ["s2", "s3", "s4", "s5"]
    assert why(entries, Policy(keep_last=2, min_verified=1), "s2") == "keep_last 2: it is number 2 of the verified sets"
    assert why(entries, Policy(keep_last=2, min_verified=1), "s1") == (
        "it is verified, it is 5 d old, and newer sets fulfil keep_last 2"
    )


def test_the_newest_verified_set_of_a_day_week_or_month_stays() -> None:
    # NOW is a Monday, 2026-11-23.
    days = [62, 45, 24.6, 24.4, 9, 2.1, 1.2, 1.1, 0.2, 0.1]
    entries = [entry(number, age) for number, age in enumerate(days, 1)]
    assert kept(entries, Policy(keep_daily=3, min_verified=1)) == ["s6", "s8", "s10"]
    assert kept(entries, Policy(keep_weekly=3, min_verified=1)) == ["s5", "s8", "s10"]
    assert kept(entries, Policy(keep_monthly=3, min_verified=1)) == ["s1", "s4", "s10"]
    assert kept(entries, Policy(keep_monthly=2, min_verified=1)) == ["s4", "s10"]
    assert (
        why(entries, Policy(keep_daily=3), "s8") == "keep_daily 3: it is the newest verified set of the day 2026-11-22"
    )
    assert "of the week 2026-W47" in why(entries, Policy(keep_weekly=3), "s8")
    assert "of the month 2026-10" in why(entries, Policy(keep_monthly=3), "s4")


def test_days_without_a_set_do_not_use_up_the_number() -> None:
    entries = [entry(1, 40), entry(2, 20), entry(3, 10)]
    assert kept(entries, Policy(keep_daily=3, min_verified=1)) == ["s1", "s2", "s3"]


@pytest.mark.parametrize("hour", [0, 23])
def test_days_are_those_of_utc(hour: int) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=5))
    now = NOW.replace(hour=hour).astimezone(zone)
    entries = [entry(1, 1.0), entry(2, 0.6)]
    # 12:00 and 21:36 of the same day in UTC, and two days in the zone.
    decisions = retention.plan(entries, Policy(keep_daily=2, min_verified=1), now + datetime.timedelta(days=1))
    assert [decision.keep for decision in decisions] == [False, True]


def test_with_rules_what_none_wants_goes_before_max_age() -> None:
    entries = [entry(1, 3), entry(2, 2), entry(3, 1)]
    assert kept(entries, Policy(keep_last=1, max_age=30, min_verified=1)) == ["s3"]
    assert kept(entries, Policy(max_age=30, min_verified=1)) == ["s1", "s2", "s3"]
    both = Policy(keep_last=1, keep_daily=1, max_age=3, min_verified=1)
    assert why(entries, both, "s1") == "it is verified, it is 3 d old, and newer sets fulfil keep_last 1, keep_daily 1"


def test_min_verified_stay_whatever_the_rules_say() -> None:
    entries = [entry(number, 100 - number) for number in range(1, 6)]
    assert kept(entries, Policy(max_age=1, min_verified=3)) == ["s3", "s4", "s5"]
    assert why(entries, Policy(max_age=1, min_verified=3), "s3").startswith("min_verified 3: without it fewer")
    assert kept(entries, Policy(max_age=1, min_verified=9)) == ["s1", "s2", "s3", "s4", "s5"]


def test_verified_sets_that_stay_for_another_reason_count_for_min_verified() -> None:
    entries = [entry(1, 90, held="court"), entry(2, 80), entry(3, 70)]
    assert kept(entries, Policy(max_age=1, min_verified=2)) == ["s1", "s3"]
    chain = [entry(1, 90), entry(2, 80), entry(3, 70, chain=("s1",))]
    assert kept(chain, Policy(max_age=1, min_verified=2)) == ["s1", "s3"]


def test_nothing_goes_while_no_set_is_verified() -> None:
    entries = [entry(1, 400, None), entry(2, 300, "critical"), entry(3, 200, "unknown")]
    assert kept(entries, Policy(max_age=1)) == ["s1", "s2", "s3"]
    assert why(entries, Policy(max_age=1), "s1") == "no set is verified, so none can be spared"


def test_an_older_unproven_set_goes_only_when_its_time_is_over_and_enough_are_proven() -> None:
    entries = [entry(1, 31, None), entry(2, 29, "critical"), entry(3, 2), entry(4, 1)]
    assert kept(entries, MONTH) == ["s2", "s3", "s4"]
    assert why(entries, MONTH, "s1") == "no drill has proved it, it is 31 d old, and max_age is 30 days"
    assert why(entries, MONTH, "s2") == "no drill has proved it, it is 29 d old, and max_age is 30 days"
    assert kept([entry(1, 30, None), *entries[2:]], MONTH) == ["s1", "s3", "s4"]
    assert kept(entries[:3], MONTH) == ["s1", "s2", "s3"]
    assert "fewer than 2 verified sets (min_verified)" in why(entries[:3], MONTH, "s1")
    assert kept(entries, Policy(keep_last=2)) == ["s1", "s2", "s3", "s4"]
    assert "without max_age such a set goes only when somebody asks" in why(entries, Policy(keep_last=2), "s1")


def test_a_chain_stays_with_the_set_that_needs_it() -> None:
    entries = [
        entry(1, 90, None),
        entry(2, 80, None, chain=("s1",)),
        entry(3, 70, chain=("s1", "s2")),
        entry(4, 60, None),
        entry(5, 2),
        entry(6, 1),
    ]
    assert kept(entries, Policy(max_age=30)) == ["s5", "s6"]
    assert kept(entries[:3], Policy(max_age=30)) == ["s1", "s2", "s3"]
    assert why([*entries[:3], entry(4, 65)], Policy(max_age=30), "s1") == "set s3 cannot be restored without it"
    assert kept([*entries[:2], *entries[3:], entry(7, 0, None, chain=("s1", "s2"))], MONTH) == [
        "s1",
        "s2",
        "s5",
        "s6",
        "s7",
    ]


def test_held_and_used_and_promised_sets_stay() -> None:
    soon = NOW + datetime.timedelta(seconds=1)
    entries = [
        entry(1, 90, held="court order 7"),
        entry(2, 89, in_use=True),
        entry(3, 88, keep_until=soon),
        entry(4, 87, keep_until=NOW),
        entry(5, 86, None, held="audit"),
        entry(6, 2),
        entry(7, 1),
    ]
    assert kept(entries, MONTH) == ["s1", "s2", "s3", "s5", "s6", "s7"]
    assert why(entries, MONTH, "s1") == "it is held: court order 7"
    assert why(entries, MONTH, "s2") == "a restore or a drill is reading it"
    assert why(entries, MONTH, "s3") == "it was made to be kept until 2026-11-23T12:00:01.000Z"


def test_a_damaged_set_is_said_and_stays_and_counts_for_nothing() -> None:
    broken = Entry("a", "/a", damage="it has no manifest")
    entries = [broken, entry(1, 90), entry(2, 80), entry(3, 1, damage="wrong checksum")]
    assert kept(entries, Policy(max_age=30, min_verified=1)) == ["a", "s2", "s3"]
    assert why(entries, MONTH, "a") == (
        "it is damaged (it has no manifest), counts for nothing, and goes only when somebody asks for it"
    )
    assert "newest verified" not in why(entries, MONTH, "s3")
    assert why([broken], MONTH, "a") == why(entries, MONTH, "a")
    # Its chain may be what is missing.
    assert kept([entry(5, 50, chain=("s9",), damage="x"), entry(6, 2), entry(7, 1)], MONTH) == ["s5", "s6", "s7"]
    # What it was made on stays too: it may be mended.
    assert kept([entry(1, 90), entry(2, 89, chain=("s1",), damage="x"), entry(3, 2), entry(4, 1)], MONTH)[0] == "s1"


def test_order_goes_by_sequence_and_never_by_the_clock() -> None:
    # The clock jumped back: the newest sets say that they are the oldest.
    entries = [entry(1, 1), entry(2, 2), entry(3, 500), entry(4, 400, None)]
    policy = Policy(max_age=30, min_verified=1)
    assert kept(entries, policy) == ["s1", "s2", "s3", "s4"]
    assert "newest verified" in why(entries, policy, "s3") and "newer than" in why(entries, policy, "s4")
    assert kept(entries[:3], Policy(keep_last=1, min_verified=1)) == ["s3"]


def test_a_set_from_the_future_has_no_age() -> None:
    assert retention.age(entry(1, -500), NOW) == 0
    assert retention.age(Entry("x", "/x"), NOW) == 0
    entries = [entry(1, -500), entry(2, 0.1), entry(3, 0)]
    assert kept(entries, Policy(keep_daily=5, min_verified=1)) == ["s3"]
    assert kept(entries, Policy(max_age=1, min_verified=1)) == ["s1", "s2", "s3"]


def test_removal_goes_from_the_newest_to_the_oldest() -> None:
    entries = [entry(1, 90), entry(2, 80, chain=("s1",)), entry(3, 2), entry(4, 1)]
    assert retention.removals(retention.plan(entries, MONTH, NOW)) == ["s2", "s1"]


def test_nothing_is_decided_about_nothing() -> None:
    assert retention.plan([], MONTH, NOW) == []


# --- policies that nobody can mean


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Policy(), "keep_last, keep_daily, keep_weekly, keep_monthly: all are 0 and there is no max_age"),
        (Policy(min_verified=5), "would keep nothing"),
        (Policy(keep_last=-1), "keep_last: -1 is not 0 or more"),
        (Policy(keep_last=1, keep_weekly=-1), "keep_weekly: -1 is not 0 or more"),
        (Policy(max_age=0), "max_age: 0 is no number of days above 0"),
        (Policy(max_age=-1), "max_age: -1 is no number"),
        (Policy(max_age=float("nan")), "max_age: nan is no number"),
        (Policy(max_age=float("inf")), "max_age: inf is no number"),
        (Policy(keep_last=1, min_verified=0), "min_verified: 0 is not 1 or more"),
        (Policy(keep_monthly=12, max_age=30), "keep_monthly: 12 reaches back 308 days or more, and max_age: 30"),
        (Policy(keep_daily=32, max_age=30), "keep_daily: 32 reaches back 31 days or more"),
        (Policy(keep_weekly=6, max_age=30), "keep_weekly: 6 reaches back 35 days or more"),
    ],
)
def test_a_policy_that_nobody_can_mean_is_refused(policy: Policy, reason: str) -> None:
    with pytest.raises(BackupError, match=reason) as caught:
        retention.plan([entry(1, 1)], policy, NOW)
    assert caught.value.kind == "internal"


@pytest.mark.parametrize(
    "policy",
    [
        Policy(keep_last=1, min_verified=1),
        Policy(keep_daily=31, max_age=30),
        Policy(keep_weekly=5, max_age=30),
        Policy(keep_monthly=12, max_age=365),
        Policy(max_age=0.5),
        MONTH,
    ],
)
def test_a_policy_that_makes_sense_is_taken(policy: Policy) -> None:
    assert policy.problems() == []


def test_all_that_is_wrong_with_a_policy_is_said_at_once() -> None:
    assert len(Policy(keep_daily=5, max_age=0).problems()) == 1
    assert len(Policy(keep_last=-1, keep_daily=-2, max_age=0, min_verified=0).problems()) == 4


# --- for every series and every policy


def series(chance: random.Random) -> list[Entry]:
    """Return a random series of sets, as a store may come to hold it."""
    entries: list[Entry] = []
    number, days = 0, chance.uniform(0, 200)
    for _number in range(chance.randrange(0, 30)):
        number += chance.choice([1, 1, 1, 2, 5])
        days -= chance.choice([0.0, 0.04, 1.0, 1.0, 7.0, -0.04, -30.0]) * chance.random()
        bases = [other for other in entries if other.manifest and other.manifest.kind != "logical" and not other.damage]
        chain: tuple[str, ...] = ()
        if bases and chance.random() < 0.6:
            base = chance.choice(bases[-3:]).manifest
            assert base is not None
            chain = base.chain
        entries.append(
            entry(
                number,
                days,
                chance.choices(["ok", None, "critical", "unknown"], [6, 2, 1, 1])[0],
                chain,
                held=chance.choice([None] * 9 + ["audit"]),
                in_use=chance.random() < 0.05,
                damage=chance.choice([None] * 12 + ["broken"]),
                keep_until=chance.choice([None] * 9 + [NOW + datetime.timedelta(days=chance.uniform(-5, 5))]),
            )
        )
    if chance.random() < 0.1:
        entries.append(Entry("unreadable", "/x", damage="no manifest"))
    chance.shuffle(entries)
    return entries


def policies(chance: random.Random) -> Policy:
    while True:
        policy = Policy(
            keep_last=chance.choice([0, 0, 1, 3, 10]),
            keep_daily=chance.choice([0, 0, 1, 7]),
            keep_weekly=chance.choice([0, 0, 1, 4]),
            keep_monthly=chance.choice([0, 0, 1, 6]),
            max_age=chance.choice([None, 0.5, 7, 30, 365]),
            min_verified=chance.choice([1, 2, 2, 5]),
        )
        if not policy.problems():
            return policy


@pytest.mark.parametrize("seed", range(400))
def test_what_holds_for_every_series_and_policy(seed: int) -> None:
    chance = random.Random(seed)
    entries, policy = series(chance), policies(chance)
    decisions = retention.plan(entries, policy, NOW)
    by_id = {one.id: one for one in entries}
    # Every set is decided about once, in order, with a reason, whatever order they came in.
    assert [decision.id for decision in decisions] == [
        one.id for one in sorted(entries, key=lambda one: (one.sequence, one.id))
    ]
    assert all(decision.reasons and all(decision.reasons) for decision in decisions)
    assert all(len(set(decision.reasons)) == len(decision.reasons) for decision in decisions)
    shuffled = entries[:]
    chance.shuffle(shuffled)
    assert retention.plan(shuffled, policy, NOW) == decisions
    stay = [by_id[decision.id] for decision in decisions if decision.keep]
    go = [by_id[decision.id] for decision in decisions if not decision.keep]
    verified = [by_id[decision.id] for decision in decisions if by_id[decision.id].verified]
    # The newest verified set, its chain, and enough of them.
    if verified:
        newest = verified[-1]
        assert newest in stay and all(one in stay for one in entries if one.sequence > newest.sequence)
    else:
        assert go == []
    assert len([one for one in verified if one in stay]) >= min(policy.min_verified, len(verified))
    # Whatever stays has its chain.
    present = set(by_id)
    names = {one.id for one in stay}
    for one in stay:
        assert one.manifest is None or set(one.manifest.chain) & present <= names
    # What is held, in use, promised or damaged stays.
    for one in go:
        assert one.manifest is not None
        until = one.manifest.retention.keep_until
        assert not (one.held or one.in_use or one.damage or (until and until > NOW))
        if not one.verified:
            assert policy.max_age is not None and retention.age(one, NOW) > policy.max_age * 86400
    # A rule gets its number as far as there are sets young enough.
    young = [one for one in verified if policy.max_age is None or retention.age(one, NOW) <= policy.max_age * 86400]
    assert all(one in stay for one in young[len(young) - min(policy.keep_last, len(young)) :])
    if not policy.rules:
        assert all(one in stay for one in young)
    # Once done, nothing more is to do; and each removal finds no set that needs what it removes.
    left = list(entries)
    for set_id in retention.removals(decisions):
        left = [one for one in left if one.id != set_id]
        assert not [one for one in left if one.manifest and set_id in one.manifest.chain]
    again = retention.plan(left, policy, NOW)
    assert [decision.id for decision in again if not decision.keep] == []


@pytest.mark.parametrize("seed", range(100))
def test_a_clock_that_jumps_never_takes_the_newest(seed: int) -> None:
    chance = random.Random(seed)
    entries, policy = series(chance), policies(chance)
    now = NOW + datetime.timedelta(days=chance.uniform(-400, 4000))
    decisions = {decision.id: decision for decision in retention.plan(entries, policy, now)}
    verified = sorted((one for one in entries if one.verified), key=lambda one: one.sequence)
    assert all(decisions[one.id].keep for one in verified[-policy.min_verified :][-1:])
    assert sum(decisions[one.id].keep for one in verified) >= min(policy.min_verified, len(verified))


# --- the log


def facts(segment: str | None, timeline: int | None = 1, server: str = "7001") -> PostgresqlFacts:
    return PostgresqlFacts(
        version="15.18",
        major=15,
        system_identifier=server,
        encoding="UTF8",
        collate="C",
        ctype="C",
        locale_provider="libc",
        checksums=True,
        segment_bytes=16 << 20,
        timeline=timeline,
        wal_start=segment,
    )


def test_the_log_stays_from_the_oldest_set_of_each_server_and_timeline() -> None:
    entries = [
        entry(1, 90, pg=facts("000000010000000000000005")),
        entry(2, 80, pg=facts("000000010000000000000009")),
        entry(3, 70, chain=("s2",), pg=facts("00000001000000010000000A")),
        entry(4, 60, pg=facts("000000020000000100000002", 2)),
        entry(5, 50, pg=facts("000000010000000000000001", 1, "7002")),
        entry(6, 50, damage="x", pg=facts("000000030000000000000001", 3)),
        entry(7, 40, pg=facts(None, None)),
        entry(9, 40, pg=facts(None, 1)),
        entry(10, 40, pg=facts("000000010000000000000001", None)),
        entry(8, 30),
        Entry("x", "/x", damage="no manifest"),
    ]
    decisions = [Decision(one.id, one.id != "s1", ("",)) for one in entries]
    needs = [
        WalNeed("7001", 1, "000000010000000000000009"),
        WalNeed("7001", 2, "000000020000000100000002"),
        WalNeed("7001", 3, "000000030000000000000001"),
        WalNeed("7002", 1, "000000010000000000000001"),
    ]
    assert retention.wal_needs(entries, decisions) == needs
    logical = Manifest("l", 9, "fleet", "db1", NOW, NOW, "logical", pg=facts("000000010000000000000001"))
    assert retention.wal_needs([Entry("l", "/l", logical)], [Decision("l", True, ())]) == []


@pytest.mark.parametrize(
    ("segment", "needed"),
    [
        ("000000010000000000000008", False),
        ("000000010000000000000009", True),
        ("000000010000000100000000", True),
        ("000000020000000000000008", False),
        ("000000020000000000000009", True),
        ("000000030000000000000001", False),
    ],
)
def test_a_segment_before_every_start_may_go(segment: str, needed: bool) -> None:
    needs = [WalNeed("7001", 1, "000000010000000000000009"), WalNeed("7002", 1, "000000010000000000000001")]
    assert retention.needs_segment(needs, "7001", segment) == needed


def test_the_log_of_an_older_timeline_may_go_and_an_unknown_servers_stays() -> None:
    needs = [WalNeed("7001", 2, "000000020000000000000009")]
    assert not retention.needs_segment(needs, "7001", "00000001000000000000000A")
    assert retention.needs_segment(needs, "7001", "0000000A000000000000000A")
    assert not retention.needs_segment(
        [WalNeed("7001", 17, "000000110000000000000009")], "7001", "00000010" + "0" * 15 + "9"
    )
    assert retention.needs_segment(needs, "7002", "000000010000000000000001")
    assert retention.needs_segment([], "7001", "000000010000000000000001")
