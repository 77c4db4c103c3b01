# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Whether what people need on the day is still true: links, contacts, shifts, reports of drills, the age of secrets."""

from __future__ import annotations

import datetime
import glob
import json
import os
import re
import time
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, parse_url
from ansible_collections.matrixon.ops.plugins.module_utils._human import span
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    DNS,
    MISSING_TOOL,
    PARSE,
    Deadline,
    Facts,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import failure_of
from ansible_collections.matrixon.ops.plugins.module_utils._report import (
    OK,
    SKIPPED,
    UNKNOWN,
    WARNING,
    CheckResult,
)

try:
    import dns.exception
    import dns.resolver
except ImportError:
    HAS_DNSPYTHON = False
else:
    HAS_DNSPYTHON = True

DAY = 86400.0
MAIL = re.compile(r"^[^@\s]+@([A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)+)$")
# E.164, with the spaces and signs that people write between the digits.
PHONE = re.compile(r"^\+[1-9][0-9 ().-]{5,20}[0-9]$")
MOVED = (301, 302, 303, 307, 308)
NO_HEAD = (403, 405, 501)

MxLookup = t.Callable[[str, Deadline], list[str]]


def look_up_mx(domain: str, deadline: Deadline) -> list[str]:
    """Return the mail servers of a domain; none where it has no MX record."""
    if not HAS_DNSPYTHON:
        raise ProbeFailure(MISSING_TOOL, "the Python library dnspython is missing, so no mail server can be looked up")
    try:
        answer = dns.resolver.Resolver().resolve(domain, "MX", lifetime=deadline.require(f"MX of {domain}"))
        return [str(record.exchange).rstrip(".") for record in answer]
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.DNSException as error:
        raise ProbeFailure(DNS, f"MX of {domain}: {type(error).__name__}") from error


def problems(options: Facts) -> list[str]:
    """Return what cannot be right, a sentence each."""
    found = []
    for link in options["links"]:
        try:
            parse_url(link)
        except ValueError as error:
            found.append(f"links: '{link}': {error}")
    for place, contact in enumerate(options["contacts"], 1):
        if not contact.get("name") or not (contact.get("email") or contact.get("phone")):
            found.append(f"contacts: entry {place} needs a name, and an email or a phone")
    for place, shift in enumerate(options["escalation"], 1):
        if not shift.get("shift") or not isinstance(shift.get("people", []), list):
            found.append(f"escalation: entry {place} needs a shift, and a list of people")
    for key, names in (("reports", ("path",)), ("secret_files", ("paths",))):
        for place, entry in enumerate(options[key], 1):
            if not all(entry.get(name) for name in names) or not _positive(entry.get("max_days")):
                found.append(f"{key}: entry {place} needs {names[0]}, and max_days of more than 0")
    return found


def _positive(value: t.Any) -> bool:
    try:
        return float(value) > 0
    except (TypeError, ValueError):
        return False


def review(
    options: Facts, client: HttpClient, mx: MxLookup = look_up_mx, now: float | None = None
) -> list[CheckResult]:
    """Return a check for each link, contact, shift, report and secret file."""
    deadline = Deadline(options["deadline"])
    moment = time.time() if now is None else now
    checks = [_check("link", link, link_state, link, client, deadline, options) for link in options["links"]]
    for one in options["contacts"]:
        checks.append(_check("contact", one["name"], contact_state, one, mx, deadline, options))
    checks += [_check("escalation", one["shift"], shift_state, one, options) for one in options["escalation"]]
    checks += [_check("report_age", one["path"], report_state, one, moment) for one in options["reports"]]
    for entry in options["secret_files"]:
        checks += [_check("secret_age", path, secret_state, path, entry, moment) for path in files_of(entry["paths"])]
    return checks or [_nothing(options)]


def _nothing(options: Facts) -> CheckResult:
    """Say why there was nothing to look at."""
    if options["secret_files"]:
        reason = "there is none of these files on this host"
    else:
        reason = "nothing is named to review; give links, contacts, escalation or reports"
    return CheckResult("document", options["target"], SKIPPED, reason, skipped_reason=reason)


