"""What lies between a client and the witness: it lets pass, hangs, drips, or is cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

PASS, HANG, DRIP, CUT = "pass", "hang", "drip", "cut"


class Proxy:
    """Forwards each connection as its mode says. A new mode holds for what is open, too."""

    def __init__(self, port: int) -> None:
        self.target, self.mode = port, PASS
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.mode = CUT
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.mode == CUT:
                return
            with socket.create_connection(("127.0.0.1", self.target), 10) as server:
                server.settimeout(None)
                back = threading.Thread(target=self._pump, args=[server, client, True], daemon=True)
                back.start()
                self._pump(client, server, False)
                back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while self.mode == HANG:
                    time.sleep(0.02)
                if self.mode == CUT:
                    break
                if self.mode == DRIP and answers:
                    self._drip(data, sink)
                else:
                    sink.sendall(data)
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)
                source.shutdown(socket.SHUT_RDWR)

    def _drip(self, data: bytes, sink: socket.socket) -> None:
        for place in range(len(data)):
            if self.mode != DRIP:
                sink.sendall(data[place:])
                return
            sink.sendall(data[place : place + 1])
            time.sleep(0.05)
