# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Channels that are an HTTP call: webhooks, Matrix rooms, PagerDuty and status pages."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import html
import json
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, Response, parse_url
from ansible_collections.matrixon.ops.plugins.module_utils._matrix import quote
from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import (
    ACKNOWLEDGE,
    OPEN,
    RESOLVE,
    SENT,
    SKIPPED,
    Delivery,
    DeliveryFailure,
    Message,
)
from ansible_collections.matrixon.ops.plugins.module_utils._notify.text import shorten, slack
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    PARSE,
    REFUSED,
    TLS,
    Deadline,
    ProbeFailure,
)

Options = t.Mapping[str, t.Any]

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
STATUS_PAGE_URL = "https://api.statuspage.io/v1"

# What the other sides take at most, with room to spare.
LONGEST_WEBHOOK = 7_000
LONGEST_MATRIX = 8_000
LONGEST_MATRIX_HTML = 24_000
LONGEST_SUMMARY = 1024
LONGEST_DETAIL = 20_000
LONGEST_INCIDENT = 255
LONGEST_PUBLIC = 20_000

# Answers that promise that nothing was done. Statuspage says 420 for too many.
NOT_DONE = (420, 429, 503)
PER_PAGE = 100
MOST_PAGES = 10
STATUS_ORDER = ("investigating", "identified", "monitoring")
IMPACT = {"info": "none", "warning": "minor", "error": "major", "critical": "critical"}


def client(options: Options) -> HttpClient:
    """Return how a channel's server is reached."""
    return HttpClient(ca_file=options.get("ca_file"))


def peer_of(url: str) -> str:
    """Return a URL without its path, which may be a secret."""
    parts = parse_url(url)
    return f"{parts.scheme}://{parts.authority}"


def call(http: HttpClient, method: str, url: str, deadline: Deadline, repeatable: bool, **more: t.Any) -> Response:
    """Ask once; anything but a 2xx is a failure that says whether it may be tried again."""
    try:
        response = http.request(method, url, deadline, **more)
    except ProbeFailure as failure:
        sent = bool(failure.facts.get("sent"))
        again = failure.kind != TLS and (repeatable or not sent)
        raise DeliveryFailure(failure.kind, failure.message, again, uncertain=sent) from failure
    if 200 <= response.status < 300:
        return response
    raise refusal(response, peer_of(url), repeatable)


def refusal(response: Response, peer: str, repeatable: bool) -> DeliveryFailure:
    """Say what an HTTP status means for a message."""
    status = response.status
    said = f"{peer} answered {status} ({response.matrix_error()})" if response.body else f"{peer} answered {status}"
    if status in NOT_DONE:
        return DeliveryFailure(REFUSED, said, again=True, wait=asked_wait(response))
    if status >= 500:
        return DeliveryFailure(REFUSED, said, again=repeatable, uncertain=True)
    if 300 <= status < 400:
        return DeliveryFailure(REFUSED, f"{peer} answered {status}; give the address that it leads to")
    return DeliveryFailure(AUTH if status in (401, 403) else REFUSED, said)


def asked_wait(
    response: Response,
    now: t.Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.timezone.utc),
) -> float | None:
    """Return the seconds that a server wants to be left alone, if it says so."""
    if response.retry_after is not None:
        return _seconds(response.retry_after, now)
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return max(0.0, float(json.loads(response.body)["retry_after_ms"]) / 1000)
    return None


def _seconds(text: str, now: t.Callable[[], datetime.datetime]) -> float | None:
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return max(0.0, (moment - now()).total_seconds())


def document_of(response: Response) -> t.Any:
    """Return an answer as JSON; what is no JSON was answered by somebody else."""
    try:
        return response.json()
    except ProbeFailure as failure:
        raise DeliveryFailure(failure.kind, failure.message, uncertain=True) from failure


