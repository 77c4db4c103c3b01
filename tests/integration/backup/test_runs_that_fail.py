"""What only whole runs show: each failure is one of the module, with its cause, and the good sets stay as they were."""

from __future__ import annotations

import datetime
import importlib
import os
import pathlib
import re
import signal
import subprocess
import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from clusters import digests, listing, make_owned, pids, run, until
from modules import Store, answer, start
from stores import MediaStore, mounted

from ansible_collections.matrixon.ops.plugins.module_utils._backup import backup, prove, prune, rebuild
from ansible_collections.matrixon.ops.plugins.module_utils._backup.config import Config
from ansible_collections.matrixon.ops.plugins.module_utils._backup.native import Native
from ansible_collections.matrixon.ops.plugins.module_utils._backup.options import Options
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._backup.snapshots import Snapshots
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Store as Place

DAYS = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)
TOOLS = {"native": "pg_basebackup", "logical": "pg_dump "}
DUMP_WAITS = "wait_event_type = 'Lock' AND query ~ '^LOCK TABLE'"
OPERATIONS: dict[str, t.Callable[..., Outcome]] = {
    "matrixon_backup": backup.run,
    "matrixon_backup_drill": prove.run,
    "matrixon_backup_prune": prune.run,
    "matrixon_restore": rebuild.run,
}


def resolved(name: str, options: dict[str, t.Any], patch: pytest.MonkeyPatch) -> Options:
    """Return options as a module's own argument spec fills them up."""
    module = importlib.import_module(f"ansible_collections.matrixon.ops.plugins.modules.{name}")
    found: list[Options] = []

    class Fake:
        def __init__(self, argument_spec: dict[str, t.Any], supports_check_mode: bool, **rules: t.Any) -> None:
            checked = ArgumentSpecValidator(argument_spec).validate(options)
            assert not checked.error_messages
            self.params = checked.validated_parameters
            found.append(self.params)

    with patch.context() as inner:
        inner.setattr(module, "AnsibleModule", Fake)
        inner.setattr(module, "run_module", lambda *dummy: None)
        module.main()
    return found[0]


class Here:
    """Operations in this process, where the clock can be set and a step can be hurt."""

    def __init__(self, store: Store, patch: pytest.MonkeyPatch) -> None:
        self.store, self._patch = store, patch

    def __call__(self, name: str, at: datetime.datetime | None = None, **options: t.Any) -> Outcome:
        given = resolved(name, {**self.store.options, **options}, self._patch)
        if at is None:
            return OPERATIONS[name](given, False)
        make = Place.__init__
        with self._patch.context() as inner:
            inner.setattr(Place, "__init__", lambda *rest, **more: make(*rest, **{**more, "clock": lambda: at}))
            return OPERATIONS[name](given, False, clock=lambda: at)

    def backup(self, at: datetime.datetime | None = None, **options: t.Any) -> Outcome:
        return self("matrixon_backup", at, **{"database": self.store.database, **options})


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(store, monkeypatch)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def proven(store: Store, **options: t.Any) -> str:
    """Make a set and prove it."""
    name = store.made(**options)
    store.good("matrixon_backup_drill", set=name)
    return name


def hidden(store: Store) -> list[str]:
    return [name for name in os.listdir(store.path / "sets") if name.startswith(".")]


def largest(store: Store, name: str) -> pathlib.Path:
    return max((store.path / "sets" / name / "db").rglob("*"), key=lambda path: path.stat().st_size)


def flip(path: pathlib.Path) -> None:
    """Change one bit and nothing that a listing shows."""
    info = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def descendants(pid: int) -> list[int]:
    """Return a process and all that it started, and they started."""
    children: dict[int, list[int]] = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


# --- F4: everything that makes a set is killed at once


