# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a secret, without quoting it."""

from __future__ import annotations

import re
import typing as t

MINIMUM = 12

# What stands in examples, in the defaults of products and at the head of every list of
# stolen passwords. The longer ones first, so that they are taken out whole.
_WORDS = (
    "12345 abc123 admin administrator changeit changeme change changethis database default demo "
    "dummy example fixme foobar guest hackme homeserver iloveyou insecure letmein login master "
    "matrix matrixon monitor mypassword passwd passphrase password passwort placeholder please "
    "pleasechangeme postgres postgresql qwerty redis replace replaceme replication replicator root "
    "sample secret secure synapse temp temporary test tester testing todo topsecret toor user "
    "welcome your"
)
NOTORIOUS = sorted(_WORDS.split(), key=len, reverse=True)
_NOTORIOUS = re.compile("|".join(NOTORIOUS))
_DISGUISE = str.maketrans("013457@$", "oieastas")
WAY_OUT = "make one with 'openssl rand -hex 24' and keep it in the vault"


def secret_problems(value: t.Any, name: str, user: str = "", minimum: int = MINIMUM) -> list[str]:
    """Return what is wrong with a secret, at most one sentence for one cause."""
    secret = "" if value is None else str(value)
    if not secret.strip():
        return [f"{name}: is missing; {WAY_OUT}"]
    if user and secret.strip().lower() == user.lower():
        return [f"{name}: is equal to its user name; {WAY_OUT}"]
    if _is_notorious(secret):
        return [f"{name}: is a default or a well-known password; {WAY_OUT}"]
    if len(secret) < minimum:
        return [f"{name}: has {len(secret)} characters, fewer than {minimum}; {WAY_OUT}"]
    if len(set(secret)) < 5:
        return [f"{name}: has only {len(set(secret))} different characters; {WAY_OUT}"]
    if secret != secret.strip():
        return [f"{name}: begins or ends with white space, which programs treat in different ways; take it out"]
    return []


def _is_notorious(secret: str) -> bool:
    """Say whether a secret is made of well-known words, however they are joined, numbered or disguised."""
    lowered = secret.lower()
    return (
        secret.isdigit()
        and len(secret) < 20
        or any(_is_words(text) for text in (lowered, lowered.translate(_DISGUISE)))
    )


def _is_words(text: str) -> bool:
    letters = re.sub(r"[^a-z0-9]", "", text)
    rest = _NOTORIOUS.sub("", letters)
    # A few letters may be left; a long random text that happens to hold a word has more.
    return rest != letters and len(re.sub(r"[0-9]", "", rest)) < 4 and len(rest) < 8
