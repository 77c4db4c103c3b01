"""Links that answer, contacts that can be reached, shifts with people, drills and secrets that are not too old."""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._maintenance import documents
from ansible_collections.matrixon.ops.plugins.module_utils._probe import DNS, ProbeFailure

NOW = 1_800_000_000.0
EMPTY: dict[str, Any] = {
    "target": "h", "links": [], "contacts": [], "escalation": [], "reports": [], "secret_files": [],
    "timeout": 5.0, "deadline": 20.0,
}  # fmt: skip
ANSWERS = {"/good": 200, "/login": 401, "/gone": 404, "/moved": 302, "/headless": 405, "/loop": 302}


class Wiki(http.server.BaseHTTPRequestHandler):
    """A wiki, some pages of which are not there any more."""

    def do_HEAD(self) -> None:
        self.send_response(ANSWERS[self.path])
        if ANSWERS[self.path] == 302:
            target = "/good" if self.path == "/moved" else "/loop"
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}{target}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def wiki() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Wiki)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def mail_servers(domain: str, deadline: Any) -> list[str]:
    if domain == "broken.test":
        raise ProbeFailure(DNS, "MX of broken.test: ServFail")
    return ["mx.good.test"] if domain == "good.test" else []


def review(**options: Any) -> dict[str, tuple[str, str]]:
    checks = documents.review({**EMPTY, **options}, HttpClient(), mail_servers, NOW)
    return {check.target: (check.status, check.message) for check in checks}


@pytest.mark.parametrize(
    ("page", "status"),
    [("good", "ok"), ("login", "ok"), ("moved", "ok"), ("headless", "ok"), ("gone", "warning"), ("loop", "warning")],
)
def test_a_link_must_answer(wiki: str, page: str, status: str) -> None:
    assert review(links=[f"{wiki}/{page}"])[f"{wiki}/{page}"][0] == status


def test_a_link_to_nobody_is_told() -> None:
    status, message = review(links=["http://127.0.0.1:1/x"])["http://127.0.0.1:1/x"]
    assert status == "warning" and "cannot be opened" in message


@pytest.mark.parametrize(
    ("contact", "status", "said"),
    [
        ({"email": "a@good.test", "phone": "+49 30 123456"}, "ok", "goes to mx.good.test"),
        ({"email": "a@silent.test"}, "warning", "has no mail server"),
        ({"email": "a@b@c"}, "warning", "is no mail address"),
        ({"phone": "030 123456"}, "warning", "is no phone number with a country"),
        ({"email": "a@broken.test"}, "unknown", "ServFail"),
    ],
)
def test_a_contact_must_be_one_that_can_be_reached(contact: dict[str, str], status: str, said: str) -> None:
    found = review(contacts=[{"name": "Al", **contact}])["Al"]
    assert found[0] == status and said in found[1]


def test_no_shift_is_empty_or_names_a_stranger() -> None:
    shifts = [{"shift": "day", "people": ["Al"]}, {"shift": "night"}, {"shift": "noon", "people": ["Bo"]}]
    found = review(contacts=[{"name": "Al", "phone": "+49 30 123456"}], escalation=shifts)
    assert [found[name][0] for name in ("day", "night", "noon")] == ["ok", "warning", "warning"]
    assert found["night"][1] == "nobody is called in this shift" and "Bo" in found["noon"][1]


def test_a_drill_is_as_old_as_its_report_says(tmp_path: pathlib.Path) -> None:
    young, old, bad, wrong, absent = (str(tmp_path / name) for name in ("young", "old", "bad", "wrong", "absent"))
    for path, finished, status in (
        (young, "2027-01-14T08:00:00.000Z", "ok"), (old, "2026-08-01T08:00:00.000Z", "ok"),
        (bad, "2027-01-14T08:00:00.000Z", "critical"),
    ):  # fmt: skip
        pathlib.Path(path).write_text(json.dumps({"finished": finished, "status": status}))
    pathlib.Path(wrong).write_text("{}")
    found = review(reports=[{"path": path, "max_days": 92} for path in (young, old, bad, wrong, absent)])
    assert [found[path][0] for path in (young, old, bad, wrong, absent)] == [
        "ok", "warning", "warning", "unknown", "warning",
    ]  # fmt: skip


def test_a_secret_is_as_old_as_its_file_and_is_not_read(tmp_path: pathlib.Path) -> None:
    for name, days in (("new", 10), ("old", 400)):
        path = tmp_path / name
        path.write_text("hush")
        path.chmod(0)
        os.utime(path, (NOW - days * 86400,) * 2)
    found = review(secret_files=[{"paths": [f"{tmp_path}/*", "/none/*"], "max_days": 365}])
    assert {os.path.basename(path): entry[0] for path, entry in found.items()} == {"new": "ok", "old": "warning"}
    assert "hush" not in str(found)


def test_nothing_to_review_is_said() -> None:
    assert review()["h"][0] == "skipped" and "nothing is named" in review()["h"][1]
    assert "none of these files" in review(secret_files=[{"paths": ["/none/*"], "max_days": 1}])["h"][1]


def test_what_cannot_be_right_is_refused() -> None:
    wrong = {
        "links": ["ftp://x"], "contacts": [{"name": "Al"}], "escalation": [{"people": []}],
        "reports": [{"path": "/x"}], "secret_files": [{"paths": ["/x"], "max_days": 0}],
    }  # fmt: skip
    assert [text.split(":")[0] for text in documents.problems({**EMPTY, **wrong})] == list(wrong)
