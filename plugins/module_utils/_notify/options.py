# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""From module options to channels and a message. What cannot be right is refused at once, with the way out."""

from __future__ import annotations

import difflib
import email.utils
import ipaddress
import os
import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    duplicate_errors,
    port_errors,
    seconds_errors,
    trust_errors,
    url_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._http import parse_url
from ansible_collections.matrixon.ops.plugins.module_utils._notify.mail import CLEAR, IMPLICIT_TLS, STARTTLS
from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import (
    EMAIL,
    MATRIX,
    PAGERDUTY,
    SEVERITIES,
    STATUS_PAGE,
    WEBHOOK,
    Channel,
    Message,
)
from ansible_collections.matrixon.ops.plugins.module_utils._notify.text import one_line
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.options import name_errors

Options = dict[str, t.Any]

LONGEST_KEY = 200
LONGEST_STATE = 64
LONGEST_SUBJECT = 200
MOST_ATTEMPTS = 10
SECURITY = (STARTTLS, IMPLICIT_TLS, CLEAR)
COMPONENT_STATUS = ("degraded_performance", "partial_outage", "major_outage", "under_maintenance")
ADDRESS = re.compile(r"[^@\s<>(),;:\"\\\[\]]+@[A-Za-z0-9.-]+")
ROOM = re.compile(r"![!-~]+")
WORD = re.compile(r"[!-~]+")

# No option is required and none has choices here: Ansible would name the first mistake only. errors() names all.
CHANNEL_SPEC: dict[str, t.Any] = dict(
    name=dict(type="str"),
    type=dict(type="str"),
    webhook_url=dict(type="str", no_log=True),
    url=dict(type="str"),
    token=dict(type="str", no_log=True),
    room_id=dict(type="str"),
    routing_key=dict(type="str", no_log=True),
    page_id=dict(type="str"),
    component_ids=dict(type="list", elements="str"),
    component_status=dict(type="str"),
    host=dict(type="str"),
    port=dict(type="int"),
    security=dict(type="str"),
    username=dict(type="str"),
    password=dict(type="str", no_log=True),
    sender=dict(type="str"),
    recipients=dict(type="list", elements="str"),
    ca_file=dict(type="path"),
    allow_http=dict(type="bool"),
    min_severity=dict(type="str"),
    states=dict(type="list", elements="str"),
    timeout=dict(type="float"),
)
COMMON = ("name", "type", "min_severity", "states", "timeout", "ca_file")
REQUIRED = {
    WEBHOOK: ("webhook_url",),
    MATRIX: ("url", "token", "room_id"),
    PAGERDUTY: ("routing_key",),
    STATUS_PAGE: ("page_id", "token"),
    EMAIL: ("host", "sender", "recipients"),
}
OPTIONAL = {
    WEBHOOK: ("allow_http",),
    MATRIX: ("allow_http",),
    PAGERDUTY: ("url", "allow_http"),
    STATUS_PAGE: ("url", "allow_http", "component_ids", "component_status"),
    EMAIL: ("port", "security", "username", "password"),
}
SECRETS = ("webhook_url", "token", "routing_key", "password")


def message_of(options: Options) -> Message:
    """Return what is said. What goes into headers and titles becomes one line."""
    subject = one_line(options["subject"])
    return Message(
        key=options["key"],
        state=options["state"],
        occasion=options["occasion"],
        severity=options["severity"],
        incident=options["incident"],
        subject=subject,
        text=options["text"].strip(),
        html=options["html"].strip(),
        public_subject=one_line(options["public_subject"]) or subject,
        public_text=options["public_text"].strip(),
        link=options["link"],
        deployment=options["deployment"],
    )


def channels_of(options: Options) -> list[Channel]:
    """Return the channels with their defaults."""
    return [
        Channel(
            name=given["name"],
            type=given["type"],
            options=given,
            min_severity=given["min_severity"] or SEVERITIES[0],
            states=tuple(given["states"] or ()),
            timeout=given["timeout"] or options["timeout"],
        )
        for given in options["channels"]
    ]


def check(options: Options) -> None:
    """Refuse options that cannot be right, with all that is wrong at once."""
    found = list(errors(options))
    if found:
        raise OptionErrors(found)


def errors(options: Options) -> t.Iterator[str]:
    """Yield everything that cannot be right, before anybody is told."""
    for name in ("deployment", "profile"):
        if not options[name].strip():
            yield f"{name}: it is empty; give the name that is to stand in the report"
    yield from _word_errors("key", options["key"], LONGEST_KEY, "what it is about, such as dr_failover/example.com")
    yield from _word_errors("state", options["state"], LONGEST_STATE, "one word, such as started")
    if options["occasion"]:
        yield from _word_errors("occasion", options["occasion"], LONGEST_STATE, "one word, such as the id of a run")
    for name in ("subject", "text"):
        if not options[name].strip():
            yield f"{name}: it is empty; say what happened"
    if len(one_line(options["subject"])) > LONGEST_SUBJECT:
        yield f"subject: it has {len(one_line(options['subject']))} letters; give {LONGEST_SUBJECT} at most"
    if options["link"]:
        yield from url_errors("link", options["link"])
    yield from seconds_errors("timeout", options["timeout"])
    if not 1 <= options["attempts"] <= MOST_ATTEMPTS:
        yield f"attempts: {options['attempts']} cannot be; give a number from 1 to {MOST_ATTEMPTS}"
    if not os.path.isabs(options["state_dir"]):
        yield f"state_dir: {options['state_dir']!r} is no absolute path; give one that begins with / or ~"
    yield from channels_errors(options["channels"], options["to"])


