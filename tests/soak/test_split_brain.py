"""Two regions, of which never both take writes: random cuts, kills and hangs while a failover goes on.

A real witness, primary, standby and guards with a lease, and links between all of them
that hang, are cut or are slow. The failover goes by the expressions of the role
dr_failover itself and by its modules. Clients try to write on both sides all the time.

SEED repeats the schedules, SCHEDULES says how many there are.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import random
import shutil
import signal
import socket
import threading
import time
import typing as t

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from clusters import until
from etcd import Etcd
from host import DATABASE, INTERVAL, Host
from links import CUT, HANG, PASS, SLOW, Ack, Link, Supervisor, Writer
from pairs import ROOT, Node, Pair, Template, numbers

from ansible_collections.matrixon.ops.plugins.module_utils._dr import guard, witness
from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.modules import matrixon_witness

pytestmark = pytest.mark.soak

SCHEDULES = int(os.environ.get("SCHEDULES", "10"))
LEASE, STOP = 3, 2
# Of the unit it is 15, which would make of each schedule a minute.
WATCHDOG = 4
# How long the old side may serve after it was heard last: what the witness counts.
LASTS = guard.lease_seconds(LEASE, STOP) - guard.WATCHDOG + WATCHDOG
# The least that a row and its commit take of the log, in bytes.
SMALLEST = 90
# How long somebody waits for a fence who has the patience, and who has not.
PATIENT, HASTY = 45, 2
OLD, NEW = "one", "two"


# --- the two regions


def to_server(node: Node) -> socket.socket:
    """Connect to a server, which listens nowhere but on its socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(f"{node.socket}/.s.PGSQL.{node.port}")
    except OSError:
        sock.close()
        raise
    return sock


class Side(Host):
    """The database host of a region: one of a pair, its guard, and the links that lead there."""

    def __init__(self, node: Node, base: pathlib.Path, store: Etcd, region: str, **flaws: t.Any) -> None:
        self.store, self.client, self.region, self.database = store, store.client(), region, node
        self.base = base
        self.base.mkdir()
        self.guard = None
        self.flaw = flaws.get("guard", "")
        self.proxy: t.Any = Link(lambda: socket.create_connection(("127.0.0.1", store.port), 10))
        self.way_in = Link(lambda: to_server(node))
        self._install()
        self._adapt()
        self.configure(
            region=region,
            host=region,
            lease=flaws.get("lease", LEASE),
            stop_timeout=STOP,
            check_timeout=3,
            homeserver=None,
            database={
                "unit": DATABASE,
                "data_directory": str(node.data),
                "socket": str(node.socket),
                "port": node.port,
                "name": "postgres",
                "psql": str(node.tools / "psql"),
            },
        )
        self.watchdog: float | None = flaws.get("watchdog", WATCHDOG)

    def _adapt(self) -> None:
        """Make the watchdog shorter, and spoil what the test wants spoilt."""
        path = self.base / "lib/matrixon_dr_guard/guard.py"
        text = path.read_text()
        changes = [(f"WATCHDOG = {guard.WATCHDOG}\n", f"WATCHDOG = {WATCHDOG}\n")]
        if self.flaw == "stops nothing":
            changes.append(
                ("        if not serving:\n            return\n        log(", "        return\n        log(")
            )
        for before, after in changes:
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        path.write_text(text)

    def watch(self) -> None:
        """Let the guard run from now on."""
        self.supervisor = Supervisor(self, str(self.base / "notify"), self.watchdog)

    def heal(self) -> None:
        self.proxy.set(PASS)
        self.way_in.set(PASS)

    def close(self) -> None:
        self.supervisor.end()
        self.proxy.close()
        self.way_in.close()


