"""Which updates are made, which are left and why, and in which order hosts get them."""

from __future__ import annotations

import datetime

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._audit.packages import Upgrade
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, TIMEOUT, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._updates import order, outcome, plan
from ansible_collections.matrixon.ops.plugins.module_utils._updates.apt import Simulated

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.timezone.utc)
BALANCERS = ["lb1", "lb2"]
FRAME = {"target": "hs1", "deployment": "example", "profile": "synapse"}


def upgrade(name: str, suite: str = "stable-security") -> Upgrade:
    return Upgrade(name, suite, "2", "1")


def choose(
    *upgrades: Upgrade,
    held: tuple[str, ...] = (),
    kept: tuple[str, ...] = (),
    deferred: tuple[str, ...] = (),
    brings: dict[str, list[str]] | None = None,
    removes: tuple[str, ...] = (),
    **wishes: object,
) -> plan.Choice:
    """Choose with an apt that brings along, removes and keeps back what it is told."""

    def simulate(arguments: list[str]) -> Simulated:
        names = [word.partition("=")[0] for word in arguments if "=" in word]
        more = [name for one in names for name in (brings or {}).get(one, [])]
        return Simulated(dict.fromkeys([*names, *more], "2"), [name for name in removes if "remover" in names], [])

    would = {one.package: "2" for one in upgrades if one.package not in (*kept, *deferred, *held)}
    return plan.choose(upgrades, held, plan.Wishes(**wishes), Simulated(would, [], list(deferred)), simulate)


def reasons(choice: plan.Choice) -> dict[str, str]:
    return {each.upgrade.package: each.why for each in choice.left}


def test_each_reason_for_which_an_update_is_left() -> None:
    found = choose(
        upgrade("openssl"),
        upgrade("vim", "stable"),
        upgrade("by-dpkg"),
        upgrade("by-us-1"),
        upgrade("nobody-cares"),
        upgrade("haproxy"),
        upgrade("phased"),
        upgrade("kept"),
        held=("by-dpkg",),
        kept=("kept",),
        deferred=("phased",),
        hold=("by-us-*",),
        exclude=("nobody-*",),
        services=("haproxy*",),
    )
    assert [one.package for one in found.selected] == ["openssl"]
    assert reasons(found) == {
        "vim": plan.OTHER,
        "by-dpkg": plan.HELD,
        "by-us-1": plan.HELD,
        "nobody-cares": plan.EXCLUDED,
        "haproxy": plan.SERVICE,
        "phased": plan.PHASED,
        "kept": plan.KEPT,
    }


def test_all_takes_the_others_too_and_services_where_they_are_named() -> None:
    both = (upgrade("vim", "stable"), upgrade("haproxy"))
    found = choose(*both, packages="all", services=("haproxy",), include_services=True)
    assert [one.package for one in found.selected] == ["vim", "haproxy"]


def test_what_would_move_one_that_must_stay_is_left_and_the_others_are_made() -> None:
    found = choose(upgrade("good"), upgrade("pulls"), upgrade("db"), services=("db",), brings={"pulls": ["db"]})
    assert [one.package for one in found.selected] == ["good"]
    assert "db, which must stay" in {each.upgrade.package: each.message for each in found.left}["pulls"]
    assert found.installs == {"good": "2"}


def test_what_would_remove_another_is_left() -> None:
    found = choose(upgrade("good"), upgrade("remover"), removes=("victim",))
    assert [one.package for one in found.selected] == ["good"]
    assert "would remove victim" in found.left[0].message


def test_an_update_that_is_not_security_may_come_along() -> None:
    found = choose(upgrade("kernel"), upgrade("headers", "stable"), brings={"kernel": ["headers"]})
    assert found.installs == {"kernel": "2", "headers": "2"}


