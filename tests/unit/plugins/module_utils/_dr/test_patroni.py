"""What stands in the way of Patroni, and how a cluster is judged, without a Patroni."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dr import patroni
from ansible_collections.matrixon.ops.plugins.module_utils._dr.patroni import Member, View
from ansible_collections.matrixon.ops.plugins.module_utils._probe import TIMEOUT, ProbeFailure

OPTIONS: dict[str, t.Any] = {
    "state": "read",
    "url": "https://db1:8008",
    "user": "",
    "password": "",
    "ca_file": None,
    "timeout": 60.0,
    "system_identifier": None,
    "from_timeline": 1,
    "leader": None,
    "candidate": None,
    "primary": None,
    "until_lsn": None,
    "timeline": None,
    "target": None,
}
SILENT = ProbeFailure(TIMEOUT, "no answer")


def member(name: str = "a", role: str = "leader", own: str | None = None, **words: t.Any) -> Member:
    """A member that runs. ``own`` is the role by its own word."""
    own = own or {"leader": "primary"}.get(role, role)
    word = {
        "role": own,
        "state": "running",
        "timeline": 1,
        "replication": "",
        "replay_paused": False,
        "replayed": 16,
        "written": None,
        "standbys": [],
        **words,
    }
    return Member(name, role, "running", f"https://{name}:8008/patroni", name, 5432, 1, 0, word)


def view(*members: Member, **changes: t.Any) -> View:
    values: dict[str, t.Any] = {
        "scope": "two",
        "version": "4.1.5",
        "asked": "a",
        "system_identifier": "7000",
        "paused": False,
        "standby_cluster": {"host": "db1"},
        "maximum_lag": 1024,
        "members": members,
    }
    return View(**{**values, **changes})


def test_a_standby_cluster_may_be_promoted() -> None:
    assert patroni.promotion_obstacles(view(member(role="standby_leader")), OPTIONS) == []


@pytest.mark.parametrize(
    ("found", "options", "words"),
    [
        (view(member(role="standby_leader"), paused=True), {}, "is paused, so Patroni would not act"),
        (view(member(role="replica")), {}, "has no leader (a running)"),
        (view(), {}, "has no leader (no member is known)"),
        (view(member(role="standby_leader"), asked="b"), {}, "it is the API of b, and a leads; name https://a:8008/"),
        (view(member(role="standby_leader", replay_paused=True)), {}, "the replay on a is paused"),
        (view(member(role="standby_leader", state="starting")), {}, "the leader a is starting"),
        (view(member(role="standby_leader")), {"from_timeline": 2}, "a replays timeline 1, and not 2"),
        (view(member(role="standby_leader")), {"system_identifier": "7001"}, "two is the cluster 7000, and 7001"),
        (view(member(role="leader"), standby_cluster=None), {}, "it may be the old primary"),
        (view(member(role="leader"), standby_cluster=None), {"from_timeline": None}, "two is no standby cluster"),
        (view(member(role="leader", timeline=None), standby_cluster=None), {}, "it may be the old primary"),
        (view(member(role="standby_leader", own="primary")), {}, "a is a primary in a standby cluster"),
        (
            view(member(role="standby_leader"), member("b", "replica", own="primary")),
            {},
            "a, b each take themselves for the leader",
        ),
    ],
)
def test_a_promotion_is_refused(found: View, options: dict[str, t.Any], words: str) -> None:
    reasons = patroni.promotion_obstacles(found, {**OPTIONS, **options})
    assert len(reasons) == 1 and words in reasons[0], reasons


def test_a_leader_that_is_silent_is_an_obstacle() -> None:
    silent = Member("a", "standby_leader", "running", "https://a:8008/patroni", failure=SILENT)
    assert "the leader a gives no answer (no answer)" in patroni.promotion_obstacles(view(silent), OPTIONS)[0]


def test_one_that_was_promoted_counts_only_on_a_later_timeline() -> None:
    for role in ("primary", "master"):
        promoted = view(member(own=role, timeline=2), standby_cluster=None)
        assert patroni.promotion_obstacles(promoted, OPTIONS) == []


def test_who_may_lead() -> None:
    options = {**OPTIONS, "candidate": "b"}
    leader = member(standbys=["b"])
    good = member("b", "replica")
    assert patroni.switchover_obstacles(view(leader, good, standby_cluster=None), options) == []
    by_itself = member("b", "replica", replication="streaming")
    assert patroni.switchover_obstacles(view(member(), by_itself, standby_cluster=None), options) == []
    for bad, words in (
        (view(member(), good), "b does not stream from a"),
        (view(leader, member("b", "replica", replay_paused=True)), "has its replay paused"),
        (view(leader, member("b", "replica", state="starting")), "b is starting"),
        (view(leader, Member(**{**good.__dict__, "lag_bytes": 1025})), "more than maximum_lag_on_failover"),
        (view(leader), "b is no member of two; name one of a"),
    ):
        reasons = patroni.switchover_obstacles(bad, options)
        assert len(reasons) == 1 and words in reasons[0], reasons
    reasons = patroni.switchover_obstacles(view(leader, good), {**options, "leader": "c"})
    assert len(reasons) == 1 and "c was given, and a leads two" in reasons[0]


def test_timelines_of_the_same_number_are_no_common_history() -> None:
    options = {**OPTIONS, "primary": {"host": "db9", "port": 5432}, "timeline": 2, "until_lsn": "0/20"}
    old = view(member(timeline=1, written=0x1F), standby_cluster=None)
    assert patroni.standby_obstacles(old, options) == []
    same = patroni.standby_obstacles(view(member(timeline=2, written=0x1F), standby_cluster=None), options)
    assert len(same) == 1 and "timeline: a is a primary on timeline 2 itself" in same[0]
    beyond = patroni.standby_obstacles(view(member(timeline=1, written=0x20), standby_cluster=None), options)
    assert len(beyond) == 1 and "until_lsn: a has written up to 0/20 itself" in beyond[0]
    own = patroni.standby_obstacles(old, {**options, "primary": {"host": "a", "port": 5432}})
    assert len(own) == 1 and "a:5432 is a, a member of two itself" in own[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "ftp://db1"}, "url: a URL starts with http"),
        ({"url": "https://me:secret@db1:8008"}, "url: a URL must not carry"),
        ({"url": "https://db1:8008/patroni"}, "has a path; write https://db1:8008"),
        ({"url": "http://db1:8008", "user": "x", "password": "secret"}, "would go over the wire in clear"),
        ({"password": "secret"}, "user: it is empty, and a password was given"),
        ({"user": "a:b"}, "has a colon"),
        ({"timeout": 0.0}, "timeout: 0 is not from"),
        ({"from_timeline": 0}, "from_timeline: 0"),
        ({"timeline": 0}, "timeline: 0"),
        ({"system_identifier": "x"}, "system_identifier: 'x'"),
        ({"until_lsn": "x"}, "until_lsn:"),
        ({"leader": "a", "candidate": "a"}, "candidate: a is the leader that is to be left"),
        ({"primary": {"host": "", "port": 5432, "slot": ""}}, "primary: '', port 5432"),
    ],
)
def test_bad_options_are_named(changes: dict[str, t.Any], words: str) -> None:
    found = list(patroni.problems({**OPTIONS, **changes}))
    assert len(found) == 1 and words in found[0], found
    assert "secret" not in found[0]


def test_good_options_are_not() -> None:
    assert list(patroni.problems(OPTIONS)) == []
    near = {"url": "http://127.0.0.1:8008", "user": "x", "password": "secret"}
    assert list(patroni.problems({**OPTIONS, **near})) == []


def test_a_cluster_is_judged() -> None:
    def judged(found: View) -> list[str]:
        return [f"{each.name} {each.target} {each.status}" for each in patroni.judge(found, "two")]

    assert judged(view(member(role="leader", standbys=["b"]), member("b", "replica"), standby_cluster=None)) == [
        "patroni_leader two ok",
        "patroni_paused two ok",
        "patroni_member a ok",
        "patroni_member b ok",
    ]
    assert judged(view(member(role="replica"), paused=True))[:2] == [
        "patroni_leader two critical",
        "patroni_paused two warning",
    ]
    assert "patroni_member b warning" in judged(view(member(), member("b", "replica")))
    assert "patroni_member b warning" in judged(view(member(standbys=["b"]), member("b", "replica", timeline=2)))
    assert "patroni_member b critical" in judged(view(member(), member("b", "replica", state="start failed")))
    silent = Member("b", "replica", "running", "", failure=SILENT)
    assert "patroni_member b unknown" in judged(view(member(), silent))
    assert judged(view(member(), member("b", "replica", own="primary")))[0] == "patroni_leader two critical"


def test_what_is_followed() -> None:
    options = {"primary": {"host": "db9", "port": 5433, "slot": ""}}
    wanted = patroni.source(options, None)
    assert wanted == {"host": "db9", "port": 5433}
    assert patroni.differs(wanted, None)
    assert not patroni.differs(wanted, {"host": "db9", "port": "5433", "create_replica_methods": ["basebackup"]})
    assert patroni.differs(wanted, {"host": "db8", "port": 5433})
    # A slot of the former primary must not stay.
    without = patroni.source(options, {"host": "db8", "primary_slot_name": "old"})
    assert without["primary_slot_name"] is None
    assert patroni.differs(without, {"host": "db9", "port": 5433, "primary_slot_name": "old"})


def test_words_of_old_and_new_ones() -> None:
    old = {"role": "master", "state": "running", "timeline": 3, "xlog": {"location": 5}}
    senders = [{"application_name": "b", "state": "streaming"}, {"application_name": "c", "state": "backup"}]
    found = patroni.word({**old, "replication": senders})
    assert (found["role"], found["written"], found["standbys"], found["replay_paused"]) == ("master", 5, ["b"], False)
    new = patroni.word({"role": "replica", "replication_state": "streaming", "xlog": {"replayed_location": 7}})
    assert (new["replication"], new["replayed"], new["timeline"]) == ("streaming", 7, None)
    assert patroni.word({"xlog": None, "replication": 3})["standbys"] == []


def test_whose_api_it_is_where_it_does_not_say_so() -> None:
    members = (member("a"), Member("b", "replica", "running", "nonsense"), member("c", "replica"))
    assert patroni._named_by(patroni.parse_url("https://c:8008"), members) == "c"
    assert patroni._named_by(patroni.parse_url("https://d:8008"), members) == ""
