# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""HTTP under one total deadline, with capped bodies and JSON that is checked.

Ansible's own ``open_url`` takes a timeout per read: against a server that
drips one byte a second it never ends. That is why this exists.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import ssl
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, REFUSED, Deadline, ProbeFailure

MAX_BODY = 1024 * 1024
USER_AGENT = "matrixon.ops"


class Url(t.NamedTuple):
    """A URL that has been checked."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Return the Host header's value."""
        default = {"http": 80, "https": 443}[self.scheme]
        bracketed = f"[{self.host}]" if ":" in self.host else self.host
        return bracketed if self.port == default else f"{bracketed}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(text: str) -> Url:
    """Return the parts of an http or https URL; raise ValueError with the way out."""
    if any(not "!" <= letter <= "~" for letter in text):
        raise ValueError("a URL has ASCII letters only and no space")
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("a URL starts with http:// or https://")
    if not parts.hostname:
        raise ValueError("the URL names no host")
    if parts.username or parts.password:
        raise ValueError("a URL must not carry a user or password")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("the port must be between 1 and 65535") from error
    if port == 0:
        raise ValueError("the port must be between 1 and 65535")
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path
    return Url(parts.scheme, parts.hostname, port or {"http": 80, "https": 443}[parts.scheme], path)


@dataclass(frozen=True)
class Response:
    """A finished answer. ``elapsed_ms`` counts from the first packet to the last byte."""

    url: str
    status: int
    content_type: str
    body: bytes
    elapsed_ms: float
    address: str
    location: str | None = None
    cache_control: str | None = None
    expires: str | None = None
    retry_after: str | None = None
    date: str | None = None

    def json(self) -> t.Any:
        """Return the body as JSON, or fail saying what it was instead."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            kind = self.content_type or "no content type"
            raise ProbeFailure(
                PARSE, f"{self.url} answered {self.status} with {kind} that is not JSON: {self.excerpt()}"
            ) from error

    def excerpt(self, length: int = 60) -> str:
        """Return the start of the body on one line."""
        text = " ".join(self.body.decode("utf-8", "replace").split())
        return repr(text[:length] + ("..." if len(text) > length else ""))

    def matrix_error(self) -> str:
        """Return the Matrix error code and text of an error answer, or its start."""
        try:
            document = json.loads(self.body)
            return f"{document['errcode']}: {document.get('error', '')}".rstrip(": ")
        except (ValueError, KeyError, TypeError):
            return self.excerpt()


# Options of a module that become those of HttpClient. The documentation fragment _https describes them.
HTTPS_SPEC: dict[str, t.Any] = {
    "connect_to": {"type": "dict", "default": {}},
    "ca_file": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
}


@dataclass(frozen=True)
class HttpClient:
    """How to reach HTTP servers from here.

    ``connect_to`` maps "host:port" to another "host:port" that is connected to
    in its stead; name checks and the Host header keep the first. ``resolve`` is
    asked for addresses in place of the system.
    """

    connect_to: t.Mapping[str, str] = field(default_factory=dict)
    ca_file: str | None = None
    validate_certs: bool = True
    resolve: t.Callable[[str, int, Deadline], list[_net.Address]] | None = None

    def request(
        self,
        method: str,
        url: str,
        deadline: Deadline,
        *,
        token: str | None = None,
        headers: t.Mapping[str, str] | None = None,
        body: t.Any = None,
        address: _net.Address | None = None,
        host: str | None = None,
        max_body: int = MAX_BODY,
    ) -> Response:
        """Send one request and read its whole answer before the deadline.

        ``address`` is connected to, and ``host`` is the Host header, where they
        are not those of the URL. A failure whose facts say ``sent`` came when
        the server may have done what it was asked.
        """
        target = parse_url(url)
        started = deadline.elapsed()
        peer = f"{target.scheme}://{target.authority}"
        sock = _net.connect_address(address, deadline, peer) if address else self._connect(target, deadline, peer)
        if target.scheme == "https":
            context = tls_context(self.ca_file, self.validate_certs)
            sock = _net.start_tls(sock, target.host, context, deadline, peer)
        with _net.Stream(sock, peer, deadline) as stream, _marked_as_sent():
            stream.send(_encode(method, target, host or target.authority, token, headers or {}, body))
            response = http.client.HTTPResponse(t.cast(t.Any, stream), method=method)
            try:
                response.begin()
                content = response.read(max_body + 1)
            except http.client.RemoteDisconnected as error:
                raise ProbeFailure(REFUSED, f"{peer}: the connection was closed without an answer") from error
            except http.client.HTTPException as error:
                raise ProbeFailure(PARSE, f"{peer}: the answer is not HTTP ({_net.reason(error)})") from error
            finally:
                response.close()
        if len(content) > max_body:
            raise ProbeFailure(PARSE, f"{target}: the answer is larger than {max_body} bytes", {"sent": True})
        return Response(
            url=str(target),
            status=response.status,
            content_type=response.headers.get_content_type() if response.headers.get("Content-Type") else "",
            body=content,
            elapsed_ms=(deadline.elapsed() - started) * 1000,
            address=str(address or target.authority),
            location=response.headers.get("Location"),
            cache_control=response.headers.get("Cache-Control"),
            expires=response.headers.get("Expires"),
            retry_after=response.headers.get("Retry-After"),
            date=response.headers.get("Date"),
        )

    def endpoint(self, host: str, port: int) -> tuple[str, int]:
        """Return where a host and port are really connected to."""
        wanted = _net.join_host_port(host, port).lower()
        other = next((other for source, other in self.connect_to.items() if source.lower() == wanted), None)
        if other is None:
            return host, port
        name, _colon, number = other.rpartition(":")
        return name.strip("[]"), int(number)

    def addresses(self, url: str) -> list[_net.Address]:
        """Return every address behind a URL."""
        target = parse_url(url)
        return _net.resolve(*self.endpoint(target.host, target.port))

    def _connect(self, target: Url, deadline: Deadline, peer: str) -> t.Any:
        host, port = self.endpoint(target.host, target.port)
        if self.resolve is None:
            return _net.connect(host, port, deadline, peer)
        return _net.connect_first(self.resolve(host, port, deadline), deadline, peer)


@functools.cache
def tls_context(ca_file: str | None, validate_certs: bool) -> ssl.SSLContext:
    """Return one context per trust setting: loading the anchors is the slow part."""
    context = ssl.create_default_context(cafile=ca_file)
    # On by itself from Python 3.13 on: verdicts must not differ with the Python of a host.
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def _marked_as_sent() -> t.Iterator[None]:
    try:
        yield
    except ProbeFailure as failure:
        failure.facts["sent"] = True
        raise


def _encode(method: str, target: Url, host: str, token: str | None, headers: t.Mapping[str, str], body: t.Any) -> bytes:
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"{method} {target.path or '/'} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: {USER_AGENT}",
        "Accept: application/json",
        "Connection: close",
    ]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + content
