"""Tests of options that cannot be right: all are told at once, before anything is contacted."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.options import (
    endpoint_of,
    file_of,
)
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.run import check_certificates
from ansible_collections.matrixon.ops.plugins.modules.matrixon_ssl_expiry import argument_spec

BASE = {"target": "h", "deployment": "d", "profile": "p"}
GOOD = {"endpoints": [{"host": "m.test"}]}


def options(**given: Any) -> dict[str, Any]:
    """Return options as the module has them."""
    checked = ArgumentSpecValidator(argument_spec()).validate({**BASE, **GOOD, **given})
    assert not checked.error_messages, checked.error_messages
    return checked.validated_parameters


def endpoint(**given: Any) -> dict[str, Any]:
    return {"endpoints": [{"host": "m.test", **given}]}


def file(**given: Any) -> dict[str, Any]:
    return {"files": [{"path": "/x.pem", **given}]}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no target": ({"endpoints": []}, "endpoints: there is nothing to look at; give endpoints, files, server_names or"),
    "an empty deployment": ({"deployment": " "}, "deployment: it is empty; give the name"),
    "deadline 0": ({"deadline": 0}, "deadline: 0 is no time to wait; give seconds above 0"),
    "a timeout that is no number": ({"timeout": "nan"}, "timeout: nan is no time to wait"),
    "no thread": ({"threads": 0}, "threads: 0 cannot be; give a number from 1 to 256"),
    "too many threads": ({"threads": 257}, "threads: 257 cannot be"),
    "days below 0": ({"critical_days": -1}, "critical_days: -1 cannot be; give days from 0"),
    "days that are no number": ({"warning_days": "nan"}, "warning_days: nan cannot be"),
    "a share above 1": ({"warning_share": 33}, "warning_share: 33 cannot be; give a part of the lifetime from 0 to 1"),
    "days that never warn": (
        {"warning_days": 10},
        "warning_days: 10 is below critical_days 14, so it would never warn; exchange them or give both",
    ),
    "a share that never warns": ({"warning_share": 0.1}, "warning_share: 0.1 is below critical_share 0.166667"),
    "no checks": ({"checks": []}, "checks: the list is empty; leave the option out"),
    "a check with a slip in it": (
        {"checks": ["certificate_expirey"]},
        "checks: 'certificate_expirey' is not a check; did you mean certificate_expiry?",
    ),
    "a check like no other": ({"checks": ["zzz"]}, "checks: 'zzz' is not a check; known are certificate_chain, "),
    "a skip without reason": ({"skip_checks": {"certificate_key": ""}}, "skip_checks.certificate_key: say why"),
    "no ca_file": (
        {"ca_file": "/nonexistent/ca"},
        "ca_file: /nonexistent/ca cannot be read: No such file or directory",
    ),
    "a ca_file without authorities": ({"ca_file": "/etc/passwd"}, "ca_file: /etc/passwd holds no PEM certificate"),
    "connect_to from no port": ({"connect_to": {"m.test": "a:1"}}, "connect_to: 'm.test' is not host:port"),
    "connect_to to no port": ({"connect_to": {"m.test:1": "a"}}, "connect_to.m.test:1: 'a' is not host:port"),
    "a name server by name": (
        {"resolvers": ["192.0.2.1", "ns.test"]},
        "resolvers[1]: 'ns.test' is no name server; give an address or address:port, such as 10.0.0.2:53",
    ),
    "a name server at port 0": ({"resolvers": ["192.0.2.1:0"]}, "resolvers[0]: '192.0.2.1:0' is no name server"),
    "a host with a port": (
        {"endpoints": [{"host": "m.test:443"}]},
        "endpoints[0].host: 'm.test:443' is no host name and no address; give for example matrix.example.com, without",
    ),
    "a host that is none": ({"endpoints": [{"host": "a..b"}]}, "endpoints[0].host: 'a..b' is no host name"),
    "no host": ({"endpoints": [{"host": ""}]}, "endpoints[0].host: '' is no host name"),
    "a host with a slash": ({"endpoints": [{"host": "a/b"}]}, "endpoints[0].host: 'a/b' is no host name"),
    "a host in letters that DNS has not": (
        {"endpoints": [{"host": "bücher.test"}]},
        "endpoints[0].host: 'bücher.test' is not ASCII; give the name as DNS has it",
    ),
    "port 0": (endpoint(port=0), "endpoints[0].port: 0 is not a port; give a number from 1 to 65535"),
    "an empty label": (endpoint(name=" "), "endpoints[0].name: it is empty; leave it out"),
    "an address that is a name": (endpoint(address="m.test"), "endpoints[0].address: 'm.test' is no IP address"),
    "a server name that is none": (endpoint(server_name="a b"), "endpoints[0].server_name: 'a b' is no host name"),
    "no names": (endpoint(names=[]), "endpoints[0].names: the list is empty; leave it out"),
    "a wildcard that is expected": (endpoint(names=["*.m.test"]), "endpoints[0].names[0]: '*.m.test' is no host name"),
    "two of one name": (
        {"endpoints": [{"host": "m.test"}, {"host": "m.test"}]},
        "endpoints: m.test:443 stands there twice; give each its own name",
    ),
    "a relative path": (file(path="x.pem"), "files[0].path: 'x.pem' is no absolute path; give one that begins with /"),
    "a relative key": (file(key="key.pem"), "files[0].key: 'key.pem' is no absolute path"),
    "a file twice": ({"files": [{"path": "/x"}] * 2}, "files: /x stands there twice"),
    "a file for no endpoint": (
        file(endpoint="m.test:44"),
        "files[0].endpoint: 'm.test:44' is no endpoint of this list; did you mean m.test:443?",
    ),
    "a file with the name of an endpoint": (
        file(name="m.test:443"),
        "endpoints: m.test:443 is also the name of something else; give the endpoint its own",
    ),
    "a server name with a path": ({"server_names": ["a.test/x"]}, "server_names[0]: 'a.test/x' cannot be used"),
    "a server name twice": ({"server_names": ["a.test"] * 2}, "server_names: a.test stands there twice"),
    "a timer without suffix": (
        {"renewal": [{"timer": "certbot"}]},
        "renewal[0].timer: 'certbot' is not the full name of a unit; give for example certbot.timer",
    ),
    "a timer that is an option": ({"renewal": [{"timer": "--user.timer"}]}, "renewal[0].timer: '--user.timer' is not"),
    "a service that is a timer": (
        {"renewal": [{"timer": "a.timer", "service": "b.timer"}]},
        "renewal[0].service: 'b.timer' is not the full name",
    ),
}


@pytest.fixture(autouse=True)
def contacted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what was contacted; it is recorded, and goes nowhere."""
    seen: list[str] = []

    def refuse(*_args: Any, **_options: Any) -> None:
        seen.append("contact")
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return seen


