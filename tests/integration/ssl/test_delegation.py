"""Certificates of Matrix server names: where a name leads, and which name must be in the certificate there."""

from __future__ import annotations

import pathlib
import re
import typing as t
from dataclasses import dataclass, field

import pytest
from ask import Answer, ask, assert_said
from cases import THE_CERTIFICATE, Expected, Pki, soonest
from farm import LOOPBACK, Farm, by_name, context, tls
from names import Names
from web import Web, large, missing, moved, says, slow, text

pytestmark = pytest.mark.integration

FED = "_matrix-fed._tcp"
OLD = "_matrix._tcp"
WELL_KNOWN = r"https://[a-z-]+\.matrix\.test/\.well-known/matrix/server"


@dataclass(frozen=True)
class Case:
    """A server name: what its web server and DNS say, what serves at the end, and what comes out.

    ``leads`` is where others connect to, ``carries`` is what the certificate
    there is for. ``services`` are SRV records: service, target, port.
    """

    web: t.Any
    leads: str
    carries: str
    expected: Expected = field(default_factory=dict)
    services: tuple[tuple[str, str, int], ...] = ()
    name: str | None = None

    def name_of(self, key: str) -> str:
        return self.name or f"{key.replace('_', '-')}.matrix.test"


def trouble(kind: str, leads: str, message: str) -> Expected:
    """What is said of a well-known that other servers pass over in silence."""
    leads = re.escape(leads)
    text = rf"it leads to {leads} only because its well-known could not be read: {message}"
    return {"certificate_delegation": ("warning", kind, text)}


def wrong(have: str, must: str, why: str) -> Expected:
    return {"certificate_name": ("critical", None, re.escape(f"it is for {have}, and not for {must} ({why})"))}


def by_well_known(host: str, name: str) -> str:
    return f"well-known delegates to {host}, so that is asked for and not {name}"


def not_target(target: str) -> str:
    return f"; the SRV record only says where to connect, and {target} is not asked for"


