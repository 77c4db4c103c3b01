"""Tests of the name that other homeservers ask for, and of the reason that is told."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._delegation import Delegation
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import names

SRV = "SRV _matrix-fed._tcp.m.test says node.test:443"
BAD_FILE = ProbeFailure("parse", "it is not JSON")
CASES = {
    "a port in the name": (
        Delegation("m.test", 8449, "m.test", "m.test:8449", ("the server name itself says where",)),
        "the server name itself says where, so its host is asked for",
    ),
    "well-known": (
        Delegation("x.test", 443, "x.test", "x.test:443", ("well-known says x.test:443",)),
        "well-known delegates to x.test, so that is asked for and not m.test",
    ),
    "well-known to itself": (
        Delegation("m.test", 443, "m.test", "m.test:443", ("well-known says m.test:443",)),
        "well-known delegates to m.test, so that is asked for",
    ),
    "well-known and SRV": (
        Delegation("node.test", 443, "x.test", "x.test", ("well-known says x.test", SRV)),
        "well-known delegates to x.test, so that is asked for and not m.test; the SRV record only says where to "
        "connect, and node.test is not asked for",
    ),
    "SRV": (
        Delegation("node.test", 443, "m.test", "m.test", ("no well-known file", SRV)),
        "well-known does not delegate, so the server name is asked for; the SRV record only says where to connect, "
        "and node.test is not asked for",
    ),
    "nothing": (
        Delegation("m.test", 8448, "m.test", "m.test", ("no well-known file", "no SRV record", "default port")),
        "nothing delegates, so the server name is asked for",
    ),
    "a well-known file that is no JSON": (
        Delegation("m.test", 8448, "m.test", "m.test", ("well-known could not be read", "no SRV record"), BAD_FILE),
        "well-known could not be read, so the server name is asked for",
    ),
}


@pytest.mark.parametrize(("found", "reason"), CASES.values(), ids=list(CASES))
def test_why(found: Delegation, reason: str) -> None:
    (endpoint,) = names.endpoints_of("m.test:8449" if found.port == 8449 else "m.test", found)
    assert endpoint.why == reason
    assert endpoint.names == (endpoint.server_name,) == (found.certificate_name,)
    assert (endpoint.host, endpoint.port) == (found.host, found.port)


def test_delegation_that_others_pass_over_is_a_warning() -> None:
    good = names.delegation("m.test", CASES["well-known"][0])
    assert (good.status, good.message) == (
        "ok",
        "it leads to x.test:443, with a certificate for x.test (well-known says x.test:443)",
    )
    finding = names.delegation("m.test", CASES["a well-known file that is no JSON"][0])
    assert (finding.status, finding.error_kind) == ("warning", "parse")
    assert finding.message == "it leads to m.test:8448 only because its well-known could not be read: it is not JSON"


def test_every_record_of_srv_is_a_place() -> None:
    found = dataclasses.replace(CASES["SRV"][0], others=(("far.test", 8448), ("node.test", 443), ("", 0)))
    near, far = names.endpoints_of("m.test", found)
    assert (near.label, far.label) == ("m.test (node.test:443)", "m.test (far.test:8448)")
    assert (far.host, far.port, far.names) == ("far.test", 8448, ("m.test",))
    assert far.why is not None and "far.test is not asked for" in far.why


def test_time_that_others_keep_a_well_known_is_told() -> None:
    finding = names.delegation("m.test", dataclasses.replace(CASES["well-known"][0], kept=7200))
    assert finding.message.endswith("; when it changes, others keep that for up to 2\N{NO-BREAK SPACE}h")
