# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The homeserver: does it answer, does it read and write its database, what is it."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _command, _matrix
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Context,
    Facts,
    Limits,
    Plan,
    Probe,
    Skip,
    Verdict,
    grade,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import (
    duplicate_errors,
    seconds_errors,
    url_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    REFUSED,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import OK, SELF_REPORT, WARNING

SPEC: dict[str, t.Any] = dict(
    instances=dict(
        type="list",
        elements="dict",
        default=[],
        options=dict(name=dict(type="str", required=True), url=dict(type="str", required=True)),
    ),
    public_url=dict(type="str"),
    room_id=dict(type="str"),
    sender_token=dict(type="str", no_log=True),
    sender_token_file=dict(type="path", no_log=False),
    reader_token=dict(type="str", no_log=True),
    reader_token_file=dict(type="path", no_log=False),
    canary_timeout=dict(type="float", default=10.0),
    self_report_path=dict(type="str"),
    self_report_command=dict(type="list", elements="str", default=[]),
)


def _judge_client_api(facts: Facts, limits: Limits) -> Verdict:
    return grade(
        facts["ms"], limits, f"{facts['name']} answered with {facts['versions']} versions in {facts['ms']:.0f} ms"
    )


def _judge_database_read(facts: Facts, limits: Limits) -> Verdict:
    return grade(facts["ms"], limits, f"{facts['name']} read room history from its database in {facts['ms']:.0f} ms")


def _judge_canary(facts: Facts, limits: Limits) -> Verdict:
    return grade(facts["ms"], limits, f"the canary was delivered to a second user in {facts['ms']:.0f} ms")


def _judge_self_report(facts: Facts, limits: Limits) -> Verdict:
    return Verdict(OK if facts["good"] else WARNING, facts["said"])


def _judge_versions(facts: Facts, limits: Limits) -> Verdict:
    versions: dict[str, str] = facts["found"]
    distinct = sorted(set(versions.values()))
    if len(distinct) == 1:
        return Verdict(OK, f"all {len(versions)} instances run {distinct[0]}")
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return Verdict(WARNING, f"the instances run different versions: {listed}")


CLIENT_API = Check(
    "client_api",
    "the client API answers with its list of versions",
    _judge_client_api,
    unit="ms",
    warning=50,
    critical=1000,
    gate=True,
)
DATABASE_READ = Check(
    "database_read",
    "room history is read from the database through each instance",
    _judge_database_read,
    unit="ms",
    warning=250,
    critical=2000,
    gate=True,
)
CANARY = Check(
    "canary",
    "a marker message sent through the public address reaches a second user",
    _judge_canary,
    unit="ms",
    warning=1000,
    gate=True,
)
VERSIONS = Check("instance_versions", "all instances of this host run the same version", _judge_versions, fixed=True)
SELF_REPORTED = Check(
    "self_report",
    "what the homeserver says of itself: shown, never trusted",
    _judge_self_report,
    source=SELF_REPORT,
    fixed=True,
)
CHECKS = (CLIENT_API, DATABASE_READ, CANARY, VERSIONS, SELF_REPORTED)

NO_ROOM = "no canary room is configured (room_id)"
NO_READER = "no token to read the canary room with (reader_token)"
NO_SENDER = "no token to write to the canary room with (sender_token)"


def validate(options: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield what is wrong with the options."""
    instances = options["instances"]
    yield from duplicate_errors("homeserver.instances", [instance["name"] for instance in instances])
    for index, instance in enumerate(instances):
        yield from url_errors(f"homeserver.instances[{index}].url", instance["url"])
    if options["public_url"]:
        yield from url_errors("homeserver.public_url", options["public_url"])
    elif not instances:
        yield "homeserver: neither instances nor public_url is given, so there is nothing to ask; give one of them"
    yield from seconds_errors("homeserver.canary_timeout", options["canary_timeout"])
    path = options["self_report_path"]
    if path and not path.startswith("/"):
        yield f"homeserver.self_report_path: {path!r} is not a path of the homeserver; begin it with /"
    room_id = options["room_id"]
    if room_id and not room_id.startswith("!"):
        yield f"homeserver.room_id: {room_id!r} is not a room id; it starts with '!' (an alias starts with '#')"


def plan(options: dict[str, t.Any], context: Context) -> Plan:
    """Return a probe for each thing to ask of each instance and of the public address."""
    entries: Plan = []
    http = context.http
    for instance in options["instances"]:
        entries.append(_api_probe(http, instance["name"], instance["url"]))
        entries.append(_read_probe(http, instance, options))
        if options["self_report_path"]:
            entries.append(_self_report_probe(http, instance, options["self_report_path"]))
    if options["instances"]:
        entries.append(_versions_probe(http, options["instances"]))
    if options["self_report_command"]:
        entries.append(_command_probe(options["self_report_command"]))
    if options["public_url"]:
        entries.append(_api_probe(http, options["public_url"], options["public_url"]))
        entries.append(_canary_probe(http, options, context.now))
    return entries


def _api_probe(http: HttpClient, name: str, url: str) -> Probe:
    def run(deadline: Deadline) -> Facts:
        # All probes start at once, so the first answer may have waited for this
        # host and not for the server. The better of two is nearer to the truth.
        client = _matrix.Client(http, url)
        versions, first = client.versions(deadline)
        _again, second = client.versions(deadline)
        return {"name": name, "versions": len(versions), "ms": min(first, second)}

    return Probe(name, (CLIENT_API,), run)


def _read_probe(http: HttpClient, instance: dict[str, str], options: dict[str, t.Any]) -> Probe | Skip:
    room_id, token, name = options["room_id"], options["reader_token"], instance["name"]
    if not room_id or not token:
        return Skip(DATABASE_READ, name, NO_READER if room_id else NO_ROOM)

    def run(deadline: Deadline) -> Facts:
        client = _matrix.Client(http, instance["url"], token)
        ms = _matrix.stage("room history cannot be read", client.newest_events, room_id, deadline)
        return {"name": name, "ms": ms}

    return Probe(name, (DATABASE_READ,), run, heavy=True)


def _canary_probe(http: HttpClient, options: dict[str, t.Any], now: datetime.datetime) -> Probe | Skip:
    url, room_id = options["public_url"], options["room_id"]
    for value, reason in (
        (room_id, NO_ROOM),
        (options["sender_token"], NO_SENDER),
        (options["reader_token"], NO_READER),
    ):
        if not value:
            return Skip(CANARY, url, reason)

    def run(deadline: Deadline) -> Facts:
        sender = _matrix.Client(http, url, options["sender_token"])
        reader = _matrix.Client(http, url, options["reader_token"])
        event_id, ms = _matrix.deliver_marker(sender, reader, room_id, int(now.timestamp() * 1000), deadline)
        return {"ms": ms, "report": {"canary": {"event_id": event_id, "room_id": room_id}}}

    return Probe(url, (CANARY,), run, timeout=options["canary_timeout"], heavy=True)


def _versions_probe(http: HttpClient, instances: list[dict[str, str]]) -> Probe:
    def run(deadline: Deadline) -> Facts:
        found = {}
        for instance in instances:
            name, version = _matrix.Client(http, instance["url"]).server_version(deadline)
            found[instance["name"]] = f"{name} {version}"
        versions = sorted(set(found.values()))
        return {"found": found, "report": {"versions": {"homeserver": versions[0] if len(versions) == 1 else versions}}}

    return Probe("instances", (VERSIONS,), run, heavy=True)


def _self_report_probe(http: HttpClient, instance: dict[str, str], path: str) -> Probe:
    url = instance["url"].rstrip("/") + path

    def run(deadline: Deadline) -> Facts:
        response = http.request("GET", url, deadline)
        good = 200 <= response.status < 300
        return {"good": good, "said": f"{path} answered {response.status}: {response.excerpt()}"}

    return Probe(instance["name"], (SELF_REPORTED,), run)


def _command_probe(argv: list[str]) -> Probe:
    shown = " ".join(argv)

    def run(deadline: Deadline) -> Facts:
        known = _command.run([*argv, "--help"], deadline)
        if known.code != 0:
            raise ProbeFailure(REFUSED, f"'{shown} --help' ended with {known.code}: {argv[0]} has no such subcommand")
        result = _command.run(argv, deadline)
        first = next(iter(result.out.strip().splitlines()), "nothing")
        return {
            "good": result.code == 0,
            "said": f"'{shown}' ended with {result.code} and says: {first[:120]}",
        }

    return Probe(shown, (SELF_REPORTED,), run)
