"""What PostgreSQL is set to on machines of many sizes."""

from __future__ import annotations

import itertools
import random
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_tuning as tuning
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql_tuning import GB, KB, MB

UNITS = {"kB": KB, "MB": MB, "GB": GB}
SIZES = [128 * MB, 512 * MB, GB, 4 * GB, 16 * GB, 64 * GB, 512 * GB, 3 * 1024 * GB]
MACHINES = list(itertools.product(SIZES, [1, 2, 8, 64], [10, 100, 1000]))


def values(*arguments: t.Any, **options: t.Any) -> dict[str, str]:
    return {line["name"]: line["value"] for line in tuning.settings(*arguments, **options)}


def size(text: str) -> int:
    return int(text[:-2]) * UNITS[text[-2:]]


def test_a_machine_of_ordinary_size() -> None:
    found = values(16 * GB, 8, 160, "ssd", standbys=2)
    assert {
        name: found[name] for name in ("max_connections", "shared_buffers", "effective_cache_size", "work_mem")
    } == {
        "max_connections": "160",
        "shared_buffers": "4GB",
        "effective_cache_size": "11468MB",
        "work_mem": "19660kB",
    }
    assert (found["maintenance_work_mem"], found["max_wal_size"], found["min_wal_size"]) == ("1GB", "4GB", "1GB")
    assert (found["max_worker_processes"], found["max_wal_senders"], found["jit"]) == ("12", "10", "off")
    assert (found["random_page_cost"], found["effective_io_concurrency"]) == ("1.1", "200")


def test_a_server_is_told_only_what_its_version_knows() -> None:
    assert "summarize_wal" not in values(GB, 2, 100) and "summarize_wal" not in values(GB, 2, 100, major=16)
    assert values(GB, 2, 100, major=17)["summarize_wal"] == "on"