@pytest.mark.parametrize("driver", ["native", pytest.param("logical", marks=pytest.mark.soak)])
def test_f4_a_run_that_is_killed_with_all_its_tools_leaves_nothing_that_counts(store: Store, driver: str) -> None:
    good = proven(store)
    before = digests(store.path / "sets" / good)
    database = {**store.database, "driver": driver}
    with store.server.held() if driver == "native" else store.server.locked("events"):
        process = store.start("matrixon_backup", database=database)
        until(lambda: pids(TOOLS[driver], str(store.server.socket)))
        if driver == "logical":
            store.server.waits(DUMP_WAITS)
        for pid in descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
        until(lambda: pids(TOOLS[driver], str(store.server.socket)) == [])
    assert process.returncode == -signal.SIGKILL
    assert store.sets == [good], "nothing has a final name that is not whole"
    (left,) = hidden(store)
    assert left.startswith(".partial-")
    info = store.good("matrixon_backup_info")
    assert [entry["id"] for entry in info["sets"]] == [good]
    assert store.statuses(info)["killed_runs"] == "warning" and left in info["msg"]
    last = store.made(database={"driver": driver})
    assert (store.sets, hidden(store)) == (sorted([good, last]), [])
    assert digests(store.path / "sets" / good) == before


# --- F6: nights that fail


def test_f6_nights_that_fail_push_no_proven_set_out(store: Store, here: Here) -> None:
    good = [proven(store) for dummy in range(3)]
    bad = store.made()
    flip(largest(store, bad))
    assert store.call("matrixon_backup_drill", set=bad)["failed"]
    before = {name: digests(store.path / "sets" / name) for name in good}
    store.server.kill()
    for dummy in range(3):
        night = store.backup()
        assert night["failed"] and "PostgreSQL" in night["msg"], night["msg"]
        assert f"The newest complete set is still {good[-1]}" in night["msg"], "a drill refuted the one after it"
    done = here("matrixon_backup_prune", now() + 10 * DAYS, max_age=7, min_verified=2)
    assert done.values["removed"] == good[:1], done.plan
    assert set(store.sets) == {*good[1:], bad}
    later = here("matrixon_backup_prune", now() + 1000 * DAYS, max_age=7, min_verified=1)
    assert later.values["removed"] == good[1:2], later.plan
    assert f"set {good[2]} stays: it is the newest verified set, which stays whatever its age" in later.plan
    assert digests(store.path / "sets" / good[2]) == before[good[2]]


# --- F19: one bit of a set's file


@pytest.mark.parametrize("driver", ["native", pytest.param("logical", marks=pytest.mark.soak)])
def test_f19_one_bit_of_a_sets_file_is_found_by_reading_it_again(read_only: Store, driver: str) -> None:
    store = read_only
    good = proven(store)
    bad = proven(store, database={"driver": driver})
    before = digests(store.path / "sets" / good)
    victim = largest(store, bad)
    flip(victim)
    info = store.call("matrixon_backup_info", verify_shares=1, fail_on="critical")
    assert info["failed"] and store.statuses(info)["set_checksums"] == "critical"
    assert victim.name in info["msg"] and bad in info["msg"] and good not in info["msg"]
    directory = store.root / "restored"
    refused = store.call("matrixon_restore", directory=str(directory), set=bad)
    assert refused["failed"] and f"set {bad} is damaged" in refused["msg"], refused["msg"]
    assert not directory.exists()
    drill = store.call("matrixon_backup_drill", set=bad)
    assert drill["failed"] and f"set {bad} is damaged" in drill["msg"] and victim.name in drill["msg"]
    after = store.call("matrixon_backup_info")
    assert {entry["id"]: entry["status"] for entry in after["sets"]} == {good: "verified", bad: "complete"}
    assert store.statuses(after)["damaged_sets"] == "critical"
    assert digests(store.path / "sets" / good) == before


# --- F20: the only copy


def test_f20_the_only_proven_set_is_never_removed(store: Store, here: Here) -> None:
    only = proven(store)
    before = digests(store.path / "sets" / only)
    for check in (True, False):
        refused = store.call("matrixon_backup", check=check, name=only, state="absent")
        assert refused["failed"] and f"set {only} is the only one that a drill has proved" in refused["msg"]
        assert "make and prove another one first" in refused["msg"]
    late = here("matrixon_backup_prune", now() + 1000 * DAYS, max_age=1, min_verified=1)
    assert late.values["removed"] == [] and not late.changed
    unproven = store.made()
    assert store.call("matrixon_backup", name=only, state="absent")["failed"], "the other one is not proven"
    assert digests(store.path / "sets" / only) == before
    store.good("matrixon_backup_drill", set=unproven)
    assert store.good("matrixon_backup", name=only, state="absent")["changed"]
    assert store.sets == [unproven]


