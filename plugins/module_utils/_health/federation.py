# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Federation as other servers see it: found, reachable at each address, signed with the right key."""

from __future__ import annotations

import base64
import functools
import json
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._delegation import (
    Delegation,
    discover,
    look_up_srv,
    split_server_name,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.model import (
    Check,
    Context,
    Facts,
    Limits,
    Plan,
    Probe,
    Verdict,
    grade,
    human_seconds,
    skipped,
)
from ansible_collections.matrixon.ops.plugins.module_utils._health.validate import endpoint_errors
from ansible_collections.matrixon.ops.plugins.module_utils._http import HttpClient, Response
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._report import CRITICAL, OK, WARNING

SPEC: dict[str, t.Any] = dict(
    server_name=dict(type="str", required=True),
    expected=dict(type="str"),
)

NOT_SERVED = 404


def _judge_delegation(facts: Facts, limits: Limits) -> Verdict:
    found: Delegation = facts["delegation"]
    expected, steps = facts["expected"], "; ".join(found.steps)
    if expected and str(found).lower() != expected.lower():
        return Verdict(CRITICAL, f"{facts['server_name']} leads to {found}, expected {expected} ({steps})")
    if found.trouble:
        return Verdict(
            WARNING,
            f"{facts['server_name']} leads to {found} only because its well-known could not be read: {found.trouble}",
            error_kind=found.trouble.kind,
        )
    text = f"{facts['server_name']} leads to {found}, with a certificate for {found.certificate_name} ({steps})"
    return Verdict(OK, text)


def _judge_version(facts: Facts, limits: Limits) -> Verdict:
    answers: dict[str, Response | ProbeFailure] = facts["answers"]
    failures = {address: answer for address, answer in answers.items() if isinstance(answer, ProbeFailure)}
    good = [answer for answer in answers.values() if not isinstance(answer, ProbeFailure)]
    if not good:
        first = next(iter(failures.values()))
        raise first
    unserved = next((answer for answer in good if answer.status == NOT_SERVED), None)
    if unserved:
        return Verdict(WARNING, f"{unserved.url} answered 404: federation is not served by this build or route")
    slowest = max(answer.elapsed_ms for answer in good)
    if failures:
        address, failure = next(iter(failures.items()))
        text = f"{len(failures)} of {len(answers)} addresses fail, {address}: {failure.message}"
        return Verdict(WARNING, text, value=slowest, error_kind=failure.kind)
    return grade(
        slowest,
        limits,
        f"federation answered at {len(good)} of {len(answers)} addresses, the slowest in {slowest:.0f} ms",
    )


def _judge_keys(facts: Facts, limits: Limits) -> Verdict:
    if _not_served(facts):
        return Verdict(WARNING, f"{facts['keys'].url} answered 404: federation is not served by this build or route")
    document, name = _key_document(facts), facts["server_name"]
    if document["server_name"] != name:
        return Verdict(CRITICAL, f"the keys are those of {document['server_name']}, expected {name}")
    left = document["valid_until_ts"] / 1000 - facts["now"]
    text = f"keys {', '.join(sorted(document['verify_keys']))} are valid for {human_seconds(left)}"
    if left <= 0:
        text = f"the keys ran out {human_seconds(-left)} ago: other servers refuse what this one signs"
    return grade(left, limits, text, below=True)


def _judge_signature(facts: Facts, limits: Limits) -> Verdict:
    if _not_served(facts):
        return skipped("federation is not served, so there is no key document")
    document = _key_document(facts)
    good, bad = verify_own_signatures(document)
    if bad or not good:
        return Verdict(CRITICAL, f"the key document is not signed by its own keys ({', '.join(bad) or 'no signature'})")
    return Verdict(OK, f"the key document is signed by {', '.join(good)}")


def _not_served(facts: Facts) -> bool:
    """Say whether nothing of federation is there. Keys alone that are not there are a fault."""
    answers: list[Response | ProbeFailure] = [facts["keys"], *facts["answers"].values()]
    return all(not isinstance(answer, ProbeFailure) and answer.status == NOT_SERVED for answer in answers)


def _key_document(facts: Facts) -> dict[str, t.Any]:
    """Return the checked key document, or fail in the words of a probe."""
    answer: Response | ProbeFailure = facts["keys"]
    if isinstance(answer, ProbeFailure):
        raise answer
    if answer.status != 200:
        raise ProbeFailure(REFUSED, f"{answer.url} answered {answer.status} ({answer.matrix_error()})")
    document = answer.json()
    shape = {"server_name": str, "valid_until_ts": int, "verify_keys": dict, "signatures": dict}
    if not isinstance(document, dict) or any(not isinstance(document.get(key), kind) for key, kind in shape.items()):
        raise ProbeFailure(PARSE, f"{answer.url} is not a key document: {answer.excerpt()}")
    return document


def verify_own_signatures(document: dict[str, t.Any]) -> tuple[list[str], list[str]]:
    """Return the ids of the verify keys whose signature is good, and of those whose is not."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise ProbeFailure(
            MISSING_TOOL, "signatures cannot be verified without cryptography (package python3-cryptography)"
        ) from error
    bare = {key: value for key, value in document.items() if key not in ("signatures", "unsigned")}
    message = json.dumps(bare, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    signatures = document["signatures"].get(document["server_name"], {})
    good, bad = [], []
    for key_id, entry in document["verify_keys"].items():
        try:
            key = Ed25519PublicKey.from_public_bytes(_decode(entry["key"]))
            key.verify(_decode(signatures[key_id]), message)
            good.append(key_id)
        except (InvalidSignature, KeyError, TypeError, ValueError):
            bad.append(key_id)
    return good, bad


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


CHECKS = (
    Check("delegation", "the server name leads where it should", _judge_delegation, gate=True, fixed=True),
    Check(
        "federation_version",
        "the federation API answers at each address",
        _judge_version,
        unit="ms",
        warning=100,
        gate=True,
    ),
    Check(
        "federation_keys",
        "the signing keys are this server's and still valid",
        _judge_keys,
        unit="s",
        warning=3600,
        critical=0,
        gate=True,
        below=True,
    ),
    Check("federation_signature", "the key document is signed by its own keys", _judge_signature, fixed=True),
)


def validate(options: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield what is wrong with the options."""
    try:
        split_server_name(options["server_name"])
    except ValueError as error:
        yield f"federation.server_name: {options['server_name']!r} cannot be used: {error}"
    if options["expected"]:
        yield from endpoint_errors("federation.expected", options["expected"])


def plan(options: dict[str, t.Any], context: Context) -> Plan:
    """Return the one probe that feeds every check."""
    name = options["server_name"]
    given = {"server_name": name, "expected": options["expected"], "now": context.now.timestamp()}
    return [Probe(name, CHECKS, functools.partial(_observe, name, context.http), given, heavy=True)]


def _observe(name: str, http: HttpClient, deadline: Deadline) -> Facts:
    found = discover(name, http, look_up_srv, deadline)
    base = f"https://{_net.join_host_port(found.certificate_name, found.port)}"
    try:
        addresses = _net.resolve(*http.endpoint(found.host, found.port))
    except ProbeFailure as failure:
        why = found.trouble or failure
        raise ProbeFailure(
            why.kind, "; and without it: ".join(dict.fromkeys((why.message, failure.message)))
        ) from failure
    # One silent address may use up its share of the time, not that of the others.
    share = deadline.remaining() / (len(addresses) + 1)

    def ask(address: _net.Address, path: str) -> Response | ProbeFailure:
        return _ask(http, base + path, found.host_header, address, deadline.within(share))

    answers = {str(address): _with_version(ask(address, "/_matrix/federation/v1/version")) for address in addresses}
    answering = (address for address in addresses if not isinstance(answers[str(address)], ProbeFailure))
    keys = ask(next(answering, addresses[0]), "/_matrix/key/v2/server")
    return {"delegation": found, "answers": answers, "keys": keys}


def _ask(http: HttpClient, url: str, host: str, address: _net.Address, deadline: Deadline) -> Response | ProbeFailure:
    """Return an answer or the failure: one bad address must not hide another."""
    try:
        response = http.request("GET", url, deadline, address=address, host=host)
    except ProbeFailure as failure:
        return failure
    if response.status in (200, NOT_SERVED):
        return response
    kind = AUTH if response.status in (401, 403) else REFUSED
    return ProbeFailure(kind, f"{response.url} answered {response.status} ({response.matrix_error()})")


def _with_version(answer: Response | ProbeFailure) -> Response | ProbeFailure:
    """Return an answer that tells a version: some other web server says 200 as well."""
    if isinstance(answer, ProbeFailure) or answer.status == NOT_SERVED:
        return answer
    try:
        if isinstance(answer.json()["server"]["version"], str):
            return answer
    except ProbeFailure as failure:
        return failure
    except (KeyError, TypeError):
        pass
    return ProbeFailure(PARSE, f"{answer.url} tells no version: {answer.excerpt()}")
