"""The verbs: up, down, status, and one service at a time."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import database, processes, render, seed, services, software
from lab.config import (
    OFFSETS,
    PUBLIC_NAME,
    PUBLIC_URL,
    SERVER_NAME,
    USER_COMMENT,
    Lab,
    LabError,
    say,
    write,
)
from lab.matrix import of_lab
from lab.processes import Process

# Which service listens on which ports: a running service explains its own busy ports.
LISTENS = {
    "postgresql": ("postgresql",),
    "standby": ("standby",),
    "redis": ("redis",),
    "main": ("main", "replication", "main_metrics"),
    "worker1": ("worker1", "worker1_metrics"),
    "worker2": ("worker2", "worker2_metrics"),
    "haproxy": ("https", "haproxy_metrics"),
}


def up(lab: Lab, messages: int = seed.DEFAULT_MESSAGES) -> dict:
    started = time.monotonic()
    fresh = not lab.root.exists()
    lab.make_root()
    with lab.lock():
        try:
            check_ports(lab)
            _check_user(lab)
        except LabError:
            if fresh:
                lab.root.rmdir()
            raise
        lab.mark()
        software.ensure_packages()
        software.ensure_venv()
        _ensure_user(lab)
        render.everything(lab)
        _start_all(lab, messages)
        prove(lab)
        facts = write_facts(lab)
    say("lab", "healthy", started)
    return facts


def _start_all(lab: Lab, messages: int) -> None:
    every = services.ALL
    with ThreadPoolExecutor(4) as pool:
        # Frozen leftovers would only make the wait long.
        for service in every.values():
            if any(process.frozen for process in services.members(lab, service)):
                services.thaw(lab, service)
        redis = pool.submit(services.start, lab, every["redis"])
        _start_postgresql(lab)
        redis.result()
        # The main process makes or migrates the schema; workers refuse to run before that.
        services.start(lab, every["main"])
        workers = [pool.submit(services.start, lab, every[name]) for name in ("worker1", "worker2")]
        known = seed.load(lab)
        if known is None:
            seed.accounts(lab)
        if services.built(lab, every["standby"]):
            services.start(lab, every["standby"])
        for worker in workers:
            worker.result()
        services.start(lab, every["haproxy"])
    _wait("every HAProxy server up", lambda: _servers_up(lab))
    if known is None:
        seed.content(lab, messages)


def _start_postgresql(lab: Lab) -> None:
    def ready(lab: Lab) -> None:
        with database.as_superuser(lab) as cursor:
            cursor.execute("SELECT 1")

    started = time.monotonic()
    if not (lab.pg / "PG_VERSION").exists():
        database.ensure_cluster(lab)
        say("postgresql", "cluster created", started)
    services.start(lab, services.ALL["postgresql"], ready)
    database.ensure_roles(lab)


def prove(lab: Lab) -> None:
    """What a user would notice: an answer, a read from the database, a message delivered."""
    started = time.monotonic()
    for name, service in services.ALL.items():
        if services.built(lab, service):
            _wait(name, lambda service=service: _must(services.probe(lab, service)))
    client = of_lab(lab)
    known = seed.load(lab)
    room = known["canary_room_id"]
    sender, reader = (lab.secret(seed.token_file(u)) for u in ("canary", "canary_reader"))
    marker = uuid.uuid4().hex
    content = {"msgtype": "m.text", "body": f"lab up {marker}"}
    # The same transaction id at each try: at most one message, however often we ask.
    event = _wait("canary send", lambda: client.send(sender, room, marker, content))

    def delivered() -> None:
        for message in client.latest(reader, room):
            if message["event_id"] == event and message["content"]["body"] == content["body"]:
                return
        raise LabError("the message has not arrived")

    _wait("canary read", delivered)
    say("canary", "delivered", started)


def _must(outcome: tuple[bool, str]) -> None:
    if not outcome[0]:
        raise LabError(outcome[1])


def _wait(what: str, act, seconds: float = 45):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except Exception as error:
            if time.monotonic() > deadline:
                raise LabError(f"{what}: {error}") from error
            time.sleep(0.2)


def _servers_up(lab: Lab) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(3)
        connection.connect(str(lab.run / "haproxy.sock"))
        connection.sendall(b"show stat\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    servers = [row for row in rows if row[1] not in {"FRONTEND", "BACKEND"}]
    down = [f"{row[0]}/{row[1]} {row[17]}" for row in servers if row[17] != "UP"]
    if down or not servers:
        raise LabError(", ".join(down) or "no servers")


def status(lab: Lab) -> dict:
    lab.require()
    table = processes.table()

    def look(service: services.Service) -> dict:
        found = services.members(lab, service, table)
        state = "stopped"
        if not services.built(lab, service):
            state = "absent"
        elif found:
            state = "frozen" if found[0].frozen else "running"
        healthy, detail = False, state
        # Ask even what seems stopped: a probe, not a pid, says whether it is there.
        if state != "absent":
            healthy, detail = services.probe(lab, service)
        return {
            "service": service.name,
            "state": state,
            "pid": found[0].pid if found else None,
            "port": lab.ports[service.port],
            "healthy": healthy,
            "detail": detail,
        }

    with ThreadPoolExecutor(len(services.ALL)) as pool:
        rows = list(pool.map(look, services.ALL.values()))
    healthy = all(row["healthy"] for row in rows if row["state"] != "absent")
    return {"name": lab.name, "state_dir": str(lab.root), "healthy": healthy, "services": rows}


def one(lab: Lab, verb: str, name: str) -> None:
    lab.require()
    service = services.ALL[name]
    with lab.lock():
        act = {
            "start": services.start,
            "stop": services.stop,
            "freeze": services.freeze,
            "thaw": services.thaw,
        }[verb]
        act(lab, service)
        write_facts(lab)


def standby_up(lab: Lab) -> None:
    lab.require()
    service = services.ALL["standby"]
    with lab.lock():
        if not services.built(lab, service):
            check_ports(lab)
            started = time.monotonic()
            database.build_standby(lab)
            say("standby", "base backup taken", started)
        services.start(lab, service)
        started = time.monotonic()
        lsn = database.wait_replayed(lab)
        say("standby", f"replayed {lsn}", started)
        write_facts(lab)


def standby_down(lab: Lab) -> None:
    lab.require()
    service = services.ALL["standby"]
    with lab.lock():
        services.stop(lab, service)
        if services.probe(lab, services.ALL["postgresql"])[0]:
            database.drop_slot(lab)
        else:
            say("standby", "slot kept: no primary")
        _clear_shared_memory(lab.standby)
        for leftover in (lab.standby, lab.run / "standby.new"):
            shutil.rmtree(leftover, ignore_errors=True)
        (lab.run / "replicator.pgpass").unlink(missing_ok=True)
        write_facts(lab)
        say("standby", "removed")


def down(lab: Lab) -> None:
    started = time.monotonic()
    lab.check_owner()
    with lab.lock() as standing:
        if standing and not lab.exists and any(lab.root.iterdir()):
            raise LabError(f"{lab.root} is not a lab: not touched")
        _check_user(lab)
        if not standing and not _everything(lab) and not _own_user(lab):
            say("lab", "nothing to take down")
            return
        found = _everything(lab)
        for process in reversed(found):
            processes.send(process, signal.SIGCONT)
        # All at once, not in order: what they hold is thrown away in a moment.
        for service in services.ALL.values():
            for process in services.leaders(lab, service, processes.table()):
                processes.send(process, service.stop_signal)
        if processes.wait_gone(lambda: _everything(lab), 5):
            left = services.kill(lambda: _everything(lab))
            if left:
                raise LabError(f"processes do not end: {[process.pid for process in left]}")
            say("lab", "killed what would not stop")
        for directory in (lab.pg, lab.standby):
            _clear_shared_memory(directory)
        lab.remove_root()
        _remove_user(lab)
    say("lab", "down", started)


def _everything(lab: Lab) -> list[Process]:
    """All processes of this lab: its services, its helpers and, as root, all of its user's."""
    table = processes.table()
    found = {p.pid: p for service in services.ALL.values() for p in services.members(lab, service, table)}
    account = _own_user(lab)
    for process in table.values():
        names_lab = any(f"{lab.root}/" in word for word in process.argv)
        helper = process.program in {"initdb", "pg_basebackup"} and names_lab
        if helper or (account and process.uid == account.pw_uid):
            found[process.pid] = process
    # An ordinary user could not signal the processes of another one anyway.
    return [process for process in found.values() if os.geteuid() in {0, process.uid}]