# --- the clock


def test_a_clock_that_jumps_back_changes_no_order(store: Store, here: Here) -> None:
    """The set that was made last is the newest, though its name and its times say that it is an hour older."""
    begin = now()
    first = here.backup(begin).values["set"]["id"]
    second = here.backup(begin - HOUR).values["set"]["id"]
    assert sorted([first, second]) == [second, first]
    assert here("matrixon_backup_drill", begin - HOUR, set=first).values["sets"] == [first]
    assert here("matrixon_backup_drill", begin - HOUR).values["sets"] == [second], (
        "the newest is the last that was made"
    )
    done = here("matrixon_backup_prune", begin - HOUR, keep_last=1, min_verified=1)
    assert done.values["removed"] == [first] and store.sets == [second]
    third = here.backup(begin - 2 * HOUR).values["set"]["id"]
    info = store.good("matrixon_backup_info")
    assert [entry["id"] for entry in info["sets"]] == [third, second]
    assert here("matrixon_backup_prune", begin + HOUR, keep_last=1, min_verified=1).values["removed"] == []


# --- health


def health(store: Store) -> dict[str, tuple[str, str]]:
    """Return what matrixon_health says of the sets: status and words of each check."""
    options = {"deployment": "test", "profile": "synapse", "backup": {"root": str(store.root)}}
    said = answer(start("matrixon_health", **options, detail="full"))
    return {check["name"]: (check["status"], check["message"]) for check in said["report"]["checks"]}


def archive_log(store: Store) -> list[pathlib.Path]:
    """Fill some segments and archive them as pg_receivewal does; return the segments."""
    wal = make_owned(store.path / "wal")
    for dummy in range(4):
        store.server.sql("CREATE TABLE IF NOT EXISTS marks (a int)")
        store.server.sql("INSERT INTO marks VALUES (1)")
        store.server.sql("SELECT pg_switch_wal()")
    end = store.server.sql("SELECT pg_current_wal_lsn()")
    store.server.sql("INSERT INTO marks VALUES (2)")
    argv = ["pg_receivewal", f"--directory={wal}", f"--endpos={end}", "--slot=archive", f"--host={store.server.socket}"]
    run(str(store.server.tools / argv[0]), *argv[1:], f"--port={store.server.port}", "--username=postgres")
    return sorted(path for path in wal.iterdir() if len(path.name) == 24)


def test_health_says_how_old_the_newest_proven_set_is(store: Store, here: Here) -> None:
    assert health(store)["backup_verified_age"][0] == "skipped"
    for days, status in ((16, "critical"), (9, "warning"), (1, "ok")):
        name = here.backup(now() - days * DAYS).values["set"]["id"]
        if days == 16:
            assert health(store)["backup_verified_age"][0] == "critical", "a set that nobody has proved is no proof"
        store.good("matrixon_backup_drill", set=name)
        found, words = health(store)["backup_verified_age"]
        assert found == status and name in words
    fresh = store.made()
    said = health(store)
    assert name in said["backup_verified_age"][1] and fresh in said["backup_age"][1]
    assert said["backup_archive_age"][0] == "skipped"


def test_health_says_how_old_the_end_of_the_log_is_and_sees_a_hole(store: Store) -> None:
    store.server.sql("SELECT pg_create_physical_replication_slot('archive', true)")
    store.made()
    segments = archive_log(store)
    assert health(store)["backup_archive_age"][0] == "ok"
    for path in (store.path / "wal").iterdir():
        os.utime(path, (now().timestamp() - 700,) * 2)
    assert health(store)["backup_archive_age"][0] == "warning"
    segments[-2].unlink()
    status, words = health(store)["backup_archive_age"]
    assert status == "critical" and f"lacks {segments[-2].name}" in words


# --- a disk that fills