class Webhook:
    """Slack's incoming webhooks, and what takes the same JSON, such as Mattermost."""

    repeatable = False

    def __init__(self, options: Options, message: Message) -> None:
        self.http = client(options)
        self.url = options["webhook_url"]
        text = shorten(message.text, LONGEST_WEBHOOK)
        self.body = {"text": f"*{slack(message.subject)}*\n{slack(text)}"}

    def destination(self) -> str:
        """Name the server; the path is a secret."""
        return f"a webhook of {peer_of(self.url)}"

    def send(self, deadline: Deadline) -> Delivery:
        """Send it; an answer that says ``"ok": false`` is a no, whatever its status is."""
        response = call(self.http, "POST", self.url, deadline, self.repeatable, body=self.body)
        said: t.Any = None
        with contextlib.suppress(ValueError):
            said = json.loads(response.body)
        if isinstance(said, dict) and said.get("ok") is False:
            raise DeliveryFailure(REFUSED, f"{peer_of(self.url)} says that it is not ok: {said.get('error', '')}")
        return Delivery(f"{peer_of(self.url)} answered {response.status}")


class MatrixRoom:
    """A room of a Matrix homeserver. The server knows a repeat by its transaction id."""

    repeatable = True

    def __init__(self, options: Options, message: Message, transaction: str) -> None:
        self.http = client(options)
        self.base = options["url"].rstrip("/")
        self.room = options["room_id"]
        self.token = options["token"]
        path = f"/_matrix/client/v3/rooms/{quote(self.room)}/send/m.room.message/{quote(transaction)}"
        self.url = self.base + path
        self.body: dict[str, t.Any] = {
            "msgtype": "m.text",
            "body": shorten(f"{message.subject}\n\n{message.text}", LONGEST_MATRIX),
            # Nobody is called by a name that happens to stand in the text.
            "m.mentions": {},
        }
        if message.html and len(message.html) <= LONGEST_MATRIX_HTML:
            formatted = f"<p><strong>{html.escape(message.subject)}</strong></p>\n{message.html}"
            self.body.update(format="org.matrix.custom.html", formatted_body=formatted)

    def destination(self) -> str:
        """Name the room and its server."""
        return f"the room {self.room} at {self.base}"

    def send(self, deadline: Deadline) -> Delivery:
        """Send it; what has an event id is in the room."""
        response = call(self.http, "PUT", self.url, deadline, self.repeatable, token=self.token, body=self.body)
        document = document_of(response)
        event = document.get("event_id") if isinstance(document, dict) else None
        if not isinstance(event, str):
            raise DeliveryFailure(PARSE, f"{self.base} answered without an event id: {response.excerpt()}")
        return Delivery(f"{event} in {self.room}")


class PagerDuty:
    """Events of PagerDuty. It knows a repeat by the key, and makes one incident of both."""

    repeatable = True

    def __init__(self, options: Options, message: Message) -> None:
        self.http = client(options)
        self.url = options.get("url") or PAGERDUTY_URL
        self.body: dict[str, t.Any] = {
            "routing_key": options["routing_key"],
            "event_action": {OPEN: "trigger", ACKNOWLEDGE: "acknowledge", RESOLVE: "resolve"}[message.incident],
            "dedup_key": message.key,
        }
        if message.incident == OPEN:
            self.body.update(_alert(message))

    def destination(self) -> str:
        """Name the server and what is asked of it."""
        return f"{peer_of(self.url)}, to {self.body['event_action']} {self.body['dedup_key']}"

    def send(self, deadline: Deadline) -> Delivery:
        """Send it; only ``success`` is one."""
        response = call(self.http, "POST", self.url, deadline, self.repeatable, body=self.body)
        document = document_of(response)
        if not isinstance(document, dict) or document.get("status") != "success":
            raise DeliveryFailure(PARSE, f"{peer_of(self.url)} does not say success: {response.excerpt()}")
        return Delivery(f"{self.body['event_action']} {self.body['dedup_key']}")


def _alert(message: Message) -> dict[str, t.Any]:
    alert: dict[str, t.Any] = {
        "payload": {
            "summary": shorten(message.subject, LONGEST_SUMMARY),
            "source": message.deployment,
            "severity": message.severity,
            "custom_details": {"state": message.state, "text": shorten(message.text, LONGEST_DETAIL)},
        },
        "client": "matrixon.ops",
    }
    if message.link:
        alert["links"] = [{"href": message.link, "text": "More"}]
    return alert


