"""The playbook as an operator runs it, against the lab: a look, check mode, a run, a second one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
import typing as t

import jsonschema
import psycopg2
import pytest

pytestmark = pytest.mark.integration

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
# What the homeserver changes meanwhile stays below.
GIVEN = {"database_upkeep_dead_rows": 5000, "database_upkeep_reindex_size": 1024**3}


@dataclasses.dataclass
class Run:
    """One run of the playbook."""

    code: int
    output: str
    report: dict[str, t.Any] | None

    def check(self, name: str, target: str) -> dict[str, t.Any]:
        assert self.report is not None, self.output
        (found,) = [one for one in self.report["checks"] if (one["name"], one["target"]) == (name, target)]
        return found


@pytest.fixture
def play(lab: t.Any, tmp_path: pathlib.Path) -> t.Callable[..., Run]:
    """Run the playbook on the lab's inventory; keywords are extra variables."""

    def run(*arguments: str, **variables: t.Any) -> Run:
        given = {"matrixon_report_dir": str(tmp_path), **GIVEN, **variables}
        program = str(pathlib.Path(sys.executable).parent / "ansible-playbook")
        command = [program, str(ROOT / "playbooks/database_upkeep.yml"), "-i", str(ROOT / "inventories/lab")]
        done = subprocess.run(
            [*command, "-e", json.dumps(given), *arguments],
            cwd=ROOT,
            env={**lab.environment, "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        path = tmp_path / "hosts/database_upkeep-lab-db.json"
        return Run(done.returncode, done.stdout + done.stderr, json.loads(path.read_text()) if path.exists() else None)

    return run


Sql = t.Callable[..., t.Any]


@pytest.fixture
def sql(lab: t.Any) -> t.Iterator[Sql]:
    """Run statements in a session of their own: one that stays open keeps its statistics to itself for a while."""

    def run(*statements: str) -> t.Any:
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=lab.facts["ports"]["postgresql"],
            dbname="synapse",
            user="postgres",
            password=pathlib.Path(lab.secret("postgres_password")).read_text().strip(),
        )
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None

    run(
        "DROP TABLE IF EXISTS neglected",
        "CREATE TABLE neglected (id int) WITH (autovacuum_enabled = false)",
        "INSERT INTO neglected SELECT generate_series(1, 20000)",
        "ANALYZE neglected",
        "UPDATE neglected SET id = id + 1",
    )
    yield run
    run("DROP TABLE neglected")


def test_it_looks_foresees_does_and_is_done(play: t.Callable[..., Run], sql: Sql) -> None:
    looked = play(database_upkeep_entry="look")
    assert looked.code == 0 and "[WARNING]" not in looked.output and "[DEPRECATION" not in looked.output, looked.output
    jsonschema.validate(looked.report, SCHEMA)
    assert looked.report and looked.report["counts"]["unknown"] == looked.report["counts"]["critical"] == 0
    found = [one for one in looked.report["checks"] if one["name"] == "database_dead_rows"]
    assert found[0]["status"] == "warning" and "public.neglected" in found[0]["message"]

    foreseen = play("--check", "-v")
    said = foreseen.output.replace("\\", "")
    assert foreseen.code == 0 and 'VACUUM (ANALYZE, PARALLEL 0) "public"."neglected"' in said, foreseen.output
    done = play()
    assert done.code == 0, done.output
    vacuumed = done.check("upkeep_vacuum", "public.neglected")
    assert vacuumed["status"] == "ok" and vacuumed["value"] == 0, vacuumed
    counted = sql("SELECT n_dead_tup, vacuum_count FROM pg_stat_user_tables WHERE relname = 'neglected'")
    assert counted == (0, 1), "check mode did nothing, and the run did it once"
    again = play()
    # Publishing is the only change of the second run, and it is the controller's.
    assert again.code == 0 and again.output.count("changed: [") == 1, again.output
