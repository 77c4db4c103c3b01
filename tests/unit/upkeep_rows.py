"""Rows as the catalog gives them, for the tests of the upkeep."""

from __future__ import annotations

from typing import Any

GIB = 1024**3
OPTIONS = {
    "autovacuum": True,
    "autovacuum_vacuum_threshold": 50.0,
    "autovacuum_vacuum_scale_factor": 0.2,
    "autovacuum_vacuum_insert_threshold": 1000.0,
    "autovacuum_vacuum_insert_scale_factor": 0.2,
    "autovacuum_vacuum_max_threshold": -1.0,
    "autovacuum_analyze_threshold": 50.0,
    "autovacuum_analyze_scale_factor": 0.1,
    "autovacuum_freeze_max_age": 200e6,
    "autovacuum_multixact_freeze_max_age": 400e6,
}


def table(**changes: Any) -> dict[str, Any]:
    """A table that needs nothing."""
    return {
        "oid": 1,
        "schema": "public",
        "name": "events",
        "pages": 1000.0,
        "toast_pages": 0.0,
        "toast_tuples": 0.0,
        "tuples": 100_000.0,
        "columns": 2,
        "options": [],
        "live": 100_000.0,
        "dead": 0.0,
        "modified": 0.0,
        "inserted": 0.0,
        "vacuumed": 3600.0,
        "analyzed": 3600.0,
        "xid_age": 1e6,
        "mxid_age": 1e6,
        "permitted": True,
        **changes,
    }


def index(**changes: Any) -> dict[str, Any]:
    """A B-tree of 1 GiB whose rows would need some 20 MiB."""
    return {
        "oid": 2,
        "schema": "public",
        "name": "events_body",
        "table": "events",
        "table_oid": 1,
        "pages": GIB / 8192,
        "tuples": 500_000.0,
        "method": "btree",
        "valid": True,
        "exclusion": False,
        "options": [],
        "tablespace": 0,
        "shape": "(1,f,10)",
        "columns": ["events/body"],
        "permitted": True,
        "owned": True,
        **changes,
    }


def holder(seconds: float | None = 7200.0, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "session",
        "pid": 4711,
        "user": "synapse",
        "application": "worker1",
        "state": "idle in transaction",
        "age": 5000.0,
        "seconds": seconds,
        "held": seconds,
        "name": None,
        "catalogs": False,
        **changes,
    }
