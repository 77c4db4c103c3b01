"""A server whose log pgBackRest takes, and the driver and the modules that work on it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import typing as t

from clusters import USER, Cluster, Sets, make_owned, pids, until
from modules import Store, answer, start

from ansible_collections.matrixon.ops.plugins.module_utils._backup import cluster, process, scratch
from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_settings as settings
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import DATABASE, Manifest, Target
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest import PgBackRest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_output import read_version
from ansible_collections.matrixon.ops.plugins.module_utils._backup.pgbackrest_rules import WANTED
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

STANZA = "main"
IMMEDIATE = Target("immediate")
LATEST = Target()
NOW = "SELECT to_json(clock_timestamp())#>>'{}'"
PASSPHRASE = "canary-passphrase-of-the-first-repository"
STORE_PASSPHRASE = "canary-passphrase-of-the-object-store"
ACCESS_KEY, SECRET_KEY = "backup-access-key", "canary-secret-key-of-the-object-store"


def why_not() -> str:
    """Return why these tests cannot be run here, or nothing."""
    if not shutil.which("pgbackrest"):
        return "pgBackRest is not installed on this host; install pgbackrest 2.55 or later (Debian 13)"
    said = subprocess.run(["pgbackrest", "version"], capture_output=True, text=True, check=True).stdout
    if read_version(said) < WANTED:
        return f"this host has {said.strip()}, and the driver needs 2.55 or later (Debian 13)"
    return "" if cluster.installed() else "no PostgreSQL server is installed on this host"


WHY_NOT = why_not()


def soon() -> Deadline:
    return Deadline(120)


class Site:
    """A server whose log goes to a repository, and the driver for it."""

    def __init__(
        self,
        server: Cluster,
        sets: Sets,
        runner: process.Runner,
        client: cluster.Client,
        store: settings.Repository | None = None,
        stanza: str = STANZA,
    ) -> None:
        # Two that have one name must not work at the same time.
        self.stanza = stanza
        self.server, self.sets, self.runner, self.client = server, sets, runner, client
        self.place = make_owned(sets.root.parent / "pgbackrest")
        self.repository = self.place / "repository"
        for name in ("spool", "log", "lock", "etc", "etc/conf.d"):
            make_owned(self.place / name)
        repositories = [settings.Repository(str(self.repository)), *([store] if store else [])]
        self.settings = settings.Settings(
            stanza=self.stanza,
            data_directory=str(server.data),
            repositories=tuple(repositories),
            port=server.port,
            socket=str(server.socket),
            spool=str(self.place / "spool"),
            log_directory=str(self.place / "log"),
            lock_directory=str(self.place / "lock"),
        )
        secrets = [
            settings.Secrets(PASSPHRASE),
            *([settings.Secrets(STORE_PASSPHRASE, ACCESS_KEY, SECRET_KEY)] if store else []),
        ]
        self.write(settings.MAIN, settings.render(self.settings))
        self.write(settings.SECRETS, settings.render_secrets(self.settings, secrets), settings.SECRETS_MODE)
        # So that failures of the network are not tried again for a minute.
        self.write("conf.d/test.conf", "[global]\nio-timeout=2\n")

    @property
    def directory(self) -> str:
        return str(self.place / "etc")

    def write(self, name: str, text: str, mode: int = 0o640) -> pathlib.Path:
        path = self.place / "etc" / name
        path.write_text(text)
        path.chmod(mode)
        shutil.chown(path, USER)
        return path

    def driver(self, **options: t.Any) -> PgBackRest:
        keywords: dict[str, t.Any] = {"stanza": self.stanza, "directory": self.directory, "durable": False, **options}
        return PgBackRest(str(self.sets.root), self.runner, self.client, **keywords)

    def reader(self, **options: t.Any) -> PgBackRest:
        """The driver of a host that only restores."""
        return PgBackRest(str(self.sets.root), self.runner, directory=self.directory, durable=False, **options)

    def engine(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Ask pgBackRest itself, as an operator does."""
        argv = ["pgbackrest", f"--config-path={self.directory}", f"--stanza={self.stanza}", *arguments]
        keywords: dict[str, t.Any] = {"user": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        # What it cannot decrypt it prints as it is.
        keywords.update(text=True, errors="replace", umask=0o077)
        return subprocess.run(argv, capture_output=True, cwd="/", timeout=120, check=False, **keywords)

    def info(self) -> dict[str, t.Any]:
        done = self.engine("info", "--output=json")
        assert done.returncode == 0
        return json.loads(done.stdout)[0]

    def configure(self, command: str | None = None, mode: str = "on") -> None:
        """Let the server archive, which takes a restart."""
        command = settings.archive_command(self.stanza, self.directory) if command is None else command
        with open(self.server.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
            file.write(f"archive_mode = '{mode}'\narchive_command = '{command}'\n")
        self.server.stop("fast")
        self.server.start()

    def command(self, command: str) -> None:
        """Give the running server another archive_command."""
        self.server.sql(f"ALTER SYSTEM SET archive_command = {cluster.literal(command)}")
        self.server.sql("SELECT pg_reload_conf()")
        until(lambda: self.server.sql("SHOW archive_command") == command)

    def switch(self) -> str:
        """Finish the segment that is being written, wait until the server calls it archived, and return its name."""
        name = self.server.sql("SELECT pg_walfile_name(pg_switch_wal())")
        until(lambda: self.server.sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") >= name, 30)
        return name

    def row(self, number: int) -> str:
        """Write one row, and return the segment in which it is."""
        self.server.sql("CREATE TABLE IF NOT EXISTS rows_of_log (a int)", "synapse")
        self.server.sql(f"INSERT INTO rows_of_log VALUES ({number})", "synapse")
        return self.switch()

    def lost(self) -> None:
        """Lose what was on the disk of the host and every process that works there."""
        for pid in pids("pgbackrest", self.directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.server.data)
        shutil.rmtree(self.place / "spool")
        make_owned(self.place / "spool")

    def segment(self, name: str) -> pathlib.Path:
        """Return the file of a segment in the repository."""
        (path,) = self.repository.glob(f"archive/{self.stanza}/*/{name[:16]}/{name}-*")
        return path

    def label(self, manifest: Manifest) -> str:
        return str(manifest.components[DATABASE].detail["label"])

    def copy_of(self, manifest: Manifest) -> pathlib.Path:
        """Return the directory of a backup in the repository."""
        return self.repository / "backup" / self.stanza / self.label(manifest)

    def all(self, *manifests: Manifest) -> dict[str, Manifest | None]:
        return {manifest.id: manifest for manifest in manifests}


class Modules(Store):
    """The modules with a server whose log goes to a repository."""

    def __init__(self, site: Site) -> None:
        super().__init__(make_owned(site.place / "store"), site.server)
        self.site = site
        self.database |= {"driver": "pgbackrest", "stanza": site.stanza, "configuration": site.directory}
        self.reading = {"pgbackrest": {"configuration": site.directory}}

    def configure(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {
            "stanza": self.site.stanza,
            "data_directory": str(self.server.data),
            "socket": str(self.server.socket),
            "port": self.server.port,
            "owner": USER,
            "repositories": [{"path": str(self.site.repository), "passphrase": PASSPHRASE}],
            "spool": self.site.settings.spool,
            "log_directory": self.site.settings.log_directory,
            "configuration": self.site.directory,
        }
        return answer(start("matrixon_pgbackrest", **{**given, **options, "_ansible_check_mode": check}))

    def bare(self) -> None:
        """Forget the configuration, for the module to make it."""
        # Without a stanza archiving could only fail, and would then wait for a minute.
        self.site.command("")
        for name in (settings.MAIN, settings.SECRETS):
            (self.site.place / "etc" / name).unlink()

    def begin(self) -> None:
        done = self.configure()
        assert done["changed"] and not done.get("failed"), done
        self.site.command(done["archive_command"])

    def read(self, module: str, **options: t.Any) -> dict[str, t.Any]:
        return self.good(module, **self.reading, **options)


@contextlib.contextmanager
def opened(data: pathlib.Path | str, site: Site) -> t.Iterator[scratch.Scratch]:
    with scratch.Scratch(str(data), None, site.runner, str(site.server.tools)) as server:
        server.start(Deadline(60))
        yield server


def ask(server: scratch.Scratch, sql: str, database: str = "synapse") -> str:
    with server.client().session(Deadline(10), database) as session:
        return session.value(f"SET search_path TO DEFAULT; {sql}")


def rows_after(site: Site, data: pathlib.Path) -> str:
    with opened(data, site) as server:
        return ask(server, "SELECT string_agg(a::text, ',' ORDER BY a) FROM rows_of_log")


def flip(path: pathlib.Path, place: float = 0.5) -> None:
    with open(path, "r+b") as file:
        file.seek(int(path.stat().st_size * place))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x55]))
