"""A small Matrix client for the lab and the tests: one kept connection per thread."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
import time
from urllib.parse import quote, urlencode

from lab.config import PUBLIC_NAME, Lab

# A server closes what was idle for longer; what is asked then would be lost.
KEEP_S = 5


class MatrixError(Exception):
    def __init__(self, status: int, errcode: str, message: str) -> None:
        super().__init__(f"{status} {errcode} {message}".strip())
        self.status = status
        self.errcode = errcode


class _Mapped(http.client.HTTPSConnection):
    """Speaks to a name at a given address, and still checks the name's certificate."""

    def __init__(self, name: str, address: tuple[str, int], context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(name, timeout=timeout, context=context)
        self._address = address

    def connect(self) -> None:
        plain = socket.create_connection(self._address, self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)


class Client:
    """Calls to one address: over TLS as `name`, or in the clear where there is no `ca`."""

    def __init__(self, address: tuple[str, int], name: str = "", ca: str = "", timeout: float = 30) -> None:
        self._address, self._name, self._timeout = address, name, timeout
        self._context = ssl.create_default_context(cafile=ca) if ca else None
        self._local = threading.local()

    def _connection(self) -> http.client.HTTPConnection:
        known = getattr(self._local, "connection", None)
        if known is None or time.monotonic() - self._local.used > KEEP_S:
            if self._context is not None:
                known = _Mapped(self._name, self._address, self._context, self._timeout)
            else:
                known = http.client.HTTPConnection(*self._address, timeout=self._timeout)
            self._local.connection = known
        self._local.used = time.monotonic()
        return known

    def raw(self, method: str, path: str, body: bytes | None, headers: dict) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            self._local.used = time.monotonic()
            return answer.status, content
        except (OSError, http.client.HTTPException):
            connection.close()
            self._local.connection = None
            raise

    def call(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: object = None,
        query: dict | None = None,
        content_type: str = "application/json",
    ) -> dict:
        headers = {"Content-Type": content_type}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if query:
            path += "?" + urlencode(query)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        elif body is None and method in {"POST", "PUT"}:
            body = b"{}"
        status, answer = self.raw(method, path, body, headers)
        try:
            document = json.loads(answer)
        except ValueError:
            document = {"error": answer[:200].decode(errors="replace")}
        if status != 200:
            raise MatrixError(status, document.get("errcode", ""), document.get("error", ""))
        return document

    # The few calls that the lab and the tests make.
    def register(self, secret: str, user: str, password: str, admin: bool) -> dict:
        path = "/_synapse/admin/v1/register"
        nonce = self.call("GET", path)["nonce"]
        words = (nonce, user, password, "admin" if admin else "notadmin")
        mac = hmac.new(secret.encode(), "\0".join(words).encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": user, "password": password, "admin": admin, "mac": mac}
        return self.call("POST", path, body=body)

    def login(self, user: str, password: str) -> dict:
        identifier = {"type": "m.id.user", "user": user}
        body = {"type": "m.login.password", "identifier": identifier, "password": password}
        return self.call("POST", "/_matrix/client/v3/login", body=body)

    def send(self, token: str, room: str, txn: str, content: dict) -> str:
        path = f"/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/{quote(txn)}"
        return self.call("PUT", path, token, content)["event_id"]

    def latest(self, token: str, room: str, limit: int = 10) -> list[dict]:
        """Reads the database: /messages is not cached as an initial /sync is."""
        path = f"/_matrix/client/v3/rooms/{quote(room)}/messages"
        return self.call("GET", path, token, query={"dir": "b", "limit": limit})["chunk"]

    def upload(self, token: str, name: str, kind: str, data: bytes) -> str:
        path, query = "/_matrix/media/v3/upload", {"filename": name}
        return self.call("POST", path, token, data, query, content_type=kind)["content_uri"]


def of_lab(lab: Lab, service: str = "haproxy", timeout: float = 30) -> Client:
    """A client of the lab's public name, or of one of its processes."""
    address = ("127.0.0.1", lab.ports["https" if service == "haproxy" else service])
    if service == "haproxy":
        return Client(address, PUBLIC_NAME, str(lab.ca / "ca.pem"), timeout)
    return Client(address, timeout=timeout)
