"""Two regions as their operator and their users meet them."""

from __future__ import annotations

import contextlib
import email
import http.client
import http.server
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t

import dns.exception
import dns.resolver
import yaml
from aiosmtpd.controller import Controller

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lab.matrix import Client, MatrixError  # noqa: E402

NAME, PUBLIC = "dr.test", "matrix.dr.test"
CA = ROOT / ".build/molecule/ca-dr/ca.pem"
VARIABLES = yaml.safe_load((ROOT / "molecule/dr_failover/group_vars/all.yml").read_text())
REGIONS = {"one": ("lb1", "hs1", "db1"), "two": ("lb2", "hs2", "db2")}
EDGES = {"one": "172.30.60.11", "two": "172.30.60.12"}
DATABASES = {"one": "db1", "two": "db2"}
PLAYBOOK_TIMEOUT_S = 600
# Connections that are kept, and found to lead nowhere when a region was lost.
SSH = "-o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=2 -o ServerAliveCountMax=2"
# What the hosts, and this machine, have as addresses.
CONTROLLER = "controller"
ADDRESSES = {"lb1": 11, "lb2": 12, "hs1": 21, "hs2": 22, "db1": 31, "db2": 32, "third": 51, CONTROLLER: 1}


def until(condition: t.Callable[[], t.Any], seconds: float, what: str) -> t.Any:
    """Wait for a condition, and return what it says."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return found


# Hosts


def container(host: str) -> str:
    return f"matrixon-ops-dr_failover-{host}"


def docker(*words: str, check: bool = True, timeout: float = 60) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


def on(host: str, *argv: str, check: bool = True) -> str:
    """Run a command on a host, whatever its network does."""
    return docker("exec", container(host), *argv, check=check)


def sql(host: str, query: str, database: str = "synapse", check: bool = True) -> str:
    argv = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-d", database, "-c", query]
    return on(host, *argv, check=check)


def active(host: str, unit: str) -> bool:
    return on(host, "systemctl", "is-active", unit, check=False) == "active"


def start(*hosts: str) -> None:
    """Switch hosts on again, with what a container lacks against a machine of its own."""
    for host in hosts:
        docker("start", container(host))
    for host in hosts:
        until(
            lambda host=host: on(host, "systemctl", "is-system-running", check=False) in ("running", "degraded"),
            60,
            f"{host} is up",
        )
        on(host, "mount", "-o", "remount,rw", "/proc/sys")


@contextlib.contextmanager
def cut_off(inside: t.Collection[str], outside: t.Collection[str] | None = None) -> t.Iterator[None]:
    """Let hosts reach nobody but each other until the end, or everybody but those outside."""
    if outside is None:
        outside = ADDRESSES.keys() - inside
    numbers = [ADDRESSES[host] for host in outside]
    routes = [f"172.30.60.{number}/32" for number in numbers] + [f"fd00:30:60::{number}/128" for number in numbers]

    def change(verb: str) -> None:
        for host in inside:
            script = "".join(f"route {verb} blackhole {route}\n" for route in routes)
            done = subprocess.run(
                ["docker", "exec", "-i", container(host), "ip", "-force", "-batch", "-"],
                input=script,
                text=True,
                capture_output=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0 or verb == "del", done.stderr

    change("add")
    try:
        yield
    finally:
        # A host that was switched off meanwhile has forgotten them.
        change("del")


# The operator


class Run(t.NamedTuple):
    """How a playbook ended."""

    code: int
    output: str
    seconds: float


def command(name: str, reports: pathlib.Path, *words: str) -> list[str]:
    inventory = pathlib.Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent
    argv = [
        str(pathlib.Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        str(inventory),
        f"playbooks/{name}.yml",
    ]
    return [*argv, "-e", f"matrixon_report_dir={reports}", *words]


def play(name: str, reports: pathlib.Path, *words: str, region: str) -> Run:
    """Call a playbook, with an inventory that says which region serves."""
    started = time.monotonic()
    done = subprocess.run(
        command(name, reports, *words),
        cwd=ROOT,
        env=environment(region),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PLAYBOOK_TIMEOUT_S,
        check=False,
    )
    return Run(done.returncode, done.stdout + done.stderr, time.monotonic() - started)


def environment(region: str) -> dict[str, str]:
    return {
        **os.environ,
        "NO_COLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        "MATRIXON_ACTIVE_REGION": region,
        "ANSIBLE_SSH_ARGS": SSH,
    }


def journal(region: str) -> dict[str, t.Any]:
    """What the move to a region has done so far."""
    text = on(DATABASES[region], "cat", "/var/lib/matrixon-dr/journal.json", check=False)
    return json.loads(text) if text else {"steps": {}}


def die_when(name: str, reports: pathlib.Path, *words: str, region: str, seen: t.Callable[[], bool]) -> None:
    """Start a playbook, and kill it with all that it started as soon as something is seen."""
    process = subprocess.Popen(
        command(name, reports, *words),
        cwd=ROOT,
        env=environment(region),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: seen() or process.poll() is not None, PLAYBOOK_TIMEOUT_S, "the moment to die")
        assert process.poll() is None, "it ended before"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def to(region: str, *words: str) -> list[str]:
    """What dr_failover is told, to lead to a region."""
    return ["-e", f"dr_failover_to={region}", "-e", f"dr_failover_confirm={NAME}", *words]


def serving() -> list[str]:
    """The regions in which something takes writes."""
    return [region for region, host in DATABASES.items() if sql(host, "SELECT pg_is_in_recovery()", check=False) == "f"]


def report_of(reports: pathlib.Path, kind: str = "failover") -> dict[str, t.Any]:
    """The last report of a kind, of the one host that it is about."""
    fleet = json.loads((reports / f"{kind}-molecule-dr.json").read_text())
    (host,) = fleet["hosts"]
    return host


def checks_of(report: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {check["name"]: check for check in report["checks"]}


# Those who are told


class Told:
    """A chat and a mail server, and what they were told, in order."""

    def __init__(self) -> None:
        self.chat: list[str] = []
        self.mail: list[str] = []
        outer = self

        class Chat(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.chat.append(json.loads(body)["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_words: object) -> None:
                """Say nothing."""

        class Mail:
            async def handle_DATA(self, _server: object, _session: object, envelope: t.Any) -> str:
                outer.mail.append(str(email.message_from_bytes(envelope.content)["Subject"]))
                return "250 taken"

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chat)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self._smtp = Controller(Mail(), hostname="127.0.0.1", port=free_port())
        self._smtp.start()

    @property
    def channels(self) -> list[dict[str, t.Any]]:
        """What the role notify is told of them."""
        chat = f"http://127.0.0.1:{self._http.server_port}/chat"
        return [
            {"name": "chat", "type": "webhook", "webhook_url": chat},
            {
                "name": "mail",
                "type": "email",
                "host": "127.0.0.1",
                "port": self._smtp.port,
                "security": "none",
                "sender": "ops@dr.test",
                "recipients": ["people@dr.test"],
            },
        ]

    def close(self) -> None:
        self._http.shutdown()
        self._smtp.stop()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# The users


def edge() -> str:
    """The address that the name leads to now."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.lifetime = ["172.30.60.51"], 5
    return str(resolver.resolve(PUBLIC, "A")[0])