CASES: dict[str, Case] = {
    # Well-known decides: the certificate is for what it names.
    "host": Case(says("fed.matrix.test"), "fed.matrix.test:8448", "fed.matrix.test"),
    "host_wrong": Case(
        says("fed1.matrix.test"),
        "fed1.matrix.test:8448",
        "host-wrong.matrix.test",
        wrong(
            "host-wrong.matrix.test", "fed1.matrix.test", by_well_known("fed1.matrix.test", "host-wrong.matrix.test")
        ),
    ),
    "port": Case(says("fed2.matrix.test:4443"), "fed2.matrix.test:4443", "fed2.matrix.test"),
    "port_wrong": Case(
        says("fed3.matrix.test:4443"),
        "fed3.matrix.test:4443",
        "port-wrong.matrix.test",
        wrong(
            "port-wrong.matrix.test", "fed3.matrix.test", by_well_known("fed3.matrix.test", "port-wrong.matrix.test")
        ),
    ),
    "moved": Case(moved("https://moved.matrix.test/there"), "fed4.matrix.test:4443", "fed4.matrix.test"),
    # Well-known names a host that has SRV records: the certificate is for that host, not for the target.
    "both": Case(
        says("both-host.matrix.test"),
        "target1.matrix.test:4444",
        "both-host.matrix.test",
        services=((f"{FED}.both-host.matrix.test", "target1.matrix.test", 4444),),
    ),
    "both_wrong": Case(
        says("both-host2.matrix.test"),
        "target2.matrix.test:4444",
        "target2.matrix.test",
        wrong(
            "target2.matrix.test",
            "both-host2.matrix.test",
            by_well_known("both-host2.matrix.test", "both-wrong.matrix.test") + not_target("target2.matrix.test"),
        ),
        services=((f"{FED}.both-host2.matrix.test", "target2.matrix.test", 4444),),
    ),
    # SRV alone: the certificate is for the server name, not for the target.
    "srv": Case(
        missing,
        "target3.matrix.test:4444",
        "srv.matrix.test",
        services=((f"{FED}.srv.matrix.test", "target3.matrix.test", 4444),),
    ),
    "srv_wrong": Case(
        missing,
        "target4.matrix.test:4444",
        "target4.matrix.test",
        wrong(
            "target4.matrix.test",
            "srv-wrong.matrix.test",
            "well-known does not delegate, so the server name is asked for" + not_target("target4.matrix.test"),
        ),
        services=((f"{FED}.srv-wrong.matrix.test", "target4.matrix.test", 4444),),
    ),
    "srv_old": Case(
        missing,
        "target5.matrix.test:4444",
        "srv-old.matrix.test",
        services=((f"{OLD}.srv-old.matrix.test", "target5.matrix.test", 4444),),
    ),
    "srv_both": Case(
        missing,
        "target6.matrix.test:4444",
        "srv-both.matrix.test",
        services=(
            (f"{OLD}.srv-both.matrix.test", "nobody.matrix.test", 4444),
            (f"{FED}.srv-both.matrix.test", "target6.matrix.test", 4444),
        ),
    ),
    # Neither.
    "neither": Case(missing, "neither.matrix.test:8448", "neither.matrix.test"),
    "neither_wrong": Case(
        missing,
        "neither-wrong.matrix.test:8448",
        "other.matrix.test",
        wrong("other.matrix.test", "neither-wrong.matrix.test", "nothing delegates, so the server name is asked for"),
    ),
    "explicit": Case(None, "explicit.matrix.test:4445", "explicit.matrix.test", name="explicit.matrix.test:4445"),
    "literal": Case(None, f"{LOOPBACK}:4446", LOOPBACK, name=f"{LOOPBACK}:4446"),
    "literal_wrong": Case(
        None,
        "127.0.0.2:4446",
        "literal-wrong.matrix.test",
        wrong(
            "literal-wrong.matrix.test",
            "127.0.0.2",
            "the server name itself says where, so its host is asked for",
        ),
        name="127.0.0.2:4446",
    ),
    # A well-known that cannot be read is passed over by others in silence. We tell.
    "garbage": Case(
        text(b"<html>It works!</html>"),
        "garbage.matrix.test:8448",
        "garbage.matrix.test",
        trouble("parse", "garbage.matrix.test:8448", rf"{WELL_KNOWN} is not JSON with an m\.server in it: '<html>.*'"),
    ),
    "no_m_server": Case(
        text(b'{"m.homeserver": {}}'),
        "no-m-server.matrix.test:8448",
        "no-m-server.matrix.test",
        trouble("parse", "no-m-server.matrix.test:8448", rf"{WELL_KNOWN} is not JSON with an m\.server in it: .*"),
    ),
    "loop": Case(
        moved("https://loop.matrix.test/.well-known/matrix/server"),
        "loop.matrix.test:8448",
        "loop.matrix.test",
        trouble("refused", "loop.matrix.test:8448", f"{WELL_KNOWN} answered 302"),
    ),
    "large": Case(
        large,
        "large.matrix.test:8448",
        "large.matrix.test",
        trouble("parse", "large.matrix.test:8448", f"{WELL_KNOWN}: the answer is larger than 51200 bytes"),
    ),
    "slow": Case(
        "slow",
        "slow.matrix.test:8448",
        "slow.matrix.test",
        trouble("timeout", "slow.matrix.test:8448", r"https://slow\.matrix\.test: no answer within 1 s"),
    ),
    "garbage_and_srv": Case(
        text(b"[]"),
        "target7.matrix.test:4444",
        "garbage-and-srv.matrix.test",
        trouble("parse", "target7.matrix.test:4444", rf"{WELL_KNOWN} is not JSON with an m\.server in it: '\[\]'"),
        services=((f"{FED}.garbage-and-srv.matrix.test", "target7.matrix.test", 4444),),
    ),
}

