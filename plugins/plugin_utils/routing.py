# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which homeserver processes answer which requests, as backends of a load balancer."""

from __future__ import annotations

import ipaddress
import typing as t

Entry = dict[str, t.Any]


def routing_backends(processes: list[Entry], facts: Entry) -> list[Entry]:
    """Return the backends that requests are routed to, in the order in which they are tried.

    The last is the main one, which takes what none of the others does. A class that
    no process serves has no backend, so its requests go there, too.
    """
    classes = facts.get("routing", {}).get("classes", [])
    # Where requests are not told apart, every process is as good as another.
    mains = [one for one in processes if one["kind"] == "main" or not classes]
    main = {"name": "main", "balance": "token", "retry": "safe", "paths": []}
    found = [_backend(entry, [one for one in processes if _serves(one, entry)], mains) for entry in classes]
    return _checked_once([backend for backend in [*found, _backend(main, mains, [])] if backend["servers"]])


def haproxy_expectations(processes: list[Entry], facts: Entry) -> list[Entry]:
    """Return how many servers each of these backends should have up, as the health checks want to be told."""
    return [
        {"name": backend["name"], "expected": len(backend["servers"])} for backend in routing_backends(processes, facts)
    ]


def not_networks(values: t.Iterable[t.Any]) -> list[str]:
    """Return the values that are neither an address nor a network in CIDR notation."""
    return [str(value) for value in values if not _is_network(value)]


def _serves(process: Entry, entry: Entry) -> bool:
    if entry.get("stream"):
        return entry["stream"] in process["streams"]
    return entry.get("serves_with", entry["name"]) in process["serves"]


def _backend(entry: Entry, processes: list[Entry], mains: list[Entry]) -> Entry:
    servers = [_server(process, backup=False) for process in processes]
    # The main process can do what a worker does, but not what has been taken from it.
    if servers and not (entry.get("stream") or entry.get("only_if_named")):
        servers += [_server(process, backup=True) for process in mains]
    return {
        "name": f"homeserver_{entry['name']}",
        "class": entry["name"],
        "balance": entry["balance"],
        "retry": entry["retry"],
        "methods": entry.get("methods", []),
        "paths": entry["paths"],
        "servers": servers,
    }


def _server(process: Entry, backup: bool) -> Entry:
    return {"name": process["name"], "address": process["address"], "port": process["port"], "backup": backup}


def _checked_once(backends: list[Entry]) -> list[Entry]:
    """Let one backend check a server, the broadest that has it, and the others follow that."""
    checking: dict[str, str] = {}
    for backend in sorted(backends, key=lambda backend: (bool(backend["paths"]), -len(backend["paths"]))):
        for server in backend["servers"]:
            checking.setdefault(server["name"], backend["name"])
    for backend in backends:
        for server in backend["servers"]:
            owner = checking[server["name"]]
            server["follows"] = "" if owner == backend["name"] else f"{owner}/{server['name']}"
    return backends


def _is_network(value: t.Any) -> bool:
    try:
        ipaddress.ip_network(str(value), strict=True)
    except ValueError:
        return False
    return True
