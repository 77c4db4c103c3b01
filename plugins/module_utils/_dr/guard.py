# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The guard of a host: nothing on it serves unless the witness names its region.

    matrixon-dr-guard check database|homeserver --unit NAME
    matrixon-dr-guard run

``check`` is asked by systemd before a unit starts; it ends with 0 if the unit may.
``run`` is a service: it stops what may not serve any longer, starts what only waited
for the witness, and writes what is known of the primary to it.

The role ``dr_guard`` copies this file and ``witness.py`` to hosts. So it imports
nothing else of the collection, and nothing beyond the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import json
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import typing as t
from dataclasses import dataclass

# Relative, for on hosts the two files are a package of their own.
from . import witness
from .witness import PRIMARY, Client, Deadline, Record, WitnessError

CONFIG = "/etc/matrixon/dr_guard.json"
OVERRIDE = "/etc/matrixon/dr_guard.override"
STATE = "/var/lib/matrixon-dr-guard"
RUN = "/run/matrixon-dr-guard"

YES = "yes"
NO = "no"
ASK = "ask again"

AT_REST = ("inactive", "failed")
# The unit has not begun: systemd asks this very guard.
ASKING = ("condition", "start-pre")
# Seconds: one question to systemd or the server; after SIGKILL; between two words about oneself.
TOOL_TIMEOUT = 3
KILL_TIMEOUT = 5
REPEAT = 60
# Seconds in which systemd notices a guard that hangs, and has started it again.
WATCHDOG = 15
REVIVAL = WATCHDOG + 5

Json = dict[str, t.Any]


class ConfigError(Exception):
    """The configuration cannot be used; the text says why."""


class Verdict(t.NamedTuple):
    """Whether something may serve: yes, no, or ask again; and one sentence that says why."""

    answer: str
    reason: str


@dataclass(frozen=True)
class Known:
    """What a host knows of the record. ``failure`` is why the witness could not be asked; then ``record`` is old."""

    record: Record | None
    failure: str = ""


def judge(known: Known, region: str, standby: bool, override: int | None, override_file: str = OVERRIDE) -> Verdict:
    """Say whether a host of a region may serve."""
    record = known.record
    if standby:
        return Verdict(YES, "this database is a standby, which serves nobody's writes")
    if record is not None and override == record.epoch and (known.failure or record.region != region):
        return Verdict(YES, f"{override_file} holds the epoch {override}, so an operator has answered for this host")
    if known.failure:
        return Verdict(ASK, f"{known.failure}; {_unknown(record, region, override_file)}")
    if record is None:
        return Verdict(
            ASK,
            "the witness has no record of who may serve, so nothing is known; run the playbook dr_guard, which claims "
            f"it for the active region (this host is of region {region})",
        )
    if record.region == region:
        return Verdict(YES, f"{witness.told(record)}, and this host is of it")
    return Verdict(
        NO,
        f"{witness.told(record)}, and this host is of region {region}; fail back, or if it is certain that nobody else "
        f"serves, write {record.epoch} into {override_file}",
    )


def _unknown(record: Record | None, region: str, override_file: str) -> str:
    """Return what follows from a witness that is silent."""
    unknown = f"so it is not known whether region {region} may serve"
    if record is None:
        return f"{unknown}, and this host has never heard of a record"
    return (
        f"{unknown}; what was heard last is that {witness.told(record)}; if it is certain that nobody else serves, "
        f"write {record.epoch} into {override_file}"
    )


@dataclass(frozen=True)
class Lineage:
    """Which cluster some data is of, and how far its history goes."""

    system_identifier: str
    timeline: int


