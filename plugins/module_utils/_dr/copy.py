# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""A copy of this host's database to rehearse a failover on: what matrixon_dr_copy does.

It is taken by pg_basebackup from the server that runs here or restored from a
backup set, and opened as a standby that follows nobody, under a unit of its own
with little claim on the host. The server that runs here is asked, and never
told anything.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import ipaddress
import json
import os
import re
import shutil
import socket
import stat
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils import _command, _files
from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_host as host
from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, drill, locks, process, scratch
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._dr import backup_set, standby
from ansible_collections.matrixon.ops.plugins.module_utils._dr.gates import FREE_SHARE
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import (
    PATRONI,
    Facts,
    Host,
    Options,
    open_host,
    refuse,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import human
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Server
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, PARSE, Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._report import rfc3339

LOOKED, PRESENT, CHECKED, ABSENT = "looked", "present", "checked", "absent"

UNIT = "matrixon-drill-postgresql.service"
UNITS = "/run/systemd/system"
RUN = "/run/matrixon-drill-postgresql"
LOCK = "/run/matrixon-drill.lock"
MARK = ".matrixon-drill"
DATA = "data"
# In the copy's own directory, so that the port of its socket need not differ from any other.
SOCKET_PORT = 5432
# What must stay free for the server that runs here, beside the share that a failover asks for.
RESERVE = 1 << 30
# What pg_basebackup takes as --max-rate, in kB/s.
RATES = (32, 1048576)
POLL = 0.1
COPYING, OPEN = "copying", "open"
SIZE = re.compile(r"[1-9][0-9]*[KMGT]?")
LIMITS = tuple(host.LIMITS.values())
TLS = ("ssl", "ssl_cert_file", "ssl_key_file")

# What the copy runs with, beside what follows from where it lies. It follows nobody and archives nothing. What makes a
# promotion fast or slow is as on a real server.
SETTINGS = {
    "unix_socket_permissions": "0700",
    "archive_mode": "off",
    "archive_command": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "restore_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "hot_standby": "on",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "huge_pages": "off",
    "dynamic_shared_memory_type": "mmap",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "64MB",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "warning",
    "log_statement": "none",
    "lc_messages": "C",
    "cluster_name": "matrixon-drill",
}


# --- what an earlier run has left, or another one is doing


def busy(state: Facts | None, locked: bool, forget: str, run: str, now: datetime.datetime) -> str | None:
    """Return who has the place of the copy, or None where it is free or was left by a run that died.

    Whoever copies holds a lock, so that he is known to be alive. Later steps
    are taken by several calls; the run says until when they may last.
    """
    if locked:
        return "directory: another drill is taking its copy on this host; wait until it has ended"
    if not state or state["begun"] in (forget, run) or state["step"] != OPEN:
        return None
    if standby.parse_time(state["until"]) <= now:
        return None
    return (
        f"directory: the drill that began at {state['begun']} works on its copy here, until {state['until']} at the "
        f"most; wait, or if it died give dr_drill_forget={state['begun']}"
    )


def read_state(directory: str) -> Facts | None:
    """Return what a drill wrote down about its copy, or None where there is none."""
    path = os.path.join(directory, MARK)
    try:
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
        return {name: str(state[name]) for name in ("begun", "until", "step")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(PARSE, f"{path} cannot be read; look at it, and remove its directory") from error


def write_state(directory: str, state: Facts) -> None:
    """Write it down, for root alone."""
    path = os.path.join(directory, MARK)
    _files.replace(path, json.dumps(state).encode() + b"\n", os.geteuid(), os.getegid(), 0o600)


def stranger(directory: str) -> str | None:
    """Return why a directory must not be removed: it is there, and no drill made it."""
    if not os.path.lexists(directory):
        parent = os.path.dirname(directory)
        return None if os.path.isdir(parent) else f"directory: {parent} is no directory; name a place that is there"
    if os.path.islink(directory) or not os.path.isdir(directory):
        return f"directory: {directory} is no directory; name a place for the copy that nobody uses"
    if os.listdir(directory) and not os.path.lexists(os.path.join(directory, MARK)):
        return f"directory: {directory} is not empty, and no drill made it; name a place for the copy that nobody uses"
    return None


@contextlib.contextmanager
def held(path: str = LOCK) -> t.Iterator[bool]:
    """Hold the lock of this host's copy; False where another one has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield locks.take(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)


# --- may it be taken


def needed(data_bytes: int) -> int:
    """Return the room that must be there: for the copy, and for the server that goes on."""
    return data_bytes + int(data_bytes * FREE_SHARE) + RESERVE


def obstacles(facts: Facts, options: Options) -> list[str]:
    """Return why no copy can be taken. Pure."""
    found = []
    if facts["server"] != standby.RUNNING:
        found.append(f"data_directory: no server runs on {facts['data_directory']}; start it first")
        return found
    found += [entry["message"] for entry in facts["unreadable"]]
    if facts.get("in_recovery") is False and not options["accept_primary"]:
        found.append(
            "the database of this host is a primary: a drill would read all of it while it serves. If that is what you "
            "want, give dr_drill_confirm with the name of the server"
        )
    size, free = facts.get("data_bytes"), facts["room_bytes"]
    if size is not None and free < needed(size):
        found.append(
            f"directory: {human(needed(size), 'B')} are needed at {options['directory']}, for the copy and for the "
            f"server that goes on, and {human(free, 'B')} are free; make room, or name another place"
        )
    for name, place in facts.get("tablespaces") or ():
        found.append(
            f"the tablespace {name} lies at {place}, outside of the data directory, where a copy would have no place; "
            "prove a backup with matrixon_backup_drill instead"
        )
    return found


def port_problem(address: str, port: int) -> str | None:
    """Return why nobody can listen on an address, or None."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"listen_port: {port} of {address} is in use; name another one"
            if error.errno == errno.EADDRNOTAVAIL:
                return f"listen_address: {address} is no address of this host; name one of its own"
            return f"listen_address: {address} cannot be used: {error.strerror}"
    return None


def problems(options: Options) -> t.Iterator[str]:
    """Yield what is wrong with the options: one sentence for each."""
    if not os.path.isabs(options["directory"]) or os.path.normpath(options["directory"]) == "/":
        yield f"directory: {options['directory']!r} is no place for a copy; write its path from the root"
    rate = options["max_rate"]
    if rate and not RATES[0] <= rate <= RATES[1]:
        yield f"max_rate: {rate} is not from {RATES[0]} to {RATES[1]} kB/s; name such a number, or 0 for no limit"
    for name in ("deadline", "open_seconds", "jobs"):
        if options[name] <= 0:
            yield f"{name}: {options[name]:g} is not more than 0; name a larger number"
    if options["memory_max"] and not SIZE.fullmatch(options["memory_max"]):
        yield f"memory_max: {options['memory_max']!r:.40} is no size; write one such as 2G, or leave it empty"
    if options["listen_address"]:
        if not _is_address(options["listen_address"]):
            yield f"listen_address: {options['listen_address']!r:.80} is no IP address; name one of this host"
        if not 0 < options["listen_port"] < 65536:
            yield f"listen_port: {options['listen_port']} is no port; name one from 1 to 65535"
    for entry in options["admit"]:
        if not _is_address(entry["address"]):
            yield f"admit: {entry['address']!r:.80} is no IP address; name that of the host that is to be let in"
        for name in ("database", "user"):
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,63}", entry[name]):
                yield f"admit: {name} {entry[name]!r:.80} is no plain name; use letters, digits and _ . -"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# --- what it is told


def configuration(limits: t.Mapping[str, int], tls: Facts, options: Options, run: str = RUN) -> str:
    """Return postgresql.conf of the copy. The five limits must not be smaller than the primary's."""
    settings = {
        **SETTINGS,
        **{name: str(limits[name]) for name in LIMITS},
        "unix_socket_directories": run,
        "listen_addresses": options["listen_address"] or "",
        # The socket is named after the port, too.
        "port": str(copy_port(options)),
        **({name: tls[name] for name in TLS} if tls["ssl"] == "on" else {"ssl": "off"}),
    }
    quoted = {name: value.replace("\\", "\\\\").replace("'", "''") for name, value in settings.items()}
    return "".join(f"{name} = '{value}'\n" for name, value in quoted.items())


def copy_port(options: Options) -> int:
    """Return the port of the copy."""
    return int(options["listen_port"]) if options["listen_address"] else SOCKET_PORT


def admission(owner: str, user: str, tls: bool, admit: t.Iterable[Facts]) -> tuple[str, str]:
    """Return pg_hba.conf and pg_ident.conf: who runs it, by its socket, and whoever is named."""
    lines = ["local all all peer map=drill", "local replication all peer map=drill"]
    for entry in admit:
        size = 128 if ":" in entry["address"] else 32
        method = f'"{entry["database"]}" "{entry["user"]}" {entry["address"]}/{size} scram-sha-256'
        lines.append(f"{'hostssl' if tls else 'host'} {method}")
    return "".join(f"{line}\n" for line in lines), f'drill "{owner}" "{user}"\n'


def unit(place: Host, owner: str, options: Options) -> str:
    """Return the unit of the copy. It ends by itself if nobody ends it."""
    network = ["PrivateNetwork=yes"]
    if options["listen_address"]:
        allowed = ["localhost", options["listen_address"], *(entry["address"] for entry in options["admit"])]
        network = ["IPAddressDeny=any", f"IPAddressAllow={' '.join(allowed)}"]
    data = os.path.join(options["directory"], DATA)
    lines = [
        "# Written by the collection matrixon.ops for a rehearsal of a failover, and removed after it.",
        "[Unit]",
        "Description=Copy of the database, for a rehearsal of a failover",
        "[Service]",
        "Type=exec",
        f"User={owner}",
        f"ExecStart={place.tool('postgres')} -D {data}",
        "KillMode=mixed",
        "KillSignal=SIGINT",
        "TimeoutStopSec=30",
        f"RuntimeMaxSec={int(options['open_seconds'])}",
        f"RuntimeDirectory={os.path.basename(RUN)}",
        "RuntimeDirectoryMode=0700",
        "Nice=10",
        "CPUWeight=20",
        "IOWeight=20",
        "OOMScoreAdjust=500",
        *([f"MemoryMax={options['memory_max']}"] if options["memory_max"] else []),
        "UMask=0077",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectHome=yes",
        "ProtectSystem=strict",
        f"ReadWritePaths={options['directory']}",
        *network,
    ]
    return "\n".join(lines) + "\n"


# --- doing it


@dataclass
class Work:
    """One call on its way."""

    options: Options
    deadline: Deadline
    place: Host
    command: _command.Runner = _command.run
    sleep: t.Callable[[float], None] = time.sleep

    @property
    def directory(self) -> str:
        """Return the place of the copy."""
        return os.path.normpath(str(self.options["directory"]))

    @property
    def data(self) -> str:
        """Return its data directory."""
        return os.path.join(self.directory, DATA)

    def systemctl(self, *words: str) -> str:
        """Ask systemd for something, or fail with its words."""
        done = self.command(["systemctl", *words], self.deadline)
        if done.code:
            raise BackupError(INTERNAL, f"systemctl {' '.join(words)}: {done.complaint}")
        return done.out


def production(work: Work) -> Facts:
    """Return what shows that the server that runs here was neither restarted nor held up."""
    facts = standby.look(work.place, work.deadline)
    facts["pid"] = work.place.running()
    facts["room_bytes"] = cluster.free_bytes(work.directory)
    if facts["server"] == standby.RUNNING and not facts["unreadable"]:
        with work.place.session(work.deadline) as session:
            row = session.row(
                f"SELECT {standby.STAMP.format('pg_postmaster_start_time()')} AS started, "
                "current_setting('ssl') AS ssl, current_setting('ssl_cert_file') AS ssl_cert_file, "
                "current_setting('ssl_key_file') AS ssl_key_file"
            )
            facts["tablespaces"] = cluster.look(session).tablespaces
        facts["started"] = row.pop("started")
        facts["tls"] = {
            name: value if name == "ssl" else os.path.join(work.place.data, value) for name, value in row.items()
        }
    return facts


def shown(facts: Facts) -> Facts:
    """Return what of it is compared and reported."""
    receiver = facts.get("receiver") or {}
    names = ("server", "in_recovery", "pid", "started", "timeline", "receive_lsn", "replay_lsn", "system_identifier")
    return {**{name: facts.get(name) for name in names}, "receiver": receiver.get("status")}


def leftovers(work: Work) -> list[str]:
    """Return what there is of a copy on this host."""
    found = [f"the directory {work.directory}"] if os.path.lexists(work.directory) else []
    if os.path.lexists(os.path.join(UNITS, UNIT)) or _unit_state(work) != "inactive":
        found.append(f"the unit {UNIT}")
    pids = process.orphans(work.data)
    found += [f"the process {pid}, which works on the copy" for pid in pids]
    return found


def _unit_state(work: Work) -> str:
    done = work.command(["systemctl", "show", "--property=ActiveState", "--value", UNIT], work.deadline)
    return done.out.strip() or "inactive"


def remove(work: Work) -> list[str]:
    """Stop and remove all of a copy, and return what there was."""
    found = leftovers(work)
    if not found:
        return found
    with process.uninterrupted():
        if _unit_state(work) not in ("inactive", "failed"):
            work.systemctl("stop", UNIT)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(UNITS, UNIT))
        work.systemctl("daemon-reload")
        if _unit_state(work) == "failed":
            work.systemctl("reset-failed", UNIT)
        process.end_orphans(work.data)
        _remove_tree(work.directory)
    if left := leftovers(work):
        raise BackupError(INTERNAL, f"of the copy there is still {', '.join(left)}; remove it by hand")
    return found


