# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What PostgreSQL should be set to on a machine of some size, and why.

Everything here is pure: sizes in, settings out. A homeserver's load is many
short queries, a few large tables that only grow, and hot rows that are
rewritten; the figures are chosen for that.
"""

from __future__ import annotations

import typing as t

KB = 1024
MB = 1024 * KB
GB = 1024 * MB

STORAGES = ("ssd", "hdd")

# A standby may not have less of these than its primary had when it wrote the log. The
# server's own values stand for those that are not computed here.
STANDBY_LIMITS = {
    "max_connections": 100,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}

Value = t.Union[str, int, float, bool]


class Setting(t.TypedDict):
    """One line of the configuration."""

    name: str
    value: str
    reason: str


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _size(number: int) -> str:
    """Return a size as PostgreSQL reads it, never rounded up."""
    for unit, name in ((GB, "GB"), (MB, "MB")):
        if number >= unit and number % unit == 0:
            return f"{number // unit}{name}"
    return f"{number // MB}MB" if number >= 64 * MB else f"{number // KB}kB"


def text(value: Value) -> str:
    """Return a value as it stands in a configuration file, without quotes."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def settings(
    memory_bytes: int,
    cores: int,
    connections: int,
    storage: str = "ssd",
    standbys: int = 0,
    major: int = 0,
) -> list[Setting]:
    """Compute settings from the memory, the cores and the connections of a server of a major version.

    What came with a version is left out below it; 0 is one that is not known.
    """
    if memory_bytes < 128 * MB:
        raise ValueError(f"memory_bytes: {memory_bytes} is too small for a server; it needs 128 MB")
    if cores < 1:
        raise ValueError(f"cores: {cores} is not a number of cores")
    if connections < 1:
        raise ValueError(f"connections: {connections} is not a number of connections")
    if storage not in STORAGES:
        raise ValueError(f"storage: {storage} is neither of {', '.join(STORAGES)}")
    if standbys < 0:
        raise ValueError(f"standbys: {standbys} is not a number of standbys")

    fast = storage == "ssd"
    memory = f"{memory_bytes // MB} MB of memory"
    shared = _clamp(memory_bytes // 4 // MB * MB, 32 * MB, 64 * GB)
    # Half of what is left may go to sorts and hashes, if every connection has two of them.
    work = _clamp((memory_bytes - shared) // 2 // (connections * 2) // KB * KB, 2 * MB, 64 * MB)
    autovacuum_workers = _clamp(cores // 4, 3, 8)
    # Autovacuum's workers and one person may each take that much: together at most a fourth of the memory.
    maintenance = _clamp(memory_bytes // 4 // (autovacuum_workers + 1) // MB * MB, 16 * MB, GB)
    wal = _clamp(memory_bytes // 4 // MB * MB, 512 * MB, 16 * GB)
    gather = _clamp(cores // 4, 1, 4)
    senders = max(10, 2 * standbys + 6)

    lines: list[tuple[str, Value, str]] = [
        ("max_connections", connections, "the pools of all homeserver processes and the reserve"),
        ("shared_buffers", _size(shared), f"a quarter of {memory}, at most 64 GB"),
        ("effective_cache_size", _size(memory_bytes * 7 // 10 // MB * MB), f"what of {memory} caches the files"),
        ("work_mem", _size(work), f"half of the rest for two sorts on each of {connections} connections"),
        ("maintenance_work_mem", _size(maintenance), "all autovacuum workers: a quarter of the memory, at most 1 GB"),
        ("huge_pages", "try", "smaller page tables where the system offers them"),
        ("max_worker_processes", max(8, cores + 4), f"{cores} cores, and the server's own workers"),
        ("max_parallel_workers", max(2, cores), f"{cores} cores"),
        ("max_parallel_workers_per_gather", gather, "one query must not take the cores of the short ones"),
        ("max_parallel_maintenance_workers", gather, "an index is built beside the daily load"),
        ("jit", False, "compiling costs more than it saves in short queries"),
        ("random_page_cost", 1.1 if fast else 4, f"storage is {storage}"),
        ("effective_io_concurrency", 200 if fast else 2, f"storage is {storage}"),
        ("maintenance_io_concurrency", 200 if fast else 10, f"storage is {storage}"),
        ("max_wal_size", _size(wal), "room for the writes between two checkpoints"),
        ("min_wal_size", _size(wal // 4 // (16 * MB) * 16 * MB), "files are used again, not made anew"),
        ("checkpoint_timeout", "15min", "fewer full pages in the log"),
        ("wal_compression", True, "less to write and to send to standbys"),
        ("max_wal_senders", senders, f"{standbys} standbys, twice while they reconnect, and backups"),
        ("max_replication_slots", senders, "one for each sender"),
        ("autovacuum_max_workers", autovacuum_workers, f"{cores} cores"),
        ("autovacuum_vacuum_cost_limit", 2000 if fast else 400, f"vacuum keeps up with hot tables on {storage}"),
        ("autovacuum_vacuum_scale_factor", 0.05, "a twentieth of a table with millions of rows is enough to clean"),
        ("autovacuum_analyze_scale_factor", 0.02, "good plans for tables that only grow"),
    ]
    if major >= 17:
        lines.append(("summarize_wal", True, "a backup reads what changed, and not everything"))
    return [Setting(name=name, value=text(value), reason=reason) for name, value, reason in lines]


def merge(
    computed: list[Setting],
    overrides: t.Mapping[str, Value],
    at_least: t.Mapping[str, int] | None = None,
) -> list[Setting]:
    """Put the user's own values in the place of computed ones, and lift a standby's limits to its primary's."""
    merged = {line["name"]: line for line in computed}
    for name, value in overrides.items():
        merged[name] = Setting(name=name, value=text(value), reason="postgresql_settings")
    for name, default in STANDBY_LIMITS.items():
        floor = (at_least or {}).get(name, 0)
        if (int(merged[name]["value"]) if name in merged else default) < floor:
            merged[name] = Setting(name=name, value=str(floor), reason="not less than the primary had last")
    return list(merged.values())
