"""A witness for tests: Debian's etcd on loopback, with TLS, a root user and one user for each deployment."""

from __future__ import annotations

import pathlib
import signal
import socket
import ssl
import subprocess
import time
import typing as t

import trustme

from ansible_collections.matrixon.ops.plugins.module_utils._dr import access, witness

USER, PASSWORD, ROOT_PASSWORD = "guard", "a-good-password", "a-root-password"
SERVER_NAME = "example.org"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Etcd:
    """One member, which can be stopped, hung and started again."""

    def __init__(self, base: pathlib.Path) -> None:
        self.base, self.port, self.peer_port = base, free_port(), free_port()
        ca = trustme.CA()
        server = ca.issue_cert("127.0.0.1", "localhost")
        self.ca_file = base / "ca.pem"
        ca.cert_pem.write_to_path(str(self.ca_file))
        server.private_key_pem.write_to_path(str(base / "key.pem"))
        (base / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        argv = ["etcd", "--name=witness", f"--data-dir={self.base}/data", "--unsafe-no-fsync"]
        argv += [f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}"]
        argv += [f"--listen-peer-urls=http://127.0.0.1:{self.peer_port}"]
        argv += [f"--initial-advertise-peer-urls=http://127.0.0.1:{self.peer_port}"]
        argv += [f"--initial-cluster=witness=http://127.0.0.1:{self.peer_port}"]
        argv += [f"--cert-file={self.base}/cert.pem", f"--key-file={self.base}/key.pem", "--bcrypt-cost=4"]
        # The journal of the last start is kept with those before it.
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/")
        self.await_answer()

    def await_answer(self) -> None:
        """Wait until it takes requests; a leader must have been found."""
        end = time.monotonic() + 60
        while True:
            try:
                context = ssl.create_default_context(cafile=str(self.ca_file))
                with (
                    socket.create_connection(("127.0.0.1", self.port), 5) as raw,
                    context.wrap_socket(raw, server_hostname="127.0.0.1") as sock,
                ):
                    sock.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                    if b'"health":"true"' in sock.makefile("rb").read():
                        return
            except OSError:
                pass
            assert time.monotonic() < end, (self.base / "log").read_text()[-3000:]
            time.sleep(0.05)

    def root(self) -> witness.Client:
        return self.client("root", ROOT_PASSWORD)

    def secure(self) -> None:
        """Make the users and switch authentication on."""
        access.hold(self.root(), self.client(), witness.Deadline(30), write=True)

    def settings(self, user: str = USER, password: str = PASSWORD, **changes: t.Any) -> witness.Settings:
        values: dict[str, t.Any] = {
            "endpoints": (witness.parse_endpoint(self.url),),
            "server_name": SERVER_NAME,
            "user": user,
            "password": password,
            "ca_file": str(self.ca_file),
        }
        return witness.Settings(**{**values, **changes})

    def client(self, user: str = USER, password: str = PASSWORD, **changes: t.Any) -> witness.Client:
        return witness.Client(self.settings(user, password, **changes))

    def hang(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(30)
            self.process = None