class Small:
    """A store on a disk that a test can fill, with media and configuration to keep in it."""

    def __init__(self, here: Here, place: pathlib.Path, media: MediaStore, recipient: str) -> None:
        self.here, self.store, self.place = here, here.store, place
        self.options = {
            "database": self.store.database,
            "media": {"driver": "rsync", "path": str(media.root), "required": ["local_content"]},
            "config": {"paths": [str(media.root.parent / "homeserver.yaml")], "recipients": [recipient]},
        }

    def backup(self) -> Outcome:
        return self.here.backup(**self.options)

    def fill(self) -> None:
        """Leave no byte."""
        with open(self.place / "ballast", "ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def hurt(self, patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        """Let the disk be full from the moment on at which something begins."""
        real = getattr(owner, name)

        def late(*args: t.Any, **options: t.Any) -> t.Any:
            self.fill()
            return real(*args, **options)

        patch.setattr(owner, name, late)


@pytest.fixture
def small(place: pathlib.Path, here: Here, tmp_path: pathlib.Path) -> t.Iterator[Small]:
    disk = make_owned(place / "disk")
    with mounted(disk, "160m"):
        here.store.root = make_owned(disk / "store")
        here.store.options["root"] = str(here.store.root)
        media = MediaStore(tmp_path / "media")
        (tmp_path / "homeserver.yaml").write_text("server_name: example.org\n" * 5000)
        key = tmp_path / "key"
        subprocess.run(["age-keygen", "-o", str(key)], check=True, capture_output=True)
        said = subprocess.run(["age-keygen", "-y", str(key)], check=True, capture_output=True, text=True)
        yield Small(here, disk, media, said.stdout.strip())


PHASES: dict[str, tuple[type, str]] = {
    "the copy": (Native, "_copy"),
    "the log": (Native, "_pack_log"),
    "the media": (Snapshots, "backup"),
    "the configuration": (Config, "backup"),
    "the manifest": (Place, "commit"),
    "the catalog": (Place, "write_catalog"),
}


def test_a_disk_that_fills_in_any_phase_of_a_backup_is_named_and_costs_no_set(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = small.store
    good = small.backup().values["set"]["id"]
    store.good("matrixon_backup_drill", media={})
    before = digests(store.path / "sets" / good)
    for phase, (owner, name) in PHASES.items():
        seen = store.sets
        with monkeypatch.context() as patch:
            small.hurt(patch, owner, name)
            outcome = small.backup()
        assert outcome.failed, phase
        assert re.search("(?i)no space left on device|make room there", outcome.msg), (phase, outcome.msg)
        # The catalog comes after the set, which is whole then and stays.
        assert len(store.sets) == len(seen) + (phase == "the catalog"), phase
        assert digests(store.path / "sets" / good) == before, phase
        (small.place / "ballast").unlink()
    last = small.backup()
    assert not last.failed, last.msg
    assert hidden(store) == []
    drilled = store.good("matrixon_backup_drill", set="unproven", media={})
    assert drilled["report"]["status"] == "ok", drilled["msg"]
    assert store.good("matrixon_backup_info", verify_shares=1)["report"]["status"] == "ok"


def test_a_disk_that_fills_while_a_set_is_restored_or_proven_leaves_the_set_and_no_half_copy(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = small.store
    good = small.backup().values["set"]["id"]
    store.good("matrixon_backup_drill", media={})
    before = digests(store.path / "sets" / good)
    directory = small.place / "restored"
    with monkeypatch.context() as patch:
        small.hurt(patch, Native, "_unpack")
        restore = small.here("matrixon_restore", directory=str(directory))
        assert restore.failed and "No space left on device" in restore.msg, restore.msg
        assert not [name for name in os.listdir(small.place) if "restored" in name]
        (small.place / "ballast").unlink()
        drill = small.here("matrixon_backup_drill", scratch=str(small.place / "scratch"))
        assert drill.failed and "No space left on device" in drill.msg, drill.msg
        assert not (small.place / "scratch").exists() or listing(small.place / "scratch") == []
        (small.place / "ballast").unlink()
    assert digests(store.path / "sets" / good) == before
    assert pids("postgres", str(small.place)) == []
    assert store.good("matrixon_backup_drill", media={})["report"]["status"] == "ok"
    assert not small.here("matrixon_restore", directory=str(directory)).failed
