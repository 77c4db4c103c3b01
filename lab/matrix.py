"""A small Matrix client: one kept connection per thread, names mapped to loopback."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
from urllib.parse import quote, urlencode

from lab.config import PUBLIC_NAME, Lab


class MatrixError(Exception):
    def __init__(self, status: int, errcode: str, message: str) -> None:
        super().__init__(f"{status} {errcode} {message}".strip())
        self.status = status
        self.errcode = errcode


class _Mapped(http.client.HTTPSConnection):
    """Speaks to a public name at another address, and still checks the name's certificate."""

    def __init__(self, port: int, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(PUBLIC_NAME, timeout=timeout, context=context)
        self._address = ("127.0.0.1", port)

    def connect(self) -> None:
        plain = socket.create_connection(self._address, self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)


class Client:
    def __init__(self, lab: Lab, service: str = "haproxy", timeout: float = 30) -> None:
        self._timeout = timeout
        self._local = threading.local()
        if service == "haproxy":
            self._port = lab.ports["https"]
            self._context = ssl.create_default_context(cafile=str(lab.ca / "ca.pem"))
        else:
            self._port = lab.ports[service]
            self._context = None

    def _connection(self) -> http.client.HTTPConnection:
        known = getattr(self._local, "connection", None)
        if known is None:
            if self._context is not None:
                known = _Mapped(self._port, self._context, self._timeout)
            else:
                known = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)
            self._local.connection = known
        return known

    def raw(self, method: str, path: str, body: bytes | None, headers: dict) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
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

    # The few calls that the lab makes
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
