"""Tests of what the role dns makes of its variables and of what the name servers say."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dns import plan

SETTINGS: dict[str, Any] = {
    "records": [{"name": "m.test", "values": ["192.0.2.2"]}],
    "ttl": 60,
    "driver": "nsupdate",
    "act": True,
    "collection": "community.general",
    "installed": True,
    "servers": [],
    "resolvers": [],
    "accept_silent": [],
    "timeout": 60,
    "server_timeout": 3,
    "nsupdate": {"server": "192.0.2.53", "key_name": "", "key_secret": False},
    "route53": {"access_key": "", "secret_key": False, "profile": ""},
    "cloudflare": {"api_token": True},
    "hook": ["/usr/local/sbin/point-dns"],
    "hook_timeout": 60,
}


def settings(**given: Any) -> dict[str, Any]:
    return {**SETTINGS, **given}


def answer(outcome: str = "answered", server: str = "ns1 (192.0.2.53:53)", **more: Any) -> dict[str, Any]:
    address = server.split("(")[-1].rstrip(")")
    given = {"server": server, "address": address, "name": "m.test", "outcome": outcome, "aliases": [], "message": "so"}
    return {**given, **more}


def seen(*answers: dict[str, Any], kind: str = "A", **more: Any) -> dict[str, Any]:
    record = {"name": "m.test", "type": kind, "zone": "test", "values": ["192.0.2.1"], "ttl": 300, "settled": False}
    return {"records": [{**record, "message": "why", "answers": list(answers or (answer(),)), **more}]}


def test_a_change() -> None:
    made = plan.plan(settings(), seen())
    assert made["problems"] == []
    assert made["changes"] == [
        {
            "name": "m.test",
            "type": "A",
            "values": ["192.0.2.2"],
            "ttl": 60,
            "zone": "test",
            "before": {"values": ["192.0.2.1"], "ttl": 300},
            "stale": ["192.0.2.1"],
        }
    ]
    assert (made["held_seconds"], made["master"]) == (300, {"address": "192.0.2.53", "port": 53})
    assert [one["zone"] for one in made["tried"]] == ["test"]


def test_what_is_as_it_should_be_is_left_alone() -> None:
    made = plan.plan(settings(), seen(settled=True))
    assert (made["changes"], made["held_seconds"], len(made["tried"])) == ([], 0, 1)


def test_a_change_of_the_ttl_alone_holds_nobody() -> None:
    made = plan.plan(settings(), seen(values=["192.0.2.2"]))
    assert (len(made["changes"]), made["held_seconds"]) == (1, 0)


def test_before_anything_was_seen_nothing_is_to_be_changed() -> None:
    made = plan.plan(settings())
    assert (made["problems"], made["changes"], made["tried"]) == ([], [], [])
    assert made["look"] == [{"name": "m.test", "type": "A", "values": ["192.0.2.2"], "ttl": 60}]


def test_an_alias_is_looked_at_with_the_addresses_beside_it() -> None:
    records = [{"name": "m.test", "type": "CNAME", "values": ["lb.test"]}]
    assert [one["type"] for one in plan.plan(settings(records=records))["look"]] == ["CNAME", "A", "AAAA"]


@pytest.mark.parametrize("outcome", ["lame", "servfail", "refused", "loop", "malformed"])
def test_a_server_that_cannot_prove_it_is_in_the_way(outcome: str) -> None:
    (text,) = plan.plan(settings(), seen(answer(outcome)))["problems"]
    assert text == "dns_records: m.test A cannot be proven at ns1 (192.0.2.53:53): so; mend its servers first"


@pytest.mark.parametrize("outcome", ["nxdomain", "nodata"])
def test_what_is_not_there_yet_is_no_problem(outcome: str) -> None:
    assert plan.plan(settings(), seen(answer(outcome), values=[]))["problems"] == []


def test_silence_is_in_the_way_unless_it_is_accepted() -> None:
    silent = answer("timeout", "ns2 (192.0.2.54:53)")
    (text,) = plan.plan(settings(), seen(answer(), silent))["problems"]
    assert "cannot be proven at ns2 (192.0.2.54:53): so; mend that, or name it in dns_accept_silent" in text
    assert plan.plan(settings(accept_silent=["192.0.2.54"]), seen(answer(), silent))["problems"] == []


def test_an_address_without_a_way_is_no_problem_where_its_server_has_another() -> None:
    six = answer("no_ipv6", "ns1 ([2001:db8::53]:53)")
    assert plan.plan(settings(), seen(answer(), six))["problems"] == []
    assert len(plan.plan(settings(), seen(answer("no_ipv6", "ns2 ([2001:db8::54]:53)"), answer()))["problems"]) == 1


def test_a_zone_that_was_not_found() -> None:
    (text,) = plan.plan(settings(), seen(zone=None))["problems"]
    assert text == "dns_records: m.test A cannot be looked at: why; see dns_servers and dns_resolvers"


def test_aliases_and_addresses_do_not_mix() -> None:
    (text,) = plan.plan(settings(), seen(answer(aliases=["lb.test"])))["problems"]
    assert "the name is an alias of lb.test; give a CNAME record" in text
    alias = settings(records=[{"name": "m.test", "type": "CNAME", "values": ["lb.test"]}])
    found = seen(answer("nodata"), kind="CNAME", values=[])
    found["records"] += seen()["records"]
    (text,) = plan.plan(alias, found)["problems"]
    assert "the name has A records, so it can be no alias" in text
    # The addresses of where an alias leads stand in no way.
    found["records"][1]["answers"] = [answer(aliases=["old.test"])]
    assert plan.plan(alias, found)["problems"] == []


def test_the_top_of_a_zone_is_no_alias() -> None:
    alias = settings(records=[{"name": "m.test", "type": "CNAME", "values": ["lb.test"]}])
    (text,) = plan.plan(alias, seen(answer("nodata"), kind="CNAME", zone="m.test", values=[]))["problems"]
    assert "the top of its zone, which can be no alias" in text


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no records": ({"records": []}, "dns_records: the list is empty"),
    "no name": ({"records": [{"values": ["192.0.2.1"]}]}, "dns_records[0].name: it is missing"),
    "no values": ({"records": [{"name": "m.test"}]}, "dns_records[0].values: there are none"),
    "a text": ({"records": [{"name": "m.test", "values": "192.0.2.1"}]}, "dns_records[0].values: there are none"),
    "a key": (
        {"records": [{"name": "m.test", "values": ["192.0.2.1"], "value": "x"}]},
        "dns_records[0]: value is not known",
    ),
    "a type": ({"records": [{"name": "m.test", "type": "MX", "values": ["a.test"]}]}, "dns_records[0].type: 'MX'"),
    "a ttl": ({"records": [{"name": "m.test", "values": ["192.0.2.1"], "ttl": "1h"}]}, "dns_records[0].ttl: '1h'"),
    "the ttl": ({"ttl": -5}, "dns_ttl: -5 is no TTL"),
    "an alias beside": (
        {"records": [*SETTINGS["records"], {"name": "M.test", "type": "CNAME", "values": ["a.test"]}]},
        "dns_records: m.test has a CNAME record and others",
    ),
    "a server": ({"servers": ["ns1"]}, "dns_servers[0]: 'ns1' is no name server"),
    "a time": ({"timeout": "soon"}, "dns_timeout: 'soon' is no number of seconds"),
    "no driver": ({"driver": ""}, "dns_driver: '' is none; give one of nsupdate, route53, cloudflare, hook"),
    "no collection": (
        {"driver": "route53", "collection": "amazon.aws", "installed": False},
        "dns_driver: route53 needs the collection amazon.aws, which is not installed; run ansible-galaxy",
    ),
    "no master": ({"nsupdate": {**SETTINGS["nsupdate"], "server": ""}}, "dns_nsupdate_server: it is empty"),
    "a master": (
        {"nsupdate": {**SETTINGS["nsupdate"], "server": "ns1.test"}},
        "dns_nsupdate_server: 'ns1.test' is no name server",
    ),
    "half a key": ({"nsupdate": {**SETTINGS["nsupdate"], "key_name": "k"}}, "dns_nsupdate_key_secret: it is empty"),
    "the other half": (
        {"nsupdate": {**SETTINGS["nsupdate"], "key_secret": True}},
        "dns_nsupdate_key_name: it is empty",
    ),
    "half of AWS": (
        {"driver": "route53", "route53": {"access_key": "A", "secret_key": False, "profile": ""}},
        "dns_route53_secret_key: it is empty",
    ),
    "two of AWS": (
        {"driver": "route53", "route53": {"access_key": "A", "secret_key": True, "profile": "ops"}},
        "dns_route53_profile: 'ops' is given beside dns_route53_access_key",
    ),
    "no token": ({"driver": "cloudflare", "cloudflare": {"api_token": False}}, "dns_cloudflare_api_token: it is empty"),
    "a small ttl": ({"driver": "cloudflare", "ttl": 30}, "dns_records[0]: the TTL 30 is too small"),
    "no hook": ({"driver": "hook", "hook": []}, "dns_hook: it is empty"),
    "a hook": ({"driver": "hook", "hook": ["point"]}, "dns_hook: 'point' is no absolute path"),
    "a hook's time": ({"driver": "hook", "hook_timeout": 0}, "dns_hook_timeout: 0 is no time to wait"),
}


@pytest.mark.parametrize(("given", "sentence"), WRONG.values(), ids=list(WRONG))
def test_refused(given: dict[str, Any], sentence: str) -> None:
    made = plan.plan(settings(**given), seen())
    (text,) = made["problems"]
    assert text.startswith(sentence)
    assert (made["changes"], made["tried"]) == ([], [])


def test_all_problems_at_once() -> None:
    made = plan.plan(settings(records=[], ttl="x", servers=["a", "b"], timeout=0, driver="hook", hook=[]))
    assert len(made["problems"]) == 5


def test_only_to_look_no_driver_is_needed() -> None:
    made = plan.plan(settings(driver="", act=False))
    assert (made["problems"], made["master"]) == ([], {})


def test_the_result() -> None:
    planned = plan.plan(settings(), seen())
    after = seen(settled=True, values=["192.0.2.2"], ttl=60)
    made = plan.result(planned, {**after, "settled": True, "seconds": 2.5}, True)
    assert made == {
        "changed": True,
        "settled": True,
        "seconds": 2.5,
        "held_seconds": 300,
        "message": "",
        "records": [
            {
                "name": "m.test",
                "type": "A",
                "before": {"values": ["192.0.2.1"], "ttl": 300},
                "after": {"values": ["192.0.2.2"], "ttl": 60},
            }
        ],
    }
    late = plan.result(planned, {**seen(), "settled": False, "seconds": 60.0}, True)
    assert (late["settled"], late["message"], late["records"][0]["after"]["values"]) == (False, "why", ["192.0.2.1"])
