"""From options to a report, on a clock that the test moves, and options that cannot be right."""

from __future__ import annotations

import datetime
import json
import pathlib
from typing import Any

import jsonschema
import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Limits
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import read_secrets
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._performance import run, showing
from ansible_collections.matrixon.ops.plugins.module_utils._performance.options import SECRETS
from ansible_collections.matrixon.ops.plugins.module_utils._performance.sampling import Clock
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

ROOT = pathlib.Path(__file__).resolve().parents[5]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.timezone.utc)
HISTOGRAM = {"name": "x_seconds", "labels": ["servlet"], "excluded": []}
DATABASE: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 5432,
    "database": "d",
    "user": "u",
    "password": None,
    "password_file": None,
    "sslmode": "prefer",
    "ca_file": None,
    "tuning": {
        "memory_bytes": 0,
        "cores": 0,
        "connections": 0,
        "storage": "ssd",
        "standbys": 0,
        "settings": {},
    },
}


def options(**changes: Any) -> dict[str, Any]:
    return {
        "target": "db1",
        "deployment": "example",
        "profile": "synapse",
        "unknown_as": "unknown",
        "interval": 2.0,
        "samples": 4,
        "checks": None,
        "skip_checks": {},
        "thresholds": {},
        "timeout": 5.0,
        "deadline": 30.0,
        "connect_to": {},
        "ca_file": None,
        "validate_certs": True,
        "units": [],
        "processes": [],
        "ports": [],
        "homeserver": None,
        "postgresql": None,
        "guide_settings": [],
        "earlier": None,
        **changes,
    }


class Hands:
    """A clock on which waiting takes no time of the test."""

    def __init__(self) -> None:
        self.at = 0.0

    def wait(self, seconds: float) -> None:
        self.at += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.at, lambda: NOW.timestamp() + self.at, self.wait)


@pytest.fixture
def root(tmp_path: pathlib.Path) -> str:
    files = {
        "stat": "cpu  100 0 0 900 0 0 0 0 0 0\ncpu0 100 0 0 900 0 0 0 0 0 0\n",
        "meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\nSwapTotal: 0 kB\n",
        "loadavg": "0.50 1.0 1.0 1/1 1\n",
        "vmstat": "pswpin 0\npswpout 0\n",
        "diskstats": "",
        "net/dev": "a\nb\n",
        "net/snmp": "Tcp: PassiveOpens\nTcp: 0\n",
        "net/tcp": "heading\n",
        "sys/net/ipv4/ip_local_port_range": "32768 60999\n",
    }
    for name, text in files.items():
        path = tmp_path / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(tmp_path)


def report(root: str, **changes: Any) -> dict[str, Any]:
    made = run.check_performance(options(**changes), NOW, Hands().clock, root)
    document = made.as_dict("full")
    jsonschema.validate(document, SCHEMA)
    return document


def test_a_host_of_which_little_is_known_has_a_whole_report(root: str) -> None:
    document = report(root)
    found = {check["name"]: check["status"] for check in document["checks"]}
    assert found["memory"] == "ok" and found["comparison"] == "skipped" and found["process_cpu"] == "skipped"
    # The copy of /proc stands still, so no CPU time went by: that is no measurement.
    assert found["cpu"] == "unknown" and document["status"] == "unknown"
    facts = document["facts"]
    assert "checks could not be made" in facts["answer"] and "memory in use 50" in facts["answer"]
    assert {"plots", "rankings", "kept", "footprint", "comparison"} <= set(facts)
    assert facts["kept"]["figures"]["memory"] == 50.0


def test_only_what_is_wanted_is_looked_at(root: str) -> None:
    document = report(root, checks=["memory", "load"], skip_checks={"load": "it is known"})
    found = {check["name"]: check for check in document["checks"]}
    assert set(found) == {"memory", "load"}
    assert found["load"]["skipped_reason"] == "it is known"


def test_thresholds_are_lines_in_the_plots(root: str) -> None:
    document = report(root, thresholds={"memory": {"warning": 40, "critical": None}})
    (check,) = [one for one in document["checks"] if one["name"] == "memory"]
    assert check["status"] == "warning"
    (plot,) = [one for one in document["facts"]["plots"] if one["name"] == "memory"]
    assert plot["lines"] == [{"name": "warning", "value": 40.0, "status": "warning"}]
    assert document["facts"]["answer"].startswith("50.0 % of memory used")


