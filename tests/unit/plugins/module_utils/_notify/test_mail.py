"""Tests of e-mail against servers that play a dialogue."""

from __future__ import annotations

import datetime
import email
import email.policy
import socket
import typing as t

import pytest
import servers
import trustme

from ansible_collections.matrixon.ops.plugins.module_utils._notify.mail import Mail, compose
from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import DeliveryFailure, Message
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

NOW = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.timezone.utc)
MESSAGE = Message(
    "key", "started", "", "critical", "open", "S\u00fcbject <1>", "Text.\n.\nMore", "<p>H</p>", "", "", "", "d"
)
OPTIONS = {"host": "127.0.0.1", "sender": "Ops <ops@a.test>", "recipients": ["b@a.test", "c@a.test"]}
SILENCE = "silence"
GOOD = {
    "GREETING": "220 hello",
    "EHLO": "250-me\r\n250-AUTH PLAIN\r\n250 STARTTLS",
    "STARTTLS": "220 go on",
    "AUTH": "235 in",
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go on",
    ".": "250 taken",
    "QUIT": "221 bye",
}


def smtp(tls: t.Any = None, **other: str | None) -> servers.Script:
    """Play a mail server. No reply means that it closes the connection."""
    replies = {**GOOD, **{"." if name == "END" else name: reply for name, reply in other.items()}}

    def script(sock: socket.socket, server: servers.Server) -> None:
        def talk(sock: socket.socket, greet: bool) -> None:
            if greet:
                sock.sendall((replies["GREETING"] or "").encode() + b"\r\n")
            with sock.makefile("rb") as lines:
                while line := lines.readline().decode():
                    word = line.split()[0].upper()
                    server.requests.append(line.strip())
                    if replies[word] is None:
                        return
                    sock.sendall(f"{replies[word]}\r\n".encode())
                    if word == "STARTTLS":
                        # A socket in its own right, as a real server has it.
                        with tls.wrap_socket(sock, server_side=True) as safe:
                            return talk(safe, False)
                    if word == "DATA" and replies["DATA"].startswith("354"):
                        while lines.readline() not in (b".\r\n", b""):
                            pass
                        if replies["."] is None:
                            return
                        if replies["."] == SILENCE:
                            server.stopping.wait(10)
                        sock.sendall(f"{replies['.']}\r\n".encode())

        talk(sock, True)

    return script


def send(server: servers.Server, security: str = "none", seconds: float = 5, **more: t.Any) -> str:
    options = {**OPTIONS, "port": server.port, "security": security, **more}
    return Mail(options, MESSAGE, "id", NOW).send(Deadline(seconds)).message


def failure_of(server: servers.Server, **more: t.Any) -> DeliveryFailure:
    with pytest.raises(DeliveryFailure) as caught:
        send(server, **more)
    return caught.value


def test_mail_is_one_message_of_two_kinds_to_all_of_them() -> None:
    mail = compose(OPTIONS, MESSAGE, "id", NOW)
    read = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert (read["From"], read["To"], read["Subject"]) == ("Ops <ops@a.test>", "b@a.test, c@a.test", "S\u00fcbject <1>")
    assert (read["Message-ID"], read["Date"]) == ("<id@a.test>", "Fri, 27 Nov 2026 12:00:00 +0000")
    assert (read["Auto-Submitted"], read["Importance"]) == ("auto-generated", "high")
    plain, page = (part.get_content() for part in read.iter_parts())
    assert plain.split() == ["Text.", ".", "More"]
    assert "<h1>S\u00fcbject &lt;1&gt;</h1>" in page and "<p>H</p>" in page
    assert b"\r\n" in mail.as_bytes() and b"\n" not in mail.as_bytes().replace(b"\r\n", b"")


def test_dialogue(serve: t.Any) -> None:
    server = serve(smtp())
    assert send(server) == f"127.0.0.1:{server.port} took it for b@a.test, c@a.test"
    words = [line.split()[0].lower() for line in server.requests]
    assert words == ["ehlo", "mail", "rcpt", "rcpt", "data", "quit"]
    assert "ops@a.test" in server.requests[1] and "Ops" not in server.requests[1]