def check_ports(lab: Lab) -> None:
    table = processes.table()
    busy = []
    for service, names in LISTENS.items():
        if services.leaders(lab, services.ALL[service], table):
            continue
        for name in names:
            with socket.socket() as probe:
                # As servers do: a connection in TIME_WAIT is no obstacle, a listener is.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", lab.ports[name]))
                except OSError:
                    busy.append(f"{lab.ports[name]} ({name})")
    if busy:
        raise LabError(
            f"port {', '.join(busy)} in use: choose another --port-base (now {lab.port_base}; "
            f"ports up to base + {max(OFFSETS.values())} are used)"
        )


# The dedicated user
def _own_user(lab: Lab) -> pwd.struct_passwd | None:
    account = lab.account if os.geteuid() == 0 else None
    if account and (account.pw_gecos, account.pw_dir) == (USER_COMMENT, str(lab.root)):
        return account
    return None


def _check_user(lab: Lab) -> None:
    if os.geteuid() == 0 and lab.account and not _own_user(lab):
        raise LabError(
            f"user {lab.user} exists with home {lab.account.pw_dir}, not made for {lab.root}: "
            "give the right --state-dir or another --name"
        )


def _ensure_user(lab: Lab) -> None:
    if os.geteuid() != 0 or lab.account:
        return
    arguments = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    arguments += ["--comment", USER_COMMENT, "--home-dir", str(lab.root), lab.user]
    _as_root("useradd", arguments)