# These lead nowhere.
NOWHERE: dict[str, tuple[t.Any, tuple[str, str | None, str]]] = {
    "bad-target.matrix.test": (
        says("https://fed.matrix.test/"),
        ("critical", "parse", r".*https://fed\.matrix\.test/.*"),
    ),
    "no-service.matrix.test": (missing, ("critical", "refused", r".*no such service.*")),
    "silent-dns.matrix.test": (missing, ("unknown", "timeout", r".*name server.*")),
    "failing-dns.matrix.test": (missing, ("unknown", "dns", r".*SRV.*")),
}


class Town:
    """All web servers, name servers and federation ports of the cases."""

    def __init__(self, farm: Farm, pki: Pki, names: Names) -> None:
        hosts = [case.name_of(key) for key, case in CASES.items() if case.web] + list(NOWHERE)
        self.web = Web(farm, context(farm.file(pki.issuing.issue(*hosts))))
        self.connect_to = {f"{host}:443": f"{LOOPBACK}:{self.web.port}" for host in hosts}
        for key, case in CASES.items():
            if case.web:
                self.web.answers[case.name_of(key)] = slow(farm.ended) if case.web == "slow" else case.web
            for service, target, port in case.services:
                names.service(service, target, port)
            self.connect_to[case.leads] = f"{LOOPBACK}:{farm.tls(pki.issuing.issue(case.carries))}"
        self.web.answers["moved.matrix.test/there"] = says("fed4.matrix.test:4443")
        for host, (answer, _said) in NOWHERE.items():
            self.web.answers[host] = answer
        names.service(f"{FED}.no-service.matrix.test", ".", 0)
        names.silent.add(f"{FED}.silent-dns.matrix.test")
        names.failing |= {f"{service}.failing-dns.matrix.test" for service in (FED, OLD)}


@pytest.fixture(scope="module")
def town(farm: Farm, pki: Pki, names: Names) -> Town:
    return Town(farm, pki, names)


@pytest.fixture(scope="module")
def said(town: Town, names: Names, ca_file: str) -> Answer:
    return ask(
        server_names=[case.name_of(key) for key, case in CASES.items()] + list(NOWHERE),
        connect_to=town.connect_to,
        resolvers=[names.address],
        ca_file=ca_file,
        timeout=3,
    )


@pytest.mark.parametrize("key", CASES)
def test_verdict(said: Answer, key: str) -> None:
    case = CASES[key]
    name = case.name_of(key)
    on_the_way = {check: case.expected[check] for check in case.expected if check == "certificate_delegation"}
    at_the_end = {check: case.expected[check] for check in case.expected if check != "certificate_delegation"}
    assert_said(said.of(name), on_the_way)
    assert_said(said.of(f"{name} ({case.leads})"), at_the_end)


# The name that the certificate must carry, and why that one.
WHY = {
    "host": ("fed.matrix.test", by_well_known("fed.matrix.test", "host.matrix.test")),
    "port": ("fed2.matrix.test", by_well_known("fed2.matrix.test", "port.matrix.test")),
    "both": (
        "both-host.matrix.test",
        by_well_known("both-host.matrix.test", "both.matrix.test") + not_target("target1.matrix.test"),
    ),
    "srv": (
        "srv.matrix.test",
        "well-known does not delegate, so the server name is asked for" + not_target("target3.matrix.test"),
    ),
    "neither": ("neither.matrix.test", "nothing delegates, so the server name is asked for"),
    "explicit": ("explicit.matrix.test", "the server name itself says where, so its host is asked for"),
    "literal": (LOOPBACK, "the server name itself says where, so its host is asked for"),
}


@pytest.mark.parametrize("key", WHY)
def test_name_that_must_be_carried_and_why(said: Answer, key: str) -> None:
    case = CASES[key]
    found = {one["target"]: one for one in said.document["certificates"]}[f"{case.name_of(key)} ({case.leads})"]
    name, why = WHY[key]
    assert (found["expected_names"], found["why"]) == ([name], why)


@pytest.mark.parametrize("name", NOWHERE)
def test_name_that_leads_nowhere(said: Answer, name: str) -> None:
    assert_said(said.of(name), {"certificate_delegation": NOWHERE[name][1]})


