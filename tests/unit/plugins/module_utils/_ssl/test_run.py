"""Tests of a whole run against servers and files on loopback."""

from __future__ import annotations

import datetime
import errno
import pathlib
import socket
import ssl
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import servers
import trustme
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import handshake, targets
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.handshake import Client
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.run import Outcome, check_certificates
from ansible_collections.matrixon.ops.plugins.modules.matrixon_ssl_expiry import argument_spec

BASE = {"target": "h", "deployment": "d", "profile": "p", "detail": "full", "deadline": 10, "timeout": 3}
SERVED = {f"certificate_{name}" for name in ("expiry", "chain", "trust", "name", "key", "signature", "purpose")}
SKIPPED = SERVED | {"certificate_staple"}


@pytest.fixture
def check(ca_file: str) -> Any:
    """Return a way to run the checker."""

    def check(now: datetime.datetime | None = None, **given: Any) -> Outcome:
        checked = ArgumentSpecValidator(argument_spec()).validate({**BASE, "ca_file": ca_file, **given})
        assert not checked.error_messages, checked.error_messages
        return check_certificates(checked.validated_parameters, now)

    return check


def at(server: servers.Server, **more: Any) -> dict[str, Any]:
    """Return a server as an endpoint."""
    return {"host": "m.test", "address": "127.0.0.1", "port": server.port, "name": "it", **more}


def verdicts(outcome: Outcome, target: str = "it") -> dict[str, str]:
    return {check.name: check.status for check in outcome.report.checks if check.target == target}


def bad(outcome: Outcome) -> dict[tuple[str, str], tuple[str, str | None]]:
    found = [check for check in outcome.report.checks if check.status not in ("ok", "skipped")]
    return {(check.target, check.name): (check.status, check.error_kind) for check in found}


@pytest.fixture
def good(serve: Any, authority: trustme.CA) -> servers.Server:
    """Return a server with a good certificate."""
    return serve(servers.silent, servers.tls_for(authority, "m.test"))


def test_good_endpoint(check: Any, good: servers.Server) -> None:
    outcome = check(endpoints=[at(good)])
    wanted = dict.fromkeys({"certificate_connection", *SERVED}, "ok")
    assert verdicts(outcome) == {**wanted, "certificate_staple": "skipped"}
    assert good.connections == 1
    assert (outcome.report.status, outcome.counts["ok"]) == ("ok", 1)
    (entry,) = outcome.certificates
    assert (entry["target"], entry["names"], entry["address"]) == ("it", ["m.test"], f"127.0.0.1:{good.port}")
    assert outcome.soonest is not None and outcome.soonest["days"] == entry["days"]


def test_certificate_that_is_not_accepted_is_seen_in_a_second_handshake(check: Any, serve: Any) -> None:
    server = serve(servers.silent, servers.tls_for(trustme.CA(), "m.test"))
    outcome = check(endpoints=[at(server)])
    assert set(bad(outcome)) == {("it", "certificate_chain")}
    assert verdicts(outcome)["certificate_trust"] == "skipped"
    assert server.connections == 2


def test_certificate_out_of_its_time_by_the_clock_of_the_run(check: Any, good: servers.Server) -> None:
    outcome = check(datetime.datetime(4000, 1, 1, tzinfo=datetime.timezone.utc), endpoints=[at(good)])
    assert bad(outcome) == {("it", "certificate_expiry"): ("critical", None)}


SILENT_OR_WORSE: dict[str, tuple[servers.Script, str, str]] = {
    "silent": (servers.silent, "unknown", "timeout"),
    "dripping": (servers.drip(b"\x16\x03\x03\x00\x7a\x02"), "unknown", "timeout"),
    "one that closes": (servers.hang_up, "critical", "refused"),
    "one that resets": (servers.reset, "critical", "refused"),
    "plain HTTP": (servers.say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "critical", "tls"),
}


@pytest.mark.parametrize(("script", "status", "kind"), SILENT_OR_WORSE.values(), ids=list(SILENT_OR_WORSE))
def test_endpoint_that_serves_nothing_is_told_once(check: Any, serve: Any, script: Any, status: str, kind: str) -> None:
    outcome = check(endpoints=[at(serve(script))], timeout=0.4)
    assert bad(outcome) == {("it", "certificate_connection"): (status, kind)}
    assert {name for name, found in verdicts(outcome).items() if found == "skipped"} == SKIPPED
    assert outcome.report.status == status


def test_endpoint_that_is_required_may_not_be_silent(check: Any, serve: Any) -> None:
    outcome = check(endpoints=[at(serve(servers.silent), required=True)], timeout=0.3)
    assert bad(outcome) == {("it", "certificate_connection"): ("critical", "timeout")}