@pytest.mark.parametrize(
    ("other", "again", "uncertain", "words"),
    [
        ({"GREETING": "554 go away"}, False, False, "refused the message: 554 go away"),
        ({"GREETING": "421 later"}, True, False, "421 later"),
        ({"MAIL": "550 not you"}, False, False, "refused the sender: 550 not you"),
        ({"MAIL": "451 later"}, True, False, "refused the sender: 451 later"),
        ({"RCPT": "550 not them"}, False, False, "refused every recipient: 550 not them"),
        ({"RCPT": "450 greylisted"}, True, False, "refused every recipient: 450 greylisted"),
        ({"DATA": "554 no"}, False, False, "554 no"),
        ({"MAIL": None}, True, False, "Connection unexpectedly closed"),
        ({"END": "552 too big"}, False, False, "refused the message: 552 too big"),
        ({"END": "452 later"}, True, False, "refused the message: 452 later"),
        # From here on it may have been taken.
        ({"END": None}, False, True, "closed the connection while it took the message"),
    ],
)
def test_what_a_refusal_means(
    serve: t.Any, other: dict[str, str | None], again: bool, uncertain: bool, words: str
) -> None:
    failure = failure_of(serve(smtp(**other)))
    assert (failure.again, failure.uncertain) == (again, uncertain)
    assert words in failure.message


def test_answer_to_quit_does_not_matter(serve: t.Any) -> None:
    assert "took it" in send(serve(smtp(QUIT=None)))


def test_one_deadline_for_the_whole_dialogue(serve: t.Any) -> None:
    failure = failure_of(serve(servers.drip(b"220-", b"x", 0.02)), seconds=0.4)
    assert (failure.kind, failure.uncertain) == ("timeout", False)
    assert "no answer within 0.4 s" in failure.message


def test_silence_after_the_message_leaves_it_open_what_became_of_it(serve: t.Any) -> None:
    failure = failure_of(serve(smtp(END=SILENCE)), seconds=2)
    assert (failure.kind, failure.again, failure.uncertain) == ("timeout", False, True)


def test_nothing_listens(closed_port: int) -> None:
    with pytest.raises(DeliveryFailure) as caught:
        Mail({**OPTIONS, "port": closed_port, "security": "none"}, MESSAGE, "id", NOW).send(Deadline(5))
    assert (caught.value.kind, caught.value.again) == ("refused", True)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_password_goes_through_tls_that_is_verified(
    serve: t.Any, authority: trustme.CA, ca_file: str, security: str
) -> None:
    context = servers.tls_for(authority, "127.0.0.1")
    script = smtp(context)
    server = serve(script) if security == "starttls" else serve(smtp(), context)
    login = {"username": "user", "password": "pass"}
    assert "took it" in send(server, security, ca_file=ca_file, **login)
    assert any(line.upper().startswith("AUTH PLAIN") for line in server.requests)
    before = len(server.requests)
    failure = failure_of(server, security=security, **login)
    assert (failure.kind, failure.again) == ("tls", False)
    assert not any(line.upper().startswith("AUTH") for line in server.requests[before:])


def test_starttls_that_is_not_offered_is_insisted_on(serve: t.Any) -> None:
    server = serve(smtp(EHLO="250 me"))
    failure = failure_of(server, security="starttls")
    assert failure.kind == "tls" and "offers no STARTTLS, and the message is not sent in clear" in failure.message
    assert not any("MAIL" in line.upper() for line in server.requests)


def test_words_from_before_tls_are_forgotten(serve: t.Any, authority: trustme.CA, ca_file: str) -> None:
    # Somebody on the way slips an answer in behind the one to STARTTLS: that there is no login.
    server = serve(smtp(servers.tls_for(authority, "127.0.0.1"), STARTTLS="220 go on\r\n250 evil"))
    login = {"username": "user", "password": "pass"}
    assert "took it" in send(server, "starttls", ca_file=ca_file, **login)
    assert [line.split()[0].lower() for line in server.requests][:4] == ["ehlo", "starttls", "ehlo", "auth"]


def test_wrong_password_is_not_tried_again(serve: t.Any) -> None:
    failure = failure_of(serve(smtp(AUTH="535 no")), username="user", password="pass")
    assert (failure.kind, failure.again) == ("auth", False)
    assert "refused the login: 535 no" in failure.message


def test_login_that_is_not_offered(serve: t.Any) -> None:
    failure = failure_of(serve(smtp(EHLO="250 me")), username="user", password="pass")
    assert (failure.kind, failure.again) == ("refused", False)
