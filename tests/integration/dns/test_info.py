"""What the module says of real name servers, healthy and not."""

from __future__ import annotations

import pathlib
import socket
import typing as t

import pytest
from dns_ask import ROOT, Said, ask
from nameservers import LOOPBACK, free_port
from zones import ELSEWHERE, ZONE, Region

HEALTH = ROOT / "plugins/modules/matrixon_health.py"


def found(region: Region, *records: dict[str, t.Any], **more: t.Any) -> Said:
    """Ask as where nobody names the servers: they are found by the NS records."""
    return ask(*records, resolvers=[region.primary.endpoint, region.elsewhere.endpoint], **more)


def www(*values: str, **more: t.Any) -> dict[str, t.Any]:
    return {"name": "www.matrix.test", "values": list(values), **more}


def test_servers_are_found_and_each_address_is_asked(region: Region) -> None:
    said = found(region, www("192.0.2.10"), {"name": "six.matrix.test", "type": "AAAA"}, connect_to=region.connect_to)
    assert said.loud == {}
    servers = ["ns1.matrix.test (192.0.2.53:53)", "ns2.matrix.test (192.0.2.54:53)"]
    servers += ["ns2.matrix.test ([2001:db8::54]:53)"]
    assert said.document["zones"] == [{"name": ZONE, "servers": servers}]
    for record, value in zip(said.document["records"], ("192.0.2.10", "2001:db8::10"), strict=True):
        assert (record["zone"], record["values"], record["ttl"], record["settled"]) == (ZONE, [value], 60, True)
        assert [one["server"] for one in record["answers"]] == servers
        seen = [one for one in record["answers"] if one["outcome"] != "no_ipv6"]
        assert len(seen) == 3
        assert {one["serial"] for one in seen} == {region.primary.serial(ZONE)}


def test_servers_by_ipv6(region: Region) -> None:
    said = ask(www("192.0.2.10"), servers=[f"[::1]:{region.secondary.port}"])
    assert said.loud == {}
    assert said.document["records"][0]["answers"][0]["address"] == f"[::1]:{region.secondary.port}"


def test_ttl_of_every_element_of_the_way_counts(region: Region) -> None:
    names = ("slow", "alias", "slowalias", "away")
    records = [{"name": f"{name}.matrix.test"} for name in names]
    said = found(region, *records, {"name": "slowalias.matrix.test", "type": "CNAME"}, connect_to=region.connect_to)
    ttls = {name: said.check("dns_ttl", f"{name}.matrix.test A") for name in names}
    assert {name: (one["status"], one["value"]) for name, one in ttls.items()} == {
        "slow": ("warning", 3600),
        "alias": ("ok", 60),
        "slowalias": ("warning", 3600),
        "away": ("warning", 900),
    }
    assert "through www.matrix.test is 3600 s" in ttls["slowalias"]["message"]
    assert said.status("dns_ttl", "slowalias.matrix.test CNAME") == "warning"
    # Over the border of the zone: its servers say where, those of the other say what.
    away = said.document["records"][3]
    assert (away["values"], away["zone"]) == (["203.0.113.7"], ZONE)
    assert {one["name"] for one in away["answers"]} == {"away.matrix.test", "lb.elsewhere.test"}
    assert [zone["name"] for zone in said.document["zones"]] == [ZONE, ELSEWHERE]


def test_given_servers_hold_for_their_zone_and_not_for_where_aliases_lead(region: Region) -> None:
    given: dict[str, t.Any] = {"servers": region.both, "connect_to": region.connect_to}
    said = ask({"name": "away.matrix.test"}, resolvers=[region.elsewhere.endpoint], max_ttl=900, **given)
    assert said.loud == {}
    assert said.document["records"][0]["values"] == ["203.0.113.7"]