@pytest.mark.parametrize(("memory", "cores", "connections"), MACHINES)
def test_no_machine_is_promised_more_memory_than_it_has(memory: int, cores: int, connections: int) -> None:
    found = values(memory, cores, connections)
    shared, work, maintenance = (size(found[name]) for name in ("shared_buffers", "work_mem", "maintenance_work_mem"))
    assert 32 * MB <= shared <= min(memory // 4, 64 * GB)
    assert shared < size(found["effective_cache_size"]) < memory
    # Two sorts on every connection take half of the rest at most, but for the least that is of any use.
    assert work <= max(2 * MB, (memory - shared) // 2 // (2 * connections)) and 2 * MB <= work <= 64 * MB
    assert maintenance * (int(found["autovacuum_max_workers"]) + 1) <= max(memory // 4, 16 * MB * 9)
    assert size(found["min_wal_size"]) <= size(found["max_wal_size"])
    # The server does not start with fewer processes than its parallel workers are taken from.
    assert int(found["max_worker_processes"]) >= int(found["max_parallel_workers"])
    assert int(found["max_parallel_workers"]) >= int(found["max_parallel_workers_per_gather"])


def test_more_memory_never_gives_less() -> None:
    names = ("shared_buffers", "effective_cache_size", "work_mem", "maintenance_work_mem", "max_wal_size")
    for name in names:
        found = [size(values(memory, 4, 100)[name]) for memory in SIZES]
        assert found == sorted(found), name


def test_more_cores_never_give_less() -> None:
    names = (
        "max_worker_processes",
        "max_parallel_workers",
        "max_parallel_workers_per_gather",
        "max_parallel_maintenance_workers",
        "autovacuum_max_workers",
    )
    for name in names:
        found = [int(values(16 * GB, cores, 100)[name]) for cores in (1, 2, 4, 8, 16, 32, 64, 256)]
        assert found == sorted(found), name


def test_more_connections_never_give_each_of_them_more() -> None:
    found = [size(values(16 * GB, 8, connections)["work_mem"]) for connections in (1, 10, 100, 1000, 10_000)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("memory", "cores", "connections"), MACHINES)
def test_each_line_has_its_reason_and_its_name_once(memory: int, cores: int, connections: int) -> None:
    for storage, standbys, major in itertools.product(tuning.STORAGES, (0, 3), (0, 15, 17)):
        lines = tuning.settings(memory, cores, connections, storage, standbys, major)
        names = [line["name"] for line in lines]
        assert len(set(names)) == len(names)
        assert [line["name"] for line in lines if not line["reason"].strip() or not line["value"].strip()] == []


def test_any_machine_at_all_gets_what_fits_it() -> None:
    """Machines of no round size, drawn with a seed that is said where one of them fails."""
    draw = random.Random(20261127)
    for number in range(3000):
        memory = int(128 * MB * 2 ** draw.uniform(0, 14))
        cores, connections = draw.randint(1, 256), draw.randint(1, 3000)
        found = values(
            memory, cores, connections, draw.choice(tuning.STORAGES), draw.randint(0, 5), draw.choice((13, 17))
        )
        where = (number, memory, cores, connections)
        shared, cached, work = (size(found[name]) for name in ("shared_buffers", "effective_cache_size", "work_mem"))
        assert shared <= memory // 4 and cached < memory, where
        assert shared + 2 * connections * work <= memory or work == 2 * MB, where
        assert size(found["maintenance_work_mem"]) <= max(16 * MB, memory // 4), where
        assert int(found["max_worker_processes"]) >= int(found["max_parallel_workers"]), where


def test_storage_and_standbys_count() -> None:
    fast, slow = values(GB, 2, 50, "ssd"), values(GB, 2, 50, "hdd")
    assert float(fast["random_page_cost"]) < float(slow["random_page_cost"])
    assert values(GB, 2, 50, standbys=9)["max_replication_slots"] == "24"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((64 * MB, 1, 10), "memory_bytes"),
        ((GB, 0, 10), "cores"),
        ((GB, 1, 0), "connections"),
        ((GB, 1, 10, "tape"), "storage"),
        ((GB, 1, 10, "ssd", -1), "standbys"),
    ],
)
def test_what_is_no_machine_is_refused(arguments: tuple[t.Any, ...], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        tuning.settings(*arguments)


def test_each_setting_can_be_overridden_by_itself() -> None:
    computed = tuning.settings(GB, 2, 50)
    for line in computed:
        merged = tuning.merge(computed, {line["name"]: "7"})
        assert [one["value"] for one in merged if one["name"] == line["name"]] == ["7"]
        others = [one for one in merged if one["name"] != line["name"]]
        assert others == [one for one in computed if one["name"] != line["name"]]


def test_an_override_says_whose_it_is_and_may_be_new() -> None:
    overrides = {"work_mem": "7MB", "jit": True, "deadlock_timeout": 5}
    merged = {one["name"]: one for one in tuning.merge(tuning.settings(GB, 2, 50), overrides)}
    assert merged["work_mem"] == {"name": "work_mem", "value": "7MB", "reason": "postgresql_settings"}
    assert (merged["jit"]["value"], merged["deadlock_timeout"]["value"]) == ("on", "5")


def test_a_standby_has_not_less_than_its_primary() -> None:
    def merged(overrides: dict[str, tuning.Value]) -> dict[str, str]:
        primary = {"max_connections": 40, "max_worker_processes": 20, "max_locks_per_transaction": 256}
        return {one["name"]: one["value"] for one in tuning.merge(tuning.settings(GB, 2, 50), overrides, primary)}

    found = merged({})
    assert (found["max_connections"], found["max_worker_processes"]) == ("50", "20")
    # One that is not computed counts, too, where the primary has more of it than the server's own value.
    assert found["max_locks_per_transaction"] == "256" and "max_prepared_transactions" not in found
    assert merged({"max_locks_per_transaction": 512})["max_locks_per_transaction"] == "512"
