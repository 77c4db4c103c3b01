# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The Matrix client-server API as a health check meets it."""

from __future__ import annotations

import json
import typing as t
import urllib.parse
import uuid
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, Response
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    PARSE,
    REFUSED,
    Deadline,
    ProbeFailure,
)

CANARY_KEY = "org.matrixon.canary"

# One long poll. Short enough to notice a worker that died with the poll in it.
POLL_MS = 2000


@dataclass(frozen=True)
class Client:
    """One user's (or nobody's) view of one homeserver address."""

    http: HttpClient
    base: str
    token: str | None = None

    def call(self, method: str, path: str, deadline: Deadline, body: t.Any = None) -> Response:
        """Send a request; an answer other than 2xx is a failure that says what it means."""
        response = self.http.request(method, self.base.rstrip("/") + path, deadline, token=self.token, body=body)
        if 200 <= response.status < 300:
            return response
        raise refusal(response)

    def versions(self, deadline: Deadline) -> tuple[list[str], float]:
        """Return the supported versions and how long the answer took, in ms."""
        response = self.call("GET", "/_matrix/client/versions", deadline)
        document = response.json()
        versions = document.get("versions") if isinstance(document, dict) else None
        if not isinstance(versions, list) or not versions:
            raise ProbeFailure(PARSE, f"{response.url} answered JSON without a list of versions: {response.excerpt()}")
        return [str(version) for version in versions], response.elapsed_ms

    def server_version(self, deadline: Deadline) -> tuple[str, str]:
        """Return the server's name for itself and its version."""
        response = self.call("GET", "/_matrix/federation/v1/version", deadline)
        try:
            server = response.json()["server"]
            return str(server["name"]), str(server["version"])
        except (KeyError, TypeError) as error:
            raise ProbeFailure(PARSE, f"{response.url} tells no version: {response.excerpt()}") from error

    def newest_events(self, room_id: str, deadline: Deadline) -> float:
        """Read a page of a room's history, which asks the database; return the ms it took."""
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages?dir=b&limit=1"
        response = self.call("GET", path, deadline)
        document = response.json()
        if not isinstance(document, dict) or not isinstance(document.get("chunk"), list):
            raise ProbeFailure(PARSE, f"{response.url} answered without events: {response.excerpt()}")
        return response.elapsed_ms

    def sync(self, room_id: str, since: str | None, poll_ms: int, deadline: Deadline) -> tuple[str, list[dict]]:
        """Return the next sync position and the room's new events."""
        nothing: dict[str, list[str]] = {"types": []}
        room = {"rooms": [room_id], "timeline": {"limit": 50}, "ephemeral": nothing, "account_data": nothing}
        wanted = {"room": {**room, "state": nothing}, "presence": nothing, "account_data": nothing}
        query = {
            "filter": json.dumps(wanted, separators=(",", ":")),
            "timeout": str(poll_ms),
            "set_presence": "offline",
        }
        if since:
            query["since"] = since
        response = self.call("GET", "/_matrix/client/v3/sync?" + urllib.parse.urlencode(query), deadline)
        document = response.json()
        try:
            joined = document.get("rooms", {}).get("join", {}).get(room_id, {})
            return document["next_batch"], joined.get("timeline", {}).get("events", [])
        except (KeyError, AttributeError) as error:
            raise ProbeFailure(PARSE, f"{self.base}: /sync answered without a position") from error

    def send_marker(self, room_id: str, sent_ms: int, deadline: Deadline) -> str:
        """Send a marker message that carries its own time; return its event id."""
        marker = uuid.uuid4().hex
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/send/m.room.message/{marker}"
        content = {
            "msgtype": "m.notice",
            "body": f"canary {marker}",
            CANARY_KEY: {"id": marker, "sent_ms": sent_ms},
        }
        response = self.call("PUT", path, deadline, body=content)
        document = response.json()
        if not isinstance(document, dict) or not isinstance(document.get("event_id"), str):
            raise ProbeFailure(PARSE, f"{self.base}: the send was answered without an event id: {response.excerpt()}")
        return str(document["event_id"])


def deliver_marker(sender: Client, reader: Client, room_id: str, sent_ms: int, deadline: Deadline) -> tuple[str, float]:
    """Send as one user, read back as another; return the event id and the delivery time in ms."""
    position, _old = stage("before the canary was sent, the reader's /sync", reader.sync, room_id, None, 0, deadline)
    started = deadline.elapsed()
    event_id = stage("the canary could not be sent", sender.send_marker, room_id, sent_ms, deadline)
    while True:
        left_ms = int(deadline.require(f"canary {event_id} was sent and not delivered") * 1000)
        poll_ms = min(POLL_MS, left_ms // 2)
        position, events = stage(
            f"canary {event_id} was sent and not delivered", reader.sync, room_id, position, poll_ms, deadline
        )
        if any(event.get("event_id") == event_id for event in events):
            return event_id, (deadline.elapsed() - started) * 1000


def refusal(response: Response) -> ProbeFailure:
    """Say what an HTTP status means."""
    said = f"{response.url.split('/_matrix')[0]} answered {response.status} ({response.matrix_error()})"
    return ProbeFailure(AUTH if response.status in (401, 403) else REFUSED, said)


def quote(text: str) -> str:
    """Return a room or event id as part of a path."""
    return urllib.parse.quote(text, safe="")


def stage(what: str, act: t.Callable[..., t.Any], *args: t.Any) -> t.Any:
    """Name the stage in a failure: a lost message and a refused one ask for different help."""
    try:
        return act(*args)
    except ProbeFailure as failure:
        raise ProbeFailure(failure.kind, f"{what}: {failure.message}") from failure