def channels_errors(channels: list[Options], chosen: list[str]) -> t.Iterator[str]:
    """Yield what is wrong with the channels, and with the choice of some of them."""
    if not channels:
        yield "channels: there is nobody to tell; give at least one"
    for number, given in enumerate(channels):
        where = f"channels[{number}]" + (f" ({given['name']})" if given["name"] else "")
        yield from channel_errors(where, given)
    names = [given["name"] for given in channels if given["name"]]
    yield from duplicate_errors("channels", names)
    for name in chosen:
        if name not in names:
            yield f"to: {name!r} is no channel; {_known(name, names)}"


def channel_errors(where: str, given: Options) -> t.Iterator[str]:
    """Yield what is wrong with one channel."""
    if not (given["name"] or "").strip() or one_line(given["name"]) != given["name"]:
        yield f"{where}: name: give it a name of one line, by which the report calls it"
    kind = given["type"]
    if kind not in REQUIRED:
        said = "it is missing" if kind is None else f"{kind!r} is not known"
        yield f"{where}: type: {said}; {_known(kind or '', list(REQUIRED))}"
        return
    for name in REQUIRED[kind]:
        if not given[name]:
            yield f"{where}: {name}: it is missing or empty; the type {kind} needs it"
    allowed = {*COMMON, *REQUIRED[kind], *OPTIONAL[kind]}
    strange = [name for name in CHANNEL_SPEC if given[name] is not None and name not in allowed]
    if strange:
        known = ", ".join(sorted(allowed - set(COMMON)))
        yield f"{where}: {', '.join(strange)}: the type {kind} has no such option; it has {known}"
    yield from _common_errors(where, given)
    yield from _url_errors(where, given, "url", show=True)
    yield from _url_errors(where, given, "webhook_url", show=False)
    if kind == EMAIL:
        yield from _mail_errors(where, given)
    elif kind == MATRIX and given["room_id"] and not ROOM.fullmatch(given["room_id"]):
        example = "!abc:example.com; an alias, with #, can be given to another room"
        yield f"{where}: room_id: {given['room_id']!r} is no room id; give one such as {example}"
    elif kind == STATUS_PAGE and given["component_status"] not in (None, *COMPONENT_STATUS):
        known = _known(given["component_status"], list(COMPONENT_STATUS))
        yield f"{where}: component_status: {given['component_status']!r} is not known; {known}"


def _common_errors(where: str, given: Options) -> t.Iterator[str]:
    if given["min_severity"] not in (None, *SEVERITIES):
        yield (
            f"{where}: min_severity: {given['min_severity']!r} is not known; "
            f"{_known(given['min_severity'], list(SEVERITIES))}"
        )
    if given["states"] is not None and not given["states"]:
        yield f"{where}: states: the list is empty, so it would never be told; leave it out, or give states"
    if given["timeout"] is not None:
        yield from seconds_errors(f"{where}: timeout", given["timeout"])
    yield from trust_errors(f"{where}: ca_file", given["ca_file"])
    for name in SECRETS:
        # Both become part of a line of ASCII in some protocol.
        if given[name] and not WORD.fullmatch(given[name]) and (name != "password" or not given[name].isascii()):
            yield f"{where}: {name}: it holds letters that cannot be sent; give ASCII without spaces and line ends"


def _url_errors(where: str, given: Options, name: str, show: bool) -> t.Iterator[str]:
    if not given[name]:
        return
    # The address of a webhook is as good as a password.
    value = f"{given[name]!r} cannot be used" if show else "it cannot be used"
    try:
        url = parse_url(given[name])
    except ValueError as error:
        yield f"{where}: {name}: {value}: {error}"
        return
    if url.scheme == "http" and not is_loopback(url.host) and not given["allow_http"]:
        yield f"{where}: {name}: {value}: http would show it to everybody on the way; give https, or allow_http: true"


def _mail_errors(where: str, given: Options) -> t.Iterator[str]:
    if given["host"]:
        yield from name_errors(f"{where}: host", given["host"])
    if given["port"] is not None:
        yield from port_errors(f"{where}: port", given["port"])
    if given["security"] not in (None, *SECURITY):
        yield f"{where}: security: {given['security']!r} is not known; {_known(given['security'], list(SECURITY))}"
    if bool(given["username"]) != bool(given["password"]):
        yield f"{where}: username and password: give both or none"
    if given["username"] and (not given["username"].isascii() or one_line(given["username"]) != given["username"]):
        yield f"{where}: username: it holds letters that cannot be sent; give ASCII"
    if given["security"] == CLEAR and given["password"] and not is_loopback(given["host"] or ""):
        yield f"{where}: security: with none the password would go in clear; give starttls or tls"
    sender = given["sender"]
    if sender and (one_line(sender) != sender or not ADDRESS.fullmatch(email.utils.parseaddr(sender)[1])):
        yield f"{where}: sender: {sender!r} is no address; give for example Operations <ops@example.com>"
    for number, recipient in enumerate(given["recipients"] or ()):
        if not ADDRESS.fullmatch(recipient) or not recipient.isascii():
            yield f"{where}: recipients[{number}]: {recipient!r} is no address; give for example ops@example.com"


def _word_errors(name: str, text: str, longest: int, example: str) -> t.Iterator[str]:
    if not WORD.fullmatch(text) or len(text) > longest:
        yield f"{name}: {text!r} cannot be used; give {example}, in at most {longest} ASCII letters without spaces"


def is_loopback(host: str) -> bool:
    """Tell if a name or address is this machine and no other."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _known(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known)) or 'none'}"