class StatusPage:
    """Incidents of a page with Statuspage's API.

    Making an incident is not the same twice, so each try looks first for one
    that is not resolved and carries the key.
    """

    repeatable = True

    def __init__(self, options: Options, message: Message) -> None:
        self.http = client(options)
        self.base = (options.get("url") or STATUS_PAGE_URL).rstrip("/")
        self.page = options["page_id"]
        self.headers = {"Authorization": f"OAuth {options['token']}"}
        self.components: list[str] = options.get("component_ids") or []
        self.component_status: str = options.get("component_status") or "partial_outage"
        self.message = message
        # Whether an earlier try may have done it.
        self.acted = False

    def destination(self) -> str:
        """Name the page and what is done there."""
        return f"the page {self.page} at {self.base}, to {self.message.incident} the incident {self.message.key}"

    def send(self, deadline: Deadline) -> Delivery:
        """Make, change or resolve the incident of the key."""
        found = self._find(deadline)
        if found is None and self.message.incident == RESOLVE:
            return Delivery("no incident of this key is open", SENT if self.acted else SKIPPED)
        wanted = self._wanted(found)
        if found is not None and self._says_so(found, wanted):
            return Delivery(f"incident {found.get('id')} says so")
        self.acted = True
        if found is None:
            response = self._ask("POST", "/incidents", deadline, {"incident": {**wanted, **self._of_new()}})
        else:
            response = self._ask("PATCH", f"/incidents/{quote(str(found['id']))}", deadline, {"incident": wanted})
        made = document_of(response)
        if not isinstance(made, dict) or made.get("status") != wanted["status"] or not made.get("id"):
            raise DeliveryFailure(PARSE, f"{self.base} did not take the incident over: {response.excerpt()}")
        return Delivery(f"incident {made['id']} is {made['status']}")

    def _ask(self, method: str, path: str, deadline: Deadline, body: t.Any = None) -> Response:
        url = f"{self.base}/pages/{quote(self.page)}{path}"
        return call(self.http, method, url, deadline, self.repeatable, headers=self.headers, body=body)

    def _find(self, deadline: Deadline) -> dict[str, t.Any] | None:
        for page in range(1, MOST_PAGES + 1):
            query = f"?page={page}&per_page={PER_PAGE}"
            response = self._ask("GET", f"/incidents/unresolved{query}", deadline)
            incidents = document_of(response)
            if not isinstance(incidents, list):
                raise DeliveryFailure(PARSE, f"{self.base} answered without a list: {response.excerpt()}")
            for incident in incidents:
                if isinstance(incident, dict) and _key_of(incident) == self.message.key and incident.get("id"):
                    return incident
            if len(incidents) < PER_PAGE:
                break
        return None

    def _wanted(self, found: dict[str, t.Any] | None) -> dict[str, t.Any]:
        wanted: dict[str, t.Any] = {"status": self._status(found)}
        if self.message.public_text:
            wanted["body"] = shorten(self.message.public_text, LONGEST_PUBLIC)
        if self.message.incident == OPEN:
            wanted["impact_override"] = IMPACT[self.message.severity]
        if self.components and self.message.incident != ACKNOWLEDGE:
            status = "operational" if self.message.incident == RESOLVE else self.component_status
            wanted["component_ids"] = self.components
            wanted["components"] = dict.fromkeys(self.components, status)
        return wanted

    def _status(self, found: dict[str, t.Any] | None) -> str:
        if self.message.incident == RESOLVE:
            return "resolved"
        status = "identified" if self.message.incident == ACKNOWLEDGE else "investigating"
        has = (found or {}).get("status")
        # What people have found out meanwhile is not taken back.
        if has in STATUS_ORDER and STATUS_ORDER.index(has) > STATUS_ORDER.index(status):
            return str(has)
        return status

    def _of_new(self) -> dict[str, t.Any]:
        return {
            "name": shorten(self.message.public_subject, LONGEST_INCIDENT),
            "metadata": {"matrixon_ops": {"key": self.message.key}},
        }

    @staticmethod
    def _says_so(found: dict[str, t.Any], wanted: dict[str, t.Any]) -> bool:
        updates = found.get("incident_updates")
        newest = updates[0] if isinstance(updates, list) and updates and isinstance(updates[0], dict) else {}
        return found.get("status") == wanted["status"] and newest.get("body") == wanted.get("body")


def _key_of(incident: dict[str, t.Any]) -> t.Any:
    metadata = incident.get("metadata")
    ours = metadata.get("matrixon_ops") if isinstance(metadata, dict) else None
    return ours.get("key") if isinstance(ours, dict) else None
