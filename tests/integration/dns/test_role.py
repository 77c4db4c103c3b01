"""The role against real name servers: what it changes, what it accepts, and what it refuses."""

from __future__ import annotations

import json
import pathlib
import socket
import typing as t

import pytest
from amazon import KEYS, Amazon
from amazon import ZONE as CLOUD
from cloudflare import TOKEN, Cloudflare
from cloudflare import ZONE as FLARE
from nameservers import KEY_NAME, KEY_SECRET, LOOPBACK, OTHER_SECRET
from plays import Case, run
from zones import ZONE, Region


def moved(name: str, *values: str, **more: t.Any) -> dict[str, t.Any]:
    return {"name": f"{name}.{ZONE}", "values": list(values), **more}


@pytest.fixture(scope="session")
def silent() -> t.Iterator[str]:
    """A server that takes questions and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        yield f"{LOOPBACK}:{sock.getsockname()[1]}"


@pytest.fixture(scope="session")
def amazon() -> t.Iterator[Amazon]:
    running = Amazon()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def flare() -> t.Iterator[Cloudflare]:
    running = Cloudflare()
    yield running
    running.stop()


def program(path: pathlib.Path, *lines: str) -> list[str]:
    path.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    path.chmod(0o755)
    return [str(path)]


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("role")


@pytest.fixture(scope="session")
def ran(
    region: Region, silent: str, amazon: Amazon, flare: Cloudflare, directory: pathlib.Path
) -> tuple[dict[str, Case], str]:
    """Every case, in one run."""
    for name in ("both", "deaf", "quiet"):
        region.primary.put(ZONE, name, "120 A 192.0.2.1")
    region.put("plain", "60 A 192.0.2.1")
    region.deaf.control("-f", "zone-retransfer", ZONE)
    update = {
        "dns_driver": "nsupdate",
        "dns_nsupdate_server": region.primary.endpoint,
        "dns_nsupdate_key_name": KEY_NAME,
        "dns_nsupdate_key_secret": KEY_SECRET,
        "dns_servers": region.both,
        "dns_server_timeout": 2,
    }
    lost = {"dns_servers": [*region.both, silent], "dns_accept_silent": [silent]}
    records = [
        moved("both", "192.0.2.2", "192.0.2.3"),
        moved("both", "2001:db8::2", type="AAAA", ttl=30),
        moved("other", "www.matrix.test", type="CNAME"),
    ]
    hook = {"dns_driver": "hook", "dns_servers": region.both, "dns_timeout": 1}
    control = f"knotc -b -s {region.primary.directory / 'knot.sock'}"
    good = program(
        directory / "good",
        "PATH=$PATH:/usr/sbin",
        f"cat > {directory / 'asked.json'}",
        f"{control} zone-begin {ZONE}",
        f"{control} zone-unset {ZONE} hooked",
        f"{control} zone-set {ZONE} hooked 60 A 192.0.2.2",
        f"{control} zone-commit {ZONE}",
    )
    region.put("hooked", "60 A 192.0.2.1")
    flared = {"dns_driver": "cloudflare", "dns_servers": [flare.server]}
    for value in ("192.0.2.1", "192.0.2.2"):
        flare.add(f"matrix.{FLARE}", value, 300)
    cases: dict[str, dict[str, t.Any]] = {
        "changed": {**update, **lost, "dns_records": records},
        "again": {**update, **lost, "dns_records": records},
        "verified": {"entry": "verify", "dns_records": records, "dns_servers": region.both},
        "deaf": {
            **update,
            "dns_records": [moved("deaf", "192.0.2.2")],
            "dns_servers": [*region.both, region.deaf.endpoint],
            "dns_timeout": 1,
        },
        # What stands in the way at a server, and what the driver cannot, in one: all is said at once.
        "silent": {
            **update,
            "dns_records": [moved("quiet", "192.0.2.2")],
            "dns_servers": [*region.both, silent],
            "dns_nsupdate_key_name": "",
            "dns_nsupdate_key_secret": "",
        },
        "alias": {
            **update,
            "dns_records": [moved("alias", "192.0.2.2"), moved("plain", "www.matrix.test", type="CNAME")],
            "dns_nsupdate_key_secret": OTHER_SECRET,
        },
        "missing": {
            "entry": "preflight",
            **hook,
            "dns_hook": [str(directory / "none")],
            "dns_records": [moved("plain", "192.0.2.2")],
        },
        "hooked": {**hook, "dns_hook": good, "dns_timeout": 30, "dns_records": [moved("hooked", "192.0.2.2")]},
        "cloud": {
            "dns_driver": "route53",
            "dns_route53_endpoint": amazon.endpoint,
            **{f"dns_route53_{name}": value for name, value in KEYS.items()},
            "dns_servers": [amazon.server],
            "dns_records": [{"name": f"matrix.{CLOUD}", "values": ["192.0.2.2", "192.0.2.3"]}],
        },
        "flare": {
            **flared,
            "dns_cloudflare_api_token": TOKEN,
            "dns_records": [{"name": f"matrix.{FLARE}", "values": ["192.0.2.2", "192.0.2.3"]}],
        },
        "no_token": {
            "entry": "preflight",
            **flared,
            "dns_cloudflare_api_token": f"{TOKEN}-of-others",
            "dns_records": [{"name": f"matrix.{FLARE}", "values": ["192.0.2.4"]}],
        },
        "wrong": {
            "entry": "preflight",
            "dns_driver": "cloudflare",
            "dns_cloudflare_api_token": TOKEN,
            "dns_records": [moved("both", "192.0.2.300"), moved("both", "192.0.2.1", ttl=5)],
            "dns_servers": ["ns1"],
            "dns_timeout": 0,
        },
    }
    return run(directory, cases, "-vvv", collections=flare.collection(directory / "collections"))


@pytest.fixture(scope="session")
def cases(ran: tuple[dict[str, Case], str]) -> dict[str, Case]:
    return ran[0]


def test_changes_are_at_every_server(cases: dict[str, Case], region: Region) -> None:
    case = cases["changed"]
    assert case.failed == ""
    for server in (region.primary, region.secondary):
        assert server.says(f"both.{ZONE}") == (60, ["192.0.2.2", "192.0.2.3"])
        assert server.says(f"both.{ZONE}", "AAAA") == (30, ["2001:db8::2"])
        assert server.says(f"other.{ZONE}", "CNAME") == (60, ["www.matrix.test."])
    result = case.result
    assert (result["changed"], result["settled"], result["held_seconds"]) == (True, True, 120)
    assert 0 < result["seconds"] < 60
    assert result["records"][0] == {
        "name": f"both.{ZONE}",
        "type": "A",
        "before": {"values": ["192.0.2.1"], "ttl": 120},
        "after": {"values": ["192.0.2.2", "192.0.2.3"], "ttl": 60},
    }
    # That there was no such name may be kept, too: for the last number of the SOA record.
    assert result["records"][2]["before"] == {"values": [], "ttl": 30}


def test_a_second_run_changes_nothing(cases: dict[str, Case]) -> None:
    case = cases["again"]
    assert case.failed == ""
    assert (case.result["changed"], case.result["settled"], case.result["held_seconds"]) == (False, True, 0)
    # Nobody was asked to change anything, so there was nothing to wait for.
    assert case.result["seconds"] == 0
    assert cases["verified"].failed == ""
    assert cases["verified"].facts["dns_verified"]["settled"] is True


def test_a_secondary_that_does_not_follow_is_not_accepted(cases: dict[str, Case], region: Region) -> None:
    case = cases["deaf"]
    assert "not every authoritative name server has the records" in case.failed
    assert "deaf.matrix.test A: expected 192.0.2.2, but " in case.failed
    assert f"{region.deaf.endpoint} say" in case.failed
    assert (case.result["changed"], case.result["settled"]) == (True, False)
    assert region.primary.says(f"deaf.{ZONE}") == (60, ["192.0.2.2"])


def test_a_silent_server_is_in_the_way_unless_it_is_named(cases: dict[str, Case], region: Region, silent: str) -> None:
    refused = cases["silent"].failed
    assert f"dns_records: quiet.{ZONE} A cannot be proven at {silent}: it does not answer within 2 s" in refused
    assert "dns_accept_silent" in refused
    assert region.primary.says(f"quiet.{ZONE}") == (120, ["192.0.2.1"])
    # The first case has it too, and names it.
    assert cases["changed"].result["settled"] is True


def test_a_name_is_an_alias_or_has_addresses(cases: dict[str, Case], region: Region) -> None:
    refused = cases["alias"].failed
    assert f"dns_records: alias.{ZONE} A: the name is an alias of www.{ZONE}" in refused
    assert f"dns_records: plain.{ZONE} CNAME: the name has A records, so it can be no alias" in refused
    assert region.primary.says(f"plain.{ZONE}") == (60, ["192.0.2.1"])


def test_a_driver_that_cannot_change_is_refused_before(cases: dict[str, Case], directory: pathlib.Path) -> None:
    assert "dns_driver: nsupdate cannot be used: the server answers " in cases["silent"].failed
    assert "dns_driver: nsupdate cannot be used: TSIG update error (PeerBadSignature)" in cases["alias"].failed
    # The preflight tells it, and fails with nothing.
    assert cases["missing"].failed == ""
    (problem,) = cases["missing"].problems
    assert problem.startswith("dns_driver: hook cannot be used: ")
    assert f"dns_hook: {directory / 'none'} is not there on localhost" in problem


def test_a_hook_gets_the_changes(cases: dict[str, Case], region: Region, directory: pathlib.Path) -> None:
    assert cases["hooked"].failed == ""
    assert region.secondary.says(f"hooked.{ZONE}") == (60, ["192.0.2.2"])
    assert json.loads((directory / "asked.json").read_text()) == {
        "deployment": ZONE,
        "records": [
            {
                "name": f"hooked.{ZONE}",
                "type": "A",
                "values": ["192.0.2.2"],
                "ttl": 60,
                "zone": ZONE,
                "before": {"values": ["192.0.2.1"], "ttl": 60},
                "stale": ["192.0.2.1"],
            }
        ],
    }


def test_route53_is_changed_and_asked_at_its_servers(cases: dict[str, Case], amazon: Amazon) -> None:
    assert cases["cloud"].failed == ""
    (found,) = amazon.records(f"matrix.{CLOUD}", "A")
    assert found["TTL"] == 60
    assert [one["Value"] for one in found["ResourceRecords"]] == ["192.0.2.2", "192.0.2.3"]
    assert cases["cloud"].result["settled"] is True


def test_cloudflare_is_told_what_is_new_before_what_is_old_goes(cases: dict[str, Case], flare: Cloudflare) -> None:
    assert cases["flare"].failed == ""
    assert (cases["flare"].result["settled"], cases["flare"].result["held_seconds"]) == (True, 300)
    assert flare.done == [("PUT", "192.0.2.2"), ("POST", "192.0.2.3"), ("DELETE", "192.0.2.1")]
    found = sorted((one["content"], one["ttl"], one["proxied"]) for one in flare.records.values())
    assert found == [("192.0.2.2", 60, False), ("192.0.2.3", 60, False)]
    (problem,) = cases["no_token"].problems
    assert problem.startswith("dns_driver: cloudflare cannot be used: API request not authenticated; Status: 403")


def test_all_that_is_wrong_in_the_variables_is_said_at_once(cases: dict[str, Case]) -> None:
    text = "; ".join(cases["wrong"].problems)
    for part in (
        "dns_records[0].values[0]: '192.0.2.300' is no IPv4 address",
        f"dns_records: both.{ZONE} A stands there twice",
        "dns_servers[0]: 'ns1' is no name server",
        "dns_timeout: 0 is no time to wait",
        "dns_records[1]: the TTL 5 is too small; Cloudflare keeps 60 at least",
    ):
        assert part in text


def test_no_secret_is_told(ran: tuple[dict[str, Case], str]) -> None:
    for secret in (KEY_SECRET, OTHER_SECRET, KEYS["secret_key"], TOKEN):
        assert secret not in ran[1]


def test_check_mode_shows_the_difference_and_changes_nothing(region: Region, tmp_path: pathlib.Path) -> None:
    region.put("foreseen", "3600 A 192.0.2.1")
    given = {
        "dns_driver": "nsupdate",
        "dns_nsupdate_server": region.primary.endpoint,
        "dns_nsupdate_key_name": KEY_NAME,
        "dns_nsupdate_key_secret": KEY_SECRET,
        "dns_servers": region.both,
        "dns_records": [moved("foreseen", "192.0.2.2")],
        # A host of the inventory, whose ansible_become would count more than the role's keyword.
        "dns_run_on": "first",
    }
    serial = region.primary.serial(ZONE)
    found, output = run(tmp_path, {"foreseen": given}, "--check", "--diff", hosts=("first", "second"))
    case = found["foreseen"]
    assert case.failed == ""
    assert (case.result["changed"], case.result["settled"], case.result["held_seconds"]) == (True, False, 3600)
    assert f"-foreseen.{ZONE}. 3600 A 192.0.2.1\n+foreseen.{ZONE}. 60 A 192.0.2.2\n" in output
    # Once for both hosts, though each of them has the answer.
    assert output.count(f"+foreseen.{ZONE}.") == 1
    assert region.primary.serial(ZONE) == serial
