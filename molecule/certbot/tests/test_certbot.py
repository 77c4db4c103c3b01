"""A certificate from an ACME server: shown by HAProxy, renewed behind it, and kept when there is no other."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import ssl
import subprocess
import time
import typing as t

import pytest

testinfra_hosts = ["ansible://load_balancer"]

ROOT = pathlib.Path(__file__).resolve().parents[3]
ADDRESSES = ["172.30.40.11", "fd00:30:40::11"]
NAMES = ["certbot.test", "matrix.certbot.test"]
TARGET = "/etc/ssl/matrixon/public"
LINEAGE = "/etc/letsencrypt/renewal/public.conf"
RENEW = "certbot renew --force-renewal --no-random-sleep-on-renew"
OTHER = "chat.certbot.test"
TELL_DNS = """
import sys, urllib.request
urllib.request.urlopen(f"http://127.0.0.1:8055/{sys.argv[1]}", b'{"host": "certbot.test"}', timeout=10)
"""
ROOTS = """
import ssl, urllib.request
print(urllib.request.urlopen("https://localhost:15000/roots/0", timeout=10).read().decode())
"""


@pytest.fixture(scope="module")
def roots(host: t.Any) -> str:
    """The root of the ACME server, which it makes anew at each start."""
    return host.check_output("python3 -c %s", ROOTS)


@pytest.fixture
def shown(roots: str) -> t.Callable[..., dict]:
    """What a client that trusts this root alone is shown by a name."""

    def ask(name: str = NAMES[1], address: str = ADDRESSES[0], port: int = 443) -> dict:
        plain = socket.create_connection((address, port), timeout=10)
        with ssl.create_default_context(cadata=roots).wrap_socket(plain, server_hostname=name) as secure:
            return secure.getpeercert()

    return ask


@pytest.fixture
def serial(shown: t.Callable[..., dict]) -> t.Callable[[], str]:
    return lambda: shown()["serialNumber"]


def until(condition: t.Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def play(name: str = "certificates", **variables: object) -> tuple[int, str]:
    """Run a playbook as an operator would, with some variables otherwise; return what it said in one line."""
    inventory = pathlib.Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent
    command = ["ansible-playbook", "-i", str(inventory), f"playbooks/{name}.yml", "-e", json.dumps(variables)]
    environment = {**os.environ, "NO_COLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def process(host: t.Any) -> str:
    return host.check_output("systemctl show --value -p MainPID haproxy")


def in_place(host: t.Any) -> str:
    """The serial number of the certificate in the file that HAProxy reads."""
    return host.check_output(f"openssl x509 -noout -serial -in {TARGET}/haproxy.pem").partition("=")[2]


def names(certificate: dict) -> list[str]:
    return sorted(name for kind, name in certificate["subjectAltName"])


@pytest.mark.parametrize("port", [443, 8448])
@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("name", NAMES)
def test_haproxy_shows_what_the_acme_server_issued(shown: t.Any, name: str, address: str, port: int) -> None:
    certificate = shown(name, address, port)
    assert names(certificate) == NAMES
    assert "Pebble" in dict(part[0] for part in certificate["issuer"])["commonName"]


def test_the_timer_renews_what_is_due_and_haproxy_shows_it_without_a_restart(host: t.Any, serial: t.Any) -> None:
    assert host.check_output("systemctl is-enabled certbot.timer") == "enabled"
    assert host.check_output("systemctl is-active certbot.timer") == "active"
    assert host.check_output("systemctl show --value -p Triggers certbot.timer") == "certbot.service"
    before, running = serial(), process(host)
    host.check_output("systemctl start certbot.service")
    # It has 90 days.
    assert serial() == before
    host.check_output(f"sed -i '1i renew_before_expiry = 91 days' {LINEAGE}")
    try:
        # Port 80 is HAProxy's, so a renewal comes about only through it.
        host.check_output("systemctl start certbot.service")
    finally:
        host.check_output(f"sed -i '/^renew_before_expiry/d' {LINEAGE}")
    assert until(lambda: serial() != before, 10)
    assert (serial(), process(host)) == (in_place(host), running)


def test_a_timer_that_was_stopped_is_told_before_anything_expires(
    host: t.Any, roots: str, tmp_path: pathlib.Path
) -> None:
    host.check_output("sh -c %s", f"printf %s '{roots}' > /run/roots.pem")
    options = {"ssl_expiry_ca_file": "/run/roots.pem", "ssl_expiry_outside_enabled": False}

    def renewal() -> tuple[int, dict[str, t.Any]]:
        code, output = play("ssl_expiry", matrixon_report_dir=str(tmp_path), ssl_expiry_warning_days=20, **options)
        document = json.loads(next(tmp_path.glob("ssl_expiry-*.json")).read_text())
        found = {check["name"]: check for entry in document["hosts"] for check in entry["checks"]}
        assert found["certificate_served"]["status"] == "ok", output
        return code, found["certificate_renewal"]

    code, told = renewal()
    assert (code, told["status"]) == (0, "ok"), told
    host.check_output("systemctl stop certbot.timer")
    try:
        code, told = renewal()
    finally:
        host.check_output("systemctl start certbot.timer")
    assert code != 0 and told["status"] == "critical" and "certbot.timer" in told["message"], told


def test_a_forced_renewal_is_shown_too(host: t.Any, serial: t.Any) -> None:
    before, running = serial(), process(host)
    host.check_output(RENEW)
    assert until(lambda: serial() != before, 10)
    assert (serial(), process(host)) == (in_place(host), running)


def test_a_renewal_that_is_refused_fails_and_the_old_certificate_stays(host: t.Any, serial: t.Any) -> None:
    before = serial()
    host.check_output("python3 -c %s set-servfail", TELL_DNS)
    try:
        done = host.run(RENEW)
    finally:
        host.check_output("python3 -c %s clear-servfail", TELL_DNS)
    assert done.rc == 1 and "Domain: certbot.test" in done.stdout and "could not resolve" in done.stdout, done
    assert serial() == before == in_place(host)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://refused.test", "issuance is forbidden by policy"),
        ("https://astray.certbot.test", "Domain: astray.certbot.test"),
    ],
)
def test_a_name_without_a_certificate_fails_the_play_and_the_old_one_stays(
    host: t.Any, serial: t.Any, url: str, reason: str
) -> None:
    before, running = serial(), process(host)
    code, output = play(matrixon_public_url=url)
    print(output)
    assert code == 2 and reason in output, output
    assert (serial(), process(host)) == (before, running)


def test_another_name_is_fetched_behind_haproxy_and_shown(host: t.Any, shown: t.Any) -> None:
    running = process(host)
    code, output = play(matrixon_public_url=f"https://{OTHER}")
    assert code == 0, output
    assert until(lambda: names(shown(NAMES[0])) == [NAMES[0], OTHER], 10)
    assert names(shown(OTHER)) == [NAMES[0], OTHER]
    assert process(host) == running


def test_nobody_reads_the_keys(host: t.Any) -> None:
    nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    for path in (f"{TARGET}/privkey.pem", f"{TARGET}/haproxy.pem", "/etc/letsencrypt/live/public/privkey.pem"):
        assert host.run("test -e %s", path).rc == 0
        assert host.run(f"{nobody} cat %s", path).rc != 0


# The last one: this server forgets its accounts when it ends.
def test_without_the_acme_server_all_is_served_as_before(host: t.Any, shown: t.Any) -> None:
    before = shown(NAMES[0])
    host.check_output("systemctl stop pebble")
    code, output = play(matrixon_public_url=f"https://{OTHER}")
    assert code == 0 and "changed=0" in output, output
    code, output = play()
    assert code == 2 and "Connection refused" in output, output
    assert host.run(RENEW).rc == 1
    assert shown(NAMES[0]) == before