def client(address: str) -> Client:
    return Client((address, 443), PUBLIC, str(CA), timeout=5)


class Unanswered(Exception):
    """What a user gets from a region that does not serve, and from a name server that is away."""


@contextlib.contextmanager
def asking() -> t.Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, MatrixError, dns.exception.DNSException) as error:
        raise Unanswered(repr(error)) from error


class User(t.NamedTuple):
    id: str
    token: str
    password: str


class Traffic(threading.Thread):
    """A user who goes on sending, follows DNS, and remembers every message that was acknowledged."""

    def __init__(self, user: User, room: str, pause: float = 0.05) -> None:
        super().__init__(daemon=True)
        self.user, self.room, self.pause = user, room, pause
        self.acknowledged: dict[str, float] = {}
        self._end = threading.Event()

    def run(self) -> None:
        number, speaker, address = 0, None, ""
        while not self._end.is_set():
            try:
                with asking():
                    if speaker is None or edge() != address:
                        address = edge()
                        speaker = client(address)
                    body = {"msgtype": "m.text", "body": f"message {number}"}
                    event = speaker.send(self.user.token, self.room, f"{id(self)}-{number}", body)
            except Unanswered as error:
                # Whatever the reason: it was not acknowledged, and the user tries again.
                self.last_error = str(error)
                self._end.wait(0.2)
                continue
            self.acknowledged[event] = time.monotonic()
            number += 1
            self._end.wait(self.pause)

    def stop(self) -> None:
        self._end.set()
        self.join(30)

    def pause_around(self, moment: float) -> float:
        """The longest time without an acknowledged message that ended after a moment."""
        times = sorted(self.acknowledged.values())
        return max(later - earlier for earlier, later in itertools.pairwise(times) if later >= moment)

    def __enter__(self) -> Traffic:
        self.start()
        until(lambda: len(self.acknowledged) > 5, 30, "messages are acknowledged")
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


def events_of(region: str, room: str) -> set[str]:
    """Every message of a room that the database of a region has."""
    rows = sql(DATABASES[region], f"SELECT event_id FROM events WHERE room_id = '{room}' AND type = 'm.room.message'")
    return set(rows.split())


def go_back_and_die(deaths: t.Sequence[str], reports: pathlib.Path, canary: list[str], sender: User, room: str) -> None:
    """Move from two to one under traffic, with a run that is killed after each of some steps, and begun again."""
    words = [*to("one"), *canary]
    with Traffic(sender, room) as traffic:
        begun = time.monotonic()
        for step in deaths:
            die_when(
                "dr_failover",
                reports,
                *words,
                region="two",
                seen=lambda step=step: (
                    bool(journal("one")["steps"].get(step, {}).get("finished")) and not journal("one")["finished"]
                ),
            )
            assert len(serving()) <= 1, step
        run = play("dr_failover", reports, *words, region="two")
        assert run.code == 0, run.output
        before = len(traffic.acknowledged)
        until(lambda: len(traffic.acknowledged) > before + 5, 60, "users can send again")
    assert serving() == ["one"]
    assert set(traffic.acknowledged) <= events_of("one", room)
    assert report_of(reports)["facts"]["loss"]["bytes"] == 0
    print({"pause": traffic.pause_around(begun), "deaths": list(deaths)})
