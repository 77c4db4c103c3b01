# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The words of a notification: what is said, to whom, and how that ended."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

SENT = "sent"
UNCHANGED = "unchanged"
SKIPPED = "skipped"
FAILED = "failed"
# In check mode only.
WOULD_SEND = "would_send"

SEVERITIES = ("info", "warning", "error", "critical")

# What a state means for those who keep incidents.
OPEN = "open"
ACKNOWLEDGE = "acknowledge"
RESOLVE = "resolve"
NONE = "none"
INCIDENT = (NONE, OPEN, ACKNOWLEDGE, RESOLVE)

WEBHOOK = "webhook"
EMAIL = "email"
MATRIX = "matrix"
PAGERDUTY = "pagerduty"
STATUS_PAGE = "status_page"
# Those that keep incidents, and have no use for a message that is about none.
KEEPERS = (PAGERDUTY, STATUS_PAGE)


@dataclass(frozen=True)
class Message:
    """What is said. The public words are for a status page, which everybody can read."""

    key: str
    state: str
    occasion: str
    severity: str
    incident: str
    subject: str
    text: str
    html: str
    public_subject: str
    public_text: str
    link: str
    deployment: str


@dataclass(frozen=True)
class Channel:
    """A way to tell somebody. ``options`` are those of its type."""

    name: str
    type: str
    options: t.Mapping[str, t.Any]
    min_severity: str
    states: tuple[str, ...]
    timeout: float


class Delivery(t.NamedTuple):
    """How a channel took a message: sent, or skipped where there was nothing to tell it."""

    message: str
    status: str = SENT


class DeliveryFailure(Exception):
    """A channel did not take a message.

    ``again`` says that a repeat can do no harm, and ``wait`` for how long the
    other side wants to be left alone. ``uncertain`` is a message that may have
    been delivered none the less.
    """

    def __init__(
        self, kind: str, message: str, again: bool = False, wait: float | None = None, uncertain: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.again = again
        self.wait = wait
        self.uncertain = uncertain


class Sender(t.Protocol):
    """One message on its way to one channel.

    ``repeatable`` says that it may be sent again whatever became of it.
    """

    repeatable: bool

    def destination(self) -> str:
        """Say to whom it goes, without secrets."""

    def send(self, deadline: Deadline) -> Delivery:
        """Try once; raise DeliveryFailure."""


@dataclass(frozen=True)
class Result:
    """How the telling of one channel ended."""

    channel: str
    type: str
    status: str
    message: str
    error_kind: str | None = None
    uncertain: bool = False
    tries: tuple[dict[str, t.Any], ...] = ()
    duration_ms: int = 0

    def as_dict(self) -> dict[str, t.Any]:
        """Return what the module returns of it."""
        return {
            "channel": self.channel,
            "type": self.type,
            "status": self.status,
            "message": self.message,
            "error_kind": self.error_kind,
            "uncertain": self.uncertain,
            "attempts": len(self.tries),
            "duration_ms": self.duration_ms,
        }
