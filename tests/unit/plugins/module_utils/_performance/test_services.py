"""Processes and connections of services, in a copy of /proc."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Limits, Verdict
from ansible_collections.matrixon.ops.plugins.module_utils._performance import services
from ansible_collections.matrixon.ops.plugins.module_utils._performance.sampling import Clock, Interval
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

TICK = os.sysconf("SC_CLK_TCK")
NINETY = Limits(90)


class Tree:
    """A copy of /proc in which processes work while somebody waits."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root, self.now = root, 0.0
        self.at_wait: list[Any] = []

    def process(self, pid: int, seconds: float, began: int = 1, children: str = "", own: int = 1024) -> None:
        base = self.root / "proc" / str(pid)
        (base / "task" / str(pid)).mkdir(parents=True, exist_ok=True)
        rest = " ".join(["0"] * 10)
        (base / "stat").write_text(f"{pid} (python) S {rest} {int(seconds * TICK)} 0 0 0 0 0 0 0 {began} 0\n")
        (base / "status").write_text(f"RssAnon:\t{own} kB\nRssShmem:\t4096 kB\n")
        (base / "limits").write_text("Limit  Soft\nMax open files            1024  4096  files\n")
        (base / "task" / str(pid) / "children").write_text(children)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for change in self.at_wait:
            change()

    def observe(self, units: list[str] | None = None, runner: Any = None, **pid_files: str) -> dict[str, Any]:
        clock = Clock(lambda: self.now, lambda: self.now, self.wait)
        deadline = Deadline(60, lambda: self.now)
        more = {"runner": runner} if runner else {}
        return services.observe_processes(
            deadline, units or [], pid_files, str(self.root), Interval(10, 5, clock), **more
        )


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> Tree:
    found = Tree(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/main.pid").write_text("100\nmore\n")
    found.process(100, 50, children="101 ")
    found.process(101, 7)
    return found


def verdicts(judge: Any, facts: dict[str, Any], limits: Limits = NINETY) -> dict[str | None, Verdict]:
    return {verdict.target: verdict for verdict in judge(facts, limits)}


def test_the_busiest_process_counts_and_what_they_share_counts_once(tree: Tree) -> None:
    tree.at_wait = [lambda: tree.process(100, 51, children="101 "), lambda: tree.process(101, 16.5, own=2048)]
    facts = tree.observe(main="/run/main.pid")
    verdict = verdicts(services.judge_process_cpu, facts)["main"]
    assert verdict.status == "warning" and verdict.value == pytest.approx(95.0)
    assert "101 (python)" in verdict.message and "all 2 together 105.0 %" in verdict.message
    memory = verdicts(services.judge_process_memory, facts)["main"]
    assert memory.value == (1024 + 2048 + 4096) * 1024
    assert facts["report"]["rankings"]["processes"][0][:4] == ["main", "python", "101", 95.0]
    assert facts["report"]["open_files"] == 1024


def test_a_process_of_the_same_number_that_began_later_has_used_all_that_it_has(tree: Tree) -> None:
    tree.at_wait = [lambda: tree.process(101, 3, began=2)]
    facts = tree.observe(main="/run/main.pid")
    used = {use.process.pid: use.cpu for use in facts["services"]["main"]}
    assert used == {100: 0.0, 101: pytest.approx(30.0)}


def test_a_service_that_does_not_run_is_unknown_and_the_others_are_measured(tree: Tree) -> None:
    (tree.root / "run/dead.pid").write_text("4000000\n")
    (tree.root / "run/odd.pid").write_text("x\n")
    facts = tree.observe(main="/run/main.pid", dead="/run/dead.pid", odd="/run/odd.pid", gone="/run/none.pid")
    found = verdicts(services.judge_process_cpu, facts)
    assert {name: verdict.status for name, verdict in found.items()} == {
        "main": "ok",
        "dead": "unknown",
        "odd": "unknown",
        "gone": "unknown",
    }
    assert "process 4000000 does not run" in found["dead"].message


def systemd(tree: Tree) -> Any:
    (tree.root / "run/systemd/system").mkdir(parents=True)

    def runner(argv: list[str], _deadline: Deadline) -> Finished:
        if argv[1] == "list-units":
            return Finished(0, "postgresql@15-main.service loaded\npostgresql@13-old.service loaded\n", "")
        pids = {"main.service": 100, "postgresql@15-main.service": 101}
        blocks = [
            f"Id={name}\nNames={name}\nLoadState=loaded\nActiveState={'active' if name in pids else 'inactive'}\n"
            f"SubState=x\nResult=success\nNRestarts=0\nActiveEnterTimestampMonotonic=1\nMainPID={pids.get(name, 0)}\n"
            for name in argv[argv.index("--") + 1 :]
        ]
        return Finished(0, "\n".join(blocks), "")

    return runner


def test_units_and_patterns(tree: Tree) -> None:
    facts = tree.observe(["main.service", "stopped.service", "postgresql@*.service"], systemd(tree))
    found = verdicts(services.judge_process_cpu, facts)
    # A stopped cluster that only fits the pattern was not asked for.
    assert set(found) == {"main.service", "stopped.service", "postgresql@15-main.service"}
    assert found["stopped.service"].status == "unknown" and "is inactive" in found["stopped.service"].message


def test_a_host_without_systemd_says_so(tree: Tree) -> None:
    found = verdicts(services.judge_process_cpu, tree.observe(["main.service"]))
    assert found["main.service"].error_kind == "missing_tool" and "name PID files" in found["main.service"].message


def test_nothing_to_look_at_is_skipped() -> None:
    verdict = services.judge_process_cpu({"services": {}}, Limits(90))
    assert isinstance(verdict, Verdict) and verdict.status == "skipped"


REST = "00000000:00000000 00:00000000 00000000  0 0 1 1 0 100 0 0 10 0"


def connections(tree: Tree, *lines: str, six: tuple[str, ...] = ()) -> dict[str, Any]:
    (tree.root / "proc/net").mkdir(parents=True)
    for name, rows in (("tcp", lines), ("tcp6", six)):
        (tree.root / "proc/net" / name).write_text("heading\n" + "".join(f"{row} {REST}\n" for row in rows))
    ports = [{"name": "client", "port": 8008}, {"name": "other", "port": 9}]
    facts = services.observe_connections(Deadline(60), ports, str(tree.root), tree.wait, 10)
    return {**facts, "ports": ports}


def test_connections_of_both_tables_are_counted_at_the_end(tree: Tree) -> None:
    facts = connections(
        tree,
        "0: 00000000:1F48 00000000:0000 0A",
        "1: 0100007F:1F48 0100007F:C350 01",
        six=("0: 00000000000000000000000001000000:1F48 00000000000000000000000001000000:C351 01",),
    )
    assert tree.now == 10
    found = verdicts(services.judge_connections, facts, Limits(2))
    assert (found["client"].status, found["client"].value) == ("warning", 2)
    # Nobody listens there, so it is no service of this host.
    assert found["other"].status == "skipped"
    assert facts["report"]["connections"]["client"] == {"port": 8008, "established": 2, "listen": 1}
    assert verdicts(services.judge_connections, facts, Limits(3))["client"].status == "ok"


def test_a_table_that_cannot_be_read_is_a_failure(tree: Tree) -> None:
    with pytest.raises(ProbeFailure, match="cannot be read"):
        services.observe_connections(Deadline(60), [{"name": "a", "port": 1}], str(tree.root / "nowhere"), tree.wait, 1)
