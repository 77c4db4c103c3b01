"""A repository server: it speaks restic's REST protocol and asks for a name and a password."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import pathlib
import threading
import typing as t

KINDS = ("data", "keys", "locks", "snapshots", "index")


class Handler(http.server.BaseHTTPRequestHandler):
    """Files below a directory, by GET, HEAD, POST and DELETE."""

    root: pathlib.Path
    credentials: str
    protocol_version = "HTTP/1.1"

    def _answer(self, code: int, content: bytes = b"", kind: str = "application/octet-stream") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _path(self) -> pathlib.Path | None:
        wanted = "Basic " + base64.b64encode(self.credentials.encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self._answer(401)
            return None
        parts = [part for part in self.path.partition("?")[0].split("/") if part]
        assert ".." not in parts
        return self.root.joinpath(*parts)

    def do_GET(self) -> None:
        path = self._path()
        if path is None:
            return
        if path.is_dir() and self.path.endswith("/"):
            entries = [{"name": file.name, "size": file.stat().st_size} for file in path.iterdir()]
            self._answer(200, json.dumps(entries).encode(), "application/vnd.x.restic.rest.v2")
        elif not path.is_file():
            self._answer(404)
        else:
            content = path.read_bytes()
            if wanted := self.headers.get("Range"):
                first, dummy, last = wanted.removeprefix("bytes=").partition("-")
                self._answer(206, content[int(first) : int(last) + 1 if last else None])
            else:
                self._answer(200, content)

    def do_HEAD(self) -> None:
        path = self._path()
        if path is None:
            return
        if not path.is_file():
            self._answer(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = self._path()
        if path is None:
            return
        if self.path.endswith("create=true"):
            for kind in KINDS:
                (path / kind).mkdir(parents=True, exist_ok=True)
        else:
            path.write_bytes(content)
        self._answer(200)

    def do_DELETE(self) -> None:
        path = self._path()
        if path is not None:
            path.unlink()
            self._answer(200)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(root: pathlib.Path, credentials: str) -> t.Iterator[int]:
    """Serve a directory on a port of loopback."""
    handler = type("Bound", (Handler,), {"root": root, "credentials": credentials})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
