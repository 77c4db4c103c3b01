"""Measure backups against the operations guide's script, and against the bare engine.

All contenders work on the same server and the same media store in one run, in turns
(guide, ours, guide, ours), so that a busy machine slows all of them. What is ours runs
as Ansible runs it: a module, options on standard input. It asserts nothing: figures are
for people.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import typing as t

import contained
from clusters import USER, Cluster, make_owned, until
from data import Database, Media
from meter import Reading, measure

from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import installed
from ansible_collections.matrixon.ops.plugins.module_utils._backup.native import LEVEL
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_output import read_version
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_rules import WANTED

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".build/collections"
PACKAGES = ("postgresql", "pgbackrest", "zstd", "rsync", "restic", "ansible-core", "procps")
FIRST_INCREMENTAL = 17
MB = 1_000_000


class Goal(t.NamedTuple):
    """One line of the table: ours over another one's, in one unit, and what it should be at most."""

    name: str
    ours: str
    other: str
    unit: str
    goal: float | None = None


GOALS = (
    Goal("full backup", "full", "guide dump", "wall", 0.20),
    Goal("full backup", "full", "guide dump", "cpu", 0.28),
    Goal("full backup", "full", "guide dump", "bytes"),
    Goal("full backup", "full", "guide dump", "peak"),
    Goal("incremental, 1 % changed", "incremental", "guide dump after the change", "wall", 0.06),
    Goal("incremental, 1 % changed", "incremental", "guide dump after the change", "cpu", 0.07),
    Goal("incremental, 1 % changed", "incremental", "guide dump after the change", "bytes", 0.05),
    Goal("incremental, ids in order", "incremental, ids in order", "guide dump after the change", "wall", 0.06),
    Goal("incremental, ids in order", "incremental, ids in order", "guide dump after the change", "cpu", 0.07),
    Goal("incremental, ids in order", "incremental, ids in order", "guide dump after the change", "bytes", 0.05),
    Goal("restore to open for queries", "restore", "guide restore", "wall", 0.15),
    Goal("restore to open for queries", "restore", "guide restore", "cpu"),
    Goal("proof by drill / gunzip -t", "drill", "guide gunzip -t", "wall", 0.80),
    Goal("proof by drill / gunzip -t", "drill", "guide gunzip -t", "cpu"),
    Goal("proof of the chain / gunzip -t", "drill of the chain", "guide gunzip -t", "wall", 0.80),
    Goal("pgbackrest, full", "pgbackrest full", "guide dump", "wall", 0.20),
    Goal("pgbackrest, full", "pgbackrest full", "guide dump", "cpu", 0.28),
    Goal("pgbackrest, full", "pgbackrest full", "guide dump", "bytes"),
    Goal("pgbackrest, incremental", "pgbackrest incremental", "guide dump after the change", "wall", 0.06),
    Goal("pgbackrest, incremental", "pgbackrest incremental", "guide dump after the change", "cpu", 0.07),
    Goal("pgbackrest, incremental", "pgbackrest incremental", "guide dump after the change", "bytes", 0.05),
    Goal("pgbackrest, first proof / gunzip -t", "pgbackrest drill", "guide gunzip -t", "wall", 0.80),
    Goal("pgbackrest, next proof / gunzip -t", "pgbackrest drill, kept copy", "guide gunzip -t", "wall", 0.80),
    Goal("pgbackrest, next proof / gunzip -t", "pgbackrest drill, kept copy", "guide gunzip -t", "cpu"),
    Goal("pgbackrest, restore to open", "pgbackrest restore", "guide restore", "wall", 0.15),
    Goal("pgbackrest, delta restore to open", "pgbackrest delta restore", "guide restore", "wall", 0.05),
    Goal("media, all, rsync driver", "media all, rsync", "guide rsync, first", "wall"),
    Goal("media, all, restic driver", "media all, restic", "guide rsync, first", "wall"),
    Goal("media, list, rsync driver", "media list, rsync", "guide rsync, no change", "wall", 0.10),
    Goal("media, list, restic driver", "media list, restic", "guide rsync, no change", "wall", 0.10),
    Goal("media, list, rsync driver", "media list, rsync", "guide rsync, no change", "cpu"),
    Goal("media, list, restic driver", "media list, restic", "guide rsync, no change", "cpu"),
    Goal("media, list / guide, 1 % changed", "media list, rsync", "guide rsync, 1 % changed", "wall"),
    Goal("full over bare pg_basebackup", "full", "bare full", "wall", 1.05),
    Goal("full over bare pg_basebackup", "full", "bare full", "cpu"),
    Goal("full over bare without its sync", "full", "bare full, not brought to the disk", "wall"),
    Goal("incremental over bare", "incremental", "bare incremental", "wall", 1.05),
    Goal("incremental over bare", "incremental", "bare incremental", "cpu"),
)


