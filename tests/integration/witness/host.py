"""A host as the role dr_guard leaves it, but for systemd: the guard is a process, and so is what it guards."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import typing as t

from clusters import USER, Cluster, make_owned, pids, run, until
from etcd import PASSWORD, SERVER_NAME, Etcd
from etcd import USER as WITNESS_USER
from proxy import PASS, Proxy

from ansible_collections.matrixon.ops.plugins.module_utils._dr import witness

ROOT = pathlib.Path(__file__).resolve().parents[3]
SOURCES = ROOT / "plugins/module_utils/_dr"
DATABASE, HOMESERVER = "postgresql@15-main.service", "matrix-synapse.service"
INTERVAL = 0.5
NEWEST = 1795782896000
numbers = itertools.count(1)


def fill(server: Cluster) -> None:
    """Make what the guard asks about."""
    server.sql("CREATE DATABASE synapse")
    server.sql(f"CREATE TABLE events AS SELECT {NEWEST}::bigint AS origin_server_ts", "synapse")


class Host:
    """A primary and a homeserver process of region one, and a guard. Each can be started."""

    def __init__(self, template: Cluster, base: pathlib.Path, store: Etcd) -> None:
        self.store, self.client, self.proxy = store, store.client(), Proxy(store.port)
        self.base = base / f"host{next(numbers)}"
        self.base.mkdir()
        self.base.chmod(0o755)
        self.guard: subprocess.Popen[bytes] | None = None
        self.database = Cluster(self.base / "server", template.major, template.port)
        make_owned(self.database.base)
        make_owned(self.database.socket)
        run("cp", "-a", str(template.data), str(self.database.data))
        path = self.database.data / "postgresql.conf"
        path.write_text(path.read_text().replace(str(template.socket), str(self.database.socket)))
        self._install()
        self.configure()

    def run(self) -> None:
        """Start what is guarded, past the guard."""
        self.database.start()
        subprocess.run(self._units()[HOMESERVER]["start"], check=True)

    def _install(self) -> None:
        """Put the guard in place as the role does: two files that know nothing of the collection."""
        library = self.base / "lib/matrixon_dr_guard"
        library.mkdir(parents=True)
        for name in ("__init__.py", "witness.py", "guard.py"):
            shutil.copy(SOURCES / name, library)
        text = (ROOT / "roles/dr_guard/templates/program.py.j2").read_text()
        text = text.replace("{{ ansible_managed | comment }}\n", "")
        text = text.replace("{{ '#!/usr/bin/python3 -IB' }}", "#!/usr/bin/python3 -IB")
        self.program = self.base / "matrixon-dr-guard"
        self.program.write_text(text.replace("{{ __dr_guard_library }}", str(library.parent)))
        self.program.chmod(0o755)
        assert "{{" not in self.program.read_text()
        tools = self.base / "bin"
        tools.mkdir()
        stand_in = tools / "systemctl"
        stand_in.write_text("#!/usr/bin/python3 -IS\n" + pathlib.Path(__file__).with_name("systemctl.py").read_text())
        stand_in.chmod(0o755)
        (self.base / "units.json").write_text(json.dumps(self._units()))
        self.environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "GUARD_UNITS": str(self.base / "units.json"),
        }

    def _units(self) -> dict[str, dict[str, t.Any]]:
        pg_ctl = [str(self.database.tools / "pg_ctl"), f"--pgdata={self.database.data}"]
        if os.geteuid() == 0:
            pg_ctl = ["runuser", "-u", USER, "--", *pg_ctl]
        pid_file = self.base / "homeserver.pid"
        return {
            DATABASE: {
                "ask": self._ask("database", DATABASE),
                "start": [*pg_ctl, f"--log={self.database.base}/log", "--wait", "start"],
                "stop": [*pg_ctl, "--mode=fast", "--wait", "stop"],
                "pid_file": str(self.database.data / "postmaster.pid"),
            },
            HOMESERVER: {
                "ask": self._ask("homeserver", HOMESERVER),
                "start": ["sh", "-c", f"sleep 600 >/dev/null 2>&1 & echo $! > {pid_file}"],
                "stop": ["pkill", "--pidfile", str(pid_file)],
                "pid_file": str(pid_file),
            },
        }

    def _ask(self, kind: str, unit: str) -> list[str]:
        return [str(self.program), "--config", str(self.base / "guard.json"), "check", kind, f"--unit={unit}"]

    def configure(self, **changes: t.Any) -> None:
        """Write the configuration. What waits for a witness that is silent does so for long, as under load it seems."""
        config = {
            "witness": {
                "endpoints": [self.proxy.url],
                "server_name": SERVER_NAME,
                "user": WITNESS_USER,
                "password": PASSWORD,
                "ca_file": str(self.store.ca_file),
            },
            "region": "one",
            "host": "db1",
            "interval": INTERVAL,
            "lease": 0,
            "stop_timeout": 3,
            "check_timeout": 20,
            "database": {
                "unit": DATABASE,
                "data_directory": str(self.database.data),
                "socket": str(self.database.socket),
                "port": self.database.port,
                "name": "synapse",
                "psql": str(self.database.tools / "psql"),
                "message_query": "SELECT coalesce(max(origin_server_ts), 0) FROM events",
            },
            "homeserver": {
                "units": [HOMESERVER, "matrix-synapse-worker@*.service"],
                "release_link": str(self.base / "current"),
                "signing_key_file": str(self.base / "signing.key"),
            },
            "override": str(self.base / "override"),
            "state": str(self.base / "state"),
            "run": str(self.base / "run"),
        }
        (self.base / "guard.json").write_text(json.dumps({**config, **changes}))

    def claim(self, region: str, timeline: int = 1, identifier: str = "") -> witness.Record:
        """Change the record, past the guard."""
        record = witness.current(self.client, witness.Deadline(30))
        epoch = record.epoch if record else 0
        now = witness.parse_stamp("2026-11-27T12:00:00Z")
        assert now
        deadline = witness.Deadline(30)
        return witness.claim(
            self.client, region, identifier or self.identifier, timeline, "a test", epoch, deadline, now
        ).after

    @property
    def identifier(self) -> str:
        text = run(str(self.database.tools / "pg_controldata"), str(self.database.data), env={"LC_ALL": "C"})
        return next(line.split()[-1] for line in text.splitlines() if line.startswith("Database system identifier"))

    def check(self, kind: str = "database") -> subprocess.CompletedProcess[str]:
        """Ask as systemd does before it starts a unit."""
        unit = DATABASE if kind == "database" else HOMESERVER
        return subprocess.run(
            self._ask(kind, unit), env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def start(self, unit: str) -> None:
        subprocess.run(["systemctl", "start", unit], env=self.environment, check=True, timeout=60)

    def begin(self) -> None:
        """Start the guard."""
        argv = [str(self.program), "--config", str(self.base / "guard.json"), "run"]
        with open(self.base / "guard.log", "ab") as log:
            self.guard = subprocess.Popen(argv, env=self.environment, stdout=log, stderr=log)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Let the guard end."""
        if self.guard:
            self.guard.send_signal(number)
            self.guard.wait(60)
            self.guard = None

    @property
    def log(self) -> str:
        return (self.base / "guard.log").read_text()

    def postmaster(self) -> int:
        """Return the process of the database, 0 if there is none."""
        try:
            pid = self.database.postmaster()
            os.kill(pid, 0)
        except (OSError, ValueError, IndexError):
            return 0
        return pid

    def homeserver_runs(self) -> bool:
        try:
            pid = int((self.base / "homeserver.pid").read_text())
            text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        # Nobody here waits for its children, so that it stays as a zombie.
        return text.rpartition(")")[2].split()[0] != "Z"

    def heartbeat(self) -> dict[str, t.Any]:
        entry = self.client.get(witness.HEARTBEAT, witness.Deadline(30))
        return entry.value if entry else {}

    def word(self) -> dict[str, t.Any]:
        """Return what the guard said last of itself."""
        entry = self.client.get("guard/db1", witness.Deadline(30))
        return entry.value if entry else {}

    def beats(self) -> None:
        """Wait for a heartbeat that is another than the last one."""
        before = self.heartbeat().get("at")
        self.until(lambda: self.heartbeat().get("at") != before)

    def until(self, condition: t.Callable[[], t.Any], seconds: float = 60) -> float:
        """Wait until something is so, and return how long it took."""
        started = time.monotonic()
        try:
            until(condition, seconds)
        except AssertionError:
            raise AssertionError(f"it did not come true; the guard said:\n{self.log}") from None
        return time.monotonic() - started

    def reset(self) -> None:
        """Let nothing run, and forget what was."""
        self.end(signal.SIGKILL)
        self.proxy.mode = PASS
        if self.postmaster():
            self.database.kill(signal.SIGCONT)
            self.database.stop()
        if self.homeserver_runs():
            subprocess.run(self._units()[HOMESERVER]["stop"], check=True)
        (self.database.data / "standby.signal").unlink(missing_ok=True)
        for name in ("guard.log", "units.json.log", "override"):
            (self.base / name).unlink(missing_ok=True)
        for name in ("state", "run"):
            shutil.rmtree(self.base / name, ignore_errors=True)
        self.configure()

    def close(self) -> None:
        self.reset()
        self.proxy.close()
        # What the guard had stopped may still be on its way.
        until(lambda: not pids(str(self.base)), 60)
        shutil.rmtree(self.base)