def judge_lineage(record: Record, lineage: Lineage | None) -> Verdict | None:
    """Say no to an old copy of the cluster that serves: another host of its region has gone on without it."""
    if lineage is None or lineage.system_identifier != record.system_identifier:
        # Another cluster is what a restore from a dump makes.
        return None
    if lineage.timeline >= record.timeline:
        return None
    return Verdict(
        NO,
        f"this database is on timeline {lineage.timeline}, and the one that serves since {record.since} is on "
        f"{record.timeline} (epoch {record.epoch}, by {record.by}); it was left behind, so make it a standby, by "
        "pg_rewind or anew",
    )


def must_stop(verdict: Verdict, known: Known, region: str) -> bool:
    """Say whether what serves must be stopped: silence alone is no reason, unless it was told before."""
    if verdict.answer == NO:
        return True
    return verdict.answer == ASK and known.record is not None and known.record.region != region


def parse_override(text: str | None) -> int | None:
    """Return the epoch in an override, None if there is none."""
    words = (text or "").split()
    return int(words[0]) if len(words) == 1 and words[0].isdecimal() else None


def lease_seconds(lease: float, stop_timeout: float) -> int:
    """Return how long the witness counts a host as serving after it was heard last.

    The guard stops after ``lease``; it may have hung and been started again, and what it stops may resist.
    """
    return int(lease + REVIVAL + stop_timeout + KILL_TIMEOUT + 1)


def signing_key_ids(text: str) -> list[str]:
    """Return the ids of the keys in a homeserver's file of signing keys."""
    lines = [line.split() for line in text.splitlines()]
    return [f"{words[0]}:{words[1]}" for words in lines if len(words) == 3 and not words[0].startswith("#")]


@dataclass(frozen=True)
class Database:
    """The PostgreSQL cluster of this host."""

    unit: str
    data_directory: str
    socket: str
    port: int
    name: str
    psql: str
    message_query: str = ""
    event_query: str = ""


@dataclass(frozen=True)
class Homeserver:
    """The homeserver processes of this host: their units, by name or pattern, and what tells of them."""

    units: tuple[str, ...]
    release_link: str
    signing_key_file: str = ""


@dataclass(frozen=True)
class Config:
    """What this host is."""

    witness: witness.Settings
    region: str
    host: str
    interval: float
    lease: float
    stop_timeout: float
    check_timeout: float
    database: Database | None = None
    homeserver: Homeserver | None = None
    override: str = OVERRIDE
    state: str = STATE
    run: str = RUN

    @property
    def units(self) -> list[str]:
        """Return the units that must not serve, by name or pattern."""
        database = [self.database.unit] if self.database else []
        return [*database, *(self.homeserver.units if self.homeserver else ())]


