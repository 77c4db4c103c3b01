"""The tables of a running Synapse: what clients read of old state is the same before and after, and it goes on."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import typing as t
import urllib.parse
import urllib.request

import psycopg2
import pytest
from compressed import PROFILES, ROOT, Answer, Tools, backup_set, run

pytestmark = pytest.mark.integration

EVENTS = 60
# Puts the state of each group of a room in full into it, as Synapse itself does with those whose base it deletes.
WORSEN = """
CREATE TEMP TABLE whole AS
WITH RECURSIVE chain(top, id, depth) AS (SELECT id, id, 0 FROM state_groups WHERE room_id = %(room)s UNION ALL
    SELECT top, prev_state_group, depth + 1 FROM chain JOIN state_group_edges ON state_group = chain.id)
SELECT DISTINCT ON (top, s.type, s.state_key) top, s.type, s.state_key, s.event_id
FROM chain JOIN state_groups_state s ON s.state_group = chain.id ORDER BY top, s.type, s.state_key, depth;
DELETE FROM state_groups_state WHERE room_id = %(room)s;
DELETE FROM state_group_edges WHERE state_group IN (SELECT id FROM state_groups WHERE room_id = %(room)s);
INSERT INTO state_groups_state SELECT top, %(room)s, type, state_key, event_id FROM whole;
DROP TABLE whole;
"""


class Rooms:
    """What a client sees of one room."""

    def __init__(self, lab: t.Any) -> None:
        self.lab = lab
        self.token = pathlib.Path(lab.secret("admin_token")).read_text().strip()
        said = self.call("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat", "name": "large"})
        self.room, self.path = said["room_id"], f"/_matrix/client/v3/rooms/{urllib.parse.quote(said['room_id'])}"

    def call(self, method: str, path: str, body: t.Any = None) -> t.Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.lab.url("main") + path, data=data, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def change(self, number: int) -> str:
        """Set one of some settings of the room, and return the event."""
        path = f"{self.path}/state/test.setting/key{number % 20}"
        return str(self.call("PUT", path, {"value": number})["event_id"])

    def seen(self, events: list[str]) -> list[t.Any]:
        """What the room's state is now, and was at each of some events."""
        now = sorted(self.call("GET", f"{self.path}/state"), key=lambda one: str(one["event_id"]))
        members = sorted(one["event_id"] for one in self.call("GET", f"{self.path}/members")["chunk"])
        then = []
        for event in events:
            found = self.call("GET", f"{self.path}/context/{urllib.parse.quote(event)}?limit=2")
            then.append(sorted(one["event_id"] for one in found["state"]))
        return [[one["event_id"] for one in now], members, then]


def compress(lab: t.Any, tools: Tools, **options: t.Any) -> Answer:
    """Run the module as it runs beside a homeserver, with a password."""
    login = {"port": lab.facts["ports"]["postgresql"], "database": "synapse", "user": "postgres"}
    return run(
        {
            "deployment": "lab",
            "profile": "synapse",
            "target": "lab",
            "detail": "full",
            "way": PROFILES["synapse"]["state_compression"],
            "python": tools.python,
            "postgresql": {**login, "password_file": lab.secret("postgres_password")},
            "backup_sets": [backup_set()],
            "min_free": 0,
            "deadline": 120,
            **options,
        }
    )


def test_a_running_synapse_reads_the_same_state_and_writes_on(lab: t.Any, tools: Tools) -> None:
    rooms = Rooms(lab)
    events = [rooms.change(number) for number in range(EVENTS)]
    some = events[::12]
    before = rooms.seen(some)
    database = psycopg2.connect(
        host="127.0.0.1",
        port=lab.facts["ports"]["postgresql"],
        dbname="synapse",
        user="postgres",
        password=pathlib.Path(lab.secret("postgres_password")).read_text().strip(),
    )
    with database, database.cursor() as cursor:
        cursor.execute(WORSEN, {"room": rooms.room})
    done = compress(lab, tools)
    assert (done.changed, done.report["status"]) == (True, "ok"), done.document
    assert done.facts["removed"] > EVENTS * 10 and done.facts["ahead_after"] == 0, done.facts
    with database, database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM state_groups_state WHERE room_id = %s", [rooms.room])
        (rows,) = t.cast(tuple[int], cursor.fetchone())
        # It can be put together from fewer rows, but not from none: else what follows would be read from a cache.
        assert EVENTS < rows < EVENTS * 10
    database.close()

    rooms.change(EVENTS)
    # Nothing of what was read before is remembered by a process that has just begun.
    lab("stop", "main")
    lab("start", "main")
    after = rooms.seen(some)
    assert after[1:] == before[1:] and len(after[0]) == len(before[0])
    assert len(set(after[0]) ^ set(before[0])) == 2, "the one setting that was changed meanwhile"
    lab.settle()
    again = compress(lab, tools)
    assert again.report["status"] == "ok" and again.facts["groups"] < 50, again.document


def test_the_playbook_skips_without_the_tool_and_compresses_with_it(
    lab: t.Any, tools: Tools, tmp_path: pathlib.Path
) -> None:
    def play(*arguments: str, **variables: str) -> tuple[int, str, dict[str, t.Any] | None]:
        given = json.dumps({"matrixon_report_dir": str(tmp_path), **variables})
        program = str(pathlib.Path(sys.executable).parent / "ansible-playbook")
        done = subprocess.run(
            [program, str(ROOT / "playbooks/state_compression.yml"), "-i", str(ROOT / "inventories/lab"), "-e", given]
            + list(arguments),
            cwd=ROOT,
            env={**lab.environment, "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        path = tmp_path / "hosts/state_compression-lab-db.json"
        return done.returncode, done.stdout + done.stderr, json.loads(path.read_text()) if path.exists() else None

    code, said, report = play()
    assert code != 0 and report, said
    assert [one["status"] for one in report["checks"]] == ["skipped"], "what was not looked at is not good"
    assert "synapse_auto_compressor is not installed on this host" in report["facts"]["skipped"]

    waived = {"state_compression_python": tools.python, "state_compression_without_backup": "a test"}
    Rooms(lab)
    code, said, _report = play("--check", "-v", **waived)
    assert code == 0 and "the tool would begin with group " in said, said
    code, said, report = play(**waived)
    assert code == 0 and report and report["status"] == "ok", said
    assert "[WARNING]" not in said and "[DEPRECATION" not in said and report["facts"]["ahead_after"] == 0, said