def test_nobody_is_asked_what_the_name_itself_says(said: Answer, town: Town, names: Names) -> None:
    asked = [path.partition("/")[0] for path in town.web.asked]
    assert "host.matrix.test" in asked
    assert "explicit.matrix.test" not in asked
    assert asked.count("loop.matrix.test") == 5
    assert (f"{FED}.host.matrix.test", "SRV") not in names.asked
    assert (f"{FED}.fed.matrix.test", "SRV") in names.asked
    assert not [name for name, _kind in names.asked if "explicit.matrix.test" in name]


def test_name_is_asked_for_in_the_handshake(farm: Farm, pki: Pki, names: Names, ca_file: str) -> None:
    """Many names share one server. It must be told which certificate is wanted, and that is not the target's."""
    target = context(farm.file(pki.issuing.issue("shared-target.matrix.test")))
    wanted = context(farm.file(pki.issuing.issue("shared.matrix.test")))
    port = farm.serve(by_name(target, {"shared.matrix.test": wanted}))
    names.service(f"{FED}.shared.matrix.test", "shared-target.matrix.test", port)
    names.addresses["shared-target.matrix.test"] = [LOOPBACK]
    web = Web(farm, context(farm.file(pki.issuing.issue("shared.matrix.test"))))
    web.answers["shared.matrix.test"] = missing
    answer = ask(
        server_names=["shared.matrix.test"],
        connect_to={"shared.matrix.test:443": f"{LOOPBACK}:{web.port}"},
        resolvers=[names.address],
        ca_file=ca_file,
    )
    assert_said(answer.of(f"shared.matrix.test (shared-target.matrix.test:{port}) at {LOOPBACK}"), {})


def test_for_how_long_others_keep_a_well_known(farm: Farm, pki: Pki, names: Names, town: Town, ca_file: str) -> None:
    town.web.answers["port.matrix.test"] = says("fed2.matrix.test:4443", "Cache-Control: max-age=7200\r\n")
    answer = ask(
        server_names=["port.matrix.test", "explicit.matrix.test:4445"],
        connect_to=town.connect_to,
        resolvers=[names.address],
        ca_file=ca_file,
    )
    kept = "when it changes, others keep that for up to 2\N{NO-BREAK SPACE}h"
    assert answer.of("port.matrix.test")["certificate_delegation"]["message"].endswith(f"; {kept}")
    assert kept not in answer.of("explicit.matrix.test:4445")["certificate_delegation"]["message"]


def test_every_place_of_the_srv_records(farm: Farm, pki: Pki, names: Names, ca_file: str) -> None:
    """Others connect to the second one when the first is down: its certificate must be as good."""
    good, target = pki.issuing.issue("places.matrix.test"), pki.issuing.issue("second.matrix.test")
    first, second = farm.tls(good), farm.tls(target)
    names.service(f"{FED}.places.matrix.test", "second.matrix.test", second, priority=20)
    names.service(f"{FED}.places.matrix.test", "first.matrix.test", first, priority=10)
    names.addresses |= {"first.matrix.test": [LOOPBACK], "second.matrix.test": [LOOPBACK]}
    web = Web(farm, context(farm.file(good)))
    web.answers["places.matrix.test"] = missing
    answer = ask(
        server_names=["places.matrix.test"],
        connect_to={"places.matrix.test:443": f"{LOOPBACK}:{web.port}"},
        resolvers=[names.address],
        ca_file=ca_file,
    )
    said = answer.of("places.matrix.test")
    assert_said(said, {})
    assert f"it leads to first.matrix.test:{first}, " in said["certificate_delegation"]["message"]
    assert_said(answer.of(f"places.matrix.test (first.matrix.test:{first}) at {LOOPBACK}"), {})
    why = "well-known does not delegate, so the server name is asked for" + not_target("second.matrix.test")
    assert_said(
        answer.of(f"places.matrix.test (second.matrix.test:{second}) at {LOOPBACK}"),
        wrong("second.matrix.test", "places.matrix.test", why),
    )