def test_an_earlier_run_is_laid_into_the_plots(root: str) -> None:
    points = [["2026-11-20T12:00:01.000Z", 7.0]]
    kept = {"figures": {"memory": 10.0}, "series": {"memory": {"used": points, "else": points}}}
    document = report(root, earlier={"finished": "2026-11-20T12:00:00.000Z", "kept": kept})
    (plot,) = [one for one in document["facts"]["plots"] if one["name"] == "memory"]
    assert plot["series"][1] == {"name": "used", "role": "earlier", "shift_s": 604800, "points": points}
    assert len(plot["series"]) == 2
    assert document["facts"]["comparison"]["figures"] == {"memory in use": [10.0, 50.0]}
    (ranking,) = [one for one in document["facts"]["rankings"] if one["name"] == "comparison"]
    assert ranking["rows"][0][0] == "memory in use" and ranking["rows"][0][3] == 5.0


def test_the_guide_is_held_against_this_host(root: str) -> None:
    settings = [{"setting": "performance.worker_threads", "value": "32", "rule": "threads"}]
    homeserver = {"instances": [], "latency_histogram": None, "unsupported": "it shows none"}
    document = report(root, guide_settings=settings, homeserver=homeserver)
    found = {check["name"]: check for check in document["checks"]}
    assert found["guide_settings"]["status"] == "warning"
    assert found["response_time"]["skipped_reason"] == "it shows none"


def test_sockets_that_cannot_be_read_are_not_known(root: str) -> None:
    settings = [{"setting": "cache.redis_url", "value": "redis://localhost:6379", "rule": "local_service"}]
    homeserver = {"instances": [], "latency_histogram": None, "unsupported": "it shows none"}
    for gone, status in ((False, "warning"), (True, "unknown")):
        if gone:
            (pathlib.Path(root) / "proc/net/tcp").unlink()
        document = report(root, guide_settings=settings, homeserver=homeserver)
        (check,) = [one for one in document["checks"] if one["name"] == "guide_settings"]
        assert check["status"] == status, check


