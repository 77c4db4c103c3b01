"""Tests of texts made fit for where they go."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._notify import text


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("plain", "plain"),
        ("a\r\nBcc: b@c.test", "a Bcc: b@c.test"),
        ("a\x0bb\x85c\u2028d", "a b c d"),
        ("bell\x07 and \x1b[31mred", "bell and [31mred"),
        ("  spaces \t between  ", "spaces between"),
        ("f\u00fcr \U0001f469\u200d\U0001f680", "f\u00fcr \U0001f469\u200d\U0001f680"),
        ("\r\n", ""),
    ],
)
def test_one_line_holds_no_line_end_and_no_control_character(given: str, line: str) -> None:
    assert text.one_line(given) == line


@pytest.mark.parametrize(
    ("given", "escaped"),
    [
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("<!channel> <https://evil.test|bank>", "&lt;!channel&gt; &lt;https://evil.test|bank&gt;"),
        ("&lt;", "&amp;lt;"),
        ("@here and @Everyone", "@\u200bhere and @\u200bEveryone"),
        ("@hereford and a@all.test", "@hereford and a@\u200ball.test"),
    ],
)
def test_slack_markup_has_no_power(given: str, escaped: str) -> None:
    assert text.slack(given) == escaped


def test_long_text_says_that_it_was_shortened() -> None:
    assert text.shorten("x" * 100, 100) == "x" * 100
    short = text.shorten("x" * 101, 100)
    assert len(short) == 100 and short.endswith("x... (shortened)")


def test_every_part_of_a_webhook_that_opens_it_is_hidden() -> None:
    options = {"webhook_url": "https://hooks.test/services/T012345/B012345?key=query+secret&v=1", "token": None}
    secrets = text.secrets_of(options)
    said = "Cannot POST /services/T012345/B012345 (B012345, query secret, query%20secret, services) at hooks.test v=1"
    assert text.scrub(said, secrets) == "Cannot POST *** (***, ***, ***, ***) at hooks.test v=1"


def test_tokens_and_passwords_are_hidden_as_they_are_and_quoted() -> None:
    secrets = text.secrets_of({"token": "syt/token+1", "routing_key": "0123456789", "password": "pass word"})
    said = "syt/token+1 syt%2Ftoken%2B1 0123456789 pass word pass%20word"
    assert text.scrub(said, secrets) == "*** *** *** *** ***"


def test_what_is_too_short_to_be_a_secret_takes_no_word_out() -> None:
    secrets = text.secrets_of({"webhook_url": "https://h.test/a/b", "token": "12345"})
    assert text.scrub("a token of 12345 /a/b https://h.test", secrets) == "a token of 12345 /a/b https://h.test"
