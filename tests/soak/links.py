"""What lies between two ends, who writes over it, and who keeps a guard running."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
import typing as t

PASS, HANG, CUT, SLOW = "pass", "hang", "cut", "slow"
# Seconds between two writes, and for the answer to one.
EVERY, PATIENCE = 0.03, 1.0


class Link:
    """Forwards connections to one place. What hangs is delivered when it is healed, as TCP would do."""

    def __init__(self, connect: t.Callable[[], socket.socket]) -> None:
        self._connect = connect
        self.mode, self.delay = PASS, 0.0
        # When the place gave its last answer, by the port of who asked: before anything delays it here.
        self.answered: dict[int, float] = {}
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def set(self, mode: str, delay: float = 0.0) -> None:
        """Let all connections be so, those that are open, too."""
        self.mode, self.delay = mode, delay
        if mode == CUT:
            for sock in list(self._open):
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.set(CUT)
        # A thread that waits in accept is not woken by a close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[client, int(address[1])], daemon=True).start()

    def _serve(self, client: socket.socket, asker: int) -> None:
        with client, contextlib.suppress(OSError):
            if not self._may_pass():
                return
            with self._connect() as server:
                both = {client, server}
                self._open |= both
                back = threading.Thread(target=self._pump, args=[server, client, asker], daemon=True)
                back.start()
                self._pump(client, server, None)
                back.join()
                self._open -= both

    def _may_pass(self) -> bool:
        """Wait as long as the link wants; say no if it is cut."""
        if self.mode == SLOW:
            time.sleep(self.delay)
        while self.mode == HANG:
            time.sleep(0.02)
        return self.mode != CUT

    def _pump(self, source: socket.socket, sink: socket.socket, asker: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if asker is not None:
                    self.answered[asker] = time.monotonic()
                if not self._may_pass():
                    break
                sink.sendall(data)
        for sock in (sink, source):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class Session:
    """A session in PostgreSQL's own words: libpq knows no deadline for an answer."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._sock.makefile("rb")
        self.asker = int(self._sock.getsockname()[1])
        words = b"user\0postgres\0database\0postgres\0\0"
        self._sock.sendall(struct.pack("!ii", len(words) + 8, 3 << 16) + words)
        self._answer()

    def done(self, statement: str) -> bool:
        """Say whether the server acknowledged a statement."""
        text = statement.encode() + b"\0"
        self._sock.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
        kinds = self._answer()
        return b"C" in kinds and b"E" not in kinds

    def _answer(self) -> list[bytes]:
        kinds = []
        while b"Z" not in kinds:
            kinds.append(self._read(1))
            self._read(struct.unpack("!i", self._read(4))[0] - 4)
        return kinds

    def _read(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise OSError("the session has ended")
        return data

    def close(self) -> None:
        self._file.close()
        self._sock.close()


class Ack(t.NamedTuple):
    """A write that was acknowledged, and when the server did that."""

    name: str
    at: float


class Writer(threading.Thread):
    """Tries to write all the time, and remembers what was acknowledged."""

    def __init__(self, region: str, link: Link) -> None:
        super().__init__(daemon=True)
        self._region, self._link = region, link
        self._ended = threading.Event()
        self.acks: list[Ack] = []
        self.tries = 0
        self.start()

    def run(self) -> None:
        session: Session | None = None
        while not self._ended.wait(EVERY):
            self.tries += 1
            try:
                session = session or Session(self._link.port)
                name = f"{self._region}-{self.tries}"
                if session.done(f"INSERT INTO messages (body) VALUES ('{name}')"):
                    self.acks.append(Ack(name, self._link.answered[session.asker]))
            except OSError:
                if session:
                    session.close()
                session = None
        if session:
            session.close()

    def end(self) -> None:
        self._ended.set()
        self.join(30)


class Guarded(t.Protocol):
    """A host whose guard can be started."""

    environment: dict[str, str]
    guard: t.Any

    def begin(self) -> None: ...


class Supervisor(threading.Thread):
    """Does for a guard what its unit says: starts it again, and kills it when it no longer says that it lives."""

    def __init__(self, host: Guarded, path: str, watchdog: float | None) -> None:
        super().__init__(daemon=True)
        self._host, self._watchdog = host, watchdog
        self._ended = threading.Event()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(path)
        self._sock.settimeout(0.2)
        host.environment["NOTIFY_SOCKET"] = path
        self.restarts = 0
        host.begin()
        self.start()

    def run(self) -> None:
        heard = time.monotonic()
        while not self._ended.is_set():
            with contextlib.suppress(socket.timeout):
                if b"WATCHDOG=1" in self._sock.recv(4096):
                    heard = time.monotonic()
            if self._watchdog and time.monotonic() - heard > self._watchdog:
                self.signal(signal.SIGKILL)
            # RestartSec of the unit.
            if self._host.guard.poll() is not None and not self._ended.wait(1):
                self._host.begin()
                self.restarts += 1
                heard = time.monotonic()

    def signal(self, number: int) -> int:
        """Send a signal to the guard, and return which process it was."""
        pid = int(self._host.guard.pid)
        if self._host.guard.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid

    def end(self) -> None:
        self._ended.set()
        self.join(30)
        self.signal(signal.SIGKILL)
        self._host.guard.wait(30)
        self._sock.close()
