"""Old media of the fleet go by the homeserver's own hand, and only what a proven set holds."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

REPORT = pathlib.Path(__file__).resolve().parents[3] / "reports/media_cleanup-molecule.json"
STORE = "/var/lib/matrix-synapse/media/local_content"
CATALOG = "cat /var/backups/matrixon/molecule/{0}/catalog.json"
OLD = "SELECT media_id FROM local_media_repository WHERE url_cache IS NULL ORDER BY created_ts LIMIT 1"
AGE = "UPDATE local_media_repository SET created_ts = created_ts - 400 * 86400000::bigint, last_access_ts = NULL"


@pytest.fixture(scope="module")
def token(playbook: t.Any, server: t.Any, people: t.Any) -> str:
    """An administrator's token, on a fleet with media of which proven sets were taken, be it by an earlier test."""
    alice, _bob = people
    if any(server(host).run(CATALOG.format(host)).rc for host in ("db1", "hs1")):
        alice.client.upload(alice.token, "old.bin", "application/octet-stream", b"old")
        run = playbook("backup")
        assert run.code == 0, run.output
    alice.client.upload(alice.token, "kept.bin", "application/octet-stream", b"kept")
    return alice.token


def clean(playbook: t.Any, token: str, *arguments: str, **variables: t.Any) -> tuple[t.Any, dict[str, t.Any]]:
    given = {"media_cleanup_admin_token": token, "media_cleanup_max_share": 100, **variables}
    run = playbook("media_cleanup", "-e", json.dumps(given), *arguments)
    assert token not in run.output
    return run, json.loads(REPORT.read_text()) if REPORT.exists() else {}


def test_local_media_that_a_proven_set_holds_go_and_those_that_none_holds_stay(
    playbook: t.Any, token: str, people: t.Any, server: t.Any, sql: t.Callable[[str, str], str]
) -> None:
    alice, _bob = people
    hs1 = server("hs1")
    local = {"media_cleanup_local_days": 365, "media_cleanup_local_confirm": "fleet.test"}

    def path(media_id: str) -> str:
        return f"{STORE}/{media_id[:2]}/{media_id[2:4]}/{media_id[4:]}"

    late = alice.client.upload(alice.token, "late.bin", "application/octet-stream", b"late").rpartition("/")[2]
    old = sql("db1", OLD)
    assert old != late
    sql("db1", f"{AGE} WHERE media_id IN ('{old}', '{late}')")
    run, report = clean(playbook, token, **local)
    assert run.code and report["status"] == "critical" and "lacks 1 of the" in run.output, run.output
    assert hs1.file(path(old)).exists and hs1.file(path(late)).exists

    sql(
        "db1",
        f"UPDATE local_media_repository SET created_ts = created_ts + 400 * 86400000::bigint WHERE media_id = '{late}'",
    )
    dry, _report = clean(playbook, token, "--check", **local)
    assert dry.code == 0 and hs1.file(path(old)).exists, dry.output
    run, report = clean(playbook, token, **local)
    assert run.code == 0 and report["status"] == "ok", run.output
    assert run.changed == {"hs1"} and "changed: [hs1]" in run.output
    assert not hs1.file(path(old)).exists and hs1.file(path(late)).exists
    assert sql("db1", f"SELECT count(*) FROM local_media_repository WHERE media_id = '{old}'") == "0"
    again, _report = clean(playbook, token, **local)
    # What is published is another report: that is a change on the controller.
    assert again.code == 0 and "changed: [hs1]" not in again.output and hs1.file(path(late)).exists, again.output
