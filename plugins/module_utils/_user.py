# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What users do with a homeserver, done once: log in, send and read a message, put a file up and fetch it."""

from __future__ import annotations

import re
import secrets
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._matrix import Client, deliver_marker, quote
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    CRITICAL,
    OK,
    SKIPPED,
    CheckResult,
)

MEDIA_BYTES = 4096
MEDIA_ADDRESS = re.compile("mxc://([^/]+)/([^/]+)")


@dataclass(frozen=True)
class Person:
    """Who tries: a login with a password, and the tokens of two users in one room."""

    user: str = ""
    password: str = ""
    room_id: str = ""
    sender_token: str = ""
    reader_token: str = ""


def try_all(http: HttpClient, base: str, person: Person, deadline: Deadline) -> list[CheckResult]:
    """Return a check for each thing that a user does."""
    sender = Client(http, base, person.sender_token)
    reader = Client(http, base, person.reader_token)
    canary = bool(person.room_id and person.sender_token and person.reader_token)
    return [
        _tried(
            "user_login",
            base,
            "" if person.user else "no user to log in with was given",
            lambda: _log_in(Client(http, base), person, deadline),
        ),
        _tried(
            "user_message",
            base,
            "" if canary else "no room for marker messages and tokens of two users in it were given",
            lambda: _deliver(sender, reader, person.room_id, deadline),
        ),
        _tried(
            "user_media",
            base,
            "" if person.sender_token else "no token to put a file up with was given",
            lambda: _media(sender, deadline),
        ),
    ]


def _tried(name: str, base: str, without: str, act: t.Callable[[], tuple[str, float]]) -> CheckResult:
    if without:
        return CheckResult(name, base, SKIPPED, without, skipped_reason=without)
    try:
        message, took_ms = act()
    except ProbeFailure as failure:
        # Whatever the reason: a user could not do it, and that was seen.
        return CheckResult(name, base, CRITICAL, failure.message, error_kind=failure.kind)
    return CheckResult(name, base, OK, message, value=took_ms, unit="ms", duration_ms=int(took_ms))


def _log_in(client: Client, person: Person, deadline: Deadline) -> tuple[str, float]:
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": person.user},
        "password": person.password,
        "initial_device_display_name": "matrixon.ops",
    }
    response = client.call("POST", "/_matrix/client/v3/login", deadline, body)
    document = response.json()
    token = document.get("access_token") if isinstance(document, dict) else None
    if not token:
        raise ProbeFailure(PARSE, f"{response.url} let {person.user} in and gave no token")
    # A login that stays would be one device more each time.
    Client(client.http, client.base, token).call("POST", "/_matrix/client/v3/logout", deadline, {})
    return f"{document.get('user_id', person.user)} logged in and out", response.elapsed_ms


def _deliver(sender: Client, reader: Client, room_id: str, deadline: Deadline) -> tuple[str, float]:
    event_id, took_ms = deliver_marker(sender, reader, room_id, int(time.time() * 1000), deadline)
    return f"{event_id} reached a second user", took_ms


def _media(client: Client, deadline: Deadline) -> tuple[str, float]:
    content = secrets.token_bytes(MEDIA_BYTES)
    response = client.call("POST", "/_matrix/media/v3/upload?filename=matrixon-probe", deadline, content)
    document = response.json()
    uri = document.get("content_uri") if isinstance(document, dict) else None
    address = MEDIA_ADDRESS.fullmatch(str(uri))
    if not address:
        raise ProbeFailure(PARSE, f"{response.url} took a file and gave no address of it")
    path = f"/_matrix/client/v1/media/download/{quote(address[1])}/{quote(address[2])}"
    back = client.call("GET", path, deadline)
    if back.body != content:
        raise ProbeFailure(PARSE, f"{uri} came back with {len(back.body)} other bytes than the {len(content)} put up")
    return f"{len(content)} bytes came back as they were put up", response.elapsed_ms + back.elapsed_ms
