"""Who may serve: every answer of the witness, and every silence of it."""

from __future__ import annotations

import ast
import json
import pathlib
import sys
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dr import guard, witness
from ansible_collections.matrixon.ops.plugins.module_utils._dr.guard import ASK, NO, YES, Known, Lineage
from ansible_collections.matrixon.ops.plugins.module_utils._dr.witness import Record

SINCE = "2026-11-27T12:00:00.000Z"
SILENT = "the witness at https://w:2379 gave no answer within 3 s"


def record(region: str, epoch: int = 4, timeline: int = 2) -> Record:
    return Record(region, "7577196071415013215", timeline, epoch, SINCE, "a test", 17)


ONE, TWO, NOBODY = record("one"), record("two"), record("")


@pytest.mark.parametrize(
    ("known", "standby", "override", "answer", "words"),
    [
        (Known(ONE), False, None, YES, "region one is the primary"),
        (Known(TWO), False, None, NO, f"region two is the primary since {SINCE} (epoch 4, by a test)"),
        (Known(NOBODY), False, None, NO, f"nobody may serve since {SINCE}"),
        (Known(None), False, None, ASK, "no record"),
        (Known(None, SILENT), False, None, ASK, "never heard"),
        (Known(ONE, SILENT), False, None, ASK, "what was heard last is that region one"),
        (Known(TWO, SILENT), False, None, ASK, "what was heard last is that region two"),
        # A standby needs nobody's leave.
        (Known(None, SILENT), True, None, YES, "standby"),
        (Known(TWO), True, None, YES, "standby"),
        # An operator answers for one record, and for no other.
        (Known(TWO), False, 4, YES, "an operator has answered"),
        (Known(TWO), False, 3, NO, "region two"),
        (Known(NOBODY), False, 4, YES, "an operator has answered"),
        (Known(ONE, SILENT), False, 4, YES, "an operator has answered"),
        (Known(ONE, SILENT), False, 5, ASK, "what was heard last"),
        (Known(None, SILENT), False, 4, ASK, "never heard"),
        (Known(None), False, 4, ASK, "no record"),
        # Where none is needed, none is spoken of.
        (Known(ONE), False, 4, YES, "region one is the primary"),
    ],
)
def test_who_may_serve(known: Known, standby: bool, override: int | None, answer: str, words: str) -> None:
    verdict = guard.judge(known, "one", standby, override)
    assert verdict.answer == answer
    assert words in verdict.reason


@pytest.mark.parametrize("known", [Known(TWO), Known(NOBODY), Known(ONE, SILENT)])
def test_a_refusal_names_the_way_out(known: Known) -> None:
    assert "write 4 into /etc/matrixon/dr_guard.override" in guard.judge(known, "one", False, None).reason


@pytest.mark.parametrize(
    ("known", "stops"),
    [
        (Known(ONE), False),
        (Known(TWO), True),
        (Known(NOBODY), True),
        # A witness that was lost stops nobody.
        (Known(None), False),
        (Known(None, SILENT), False),
        (Known(ONE, SILENT), False),
        # Who was told before stays down, whatever is heard since.
        (Known(TWO, SILENT), True),
        (Known(NOBODY, SILENT), True),
    ],
)
def test_what_stops_a_host_that_serves(known: Known, stops: bool) -> None:
    assert guard.must_stop(guard.judge(known, "one", False, None), known, "one") is stops


@pytest.mark.parametrize(
    ("lineage", "refused"),
    [
        (None, False),
        (Lineage(ONE.system_identifier, 2), False),
        (Lineage(ONE.system_identifier, 3), False),
        (Lineage(ONE.system_identifier, 1), True),
        (Lineage("7", 1), False),
    ],
)
def test_an_old_copy_of_the_cluster_is_refused(lineage: Lineage | None, refused: bool) -> None:
    verdict = guard.judge_lineage(ONE, lineage)
    assert (verdict is not None) is refused
    if verdict:
        assert verdict.answer == NO
        assert "on timeline 1, and the one that serves" in verdict.reason and "is on 2" in verdict.reason


CONTROL = "Database system identifier:           77\nLatest checkpoint's TimeLineID:       1\nother: 5\n"


@pytest.mark.parametrize(
    ("control", "names", "lineage"),
    [
        (CONTROL, ["000000010000000000000001"], Lineage("77", 1)),
        (CONTROL, ["00000002.history", "0000000A.history", "archive_status"], Lineage("77", 10)),
        ("pg_controldata: error", [], None),
        (CONTROL, ["nonsense.history"], None),
    ],
)
def test_the_lineage_is_that_of_control_file_and_history(
    control: str, names: list[str], lineage: Lineage | None
) -> None:
    assert guard.parse_lineage(control, names) == lineage


