"""The playbook as an operator runs it, against the lab: a first run, one a week later, check mode."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import subprocess
import sys
import typing as t

import jsonschema
import pytest

pytestmark = pytest.mark.integration

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
HOSTS = ("lab-lb", "lab-hs", "lab-db", "lab-cache")
WEEK = datetime.timedelta(days=7)


@dataclasses.dataclass
class Run:
    """One run of the playbook."""

    code: int
    output: str
    reports: pathlib.Path

    def host(self, name: str) -> dict[str, t.Any]:
        fleet = json.loads((self.reports / "performance-lab.json").read_text())
        (found,) = [host for host in fleet["hosts"] if host["target"] == name]
        return found

    def check(self, host: str, name: str) -> dict[str, t.Any]:
        (found,) = [one for one in self.host(host)["checks"] if one["name"] == name]
        return found

    def fact(self, host: str, kind: str, name: str) -> dict[str, t.Any]:
        (found,) = [one for one in self.host(host)["facts"][kind] if one["name"] == name]
        return found

    @property
    def history(self) -> list[pathlib.Path]:
        return sorted((self.reports / "history").glob("performance-lab-*.json"))


@pytest.fixture(scope="module")
def play(lab: t.Any, tmp_path_factory: pytest.TempPathFactory) -> t.Callable[..., Run]:
    """Run the playbook on the lab's inventory; keywords are extra variables. All runs share their reports."""
    reports = tmp_path_factory.mktemp("reports")

    def run(*arguments: str, **variables: t.Any) -> Run:
        given = {
            "matrixon_report_dir": str(reports),
            "performance_interval": 2,
            "performance_samples": 4,
            "performance_detail": "full",
            # Four hosts are one machine, on which other tests work.
            "performance_fail_on": "never",
            **variables,
        }
        program = str(pathlib.Path(sys.executable).parent / "ansible-playbook")
        command = [program, str(ROOT / "playbooks/performance_report.yml"), "-i", str(ROOT / "inventories/lab")]
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
        return Run(done.returncode, done.stdout + done.stderr, reports)

    return run


@pytest.fixture(scope="module")
def first(play: t.Callable[..., Run]) -> Run:
    """The first run of all."""
    return play()


def test_each_host_is_measured_for_what_it_is(first: Run) -> None:
    assert first.code == 0, first.output
    assert "[WARNING]" not in first.output and "[DEPRECATION" not in first.output, first.output
    # Publishing is the only change of the play, and it is the controller's.
    assert first.output.count("changed: [") == 1
    for name in HOSTS:
        report = first.host(name)
        jsonschema.validate(json.loads((first.reports / f"hosts/performance-{name}.json").read_text()), SCHEMA)
        assert {"cpu", "memory", "connections", "comparison"} <= {check["name"] for check in report["checks"]}
        comparison = first.check(name, "comparison")
        assert comparison["status"] == "skipped", comparison
        assert "no earlier run of this deployment is kept" in comparison["skipped_reason"], comparison
    assert [row[0] for row in first.fact("lab-db", "rankings", "tables_largest")["rows"]]
    assert first.fact("lab-db", "rankings", "tuning")["rows"]
    assert (first.reports / "performance-lab.html").read_text().startswith("<!DOCTYPE html>")


def test_response_times_are_those_of_the_requests(first: Run, lab: t.Any, play: t.Callable[..., Run]) -> None:
    """Somebody asks the homeserver all the time, and it counts each request."""
    asker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, urllib.request\n"
            "end = time.monotonic() + 60\n"
            "while time.monotonic() < end:\n"
            "    urllib.request.urlopen(sys.argv[1], timeout=10).read()\n"
            "    time.sleep(0.02)\n",
            f"{lab.url('main')}/_matrix/client/versions",
        ]
    )
    try:
        run = play("--limit", "lab-hs")
    finally:
        asker.terminate()
        asker.wait(timeout=30)
    rows = {row[0]: row for row in run.fact("lab-hs", "rankings", "endpoints")["rows"]}
    total, mean, p95, count = rows["GET VersionsRestServlet"][1:]
    assert count >= 10 and total == pytest.approx(mean * count, rel=0.05) and p95 >= mean / 2
    check = run.check("lab-hs", "response_time")
    assert check["status"] in ("ok", "warning", "critical") and check["value"] > 0, check
    assert "HealthResource" not in " ".join(rows)


def test_it_is_compared_with_a_week_ago(first: Run, play: t.Callable[..., Run]) -> None:
    """The first run is made a week old, and its host idle and full, as this one surely is not."""
    assert first.code == 0
    path = first.history[0]
    point = json.loads(path.read_text())
    when = datetime.datetime.strptime(point["finished"], "%Y-%m-%dT%H:%M:%S.%f%z") - WEEK
    point["finished"] = when.strftime("%Y-%m-%dT%H:%M:%S.") + "000Z"
    for host in point["hosts"]:
        host["kept"]["figures"].update(cpu=0.1, memory=99.0)
    path.unlink()
    older = path.with_name(f"performance-lab-{when:%Y%m%dT%H%M%S}000Z.json")
    older.write_text(json.dumps(point))
    run = play("--limit", "lab-db")
    check = run.check("lab-db", "comparison")
    assert check["status"] in ("ok", "warning"), check
    assert "compared with 7.0 d ago" in check["message"] and "memory in use" in check["message"], check
    titles = [row[0] for row in run.fact("lab-db", "rankings", "comparison")["rows"]]
    assert {"busy CPUs", "memory in use", "transactions"} <= set(titles), titles
    roles = [(series["name"], series["role"]) for series in run.fact("lab-db", "plots", "cpu")["series"]]
    assert ("busy", "measured") in roles and ("busy", "earlier") in roles
    (earlier,) = [one for one in run.fact("lab-db", "plots", "cpu")["series"] if one["role"] == "earlier"]
    assert earlier["shift_s"] == pytest.approx(WEEK.total_seconds(), abs=600)
    older.write_text("{ not JSON")
    check = play("--limit", "lab-db").check("lab-db", "comparison")
    assert "the kept run cannot be read" in check["skipped_reason"], check
    assert older.read_text() == "{ not JSON"


def test_check_mode_says_the_same_and_writes_nothing(first: Run, play: t.Callable[..., Run]) -> None:
    before = {path: path.stat().st_mtime_ns for path in first.reports.rglob("*") if path.is_file()}
    run = play("--check", "--limit", "lab-cache")
    assert run.code == 0, run.output
    assert {path: path.stat().st_mtime_ns for path in first.reports.rglob("*") if path.is_file()} == before


def test_a_host_of_no_group_is_refused(play: t.Callable[..., Run], tmp_path: pathlib.Path) -> None:
    run = play("--limit", "lab-hs", performance_groups=["strangers"])
    assert run.code != 0 and "put it into the groups of what runs on it" in run.output
