"""Media of the lab's Synapse, old and new, local and remote; backup sets of them; and a proxy that fails."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import threading
import time
import typing as t
import urllib.request

import psycopg2
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROFILE = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/synapse.yml").read_text())
DAY_MS = 86_400_000
ORIGIN = "far.example"
Document = dict[str, t.Any]


def call(module: str, check_mode: bool = False, **given: t.Any) -> Document:
    """Run a module in a process of its own, options on standard input."""
    arguments = {name: value for name, value in given.items() if value is not None}
    done = subprocess.run(
        [sys.executable, str(ROOT / f"plugins/modules/{module}.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check_mode}}),
        env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    document: Document = json.loads(done.stdout)
    return document


def check(document: Document, name: str) -> Document:
    """Return the one check of a name."""
    found = [one for one in document["report"]["checks"] if one["name"] == name]
    assert len(found) == 1, document["report"]["checks"]
    return t.cast(Document, found[0])


class World:
    """The lab's media, and the modules that look after them."""

    def __init__(self, lab: t.Any, sets: pathlib.Path) -> None:
        self.lab, self.sets = lab, sets
        self.store = lab.dir / "synapse/media_store"
        self.token = pathlib.Path(lab.secret("admin_token")).read_text().strip()
        self.database = psycopg2.connect(
            host="127.0.0.1",
            port=lab.facts["ports"]["postgresql"],
            dbname="synapse",
            user="postgres",
            password=pathlib.Path(lab.secret("postgres_password")).read_text().strip(),
        )
        self.database.autocommit = True

    # --- what is there

    def sql(self, statement: str, *values: t.Any) -> list[tuple[t.Any, ...]]:
        with self.database.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def request(self, method: str, path: str, content: bytes | None = None, kind: str = "text/plain") -> bytes:
        request = urllib.request.Request(self.lab.url("main") + path, data=content, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return t.cast(bytes, answer.read())

    def upload(self, days: int = 0, content: bytes | None = None) -> str:
        """Put a file up as clients do; return its id. It is made so many days old."""
        body = secrets.token_bytes(3000) if content is None else content
        said = json.loads(self.request("POST", "/_matrix/media/v3/upload?filename=a.bin", body))
        media_id = str(said["content_uri"].rpartition("/")[2])
        if days:
            self.age(media_id, days)
        return media_id

    def age(self, media_id: str, days: float) -> None:
        then = int(time.time() * 1000 - days * DAY_MS)
        self.sql(
            "UPDATE local_media_repository SET created_ts = %s, last_access_ts = NULL WHERE media_id = %s",
            then,
            media_id,
        )

    def fetched(self, days: float, content: bytes = b"of a far server\n" * 20) -> str:
        """Lay a remote file and its thumbnail out as Synapse does after a download; return its id."""
        media_id, file_id = secrets.token_hex(12), secrets.token_hex(12)
        then = int(time.time() * 1000 - days * DAY_MS)
        self.sql(
            "INSERT INTO remote_media_cache (media_origin, media_id, media_type, created_ts, upload_name, media_length,"
            " filesystem_id, last_access_ts) VALUES (%s, %s, 'text/plain', %s, NULL, %s, %s, %s)",
            ORIGIN,
            media_id,
            then,
            len(content),
            file_id,
            then,
        )
        self.sql(
            "INSERT INTO remote_media_cache_thumbnails (media_origin, media_id, thumbnail_width, thumbnail_height,"
            " thumbnail_method, thumbnail_type, thumbnail_length, filesystem_id)"
            " VALUES (%s, %s, 32, 32, 'crop', 'image/png', 5, %s)",
            ORIGIN,
            media_id,
            file_id,
        )
        self._write(self.remote_path(file_id), content)
        self._write(self.remote_path(file_id, "remote_thumbnail") / "32-32-image-png-crop", b"small")
        return media_id

    def _write(self, path: pathlib.Path, content: bytes) -> None:
        owner = self.store.stat()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        for one in (path, *path.parents):
            if one == self.store:
                break
            os.chown(one, owner.st_uid, owner.st_gid)

    def local_path(self, media_id: str) -> pathlib.Path:
        return self.store / "local_content" / media_id[:2] / media_id[2:4] / media_id[4:]

    def remote_path(self, file_id: str, kind: str = "remote_content") -> pathlib.Path:
        return self.store / kind / ORIGIN / file_id[:2] / file_id[2:4] / file_id[4:]

    def file_of(self, media_id: str) -> pathlib.Path:
        ((file_id,),) = self.sql("SELECT filesystem_id FROM remote_media_cache WHERE media_id = %s", media_id)
        return self.remote_path(file_id)

    def remote(self) -> set[str]:
        return {row[0] for row in self.sql("SELECT media_id FROM remote_media_cache")}

    def local(self) -> set[str]:
        return {row[0] for row in self.sql("SELECT media_id FROM local_media_repository")}

    def clear(self) -> None:
        """Forget all remote media, and make local ones young."""
        self.sql("DELETE FROM remote_media_cache")
        self.sql("DELETE FROM remote_media_cache_thumbnails")
        self.sql("UPDATE local_media_repository SET created_ts = %s, last_access_ts = NULL", int(time.time() * 1000))
        for name in ("remote_content", "remote_thumbnail"):
            shutil.rmtree(self.store / name, ignore_errors=True)

    # --- what is done

    def options(self) -> Document:
        return {
            "deployment": "lab",
            "profile": "synapse",
            "target": "lab",
            "detail": "full",
            "server_name": self.lab.facts["server_name"],
            "media_dir": str(self.store),
            "ways": PROFILE["media_cleanup"],
            "controller_time": time.time(),
            "remote_days": 90,
            "max_share": 90,
            "api": {"url": self.lab.url("main"), "token_file": self.lab.secret("admin_token")},
            "postgresql": {
                "port": self.lab.facts["ports"]["postgresql"],
                "database": "synapse",
                "user": "postgres",
                "password_file": self.lab.secret("postgres_password"),
            },
            "backup": {"root": str(self.sets), "server": "hs1"},
            "database_sets": [self.database_set()],
        }

    @staticmethod
    def database_set(age: float = 3600, status: str = "verified") -> Document:
        """A set of the database as matrixon_backup_info says it on another host."""
        finished = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - age))
        return {"id": "20261101T020000Z-00aa", "status": status, "components": ["database"], "finished": finished}

    def clean(self, check_mode: bool = False, **changes: t.Any) -> Document:
        return call("matrixon_media_cleanup", check_mode, **{**self.options(), **changes})

    def clean_local(self, check_mode: bool = False, **changes: t.Any) -> Document:
        both = {"remote_days": None, "local_days": 90, "local_confirm": "lab.test", **changes}
        return self.clean(check_mode, **both)

    def back_up(self, proven: bool = True, **media: t.Any) -> str:
        """Take a set of the media, and prove it as an operator does."""
        base = {"root": str(self.sets), "deployment": "lab", "profile": "synapse", "server": "hs1"}
        source = {
            "driver": "rsync",
            "path": str(self.store),
            "required": ["local_content", "local_thumbnails"],
            **media,
        }
        done = call("matrixon_backup", **base, media=source)
        assert not done.get("failed"), done
        if proven:
            place = {name: media[name] for name in ("password_file",) if name in media}
            drilled = call("matrixon_backup_drill", **base, scratch=str(self.sets / "scratch"), media=place)
            assert not drilled.get("failed"), drilled
        return t.cast(str, done["set"]["id"])


