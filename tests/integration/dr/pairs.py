"""Two servers of which one follows the other, what may happen to them, and the modules that work on them."""

from __future__ import annotations

import contextlib
import datetime
import importlib
import io
import itertools
import json
import os
import pathlib
import shutil
import signal
import typing as t

import jsonschema
from ansible.module_utils.testing import patch_module_args
from clusters import USER, Cluster, make_owned, run, until
from modules import ROOT

numbers = itertools.count(1)
__all__ = ["NAMES", "ROOT", "Node", "Pair", "Template", "message", "numbers", "statuses"]

NAMES = {"deployment": "test", "profile": "synapse"}
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())


def invoke(module: str, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    """Run a module in this process: JSON in, JSON out. Each as a process would take most of the time of these tests."""
    code = importlib.import_module(f"ansible_collections.matrixon.ops.plugins.modules.{module}")
    said = io.StringIO()
    with patch_module_args(arguments), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        code.main()
    result: dict[str, t.Any] = json.loads(said.getvalue())
    return result


class Node(Cluster):
    """One server of a pair."""

    def set(self, **settings: str) -> None:
        """Write settings down, for the next start or reload."""
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def reload(self, **settings: str) -> None:
        self.set(**settings)
        self.sql("SELECT pg_reload_conf()")

    @property
    def options(self) -> dict[str, t.Any]:
        """Where the modules find it."""
        return {
            "data_directory": str(self.data),
            "bin_directory": str(self.tools),
            "socket_directory": str(self.socket),
            "port": self.port,
            "owner": USER,
        }

    def call(self, module: str, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Run a module on it, and hold a report against what is promised of it."""
        names: dict[str, t.Any] = {} if module in ("matrixon_marker", "matrixon_rewind") else NAMES
        result = invoke(module, {**self.options, **names, **options, "_ansible_check_mode": check})
        if "report" in result:
            jsonschema.validate(result["report"], SCHEMA)
        return result

    def good(self, module: str, **options: t.Any) -> dict[str, t.Any]:
        result = self.call(module, **options)
        assert not result.get("failed"), result["msg"]
        return result

    def promote(self, **options: t.Any) -> dict[str, t.Any]:
        return self.good("matrixon_promote", **options)

    def info(self, **options: t.Any) -> dict[str, t.Any]:
        return self.good("matrixon_standby_info", detail="full", **options)

    def in_recovery(self) -> bool:
        return self.sql("SELECT pg_is_in_recovery()") == "t"

    def identifier(self) -> str:
        return self.sql("SELECT system_identifier FROM pg_control_system()")

    def rows(self) -> int:
        return int(self.sql("SELECT count(*) FROM messages"))

    def write(self, count: int) -> None:
        """Commit so many rows, each by itself, as messages are."""
        self.sql("\n".join("INSERT INTO messages (body) VALUES (repeat('x', 100));" for dummy in range(count)))

    def flushed(self) -> str:
        return self.sql("SELECT pg_current_wal_flush_lsn()")

    def heartbeat(self) -> dict[str, t.Any]:
        """What the guard of a primary tells the witness."""
        now = datetime.datetime.now(datetime.timezone.utc)
        limits = self.sql("SELECT json_object_agg(name, setting) FROM pg_settings WHERE name = 'max_connections'")
        return {
            "lsn": self.flushed(),
            "at": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z",
            "timeline": int(self.sql("SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"), 16),
            "system_identifier": self.identifier(),
            "limits": json.loads(limits),
        }


class Template:
    """A primary and a standby that have streamed and were stopped, the primary first."""

    def __init__(self, base: pathlib.Path, major: int) -> None:
        make_owned(base)
        self.primary, self.standby = Node(base / "one", major, 5433), Node(base / "two", major, 5434)
        self.primary.make("--wal-segsize=1")
        self.primary.set(
            min_wal_size="2MB",
            max_wal_size="8MB",
            wal_keep_size="64MB",
            shared_buffers="16MB",
            wal_retrieve_retry_interval="200ms",
        )
        # Not all hosts of these tests have the extensions.
        (self.primary.data / "postgresql.auto.conf").write_text("")
        self.primary.start()
        try:
            # A third of all files, and each test copies them twice.
            self.primary.sql("ALTER DATABASE template0 IS_TEMPLATE false")
            self.primary.sql("DROP DATABASE template0")
            self.primary.sql("CREATE TABLE messages (id bigint GENERATED ALWAYS AS IDENTITY, body text)")
            self.primary.write(100)
            make_owned(self.standby.base)
            make_owned(self.standby.socket)
            argv = [str(self.primary.tools / "pg_basebackup"), f"--pgdata={self.standby.data}", "--checkpoint=fast"]
            run(
                *argv,
                f"--host={self.primary.socket}",
                f"--port={self.primary.port}",
                "--username=postgres",
                "--no-sync",
            )
        finally:
            self.primary.stop("fast")


class Parted:
    """Two that were a pair: the second was promoted, the first wrote on. Both are stopped cleanly."""

    def __init__(self, pair: Pair) -> None:
        self.primary, self.standby = pair.one, pair.two
        # The last checkpoint that both have is not in the segment of the fork.
        pair.one.sql("SELECT pg_switch_wal()")
        pair.one.write(1)
        pair.caught_up(pair.two, pair.one)
        with pair.cut():
            pair.two.promote(archive=False)
        pair.one.write(50)
        pair.one.stop("fast")
        pair.two.stop("fast")


class Pair:
    """Copies of both that know only each other, and a place for the archive."""

    def __init__(self, template: Template | Parted, base: pathlib.Path, stack: contextlib.ExitStack) -> None:
        self.base, major = make_owned(base), template.primary.major
        stack.callback(shutil.rmtree, base)
        self.one, self.two = Node(base / "one", major, 5433), Node(base / "two", major, 5434)
        self.archive = make_owned(base / "archive")
        for node, model in ((self.one, template.primary), (self.two, template.standby)):
            make_owned(node.base)
            make_owned(node.socket)
            run("cp", "-a", str(model.data), str(node.data))
            node.set(unix_socket_directories=str(node.socket), port=str(node.port))
            stack.callback(self._stop, node)

    @staticmethod
    def _stop(node: Node) -> None:
        with contextlib.suppress(AssertionError):
            node.stop()

    def follows(self, node: Node, primary: Node) -> None:
        """Let a stopped server follow another one. The password is not asked for; nobody may see it."""
        conninfo = f"host={primary.socket} port={primary.port} user=postgres password=canary-of-replication"
        node.set(primary_conninfo=conninfo)
        (node.data / "standby.signal").touch()
        shutil.chown(node.data / "standby.signal", USER)

    def start(self) -> None:
        self.follows(self.two, self.one)
        self.one.start()
        self.two.start()
        self.streams()

    def streams(self) -> None:
        """Wait until the standby has all that the primary has."""
        until(lambda: self.two.sql("SELECT status FROM pg_stat_wal_receiver") == "streaming")
        self.caught_up(self.two, self.one)

    def caught_up(self, standby: Node, primary: Node) -> None:
        position = primary.flushed()
        until(lambda: standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == "t", 60)

    @contextlib.contextmanager
    def cut(self) -> t.Iterator[None]:
        """Let nothing go from the primary to the standby, which does not know that: as a network that drops packets."""
        sender = int(self.one.sql("SELECT pid FROM pg_stat_replication"))
        os.kill(sender, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(sender, signal.SIGCONT)

    def archiving(self, node: Node, command: str | None = None) -> None:
        """Configure an archive; archive_mode takes a restart."""
        node.set(archive_mode="on", archive_command=command or f"cp %p {self.archive}/%f")

    def restoring(self, node: Node) -> None:
        node.reload(restore_command=f"cp {self.archive}/%f %p")

    @property
    def source(self) -> dict[str, t.Any]:
        """The second server, as the new primary of the first."""
        return {"host": str(self.two.socket), "port": self.two.port}

    def rewind(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        return self.one.call("matrixon_rewind", check, **{"source": self.source, **options})


def statuses(result: dict[str, t.Any]) -> dict[str, str]:
    """Return the verdicts by the names of their checks."""
    return {check["name"]: check["status"] for check in result["report"]["checks"]}


def message(result: dict[str, t.Any], name: str) -> str:
    return next(check["message"] for check in result["report"]["checks"] if check["name"] == name)
