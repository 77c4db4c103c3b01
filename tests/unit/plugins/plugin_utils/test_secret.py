"""A secret that anybody could guess is named, and never quoted."""

from __future__ import annotations

import secrets

import pytest

from ansible_collections.matrixon.ops.plugins.plugin_utils.secret import NOTORIOUS, secret_problems


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (None, "is missing"),
        ("", "is missing"),
        (" \n", "is missing"),
        ("Synapse_User1", "is equal to its user name"),
        ("password", "default or a well-known"),
        ("PASSWORD123456", "default or a well-known"),
        ("P@ssw0rd-2026!", "default or a well-known"),
        ("change-me-please", "default or a well-known"),
        ("CHANGE_ME_CHANGE_ME", "default or a well-known"),
        ("matrixon-secret", "default or a well-known"),
        ("<your password>", "default or a well-known"),
        ("12345678901234", "default or a well-known"),
        (123456789012, "default or a well-known"),
        ("Xk29dkfj2ab", "has 11 characters, fewer than 12"),
        ("zzzzzzzzzzzzzz", "has only 1 different characters"),
        ("Xk29dkfj29fjQ\n", "white space"),
    ],
)
def test_a_weak_secret_is_named_and_not_quoted(value: object, cause: str) -> None:
    (problem,) = secret_problems(value, "redis_password", user="synapse_user1")
    assert problem.startswith("redis_password: ") and cause in problem
    text = str(value).strip()
    # The sentence about defaults says 'password' itself.
    assert not text or text.lower() == "password" or text not in problem


@pytest.mark.parametrize(
    "value",
    [
        "Xk29dkfj29fj",
        # Long and random; that a word stands in it by chance is no fault.
        "test9Zk1qRv0bLsW7m",
        "correct horse battery staple",
        "0f3a5b9c1d2e4f6a8b7c",
    ],
)
def test_a_good_secret_is_taken(value: str) -> None:
    assert secret_problems(value, "redis_password", user="synapse_user1") == []


def test_random_secrets_are_taken() -> None:
    made = [secrets.token_hex(24) for _dummy in range(300)] + [secrets.token_urlsafe(18) for _dummy in range(300)]
    assert [value for value in made if secret_problems(value, "redis_password", user="synapse")] == []


@pytest.mark.parametrize("word", NOTORIOUS)
def test_no_well_known_word_is_made_good_by_a_year(word: str) -> None:
    assert secret_problems(f"{word}-{word}-2026", "redis_password")


def test_the_minimum_can_be_raised() -> None:
    assert secret_problems("Xk29dkfj29fj", "key", minimum=32) == [
        "key: has 12 characters, fewer than 32; make one with 'openssl rand -hex 24' and keep it in the vault"
    ]