def parse_config(text: str) -> Config:
    """Return a configuration; raise ConfigError if it is none."""
    try:
        document = json.loads(text)
        store, database, homeserver = (document.pop(name) for name in ("witness", "database", "homeserver"))
        endpoints = tuple(witness.parse_endpoint(endpoint) for endpoint in store.pop("endpoints"))
        if homeserver:
            homeserver["units"] = tuple(homeserver["units"])
        return Config(
            witness=witness.Settings(endpoints, **store),
            database=Database(**database) if database else None,
            homeserver=Homeserver(**homeserver) if homeserver else None,
            **document,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(str(error)) from error


def load_config(path: str) -> Config:
    """Read the configuration of this host."""
    try:
        return parse_config(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ConfigError as error:
        raise ConfigError(f"{path} is not the configuration of a guard ({error}); run the role dr_guard") from error


def boot_clock() -> float:
    """Return the seconds since the host was booted. Unlike the monotonic clock it counts those asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def read_text(path: pathlib.Path) -> str | None:
    """Return the content of a file, None if there is none or it is not for us."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a file so that nobody sees half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


class Memory:
    """What outlives a process: the last record, units that wait for the witness, and when the lease was kept last."""

    def __init__(self, config: Config) -> None:
        self._record = pathlib.Path(config.state) / "record.json"
        self._waiting = pathlib.Path(config.run) / "waiting"
        self._kept = pathlib.Path(config.run) / "kept"
        self._override = pathlib.Path(config.override)

    def record(self) -> Record | None:
        """Return the record that was heard last."""
        try:
            return Record(**json.loads(read_text(self._record) or ""))
        except (ValueError, TypeError):
            return None

    def remember(self, record: Record) -> None:
        """Keep a record."""
        write_text(self._record, json.dumps(record._asdict()))

    def override(self) -> int | None:
        """Return the epoch that an operator has answered for."""
        return parse_override(read_text(self._override))

    def waiting(self) -> list[str]:
        """Return the units that did not start, or were stopped, only for want of the witness."""
        with contextlib.suppress(OSError):
            return sorted(path.name for path in self._waiting.iterdir() if not path.name.startswith("."))
        return []

    def wait(self, unit: str) -> None:
        """Note that a unit waits."""
        write_text(self._waiting / unit, "")

    def forget(self, unit: str) -> None:
        """Note that it does so no more."""
        with contextlib.suppress(OSError):
            (self._waiting / unit).unlink()

    def kept(self) -> float | None:
        """Return when the lease was kept last, by the boot clock."""
        try:
            return float(read_text(self._kept) or "")
        except ValueError:
            return None

    def keep(self, moment: float) -> None:
        """Note when the lease was kept."""
        write_text(self._kept, repr(moment))


def run_tool(argv: list[str], text: str = "", timeout: float = TOOL_TIMEOUT) -> str:
    """Run a tool in the C locale and return what it prints; raise OSError with its first words if it fails."""
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{os.path.basename(argv[0])} did not end within {timeout:.3g} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise OSError(lines[0] if lines else f"{os.path.basename(argv[0])} ended with code {done.returncode}")
    return done.stdout


class Unit(t.NamedTuple):
    """A unit as systemd tells of it."""

    name: str
    active: str
    sub: str = ""


def parse_units(text: str) -> list[Unit]:
    """Return the units in the output of ``systemctl show``."""
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in text.split("\n\n")]
    return [
        Unit(block["Id"], block.get("ActiveState", ""), block.get("SubState", ""))
        for block in blocks
        if block.get("Id")
    ]


class Systemd:
    """What is asked of systemd."""

    def running(self, units: list[str]) -> list[Unit]:
        """Return those units that are not at rest."""
        shown = run_tool(["systemctl", "show", "--property=Id,ActiveState,SubState", "--", *units])
        return [unit for unit in parse_units(shown) if unit.active not in AT_REST]

    def start(self, unit: str) -> None:
        run_tool(["systemctl", "start", "--no-block", "--", unit])

    def stop(self, units: list[str]) -> None:
        """Have units stopped, and do not wait for it."""
        run_tool(["systemctl", "stop", "--no-block", "--", *units])

    def kill(self, units: list[str]) -> None:
        run_tool(["systemctl", "kill", "--signal=SIGKILL", "--", *units])


class Postgresql:
    """What is asked of the database server, and how it is stopped when systemd would take too long."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def postmaster(self) -> int | None:
        """Return the process that listens, whoever started it. The kernel says so even of one that hangs."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(TOOL_TIMEOUT)
            try:
                sock.connect(f"{self.database.socket}/.s.PGSQL.{self.database.port}")
                return int(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
            except (BlockingIOError, socket.timeout):
                # Its queue is full: something listens that does not answer. Systemd knows its unit.
                return 0
            except OSError:
                return None

    def has_signal(self) -> bool:
        """Return whether it is, or would start as, a standby. That nobody may look is no answer, but an OSError."""
        try:
            os.stat(os.path.join(self.database.data_directory, "standby.signal"))
        except FileNotFoundError:
            return False
        return True

    def standby(self) -> bool:
        """Return whether it is a standby. Someone may have put the file there for later, so a server is asked."""
        signed: bool | None
        try:
            signed = self.has_signal()
        except OSError:
            signed = None
        if signed is False:
            return False
        try:
            return self.query("SELECT pg_is_in_recovery()", "postgres") != "f"
        except OSError:
            return signed is True

    def query(self, statement: str, database: str) -> str:
        """Return what the server answers, or raise OSError."""
        wanted = self.database
        argv = [wanted.psql, "-XAtq", "--set=ON_ERROR_STOP=1", "--no-password", f"--host={wanted.socket}"]
        argv += [f"--port={wanted.port}", "--username=postgres", f"--dbname={database}"]
        bounds = f"SET statement_timeout = {TOOL_TIMEOUT * 1000}; SET default_transaction_read_only = on;\n"
        return run_tool(argv, f"{bounds}{statement};\n", TOOL_TIMEOUT + 1).strip()

    def facts(self) -> Json:
        """Return what a heartbeat says of a primary; of a standby only that it is one."""
        document = json.loads(self.query(FACTS, "postgres"))
        return t.cast(Json, document)

    def newest_message(self) -> int | None:
        """Return the time of the newest message, by the homeserver's own tables."""
        text = self.query(self.database.message_query, self.database.name)
        return int(text) if text else None

    def newest_event(self) -> int | None:
        """Return the number of the newest event, by the homeserver's own tables."""
        text = self.query(self.database.event_query, self.database.name)
        return int(text) if text else None

    def size(self) -> int:
        """Return the bytes of all databases."""
        return int(self.query("SELECT coalesce(sum(pg_database_size(oid)), 0) FROM pg_database", "postgres"))

    def lineage(self) -> Lineage | None:
        """Return what the data is of while no server runs; None where that cannot be read, such as of no data."""
        tool = os.path.join(os.path.dirname(self.database.psql), "pg_controldata")
        try:
            control = run_tool([tool, self.database.data_directory])
            names = os.listdir(os.path.join(self.database.data_directory, "pg_wal"))
        except OSError:
            return None
        return parse_lineage(control, names)

    def end(self, number: int) -> None:
        """Send a signal to the postmaster and to its children, which go on with their clients where it hangs."""
        pid = self.postmaster()
        if pid:
            for process in [pid, *children_of(pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)


# The checkpoint that tells of the timeline comes long after a promotion, the name of the log's file at once.
FACTS = """
SELECT CASE WHEN pg_is_in_recovery() THEN json_build_object('recovery', true) ELSE json_build_object(
    'recovery', false,
    'system_identifier', (SELECT system_identifier::text FROM pg_control_system()),
    'timeline', ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,
    'lsn', pg_current_wal_flush_lsn()::text,
    'limits', (SELECT json_object_agg(name, setting::bigint) FROM pg_settings WHERE name IN ('max_connections',
        'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction'))
) END
"""


def parse_lineage(control: str, names: list[str]) -> Lineage | None:
    """Return the lineage that pg_controldata tells of, and the names of the files of the log."""
    found = {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in control.splitlines())}
    try:
        # After a promotion the control file is behind until the next checkpoint, the history is not.
        histories = [int(name[:8], 16) for name in names if name.endswith(".history")]
        timeline = max([int(found["Latest checkpoint's TimeLineID"]), *histories])
        return Lineage(found["Database system identifier"], timeline)
    except (KeyError, ValueError):
        return None


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        text = read_text(entry / "stat")
        # The name may hold blanks and brackets; the parent is the second word after it.
        if text and int(text.rpartition(")")[2].split()[1]) == pid:
            found.append(int(entry.name))
    return found


class Lease:
    """A promise to the witness: who is not heard of for so long has stopped."""

    def __init__(self, config: Config, client: Client, memory: Memory, clock: t.Callable[[], float]) -> None:
        self._config, self._client, self._memory, self._clock = config, client, memory, clock
        self._number = 0
        self._kept: float | None = memory.kept()

    def left(self) -> float:
        """Return the seconds until this host must stop."""
        if self._kept is None:
            self.begin()
        return self._config.lease - (self._clock() - t.cast(float, self._kept))

    def begin(self) -> None:
        """Count from now on: nothing has served before."""
        self._note(self._clock())

    def keep(self, revision: int, deadline: Deadline) -> bool:
        """Renew it while the record is as it was seen. What counts is when it was asked for, not when it was given."""
        asked = self._clock()
        name = f"lease/{self._config.host}"
        if not self._number:
            entry = self._client.get(name, deadline)
            self._number = entry.lease if entry else 0
        if not (self._number and self._client.keep_alive(self._number, deadline) > 0):
            self._number = self._client.grant(lease_seconds(self._config.lease, self._config.stop_timeout), deadline)
            value = {"region": self._config.region, "host": self._config.host, "at": witness.stamp(utc_now())}
            if not self._client.put_while(PRIMARY, revision, name, value, deadline, self._number):
                self.release(deadline)
                return False
        self._note(asked)
        return True

    def release(self, deadline: Deadline) -> None:
        """Give it back: nothing on this host serves."""
        number, self._number = self._number, 0
        if not number:
            entry = self._client.get(f"lease/{self._config.host}", deadline)
            number = entry.lease if entry else 0
        if number and self._client.time_left(number, deadline) > 0:
            self._client.revoke(number, deadline)

    def _note(self, moment: float) -> None:
        self._kept = moment
        self._memory.keep(moment)


def notify(text: str) -> None:
    """Tell systemd something, where it is systemd who started this."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.connect(f"\0{path[1:]}" if path.startswith("@") else path)
            sock.sendall(text.encode())


def log(text: str) -> None:
    """Write a line to the journal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def ask(client: Client, memory: Memory, deadline: Deadline) -> Known:
    """Ask the witness for the record; where it is silent, return what was heard last."""
    old = memory.record()
    try:
        record = witness.current(client, deadline)
    except WitnessError as failure:
        return Known(old, failure.message)
    if record is not None and record != old:
        memory.remember(record)
    return Known(record)


class Guard:
    """What the service does, one turn after the other."""

    def __init__(self, config: Config, clock: t.Callable[[], float] = boot_clock) -> None:
        self.config, self.clock = config, clock
        self.client, self.memory = Client(config.witness), Memory(config)
        self.systemd = Systemd()
        self.postgresql = Postgresql(config.database) if config.database else None
        self.lease = Lease(config, self.client, self.memory, clock)
        # For the thread that beats: the record that lets this host serve.
        self.leave: Record | None = None
        self._said: t.Any = None
        self._complaints: dict[str, str] = {}
        self._told: t.Any = None
        self._told_at = -REPEAT * 1.0
        self._served = True

    def turn(self) -> None:
        """Ask, judge, act, and tell the witness. Nothing here takes longer than the watchdog allows."""
        notify("WATCHDOG=1")
        known = ask(self.client, self.memory, self._deadline())
        override = self.memory.override()
        verdict = judge(known, self.config.region, False, override, self.config.override)
        named = not known.failure and known.record is not None and known.record.region == self.config.region
        self.leave = known.record if named else None
        self._say(verdict, known)
        self._act(verdict, known, named)
        if not known.failure:
            self._try("the witness", lambda: self._tell(known, verdict, named))

    def _act(self, verdict: Verdict, known: Known, named: bool) -> None:
        serving = self.serving()
        if must_stop(verdict, known, self.config.region):
            if verdict.answer == NO:
                for unit in self.memory.waiting():
                    self.memory.forget(unit)
            # Who asks just now is told why not, and need not be stopped.
            self._stop(self.serving(asking=False), "nothing here may serve")
        elif self.config.lease:
            self._hold(serving, known, verdict, named)
        if verdict.answer == YES and not (self.config.lease and named and self.lease.left() <= 0):
            self._start_waiting()

    def _hold(self, serving: list[str], known: Known, verdict: Verdict, named: bool) -> None:
        """Keep the lease while something serves, and stop it in time if that cannot be done."""
        if not serving:
            self._served = False
            self.lease.begin()
            return
        if not self._served:
            self._served = True
            self.lease.begin()
        record = known.record
        if named and record is not None:
            self._try("the lease", lambda: self.lease.keep(record.revision, self._deadline()))
        if self.lease.left() <= 0 and not (verdict.answer == YES and not named):
            reason = f"the lease of {self.config.lease:.3g} s has run out"
            for unit in serving:
                self.memory.wait(unit)
            self._stop(serving, reason)

    def serving(self, asking: bool = True) -> list[str]:
        """Return the units that serve, with those that ask if they may. A standby does not."""
        running: list[str] = []
        try:
            units = self.systemd.running(self.config.units)
            running = [unit.name for unit in units if asking or unit.sub not in ASKING]
        except OSError as error:
            self._complain("systemd", str(error))
        database = self.config.database
        if database is not None and self.postgresql is not None:
            listens = self.postgresql.postmaster() is not None
            if listens and database.unit not in running:
                running.insert(0, database.unit)
            if database.unit in running and self.postgresql.standby():
                running.remove(database.unit)
        return running

    def _stop(self, serving: list[str], reason: str) -> None:
        """Stop what serves, with force if need be, and see that it has ended."""
        if not serving:
            return
        log(f"stopping {', '.join(serving)}, for {reason}")
        for number, seconds in ((signal.SIGQUIT, self.config.stop_timeout), (signal.SIGKILL, KILL_TIMEOUT)):
            if number == signal.SIGKILL:
                self._try("systemd", lambda: self.systemd.kill(serving))
            else:
                self._try("systemd", lambda: self.systemd.stop(serving))
            if self.postgresql is not None and self.config.database and self.config.database.unit in serving:
                self._end_database(number)
            if self._await_end(serving, seconds):
                log(f"stopped {', '.join(serving)}")
                return
            log(f"{', '.join(self.serving(asking=False))} did not end within {seconds:.3g} s")

    def _end_database(self, number: int) -> None:
        postgresql = self.postgresql
        if postgresql is not None:
            self._try("the database", lambda: postgresql.end(number))

    def _await_end(self, units: list[str], seconds: float) -> bool:
        end = self.clock() + seconds
        while set(self.serving(asking=False)) & set(units):
            if self.clock() >= end:
                return False
            notify("WATCHDOG=1")
            time.sleep(0.2)
        return True

    def _start_waiting(self) -> None:
        for unit in self.memory.waiting():
            log(f"starting {unit}, which waited for the witness")
            self.memory.forget(unit)
            self._try("systemd", functools.partial(self.systemd.start, unit))

    def _tell(self, known: Known, verdict: Verdict, named: bool) -> None:
        """Say what this guard has seen and what serves, when that changed and once a minute."""
        serving = self.serving()
        if self.config.lease and not serving:
            self.lease.release(self._deadline())
        epoch = known.record.epoch if known.record else 0
        told = (bool(serving), epoch, verdict.answer)
        if told == self._told and self.clock() - self._told_at < REPEAT:
            return
        at = witness.stamp(utc_now())
        word = {
            "region": self.config.region,
            "serves": bool(serving),
            "epoch": epoch,
            "override": verdict.answer == YES and not named,
            "lease_seconds": self.config.lease,
            "at": at,
        }
        self.client.put(f"guard/{self.config.host}", word, self._deadline())
        if named and known.record is not None and self.config.homeserver and self._homeserver_runs(serving):
            facts = dict(self.homeserver_facts(self.config.homeserver), at=at)
            self.client.put_while(
                PRIMARY, known.record.revision, f"homeserver/{self.config.host}", facts, self._deadline()
            )
        self._told, self._told_at = told, self.clock()

    def _homeserver_runs(self, serving: list[str]) -> bool:
        return any(self.config.database is None or unit != self.config.database.unit for unit in serving)

    def homeserver_facts(self, homeserver: Homeserver) -> Json:
        """Return what runs here, so that the other region can be held against it."""
        try:
            release: str | None = os.path.basename(os.readlink(homeserver.release_link))
        except OSError:
            release = None
        keys = read_text(pathlib.Path(homeserver.signing_key_file)) if homeserver.signing_key_file else None
        return {"region": self.config.region, "release": release, "signing_key_ids": signing_key_ids(keys or "")}

    def _deadline(self) -> Deadline:
        """Return the time for one question; where there is a lease, it leaves time to stop."""
        seconds = self.config.interval
        if self.config.lease:
            seconds = min(seconds, max(0.2, self.lease.left()))
        return Deadline(seconds)

    def pause(self) -> float:
        """Return the seconds until the next turn."""
        if self.config.lease and self._served:
            return min(self.config.interval, max(0.1, self.lease.left()))
        return self.config.interval

    def _say(self, verdict: Verdict, known: Known) -> None:
        """Log a verdict when it is another than before."""
        notify(f"STATUS={verdict.reason}")
        said = (verdict.answer, known.record and known.record.epoch, bool(known.failure))
        if said != self._said:
            log(verdict.reason)
        self._said = said

    def _try(self, what: str, act: t.Callable[[], t.Any]) -> None:
        """Do something that may fail without that anything else waits for it."""
        try:
            act()
        except (OSError, ValueError) as error:
            self._complain(what, str(error))
        except WitnessError as failure:
            self._complain(what, failure.message)
        else:
            self._complaints.pop(what, None)

    def _complain(self, what: str, text: str) -> None:
        if self._complaints.get(what) != text:
            log(f"{what}: {text}")
        self._complaints[what] = text


class Heart:
    """Writes the heartbeat of a primary, beside the guard: a database that hangs must not delay it."""

    def __init__(self, guard: Guard, postgresql: Postgresql) -> None:
        self.guard, self.postgresql = guard, postgresql
        self.client = Client(guard.config.witness)
        self._size: int | None = None
        self._measured = -REPEAT * 1.0
        self._message_after = 0.0
        self._message_failed = False
        self._said = ""

    def beat(self) -> bool:
        """Write one heartbeat, if this is the primary; never over that of another region."""
        record = self.guard.leave
        if record is None or self.postgresql.postmaster() is None:
            return False
        # Before the position is asked for: an age must not be told too small.
        at = witness.stamp(utc_now())
        event = self._ask(self.postgresql.database.event_query, self.postgresql.newest_event)
        facts = self.postgresql.facts()
        if facts.pop("recovery"):
            return False
        old = judge_lineage(record, Lineage(facts["system_identifier"], facts["timeline"]))
        if old is not None:
            self.say(f"no heartbeat: {old.reason}")
            return False
        value = {
            "region": self.guard.config.region,
            "host": self.guard.config.host,
            "at": at,
            "newest_message_ms": self._ask(self.postgresql.database.message_query, self.postgresql.newest_message),
            "newest_event": event,
            "database_bytes": self._bytes(),
            **facts,
        }
        return self.client.put_while(
            PRIMARY, record.revision, witness.HEARTBEAT, value, Deadline(self.guard.config.interval)
        )

    def _ask(self, query: str, ask: t.Callable[[], int | None]) -> int | None:
        # A homeserver that has no tables yet would fill the database's log.
        if not query or self.guard.clock() < self._message_after:
            return None
        try:
            return ask()
        except (OSError, ValueError) as error:
            self._message_after = self.guard.clock() + REPEAT
            if not self._message_failed:
                log(f"what is newest in the homeserver's tables is not known: {error}")
            self._message_failed = True
            return None

    def _bytes(self) -> int | None:
        """Return the size, which is measured once a minute: each file is looked at."""
        now = self.guard.clock()
        if now - self._measured >= REPEAT:
            self._size, self._measured = self.postgresql.size(), now
        return self._size

    def say(self, text: str) -> None:
        """Log what is in the way, once."""
        if text != self._said:
            log(text)
        self._said = text

    def go_on(self, ended: threading.Event) -> None:
        """Beat until the guard ends."""
        while not ended.wait(self.guard.config.interval):
            try:
                if self.beat():
                    self._said = ""
            except (OSError, ValueError, KeyError) as error:
                self.say(f"no heartbeat: the database gives no answer: {error}")
            except WitnessError as failure:
                self.say(f"no heartbeat: {failure.message}")


def run(config: Config) -> int:
    """Be the service until it is told to end. What it guards is not touched by that."""
    guard, ended = Guard(config), threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_words: ended.set())
    if guard.postgresql is not None:
        heart = Heart(guard, guard.postgresql)
        threading.Thread(target=heart.go_on, args=[ended], daemon=True).start()
    notify("READY=1")
    while not ended.is_set():
        guard.turn()
        select.select([reader], [], [], guard.pause())
    return 0


def check(config: Config, kind: str, unit: str, clock: t.Callable[[], float] = time.monotonic) -> int:
    """Return 0 if a unit may start. A witness that is silent is given some time: the network may be on its way."""
    memory = Memory(config)
    postgresql = Postgresql(config.database) if kind == "database" and config.database else None
    if postgresql is not None and postgresql.has_signal():
        verdict = judge(Known(None), config.region, True, None)
    else:
        verdict = _insist(config, memory, postgresql.lineage() if postgresql is not None else None, clock)
    if verdict.answer == ASK:
        memory.wait(unit)
        log(f"{unit} stays down until the witness says that it may start: {verdict.reason}")
        return 1
    memory.forget(unit)
    log(f"{unit} {'may start' if verdict.answer == YES else 'stays down'}: {verdict.reason}")
    return 0 if verdict.answer == YES else 1


def _insist(config: Config, memory: Memory, lineage: Lineage | None, clock: t.Callable[[], float]) -> Verdict:
    """Ask until there is an answer, or the time is over."""
    client, deadline = Client(config.witness), Deadline(config.check_timeout, clock)
    while True:
        verdict = _check_once(config, client, memory, lineage, deadline.within(config.interval * 2))
        if verdict.answer != ASK or deadline.remaining() < 1:
            return verdict
        time.sleep(1)


def _check_once(config: Config, client: Client, memory: Memory, lineage: Lineage | None, deadline: Deadline) -> Verdict:
    known = ask(client, memory, deadline)
    verdict = judge(known, config.region, False, memory.override(), config.override)
    record = known.record
    if known.failure or record is None or record.region != config.region:
        return verdict
    old = judge_lineage(record, lineage)
    if old is not None or not config.lease:
        return old or verdict
    # Nobody may see it serve without a lease.
    try:
        if Lease(config, client, memory, boot_clock).keep(record.revision, deadline):
            return verdict
        return Verdict(ASK, "the record was changed just now; it is asked for again")
    except WitnessError as failure:
        return Verdict(ASK, f"no lease could be had: {failure.message}")


def main(argv: list[str] | None = None) -> int:
    """Run a command."""
    parser = argparse.ArgumentParser(prog="matrixon-dr-guard", description="Keep down what the witness does not name.")
    parser.add_argument("--config", default=CONFIG)
    commands = parser.add_subparsers(dest="command", required=True)
    asked = commands.add_parser("check", help="end with 0 if a unit may start")
    asked.add_argument("kind", choices=["database", "homeserver"])
    asked.add_argument("--unit", required=True)
    commands.add_parser("run", help="be the service")
    options = parser.parse_args(argv)
    try:
        config = load_config(options.config)
    except ConfigError as error:
        log(f"matrixon-dr-guard: {error}")
        return 1
    if options.command == "run":
        return run(config)
    return check(config, options.kind, options.unit)
