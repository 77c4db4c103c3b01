"""Tests of options that cannot be right: all of them at once, and no secret in a sentence."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._notify import options
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors

GOOD: dict[str, dict[str, t.Any]] = {
    "webhook": {"webhook_url": "https://hooks.example.test/services/SECRET"},
    "matrix": {"url": "https://matrix.example.test", "token": "SECRET", "room_id": "!abc:example.test"},
    "pagerduty": {"routing_key": "SECRET"},
    "status_page": {"page_id": "abcd", "token": "SECRET"},
    "email": {"host": "mail.example.test", "sender": "Ops <ops@example.test>", "recipients": ["a@example.test"]},
}


def channel(kind: str | None, **more: t.Any) -> dict[str, t.Any]:
    given = {**dict.fromkeys(options.CHANNEL_SPEC), "name": "one", "type": kind, **GOOD.get(kind or "", {})}
    return {**given, **more}


def call(**more: t.Any) -> dict[str, t.Any]:
    given = {
        **{"deployment": "example", "profile": "synapse", "key": "dr_failover/example.test", "state": "started"},
        **{
            "occasion": "",
            "severity": "info",
            "incident": "none",
            "subject": "Subject",
            "text": "Text",
            "html": "",
            "link": "",
        },
        **{"public_subject": "", "public_text": "", "channels": [channel("webhook")], "to": [], "state_dir": "/var/x"},
        **{"timeout": 15.0, "attempts": 3},
    }
    return {**given, **more}


def said(**more: t.Any) -> list[str]:
    found = list(options.errors(call(**more)))
    assert "SECRET" not in "".join(found)
    return found


def said_of(kind: str | None, **more: t.Any) -> str:
    return "; ".join(said(channels=[channel(kind, **more)]))


@pytest.mark.parametrize("kind", GOOD)
def test_what_each_type_needs_is_enough(kind: str) -> None:
    assert said_of(kind) == ""


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in options.REQUIRED.items() for name in names])
def test_what_each_type_needs_is_asked_for(kind: str, name: str) -> None:
    for nothing in (None, [] if name == "recipients" else ""):
        assert f"channels[0] (one): {name}: it is missing or empty; the type {kind} needs it" in said_of(
            kind, **{name: nothing}
        )


WRONG = {
    "an unknown type": ("slak", {}, "type: 'slak' is not known; known are email, matrix"),
    "a type with a typing mistake": ("webhok", {}, "did you mean webhook?"),
    "no type": (None, {}, "type: it is missing"),
    "an option of another type": ("webhook", {"room_id": "!a:b"}, "room_id: the type webhook has no such option"),
    "two lines as a name": ("webhook", {"name": "a\nb"}, "name: give it a name of one line"),
    "no URL": ("matrix", {"url": "matrix.test"}, "url: 'matrix.test' cannot be used: a URL starts with"),
    "a secret that is no URL": ("webhook", {"webhook_url": "SECRET"}, "webhook_url: it cannot be used: a URL starts"),
    "a URL with a password": ("webhook", {"webhook_url": "https://u:SECRET@h.test/"}, "must not carry a user"),
    "http over the net": ("matrix", {"url": "http://10.0.0.5"}, "http would show it to everybody on the way"),
    "http of a webhook": ("webhook", {"webhook_url": "http://h.test/SECRET"}, "give https, or allow_http: true"),
    "a name that begins as loopback": ("matrix", {"url": "http://127.0.0.1.evil.test"}, "http would show it"),
    "an alias in place of a room": ("matrix", {"room_id": "#a:b.test"}, "room_id: '#a:b.test' is no room id"),
    "a token with a line end": ("matrix", {"token": "SECRET\r\nX: y"}, "token: it holds letters that cannot be sent"),
    "a token beyond ASCII": ("status_page", {"token": "SECRET\u00e9"}, "token: it holds letters that cannot be sent"),
    "an unknown component status": ("status_page", {"component_status": "down"}, "component_status: 'down' is not"),
    "an unknown severity": ("pagerduty", {"min_severity": "crit"}, "min_severity: 'crit' is not known; did you mean"),
    "no state at all": ("pagerduty", {"states": []}, "states: the list is empty"),
    "no time": ("pagerduty", {"timeout": 0.0}, "timeout: 0 is no time to wait"),
    "no file": ("pagerduty", {"ca_file": "/nonexistent/ca.pem"}, "ca_file: /nonexistent/ca.pem cannot be read"),
    "a port in the host": ("email", {"host": "mail.test:25"}, "host: 'mail.test:25' is no host name"),
    "no port": ("email", {"port": 0}, "port: 0 is not a port"),
    "an unknown security": ("email", {"security": "ssl"}, "security: 'ssl' is not known"),
    "a user without a password": ("email", {"username": "u"}, "username and password: give both or none"),
    "a password in clear": (
        "email",
        {"security": "none", "username": "u", "password": "SECRET"},
        "with none the password would go in clear",
    ),
    "no address of a sender": ("email", {"sender": "ops"}, "sender: 'ops' is no address"),
    "a header in a sender": ("email", {"sender": "a@b.test\nBcc: c@d.test"}, "is no address"),
    "a header in a recipient": ("email", {"recipients": ["a@b.test\nBcc: c@d.test"]}, "recipients[0]: "),
    "two recipients in one": ("email", {"recipients": ["a@b.test, c@d.test"]}, "recipients[0]: "),
}


@pytest.mark.parametrize("what", WRONG)
def test_channel_that_cannot_be_right_is_refused(what: str) -> None:
    kind, more, words = WRONG[what]
    assert words in said_of(kind, **more)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("matrix", {"url": "http://127.0.0.1:8008"}),
        ("matrix", {"url": "http://[::1]:8008"}),
        ("matrix", {"url": "http://localhost"}),
        ("matrix", {"url": "http://10.0.0.5", "allow_http": True}),
        ("matrix", {"room_id": "!a31VcJ6HBhGnDVnGCG3bcHYHDlhYbi-qjpeKkk4MHOs"}),
        ("email", {"security": "none"}),
        ("email", {"security": "none", "host": "127.0.0.1", "username": "u", "password": "a b"}),
    ],
)
def test_what_can_be_right_is_taken(kind: str, more: dict[str, t.Any]) -> None:
    assert said_of(kind, **more) == ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"channels": []}, "channels: there is nobody to tell"),
        ({"channels": [channel("webhook"), channel("matrix")]}, "channels: one stands there twice"),
        ({"to": ["tone"]}, "to: 'tone' is no channel; did you mean one?"),
        ({"key": ""}, "key: '' cannot be used"),
        ({"key": "k" * 201}, "key: "),
        ({"key": "two words"}, "key: 'two words' cannot be used"),
        ({"state": "a\nb"}, "state: "),
        ({"occasion": "a b"}, "occasion: 'a b' cannot be used"),
        ({"subject": " "}, "subject: it is empty"),
        ({"subject": "s" * 201}, "subject: it has 201 letters; give 200 at most"),
        ({"text": ""}, "text: it is empty"),
        ({"link": "javascript:alert(1)"}, "link: 'javascript:alert(1)' cannot be used"),
        ({"timeout": float("nan")}, "timeout: nan is no time to wait"),
        ({"attempts": 0}, "attempts: 0 cannot be"),
        ({"attempts": 11}, "attempts: 11 cannot be"),
        ({"state_dir": "state"}, "state_dir: 'state' is no absolute path"),
        ({"deployment": ""}, "deployment: it is empty"),
    ],
)
def test_message_that_cannot_be_right_is_refused(more: dict[str, t.Any], words: str) -> None:
    (found,) = said(**more)
    assert words in found


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(OptionErrors) as caught:
        options.check(call(channels=[channel("slak"), channel("matrix", room_id="x", token=None)], subject=""))
    assert len(caught.value.errors) == 5
    options.check(call())


def test_channel_has_its_defaults_and_a_subject_one_line() -> None:
    given = call(channels=[channel("webhook"), channel("pagerduty", min_severity="error", timeout=3.0, states=["a"])])
    first, second = options.channels_of(given)
    assert (first.min_severity, first.states, first.timeout) == ("info", (), 15.0)
    assert (second.min_severity, second.states, second.timeout) == ("error", ("a",), 3.0)
    message = options.message_of(call(subject="A\r\nB", public_subject="C\nD", text="  t\n"))
    assert (message.subject, message.public_subject, message.text) == ("A B", "C D", "t")
    assert options.message_of(call()).public_subject == "Subject"