def as_owner(*argv: str, **options: t.Any) -> str:
    """Run a command as the server's user, however long it takes; it must succeed."""
    if os.geteuid() == 0:
        options = {"user": USER, "group": USER, "extra_groups": [], **options}
    keywords = {"capture_output": True, "text": True, "cwd": "/", "umask": 0o077, **options}
    done = subprocess.run(argv, check=False, **keywords)
    if done.returncode:
        raise SystemExit(f"{argv} failed: {done.stdout}{done.stderr}")
    return (done.stdout or "").strip()


class Server(Cluster):
    """A server set up as one that holds people's data."""

    def configure(self) -> None:
        super().configure()
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write("fsync = on\nshared_buffers = '256MB'\nmax_wal_size = '4GB'\nmaintenance_work_mem = '256MB'\n")

    def shell(self, script: str) -> None:
        """Run a script of the guide's as the server's user, with the server's own tools."""
        variables = {"PGHOST": str(self.socket), "PGPORT": str(self.port), "PGUSER": "postgres"}
        path = f"{self.tools}:{os.environ['PATH']}"
        as_owner("bash", "-c", script, env={**os.environ, **variables, "PATH": path})


class Readings:
    """All readings of a run, by the name of what was measured."""

    def __init__(self) -> None:
        self.all: dict[str, list[Reading]] = {}

    def take(
        self,
        name: str,
        act: t.Callable[[], t.Any],
        stored: t.Callable[[t.Any], int] = lambda _answer: 0,
        server: Cluster | None = None,
    ) -> t.Any:
        reading = measure(act, server.postmaster() if server else None, stored)
        self.all.setdefault(name, []).append(reading)
        words = f"{reading.wall:8.2f} s {reading.cpu:8.2f} s CPU {reading.stored / MB:9.1f} MB"
        print(f"  {name:36} {words} {reading.peak / MB:7.0f} MB memory", flush=True)
        return reading.answer

    def note(self, name: str, wall: float) -> None:
        """Take what another reading had in it."""
        self.all.setdefault(name, []).append(Reading(wall, 0.0, 0, 0))

    def median(self, name: str, unit: str) -> float | None:
        found = [reading.figures()[unit] for reading in self.all.get(name, [])]
        return statistics.median(found) if found else None