@pytest.mark.parametrize(
    ("text", "epoch"),
    [("7", 7), (" 7\n", 7), ("", None), (None, None), ("seven", None), ("7 8", None), ("-7", None), ("7.0", None)],
)
def test_an_override_is_one_number(text: str | None, epoch: int | None) -> None:
    assert guard.parse_override(text) == epoch


def test_units_are_read_as_systemd_shows_them() -> None:
    text = (
        "Id=postgresql@15-main.service\nActiveState=active\nSubState=running\n\n"
        "Id=w@1.service\nActiveState=activating\nSubState=start-pre\n"
    )
    assert guard.parse_units(text) == [
        ("postgresql@15-main.service", "active", "running"),
        ("w@1.service", "activating", "start-pre"),
    ]
    assert guard.parse_units("\n") == []


def test_the_lease_outlives_what_it_stands_for() -> None:
    # 20 s to notice a guard that hangs, and to start another one; then stop and kill.
    assert guard.lease_seconds(15, 10) == 15 + 20 + 10 + 5 + 1


def test_ids_of_signing_keys_are_told_and_no_keys() -> None:
    assert guard.signing_key_ids("ed25519 a_key c2VjcmV0\n# ed25519 no c2VjcmV0\n\ned25519 b c2VjcmV0\n") == [
        "ed25519:a_key",
        "ed25519:b",
    ]


def document(**changes: t.Any) -> str:
    store = {"endpoints": ["https://w:2379"], "server_name": "example.org", "user": "u", "password": "p"}
    whole: dict[str, t.Any] = {
        "witness": {**store, "ca_file": None},
        "region": "one",
        "host": "db1",
        "interval": 3,
        "lease": 0,
        "stop_timeout": 10,
        "check_timeout": 10,
        "database": None,
        "homeserver": {"units": ["a.service", "b@*.service"], "release_link": "/opt/x/current"},
    }
    return json.dumps({**whole, **changes})


def test_a_configuration_is_read() -> None:
    config = guard.parse_config(document())
    assert config.witness.endpoints == (("w", 2379),)
    assert config.units == ["a.service", "b@*.service"]


@pytest.mark.parametrize("text", ["", "[]", "{}", document(extra=1), document(witness={}), document(witness=None)])
def test_another_document_is_none(text: str) -> None:
    with pytest.raises(guard.ConfigError):
        guard.parse_config(text)


class FakeSystemd(guard.Systemd):
    """Shows the units that it was given."""

    def __init__(self, *units: guard.Unit) -> None:
        self.units = units

    def running(self, units: list[str]) -> list[guard.Unit]:
        return list(self.units)


def test_who_asks_counts_for_the_lease_and_is_not_stopped(tmp_path: pathlib.Path) -> None:
    service = guard.Guard(guard.parse_config(document(run=str(tmp_path), state=str(tmp_path))))
    asks, runs = guard.Unit("a.service", "activating", "start-pre"), guard.Unit("b@1.service", "activating", "start")
    service.systemd = FakeSystemd(asks, runs)
    assert service.serving() == ["a.service", "b@1.service"]
    assert service.serving(asking=False) == ["b@1.service"]


def test_what_waits_is_remembered_and_forgotten(tmp_path: pathlib.Path) -> None:
    memory = guard.Memory(guard.parse_config(document(run=str(tmp_path / "run"), state=str(tmp_path / "state"))))
    assert memory.waiting() == [] and memory.record() is None and memory.kept() is None
    memory.wait("b@1.service")
    memory.wait("a.service")
    memory.remember(ONE)
    memory.keep(12.5)
    assert memory.waiting() == ["a.service", "b@1.service"] and memory.record() == ONE and memory.kept() == 12.5
    memory.forget("a.service")
    memory.forget("a.service")
    assert memory.waiting() == ["b@1.service"]


@pytest.mark.parametrize("module", [guard, witness])
def test_it_runs_where_nothing_is_installed(module: t.Any) -> None:
    tree = ast.parse(pathlib.Path(module.__file__).read_text())
    absolute = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    absolute |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    relative = {
        str(node.module or node.names[0].name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    }
    assert {name.split(".")[0] for name in absolute} - set(sys.stdlib_module_names) == set()
    assert relative <= {"witness"}
