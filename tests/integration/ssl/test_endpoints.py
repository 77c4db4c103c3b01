"""What matrixon_ssl_expiry says about every endpoint of the farm: all of them in one call."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import typing as t
from ssl import TLSVersion

import postgres
import pytest
import responder
from ask import Answer, ask, assert_said
from authority import MUST_STAPLE, key_pem, pem
from cases import CASES, Pki
from clusters import until
from farm import LOOPBACK, Farm, context, tls
from names import Names

pytestmark = pytest.mark.integration

Endpoints = dict[str, dict[str, t.Any]]


@pytest.fixture(scope="module")
def said(endpoints: Endpoints, ca_file: str, names: Names) -> Answer:
    return ask(endpoints=list(endpoints.values()), ca_file=ca_file, resolvers=[names.address])


@pytest.mark.parametrize("name", CASES)
def test_verdict(said: Answer, name: str) -> None:
    assert_said(said.of(name), CASES[name].expected)


def test_one_bad_target_hides_no_other(said: Answer) -> None:
    assert {check["target"] for check in said.checks} == set(CASES)
    assert said.report["kind"] == "ssl_expiry"
    assert said.report["status"] == "critical"
    assert said.document["changed"] is False


def test_silent_ones_cost_one_timeout(said: Answer) -> None:
    silent = [case for case in CASES.values() if any("timeout" in found for found in case.expected.values())]
    assert len(silent) >= 4
    assert said.report["duration_ms"] < 6000, "in turn they would take 8 s"


def test_each_address_is_looked_at_by_itself(farm: Farm, pki: Pki, names: Names, ca_file: str) -> None:
    good, late = pki.issuing.issue("two.farm.test"), pki.issuing.issue("two.farm.test", days=5)
    port = farm.tls(good)
    farm.serve(tls(context(farm.file(late))), "127.0.0.2", port)
    names.addresses["two.farm.test"] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    answer = ask(endpoints=[{"host": "two.farm.test", "port": port}], ca_file=ca_file, resolvers=[names.address])
    label = f"two.farm.test:{port} at"
    assert_said(answer.of(f"{label} 127.0.0.1"), {})
    assert_said(answer.of(f"{label} 127.0.0.2"), {"certificate_expiry": ("critical", None, r".*5\.0 days.*")})
    assert_said(
        answer.of(f"{label} 127.0.0.3"),
        {"certificate_connection": ("critical", "refused", "connection refused, nothing listens there")},
    )


def test_ipv6_is_an_address_like_any_other(farm: Farm, pki: Pki, names: Names, ca_file: str) -> None:
    port = farm.serve(tls(context(farm.file(pki.issuing.issue("six.farm.test", "::1")))), "::1")
    names.addresses["six.farm.test"] = ["::1"]
    endpoints = [
        {"name": "name", "host": "six.farm.test", "port": port},
        {"name": "given", "host": "six.farm.test", "port": port, "address": "::1"},
        {"name": "literal", "host": "::1", "port": port},
    ]
    answer = ask(endpoints=endpoints, ca_file=ca_file, resolvers=[names.address])
    for target in ("name at ::1", "given", "literal"):
        assert_said(answer.of(target), {})


def test_name_server_that_is_silent_is_no_verdict(names: Names, ca_file: str) -> None:
    names.silent.add("mute.farm.test")
    answer = ask(
        endpoints=[{"name": "mute", "host": "mute.farm.test"}], ca_file=ca_file, resolvers=[names.address], timeout=1
    )
    assert_said(
        answer.of("mute"), {"certificate_connection": ("unknown", "timeout", r".*does not answer.*mute\.farm\.test.*")}
    )


def test_postgresql(pki: Pki, ca_file: str, base: pathlib.Path, major: int) -> None:
    server = postgres.start(base / "tls", major, pki.issuing.issue("db.farm.test", days=20))
    try:
        endpoint = {"host": "db.farm.test", "port": server.port, "address": LOOPBACK}
        answer = ask(
            endpoints=[{**endpoint, "name": "db", "starttls": "postgresql"}, {**endpoint, "name": "direct"}],
            ca_file=ca_file,
        )
    finally:
        server.stop()
    assert_said(answer.of("db"), {"certificate_expiry": ("warning", None, r".*expires in 20\.0 days.*")})
    # It closes the connection on whoever begins with TLS at once (before PostgreSQL 17).
    assert answer.of("direct")["certificate_connection"]["status"] == "critical"


def test_intermediate_that_only_this_host_knows(endpoints: Endpoints, pki: Pki, tmp_path: pathlib.Path) -> None:
    """It does for us, and for nobody else."""
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(pem(pki.root.certificate, pki.issuing.certificate))
    answer = ask(endpoints=[endpoints["missing_intermediate"], endpoints["good"]], ca_file=str(anchors))
    unsent = (
        "the intermediate 'CN=Farm Issuing CA' is not sent: this host knows it already, and a client that does not "
        "refuses the certificate; serve the full chain"
    )
    assert_said(answer.of("missing_intermediate"), {"certificate_chain": ("warning", None, unsent)})
    assert_said(answer.of("good"), {})


def test_anchor_that_is_no_root(endpoints: Endpoints, pki: Pki, tmp_path: pathlib.Path) -> None:
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(pem(pki.issuing.certificate))
    answer = ask(endpoints=[endpoints["good"]], ca_file=str(anchors))
    no_root = "it leads to 'CN=Farm Issuing CA', which is trusted here but is no root; give its issuer too"
    assert_said(answer.of("good"), {"certificate_trust": ("critical", None, no_root)})


@pytest.mark.parametrize(
    ("floor", "takes"), [("TLSv1.2", {"old": "TLSv1.1"}), ("TLSv1.3", {"old": "TLSv1.2", "usual": "TLSv1.2"})]
)
def test_protocol_floor(floor: str, takes: dict[str, str], farm: Farm, pki: Pki, ca_file: str) -> None:
    made = pki.issuing.issue("floor.farm.test")
    lowest = {"old": TLSVersion.TLSv1, "usual": TLSVersion.TLSv1_2, "new": TLSVersion.TLSv1_3}
    endpoints = [
        {"name": name, "host": "floor.farm.test", "port": farm.tls(made, lowest=version), "address": LOOPBACK}
        for name, version in lowest.items()
    ]
    assert_said(ask(endpoints=endpoints, ca_file=ca_file).of("old"), {})
    answer = ask(endpoints=endpoints, ca_file=ca_file, min_protocol=floor)
    for name in lowest:
        assert "certificate_protocol" in answer.of(name)
        message = rf"it takes {takes.get(name)}, and {floor} is the oldest that it should"
        assert_said(answer.of(name), {"certificate_protocol": ("critical", "tls", message)} if name in takes else {})


def test_must_staple_with_a_staple_is_good(pki: Pki, ca_file: str, tmp_path: pathlib.Path) -> None:
    made = pki.issuing.issue("stapled.farm.test", more=[MUST_STAPLE])
    files = {"key": key_pem(made.key), "leaf": pem(made.certificate), "chain": pem(*made.chain)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "staple").write_bytes(responder.answer(pki.issuing, made.certificate))
    with stapling(tmp_path) as port:
        endpoint = {"name": "stapled", "host": "stapled.farm.test", "port": port, "address": LOOPBACK}
        answer = ask(endpoints=[endpoint], ca_file=ca_file)
    assert_said(answer.of("stapled"), {})
    assert answer.of("stapled")["certificate_staple"]["status"] == "ok"


@contextlib.contextmanager
def stapling(folder: pathlib.Path) -> t.Iterator[int]:
    """openssl's server: the one of Python cannot staple."""
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    argv = ["openssl", "s_server", "-accept", f"{LOOPBACK}:{port}", "-quiet", "-status_file", "staple"]
    argv += ["-cert", "leaf", "-key", "key", "-cert_chain", "chain"]
    process = subprocess.Popen(argv, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        until(lambda: _answers(port))
        yield port
    finally:
        process.kill()
        process.communicate()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
        return True
    return False


def test_result_is_short_but_for_problems(endpoints: Endpoints, ca_file: str) -> None:
    some = [endpoints[name] for name in ("good", "days_5", "expired", "refused")]
    answer = ask(endpoints=some, ca_file=ca_file, detail="problems")
    found = {one["target"]: one for one in answer.document["certificates"]}
    assert set(found) == {"good", "days_5", "expired", "refused"}
    assert set(found["good"]) == {"target", "status", "not_after", "days"}
    assert found["days_5"]["names"] == ["days-5.farm.test"]
    assert found["days_5"]["issuer"] == "CN=Farm Issuing CA"
    assert answer.document["soonest"]["target"] == "expired"
    assert answer.document["soonest"]["subject"] == "CN=expired.farm.test"
    assert answer.document["soonest"]["days"] == pytest.approx(-3.0, abs=0.1)
    assert answer.document["counts"] == {"ok": 1, "warning": 0, "critical": 3, "unknown": 0, "skipped": 0}


def test_fail_on_fails_with_the_whole_report(endpoints: Endpoints, ca_file: str) -> None:
    answer = ask(endpoints=[endpoints["good"], endpoints["days_20"]], ca_file=ca_file, fail_on="warning")
    assert answer.document["failed"] is True
    assert answer.report["status"] == "warning"
    assert_said(answer.of("good"), {})


def test_deadline_is_total_and_what_it_cut_off_is_unknown(endpoints: Endpoints, ca_file: str) -> None:
    silent = [{**endpoints["silent"], "name": f"silent{number}"} for number in range(6)]
    answer = ask(endpoints=[*silent, endpoints["good"]], ca_file=ca_file, timeout=5, deadline=1.5, threads=2)
    assert answer.report["duration_ms"] < 4000, "in turn they would take 15 s"
    for one in silent:
        check = answer.of(one["name"])["certificate_connection"]
        assert (check["status"], check["error_kind"]) == ("unknown", "timeout")
    assert answer.of("good")["certificate_connection"]["status"] in ("ok", "unknown")


def test_bad_options_are_refused_at_once_before_anything_is_contacted(ca_file: str) -> None:
    answer = ask(
        endpoints=[
            {"host": "a b", "port": 70000},
            {"host": "x.test", "starttls": "smtp", "address": "not-an-ip"},
        ],
        files=[{"path": "relative.pem"}, {"path": "/x.pem", "endpoint": "nobody"}],
        warning_days=5,
        critical_days=14,
        threads=0,
        timeout=-1,
        resolvers=["localhost"],
        server_names=["bad name"],
        connect_to={"x": "y"},
    )
    assert answer.document["failed"] is True
    for words in (
        "'a b'",
        "70000",
        "not-an-ip",
        "nobody",
        "warning_days",
        "threads",
        "timeout",
        "localhost",
        "bad name",
        "connect_to",
    ):
        assert words in answer.document["msg"], words
    assert "report" not in answer.document


def _without(folder: pathlib.Path, library: str) -> pathlib.Path:
    (folder / f"{library}.py").write_text("raise ImportError('not installed')\n")
    return folder


def test_cryptography_is_needed(endpoints: Endpoints, tmp_path: pathlib.Path) -> None:
    answer = ask(endpoints=[endpoints["good"]], lacking=_without(tmp_path, "cryptography"))
    assert answer.document["failed"] is True
    assert "cryptography" in answer.document["msg"]
    assert "report" not in answer.document


def test_dnspython_is_needed_for_srv_only(endpoints: Endpoints, ca_file: str, tmp_path: pathlib.Path) -> None:
    name = f"{LOOPBACK}:{endpoints['good']['port']}"
    answer = ask(
        endpoints=[endpoints["good"]],
        server_names=[name],
        ca_file=ca_file,
        lacking=_without(tmp_path, "dns"),
    )
    assert_said(answer.of("good"), {})
    assert answer.of(name)["certificate_delegation"]["status"] == "ok"
