"""A real PostgreSQL that speaks TLS."""

from __future__ import annotations

import os
import pathlib
import pwd
import socket

from authority import Made, key_pem, pem
from clusters import USER, Cluster


def start(base: pathlib.Path, major: int, made: Made | None) -> Cluster:
    """Start a server on loopback that serves this certificate, or no TLS at all."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Cluster(base, major, port)
    server.make()
    lines = ["listen_addresses = '127.0.0.1'", "shared_preload_libraries = ''"]
    if made:
        _write(server.data / "server.crt", pem(*made.sent))
        _write(server.data / "server.key", key_pem(made.key))
        lines.append("ssl = 'on'")
    with open(server.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    server.start()
    return server


def _write(path: pathlib.Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    owner = pwd.getpwnam(USER)
    os.chown(path, owner.pw_uid, owner.pw_gid)