def _remove_user(lab: Lab) -> None:
    if _own_user(lab) is None:
        return
    processes.reap()
    _as_root("userdel", [lab.user])


def _as_root(program: str, arguments: list[str]) -> None:
    # Another lab may hold the lock on the password file for a moment.
    for dummy in range(20):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.25)
    raise LabError(f"{program} failed: {done.stderr.strip()}")


def _clear_shared_memory(directory: Path) -> None:
    """A killed server leaves its System V segment; remove it when nobody is attached."""
    wanted = database.shared_memory_id(directory)
    if wanted is None:
        return
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        words = line.split()
        if words[1] == wanted and words[6] == "0":
            subprocess.run(["ipcrm", "-m", wanted], capture_output=True, check=False)


def write_facts(lab: Lab) -> dict:
    known = seed.load(lab) or {}
    table = processes.table()
    pids = {}
    for name, service in services.ALL.items():
        found = services.members(lab, service, table)
        pids[name] = found[0].pid if found else None
    address = f"127.0.0.1:{lab.ports['https']}"
    facts = {
        "name": lab.name,
        "port_base": lab.port_base,
        "state_dir": str(lab.root),
        "user": lab.user,
        "server_name": SERVER_NAME,
        "public_url": PUBLIC_URL,
        "delegation": f"{SERVER_NAME}:443",
        "connect_to": {f"{SERVER_NAME}:443": address, f"{PUBLIC_NAME}:443": address},
        "ca_file": str(lab.ca / "ca.pem"),
        "ports": lab.ports,
        "pids": pids,
        "sockets": {
            "haproxy": str(lab.run / "haproxy.sock"),
            "postgresql": str(lab.run),
        },
        "secrets_dir": str(lab.secrets),
        "postgresql_bin": str(software.postgresql_bin()),
        "synapse_python": str(software.ensure_venv()),
        "standby": services.built(lab, services.ALL["standby"]),
        **known,
    }
    write(lab.facts_file, json.dumps(facts, indent=2) + "\n")
    return facts
