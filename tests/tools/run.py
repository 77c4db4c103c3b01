#!/usr/bin/env python
"""Run steps of the test suite, time them and count their results.

    run.py NAME...      a step, or one of the groups lint, check, molecule and test

Static steps look at a snapshot of the checkout: what git tracks and what is
new and not ignored, under the directory names that ansible-test insists on.
So no cache and no virtual environment is linted, and edits made meanwhile do
no harm.

Two steps with servers run at a time, for one rarely keeps two cores busy. What
has a whole fleet, measures an outage or counts answers runs after the others.
What only computes takes the time that is left: what is short in the beginning,
the rest when the two are done and one step with servers runs at a time.
Tests that run servers say what they do while they do it, each line with the
name of its step.
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
import xml.etree.ElementTree
from collections import Counter
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORTS = ROOT / "reports"
NAME = "ansible_collections/matrixon/ops"
UTILS = f"{NAME}/plugins/module_utils"
PYTHON = sys.executable

# What each step runs.
STATIC = {
    "sanity": [PYTHON, "tests/tools/sanity.py"],
    "ruff": ["ruff", "check", "--quiet", "."],
    "yamllint": ["yamllint", "--strict", "."],
    "mypy": ["mypy", "--config-file", f"{NAME}/pyproject.toml", UTILS],
    "ansible-lint": ["ansible-lint", "-q", "--nocolor"],
    "docs": [PYTHON, "tests/tools/docs.py"],
    "galaxy": [PYTHON, "tests/tools/galaxy.py"],
}
# Integration tests that need no lab. They have a step of their own beside the rest, which takes about as long.
OWN = [
    f"tests/integration/{name}"
    for name in (
        *("audit", "backup", "dr", "patroni", "ssl", "updates", "window"),
        *("test_haproxy_enable.py", "test_preflight.py", "test_report_page.py", "test_role_data.py"),
    )
]
INTEGRATION = {
    "integration": [*(f"--ignore={path}" for path in OWN), "tests/integration"],
    "integration-own": OWN,
}
PYTEST = {
    "unit": [PYTHON, "-m", "pytest", "-q", "--junit-xml", "reports/unit.xml", "tests/unit"],
    **{
        name: [PYTHON, "-m", "pytest", "-v", "-m", "not soak", "--junit-xml", f"reports/{name}.xml", *words]
        for name, words in INTEGRATION.items()
    },
}
# Scenarios with hosts of their own. The files of their tests are collected by Molecule. `make soak` runs certbot.
SCENARIOS = ("default", "dr_failover", "pgbackrest", "profile_matrixon", "firewall", "certbot")
MOLECULE = {f"molecule-{name}": ["molecule", "test", "--scenario-name", name] for name in SCENARIOS}
SERVERS = (*INTEGRATION, *MOLECULE)
ALONE = ("molecule-default", "molecule-dr_failover", "molecule-firewall")
# These compute for minutes, which two steps with servers would miss.
LATE = ("sanity", "ansible-lint", "docs", "galaxy")
# Order matters: a long one goes first, beside it the others, and what needs least time comes last.
GROUPS = {
    "integration": [*INTEGRATION],
    "molecule": [*MOLECULE],
    "lint": ["ruff", "yamllint", "mypy", "ansible-lint"],
    "check": ["unit", "sanity", *(name for name in STATIC if name != "sanity")],
}
GROUPS["test"] = [
    *INTEGRATION,
    *GROUPS["check"],
    *(name for name in GROUPS["molecule"] if name != "molecule-certbot"),
]


@dataclass
class Result:
    """How one step ended."""

    name: str
    code: int
    seconds: float
    output: str

    def counts(self) -> Counter[str]:
        """Count pytest's tests from its report; any other step counts as one test."""
        report = REPORTS / f"{self.name}.xml"
        if self.name in STATIC or not report.exists():
            return Counter(failed=1) if self.code else Counter(passed=1)
        suite = next(xml.etree.ElementTree.parse(report).iter("testsuite"))
        number = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
        failed = number["failures"] + number["errors"]
        passed = number["tests"] - failed - number["skipped"]
        # Never "0 failed" when pytest itself said no, e.g. because it found no test.
        return Counter(passed=passed, failed=max(failed, int(self.code != 0)), skipped=number["skipped"])

    def failures(self) -> list[str]:
        """Name what failed in a step with servers: tests of pytest or, where none did, tasks of Ansible."""
        if not self.code or self.name in STATIC:
            return []
        lines = self.output.splitlines()
        tests = [line for line in lines if re.match(r"(FAILED|ERROR) \S+\.py", line)]
        return [line[:300] for line in tests or [line for line in lines if line.startswith("fatal: ")][-5:]]


