# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The homeserver processes of a deployment, with what their profile says filled in."""

from __future__ import annotations

import typing as t


def process_facts(
    processes: list[dict[str, t.Any]], facts: dict[str, t.Any], pool: int = 10, region: str = ""
) -> list[dict[str, t.Any]]:
    """Return every process with all its keys, or with a region only those of that region and of none.

    Fills in and judges nothing: two mains or a port twice come through, so that
    the preflight can name all that is wrong at once.
    """
    wanted = [process for process in processes if not region or (process.get("region") or region) == region]
    return [_filled(process, facts, pool) for process in wanted]


def _filled(process: dict[str, t.Any], facts: dict[str, t.Any], pool: int) -> dict[str, t.Any]:
    name, ports, service = process["name"], facts["ports"], facts["service"]
    main = (process.get("kind") or ("main" if name == facts["topology"]["main"] else "worker")) == "main"
    streams = process.get("streams") or []
    address = process.get("address") or process["host"]
    port = process.get("port") or (ports["client"] if main else 0)
    host = f"[{address}]" if ":" in address else address
    return {
        "name": name,
        "kind": "main" if main else "worker",
        "host": process["host"],
        "region": process.get("region") or "",
        "address": address,
        "port": port,
        "metrics_port": process.get("metrics_port") or (ports["metrics"] if main else 0),
        # Other processes talk to the main process, and to those that write a stream.
        "replication_port": process.get("replication_port") or (ports.get("replication", 0) if main else 0),
        "pool": process.get("pool") or pool,
        "serves": [] if main else (process["serves"] if process.get("serves") is not None else _classes(facts)),
        "streams": streams,
        "unit": service["main_unit"] if main else service.get("worker_unit", "").format(name=name),
        "url": f"http://{host}:{port}",
    }


def _classes(facts: dict[str, t.Any]) -> list[str]:
    """Return what a worker serves unless its inventory says otherwise."""
    classes = facts.get("routing", {}).get("classes", [])
    apart = ("serves_with", "stream", "only_if_named")
    return [entry["name"] for entry in classes if not any(entry.get(key) for key in apart)]