def test_web_server_without_a_good_certificate(farm: Farm, pki: Pki, names: Names, town: Town, ca_file: str) -> None:
    web = Web(farm, context(farm.file(pki.stranger.issue("untrusted.matrix.test"))))
    web.answers["untrusted.matrix.test"] = says("fed.matrix.test")
    end = farm.tls(pki.issuing.issue("untrusted.matrix.test"))
    answer = ask(
        server_names=["untrusted.matrix.test"],
        connect_to={
            "untrusted.matrix.test:443": f"{LOOPBACK}:{web.port}",
            "untrusted.matrix.test:8448": f"{LOOPBACK}:{end}",
        },
        resolvers=[names.address],
        ca_file=ca_file,
    )
    refused = r"https://untrusted\.matrix\.test: the certificate is not accepted: .*"
    assert_said(answer.of("untrusted.matrix.test"), trouble("tls", "untrusted.matrix.test:8448", refused))
    assert_said(answer.of("untrusted.matrix.test (untrusted.matrix.test:8448)"), {})
    assert web.asked == []


def test_each_address_of_where_a_name_leads(farm: Farm, pki: Pki, names: Names, ca_file: str) -> None:
    """Names are resolved by the name servers that were given, the ports are as they are."""
    good, late = pki.issuing.issue("each.matrix.test"), pki.issuing.issue("each.matrix.test", days=5)
    port = farm.tls(good)
    farm.serve(tls(context(farm.file(late))), "127.0.0.2", port)
    names.addresses["each.matrix.test"] = ["127.0.0.1", "127.0.0.2"]
    answer = ask(server_names=[f"each.matrix.test:{port}"], resolvers=[names.address], ca_file=ca_file)
    label = f"each.matrix.test:{port} (each.matrix.test:{port}) at"
    assert_said(answer.of(f"{label} 127.0.0.1"), {})
    assert_said(answer.of(f"{label} 127.0.0.2"), soonest("critical", THE_CERTIFICATE, "5.0"))


def test_web_server_is_looked_up_at_the_same_name_servers(
    farm: Farm, pki: Pki, names: Names, town: Town, ca_file: str
) -> None:
    names.addresses["inner.matrix.test"] = [LOOPBACK]
    answer = ask(
        server_names=["host.matrix.test"],
        connect_to={**town.connect_to, "host.matrix.test:443": f"inner.matrix.test:{town.web.port}"},
        resolvers=[names.address],
        ca_file=ca_file,
    )
    assert_said(answer.of("host.matrix.test"), {})
    assert_said(answer.of("host.matrix.test (fed.matrix.test:8448)"), {})


def test_name_that_does_not_exist(names: Names, ca_file: str) -> None:
    answer = ask(server_names=["nowhere.matrix.test"], resolvers=[names.address], ca_file=ca_file)
    gone = r"the name nowhere\.matrix\.test does not exist"
    assert_said(answer.of("nowhere.matrix.test"), trouble("dns", "nowhere.matrix.test:8448", gone))
    assert_said(
        answer.of("nowhere.matrix.test (nowhere.matrix.test:8448)"),
        {"certificate_connection": ("critical", "dns", gone)},
    )


def test_srv_records_cannot_be_looked_up_without_dnspython(town: Town, ca_file: str, tmp_path: pathlib.Path) -> None:
    """Not even a name without such records: nobody knows that it has none."""
    (tmp_path / "dns.py").write_text("raise ImportError('not installed')\n")
    answer = ask(
        server_names=["neither.matrix.test", "port.matrix.test"],
        connect_to=town.connect_to,
        ca_file=ca_file,
        lacking=tmp_path,
    )
    assert_said(answer.of("port.matrix.test"), {})
    needs = r"the SRV record _matrix-fed\._tcp\.neither\.matrix\.test cannot be looked up without dnspython .*"
    assert_said(answer.of("neither.matrix.test"), {"certificate_delegation": ("unknown", "missing_tool", needs)})
