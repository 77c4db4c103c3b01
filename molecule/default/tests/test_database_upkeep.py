"""The upkeep on the fleet: the primary is tended through its socket, the standby is left alone and follows."""

from __future__ import annotations

import json
import pathlib
import typing as t

REPORTS = pathlib.Path(__file__).resolve().parents[3] / "reports"
OPTIONS = {"database_upkeep_dead_rows": 5000, "database_upkeep_fail_on": "never"}


def checks_of(host: str) -> list[dict[str, t.Any]]:
    """What the published report says of a host."""
    document = json.loads((REPORTS / "database_upkeep-molecule.json").read_text())
    return next(one["checks"] for one in document["hosts"] if one["target"] == host)


def vacuumed() -> dict[str, str]:
    """The tables of the primary that were vacuumed, each with the verdict."""
    return {one["target"]: one["status"] for one in checks_of("db1") if one["name"] == "upkeep_vacuum"}


def test_the_primary_is_tended_and_the_standby_left_alone(
    playbook: t.Any, sql: t.Any, until: t.Any, neglected: t.Callable[[], str]
) -> None:
    asked = ("-e", json.dumps(OPTIONS))
    dry = playbook("database_upkeep", "--check", *asked)
    assert dry.code == 0 and neglected() == "20000", dry.output
    run = playbook("database_upkeep", *asked)
    assert run.code == 0, run.output
    assert vacuumed()["public.neglected"] == "ok" and neglected() == "0", run.output
    (gate,) = checks_of("db2")
    assert gate["name"] == "upkeep_gates" and "is a standby" in gate["message"]
    behind = (
        "SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 1e9)::bigint FROM pg_stat_replication"
    )
    assert until(lambda: int(sql("db1", behind)) < 1024**2, 30), "the standby follows"
    again = playbook("database_upkeep", *asked)
    assert again.code == 0 and vacuumed() == {}, again.output
