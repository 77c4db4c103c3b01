"""The maintenance answer of a real HAProxy, and silences in a real Alertmanager."""

from __future__ import annotations

import datetime
import json
import pathlib
import time
import typing as t

import pytest
from windows import ADMIN, Alerts, Edge, module, now, stamp, until

pytestmark = pytest.mark.integration

VERSIONS = "/_matrix/client/versions"


def switched(edge: Edge, answer: str, seconds: float = 3600, **more: t.Any) -> dict[str, t.Any]:
    moment = {} if answer == "none" else {"until": stamp(now() + datetime.timedelta(seconds=seconds))}
    result = module("matrixon_maintenance_answer", socket=edge.socket, map=edge.map, answer=answer, **moment, **more)
    assert not result.get("failed"), result
    return result


@pytest.fixture(autouse=True)
def open_again(request: pytest.FixtureRequest) -> t.Iterator[None]:
    yield
    if "edge" in request.fixturenames:
        switched(request.getfixturevalue("edge"), "none")


def test_clients_are_told_that_it_is_maintenance(edge: Edge) -> None:
    assert edge.get(VERSIONS)[0] == 200
    assert switched(edge, "all")["changed"]
    status, headers, body = edge.get(VERSIONS)
    assert status == 503 and headers["content-type"] == "application/json"
    assert headers["access-control-allow-origin"] == "*" and headers["retry-after"] == "30"
    said = json.loads(body)
    assert said["errcode"] == "M_UNKNOWN" and said["retry_after_ms"] == 30000
    assert "Planned maintenance, until " in said["error"] and "UTC" in said["error"]
    for method, path in (("POST", "/_matrix/client/v3/login"), ("PUT", "/_matrix/federation/v1/send/1")):
        assert edge.get(path, method, body="{}")[0] == 503
    # No spelling goes round it.
    assert edge.get("/%5fmatrix/client/versions")[0] == 503
    switched(edge, "none")
    assert edge.get(VERSIONS)[0] == 200


def test_what_is_not_matrix_and_who_may_administrate_pass(edge: Edge) -> None:
    switched(edge, "all")
    assert edge.get("/health")[0] == 200
    assert edge.get(VERSIONS, source=ADMIN)[0] == 200
    # A browser may read the answer only if it was let ask.
    assert edge.get(VERSIONS, "OPTIONS")[0] == 200
    assert edge.get(VERSIONS)[0] == 503


def test_reading_goes_on_where_only_writes_are_answered(edge: Edge) -> None:
    switched(edge, "writes")
    assert edge.get("/_matrix/client/v3/sync")[0] == 200
    assert edge.get("/_matrix/client/v3/rooms/r/send/m.room.message/1", "PUT", body="{}")[0] == 503
    switched(edge, "all")
    assert edge.get("/_matrix/client/v3/sync")[0] == 503


def test_it_ends_by_itself(edge: Edge) -> None:
    end = time.time() + 4
    switched(edge, "all", 4)
    assert edge.get(VERSIONS)[0] == 503
    until(lambda: edge.get(VERSIONS)[0] == 200, 30, "the end of the answer")
    assert time.time() >= int(end) - 0.1
    # Nobody told HAProxy.
    assert f"all {int(end)}" in edge.entries()


def test_it_outlives_a_restart_of_haproxy_with_its_end(edge: Edge) -> None:
    switched(edge, "all", 3600)
    edge.stop()
    edge.start()
    assert edge.get(VERSIONS)[0] == 503


def test_the_same_again_changes_nothing_and_check_mode_neither(edge: Edge) -> None:
    assert switched(edge, "all", 3600.0, _ansible_check_mode=True)["changed"]
    assert edge.get(VERSIONS)[0] == 200 and pathlib.Path(edge.map).read_text() == "all 0\nwrites 0\n"
    moment = stamp(now() + datetime.timedelta(hours=1))
    given = {"socket": edge.socket, "map": edge.map, "answer": "all", "until": moment}
    assert module("matrixon_maintenance_answer", **given)["changed"]
    assert not module("matrixon_maintenance_answer", **given)["changed"]


def test_an_end_that_is_past_and_an_unknown_map_are_refused(edge: Edge, tmp_path: pathlib.Path) -> None:
    given = {"socket": edge.socket, "map": edge.map, "answer": "all"}
    assert "is past" in module("matrixon_maintenance_answer", **given, until="2026-01-01T00:00:00Z")["msg"]
    strange = module("matrixon_maintenance_answer", socket=edge.socket, map=str(tmp_path / "x"), answer="none")
    assert strange["failed"] and "load_balancer.yml" in strange["msg"]


# --- silences


def silence(alerts: Alerts, comment: str, **more: t.Any) -> dict[str, t.Any]:
    given = {
        "url": alerts.url,
        "comment": comment,
        "matchers": [{"name": "deployment", "value": "d"}, {"name": "host", "value": "db1|db2", "isRegex": True}],
        "starts": stamp(now() - datetime.timedelta(minutes=1)),
        "ends": stamp(now() + datetime.timedelta(hours=1)),
        **more,
    }
    return module("matrixon_silence", **given)


def test_a_silence_is_made_once_silences_and_ends(alerts: Alerts) -> None:
    ends = stamp(now() + datetime.timedelta(hours=1))
    assert silence(alerts, "one", ends=ends, _ansible_check_mode=True)["changed"]
    assert not [one for one in alerts.silences() if one[0] == "one"]
    assert not alerts.silenced(deployment="d", host="db1")
    made = silence(alerts, "one", ends=ends)
    assert made["changed"] and made["id"]
    # As after a run that died before it wrote the id down.
    again = silence(alerts, "one", ends=ends)
    assert not again["changed"] and again["id"] == made["id"]
    assert alerts.silenced(deployment="d", host="db1") and not alerts.silenced(deployment="d", host="hs1")
    ended = silence(alerts, "one", state="absent")
    assert ended["changed"] and ended["ended"] == [made["id"]]
    assert ("one", "expired") in alerts.silences() and not alerts.silenced(deployment="d", host="db1")
    assert not silence(alerts, "one", state="absent")["changed"]


def test_a_silence_of_other_times_takes_the_old_ones_place(alerts: Alerts) -> None:
    silence(alerts, "two")
    silence(alerts, "other")
    silence(alerts, "two", ends=stamp(now() + datetime.timedelta(hours=2)))
    assert sorted(state for comment, state in alerts.silences() if comment == "two") == ["active", "expired"]
    assert ("other", "active") in alerts.silences()
    for comment in ("two", "other"):
        silence(alerts, comment, state="absent")


def test_what_alertmanager_refuses_and_its_absence_are_told(alerts: Alerts) -> None:
    past = silence(alerts, "three", ends="2026-01-01T00:00:00Z")
    assert past["failed"] and "400" in past["msg"]
    nobody = silence(alerts, "three", url="http://127.0.0.1:9")
    assert nobody["failed"] and nobody["error_kind"] == "refused"
