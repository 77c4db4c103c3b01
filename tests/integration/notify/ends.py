"""Ends of channels: they keep what they got, and misbehave as they are told."""

from __future__ import annotations

import email
import email.message
import email.policy
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import time
import typing as t

import servers
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODULE = ROOT / "plugins/modules/matrixon_notify.py"
USERNAME, PASSWORD = "notify", "correct-horse-9f3"


class Receiver:
    """A web server that plays its answers one after the other, and the last one for ever.

    An answer is bytes to say, a script of servers.py, or a function of the request.
    """

    def __init__(self, *answers: t.Any) -> None:
        self.answers = list(answers) or [servers.http_answer(b"ok", content_type="text/plain")]
        self.requests: list[servers.Request] = []
        self._server = servers.Server(self._play)
        self.port = self._server.port
        self.close = self._server.close

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def bodies(self) -> list[t.Any]:
        """What was sent, as JSON."""
        return [json.loads(request.body) for request in self.requests if request.body]

    def _play(self, sock: socket.socket, server: servers.Server) -> None:
        request = _read(sock)
        if request is None:
            return
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        said = answer(request) if callable(answer) else answer
        if said is hang:
            server.stopping.wait(60)
        elif said is drip:
            sock.sendall(b"HTTP/1.1 200 Said\r\nContent-Length: 100000\r\n\r\n")
            while not server.stopping.wait(0.05):
                sock.sendall(b"x")
        elif said is not hang_up:
            sock.sendall(said)


def _read(sock: socket.socket) -> servers.Request | None:
    with sock.makefile("rb") as reader:
        words = reader.readline().decode().split()
        if len(words) != 3:
            return None
        headers = {}
        while line := reader.readline().decode().strip():
            name, _colon, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", 0)))
    return servers.Request(words[0], words[1], headers, body)


def hang(_request: t.Any) -> t.Any:
    """Never answer."""
    return hang


def drip(_request: t.Any) -> t.Any:
    """Answer byte by byte without end."""
    return drip


def hang_up(_request: t.Any) -> t.Any:
    """Close without an answer."""
    return hang_up


def answer(body: t.Any = b"", status: int = 200, **headers: str) -> bytes:
    return servers.http_answer(body, status, **{name.replace("_", "-"): value for name, value in headers.items()})


EVENT = answer({"event_id": "$event"})
SUCCESS = answer({"status": "success", "message": "Event processed"}, 202)


class Pages:
    """A status page with as much of Statuspage's API as a keeper of incidents meets."""

    TOKEN = "page-token-77aa12"

    def __init__(self) -> None:
        self.incidents: list[dict[str, t.Any]] = []
        self.lose_answers = 0
        self.receiver = Receiver(self._answer)
        self.url = self.receiver.url("/v1")
        self.close = self.receiver.close

    def _answer(self, request: servers.Request) -> t.Any:
        if request.headers.get("authorization") != f"OAuth {self.TOKEN}":
            return answer({"error": "Could not authenticate"}, 401)
        path = request.path.partition("?")[0].split("/")
        if path[:4] != ["", "v1", "pages", "page1"]:
            return answer({"error": "Not found"}, 404)
        if request.method == "GET":
            return answer([one for one in self.incidents if one["status"] != "resolved"])
        given = json.loads(request.body)["incident"]
        if request.method == "POST":
            incident = {"id": f"i{len(self.incidents)}", "incident_updates": []}
            self.incidents.append(incident)
        else:
            incident = next(one for one in self.incidents if one["id"] == path[-1])
        body = given.pop("body", None)
        incident.update(given)
        incident["incident_updates"].insert(0, {"body": body, "status": incident["status"]})
        if self.lose_answers:
            self.lose_answers -= 1
            return hang_up
        return answer(incident, 201 if request.method == "POST" else 200)


class MailServer:
    """A real SMTP server, with STARTTLS and a login unless told otherwise."""

    def __init__(self, authority: trustme.CA, starttls: bool = True, refuse: tuple[str, ...] = ()) -> None:
        self.messages: list[email.message.EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.logins: list[tuple[str, str, bool]] = []
        self.refuse = refuse
        context = None
        if starttls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            tls_context=context,
            authenticator=self._login,
            auth_require_tls=starttls,
            auth_required=True,
            ready_timeout=30,
        )
        self._controller.start()
        self.port = self._controller.port
        self.close = self._controller.stop

    def _login(self, _server: t.Any, session: t.Any, _envelope: t.Any, _mechanism: str, data: t.Any) -> AuthResult:
        known = isinstance(data, LoginPassword)
        name, password = (data.login.decode(), data.password.decode()) if known else ("", "")
        self.logins.append((name, password, session.ssl is not None))
        good = (name, password) == (USERNAME, PASSWORD)
        return AuthResult(success=good, handled=good)

    async def handle_RCPT(self, _server: t.Any, _session: t.Any, envelope: t.Any, address: str, _options: t.Any) -> str:
        if address in self.refuse:
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: t.Any, _session: t.Any, envelope: t.Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.messages.append(t.cast(email.message.EmailMessage, message))
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 taken"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def start(check_mode: bool = False, **options: t.Any) -> subprocess.Popen[str]:
    """Start the module as Ansible does: a process of its own, options on standard input."""
    base = {
        "target": "controller",
        "deployment": "example.test",
        "profile": "synapse",
        "key": "dr_failover/example.test",
        "state": "started",
        "severity": "critical",
        "incident": "open",
        "subject": "The failover of example.test has started",
        "text": "Users cannot send messages.",
        "timeout": 20,
    }
    path = str(ROOT / ".build/collections")
    process = subprocess.Popen(
        [sys.executable, str(MODULE)],
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {**base, **options, "_ansible_check_mode": check_mode}}))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[str]) -> dict[str, t.Any]:
    """What the module said, with all of it in ``output``."""
    out, errors = process.communicate(timeout=90)
    assert out.strip(), errors
    document = json.loads(out)
    document["output"] = out + errors
    document["by_name"] = {one["channel"]: one for one in document.get("results", [])}
    return t.cast("dict[str, t.Any]", document)


def notify(check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
    return finish(start(check_mode, **options))


def statuses(document: dict[str, t.Any]) -> dict[str, str]:
    assert "results" in document, document
    return {name: one["status"] for name, one in document["by_name"].items()}


def wait_for(what: t.Callable[[], t.Any], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)