def test_one_that_hangs_costs_no_other_its_verdict(check: Any, serve: Any, good: servers.Server) -> None:
    hanging = [at(serve(servers.silent), name=f"hung {number}") for number in range(6)]
    began = time.monotonic()
    outcome = check(endpoints=[*hanging, at(good)], timeout=0.5)
    assert time.monotonic() - began < 2
    assert (outcome.counts["ok"], outcome.counts["unknown"]) == (1, 6)


def test_deadline_holds_with_a_resolver_that_hangs(
    check: Any, good: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, resolve = threading.Event(), socket.getaddrinfo

    def hang(host: str, *args: Any, **options: Any) -> Any:
        if host == "stuck.test":
            release.wait(10)
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    outcome = check(endpoints=[{"host": "stuck.test"}, at(good)], deadline=0.6, timeout=5, threads=2)
    release.set()
    assert bad(outcome) == {("stuck.test:443", "certificate_connection"): ("unknown", "timeout")}
    assert outcome.report.as_dict()["duration_ms"] < 2000
    assert verdicts(outcome)["certificate_connection"] == "ok"


def test_gate_that_failed_is_told_even_if_it_was_not_asked_for(
    check: Any, good: servers.Server, closed_port: int
) -> None:
    dead = {"host": "127.0.0.1", "port": closed_port, "name": "dead"}
    outcome = check(endpoints=[at(good), dead], checks=["certificate_key"])
    assert bad(outcome) == {("dead", "certificate_connection"): ("critical", "refused")}
    assert verdicts(outcome) == {"certificate_key": "ok"}


def test_check_that_is_skipped_tells_the_reason(check: Any, serve: Any) -> None:
    server = serve(servers.silent, servers.tls_for(trustme.CA(), "m.test"))
    outcome = check(endpoints=[at(server)], skip_checks={"certificate_chain": "the lab has its own"})
    assert bad(outcome) == {}
    (found,) = (one for one in outcome.report.checks if one.name == "certificate_chain")
    assert (found.status, found.skipped_reason) == ("skipped", "the lab has its own")


def test_check_that_breaks_takes_no_other_with_it(
    check: Any, good: servers.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    def broken(*_args: Any) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(targets.files, "read", broken)
    outcome = check(endpoints=[at(good)], files=[{"path": str(tmp_path / "x"), "name": "file"}])
    assert bad(outcome) == {("file", "certificate_file"): ("unknown", "internal")}
    assert verdicts(outcome)["certificate_connection"] == "ok"


def test_file_against_what_is_served(check: Any, serve: Any, authority: trustme.CA, tmp_path: pathlib.Path) -> None:
    first, second = authority.issue_cert("m.test"), authority.issue_cert("m.test")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    first.configure_cert(tls)
    server = serve(servers.silent, tls)
    found = {}
    for name, made in (("same", first), ("other", second)):
        path = tmp_path / name
        path.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        outcome = check(endpoints=[at(server)], files=[{"path": str(path), "name": "file", "endpoint": "it"}])
        found[name] = verdicts(outcome, "file")["certificate_served"]
    assert found == {"same": "ok", "other": "warning"}


def test_each_address_is_a_target(check: Any, good: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_options: Any) -> Any:
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in ("127.0.0.1", "127.0.0.9")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    outcome = check(endpoints=[{"host": "m.test", "port": good.port, "name": "it"}])
    assert verdicts(outcome, "it at 127.0.0.1")["certificate_connection"] == "ok"
    assert bad(outcome) == {("it at 127.0.0.9", "certificate_connection"): ("critical", "refused")}


def test_file_is_not_held_against_an_address_out_of_reach(
    check: Any, serve: Any, authority: trustme.CA, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, tls = authority.issue_cert("m.test"), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.configure_cert(tls)
    server = serve(servers.silent, tls)
    (tmp_path / "it.pem").write_bytes(made.cert_chain_pems[0].bytes())
    file = {"path": str(tmp_path / "it.pem"), "name": "file", "endpoint": "it"}

    def out_of_reach(endpoint: Any, address: Any, target: str, tools: Any, deadline: Any, spare: bool) -> Any:
        if not spare:
            return look(endpoint, address, target, tools, deadline, spare)
        finding = targets.skipped("certificate_connection", targets.NO_IPV6)
        return [targets.Seen(endpoint.label, target, targets.results([finding], target, deadline))]

    def resolve(host: str, port: int, **_options: Any) -> Any:
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port)), (socket.AF_INET6, 1, 6, "", ("::1", port, 0, 0))]

    look = targets.look_at_address
    monkeypatch.setattr(targets, "look_at_address", out_of_reach)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    outcome = check(endpoints=[{"host": "m.test", "port": server.port, "name": "it"}], files=[file])
    assert bad(outcome) == {}
    assert verdicts(outcome, "file")["certificate_served"] == "ok"


