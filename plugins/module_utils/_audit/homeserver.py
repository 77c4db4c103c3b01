# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The homeserver's own settings. Where each of them stands is said by the profile, and so by the options."""

from __future__ import annotations

import ipaddress
import json
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import (
    Finding,
    Look,
    NotHere,
    Plan,
    Rule,
    Seen,
    Skip,
    Tools,
    bad,
    good,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._human import span
from ansible_collections.matrixon.ops.plugins.module_utils._net import join_host_port
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    Deadline,
    Facts,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._procfs import failure_of, read
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL

REGISTRATION = Rule(
    "homeserver-open-registration",
    "critical",
    "nobody makes an account unasked: registration is off, or asks for a token, an address or a captcha",
    "turn registration off in homeserver_settings, or ask for a token",
)
RATE_LIMITS = Rule(
    "homeserver-rate-limits",
    "warning",
    "logins and registrations are limited",
    "take the limit out of homeserver_settings, so that the server's own counts",
)
SHARED_SECRET = Rule(
    "homeserver-secret-guessable",
    "critical",
    "the secret that makes accounts and administrators cannot be guessed",
    "make a new one with 'openssl rand -hex 32', and give it as homeserver_registration_shared_secret",
)
KEY_SERVERS = Rule(
    "homeserver-key-servers",
    "critical",
    "keys of other servers are taken from nobody who is not verified",
    "take accept_keys_insecurely out of homeserver_trusted_key_servers",
)
CERTIFICATES = Rule(
    "homeserver-federation-certificates",
    "critical",
    "the certificates of other homeservers are verified",
    "take the setting out of homeserver_settings",
)
METRICS = Rule(
    "homeserver-metrics-public",
    "warning",
    "metrics are told at addresses of one's own network only",
    "bind the listener to such an address (matrixon_processes[].address, homeserver_bind_addresses)",
)
KEY_AGE = Rule(
    "homeserver-signing-key-age",
    "warning",
    "the key that signs events is renewed now and then",
    "make a new key and keep the old one's public part among the old verify keys",
)
RULES = (REGISTRATION, RATE_LIMITS, SHARED_SECRET, KEY_SERVERS, CERTIFICATES, METRICS)

# What a profile may name.
SETTINGS = (
    "registration",
    "registration_verified_by",
    "rate_limits",
    "shared_secret",
    "shared_secret_file",
    "key_servers",
    "federation_certificates",
    "listeners",
)

DAY = 86400
SHORTEST_SECRET = 16
FEWEST_LETTERS = 6
GUESSES = ("changeme", "secret", "password", "registration", "example", "default", "synapse", "matrix")


def value_at(config: t.Any, path: str) -> t.Any:
    """Return the value at a path such as 'a.b.c', or None."""
    for key in path.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config


def weakness(secret: str) -> str:
    """Return why a secret can be guessed, or nothing. It is not repeated."""
    if len(secret) < SHORTEST_SECRET:
        return f"it has {len(secret)} letters, fewer than {SHORTEST_SECRET}"
    if len(set(secret)) < FEWEST_LETTERS:
        return f"it is made of {len(set(secret))} different letters"
    word = next((guess for guess in GUESSES if secret.lower().strip("!0123456789-_ ") == guess), "")
    return f"it is the word '{word}' and little more" if word else ""


def config_probe(given: Facts) -> t.Callable[[Tools, Deadline], Facts]:
    """Return the probe that has the configuration read by what reads it in earnest. Secrets do not leave it."""

    def probe(tools: Tools, deadline: Deadline) -> Facts:
        argv = given["configuration"]
        if not os.path.exists(argv[0]):
            raise ProbeFailure(
                MISSING_TOOL, f"{argv[0]}, which reads the homeserver's configuration, is not on this host"
            )
        done = tools.runner(argv, deadline)
        if done.code != 0:
            # What it complains of may repeat a line with a secret.
            raise ProbeFailure(
                INTERNAL,
                f"the homeserver's configuration could not be read (code {done.code}); let the server check it",
            )
        try:
            config = json.loads(done.out)
        except ValueError:
            raise ProbeFailure(
                PARSE, "what reads the homeserver's configuration printed something that is not JSON"
            ) from None
        if not isinstance(config, dict):
            raise ProbeFailure(PARSE, "the homeserver's configuration is not a mapping")
        return {**pick(config, given["settings"]), "secret": _secret_weakness(config, given["settings"], tools)}

    return probe


def pick(config: Facts, settings: Facts) -> Facts:
    """Return only what is judged. What is not named in the profile is None in the settings and is not there."""
    limits = settings.get("rate_limits") or []
    verified = settings.get("registration_verified_by") or []
    return {
        "registration": value_at(config, settings["registration"]) if settings.get("registration") else None,
        "verified_by": [path for path in verified if value_at(config, path)],
        "limits": [
            {"path": limit["path"], "most": limit["most"], "value": value_at(config, limit["path"])} for limit in limits
        ],
        "key_servers": _key_servers(config, settings),
        "certificates": value_at(config, settings["federation_certificates"])
        if settings.get("federation_certificates")
        else None,
        "metrics": _metrics(config, settings),
    }


def _key_servers(config: Facts, settings: Facts) -> list[str]:
    named = settings.get("key_servers")
    if not named:
        return []
    return [
        str(server.get("server_name"))
        for server in value_at(config, named["path"]) or []
        if isinstance(server, dict) and server.get(named["insecure"])
    ]


def _metrics(config: Facts, settings: Facts) -> list[tuple[str, int]]:
    """Return where metrics are told."""
    path = settings.get("listeners")
    found: list[tuple[str, int]] = []
    for listener in (value_at(config, path) or []) if path else []:
        names = [name for resource in listener.get("resources") or [] for name in resource.get("names") or []]
        if listener.get("type") != "metrics" and "metrics" not in names:
            continue
        addresses = listener.get("bind_addresses") or [listener.get("bind_address") or "0.0.0.0"]
        found += [(str(address), int(listener.get("port") or 0)) for address in addresses]
    return found


def _secret_weakness(config: Facts, settings: Facts, tools: Tools) -> str | None:
    """Return what is wrong with the shared secret; None where the profile knows of none."""
    path = settings.get("shared_secret")
    if not path:
        return None
    secret = value_at(config, path)
    file = value_at(config, settings["shared_secret_file"]) if settings.get("shared_secret_file") else None
    if not secret and file:
        try:
            secret = read(tools.root, str(file).lstrip("/")).strip()
        except OSError as error:
            raise failure_of(error) from error
    return weakness(str(secret)) if secret else ""


def judge_config(facts: Facts, settings: Facts) -> Seen:
    """Hold the settings against what is expected. A setting that the profile does not name is not judged."""
    findings: list[Finding] = []
    if not settings.get("registration"):
        findings.append(_unnamed(REGISTRATION))
    elif facts["registration"] and not facts["verified_by"]:
        findings.append(bad(REGISTRATION, f"{settings['registration']} is on, and nothing is asked of who registers"))
    elif facts["registration"]:
        findings.append(good(REGISTRATION, f"registration is open, and asks: {', '.join(facts['verified_by'])}"))
    if not settings.get("rate_limits"):
        findings.append(_unnamed(RATE_LIMITS))
    for limit in facts["limits"]:
        value = limit["value"]
        if isinstance(value, (int, float)) and value > limit["most"]:
            text = f"{limit['path']} is {value:g} a second, more than {limit['most']:g}"
            findings.append(bad(RATE_LIMITS, text, limit["path"]))
    if facts["secret"] is None:
        findings.append(_unnamed(SHARED_SECRET))
    elif facts["secret"]:
        findings.append(bad(SHARED_SECRET, facts["secret"]))
    if not settings.get("key_servers"):
        findings.append(_unnamed(KEY_SERVERS))
    findings += [bad(KEY_SERVERS, f"keys from {name} are taken unverified", name) for name in facts["key_servers"]]
    if not settings.get("federation_certificates"):
        findings.append(_unnamed(CERTIFICATES))
    elif facts["certificates"] is False:
        findings.append(bad(CERTIFICATES, f"{settings['federation_certificates']} is off"))
    if not settings.get("listeners"):
        findings.append(_unnamed(METRICS))
    findings += _metrics_findings(facts["metrics"])
    return Seen(findings)


def _unnamed(rule: Rule) -> Finding:
    return skipped(rule, "the profile names no setting for it")


def _metrics_findings(places: list[tuple[str, int]]) -> t.Iterator[Finding]:
    for address, port in places:
        where = join_host_port(address, port)
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            continue
        if found.is_unspecified:
            yield bad(METRICS, f"metrics are told at {where}, that is at every address of this host", where)
        elif found.is_global:
            yield bad(METRICS, f"metrics are told at {where}, a public address", where, severity=CRITICAL)


def key_probe(path: str) -> t.Callable[[Tools, Deadline], float]:
    """Return the probe that sees when a key was last written: nothing in it tells its age."""

    def probe(tools: Tools, _deadline: Deadline) -> float:
        try:
            return max(0.0, tools.now - os.stat(os.path.join(tools.root, path.lstrip("/"))).st_mtime)
        except FileNotFoundError:
            raise NotHere(f"there is no key at {path}") from None
        except OSError as error:
            raise failure_of(error) from error

    return probe


def judge_key(age: float, most_days: float) -> Seen:
    """Say how old it is at least."""
    told = {"signing_key_age_s": round(age)}
    if age > most_days * DAY:
        return Seen([bad(KEY_AGE, f"its file was written {span(age)} ago, more than {most_days:g} days")], told)
    return Seen([good(KEY_AGE, f"its file was written {span(age)} ago")], told)


def plan(options: Facts) -> Plan:
    """Return what is looked at, where there is a homeserver."""
    given = options["homeserver"]
    if given is None:
        return [Skip((*RULES, KEY_AGE), "no homeserver is said to be on this host")]
    looks: Plan = []
    if given["configuration"]:
        settings = given["settings"]
        looks.append(Look("configuration", RULES, config_probe(given), lambda facts: judge_config(facts, settings)))
    else:
        looks.append(Skip(RULES, given["unsupported"] or "nothing is given that reads the configuration"))
    if given["signing_key"]:
        days = given["signing_key_max_days"]
        looks.append(Look("signing key", (KEY_AGE,), key_probe(given["signing_key"]), lambda age: judge_key(age, days)))
    else:
        looks.append(Skip((KEY_AGE,), "the profile names no file of its signing key"))
    return looks