def test_the_memory_of_a_control_group_counts(root: str) -> None:
    assert run.memory_of(root) == 8 * 1024**3
    for name, text, expected in (
        ("memory.max", "2147483648\n", 2 * 1024**3),
        ("memory.max", "max\n", 8 * 1024**3),
        ("memory.max", "1000\n", run.LEAST_MEMORY),
    ):
        path = pathlib.Path(root) / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        assert run.memory_of(root) == expected


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an interval of nothing": ({"interval": 0.0}, "interval: 0 is no length to measure over; give 1 to 3600 seconds"),
    "an interval that is no number": ({"interval": float("nan")}, "interval: nan is no length"),
    "a deadline before the end": (
        {"interval": 60.0},
        "deadline: 30 s leave no time beside an interval of 60 s; give 62",
    ),
    "one sample": ({"samples": 1}, "samples: 1 is no number of samples; give 2 to 600"),
    "too many samples": ({"samples": 50}, "samples: 50 in 2 s are more than 10 per second"),
    "a check like another": ({"checks": ["memry"]}, "checks: 'memry' is not a check; did you mean memory?"),
    "an empty list of checks": ({"checks": []}, "checks: the list is empty"),
    "a skip without a reason": ({"skip_checks": {"cpu": " "}}, "skip_checks.cpu: say why it is skipped"),
    "a threshold that is no number": (
        {"thresholds": {"cpu": {"warning": "much"}}},
        "thresholds.cpu.warning: 'much' is not a number; give a number",
    ),
    "a threshold of a check without one": (
        {"thresholds": {"metrics": {"warning": 1}}},
        "thresholds.metrics: the verdict",
    ),
    "thresholds that never warn": (
        {"thresholds": {"cpu": {"warning": 96}}},
        "thresholds.cpu: warning 96 is above critical 95, so it would never warn; exchange them",
    ),
    "a threshold of another level": ({"thresholds": {"cpu": {"fatal": 1}}}, "thresholds.cpu: {'fatal': 1} is not"),
    "a unit that is none": ({"units": ["a;b"]}, "units[0]: 'a;b' is not a unit"),
    "a unit twice": ({"units": ["a", "a"]}, "units: a stands there twice"),
    "a port that is none": ({"ports": [{"name": "a", "port": 0}]}, "ports[0].port: 0 is not a port"),
    "a relative path": ({"processes": [{"name": "a", "pid_file": "a.pid"}]}, "processes[0].pid_file: 'a.pid' is not"),
    "an address that is none": ({"connect_to": {"a": "b:1"}}, "connect_to: 'a' is not host:port"),
    "neither histogram nor reason": (
        {"homeserver": {"instances": [], "latency_histogram": None, "unsupported": None}},
        "homeserver: give either latency_histogram, or with unsupported the reason",
    ),
    "both histogram and reason": (
        {"homeserver": {"instances": [], "latency_histogram": HISTOGRAM, "unsupported": "no"}},
        "homeserver: give either latency_histogram",
    ),
    "a metric that is none": (
        {"homeserver": {"instances": [], "latency_histogram": {**HISTOGRAM, "name": "a b"}, "unsupported": None}},
        "homeserver.latency_histogram.name: 'a b' is not the name of a metric",
    ),
    "no label": (
        {"homeserver": {"instances": [], "latency_histogram": {**HISTOGRAM, "labels": []}, "unsupported": None}},
        "homeserver.latency_histogram.labels: the list is empty",
    ),
    "a URL that is none": (
        {
            "homeserver": {
                "instances": [{"name": "a", "metrics_url": "ftp://a"}],
                "latency_histogram": HISTOGRAM,
                "unsupported": None,
            }
        },
        "homeserver.instances[0].metrics_url: 'ftp://a' cannot be used",
    ),
    "a port of the database that is none": ({"postgresql": {**DATABASE, "port": 70000}}, "postgresql.port: 70000 is"),
    "no database": (
        {"postgresql": {**DATABASE, "database": " "}},
        "postgresql.database: it is empty; give the database",
    ),
    "nobody to trust": (
        {"postgresql": {**DATABASE, "sslmode": "verify-full"}},
        "postgresql.sslmode: verify-full needs certificates to check against; give postgresql.ca_file",
    ),
    "less than no memory": (
        {"postgresql": {**DATABASE, "tuning": {**DATABASE["tuning"], "memory_bytes": -1}}},
        "postgresql.tuning.memory_bytes: -1 is below 0",
    ),
    "a deployment without a name": ({"deployment": " "}, "deployment: it is empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_cannot_be_right_are_refused_before_anything_is_read(case: str) -> None:
    changes, words = WRONG[case]
    with pytest.raises(OptionErrors) as caught:
        run.check_performance(options(**changes), NOW, Hands().clock, "/nowhere")
    assert len(caught.value.errors) == 1 and caught.value.errors[0].startswith(words), caught.value.errors


def test_a_password_comes_from_its_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    given = options(postgresql={**DATABASE, "password_file": str(path)})
    assert read_secrets(given, SECRETS) == ["s3cret"] and given["postgresql"]["password"] == "s3cret"
    assert read_secrets(options(), SECRETS) == []
    path.write_text("\n")
    with pytest.raises(OptionErrors, match="cannot be read: the file is empty"):
        read_secrets(given, SECRETS)
    path.unlink()
    with pytest.raises(OptionErrors, match="cannot be read: No such file"):
        read_secrets(given, SECRETS)


def result(name: str, status: str, message: str) -> CheckResult:
    return CheckResult(name, "host", status, message)


def test_the_answer_names_the_cause_before_what_it_leads_to() -> None:
    results = [
        result("cpu", "warning", "the CPUs were busy"),
        result("postgresql_lock_wait", "warning", "pid 7 waited"),
        result("postgresql_connections", "warning", "80 of 100"),
    ]
    assert showing.answer(results, {}, {}) == "Pid 7 waited; 2 more findings."
    worst = [*results, result("response_time", "critical", "slow")]
    assert showing.answer(worst, {}, {}).startswith("Slow; ")
    calm = showing.answer([result("cpu", "ok", "x")], {"queries_total": [["SELECT 1"]]}, {"cpu": 12.0})
    assert calm.startswith("Nothing stands out: CPUs busy 12") and "SELECT 1" in calm
    assert showing.answer([result("cpu", "unknown", "x")], {}, {}) == "Nothing could be measured."


def test_every_ranking_of_the_collectors_can_be_shown() -> None:
    for name, ranking in showing.RANKINGS.items():
        (made,) = showing.rankings({name: [["x"] * len(ranking.columns)]})
        assert made["bar"] is None or made["bar"] < len(made["columns"])
    assert showing.rankings({"nobody's": [["x"]], "tuning": []}) == []


def test_plots_of_disks_are_named_by_them() -> None:
    (plot,) = showing.plots({"disk_vda": {"read": []}}, {"cpu": Limits()}, {}, None)
    assert plot["title"] == "Disk vda: bytes per second" and "lines" not in plot
