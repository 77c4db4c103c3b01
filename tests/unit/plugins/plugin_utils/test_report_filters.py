"""The filters: what templates see."""

from __future__ import annotations

import datetime

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult, Report
from ansible_collections.matrixon.ops.plugins.plugin_utils.report import fleet_view, report_metrics

MOMENT = datetime.datetime(2026, 11, 23, tzinfo=datetime.timezone.utc)
REPORT = Report(
    "backup", "db1", "example.org", "synapse", MOMENT, MOMENT, (CheckResult("a", "b", "ok", "m"),)
).as_dict()


def test_fleet_view():
    fleet = fleet_view([REPORT], [{"target": "db2", "message": "gone"}], kind="backup", deployment="prod")
    assert (fleet["status"], fleet["deployment"], len(fleet["hosts"])) == ("unknown", "prod", 2)


@pytest.mark.parametrize("args", [({},), ("text",), ([], "text"), (None,)])
def test_fleet_view_refuses_what_is_no_list(args):
    with pytest.raises(AnsibleFilterError, match="must be a list"):
        fleet_view(*args)


def test_report_metrics():
    assert 'matrixon_backup_status{deployment="example.org",host="db1"} 0\n' in report_metrics(REPORT)


def test_report_metrics_refuses_what_is_no_report():
    with pytest.raises(AnsibleFilterError, match="not a report: its schema is None"):
        report_metrics({})
