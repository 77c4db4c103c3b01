# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What the role dns is to do: from its variables and what the name servers say now to the changes. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._dns import model
from ansible_collections.matrixon.ops.plugins.module_utils._dns.model import TYPES, Wanted, normal_name, wanted_of
from ansible_collections.matrixon.ops.plugins.module_utils._dns.options import (
    LONGEST_TTL,
    records_errors,
    servers_errors,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import seconds_errors
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.resolver import parse_server

Settings = dict[str, t.Any]
Entry = dict[str, t.Any]

DRIVERS = ("nsupdate", "route53", "cloudflare", "hook")
KEYS = ("name", "type", "values", "ttl")
# Cloudflare takes 1 for what it chooses itself, and from 60 on for all others.
CLOUDFLARE_LEAST_TTL = 60


def plan(settings: Settings, seen: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Return what is wrong, what is wanted and to be looked at, and, once it was looked at, what is to be changed."""
    wrong = list(problems(settings))
    if wrong:
        return {
            "problems": wrong,
            "wanted": [],
            "look": [],
            "changes": [],
            "tried": [],
            "held_seconds": 0,
            "master": {},
        }
    wanted = [wanted_of(given) for given in _records(settings)]
    found = {(one["name"], one["type"]): one for one in (seen or {}).get("records") or []}
    known = [record for record in wanted if (record.name, record.type) in found]
    changes = [_entry(record, found) for record in known if not found[record.name, record.type]["settled"]]
    moved = [one for one in changes if one["before"]["values"] != one["values"]]
    return {
        "problems": [text for record in known for text in _hindrances(record, found, settings)],
        "wanted": [_as_dict(record) for record in wanted],
        "look": [_as_dict(record) for record in (*wanted, *_beside(wanted))],
        "changes": changes,
        "tried": list(
            {one["zone"]: one for one in (_entry(record, found) for record in known) if one["zone"]}.values()
        ),
        "held_seconds": max((one["before"]["ttl"] or 0 for one in moved), default=0),
        "master": _master(settings),
    }


def _master(settings: Settings) -> Entry:
    """Return the server that takes changes by nsupdate."""
    if settings["driver"] != "nsupdate" or not settings["act"]:
        return {}
    parsed = parse_server(settings["nsupdate"]["server"])
    return {"address": parsed.address, "port": parsed.port}


def result(planned: t.Mapping[str, t.Any], proven: t.Mapping[str, t.Any], changed: bool) -> dict[str, t.Any]:
    """Return what came of it, with what every server says now beside what was said before."""
    before = {(one["name"], one["type"]): one["before"] for one in planned["changes"]}
    after = {(one["name"], one["type"]): one for one in proven.get("records") or []}
    records = []
    for one in planned["wanted"]:
        key = (one["name"], one["type"])
        now = after.get(key, one)
        last = {"values": now["values"], "ttl": now["ttl"]}
        records.append(
            {**{name: one[name] for name in ("name", "type")}, "before": before.get(key, last), "after": last}
        )
    return {
        "changed": changed,
        "settled": proven.get("settled", not planned["changes"]),
        "seconds": proven.get("seconds", 0.0),
        "held_seconds": planned["held_seconds"],
        "records": records,
        "message": "; ".join(one["message"] for one in after.values() if not one["settled"]),
    }


def _as_dict(record: Wanted) -> Entry:
    return {"name": record.name, "type": record.type, "values": list(record.values), "ttl": record.ttl}


def _records(settings: Settings) -> list[Entry]:
    """Return the records with their defaults."""
    return [
        {
            "name": str(given["name"]),
            "type": given.get("type") or "A",
            "values": [str(value) for value in given["values"]],
            "ttl": int(given["ttl"] if given.get("ttl") is not None else settings["ttl"]),
        }
        for given in settings["records"]
    ]


def _beside(wanted: list[Wanted]) -> list[Wanted]:
    """Return the addresses that stand in the way of aliases: a name has either."""
    return [Wanted(record.name, kind) for record in wanted if record.type == "CNAME" for kind in ("A", "AAAA")]


def _entry(record: Wanted, found: dict[tuple[str, str], Entry]) -> Entry:
    now = found[record.name, record.type]
    gone = [value for value in now["values"] if value not in record.values]
    before = {"values": now["values"], "ttl": now["ttl"]}
    return {**_as_dict(record), "zone": now["zone"], "before": before, "stale": gone}


def _hindrances(record: Wanted, found: dict[tuple[str, str], Entry], settings: Settings) -> t.Iterator[str]:
    """Yield why a record cannot be changed, or the change not be proven."""
    now = found[record.name, record.type]
    where = f"dns_records: {record.label}"
    if now["zone"] is None:
        yield f"{where} cannot be looked at: {now['message']}; see dns_servers and dns_resolvers"
        return
    accepted = {_endpoint(text) for text in settings["accept_silent"]}
    unseen = [one for one in now["answers"] if one["outcome"] in model.UNSEEN and one["address"] not in accepted]
    reached = {one["server"].split(" ")[0] for one in now["answers"] if one["outcome"] != model.NO_IPV6}
    for one in unseen:
        if one["outcome"] == model.NO_IPV6 and one["server"].split(" ")[0] in reached:
            continue
        yield (
            f"{where} cannot be proven at {one['server']}: {one['message']}; mend that, or name it in "
            "dns_accept_silent if it is lost"
        )
    for one in now["answers"]:
        if one["outcome"] not in (model.ANSWERED, *model.ABSENT, *model.UNSEEN):
            yield f"{where} cannot be proven at {one['server']}: {one['message']}; mend its servers first"
    aliases: list[str] = next(
        (one["aliases"] for one in now["answers"] if one["aliases"] and one["name"] == record.name), []
    )
    if record.type != "CNAME" and aliases:
        yield f"{where}: the name is an alias of {aliases[0]}; give a CNAME record, or the name that it leads to"
    if record.type == "CNAME" and record.name == now["zone"]:
        yield f"{where}: the name is the top of its zone, which can be no alias; give A and AAAA records"
    for kind in ("A", "AAAA"):
        beside = found.get((record.name, kind))
        if record.type == "CNAME" and beside and any(_has_address(one, record.name) for one in beside["answers"]):
            yield f"{where}: the name has {kind} records, so it can be no alias; give those, or remove them by hand"


def _has_address(answer: Entry, name: str) -> bool:
    return answer["name"] == name and answer["outcome"] == model.ANSWERED and not answer["aliases"]


def _endpoint(text: str) -> str:
    parsed = parse_server(text)
    return model.Server(parsed.address, parsed.port).endpoint


# --- what is wrong with the variables


def problems(settings: Settings) -> t.Iterator[str]:
    """Yield everything that cannot be right, before anything is contacted."""
    yield from _record_problems(settings)
    for name in ("servers", "resolvers", "accept_silent"):
        yield from servers_errors([str(text) for text in settings[name]], f"dns_{name}")
    for name in ("timeout", "server_timeout"):
        yield from _seconds(f"dns_{name}", settings[name])
    driver = settings["driver"]
    if not settings["act"]:
        return
    if driver not in DRIVERS:
        yield f"dns_driver: {driver!r} is none; give one of {', '.join(DRIVERS)}"
        return
    if settings["collection"] and not settings["installed"]:
        collection = settings["collection"]
        yield (
            f"dns_driver: {driver} needs the collection {collection}, which is not installed; run "
            f"ansible-galaxy collection install {collection} on the controller, or choose another driver"
        )
    yield from {"nsupdate": _nsupdate, "route53": _route53, "cloudflare": _cloudflare, "hook": _hook}[driver](settings)


def _record_problems(settings: Settings) -> t.Iterator[str]:
    bad = list(_ttl("dns_ttl", settings["ttl"]))
    for number, given in enumerate(settings["records"]):
        where = f"dns_records[{number}]"
        unknown = sorted(set(given) - set(KEYS))
        if unknown:
            bad.append(f"{where}: {', '.join(unknown)} is not known; give {', '.join(KEYS)}")
        if not given.get("name"):
            bad.append(f"{where}.name: it is missing; give for example matrix.example.com")
        if (given.get("type") or "A") not in TYPES:
            bad.append(f"{where}.type: {given['type']!r} is not one that is changed here; give {', '.join(TYPES)}")
        if not given.get("values") or not isinstance(given["values"], (list, tuple)):
            bad.append(f"{where}.values: there are none; give the list of what the name is to lead to")
        if given.get("ttl") is not None:
            bad += _ttl(f"{where}.ttl", given["ttl"])
    yield from bad
    if bad:
        return
    records = _records(settings)
    yield from records_errors(records, "dns_records")
    aliases = {normal_name(one["name"]) for one in records if one["type"] == "CNAME"}
    others = sorted(aliases & {normal_name(one["name"]) for one in records if one["type"] != "CNAME"})
    if others:
        names = ", ".join(others)
        yield f"dns_records: {names} has a CNAME record and others; a name that is an alias has nothing else"


def _ttl(where: str, ttl: t.Any) -> list[str]:
    if str(ttl).isdigit() and int(ttl) <= LONGEST_TTL:
        return []
    return [f"{where}: {ttl!r} is no TTL; give seconds from 0 to {LONGEST_TTL}, such as 60"]


def _seconds(where: str, seconds: t.Any) -> t.Iterator[str]:
    try:
        yield from seconds_errors(where, float(seconds))
    except (TypeError, ValueError):
        yield f"{where}: {seconds!r} is no number of seconds; give for example 60"


def _nsupdate(settings: Settings) -> t.Iterator[str]:
    given = settings["nsupdate"]
    if not given["server"]:
        yield "dns_nsupdate_server: it is empty; give the address of the server that takes changes"
    else:
        yield from (text.replace("[0]", "", 1) for text in servers_errors([given["server"]], "dns_nsupdate_server"))
    if bool(given["key_name"]) != bool(given["key_secret"]):
        missing = "key_secret" if given["key_name"] else "key_name"
        yield f"dns_nsupdate_{missing}: it is empty; a TSIG key has a name and a secret"


def _route53(settings: Settings) -> t.Iterator[str]:
    given = settings["route53"]
    if bool(given["access_key"]) != bool(given["secret_key"]):
        missing = "secret_key" if given["access_key"] else "access_key"
        yield f"dns_route53_{missing}: it is empty; give both, or neither to use what boto3 finds by itself"
    if given["access_key"] and given["profile"]:
        yield f"dns_route53_profile: {given['profile']!r} is given beside dns_route53_access_key; give one of both"


def _cloudflare(settings: Settings) -> t.Iterator[str]:
    if not settings["cloudflare"]["api_token"]:
        yield "dns_cloudflare_api_token: it is empty; give a token that may edit the zone"
    for number, one in enumerate(settings["records"]):
        ttl = one["ttl"] if one.get("ttl") is not None else settings["ttl"]
        if not _ttl("", ttl) and int(ttl) < CLOUDFLARE_LEAST_TTL:
            yield f"dns_records[{number}]: the TTL {ttl} is too small; Cloudflare keeps {CLOUDFLARE_LEAST_TTL} at least"


def _hook(settings: Settings) -> t.Iterator[str]:
    command = settings["hook"]
    if not command:
        yield "dns_hook: it is empty; give the command as a list, its program with an absolute path"
    elif not str(command[0]).startswith("/"):
        yield f"dns_hook: {command[0]!r} is no absolute path; give one, such as /usr/local/sbin/point-dns"
    yield from _seconds("dns_hook_timeout", settings["hook_timeout"])