def module(verb: str, /, **options: t.Any) -> dict[str, t.Any]:
    """Run a module as Ansible does; it must succeed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / f"plugins/modules/{verb}.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{verb} failed: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return t.cast(dict[str, t.Any], json.loads(done.stdout))


class Store:
    """A store of sets and the modules that work on it."""

    def __init__(self, root: pathlib.Path, name: str, owner: str | None) -> None:
        self.root = make_owned(root) if owner else root
        self.options = {"root": str(root), "deployment": "bench", "profile": "synapse", "server": name}
        if owner and os.geteuid() == 0:
            self.options["owner"] = owner
        self.path = root / "bench" / name

    def call(self, verb: str, /, **options: t.Any) -> dict[str, t.Any]:
        return module(verb, **self.options, **options)


def size(path: pathlib.Path) -> int:
    """Return the bytes of a file, or of all files below a directory."""
    if path.is_file():
        return path.stat().st_size
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())


def set_bytes(answer: dict[str, t.Any]) -> int:
    """Return the bytes of the set that a module made."""
    return int(answer["set"]["bytes"])


def engine_is_new_enough() -> bool:
    """Tell if there is a pgBackRest here that the driver works with."""
    if not shutil.which("pgbackrest"):
        return False
    return read_version(as_owner("pgbackrest", "version")) >= WANTED


# --- the database


class DatabaseBench:
    """Rounds of the database: the guide's dump and restore, our sets, and the bare engine."""

    def __init__(self, place: pathlib.Path, megabytes: int, readings: Readings) -> None:
        self.place, self.readings = place, readings
        majors = [number for number in installed() if os.path.exists(f"/usr/lib/postgresql/{number}/bin/initdb")]
        if not majors:
            raise SystemExit("no PostgreSQL server is installed; install one, or use --container")
        self.server = Server(place / "server", max(majors), 5433)
        self.server.make()
        self.server.start()
        self.store = self._new_store()
        self.scratch = make_owned(place / "scratch")
        self.server.sql("CREATE DATABASE synapse TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
        self.data = Database(self._sql, megabytes * MB)
        self.incremental = self.server.major >= FIRST_INCREMENTAL

    def _new_store(self) -> Store:
        """Return an empty store: the last set that was proven cannot be removed from one."""
        if (self.place / "store").exists():
            shutil.rmtree(self.place / "store")
        return Store(self.place / "store", "db1", USER)

    def _sql(self, statements: str) -> str:
        argv = [str(self.server.tools / "psql"), "-XqAt", "--set=ON_ERROR_STOP=1", f"--host={self.server.socket}"]
        argv += [f"--port={self.server.port}", "--username=postgres", "--dbname=synapse"]
        return as_owner(*argv, input=statements)

    def fill(self) -> str:
        self.data.fill()
        facts = self._sql("SELECT pg_size_pretty(pg_database_size('synapse')) || ', ' || count(*) FROM events")
        return f"PostgreSQL {self.server.major}, {facts} events"

    def round(self) -> None:
        dump, again = self.scratch / "dump.sql.gz", self.scratch / "again.sql.gz"
        self._dump("guide dump", dump)
        full = self._backup("full", "full")
        self._bare("bare full", [])
        self._bare("bare full, not brought to the disk", ["--no-sync"])
        self._change()
        self._dump("guide dump after the change", again)
        sets = [full]
        if self.incremental:
            sets.append(self._backup("incremental", "incremental"))
            listed = self.store.path / "sets" / full / "db/physical/backup_manifest"
            self._bare("bare incremental", [f"--incremental={listed}"])
            self._change(ordered=True)
            self._backup("incremental, ids in order", "incremental")
        self._take("guide gunzip -t", f"gunzip -t {dump}", dump)
        self._drill("drill", full)
        if self.incremental:
            self._drill("drill of the chain", sets[-1])
        self._guide_restore(dump)
        self._restore(full)
        self.store = self._new_store()
        if engine_is_new_enough():
            with self._archiving():
                self._pgbackrest()
        dump.unlink()
        again.unlink()

    @contextlib.contextmanager
    def _archiving(self) -> t.Iterator[None]:
        """Hand the log to pgBackRest, which no other contender shall pay for."""
        engine = make_owned(self.place / "pgbackrest")
        given = {name: str(engine / name) for name in ("spool", "log_directory", "configuration")}
        given |= {"stanza": "bench", "data_directory": str(self.server.data), "socket": str(self.server.socket)}
        repository = {"path": str(engine / "repository"), "passphrase": "a-passphrase-of-the-bench-alone"}
        for name in ("spool", "log_directory", "configuration"):
            make_owned(engine / name)
        self._restart("on")
        done = module("matrixon_pgbackrest", **given, port=self.server.port, owner=USER, repositories=[repository])
        command = done["archive_command"].replace("'", "''")
        self.server.sql(f"ALTER SYSTEM SET archive_command = '{command}'")
        self.server.sql("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            self.server.sql("ALTER SYSTEM RESET archive_command")
            self._restart("off")
            shutil.rmtree(engine)

    def _restart(self, mode: str) -> None:
        self.server.sql(f"ALTER SYSTEM SET archive_mode = {mode}")
        self.server.stop("fast")
        self.server.start()

    def _pgbackrest(self) -> None:
        """Two nights of pgBackRest, each proven in a copy that is kept, and a restore."""
        directory = str(self.place / "pgbackrest/configuration")
        engine = {"driver": "pgbackrest", "stanza": "bench", "configuration": directory}
        database = {"host": str(self.server.socket), "port": self.server.port, **engine}
        reading: dict[str, t.Any] = {"pgbackrest": {"configuration": directory}}
        store = Store(self.place / "pgbackrest/store", "db1", USER)
        copy = str(self.place / "pgbackrest/copy")
        for kind, proof in (("full", "drill"), ("incremental", "drill, kept copy")):
            answer = self.readings.take(
                f"pgbackrest {kind}",
                lambda kind=kind: store.call("matrixon_backup", database={**database, "kind": kind}),
                set_bytes,
                self.server,
            )
            steps(answer, "backup_")
            answer = self.readings.take(
                f"pgbackrest {proof}", lambda: store.call("matrixon_backup_drill", copy=copy, **reading)
            )
            steps(answer)
            (facts,) = answer["report"]["facts"]["drills"].values()
            name = "delta restore" if "kept" in proof else "restore"
            self.readings.note(f"pgbackrest {name}", facts["open_seconds"])
            self._change()

    def _change(self, ordered: bool = False) -> None:
        """Change a hundredth, and let the server come to rest: by night most of a day's changes are long written."""
        self.data.change(ordered)
        self._sql("CHECKPOINT")
        if self.incremental:
            written = self._sql("SELECT pg_current_wal_lsn()")
            self._sql("SELECT pg_switch_wal(); CHECKPOINT")
            until(lambda: self._sql(f"SELECT summarized_lsn >= '{written}' FROM pg_get_wal_summarizer_state()") == "t")

    def _take(self, name: str, script: str, product: pathlib.Path) -> None:
        self.readings.take(name, lambda: self.server.shell(script), lambda _answer: size(product), self.server)

    def _dump(self, name: str, path: pathlib.Path) -> None:
        self._take(name, f"pg_dump synapse | gzip > {path}", path)

    def _backup(self, name: str, kind: str) -> str:
        database = {"host": str(self.server.socket), "port": self.server.port, "kind": kind}
        answer = self.readings.take(
            name, lambda: self.store.call("matrixon_backup", database=database), set_bytes, self.server
        )
        steps(answer, "backup_")
        return str(answer["set"]["id"])

    def _bare(self, name: str, options: list[str]) -> None:
        """Run the engine alone, with the options that the driver gives it. As our set it is on the disk at the end."""
        target = self.scratch / "bare"
        compress = f"server-zstd:level={LEVEL},workers=2"
        words = f"pg_basebackup --pgdata={target} --format=tar --wal-method=stream --compress={compress}"
        words += f" --checkpoint=fast {' '.join(options)}"
        self._take(name, words, target)
        shutil.rmtree(target)

    def _drill(self, name: str, set_id: str) -> None:
        answer = self.readings.take(
            name, lambda: self.store.call("matrixon_backup_drill", set=set_id), lambda _answer: 0
        )
        steps(answer)

    def _guide_restore(self, dump: pathlib.Path) -> None:
        """Restore as the guide does, into a database of another name, so that the source stays."""
        self.server.sql("CREATE DATABASE restored")
        script = f"dropdb restored; createdb restored; gunzip -c {dump} | psql -q restored > /dev/null"
        self.readings.take("guide restore", lambda: self.server.shell(script), server=self.server)
        self.server.sql("DROP DATABASE restored")

    def _restore(self, set_id: str) -> None:
        """Restore with the module, and start a server on it that answers a question."""
        copy = Server(self.place / "copy", self.server.major, 5434)
        make_owned(copy.base)
        make_owned(copy.socket)

        def act() -> dict[str, t.Any]:
            answer = self.store.call("matrixon_restore", set=set_id, directory=str(copy.data))
            self._open(copy)
            return answer

        answer = self.readings.take("restore", act)
        steps(answer)
        copy.stop()
        shutil.rmtree(copy.base)

    def _open(self, copy: Server) -> None:
        options = f"-c port={copy.port} -c unix_socket_directories={copy.socket}"
        argv = [str(copy.tools / "pg_ctl"), f"--pgdata={copy.data}", f"--log={copy.base}/log", "--wait"]
        as_owner(*argv, f"--options={options}", "start")
        if copy.sql("SELECT count(*) FROM (SELECT FROM events LIMIT 1) e", "synapse") != "1":
            raise SystemExit("the restored server has no events")

    def close(self) -> None:
        self.server.stop()


def steps(answer: dict[str, t.Any], prefix: str = "") -> None:
    """Print what a module's steps took, the longest first."""
    checks = [check for check in answer["report"]["checks"] if check["name"].startswith(prefix)]
    checks.sort(key=lambda check: -check["duration_ms"])
    words = ", ".join(f"{check['name']} {check['duration_ms'] / 1000:.2f}" for check in checks[:8])
    print(f"      {words}", flush=True)


# --- the media


class MediaBench:
    """Rounds of the media: the guide's rsync and our drivers with a list of what is new."""

    def __init__(self, place: pathlib.Path, files: int, readings: Readings) -> None:
        self.place, self.files, self.readings = place, files, readings
        self.media = Media(place / "media")
        self.copy = place / "media_latest"
        (place / "password").write_text("bench\n")
        (place / "password").chmod(0o600)
        self.drivers = ["rsync", *(["restic"] if shutil.which("restic") else [])]
        self.stores = {driver: Store(place / f"store-{driver}", driver, None) for driver in self.drivers}

    def fill(self) -> str:
        self.media.add(self.files)
        self._guide("guide rsync, first")
        for driver in self.drivers:
            self._backup(f"media all, {driver}", driver)
        return f"{self.files} files of media, {size(self.media.root) / MB:.0f} MB"

    def round(self) -> None:
        self._guide("guide rsync, no change")
        changes = self.place / "changes"
        changes.write_bytes(b"".join(path.encode() + b"\0" for path in self.media.add(self.files // 100)))
        for driver in self.drivers:
            self._backup(f"media list, {driver}", driver, changes)
        self._guide("guide rsync, 1 % changed")

    def _guide(self, name: str) -> None:
        argv = ["rsync", "-av", "--delete", f"{self.media.root}/", f"{self.copy}/"]
        self.readings.take(name, lambda: subprocess.run(argv, stdout=subprocess.DEVNULL, check=True))

    def _backup(self, name: str, driver: str, changes: pathlib.Path | None = None) -> None:
        options: dict[str, t.Any] = {"driver": driver, "path": str(self.media.root), "required": ["local_content"]}
        if driver == "restic":
            options["password_file"] = str(self.place / "password")
        if changes:
            options["changes_file"] = str(changes)
        store = self.stores[driver]
        answer = self.readings.take(name, lambda: store.call("matrixon_backup", media=options), set_bytes)
        steps(answer, "backup_")

    def close(self) -> None:
        """Leave nothing: the place is removed by who made it."""


# --- the whole


def table(readings: Readings) -> list[dict[str, t.Any]]:
    """Return the lines of the table; a line without figures of both is left out."""
    lines = []
    for goal in GOALS:
        ours, other = (readings.median(name, goal.unit) for name in (goal.ours, goal.other))
        if ours is None or not other:
            continue
        line = {**goal._asdict(), "figure": ours, "other_figure": other, "ratio": round(ours / other, 4)}
        pairs = zip(readings.all[goal.ours], readings.all[goal.other], strict=False)
        line["rounds"] = [round(a.figures()[goal.unit] / b.figures()[goal.unit], 4) for a, b in pairs]
        lines.append(line)
    return lines


def show(lines: list[dict[str, t.Any]]) -> None:
    units = {"wall": "s", "cpu": "s CPU", "bytes": "MB", "peak": "MB memory"}
    for line in lines:
        part = MB if line["unit"] in ("bytes", "peak") else 1
        figures = f"{line['figure'] / part:9.2f} / {line['other_figure'] / part:9.2f} {units[line['unit']]:9}"
        goal = line["goal"]
        words = "" if goal is None else f"goal {goal:.2f} {'met' if line['ratio'] <= goal else 'MISSED'}"
        if goal == 1.05 and line["ratio"] > goal and line["figure"] - line["other_figure"] <= 1.0:
            words = "goal 1.05 or 1 s met"
        rounds = " ".join(f"{value:.3f}" for value in line["rounds"])
        print(f"{line['name']:34} {figures} {line['ratio']:7.3f}   {words:22} rounds {rounds}", flush=True)


def machine() -> dict[str, t.Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processors": os.cpu_count(), "memory": memory, "kernel": platform.release()}


def main(arguments: list[str]) -> None:
    """Make the data, measure, print the table, and write it down."""
    parser = argparse.ArgumentParser(prog="tests/bench backup", description=__doc__)
    parser.add_argument("--database", type=int, default=2000, metavar="MB", help="size of the database; 0: none")
    parser.add_argument("--files", type=int, default=200_000, help="files of the media store; 0: none")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--place", default="/var/tmp", help="directory to work in")
    parser.add_argument("--container", action="store_true", help="in a container of Debian 13, with PostgreSQL 17")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.database < 0 or options.files < 0:
        parser.error("--rounds is 1 or more, --database and --files are 0 or more")
    if options.container:
        inside = [word for word in arguments if word != "--container"]
        command = ["python3", str(ROOT / "tests/bench"), "backup", f"--place={contained.WORK}", *inside]
        raise SystemExit(contained.run(PACKAGES, command))
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="matrixon-bench-", dir=options.place))
        place = pathlib.Path(name)
        place.chmod(0o755)
        readings, benches, facts = Readings(), [], []
        if options.database:
            benches.append(DatabaseBench(place, options.database, readings))
            stack.callback(benches[-1].close)
        if options.files:
            benches.append(MediaBench(place, options.files, readings))
        for bench in benches:
            facts.append(bench.fill())
            print(facts[-1], flush=True)
            for number in range(1, options.rounds + 1):
                print(f"round {number} of {options.rounds}", flush=True)
                bench.round()
        # Before the data is removed, which can take minutes.
        lines = table(readings)
        show(lines)
        path = ROOT / "reports/bench-backup.json"
        path.parent.mkdir(exist_ok=True)
        document = {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "data": facts,
            "table": lines,
            "readings": {name: [reading.figures() for reading in found] for name, found in readings.all.items()},
        }
        path.write_text(json.dumps(document, indent=2) + "\n")
        print(f"written to {path}")
