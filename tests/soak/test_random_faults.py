"""Random sets of broken services, again and again: the verdict may never be better than the truth.

SEED repeats a run, ROUNDS says how long it is.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import typing as t

import jsonschema

SCHEMA = json.loads((pathlib.Path(__file__).resolve().parents[2] / "docs/report.schema.json").read_text())
ROUNDS = int(os.environ.get("ROUNDS", "20"))
DEADLINE = 5.0

# Which check must be critical when a service is gone.
GATES = {
    "postgresql": ("postgresql_connect", None),
    "redis": ("redis_ping", None),
    "main": ("client_api", "main"),
    "worker1": ("client_api", "worker1"),
    "worker2": ("client_api", "worker2"),
    "haproxy": ("haproxy_servers", None),
}
BREAKS = {"stop": ("start", "refused"), "freeze": ("thaw", "timeout")}


def recover(lab: t.Any) -> None:
    """Wait for health, and help as an operator would where the homeserver does not find back by itself.

    Workers that have lived through an outage of main and database may let sends hang
    for minutes. The health check says so, truthfully; a restart ends it.
    """
    try:
        lab.settle(45)
    except AssertionError as error:
        print(f"  not healthy by itself, restarting the homeserver: {error}"[:200], flush=True)
        for verb, services in (("stop", ("worker2", "worker1", "main")), ("start", ("main", "worker1", "worker2"))):
            for service in services:
                lab(verb, service)
        lab.settle(60)


def test_no_verdict_is_better_than_the_truth(lab: t.Any) -> None:
    seed = int(os.environ.get("SEED", "1"))
    chance = random.Random(seed)
    names = {check["name"] for check in lab.health().checks}
    for number in range(1, ROUNDS + 1):
        services = chance.sample(sorted(GATES), chance.randint(1, 3))
        broken = {service: chance.choice(sorted(BREAKS)) for service in services}
        print(f"seed {seed} round {number}/{ROUNDS}: {broken}", flush=True)
        try:
            for service, verb in broken.items():
                lab(verb, service)
            result = lab.health(deadline=DEADLINE, timeout=2, homeserver={"canary_timeout": 3})
        finally:
            # Databases first: a homeserver does not start without its own.
            for service in sorted(broken, key=list(GATES).index):
                lab(BREAKS[broken[service]][0], service)
            recover(lab)
        jsonschema.validate(result.report, SCHEMA)
        assert result.report["duration_ms"] <= (DEADLINE + 0.5) * 1000
        assert result.report["status"] == "critical"
        assert names <= {check["name"] for check in result.checks}, "a check was lost"
        for service, verb in broken.items():
            name, target = GATES[service]
            found = [c for c in result.checks if c["name"] == name and target in (None, c["target"])]
            kinds = {c.get("error_kind") for c in found if c["status"] == "critical"}
            assert BREAKS[verb][1] in kinds, (service, verb, found)