def _check(name: str, target: t.Any, probe: t.Callable[..., tuple[str, str]], *given: t.Any) -> CheckResult:
    try:
        status, message = probe(*given)
        return CheckResult(f"document_{name}", str(target), status, message)
    except ProbeFailure as failure:
        return CheckResult(f"document_{name}", str(target), UNKNOWN, failure.message, error_kind=failure.kind)


def link_state(link: str, client: HttpClient, deadline: Deadline, options: Facts) -> tuple[str, str]:
    """Ask for a page, and follow where it moved to."""
    url, limit = link, deadline.within(options["timeout"])
    for _step in range(5):
        try:
            answer = client.request("HEAD", url, limit)
            if answer.status in NO_HEAD:
                answer = client.request("GET", url, limit)
        except ProbeFailure as failure:
            # A runbook that nobody can open is a bad fact, whatever the reason; only time may be this host's fault.
            if failure.kind == "timeout":
                raise
            return WARNING, f"it cannot be opened: {failure.message}"
        if answer.status in MOVED and answer.location and answer.location.startswith("http"):
            url = answer.location
            continue
        if answer.status < 400 or answer.status in (401, 403):
            return OK, f"it answers {answer.status}"
        return WARNING, f"it answers {answer.status}"
    return WARNING, "it leads from page to page without an end"


def contact_state(contact: Facts, mx: MxLookup, deadline: Deadline, options: Facts) -> tuple[str, str]:
    """Say whether a contact can be right: a mail domain with a server, a phone number that can be called from afar."""
    parts, wrong = [], []
    mail, phone = str(contact.get("email") or ""), str(contact.get("phone") or "")
    if mail:
        match = MAIL.match(mail)
        servers = mx(match.group(1), deadline.within(options["timeout"])) if match else []
        if not match:
            wrong.append(f"'{mail}' is no mail address")
        elif not servers:
            wrong.append(f"the domain of {mail} has no mail server (MX)")
        else:
            parts.append(f"{mail} goes to {servers[0]}")
    if phone:
        if PHONE.match(phone):
            parts.append("the phone number is whole; only a call shows who answers")
        else:
            wrong.append(f"'{phone}' is no phone number with a country, such as +49 30 123456")
    return (WARNING, "; ".join(wrong)) if wrong else (OK, "; ".join(parts))


def shift_state(shift: Facts, options: Facts) -> tuple[str, str]:
    """Say whether somebody is called in a shift, and whether they are among the contacts."""
    people = [str(name) for name in shift.get("people") or []]
    if not people:
        return WARNING, "nobody is called in this shift"
    known = {str(contact["name"]) for contact in options["contacts"]}
    strangers = [name for name in people if name not in known]
    if strangers:
        return WARNING, f"not among the contacts: {', '.join(strangers)}"
    return OK, f"{', '.join(people)}"


def report_state(entry: Facts, now: float) -> tuple[str, str]:
    """Say how old a report is, by the time that stands in it, and how it ended."""
    path, most = str(entry["path"]), float(entry["max_days"]) * DAY
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        finished = document.get("finished") or document["generated"]
        moment = datetime.datetime.fromisoformat(str(finished).replace("Z", "+00:00")).timestamp()
    except FileNotFoundError:
        return WARNING, "there is no such report; it was never done, or its reports are elsewhere"
    except OSError as error:
        raise failure_of(error) from error
    except (ValueError, KeyError, AttributeError) as error:
        raise ProbeFailure(PARSE, f"it is no report ({type(error).__name__}: {error})") from error
    age, status = now - moment, str(document.get("status"))
    if status not in (OK, WARNING):
        return WARNING, f"the last one, {span(age)} ago, ended as {status}"
    return (WARNING if age > most else OK), f"the last one was {span(age)} ago; {entry['max_days']} days are allowed"


def files_of(patterns: t.Iterable[str]) -> list[str]:
    """Return the files that there are."""
    found = {path for pattern in patterns for path in glob.glob(str(pattern)) if os.path.isfile(path)}
    return sorted(found)


def secret_state(path: str, entry: Facts, now: float) -> tuple[str, str]:
    """Say how old a secret is, by the time of its file. Nothing of it is read."""
    try:
        age = now - os.stat(path).st_mtime
    except OSError as error:
        raise failure_of(error) from error
    old = age > float(entry["max_days"]) * DAY
    text = f"its file was written {span(max(0.0, age))} ago; {entry['max_days']} days are allowed"
    return (WARNING if old else OK), text