@pytest.mark.parametrize(
    ("families", "status"), [((socket.AF_INET, socket.AF_INET6), "skipped"), ((socket.AF_INET6,), "critical")]
)
def test_host_without_ipv6_passes_over_what_has_ipv4_too(
    check: Any, good: servers.Server, monkeypatch: pytest.MonkeyPatch, families: Any, status: str
) -> None:
    def resolve(host: str, port: int, **_options: Any) -> Any:
        hosts = {socket.AF_INET: ("127.0.0.1", port), socket.AF_INET6: ("2001:db8::1", port, 0, 0)}
        return [(family, 1, 6, "", hosts[family]) for family in families]

    connect = socket.socket.connect

    def without_ipv6(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_INET6:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", without_ipv6)
    outcome = check(endpoints=[{"host": "m.test", "port": good.port, "name": "it"}])
    assert verdicts(outcome, "it at 2001:db8::1")["certificate_connection"] == status


def test_server_name_by_its_port_and_name(check: Any, good: servers.Server) -> None:
    outcome = check(server_names=["m.test:8448"], connect_to={"m.test:8448": good.authority})
    assert outcome.report.status == "ok"
    names = {entry["target"]: entry for entry in outcome.certificates}
    assert set(names) == {"m.test:8448", "m.test:8448 (m.test:8448)"}
    assert names["m.test:8448 (m.test:8448)"]["why"].startswith("the server name itself says where")


def test_renewal_is_unknown_where_systemd_is_not(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.isdir", lambda _path: False)
    outcome = check(renewal=[{"timer": "certbot.timer"}])
    assert bad(outcome) == {("certbot.timer", "certificate_renewal"): ("unknown", "missing_tool")}


def test_chain_is_unknown_where_this_python_has_no_way_to_it(
    check: Any, good: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "_chain", lambda _sock, _method: [])
    outcome = check(endpoints=[at(good)])
    assert bad(outcome) == {("it", "certificate_chain"): ("unknown", "missing_tool")}


def test_result_is_short_where_all_is_well(check: Any, serve: Any, good: servers.Server) -> None:
    other = serve(servers.silent, servers.tls_for(trustme.CA(), "m.test"))
    outcome = check(endpoints=[at(good), at(other, name="bad")], detail="problems")
    worse, well = outcome.certificates
    assert set(well) == {"target", "status", "not_after", "days"}
    assert (worse["target"], worse["chain"][0]["sent"]) == ("bad", True)
    assert {"subject", "issuer", "serial", "not_before", "key", "signature", "fingerprint", "address"} <= set(worse)


def test_context_is_made_once_and_verifies(ca_file: str) -> None:
    client = Client(ca_file)
    assert client.strict is client.strict
    for context in (client.strict, client.lenient):
        assert (context.verify_mode, context.minimum_version) == (ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2)
        assert not context.verify_flags & ssl.VerifyFlags.VERIFY_X509_STRICT
    assert client.blind.verify_mode == ssl.CERT_NONE


def test_address_of_a_target_is_told_once(check: Any, closed_port: int) -> None:
    outcome = check(endpoints=[{"host": "127.0.0.1", "port": closed_port}])
    (found,) = (one for one in outcome.report.checks if one.status == "critical")
    assert found.message == f"127.0.0.1:{closed_port}: connection refused, nothing listens there"
    assert str(_net.Address(socket.AF_INET, ("127.0.0.1", closed_port))) == found.target


def test_what_never_began_is_told_too(check: Any, serve: Any) -> None:
    hanging = [at(serve(servers.silent), name=f"hung {number}") for number in range(3)]
    outcome = check(endpoints=hanging, threads=1, timeout=5, deadline=0.3)
    assert len(bad(outcome)) == 3
    words = {check.message for check in outcome.report.checks if check.status == "unknown"}
    assert "hung 2: not finished when the total deadline of 0.3 s ended" in words


@pytest.mark.parametrize("paths", [(None, None), (None, "empty")])
def test_host_that_trusts_nobody_does_not_call_a_chain_bad(
    check: Any, good: servers.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, paths: Any
) -> None:
    (tmp_path / "empty").mkdir()
    file, directory = paths
    none = SimpleNamespace(cafile=file, capath=directory and str(tmp_path / directory))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: none)
    monkeypatch.setattr(handshake, "BUNDLES", ())
    outcome = check(endpoints=[at(good)], ca_file=None)
    assert bad(outcome) == {("it", "certificate_trust"): ("unknown", "missing_tool")}


def test_host_that_trusts_others_calls_it_bad(check: Any, good: servers.Server) -> None:
    outcome = check(endpoints=[at(good)], ca_file=None)
    assert bad(outcome) == {("it", "certificate_chain"): ("critical", None)}