class Regions:
    """Both sides, clients that write on both, and what an operator does."""

    def __init__(
        self, model: Template, base: pathlib.Path, store: Etcd, stack: contextlib.ExitStack, **flaws: t.Any
    ) -> None:
        forget(store)
        place = base / f"regions{next(numbers)}"
        place.mkdir()
        place.chmod(0o755)
        stack.callback(shutil.rmtree, place)
        self.store, self.client, self.notes = store, store.client(), []
        self.pair = Pair(model, place / "pair", stack)
        self.old = Side(self.pair.one, place / OLD, store, OLD, **flaws)
        self.new = Side(self.pair.two, place / NEW, store, NEW)
        self.replication = Link(lambda: to_server(self.pair.one))
        stack.callback(self.replication.close)
        self.identifier = self.old.identifier
        self._follow()
        self.claim(OLD)
        self.begun = time.monotonic()
        self.clock = time.time() - self.begun
        for side in (self.old, self.new):
            side.watch()
            stack.callback(side.close)
        until(lambda: witness.HEARTBEAT in self.client.read(witness.Deadline(20)).entries, 60)
        self.writers = {side.region: Writer(side.region, side.way_in) for side in (self.old, self.new)}
        for writer in self.writers.values():
            stack.callback(writer.end)
        until(lambda: self.writers[OLD].acks)
        self.begun = time.monotonic()
        self.heartbeat: dict[str, t.Any] = {}
        self.loss = 0
        self.loss_seconds: float | None = None
        self.proof = ""

    def _follow(self) -> None:
        self.pair.follows(self.pair.two, self.pair.one)
        self.pair.two.set(
            primary_conninfo=f"host=127.0.0.1 port={self.replication.port} user=postgres sslmode=disable "
            "gssencmode=disable"
        )
        self.pair.one.start()
        self.pair.two.start()
        self.pair.streams()

    def note(self, text: str) -> None:
        self.notes.append(f"{time.monotonic() - self.begun:.1f} s {text}")

    def read(self) -> dict[str, t.Any]:
        return matrixon_witness.read(self.client, witness.Deadline(10))

    def claim(self, region: str) -> None:
        """Say who may serve, as the module does."""
        record = self.read()["record"] or {}
        wanted = {
            "region": region,
            "system_identifier": self.identifier,
            "timeline": record.get("timeline", 1),
            "by": "a test",
            "expected_epoch": record.get("epoch", 0),
        }
        matrixon_witness.claimed(self.client, wanted, witness.Deadline(10), True)

    def fail_over(self, patience: float, ignoring: bool = False) -> bool:
        """Do what the role does where nobody can log in on the old side. Say whether the region was claimed."""
        self.claim("")
        self.note("nobody may serve")
        end = time.monotonic() + patience
        while not (proof := fenced_by(self.read())) and not ignoring:
            if time.monotonic() > end:
                self._undo()
                return False
            time.sleep(1)
        self.proof = proof or "nothing"
        self.note(f"fenced by {self.proof}")
        self.pair.two.promote(state="drained", drain_timeout=30)
        self.heartbeat = self.read()["heartbeat"]
        state = self.pair.two.info(heartbeat=self.heartbeat)["standby"]
        self.loss, self.loss_seconds = state["lag_bytes"], state["lag_seconds"]
        self.claim(NEW)
        self.promote()
        return True

    def promote(self) -> bool:
        """Try to make the standby the primary. Its guard stops it if it could not hear that it may."""
        done = self.pair.two.call(
            "matrixon_promote", system_identifier=self.identifier, from_timeline=1, archive=False, promote_timeout=20
        )
        self.note(f"not promoted: {done['msg']:.120}" if done.get("failed") else "promoted")
        return not done.get("failed")

    def _undo(self) -> None:
        """Take the claim back, and start what was stopped."""
        self.claim(OLD)
        self.note("given up")
        if not self.old.postmaster():
            self.old.start(DATABASE)

    def heal(self) -> None:
        """Let everything be as it was before the faults."""
        self.note("healed")
        self.replication.set(PASS)
        for side in (self.old, self.new):
            side.heal()

    def settle(self) -> None:
        """Let the new region serve at last, as who repeats the failover does, and see that the old one does not."""
        count = len(self.writers[NEW].acks)
        end = time.monotonic() + 60
        while len(self.writers[NEW].acks) < count + 5:
            assert time.monotonic() < end, self.told()
            # Its guard stops it where it heard too late that it may serve.
            if not self.new.postmaster():
                self.note("the new one is started")
                self.new.start(DATABASE)
            # It may be stopped while it is asked; then it is started above.
            with contextlib.suppress(AssertionError):
                if self.pair.two.in_recovery():
                    self.promote()
            time.sleep(0.2)
        # Someone starts the old one; systemd asks the guard.
        self.old.start(DATABASE)
        tries = self.writers[OLD].tries
        until(lambda: self.writers[OLD].tries > tries + 20, 60)
        self.old.until(lambda: not self.old.postmaster())
        for writer in self.writers.values():
            writer.end()

    def problems(self) -> list[str]:
        """Return what must never be."""
        old, new = self.writers[OLD].acks, self.writers[NEW].acks
        first = min(ack.at for ack in new)
        both = [ack for ack in old if ack.at >= first]
        found = [f"split brain: {len(both)} writes, for {both[-1].at - first:.1f} s"] if both else []
        return found + self._losses([ack for ack in old if ack.at < first])

    def _losses(self, old: list[Ack]) -> list[str]:
        """Hold what is missing against what was said before the promotion."""
        here = set(self.pair.two.sql("SELECT body FROM messages").split())
        lost = [ack for ack in old if ack.name not in here]
        told_at = parse_time(self.heartbeat["at"]).timestamp() - self.clock
        # The position of a heartbeat is asked for after its time is taken.
        known = [ack for ack in lost if ack.at < told_at]
        self.note(
            f"{len(old)} writes before, {len(lost)} lost, {len(known)} of them known of, {self.loss} bytes told; the "
            f"last write was {old[-1].at - told_at:.1f} s after the heartbeat"
        )
        found = []
        if old[-1].at - told_at > LASTS:
            found.append(f"the old primary took writes for {old[-1].at - told_at:.1f} s after its last heartbeat")
        if len(known) * SMALLEST > self.loss:
            found.append(f"{len(known)} writes of before the heartbeat are lost, and {self.loss} bytes were told")
        if known and self.loss_seconds is not None and told_at - known[0].at > self.loss_seconds + 0.05:
            found.append(f"{told_at - known[0].at:.2f} s before the heartbeat are lost, and {self.loss_seconds} told")
        if missing := [ack for ack in self.writers[NEW].acks if ack.name not in here]:
            found.append(f"{len(missing)} writes of the new primary are not there")
        return found

    def told(self) -> str:
        """Return what happened, for people."""
        guards = "\n".join(f"guard {side.region}:\n{side.log}" for side in (self.old, self.new))
        return "\n".join([*self.notes, guards])