def test_an_apt_that_finds_no_way_is_a_reason_and_one_that_is_silent_is_not() -> None:
    whole = Simulated({"a": "2"}, [], [])

    def failing(kind: str) -> plan.Simulate:
        def simulate(arguments: list[str]) -> Simulated:
            raise ProbeFailure(kind, "apt-get failed: no way")

        return simulate

    found = plan.choose([upgrade("a")], [], plan.Wishes(), whole, failing(INTERNAL))
    assert reasons(found) == {"a": plan.KEPT}
    with pytest.raises(ProbeFailure):
        plan.choose([upgrade("a")], [], plan.Wishes(), whole, failing(TIMEOUT))


def fleet(**changes: order.Host) -> list[order.Host]:
    hosts = {
        "lb1": order.Host("lb1", ("load_balancer", "region_one")),
        "lb2": order.Host("lb2", ("load_balancer", "region_one")),
        "hs2": order.Host("hs2", ("homeserver", "region_one")),
        "hs1": order.Host("hs1", ("homeserver", "region_one")),
        "db1": order.Host("db1", ("postgresql", "region_one"), standby=False),
        "db2": order.Host("db2", ("postgresql", "region_two"), standby=True),
        "cache1": order.Host("cache1", ("redis", "region_one")),
        "mon1": order.Host("mon1", ("monitoring",)),
        "bak1": order.Host("bak1", ("backup", "region_one")),
    }
    return list({**hosts, **changes}.values())


def names(found: dict) -> list[str]:
    return [step["host"] for step in found["steps"]]


def test_the_primary_comes_last_whatever_the_inventory_calls_it() -> None:
    assert names(order.order(fleet(), BALANCERS)) == [
        "mon1",
        "bak1",
        "cache1",
        "db2",
        "hs1",
        "hs2",
        "lb1",
        "lb2",
        "db1",
    ]
    moved = {
        "db1": order.Host("db1", ("postgresql", "region_one"), standby=True),
        "db2": order.Host("db2", ("postgresql", "region_two"), standby=False),
    }
    assert names(order.order(fleet(**moved), BALANCERS))[-1] == "db2"


def test_what_an_earlier_run_left_comes_first() -> None:
    cut_off = order.Host("hs2", ("homeserver", "region_one"), interrupted=True)
    assert names(order.order(fleet(hs2=cut_off), BALANCERS))[0] == "hs2"


def test_a_host_with_everything_on_it_goes_where_its_primary_does() -> None:
    one = order.Host("all1", ("homeserver", "postgresql", "redis"), standby=False)
    assert names(order.order([*fleet(), one], BALANCERS))[-2:] == ["all1", "db1"]


def test_a_database_that_nobody_could_ask_and_the_only_load_balancer_are_left_out() -> None:
    hosts = [host for host in fleet(db2=order.Host("db2", ("postgresql",))) if host.name != "lb2"]
    found = order.order(hosts, ["lb1"])
    assert set(found["left_out"]) == {"db2", "lb1"}
    assert not {"db2", "lb1"} & set(names(found))
    assert "updates_accept_lb_gap" in found["left_out"]["lb1"]
    assert set(order.order(hosts, ["lb1"], accept_lb_gap=True)["left_out"]) == {"db2"}


@pytest.mark.parametrize(
    ("state", "status"),
    [("done", "ok"), ("person", "warning"), ("failed", "critical"), ("unknown", "unknown"), ("stopped", "unknown")],
)
def test_an_outcome_counts_in_the_report_and_once(state: str, status: str) -> None:
    once = outcome.with_outcome(None, FRAME, state, "so it ended", NOW)
    again = outcome.with_outcome(once, FRAME, state, "so it ended", NOW)
    assert again["status"] == status
    assert sum(again["counts"].values()) == len(again["checks"]) == 1


def test_a_good_end_does_not_hide_what_was_seen() -> None:
    seen = {
        **outcome.empty(FRAME, NOW),
        "checks": [{"name": "updates_reboot", "target": "hs1", "status": "warning", "message": "", "source": "probe"}],
    }
    found = outcome.with_outcome(seen, FRAME, "done", "2 packages", NOW)
    assert found["status"] == "warning"
    assert found["counts"]["ok"] == found["counts"]["warning"] == 1
