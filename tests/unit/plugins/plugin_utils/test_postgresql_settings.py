"""What the role postgresql is told: settings with reasons, and a password's verifier."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.plugin_utils.postgresql_settings import (
    postgresql_rivals,
    postgresql_settings,
    postgresql_verifier,
)

FORM = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]{24})\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})")


def test_what_is_wrong_is_an_error_of_the_filter() -> None:
    machine = {"memory_bytes": 2**30, "cores": 2}
    assert len(postgresql_settings(machine, 50)) > 10
    for bad in ({"cores": 2}, {**machine, "cores": 0}, {**machine, "memory_bytes": "much"}):
        with pytest.raises(AnsibleFilterError, match="^postgresql_settings: "):
            postgresql_settings(bad, 50)


def test_a_verifier_proves_the_password_and_holds_it_not() -> None:
    """The server's half of RFC 5802: a proof made of the password fits the stored key."""
    verifier = postgresql_verifier("correct horse battery", "synapse")
    matched = FORM.fullmatch(verifier)
    assert matched and "horse" not in verifier
    iterations, (salt, stored, server) = int(matched[1]), (base64.b64decode(part) for part in matched.groups()[1:])
    assert iterations >= 4096

    salted = hashlib.pbkdf2_hmac("sha256", b"correct horse battery", salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(stored, b"what both have said", "sha256")
    proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
    recovered = bytes(one ^ other for one, other in zip(proof, signature, strict=True))
    assert hashlib.sha256(recovered).digest() == stored
    assert hmac.digest(salted, b"Server Key", "sha256") == server


def test_a_second_run_sees_the_same_verifier_and_other_logins_another() -> None:
    made = [postgresql_verifier(word, user) for word, user in (("a" * 12, "x"), ("a" * 12, "y"), ("b" * 12, "x"))]
    assert made[0] == postgresql_verifier("a" * 12, "x")
    assert len(set(made)) == 3 and len({verifier.split("$")[1] for verifier in made}) == 3


def test_what_a_loop_registered_is_told_apart_from_what_it_could_not_ask() -> None:
    control = {"system_identifier": "7", "timeline": 1}
    own = {"data": "cluster", "standby": False, "running": False, "control": control}
    results = [{"item": "db2", **own, "standby": True}, {"item": "db3", "unreachable": True}]
    assert postgresql_rivals(own, results) == ["db3 could not be asked what it holds"]
    with pytest.raises(AnsibleFilterError, match="not what matrixon_postgresql_info returns"):
        postgresql_rivals(own, [{"item": "db2", "data": "cluster"}])
