"""The real Patroni on loopback: members of clusters, which keep what they know in one etcd."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time
import typing as t
import urllib.request

import yaml
from clusters import USER, make_owned, until

API_USER, API_PASSWORD = "operator", "an-api-password"
REPLICATION_PASSWORD = "a-replication-password"
# A loop of 10 s would be waited for again and again. No leader loses its lock because the machine is busy.
DYNAMIC: dict[str, t.Any] = {"loop_wait": 1, "ttl": 60, "retry_timeout": 10}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def alive(pid: int) -> bool:
    """Say whether a process runs. One that nobody has buried does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Member:
    """One Patroni and its server, on ports of their own."""

    def __init__(self, base: pathlib.Path, store: str, scope: str, name: str, major: int) -> None:
        self.base, self.scope, self.name = make_owned(base / name), scope, name
        self.port, self.api_port = free_port(), free_port()
        self.data, self.store, self.major = self.base / "data", store, major
        self.tools = pathlib.Path(f"/usr/lib/postgresql/{major}/bin")
        self.socket = make_owned(self.base / "socket")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def configure(self, follows: Member | None = None) -> None:
        """Write its configuration; of the first member of a cluster that follows another, whom it follows."""
        standby = {"standby_cluster": {"host": "127.0.0.1", "port": follows.port}} if follows else {}
        document = {
            "scope": self.scope,
            "name": self.name,
            "restapi": {
                "listen": f"127.0.0.1:{self.api_port}",
                "connect_address": f"127.0.0.1:{self.api_port}",
                "authentication": {"username": API_USER, "password": API_PASSWORD},
            },
            "etcd3": {"host": self.store},
            "bootstrap": {
                "dcs": {**DYNAMIC, "postgresql": {"use_pg_rewind": True, "use_slots": True}, **standby},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums", "no-sync"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.data),
                "bin_dir": str(self.tools),
                "pgpass": str(self.base / "pgpass"),
                "pg_hba": [
                    "local all all trust",
                    "host replication replicator 127.0.0.1/32 scram-sha-256",
                    "host all all 127.0.0.1/32 scram-sha-256",
                ],
                "authentication": {
                    "superuser": {"username": "postgres", "password": "a-superuser-password"},
                    "replication": {"username": "replicator", "password": REPLICATION_PASSWORD},
                },
                "basebackup": {"checkpoint": "fast", "no-sync": None},
                "parameters": {
                    "unix_socket_directories": str(self.socket),
                    "fsync": "off",
                    "shared_buffers": "32MB",
                    "wal_retrieve_retry_interval": "500ms",
                    "dynamic_shared_memory_type": "mmap",
                },
            },
            "watchdog": {"mode": "off"},
        }
        path = self.base / "patroni.yml"
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        owner = pwd.getpwnam(USER)
        os.chown(path, owner.pw_uid, owner.pw_gid)

    def start(self) -> None:
        argv = ["patroni", str(self.base / "patroni.yml")]
        if os.geteuid() == 0:
            argv = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *argv]
            if not pathlib.Path("/dev/shm").stat().st_mode & 0o002:
                # Its locks are there, and on some machines only root may make any.
                mount = 'mount -t tmpfs -o mode=1777 tmpfs /dev/shm && exec "$@"'
                argv = ["unshare", "--mount", "sh", "-c", mount, "sh", *argv]
        with open(self.base / "log", "ab") as log:
            # In a session of its own, so that no test can signal more than it.
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/", umask=0o077, start_new_session=True)

    def ask(self, path: str = "/patroni") -> dict[str, t.Any]:
        """Return what its API says, or nothing while there is none."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                found: dict[str, t.Any] = json.load(answer)
                return found
        except (OSError, ValueError):
            return {}

    def configuration(self, **change: t.Any) -> None:
        """Change the configuration of the cluster, as patronictl does."""
        login = base64.b64encode(f"{API_USER}:{API_PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            self.url + "/config",
            json.dumps(change).encode(),
            {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
            method="PATCH",
        )
        with urllib.request.urlopen(request, timeout=20):
            pass

    def await_word(self, seconds: float = 90, **wanted: t.Any) -> None:
        """Wait until it says this of itself."""
        end = time.monotonic() + seconds
        while True:
            found = self.ask()
            # Patroni before 4 says master.
            found["role"] = "primary" if found.get("role") == "master" else found.get("role")
            if all(found.get(name) == value for name, value in wanted.items()):
                return
            assert time.monotonic() < end, f"{wanted}: {found}\n{self.log()}"
            time.sleep(0.1)

    def log(self) -> str:
        return (self.base / "log").read_text(errors="replace")[-3000:]

    def psql(self, statement: str) -> str:
        argv = [str(self.tools / "psql"), "-XqAt", f"--host={self.socket}", f"--port={self.port}"]
        argv += ["--username=postgres", "--dbname=postgres", f"--command={statement}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def address(self) -> dict[str, t.Any]:
        return {"host": "127.0.0.1", "port": self.port}

    def position(self) -> int:
        """Return how far its log goes."""
        return int(self.psql("SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')"))

    def senders(self) -> set[str]:
        """Return the names of those who stream from it."""
        found = self.psql("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")
        return set(found.split())

    def hang(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Let it end as with the machine: Patroni at once, and its server, too."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait(30)
        self.process = None
        pid = self.data / "postmaster.pid"
        if pid.exists():
            number = int(pid.read_text().split()[0])
            try:
                os.kill(number, signal.SIGQUIT)
            except ProcessLookupError:
                return
            until(lambda: not alive(number), 30)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.base)


class Regions(t.NamedTuple):
    """The members of two clusters."""

    one1: Member
    one2: Member
    two1: Member

    def named(self, name: str) -> Member:
        return next(each for each in self if each.name == name)

    def led(self, scope: str) -> Member | None:
        """Return the primary of a cluster, if there is one."""
        for member in self:
            word = member.ask() if member.scope == scope else {}
            if word.get("state") == "running" and word.get("role") in ("primary", "master"):
                return member
        return None
