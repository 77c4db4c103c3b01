"""Rows are typed: what is none is refused with what is wrong."""

from __future__ import annotations

import datetime
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._capacity import resources

UTC = datetime.timezone.utc
FIELDS = {
    "time": "2026-11-27T09:00:00Z",
    "deployment": "example",
    "host": "db1",
    "resource": "disk:/var",
    "value": "6442450944",
    "limit": "10737418240",
    "unit": "B",
}


def test_a_row_survives_its_way_through_text() -> None:
    row = resources.parse_row(FIELDS)
    assert (row.time, row.value, row.limit) == (datetime.datetime(2026, 11, 27, 9, tzinfo=UTC), 6442450944, 10737418240)
    assert isinstance(row.value, int)
    assert resources.parse_row(row.as_dict()) == row


def test_what_belongs_to_the_deployment_has_one_history_whoever_read_it() -> None:
    first, second = (
        resources.parse_row({**FIELDS, "resource": "users", "unit": "count", "host": host}) for host in ("db1", "db2")
    )
    assert first.key == second.key
    assert first.identity != second.identity
    disks = [resources.parse_row({**FIELDS, "host": host}) for host in ("db1", "db2")]
    assert disks[0].key != disks[1].key


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"value": "5.9 GiB"}, "value '5.9 GiB' is no number"),
        ({"value": "nan"}, "value"),
        ({"value": "-1"}, "value"),
        ({"value": True}, "value"),
        ({"limit": "inf"}, "limit"),
        ({"unit": "GB"}, "its unit is 'GB', and disk:/var is in B"),
        ({"resource": "cats"}, "its resource 'cats' is none of"),
        ({"time": "2026-11-27 09:00:00"}, "its time"),
        ({"time": "2026-13-27T09:00:00Z"}, "month"),
        ({"host": ""}, "its host"),
        ({"host": "a\nb"}, "its host"),
    ],
)
def test_a_row_that_is_none_is_refused(change: dict[str, t.Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        resources.parse_row({**FIELDS, **change})


def test_a_row_without_a_field_is_refused() -> None:
    with pytest.raises(ValueError, match="it has no host"):
        resources.parse_row({name: value for name, value in FIELDS.items() if name != "host"})


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"users": {"warning": 80}}, "thresholds: 'users' has no thresholds; known are disk"),
        ({"disk": {}}, "is not understood; write"),
        ({"disk": {"worst": 1}}, "is not understood; write"),
        ({"disk": {"full": "much"}}, "thresholds.disk.full: 'much' is not a share"),
        ({"disk": {"full": 0}}, "thresholds.disk.full: 0 is not a share"),
        ({"disk": {"warning": 95}}, "thresholds.disk: warning 95 is above critical 90, so it would never warn"),
        ({"memory": {"warning": 9, "critical": 8}}, "thresholds.memory: warning 9 is above critical 8"),
    ],
)
def test_thresholds_that_cannot_be_are_named(given: dict[str, t.Any], what: str) -> None:
    (error,) = resources.threshold_errors("thresholds", given)
    assert what in error


def test_thresholds_that_can_be_are_taken() -> None:
    given = {"disk": {"warning": 95, "critical": 95}, "load": {"warning": 200}, "memory": {"full": 50}}
    assert not [*resources.threshold_errors("thresholds", given)]


def test_limits_are_for_what_has_none() -> None:
    assert not [*resources.limit_errors("limits", {"users": 5000, "database": 5e11})]
    (error,) = resources.limit_errors("limits", {"disk": 5})
    assert error.startswith("limits: 'disk' cannot be given a limit; known are users")
    (error,) = resources.limit_errors("limits", {"users": "many"})
    assert error == "limits.users: 'many' is not a limit; give a number above 0, in bytes or a count"
