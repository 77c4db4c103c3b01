"""Names, ports and paths of one lab, and its secrets: every other module asks here."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import secrets as random_source
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_NAME = "default"
DEFAULT_PORT_BASE = 18000
SERVER_NAME = "lab.test"
PUBLIC_NAME = "matrix.lab.test"
PUBLIC_URL = f"https://{PUBLIC_NAME}"
DATABASE = "synapse"

OFFSETS = {
    "https": 443,
    "main": 8,
    "worker1": 81,
    "worker2": 82,
    "replication": 93,
    "main_metrics": 90,
    "worker1_metrics": 91,
    "worker2_metrics": 92,
    "postgresql": 432,
    "standby": 433,
    "redis": 379,
    "haproxy_metrics": 404,
}

SECRETS = (
    "postgres_password",
    "synapse_db_password",
    "monitor_password",
    "replicator_password",
    "redis_password",
    "registration_shared_secret",
    "macaroon_secret_key",
    "form_secret",
    "worker_replication_secret",
)

# A directory without this file is never filled and never removed.
MARKER = ".matrixon-lab.json"
USER_COMMENT = "matrixon.ops lab"


class LabError(Exception):
    """Something the user can act on; shown as one line, without a traceback."""


def say(what: str, did: str, started: float | None = None) -> None:
    took = "" if started is None else f"{time.monotonic() - started:6.1f} s"
    print(f"{what:<12} {did:<24}{took}".rstrip(), file=sys.stderr, flush=True)


def write(path: Path, text: str, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Write beside and rename, so that no reader ever sees half a file."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    # The directory may belong to the services: do not follow what they may have put there.
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
        os.fchmod(descriptor, mode)
        if owner is not None:
            os.fchown(descriptor, *owner)
    os.replace(beside, path)


@dataclass(frozen=True)
class Lab:
    name: str
    port_base: int
    root: Path
    ports: dict[str, int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,19}", self.name):
            raise LabError(f"--name {self.name!r}: use 1 to 20 of a-z, 0-9 and '-'")
        if not 1024 <= self.port_base <= 65535 - max(OFFSETS.values()):
            raise LabError(f"--port-base {self.port_base}: out of range")
        # A unix socket's path may have 107 bytes.
        if len(str(self.root / "run" / ".s.PGSQL.65535.lock")) > 107:
            raise LabError(f"--state-dir {self.root}: too long for a unix socket in it")
        ports = {name: self.port_base + offset for name, offset in OFFSETS.items()}
        object.__setattr__(self, "ports", ports)

    @classmethod
    def find(
        cls,
        name: str | None = None,
        port_base: int | None = None,
        state_dir: str | None = None,
    ) -> Lab:
        """Options first, then the environment, then what an existing lab says of itself."""
        environ = os.environ.get
        name = name or environ("MATRIXON_LAB_NAME") or DEFAULT_NAME
        directory = state_dir or environ("MATRIXON_LAB_DIR") or f"/var/tmp/matrixon-lab-{name}"
        root = Path(os.path.abspath(directory))
        asked = port_base or environ("MATRIXON_LAB_PORT_BASE")
        try:
            asked = int(asked) if asked else None
        except ValueError:
            raise LabError(f"port base {asked!r} is not a number") from None
        try:
            known = json.loads((root / MARKER).read_text())
        except (OSError, ValueError):
            known = {}
        if known and known["name"] != name:
            raise LabError(f"{root} belongs to the lab {known['name']!r}: give --name")
        if known and asked and known["port_base"] != asked:
            raise LabError(
                f"lab {name!r} already stands on port base {known['port_base']}: "
                f"give --port-base {known['port_base']}, or run down first"
            )
        return cls(name, known.get("port_base") or asked or DEFAULT_PORT_BASE, root)

    # Places
    def __getattr__(self, item: str) -> Path:
        if item in {"etc", "pg", "standby", "redis", "synapse", "run", "log", "ca", "secrets"}:
            return self.root / item
        raise AttributeError(item)

    @property
    def facts_file(self) -> Path:
        return self.root / "facts.json"

    @property
    def seed_file(self) -> Path:
        return self.root / "seeded.json"

    @property
    def exists(self) -> bool:
        return (self.root / MARKER).is_file()

    def require(self) -> None:
        if not self.exists:
            raise LabError(f"there is no lab {self.name!r} in {self.root}: run up first")
        self.check_owner()

    def check_owner(self) -> None:
        # /var/tmp is writable for all: somebody else's directory must not be trusted.
        if self.root.exists() and self.root.stat().st_uid != os.geteuid():
            raise LabError(f"{self.root} belongs to another user")

    # The operating system user of the services
    @property
    def user(self) -> str:
        return f"mxlab-{self.name}" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name

    @property
    def account(self) -> pwd.struct_passwd | None:
        try:
            return pwd.getpwnam(self.user)
        except KeyError:
            return None

    @property
    def owner(self) -> tuple[int, int] | None:
        """uid and gid to give files to, or None where we are that user already."""
        if os.geteuid() != 0:
            return None
        account = self.account
        if account is None:
            raise LabError(f"user {self.user} is missing: run up")
        return account.pw_uid, account.pw_gid

    # Secrets: one value per file, readable by the operator only
    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text().strip()

    def keep_secret(self, name: str, value: str) -> None:
        write(self.secrets / name, value + "\n", 0o600)

    def ensure_secret(self, name: str) -> str:
        if not (self.secrets / name).exists():
            self.keep_secret(name, random_source.token_hex(24))
        return self.secret(name)

    # The directory itself
    def make_root(self) -> None:
        """Create the state directory or take the one that is ours; refuse anything else."""
        try:
            self.root.mkdir(mode=0o755, parents=True)
        except FileExistsError:
            if self.root.is_symlink() or not self.root.is_dir():
                raise LabError(f"{self.root} is not a directory") from None
            self.check_owner()
            if not self.exists and any(self.root.iterdir()):
                raise LabError(f"{self.root} is not empty and not a lab: not touched") from None
        self.root.chmod(0o755)

    def mark(self) -> None:
        text = json.dumps({"name": self.name, "port_base": self.port_base})
        write(self.root / MARKER, text + "\n")

    def remove_root(self) -> None:
        if self.root.exists():
            if not self.exists and any(self.root.iterdir()):
                raise LabError(f"{self.root} is not a lab: not touched")
            # The marker goes last: a removal that was cut short can be taken up again.
            for entry in sorted(self.root.iterdir(), key=lambda path: path.name == MARKER):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            self.root.rmdir()

    @contextlib.contextmanager
    def lock(self, patience: float = 120.0):
        """One change at a time. The lock is on the directory, so nothing is left behind."""
        deadline = time.monotonic() + patience
        told = False
        while True:
            try:
                descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                # Nothing there, or a `down` removed it while we waited.
                yield False
                return
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                if time.monotonic() > deadline:
                    raise LabError(f"another command holds {self.root}") from None
                if not told:
                    say("lab", "waiting for another command")
                    told = True
                time.sleep(0.2)
                continue
            try:
                if os.fstat(descriptor).st_ino != os.stat(self.root).st_ino:
                    raise FileNotFoundError
            except FileNotFoundError:
                os.close(descriptor)
                continue
            try:
                yield True
            finally:
                os.close(descriptor)
            return
