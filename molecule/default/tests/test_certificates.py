"""What is shown to clients, and who may read the keys."""

from __future__ import annotations

import pathlib
import socket
import ssl
import time
import typing as t

import pytest

KEYS = {"lb1": "/etc/ssl/matrixon/public", "db1": "/etc/ssl/matrixon/internal", "db2": "/etc/ssl/matrixon/internal"}


def serial(ca: str, address: tuple[str, int], name: str) -> str:
    """Return the serial number of the certificate that a server shows by a name."""
    plain = socket.create_connection(address, timeout=10)
    with ssl.create_default_context(cafile=ca).wrap_socket(plain, server_hostname=name) as secure:
        return secure.getpeercert()["serialNumber"]


@pytest.mark.parametrize("name", KEYS)
def test_nobody_reads_a_key_and_its_service_does(server: t.Any, name: str) -> None:
    host, directory = server(name), KEYS[name]
    for user, code in (("nobody", 1), ("postgres" if name != "lb1" else "root", 0)):
        assert host.run(f"sudo -u {user} cat {directory}/privkey.pem").rc == code, user
    assert host.run(f"find {directory} -perm /o=r -name '*key*' -o -perm /o=r -name haproxy.pem").stdout == ""


def test_the_key_of_the_ca_is_on_no_host(server: t.Any, ca: str) -> None:
    secret = pathlib.Path(ca).with_name("ca.key").read_text().splitlines()[1]
    for name in ("lb1", "hs1", "db1", "cache1"):
        assert server(name).run(f"grep -rlsF {secret} /etc /var/lib /home /tmp").stdout == ""


def test_a_new_certificate_is_shown_without_a_restart(server: t.Any, playbook: t.Any, ca: str, until: t.Any) -> None:
    def processes() -> list[str]:
        units = (("lb1", "haproxy"), ("db1", "postgresql@17-main"))
        return [server(name).check_output("systemctl show --value -p MainPID %s", unit) for name, unit in units]

    edge = ("172.30.10.11", 443)
    before, running = serial(ca, edge, "matrix.fleet.test"), processes()
    # Whatever is left of the old one, it is not enough now.
    ends = (
        server("lb1").check_output("openssl x509 -noout -enddate -in %s/fullchain.pem", KEYS["lb1"]).partition("=")[2]
    )
    left = int((ssl.cert_time_to_seconds(ends) - time.time()) / 86400) + 2
    run = playbook(
        "certificates", "-e", f"certificates_lab_days={left + 10}", "-e", f"certificates_renew_before={left}"
    )
    assert run.code == 0, run.output
    assert until(lambda: serial(ca, edge, "matrix.fleet.test") != before, 10)
    assert serial(ca, edge, "fleet.test") == serial(ca, edge, "matrix.fleet.test")
    assert processes() == running
    # PostgreSQL shows its new one, too: the file and what is served agree.
    show = "openssl s_client -starttls postgres -connect 172.30.10.31:5432 </dev/null 2>/dev/null"
    read = "openssl x509 -noout -serial"
    shown = server("db1").check_output(f"{show} | {read}")
    assert shown == server("db1").check_output(f"{read} -in {KEYS['db1']}/fullchain.pem")