def _remove_tree(directory: str) -> None:
    """Remove the copy. Its mark goes last, so that a run that dies on the way leaves one that is known."""
    if not os.path.lexists(directory):
        return
    for entry in os.scandir(directory):
        if entry.name != MARK:
            shutil.rmtree(entry.path)
    shutil.rmtree(directory)


def take(work: Work, facts: Facts, begun: str, source: Options | None) -> Facts:
    """Copy the server's data or restore a set, and open the copy as a standby that follows nobody."""
    options, place = work.options, work.place
    os.mkdir(work.directory, 0o700)
    # The server's user goes through it to its own part.
    os.chmod(work.directory, 0o711)
    state = {"begun": begun, "until": begun, "step": COPYING}
    write_state(work.directory, state)
    started = work.deadline.elapsed()
    restored = backup_set.restore(source, work.deadline, work.data) if source else None
    if not restored:
        place.runner.make_directory(work.data)
        _base_backup(work)
    copied = work.deadline.elapsed()
    size = drill.tree_bytes(work.data)
    _configure(work, facts)
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=options["open_seconds"])
    write_state(work.directory, {**state, "until": rfc3339(until), "step": OPEN})
    _start(work)
    return {
        "data_directory": work.data,
        "socket_directory": RUN,
        "port": copy_port(options),
        "bytes": size,
        "copy_seconds": round(copied - started, 3),
        "open_seconds": round(work.deadline.elapsed() - copied, 3),
        **(restored._asdict() if restored else {}),
    }


