# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Silences in Alertmanager, by its API v2. Each is proven by asking for it again."""

from __future__ import annotations

import base64
import datetime
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import parse_time
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, Response
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, INTERNAL, PARSE, Deadline, ProbeFailure

EXPIRED = "expired"
Silence = dict[str, t.Any]


@dataclass(frozen=True)
class Wanted:
    """The silence that there should be. The author and the comment say that it is ours."""

    matchers: list[dict[str, t.Any]]
    starts: datetime.datetime
    ends: datetime.datetime
    author: str
    comment: str

    def is_same(self, found: Silence) -> bool:
        """Return whether a silence is this one. Alertmanager moves a start that is past to its own now."""
        return (
            self.is_ours(found)
            and matchers_of(found["matchers"]) == matchers_of(self.matchers)
            and abs((parse_time(found["endsAt"]) - self.ends).total_seconds()) < 1
            and parse_time(found["startsAt"]) >= self.starts - datetime.timedelta(seconds=1)
        )

    def is_ours(self, found: Silence) -> bool:
        """Return whether a silence belongs to the same window."""
        return (found["createdBy"], found["comment"]) == (self.author, self.comment)


def matchers_of(given: t.Iterable[t.Mapping[str, t.Any]]) -> set[tuple[str, str, bool, bool]]:
    """Return matchers so that they can be compared."""
    return {(one["name"], one["value"], bool(one["isRegex"]), bool(one.get("isEqual", True))) for one in given}


@dataclass(frozen=True)
class Alertmanager:
    """One Alertmanager. Of a cluster any member will do: they tell each other."""

    url: str
    http: HttpClient
    deadline: Deadline
    username: str = ""
    password: str = field(default="", repr=False)

    def _ask(self, method: str, path: str, body: t.Any = None) -> Response:
        headers = {}
        if self.username:
            login = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        answer = self.http.request(
            method, f"{self.url.rstrip('/')}/api/v2/{path}", self.deadline, headers=headers, body=body
        )
        if answer.status in (401, 403):
            raise ProbeFailure(AUTH, f"{self.url} answered {answer.status}: it does not take this login")
        return answer

    def unexpired(self, wanted: Wanted) -> list[Silence]:
        """Return the silences of the same window that are not over."""
        found = self._good(self._ask("GET", "silences")).json()
        try:
            return [one for one in found if one["status"]["state"] != EXPIRED and wanted.is_ours(one)]
        except (KeyError, TypeError) as error:
            raise ProbeFailure(PARSE, f"{self.url} answered with something that is no list of silences") from error

    def get(self, identifier: str) -> Silence | None:
        """Return one silence, or none where Alertmanager knows of none."""
        answer = self._ask("GET", f"silence/{urllib.parse.quote(identifier, safe='')}")
        return None if answer.status == 404 else self._good(answer).json()

    def create(self, wanted: Wanted) -> Silence:
        """Make a silence, and return it as Alertmanager then knows it."""
        body = {
            "matchers": wanted.matchers,
            "startsAt": wanted.starts.isoformat(),
            "endsAt": wanted.ends.isoformat(),
            "createdBy": wanted.author,
            "comment": wanted.comment,
        }
        identifier = self._good(self._ask("POST", "silences", body)).json()["silenceID"]
        found = self.get(identifier)
        if found is None or not wanted.is_same(found) or found["status"]["state"] == EXPIRED:
            raise ProbeFailure(INTERNAL, f"{self.url} took the silence {identifier}, and does not have it")
        return found

    def expire(self, identifier: str) -> None:
        """End a silence, and see that it is over."""
        self._good(self._ask("DELETE", f"silence/{urllib.parse.quote(identifier, safe='')}"))
        found = self.get(identifier)
        if found is not None and found["status"]["state"] != EXPIRED:
            raise ProbeFailure(INTERNAL, f"{self.url} was told to end the silence {identifier}, and did not")

    def _good(self, answer: Response) -> Response:
        if answer.status != 200:
            raise ProbeFailure(INTERNAL, f"{self.url} answered {answer.status}: {answer.excerpt(120)}")
        return answer