@pytest.mark.parametrize(
    ("name", "outcome", "text"),
    [
        ("missing", "nxdomain", "missing.matrix.test does not exist (NXDOMAIN)"),
        ("six", "nodata", "six.matrix.test has no record of type A"),
        ("below.sub", "lame", "it is not authoritative for the name, and refers to the servers of sub.matrix.test"),
    ],
)
def test_a_name_that_is_not_there_is_bad(region: Region, name: str, outcome: str, text: str) -> None:
    said = ask({"name": f"{name}.matrix.test"}, servers=region.both)
    assert said.outcomes() == [outcome, outcome]
    record = said.check("dns_record")
    assert (record["status"], record["error_kind"]) == ("critical", "dns")
    assert f"{region.primary.endpoint}: {text}" in record["message"]
    assert said.status("dns_ttl") == "unknown"
    if outcome != "lame":
        # For so long clients keep it that there is nothing: the last number of the SOA record.
        assert said.document["records"][0]["ttl"] == 30


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gone", "nothing.elsewhere.test does not exist"),
        ("round", "aliases lead in a circle: round.matrix.test, back.elsewhere.test"),
    ],
)
def test_an_alias_that_leads_to_nothing_is_bad(region: Region, name: str, text: str) -> None:
    said = found(region, {"name": f"{name}.matrix.test"}, connect_to=region.connect_to)
    assert said.status("dns_record") == "critical"
    assert text in said.check("dns_record")["message"]


def test_an_answer_that_is_too_long_for_udp_is_had_by_tcp(region: Region) -> None:
    values = [f"198.51.100.{number}" for number in range(1, 61)]
    said = ask({"name": "many.matrix.test", "values": values}, servers=region.both)
    assert said.loud == {}
    assert len(said.document["records"][0]["values"]) == 60


def test_a_secondary_that_does_not_follow_is_named(region: Region) -> None:
    region.put("lag", "60 A 192.0.2.1")
    region.deaf.control("-f", "zone-retransfer", ZONE)
    said = ask({"name": "lag.matrix.test"}, servers=[region.primary.endpoint, region.deaf.endpoint], wait=20)
    assert said.loud == {}
    region.put("lag", "60 A 192.0.2.2")
    servers = [*region.both, region.deaf.endpoint]
    said = ask({"name": "lag.matrix.test", "values": ["192.0.2.2"]}, servers=servers, wait=2)
    assert (said.document["settled"], said.status("dns_serial")) == (False, "warning")
    assert said.document["seconds"] >= 1
    text = f"lag.matrix.test A: expected 192.0.2.2, but {region.deaf.endpoint} says 192.0.2.1"
    assert said.check("dns_record")["message"] == text
    # Without an expected value nobody is right.
    said = ask({"name": "lag.matrix.test"}, servers=servers)
    text = f"its servers do not agree: {', '.join(region.both)} say 192.0.2.2; {region.deaf.endpoint} says 192.0.2.1"
    assert said.check("dns_record")["message"] == f"lag.matrix.test A: {text}"
    serial = region.primary.serial(ZONE)
    assert f"say {serial}; {region.deaf.endpoint} says {serial - 1}" in said.check("dns_serial")["message"]


def test_it_waits_until_all_servers_agree(region: Region) -> None:
    region.put("late", "60 A 192.0.2.1")
    with region.secondary.hung():
        region.primary.put(ZONE, "late", "60 A 192.0.2.2")
        arguments: dict[str, t.Any] = {"servers": region.both, "timeout": 0.5}
        said = ask({"name": "late.matrix.test", "values": ["192.0.2.2"]}, **arguments)
        assert (said.document["settled"], said.status("dns_record")) == (False, "unknown")
    said = ask({"name": "late.matrix.test", "values": ["192.0.2.2"], "ttl": 60}, wait=60, **arguments)
    assert said.loud == {}
    assert said.document["seconds"] < 60


def test_one_silent_server_is_bad_and_hides_no_other(region: Region) -> None:
    with region.secondary.hung():
        said = ask(www("192.0.2.10"), servers=region.both, timeout=2)
        alone = ask(www("192.0.2.10"), servers=[region.secondary.endpoint], timeout=0.5)
        accepted = ask(www("192.0.2.10"), servers=region.both, timeout=2, accept_silent=[region.secondary.endpoint])
    assert said.outcomes() == ["answered", "timeout"]
    assert said.loud == {
        ("dns_servers", ZONE): "critical",
        ("dns_record", "www.matrix.test A"): "unknown",
        ("dns_ttl", "www.matrix.test A"): "unknown",
        ("dns_serial", ZONE): "unknown",
    }
    assert f"{region.secondary.endpoint}: it does not answer within 2 s" in said.check("dns_servers")["message"]
    # Where nobody answers at all it may be this host that cannot ask, so nothing bad was observed.
    assert {one["status"] for one in alone.document["report"]["checks"]} == {"unknown"}
    assert accepted.loud == {}
    assert f"not asked: {region.secondary.endpoint}" in accepted.check("dns_record")["message"]


