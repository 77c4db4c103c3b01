# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Sentences for options that cannot be right. Each names the option, the value and the way out."""

from __future__ import annotations

import ssl
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._http import parse_url

LONGEST_WAIT = 86400
LONGEST_SECRET = 4096


def port_errors(option: str, port: int) -> t.Iterator[str]:
    """Yield an error for a number that is no TCP port."""
    if not 1 <= port <= 65535:
        yield f"{option}: {port} is not a port; give a number from 1 to 65535"


def seconds_errors(option: str, seconds: float) -> t.Iterator[str]:
    """Yield an error for a number that is no time to wait; a text may have been "nan"."""
    if not 0 < seconds <= LONGEST_WAIT:
        yield f"{option}: {seconds:g} is no time to wait; give seconds above 0, {LONGEST_WAIT} at most"


def url_errors(option: str, url: str) -> t.Iterator[str]:
    """Yield an error for a text that is no http or https URL."""
    try:
        parse_url(url)
    except ValueError as error:
        yield f"{option}: {url!r} cannot be used: {error}; write for example https://matrix.example.com"


def endpoint_errors(option: str, text: str) -> t.Iterator[str]:
    """Yield an error for a text that is not host:port."""
    host, _colon, port = text.rpartition(":")
    if not host or not port.isdigit():
        yield f"{option}: {text!r} is not host:port; write for example 10.0.0.5:8448"
        return
    yield from port_errors(option, int(port))


def duplicate_errors(option: str, names: t.Sequence[str]) -> t.Iterator[str]:
    """Yield an error for names that stand twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"{option}: {', '.join(twice)} stands there twice; give each its own name"


def trust_errors(where: str, path: str | None) -> t.Iterator[str]:
    """Yield what is wrong with a file of authorities to trust."""
    if not path:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        yield f"{where}: {path} holds no PEM certificate that can be read; give a file with the authorities"
    except OSError as error:
        yield f"{where}: {path} cannot be read: {error.strerror}; give a file with the authorities"


def secret_from(path: str) -> str:
    """Return the secret that a file holds; raise OSError or ValueError."""
    with open(path, encoding="utf-8") as file:
        secret = file.read(LONGEST_SECRET + 1).strip()
    if not secret:
        raise ValueError("the file is empty")
    if len(secret) > LONGEST_SECRET:
        raise ValueError(f"it is longer than {LONGEST_SECRET} letters, so it holds something else")
    return secret
