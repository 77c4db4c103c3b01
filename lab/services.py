"""The services: how each is started, recognised, probed, stopped and frozen."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import database, processes, software
from lab.config import DATABASE, Lab, LabError, say
from lab.matrix import of_lab
from lab.processes import Process

PROBE_SECONDS = 3.0
START_SECONDS = 90.0
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Service:
    name: str
    port: str
    log: str
    argv: Callable[[Lab], list[str]]
    # Words that the command line must hold, all of them: they name this lab's own files.
    words: Callable[[Lab], tuple[str, ...]]
    # Returns a short detail, or raises with what is wrong.
    probe: Callable[[Lab], str]
    stop_signal: signal.Signals = signal.SIGTERM
    data: str = ""


def _postgres(name: str, data: str) -> Service:
    def argv(lab: Lab) -> list[str]:
        return [database.binary("postgres"), "-D", str(lab.root / data)]

    def probe(lab: Lab) -> str:
        with database.connect(lab, "monitor", "monitor_password", DATABASE, name) as cursor:
            cursor.execute("SELECT pg_is_in_recovery(), (SELECT status FROM pg_stat_wal_receiver)")
            recovering, receiver = cursor.fetchone()
        if not recovering:
            return "primary"
        return f"standby, {receiver or 'not streaming'}"

    return Service(
        name=name,
        port=name,
        log=name,
        argv=argv,
        words=lambda lab: ("-D", str(lab.root / data)),
        probe=probe,
        # "fast": sessions are ended, nothing is waited for.
        stop_signal=signal.SIGINT,
        data=data,
    )


def _synapse(name: str) -> Service:
    app = "synapse.app.homeserver" if name == "main" else "synapse.app.generic_worker"

    def files(lab: Lab) -> list[str]:
        shared = str(lab.etc / "homeserver.yaml")
        return [shared] if name == "main" else [shared, str(lab.etc / f"{name}.yaml")]

    def argv(lab: Lab) -> list[str]:
        options = [word for path in files(lab) for word in ("-c", path)]
        return [str(software.ensure_venv()), "-m", app, *options]

    def probe(lab: Lab) -> str:
        status, body = of_lab(lab, name, PROBE_SECONDS).raw("GET", "/health", None, {})
        if status != 200 or body != b"OK":
            raise LabError(f"/health answered {status}")
        return "/health OK"

    return Service(
        name=name,
        port=name,
        log=name,
        argv=argv,
        words=lambda lab: (app, files(lab)[-1]),
        probe=probe,
    )


def _redis_probe(lab: Lab) -> str:
    with socket.create_connection(("127.0.0.1", lab.ports["redis"]), PROBE_SECONDS) as connection:
        connection.sendall(f"AUTH {lab.secret('redis_password')}\r\nPING\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2:
            part = connection.recv(200)
            if not part:
                break
            answer += part
    if answer != b"+OK\r\n+PONG\r\n":
        raise LabError(f"AUTH and PING answered {answer!r}")
    return "PONG"


def _haproxy_probe(lab: Lab) -> str:
    of_lab(lab, "haproxy", PROBE_SECONDS).call("GET", "/_matrix/client/versions")
    return "versions over TLS"


ALL: dict[str, Service] = {
    service.name: service
    for service in (
        _postgres("postgresql", "pg"),
        Service(
            name="redis",
            port="redis",
            log="redis",
            argv=lambda lab: [software.REDIS, str(lab.etc / "redis.conf")],
            words=lambda lab: (str(lab.etc / "redis.conf"),),
            probe=_redis_probe,
        ),
        _synapse("main"),
        _synapse("worker1"),
        _synapse("worker2"),
        Service(
            name="haproxy",
            port="https",
            log="haproxy",
            argv=lambda lab: [software.HAPROXY, "-db", "-f", str(lab.etc / "haproxy.cfg")],
            words=lambda lab: ("-db", str(lab.etc / "haproxy.cfg")),
            probe=_haproxy_probe,
        ),
        _postgres("standby", "standby"),
    )
}
PROGRAMS = ("postgres", "redis-server", "python", "haproxy")


def leaders(lab: Lab, service: Service, table: dict[int, Process]) -> list[Process]:
    words = set(service.words(lab))
    return [
        process for process in table.values() if words <= set(process.argv) and process.program.startswith(PROGRAMS)
    ]


def members(lab: Lab, service: Service, table: dict[int, Process] | None = None) -> list[Process]:
    """Every process of a service, the leader first, and orphans of a killed postmaster."""
    table = processes.table() if table is None else table
    found = processes.with_descendants(leaders(lab, service, table), table)
    if service.data:
        directory = lab.root / service.data
        known = {process.pid for process in found}
        found += [
            process
            for process in table.values()
            if process.pid not in known
            and process.argv[0].startswith("postgres:")
            and processes.works_in(process, directory)
        ]
    return sorted(found, key=lambda process: process.ppid in {other.pid for other in found})


def probe(lab: Lab, service: Service, seconds: float = PROBE_SECONDS) -> tuple[bool, str]:
    """The service's own answer within a total deadline; a hung one must not hang us."""
    outcome: list[tuple[bool, str]] = []

    def ask() -> None:
        try:
            outcome.append((True, service.probe(lab)))
        except Exception as error:  # Whatever is wrong is the answer.
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            outcome.append((False, text))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else (False, f"no answer in {seconds:.0f} s")


