# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Texts made fit for where they go, and kept free of secrets."""

from __future__ import annotations

import re
import typing as t
import unicodedata
import urllib.parse

# A secret that is shorter than this would take ordinary words out of a message.
SHORTEST_SECRET = 6
HIDDEN = "***"
SHORTENED = "... (shortened)"
MENTION = re.compile(r"@(?=(?:here|channel|all|everyone)\b)", re.IGNORECASE)


def one_line(text: str) -> str:
    """Return a text without line ends and control characters, so that it fits into a header."""
    return " ".join("".join(letter for letter in text if letter.isspace() or not _is_control(letter)).split())


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) == "Cc"


def slack(text: str) -> str:
    """Return a text as Slack's markup: nothing in it is a link, a command or a call to everybody."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MENTION.sub("@\u200b", escaped)


def shorten(text: str, limit: int) -> str:
    """Return a text of at most so many characters that says so if it was longer."""
    if len(text) <= limit:
        return text
    return text[: max(0, limit - len(SHORTENED))] + SHORTENED


def secrets_of(options: t.Mapping[str, t.Any]) -> list[str]:
    """Return what must not be told of a channel, longest first.

    Whoever knows the path of a webhook may send to it, and some servers repeat
    the path in their answer.
    """
    found = [str(options[name]) for name in ("token", "routing_key", "password", "webhook_url") if options.get(name)]
    if options.get("webhook_url"):
        parts = urllib.parse.urlsplit(options["webhook_url"])
        words = [*parts.path.split("/"), *(value for _name, value in urllib.parse.parse_qsl(parts.query))]
        found += [parts.path, parts.query, *words]
    found += [urllib.parse.quote(secret, safe="") for secret in found]
    return sorted({secret for secret in found if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True)


def scrub(text: str, secrets: t.Iterable[str]) -> str:
    """Return a text without these secrets."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text
