"""The modules of capacity as Ansible runs them, and others to ask what is true."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import typing as t
import urllib.request

import psycopg2
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROFILE = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/synapse.yml").read_text())
BASE = {"deployment": "lab", "profile": "synapse"}


def call(module: str, check_mode: bool = False, **arguments: t.Any) -> dict[str, t.Any]:
    """Run a module in a process of its own, options on standard input."""
    given = {**BASE, **arguments, "_ansible_check_mode": check_mode}
    done = subprocess.run(
        [sys.executable, str(ROOT / f"plugins/modules/matrixon_capacity_{module}.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {name: value for name, value in given.items() if value is not None}}),
        env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    document: dict[str, t.Any] = json.loads(done.stdout)
    assert not document.get("failed"), document
    return document


def read(lab: t.Any, **changes: t.Any) -> dict[str, t.Any]:
    """Read everything of the lab."""
    ports = lab.facts["ports"]
    server = {
        "port": ports["postgresql"],
        "database": "synapse",
        "user": "postgres",
        "password_file": lab.secret("postgres_password"),
    }
    given = {
        "target": "lab",
        "detail": "full",
        "mounts": [str(lab.dir)],
        "media_dir": str(lab.dir / "synapse/media_store"),
        "instances": [{"name": name, "url": lab.url(name)} for name in ("main", "worker1", "worker2")],
        "postgresql": {**server, **changes.pop("postgresql", {})},
        "queries": PROFILE["capacity"],
    }
    return call("info", **{**given, **changes})


def values(document: dict[str, t.Any]) -> dict[str, float]:
    """What was read, by resource."""
    return {row["resource"]: row["value"] for row in document["rows"]}


def check(document: dict[str, t.Any], name: str) -> dict[str, t.Any]:
    """The one check of a name."""
    found = [one for one in document["report"]["checks"] if one["name"] == name]
    assert len(found) == 1, found
    return t.cast("dict[str, t.Any]", found[0])


def admin(lab: t.Any, path: str) -> dict[str, t.Any]:
    """Ask Synapse's admin API."""
    request = urllib.request.Request(lab.url("main") + path)
    request.add_header("Authorization", f"Bearer {pathlib.Path(lab.secret('admin_token')).read_text().strip()}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return t.cast("dict[str, t.Any]", json.load(answer))


def upload(lab: t.Any, content: bytes) -> None:
    """Put a file up as a user."""
    request = urllib.request.Request(lab.url("main") + "/_matrix/media/v3/upload?filename=a.bin", data=content)
    request.add_header("Authorization", f"Bearer {pathlib.Path(lab.secret('admin_token')).read_text().strip()}")
    request.add_header("Content-Type", "application/octet-stream")
    urllib.request.urlopen(request, timeout=30).close()


class Database:
    """A database for histories on the lab's server, and a superuser's look into both."""

    name = "capacity_tests"

    def __init__(self, lab: t.Any) -> None:
        self._lab = lab
        self._password = pathlib.Path(lab.secret("postgres_password")).read_text().strip()

    @property
    def options(self) -> dict[str, t.Any]:
        """The history as the modules take it."""
        port = self._lab.facts["ports"]["postgresql"]
        return {"port": port, "database": self.name, "user": "postgres", "password": self._password}

    def ask(self, statement: str, database: str | None = None) -> list[tuple[t.Any, ...]]:
        """Run one statement as the superuser."""
        with self.holding(statement, database) as found:
            return found

    @contextlib.contextmanager
    def holding(self, statement: str, database: str | None = None) -> t.Iterator[list[tuple[t.Any, ...]]]:
        """Run one statement, and keep its session open."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self._lab.facts["ports"]["postgresql"],
            dbname=database or self.name,
            user="postgres",
            password=self._password,
        )
        try:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement)
            yield cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def make(self) -> None:
        self.remove()
        self.ask(f"CREATE DATABASE {self.name}", "postgres")

    def remove(self) -> None:
        self.ask(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)", "postgres")