def _base_backup(work: Work) -> None:
    options = work.options
    arguments = [f"--pgdata={work.data}", "--format=plain", "--wal-method=stream", "--no-sync"]
    arguments += [f"--checkpoint={options['checkpoint']}", "--label=matrixon-drill"]
    if options["max_rate"]:
        arguments.append(f"--max-rate={options['max_rate']}k")
    work.place.client.run(work.deadline, "pg_basebackup", *arguments, doing="the copy of the database")


def _configure(work: Work, facts: Facts) -> None:
    options, place = work.options, work.place
    # What was restored has run since, with the little that a restore needs.
    limits = at_least(_limits(work, work.data), _limits(work, place.data))
    tls = facts["tls"]
    hba, ident = admission(options["owner"], options["user"], tls["ssl"] == "on", options["admit"])
    texts = {
        "postgresql.conf": configuration(limits, tls, options),
        "pg_hba.conf": hba,
        "pg_ident.conf": ident,
        # What the source was told of its primary, and with which password, is none of the copy's business.
        "postgresql.auto.conf": "",
        "standby.signal": "",
    }
    info = os.stat(work.data)
    for name, text in texts.items():
        _files.replace(os.path.join(work.data, name), text.encode(), info.st_uid, info.st_gid, 0o600)
    disown(work.data)


