"""Small servers on loopback, each with one fault. One process, a thread for each open connection."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import selectors
import socket
import ssl
import struct
import threading
import time
import typing as t
import warnings

from authority import Made, key_pem, pem

Serve = t.Callable[[socket.socket], None]
LOOPBACK = "127.0.0.1"
# Without this OpenSSL itself would refuse to serve small keys, old hashes and TLS 1.0.
ANYTHING = "DEFAULT:@SECLEVEL=0"


class Farm:
    """Listeners that one thread accepts for."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.ended = threading.Event()
        self._numbers = itertools.count(1)
        self._selector = selectors.DefaultSelector()
        self._held: list[socket.socket] = []
        self._wake, woken = socket.socketpair()
        self._held += [self._wake, woken]
        self._selector.register(woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def serve(self, serve: Serve, address: str = LOOPBACK, port: int = 0) -> int:
        """Listen, answer each connection as told, and return the port."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, port), family=family, backlog=256)
        self._held.append(listener)
        self._selector.register(listener, selectors.EVENT_READ, serve)
        self._wake.send(b"!")
        return int(listener.getsockname()[1])

    def closed(self) -> int:
        """Return a port on which nothing listens, and keep others from it."""
        holder = socket.socket()
        holder.bind((LOOPBACK, 0))
        self._held.append(holder)
        return int(holder.getsockname()[1])

    def silent(self) -> int:
        """Accept and never say a word."""

        def serve(_connection: socket.socket) -> None:
            self.ended.wait()

        return self.serve(serve)

    def drip(self, made: Made) -> int:
        """Do a true handshake, one byte at a time: each comes before a timeout, the last never."""
        server = context(self.file(made))

        def serve(connection: socket.socket) -> None:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            incoming.write(connection.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                server.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
            for byte in outgoing.read():
                connection.send(bytes([byte]))
                if self.ended.wait(0.2):
                    return

        return self.serve(serve)

    def tls(self, made: Made, **settings: t.Any) -> int:
        return self.serve(tls(context(self.file(made), **settings)))

    def file(self, made: Made) -> str:
        """Write a certificate, what is sent with it and its key as a server reads them."""
        path = self.directory / f"server-{next(self._numbers)}.pem"
        path.write_bytes(key_pem(made.key) + pem(*made.sent))
        return str(path)

    def stop(self) -> None:
        self.ended.set()
        self._wake.send(b"!")
        self._thread.join()
        self._selector.close()
        for held in self._held:
            held.close()

    def _accept(self) -> None:
        while not self.ended.is_set():
            for key, _events in self._selector.select():
                if key.data is None:
                    t.cast(socket.socket, key.fileobj).recv(1)
                    continue
                connection = t.cast(socket.socket, key.fileobj).accept()[0]
                threading.Thread(target=self._answer, args=(key.data, connection), daemon=True).start()

    def _answer(self, serve: Serve, connection: socket.socket) -> None:
        # What a client does is its own affair: many of them hang up in the midst.
        with contextlib.suppress(OSError), connection:
            serve(connection)


def context(
    path: str,
    *,
    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    highest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    mutual: bool = False,
) -> ssl.SSLContext:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_ciphers(ANYTHING)
    with warnings.catch_warnings():
        # That some of them are old is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        server.minimum_version, server.maximum_version = lowest, highest
    server.load_cert_chain(path)
    if mutual:
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(path)
    return server


def tls(server: ssl.SSLContext, delay: float = 0) -> Serve:
    """Shake hands, perhaps after a while, and stay until the client leaves."""

    def serve(connection: socket.socket) -> None:
        time.sleep(delay)
        with server.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(1)

    return serve


def by_name(default: ssl.SSLContext, others: dict[str, ssl.SSLContext]) -> Serve:
    """Show the certificate of the name that was asked for."""

    def choose(sock: t.Any, name: str | None, _context: ssl.SSLContext) -> None:
        sock.context = others.get(name or "", default)

    default.sni_callback = choose
    return tls(default)


def plain_http(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n")
    connection.recv(65536)


def ssh(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
    connection.recv(65536)


def reset(connection: socket.socket) -> None:
    """Cut the connection with a reset, not with an end."""
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closes_after_hello(connection: socket.socket) -> None:
    connection.recv(65536)


def smtp(server: ssl.SSLContext | None, greeting: bytes = b"220 mail.farm.test ESMTP\r\n") -> Serve:
    """A mail server; without a context it knows no STARTTLS."""

    def serve(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        connection.sendall(greeting)
        for line in lines:
            word = line.split()[0].upper()
            if word == b"EHLO":
                more = b"250-STARTTLS\r\n" if server else b""
                connection.sendall(b"250-mail.farm.test\r\n250-SIZE 1000\r\n" + more + b"250 HELP\r\n")
            elif word == b"STARTTLS" and server:
                connection.sendall(b"220 go ahead\r\n")
                tls(server)(connection)
                return
            elif word == b"STARTTLS":
                connection.sendall(b"502 command not implemented\r\n")
            else:
                connection.sendall(b"221 bye\r\n")
                return

    return serve


def imap(server: ssl.SSLContext | None) -> Serve:
    """A mailbox server; without a context it refuses STARTTLS."""

    def serve(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        connection.sendall(b"* OK IMAP4rev1 farm.test ready\r\n")
        for line in lines:
            tag, word = line.split()[:2]
            if word.upper() == b"CAPABILITY":
                more = b" STARTTLS" if server else b""
                connection.sendall(b"* CAPABILITY IMAP4rev1" + more + b"\r\n" + tag + b" OK done\r\n")
            elif word.upper() == b"STARTTLS" and server:
                connection.sendall(tag + b" OK begin\r\n")
                tls(server)(connection)
                return
            else:
                connection.sendall(tag + b" BAD not here\r\n")

    return serve


def endless_greeting(connection: socket.socket) -> None:
    """A mail server whose greeting has no end: what is read must be capped."""
    while True:
        connection.sendall(b"220-" + b"x" * 4000 + b"\r\n")


def postgresql_without_tls(connection: socket.socket) -> None:
    """What a PostgreSQL with ssl = off says to SSLRequest."""
    if connection.recv(8) == struct.pack("!II", 8, 80877103):
        connection.sendall(b"N")
        connection.recv(1)


def without_rights(*argv: str) -> list[str]:
    """Run as root, but without root's right to read every file."""
    if os.geteuid() != 0:
        return list(argv)
    return ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search", *argv]