def test_a_stopped_server_is_told_from_a_silent_one(region: Region) -> None:
    said = ask(www("192.0.2.10"), servers=[region.primary.endpoint, f"{LOOPBACK}:{free_port()}"])
    assert said.outcomes() == ["answered", "unreachable"]
    assert (said.status("dns_servers"), said.status("dns_record")) == ("critical", "unknown")
    assert "nothing listens there" in said.check("dns_record")["message"]


def test_a_server_of_another_zone_is_named(region: Region) -> None:
    said = ask(www("192.0.2.10"), servers=[region.primary.endpoint, region.elsewhere.endpoint])
    assert said.outcomes() == ["answered", "refused"]
    assert (said.status("dns_record"), said.check("dns_record")["error_kind"]) == ("critical", "refused")
    assert f"{region.elsewhere.endpoint}: it refuses to answer (REFUSED)" in said.check("dns_record")["message"]


def test_the_total_deadline_holds(region: Region) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOOPBACK, 0))
        server = f"{LOOPBACK}:{silent.getsockname()[1]}"
        said = ask(www("192.0.2.10"), servers=[region.primary.endpoint, server], timeout=60, deadline=3)
    assert said.seconds < 40
    assert said.document["records"][0]["answers"][0]["outcome"] == "answered"
    assert (said.outcomes()[1], said.status("dns_servers")) == ("timeout", "critical")


def test_no_resolver_that_answers_is_unknown_and_no_zone_is_bad(region: Region) -> None:
    said = ask(www(), resolvers=[f"{LOOPBACK}:{free_port()}"], timeout=1)
    record = said.check("dns_record")
    assert (record["status"], record["error_kind"]) == ("unknown", "refused")
    assert "nothing listens there" in record["message"]
    said = ask({"name": "www.matrix.test"}, servers=[region.elsewhere.endpoint], timeout=1)
    assert said.status("dns_record") == "unknown"


def test_health_judges_the_same(region: Region) -> None:
    scope = {"records": [{"name": "slow.matrix.test"}, www("192.0.2.99")], "resolvers": [region.primary.endpoint]}
    said = ask(module=HEALTH, dns=scope, connect_to=region.connect_to, target="lb1")
    assert said.loud == {
        ("dns_record", "www.matrix.test A"): "critical",
        ("dns_ttl", "slow.matrix.test A"): "warning",
    }
    said = ask(module=HEALTH, dns={**scope, "max_ttl": 3600}, connect_to=region.connect_to, checks=["dns_ttl"])
    assert said.loud == {}


def test_without_dnspython_it_says_so(region: Region, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dns").mkdir()
    (tmp_path / "dns/__init__.py").write_text("raise ImportError('no dnspython here')\n")
    said = ask(www(), servers=region.both, lacking=tmp_path)
    assert said.document["failed"] is True
    assert "dnspython (package python3-dnspython)" in said.document["msg"]
    said = ask(module=HEALTH, dns={"records": [www()], "servers": region.both}, lacking=tmp_path)
    checks = said.document["report"]["checks"]
    assert {(one["status"], one["error_kind"]) for one in checks} == {("unknown", "missing_tool")}
    assert {one["name"] for one in checks} == {"dns_servers", "dns_record", "dns_ttl", "dns_serial"}


def test_all_that_is_wrong_is_refused_at_once(region: Region) -> None:
    records = [
        {"name": "matrix", "values": ["192.0.2.300"]},
        {"name": "a.test", "type": "CNAME", "values": ["b", "c.d"]},
    ]
    said = ask(*records, servers=["ns1.matrix.test"], max_ttl=-1, timeout=0)
    assert said.document["failed"] is True
    for text in (
        "records[0].name: 'matrix' is no full name of DNS",
        "records[0].values[0]: '192.0.2.300' is no IPv4 address",
        "records[1].values[0]: 'b' is no full name of DNS",
        "records[1].values: b, c.d are too many",
        "servers[0]: 'ns1.matrix.test' is no name server",
        "max_ttl: -1 is no TTL",
        "timeout: 0 is no time to wait",
    ):
        assert text in said.document["msg"]
