"""The upkeep on the fleet: the primary is tended through its socket, the standby is left alone and follows."""

from __future__ import annotations

import json
import pathlib
import typing as t

REPORTS = pathlib.Path(__file__).resolve().parents[3] / "reports"
OPTIONS = {"database_upkeep_dead_rows": 5000, "database_upkeep_fail_on": "never"}


def test_the_primary_is_tended_and_the_standby_left_alone(
    playbook: t.Any, sql: t.Any, until: t.Any, neglected: t.Callable[[], str]
) -> None:
    run = playbook("database_upkeep", "-e", json.dumps(OPTIONS))
    assert run.code == 0, run.output
    document = json.loads((REPORTS / "database_upkeep-molecule.json").read_text())
    hosts = {
        host["target"]: {(one["name"], one["target"]): one for one in host["checks"]} for host in document["hosts"]
    }
    vacuumed = hosts["db1"][("upkeep_vacuum", "public.neglected")]
    assert vacuumed["status"] == "ok" and neglected() == "0", vacuumed
    (gates,) = [one for (name, _target), one in hosts["db2"].items() if name == "upkeep_gates"]
    assert "is a standby" in gates["message"] and len(hosts["db2"]) == 1
    behind = (
        "SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 1e9)::bigint FROM pg_stat_replication"
    )
    assert until(lambda: int(sql("db1", behind)) < 1024**2, 30), "the standby follows"