def forget(store: Etcd) -> None:
    """Let the witness know nothing."""
    root = store.root()
    prefix = root.settings.key("")
    wanted = {"key": witness.encode(prefix), "range_end": witness.encode(witness.after(prefix))}
    root.administer("kv/deleterange", wanted, witness.Deadline(20))


@functools.cache
def rules() -> dict[str, t.Any]:
    """Return the expressions by which the role counts a side as fenced."""
    path = ROOT / "roles/dr_failover/vars/main.yml"
    return t.cast("dict[str, t.Any]", DataLoader().load_from_file(str(path), trusted_as_template=True))


def fenced_by(found: dict[str, t.Any]) -> str:
    """Ask the role what shows that the old region is fenced."""
    variables = {
        **rules(),
        "groups": {"postgresql": [OLD, NEW], f"region_{OLD}": [OLD], f"region_{NEW}": [NEW]},
        "hostvars": {OLD: {}, NEW: {}},
        "dr_failover_from": OLD,
        "dr_failover_to": NEW,
        "dr_failover_witness": found,
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    stopped, ended = (
        templar.template(trust_as_template(f"{{{{ __dr_failover_{name} }}}}"))
        for name in ("guards_stopped", "lease_ended")
    )
    assert isinstance(stopped, bool) and isinstance(ended, bool)
    return "the guard" if stopped else "the lease" if ended else ""


# --- schedules


class Fault(t.NamedTuple):
    """What happens, from when on, for how long."""

    at: float
    seconds: float
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.at:.1f}+{self.seconds:.1f} {self.where} {self.what}"


class Plan(t.NamedTuple):
    """All that is random in one schedule, drawn before it begins."""

    faults: list[Fault]
    start: float
    hasty: bool


LINKS = ("witness one", "witness two", "replication", "client one", "client two")


def draw(chance: random.Random) -> Plan:
    """Draw a schedule. The way from the old region to the witness is cut more often, and for long."""
    start = chance.uniform(1, 5)
    faults = [
        Fault(chance.uniform(0, 8), chance.choice([chance.uniform(0.2, 3), chance.uniform(4, 15)]), where, what)
        for where in LINKS
        for what in chance.choices((HANG, CUT, SLOW), k=chance.randint(0, 2))
    ]
    if chance.random() < 0.5:
        # What ends earlier would end this, too.
        faults = [fault for fault in faults if fault.where != "witness one"]
        begin = max(0.0, start + chance.uniform(-4, 0.5))
        faults.append(Fault(begin, 60, "witness one", chance.choice((HANG, CUT))))
    if chance.random() < 0.4:
        # The guard goes on to tell of what never comes to the standby.
        faults = [fault for fault in faults if fault.where != "replication"]
        faults.append(Fault(max(0.0, start - chance.uniform(0.5, 4)), 60, "replication", chance.choice((HANG, CUT))))
    for where in ("guard one", "guard two"):
        faults += [Fault(chance.uniform(0, 10), 0, where, "kill") for dummy in range(chance.randint(0, 2))]
        if chance.random() < 0.6:
            faults.append(Fault(chance.uniform(0, 8), chance.uniform(0.5, 8), where, "stop"))
    return Plan(sorted(faults), start, chance.random() < 0.3)


