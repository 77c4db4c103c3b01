"""What is said of a Redis. A real one is asked in the integration tests."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._audit import redis
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Skip
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure


def said(**change: Any) -> dict[str, str]:
    facts = {"open": False, "bind": ["127.0.0.1", "-::1"], "protected": "yes", "user": "default", "commands": []}
    return {finding.id: finding.status for finding in redis.judge({**facts, **change}).findings}


@pytest.mark.parametrize(
    ("change", "weak"),
    [
        ({}, {"redis-dangerous-commands": "ok"}),
        ({"open": True}, {"redis-passwordless": "warning", "redis-dangerous-commands": "ok"}),
        ({"open": True, "bind": ["10.0.0.5"]}, {"redis-passwordless": "critical", "redis-dangerous-commands": "ok"}),
        ({"open": True, "bind": ["*", "-::*"]}, {"redis-passwordless": "critical", "redis-dangerous-commands": "ok"}),
        # No address at all is every address.
        ({"open": True, "bind": []}, {"redis-passwordless": "critical", "redis-dangerous-commands": "ok"}),
        ({"bind": ["*"]}, {"redis-dangerous-commands": "ok"}),
        ({"protected": "no"}, {"redis-protected-mode": "warning", "redis-dangerous-commands": "ok"}),
        ({"commands": ["shutdown"]}, {"redis-dangerous-commands": "warning"}),
        ({"commands": ProbeFailure("missing_tool", "too old")}, {"redis-dangerous-commands": "unknown"}),
    ],
)
def test_doors(change: dict[str, Any], weak: dict[str, str]) -> None:
    assert said(**change) == weak


def test_without_a_server_nothing_is_asked() -> None:
    assert isinstance(redis.plan({"redis": None})[0], Skip)