def built(lab: Lab, service: Service) -> bool:
    return service.name != "standby" or (lab.standby / "PG_VERSION").exists()


def start(lab: Lab, service: Service, ready: Callable[[Lab], object] | None = None) -> bool:
    """Start if nothing of it runs, and wait for its answer. True when it was started here."""
    started = time.monotonic()
    if not built(lab, service):
        raise LabError("there is no standby yet: run standby-up")
    if leaders(lab, service, processes.table()):
        say(service.name, "already running")
        return False
    # A killed leader may have left children behind, even frozen ones.
    for orphan in members(lab, service):
        processes.send(orphan, signal.SIGKILL)
    if service.data:
        processes.wait_gone(lambda: members(lab, service), 5)
        database.clear_stale_pid(lab, service.name, lab.root / service.data)
        database.write_config(lab, service.name)
    log = lab.log / f"{service.log}.log"
    cwd = lab.root / service.data if service.data else lab.synapse
    before = log.stat().st_size if log.exists() else 0
    child = processes.spawn(lab, service.argv(lab), log, cwd)
    deadline = started + START_SECONDS
    detail = ""
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise LabError(f"{service.name} ended at once:\n{_log_tail(log, before)}")
        try:
            if ready is not None:
                ready(lab)
                healthy = True
            else:
                healthy, detail = probe(lab, service)
        except Exception as error:
            healthy, detail = False, str(error)
        if healthy:
            say(service.name, "started", started)
            return True
        time.sleep(0.1)
    raise LabError(f"{service.name} did not become healthy: {detail}\n{_log_tail(log, before)}")


def stop(lab: Lab, service: Service) -> None:
    started = time.monotonic()
    found = members(lab, service)
    if not found:
        say(service.name, "already stopped")
        return
    # A stopped process would never see the request to end.
    _resume(found)
    for process in leaders(lab, service, processes.table()):
        processes.send(process, service.stop_signal)
    left = processes.wait_gone(lambda: members(lab, service), STOP_SECONDS)
    if left:
        kill(lambda: members(lab, service))
        say(service.name, "killed", started)
    else:
        say(service.name, "stopped", started)


def freeze(lab: Lab, service: Service) -> None:
    """Leader first, so that it starts no more children while we look for them."""
    started = time.monotonic()
    if not members(lab, service):
        raise LabError(f"{service.name} does not run")
    deadline = time.monotonic() + 10
    while running := [process for process in members(lab, service) if not process.frozen]:
        if time.monotonic() > deadline:
            raise LabError(f"{service.name} does not stop: {[p.pid for p in running]}")
        for process in running:
            processes.send(process, signal.SIGSTOP)
        time.sleep(0.01)
    say(service.name, "frozen", started)


def thaw(lab: Lab, service: Service) -> None:
    found = members(lab, service)
    if not found:
        raise LabError(f"{service.name} does not run")
    _resume(found)
    say(service.name, "thawed")


def kill(find: Callable[[], list[Process]]) -> list[Process]:
    """The last resort; SIGKILL ends a stopped process too, SIGCONT lets it be reaped at once."""
    for dummy in range(50):
        found = find()
        if not found:
            return []
        for process in found:
            processes.send(process, signal.SIGKILL)
            processes.send(process, signal.SIGCONT)
        time.sleep(0.1)
    return find()


def _resume(found: list[Process]) -> None:
    for process in reversed(found):
        processes.send(process, signal.SIGCONT)


def _log_tail(log: Path, offset: int, lines: int = 12) -> str:
    with open(log, "rb") as handle:
        handle.seek(max(offset, os.fstat(handle.fileno()).st_size - 8000))
        return "\n".join(handle.read().decode(errors="replace").splitlines()[-lines:])