class Trouble(threading.Thread):
    """Lets the faults of a plan happen, until it is told that all is to be healed."""

    def __init__(self, regions: Regions, faults: list[Fault], chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._regions, self._healed = regions, threading.Event()
        self._stopped: dict[Fault, int] = {}
        moments = [(fault.at, True, fault) for fault in faults]
        moments += [(fault.at + fault.seconds, False, fault) for fault in faults if fault.seconds]
        self._moments = sorted(moments)
        self._delays = {fault: chance.uniform(0.01, 0.2) for fault in faults}
        self.start()

    def run(self) -> None:
        for moment, begins, fault in self._moments:
            if self._healed.wait(max(0.0, self._regions.begun + moment - time.monotonic())):
                break
            self._act(fault, begins)
        for pid in self._stopped.values():
            resume(pid)

    def _act(self, fault: Fault, begins: bool) -> None:
        kind, region = f"{fault.where} ".split(" ")[:2]
        side = self._regions.old if region == OLD else self._regions.new
        if fault.what == "kill":
            side.supervisor.signal(signal.SIGKILL)
        elif fault.what == "stop" and begins:
            self._stopped[fault] = side.supervisor.signal(signal.SIGSTOP)
        elif fault.what == "stop":
            resume(self._stopped.pop(fault))
        else:
            link = {"witness": side.proxy, "client": side.way_in}.get(kind, self._regions.replication)
            link.set(fault.what if begins else PASS, self._delays[fault])

    def heal(self) -> None:
        self._healed.set()
        self.join(30)


def resume(pid: int) -> None:
    """Let a process go on, if the watchdog has not ended it; its number is not given anew so soon."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Etcd]:
    running = Etcd(tmp_path_factory.mktemp("etcd"))
    running.start()
    try:
        running.secure()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def model(base: pathlib.Path, major: int) -> Template:
    return Template(base / "model", major)


def test_never_do_both_regions_take_writes(model: Template, base: pathlib.Path, store: Etcd) -> None:
    seed = int(os.environ.get("SEED", "1"))
    for number in range(1, SCHEDULES + 1):
        chance = random.Random(f"{seed} {number}")
        plan = draw(chance)
        print(f"\nseed {seed} schedule {number}/{SCHEDULES}: {'; '.join(map(str, plan.faults))}", flush=True)
        with contextlib.ExitStack() as stack:
            regions = Regions(model, base, store, stack)
            trouble = Trouble(regions, plan.faults, chance)
            stack.callback(trouble.heal)
            time.sleep(plan.start)
            if not (plan.hasty and regions.fail_over(HASTY)) and not regions.proof:
                assert regions.fail_over(PATIENT), regions.told()
            time.sleep(chance.uniform(0.2, 2))
            trouble.heal()
            regions.heal()
            regions.settle()
            found = regions.problems()
            print("; ".join(regions.notes), flush=True)
            restarts = [side.supervisor.restarts for side in (regions.old, regions.new)]
            print(f"guards were started again {restarts} times; problems: {found or 'none'}", flush=True)
            assert not found, f"{found}\n{regions.told()}"


@pytest.mark.parametrize(
    ("ignoring", "flaws"),
    # A lease that is longer than a promotion takes, so that not the guard saves who does not wait.
    [(True, {"lease": 60}), (False, {"guard": "stops nothing"})],
    ids=["the fence is not waited for", "the guard stops nothing"],
)
def test_a_rule_that_is_broken_is_found(
    model: Template, base: pathlib.Path, store: Etcd, ignoring: bool, flaws: dict[str, t.Any]
) -> None:
    with contextlib.ExitStack() as stack:
        regions = Regions(model, base, store, stack, **flaws)
        regions.old.proxy.set(HANG)
        # A standby that still gets something is not promoted.
        regions.replication.set(HANG)
        assert regions.fail_over(PATIENT, ignoring), regions.told()
        until(lambda: regions.writers[NEW].acks and regions.writers[OLD].acks[-1].at > regions.writers[NEW].acks[0].at)
        for writer in regions.writers.values():
            writer.end()
        found = regions.problems()
        print("; ".join([*regions.notes, *found]), flush=True)
        assert found[0].startswith("split brain"), found


def test_a_guard_that_nobody_wakes_is_the_hole_that_is_told_of(
    model: Template, base: pathlib.Path, store: Etcd
) -> None:
    with contextlib.ExitStack() as stack:
        # As on a host whose systemd hangs, too.
        regions = Regions(model, base, store, stack, watchdog=None)
        pid = regions.old.supervisor.signal(signal.SIGSTOP)
        regions.replication.set(HANG)
        assert regions.fail_over(PATIENT), regions.told()
        until(lambda: regions.writers[NEW].acks and regions.writers[OLD].acks[-1].at > regions.writers[NEW].acks[0].at)
        woken = time.monotonic()
        resume(pid)
        regions.settle()
        found = regions.problems()
        after = regions.writers[OLD].acks[-1].at - woken
        print(f"{'; '.join([*regions.notes, *found])}; it took writes for {after:.2f} s after it went on", flush=True)
        assert found[0].startswith("split brain"), found
        assert after < 2 * INTERVAL + STOP + 5