def snapshot(base: pathlib.Path) -> pathlib.Path:
    """Copy what git knows of the checkout below base."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    tree = base / NAME
    for name in names.rstrip("\0").split("\0"):
        # A file that was deleted but not yet committed is still listed.
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    return tree


def run(name: str, base: pathlib.Path) -> Result:
    """Run one step and say how it went."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(pathlib.Path(PYTHON).parent), os.environ["PATH"]]),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }
    cwd = ROOT
    if name in STATIC:
        cwd = base if name == "mypy" else base / NAME
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(base)
        environment["MYPYPATH"] = str(base)
        environment["MYPY_CACHE_DIR"] = str(ROOT / ".build/cache/mypy")
        environment["RUFF_CACHE_DIR"] = str(ROOT / ".build/cache/ruff")
    else:
        (REPORTS / f"{name}.xml").unlink(missing_ok=True)
    started = time.monotonic()
    # What waits for servers goes first. Unit tests have some deadlines of their own.
    polite = [] if name in SERVERS else ["nice", "-n", "5" if name == "unit" else "15"]
    stream = subprocess.Popen(
        [*polite, *{**STATIC, **PYTEST, **MOLECULE}[name]],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines = []
    assert stream.stdout is not None
    for line in stream.stdout:
        lines.append(line)
        if name in SERVERS:
            print(f"{name}: {line}", end="", flush=True)
    result = Result(name, stream.wait(), time.monotonic() - started, "".join(lines))
    (REPORTS / f"{name}.log").write_text(result.output)
    if result.code and name not in SERVERS:
        print(f"\n{result.output}", flush=True)
    print(f"{'FAILED' if result.code else 'ok':8}{name:14}{result.seconds:6.1f} s", flush=True)
    return result


def run_all(names: list[str], start: t.Callable[[str], Result]) -> list[Result]:
    """Run steps in their lanes: two for servers, one beside them for what computes, which else has two."""
    served = [name for name in names if name in SERVERS]
    computed = [name for name in names if name not in SERVERS]
    late = [name for name in computed if name in LATE and served]
    with (
        concurrent.futures.ThreadPoolExecutor(1 if served else 2) as aside,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        checks = [aside.submit(start, name) for name in computed if name not in late]
        results = list(pool.map(start, [name for name in served if name not in ALONE]))
        checks += [aside.submit(start, name) for name in late]
        results += [start(name) for name in served if name in ALONE]
        return results + [check.result() for check in checks]


def main() -> int:
    """Run the steps named on the command line."""
    names = [step for argument in sys.argv[1:] for step in GROUPS.get(argument, [argument])]
    if not names or set(names) - set(STATIC) - set(PYTEST) - set(MOLECULE):
        sys.exit(f"{__doc__}\nsteps: {' '.join([*STATIC, *PYTEST, *MOLECULE])}")
    started = time.monotonic()
    REPORTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="matrixon-ops-") as directory:
        base = pathlib.Path(directory)
        snapshot(base)
        results = run_all(names, lambda name: run(name, base))
    total = sum((result.counts() for result in results), Counter())
    failed = [result.name for result in results if result.code]
    print(f"\n{len(results)} steps in {time.monotonic() - started:.0f} s; full output in reports/")
    for result in results:
        for line in result.failures():
            print(f"{result.name}: {line}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    print(f"total: {total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
