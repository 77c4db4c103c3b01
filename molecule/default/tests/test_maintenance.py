"""The daily calendar on the fleet: what it does, what a second run and a dry run say, and what a failure leaves."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

REPORTS = pathlib.Path(__file__).resolve().parents[3] / "reports"
HOSTS = {"lb1", "hs1", "hs2", "db1", "db2", "cache1"}
# Media and their backup sets have tests of their own.
ELSEWHERE = {"10-040": "in tests of its own", "10-042": "in tests of its own"}
# A journal with one file that is old from end to end, and one that begins early and ends a quarter of an hour ago.
OLD_JOURNAL = r"""
import glob, os, struct, subprocess, time
subprocess.run(["journalctl", "--rotate"], check=True)
folder = glob.glob("/var/log/journal/*")[0]
source = sorted(glob.glob(folder + "/system@*.journal"))[0]
data = bytearray(open(source, "rb").read())
data[72:88] = os.urandom(16)
made = []
for number, days in enumerate(((40, 30), (20, 0.01)), 1):
    head, tail = (int((time.time() - day * 86400) * 1e6) for day in days)
    struct.pack_into("<QQ", data, 160, number * 100 + 99, number * 100)
    struct.pack_into("<QQ", data, 184, head, tail)
    name = f"{folder}/system@{bytes(data[72:88]).hex()}-{number * 100:016x}-{head:016x}.journal"
    open(name, "wb").write(data)
    made.append(name)
print(json.dumps(made))
"""


class Found(t.NamedTuple):
    """How the playbook ended, and the steps of each host."""

    code: int
    output: str
    changed: set[str]
    hosts: dict[str, dict[str, dict[str, t.Any]]]


@pytest.fixture(scope="module")
def daily(playbook: t.Any) -> t.Callable[..., Found]:
    def call(*words: str, skip: dict[str, str] | None = None, **more: t.Any) -> Found:
        variables = {"maintenance_skip": {**ELSEWHERE, **(skip or {})}, **more}
        run = playbook("maintenance_daily", "-e", json.dumps(variables), *words)
        document = json.loads((REPORTS / "maintenance_daily-molecule.json").read_text())
        hosts = {host["target"]: {check["target"]: check for check in host["checks"]} for host in document["hosts"]}
        return Found(run.code, run.output, run.changed, hosts)

    return call


def test_it_shortens_the_journal_and_keeps_what_is_young(
    daily: t.Callable[..., Found], server: t.Any, run_python: t.Any
) -> None:
    cache = server("cache1")
    old, young = run_python("cache1", OLD_JOURNAL)
    try:
        found = daily()
        assert set(found.hosts) >= HOSTS, found.output
        for host in HOSTS:
            assert found.hosts[host]["10-010"]["status"] in ("ok", "warning"), found.hosts[host]
            assert found.hosts[host]["10-030"]["status"] in ("ok", "warning"), found.hosts[host]
        assert found.hosts["cache1"]["10-020"]["status"] == "ok" and "cache1" in found.changed
        assert " before, " in found.hosts["cache1"]["10-020"]["message"]
        assert not cache.file(old).exists and cache.file(young).exists
        again = daily()
        assert again.code == 0, again.output
        assert "nothing to do" in again.hosts["cache1"]["10-020"]["message"], again.hosts["cache1"]
        # The report itself is written on the controller, by whichever host comes first.
        assert len(again.changed) <= 1, again.output
    finally:
        cache.check_output("rm -f %s %s", old, young)


def test_a_step_that_fails_in_the_middle_is_told_and_the_others_are_done(daily: t.Callable[..., Found]) -> None:
    found = daily("--limit", "cache1", maintenance_journal_days=0)
    assert found.code != 0
    steps = found.hosts["cache1"]
    assert steps["10-020"]["status"] == "critical" and "Shorten the journal" in steps["10-020"]["message"]
    assert steps["10-010"]["status"] in ("ok", "warning") and steps["10-030"]["status"] in ("ok", "warning")


def test_a_dry_run_does_nothing_and_a_skip_says_why(daily: t.Callable[..., Found], server: t.Any) -> None:
    before = (REPORTS / "maintenance_daily-molecule.json").read_bytes()
    found = daily("--check", "--limit", "cache1", skip={"journal": "its logs are being examined"})
    assert found.code == 0, found.output
    assert (REPORTS / "maintenance_daily-molecule.json").read_bytes() == before
    named = daily("--limit", "cache1", "--tags", "10-030", skip={"journal": "its logs are being examined"})
    assert named.code == 0, named.output
    steps = named.hosts["cache1"]
    assert steps["10-020"]["skipped_reason"] == "maintenance_skip: its logs are being examined"
    assert steps["10-010"]["skipped_reason"] == "--tags names 10-030" and steps["10-030"]["status"] != "skipped"