def _limits(work: Work, data: str) -> dict[str, int]:
    control = scratch.control(work.place.runner, work.place.tools, data, work.deadline)
    limits: dict[str, int] = host.control_data("\n".join(f"{key}: {value}" for key, value in control.items()))["limits"]
    return limits


def at_least(limits: t.Mapping[str, int], others: t.Mapping[str, int]) -> dict[str, int]:
    """Return the larger one of each of two servers' limits."""
    return {name: max(value, others.get(name, 0)) for name, value in limits.items()}


def disown(directory: str) -> None:
    """Take away what says that Patroni runs the cluster: it does not run the copy."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, PATRONI))


def _start(work: Work) -> None:
    _files.replace(
        os.path.join(UNITS, UNIT), unit(work.place, work.options["owner"], work.options).encode(), 0, 0, 0o644
    )
    work.systemctl("daemon-reload")
    work.systemctl("start", UNIT)
    path = os.path.join(work.data, "postmaster.pid")
    while True:
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return
        if _unit_state(work) not in ("active", "activating"):
            said = work.command(
                ["journalctl", f"--unit={UNIT}", "--lines=15", "--output=cat", "--no-pager"], work.deadline
            )
            raise BackupError(INTERNAL, f"the copy does not start: {process.complaint(said.out)}")
        work.deadline.require("the copy opens")
        work.sleep(POLL)


def check_copy(work: Work) -> list[Facts]:
    """Read the tables and indexes of the copy, which must be promoted, and count the rows."""
    options, place = work.options, work.place
    server = Server(RUN, copy_port(options), "postgres", options["user"])
    client = cluster.Client(server, place.runner, place.tools, place.major)
    found = []
    with client.session(work.deadline) as session:
        if session.value("SELECT setting FROM pg_settings WHERE name = 'data_directory'") != work.data:
            raise BackupError(INTERNAL, f"directory: the server at {RUN} is not that of the copy")
        names = cluster.database_names(session)
    begin = work.deadline.elapsed()
    tables = cluster.count_rows(client, names, work.deadline)
    counted = [table for one in tables.values() for table in one]
    rows = sum(table.rows for table in counted)
    status = "ok" if rows else "critical"
    words = f"{rows} rows of {len(counted)} tables were read"
    found.append(_finding("drill_rows", status, words, work.deadline.elapsed() - begin))
    if options["amcheck"]:
        begin = work.deadline.elapsed()
        argv = [client.tool("pg_amcheck"), *client.options(), "--all", "--install-missing", f"--jobs={options['jobs']}"]
        done = client.runner.run(argv, work.deadline, accept=(0, 2), doing="reading all tables and indexes")
        verdict = drill.judge_amcheck(done.code, done.out, done.err)
        words = "no table and no index is damaged" if verdict.status == "ok" else verdict.message
        found.append(_finding("drill_amcheck", verdict.status, words, work.deadline.elapsed() - begin))
    return found


def _finding(name: str, status: str, message: str, seconds: float) -> Facts:
    return {"name": name, "status": status, "message": message, "duration_ms": int(seconds * 1000)}


# --- the whole


def run(options: Options, check: bool, clock: t.Callable[[], float] = time.monotonic) -> Outcome:
    """Look, take a copy, check it, or remove it."""
    refuse(problems(options))
    now = datetime.datetime.now(datetime.timezone.utc)
    work = Work(options, Deadline(options["deadline"], clock), open_host(options))
    with held() as got:
        state = read_state(work.directory)
        before = production(work)
        alive = busy(state, not got, options["forget"], options["run"], now)
        reasons = [alive] if alive else []
        reasons += [why] if (why := stranger(work.directory)) else []
        if options["state"] == ABSENT:
            refuse(reasons)
            found = leftovers(work) if check else remove(work)
            words = f"removed: {', '.join(found)}" if found else "there was nothing to remove"
            return Outcome(changed=bool(found), msg=words, values={"removed": found, "production": shown(before)})
        if options["state"] == CHECKED:
            refuse(reasons)
            return Outcome(msg="the copy was read", values={"checks": check_copy(work), "production": shown(before)})
        reasons += _obstacles(work, before)
        source, why_not = restorable(work, before)
        reasons += why_not
        values: Facts = {"production": shown(before), "reasons": reasons, "needed_bytes": _needed(before)}
        values["room_bytes"] = before["room_bytes"]
        if options["state"] == LOOKED:
            return Outcome(msg="; ".join(reasons) or "a copy can be taken", values=values)
        refuse(reasons)
        if check:
            steps = plan(work, before, source)
            return Outcome(changed=True, msg="; ".join(steps), plan=steps, values=values)
        removed = remove(work)
        begun = rfc3339(now)
        try:
            copy = take(work, before, begun, source)
        except BaseException:
            with process.uninterrupted():
                remove(Work(options, Deadline(60, clock), work.place))
            raise
        values.update(place=copy, removed=removed, run=begun)
        verb = f"restored from set {copy['set']}" if source else "copied"
        took = f"{human(copy['bytes'], 'B')} were {verb} in {copy['copy_seconds']:.1f} s"
        values["checks"] = [_restored(copy, took)] if source else []
        return Outcome(changed=True, msg=f"{took}, and the copy is open", values=values)


def _restored(copy: Facts, took: str) -> Facts:
    words = f"{took}, to {copy['end']} of the log: so long it would take if the standby were lost, too"
    found = _finding("drill_restore", "ok", words, copy["copy_seconds"])
    return {**found, "value": copy["copy_seconds"], "unit": "s"}


def _needed(facts: Facts) -> int | None:
    return needed(facts["data_bytes"]) if facts.get("data_bytes") is not None else None


def _obstacles(work: Work, facts: Facts) -> list[str]:
    found = obstacles(facts, work.options)
    if not os.path.isdir("/run/systemd/system"):
        found.append("systemd does not run this host, and the copy needs a unit; drill on a host that it runs")
    address = work.options["listen_address"]
    # A copy that is to be removed first may still have it.
    if address and _unit_state(work) != "active" and (why := port_problem(address, work.options["listen_port"])):
        found.append(why)
    if facts.get("tls", {}).get("ssl") == "on" and address and not _readable(facts["tls"]["ssl_key_file"]):
        found.append(f"the key {facts['tls']['ssl_key_file']} of the server is not there, and the copy needs it")
    return found


def restorable(work: Work, facts: Facts) -> tuple[Options | None, list[str]]:
    """Return the set to restore, if one was asked for, and why it cannot be."""
    backup, identifier = work.options["backup"], facts.get("system_identifier")
    # Without an answer of the server that is a reason by itself.
    if not backup or not identifier:
        return None, []
    try:
        source = backup_set.choose(backup, work.options["owner"], str(identifier))
        # What an earlier drill left is removed before, so whether the place itself is free does not matter.
        backup_set.look(source, work.deadline, f"{work.directory}.restored")
    except BackupError as error:
        return None, [f"backup: {error.message}"]
    return source, []


def _readable(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def plan(work: Work, facts: Facts, source: Options | None) -> tuple[str, ...]:
    """Return what would be done, in sentences."""
    steps = [f"remove {what}, which an earlier drill left" for what in leftovers(work)]
    size = human(facts["data_bytes"], "B")
    what = f"restore set {source['set']}" if source else f"copy {size} of the server's data"
    steps.append(f"{what} to {work.data}")
    where = (
        f"port {copy_port(work.options)} of {work.options['listen_address']}" if work.options["listen_address"] else RUN
    )
    steps.append(f"open the copy on {where}, as a standby that follows nobody")
    return tuple(steps)