@pytest.mark.parametrize(("given", "sentence"), WRONG.values(), ids=list(WRONG))
def test_refused(given: dict[str, Any], sentence: str, contacted: list[str]) -> None:
    with pytest.raises(OptionErrors) as caught:
        check_certificates(options(**given))
    (told,) = caught.value.errors
    assert told.startswith(sentence)
    assert contacted == []


def test_all_that_is_wrong_is_told_at_once(contacted: list[str]) -> None:
    with pytest.raises(OptionErrors) as caught:
        check_certificates(options(deadline=0, threads=0, **endpoint(port=0, address="x")))
    assert [error.split(":")[0] for error in caught.value.errors] == [
        "deadline",
        "threads",
        "endpoints[0].port",
        "endpoints[0].address",
    ]
    assert contacted == []


def test_defaults_of_targets() -> None:
    given = options(
        endpoints=[{"host": "m.test"}, {"host": "[2001:db8::1]", "port": 8448, "server_name": "m.test"}],
        files=[{"path": "/x.pem"}],
    )
    first, second = (endpoint_of(one) for one in given["endpoints"])
    assert (first.label, first.server_name, first.names, first.address) == ("m.test:443", "m.test", ("m.test",), None)
    assert (second.label, second.host, second.names) == ("[2001:db8::1]:8448", "2001:db8::1", ("m.test",))
    assert file_of(given["files"][0]).label == "/x.pem"