class _Handler(http.server.BaseHTTPRequestHandler):
    """Hand requests on to the homeserver; those whose turn it is are answered with 500."""

    server: Proxy

    def _pass(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        if self.server.download is not None and "/media/download/" in self.path:
            return self._answer(200, self.server.download, None)
        fails = self.server.fails(self.command)
        if fails and not self.server.acts:
            return self._answer(500, b'{"errcode":"M_UNKNOWN","error":"Internal server error"}', None)
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        wanted = {name: self.headers[name] for name in ("Authorization", "Content-Type") if self.headers[name]}
        upstream.request(self.command, self.path, body, wanted)
        answer = upstream.getresponse()
        content, date = answer.read(), answer.headers["Date"]
        upstream.close()
        if fails:
            return self._answer(500, b'{"errcode":"M_UNKNOWN","error":"Internal server error"}', None)
        return self._answer(answer.status, content, self.server.date or date)

    def _answer(self, status: int, content: bytes, date: str | None) -> None:
        self.send_response_only(status)
        if date:
            self.send_header("Date", date)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _pass

    def log_message(self, *dummy: t.Any) -> None:
        """Say nothing."""


class Proxy(http.server.ThreadingHTTPServer):
    """Between the module and Synapse: after some calls that change something, one fails, before it acts or after."""

    def __init__(
        self,
        upstream: int,
        good: int = 10**9,
        acts: bool = False,
        date: str | None = None,
        download: bytes | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.good, self.acts, self.date, self.download = upstream, good, acts, date, download
        self.calls = 0

    def fails(self, method: str) -> bool:
        if method == "GET":
            return False
        self.calls += 1
        return self.calls > self.good

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def proxy(world: World, **options: t.Any) -> t.Iterator[Proxy]:
    """Run a proxy for a while."""
    server = Proxy(world.lab.facts["ports"]["main"], **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
