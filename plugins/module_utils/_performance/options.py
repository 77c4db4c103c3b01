# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The options of the performance report: their shape, and sentences for those that cannot be right."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import Check
from ansible_collections.matrixon.ops.plugins.module_utils._health.options import CHECKS_SPEC, Options, check_errors
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    duplicate_errors,
    endpoint_errors,
    login_errors,
    name_errors,
    port_errors,
    seconds_errors,
    trust_errors,
    url_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._http import HTTPS_SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._performance import guide
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import LOGIN_SPEC, PASSWORD_FILE_SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql_tuning import STORAGES

SHORTEST_INTERVAL, LONGEST_INTERVAL = 1.0, 3600.0
MOST_SAMPLES = 600
SECRETS = {"postgresql": ("password",)}
# What the module needs beside the interval, at least.
LEEWAY = 2.0
_UNIT = re.compile(r"[A-Za-z0-9:_.\\*][A-Za-z0-9:_.\\@*-]*")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

_TUNING: dict[str, t.Any] = {
    "memory_bytes": {"type": "int", "default": 0},
    "cores": {"type": "int", "default": 0},
    "connections": {"type": "int", "default": 0},
    "storage": {"type": "str", "choices": list(STORAGES), "default": "ssd"},
    "standbys": {"type": "int", "default": 0},
    "settings": {"type": "dict", "default": {}},
}
SPEC: dict[str, t.Any] = {
    "interval": {"type": "float", "default": 10},
    "samples": {"type": "int", "default": 10},
    **CHECKS_SPEC,
    **HTTPS_SPEC,
    "timeout": {"type": "float", "default": 10},
    "deadline": {"type": "float", "default": 60},
    "units": {"type": "list", "elements": "str", "default": []},
    "processes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "pid_file": {"type": "path", "required": True},
        },
    },
    "ports": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
        },
    },
    "homeserver": {
        "type": "dict",
        "options": {
            "instances": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "metrics_url": {"type": "str", "required": True},
                },
            },
            "latency_histogram": {
                "type": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "labels": {"type": "list", "elements": "str", "required": True},
                    "excluded": {"type": "list", "elements": "str", "default": []},
                },
            },
            "unsupported": {"type": "str"},
        },
    },
    "postgresql": {
        "type": "dict",
        "options": {
            **LOGIN_SPEC,
            **PASSWORD_FILE_SPEC,
            "tuning": {"type": "dict", "options": _TUNING, "apply_defaults": True},
        },
    },
    "guide_settings": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "setting": {"type": "str", "required": True},
            "value": {"type": "str", "required": True},
            "rule": {"type": "str", "required": True, "choices": list(guide.NAMES)},
        },
    },
    "earlier": {"type": "dict"},
}


def errors(options: Options, checks: t.Mapping[str, Check]) -> t.Iterator[str]:
    """Yield what is wrong with the options."""
    yield from name_errors(options)
    yield from _time_errors(options)
    yield from check_errors(options, checks)
    for at, unit in enumerate(options["units"]):
        if not _UNIT.fullmatch(unit):
            yield f"units[{at}]: {unit!r} is not a unit; write for example haproxy.service or postgresql@*.service"
    for at, entry in enumerate(options["ports"]):
        yield from port_errors(f"ports[{at}].port", entry["port"])
    for at, entry in enumerate(options["processes"]):
        if not entry["pid_file"].startswith("/"):
            yield f"processes[{at}].pid_file: {entry['pid_file']!r} is not an absolute path; begin it with /"
    yield from duplicate_errors("units", options["units"])
    for option in ("ports", "processes"):
        yield from duplicate_errors(option, [entry["name"] for entry in options[option]])
    for source, other in options["connect_to"].items():
        yield from endpoint_errors("connect_to", source)
        yield from endpoint_errors(f"connect_to.{source}", str(other))
    yield from trust_errors("ca_file", options["ca_file"])
    yield from _homeserver_errors(options["homeserver"])
    yield from _postgresql_errors(options["postgresql"])


def _time_errors(options: Options) -> t.Iterator[str]:
    interval, deadline = options["interval"], options["deadline"]
    for name in ("timeout", "deadline"):
        yield from seconds_errors(name, options[name])
    if not SHORTEST_INTERVAL <= interval <= LONGEST_INTERVAL:
        yield (
            f"interval: {interval:g} is no length to measure over; give {SHORTEST_INTERVAL:g} to "
            f"{LONGEST_INTERVAL:g} seconds"
        )
        return
    if not 2 <= options["samples"] <= MOST_SAMPLES:
        yield f"samples: {options['samples']} is no number of samples; give 2 to {MOST_SAMPLES}"
    elif interval / options["samples"] < 0.1:
        yield (
            f"samples: {options['samples']} in {interval:g} s are more than 10 per second, which would measure this "
            f"collector; give {max(2, int(interval * 10))} at most"
        )
    if deadline < interval + LEEWAY:
        yield f"deadline: {deadline:g} s leave no time beside an interval of {interval:g} s; give {interval + LEEWAY:g}"


def _homeserver_errors(given: Options | None) -> t.Iterator[str]:
    if given is None:
        return
    for at, entry in enumerate(given["instances"]):
        yield from url_errors(f"homeserver.instances[{at}].metrics_url", entry["metrics_url"])
    yield from duplicate_errors("homeserver.instances", [entry["name"] for entry in given["instances"]])
    histogram = given["latency_histogram"]
    if (histogram is None) == (not given["unsupported"]):
        yield "homeserver: give either latency_histogram, or with unsupported the reason why there is none"
    if histogram is None:
        return
    if not _METRIC.fullmatch(histogram["name"]):
        yield f"homeserver.latency_histogram.name: {histogram['name']!r} is not the name of a metric"
    if not histogram["labels"]:
        yield "homeserver.latency_histogram.labels: the list is empty; name the labels that tell an endpoint"


def _postgresql_errors(given: Options | None) -> t.Iterator[str]:
    if given is None:
        return
    yield from login_errors("postgresql", given)
    yield from trust_errors("postgresql.ca_file", given["ca_file"])
    for name in ("memory_bytes", "cores", "connections", "standbys"):
        if given["tuning"][name] < 0:
            yield f"postgresql.tuning.{name}: {given['tuning'][name]} is below 0; give 0 for what the host says itself"
