# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""E-mail under one deadline, over TLS that is verified.

Python's own client verifies no certificate unless it is told to, and its
timeout is per read: a password could go to anyone, and a server that drips
could hold an operation up.
"""

from __future__ import annotations

import contextlib
import datetime
import email.message
import email.policy
import email.utils
import html
import platform
import re
import smtplib
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._http import tls_context
from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import Delivery, DeliveryFailure, Message
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    REFUSED,
    TLS,
    Deadline,
    ProbeFailure,
)

STARTTLS = "starttls"
IMPLICIT_TLS = "tls"
CLEAR = "none"
PORTS = {STARTTLS: 587, IMPLICIT_TLS: 465, CLEAR: 25}
LONGEST_ANSWER = 160


class _Stream(_net.Stream):
    """A socket as smtplib wants it."""

    def sendall(self, data: bytes) -> None:
        """Write everything."""
        self.send(data)


class _Smtp(smtplib.SMTP):
    """smtplib's dialogue over a connection that somebody else has made."""

    def __init__(self, host: str, port: int, deadline: Deadline) -> None:
        super().__init__(local_hostname=own_name())
        self._host = host
        self._peer = _net.join_host_port(host, port)
        self._deadline = deadline
        self._plain = _net.connect(host, port, deadline, self._peer)
        self._use(self._plain)

    def _use(self, sock: t.Any) -> None:
        self.sock = t.cast(t.Any, _Stream(sock, self._peer, self._deadline))
        self.file = None

    def encrypt(self, ca_file: str | None) -> None:
        """Go on in TLS, and forget what was said before."""
        self._use(_net.start_tls(self._plain, self._host, tls_context(ca_file, True), self._deadline, self._peer))
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def greeted(self) -> None:
        """Read the greeting; a server that is busy says so here."""
        code, said = self.getreply()
        if code != 220:
            raise smtplib.SMTPResponseException(code, said)


def own_name() -> str:
    """Return how this host calls itself to mail servers, without asking a name server."""
    name = platform.node()
    return name if re.fullmatch(r"[A-Za-z0-9.-]+", name) else "localhost"


class Mail:
    """One message to some recipients. Nobody knows a repeat, so what was taken is not sent again."""

    repeatable = False

    def __init__(
        self, options: t.Mapping[str, t.Any], message: Message, transaction: str, now: datetime.datetime
    ) -> None:
        self.options = options
        self.security: str = options.get("security") or STARTTLS
        self.port: int = options.get("port") or PORTS[self.security]
        self.sender = email.utils.parseaddr(options["sender"])[1]
        self.recipients: list[str] = list(options["recipients"])
        self.content = compose(options, message, transaction, now).as_bytes()

    def destination(self) -> str:
        """Name the recipients and the server."""
        return f"{', '.join(self.recipients)} by {self._peer}"

    @property
    def _peer(self) -> str:
        return _net.join_host_port(self.options["host"], self.port)

    def send(self, deadline: Deadline) -> Delivery:
        """Hand it to the mail server; raise DeliveryFailure."""
        try:
            return self._send(deadline)
        except ProbeFailure as failure:
            raise DeliveryFailure(failure.kind, failure.message, again=failure.kind != TLS) from failure
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryFailure(REFUSED, f"{self._peer}: {error}") from error
        except smtplib.SMTPAuthenticationError as error:
            raise self._answered(error.smtp_code, error.smtp_error, "the login") from error
        except smtplib.SMTPResponseException as error:
            raise self._answered(error.smtp_code, error.smtp_error, "the message") from error
        except (smtplib.SMTPException, OSError) as error:
            raise DeliveryFailure(REFUSED, f"{self._peer}: {_net.reason(error)}", again=True) from error

    def _send(self, deadline: Deadline) -> Delivery:
        with self._connected(deadline) as smtp:
            self._ask(smtp.mail(self.sender), "the sender")
            refused = {}
            for recipient in self.recipients:
                code, said = smtp.rcpt(recipient)
                if code not in (250, 251):
                    refused[recipient] = (code, said)
            if len(refused) == len(self.recipients):
                raise self._answered(*next(iter(refused.values())), "every recipient")
            self._data(smtp)
            with contextlib.suppress(smtplib.SMTPException, ProbeFailure, OSError):
                smtp.quit()
        if refused:
            words = "; ".join(f"{name}: {code} {_words(said)}" for name, (code, said) in refused.items())
            taken = len(self.recipients) - len(refused)
            raise DeliveryFailure(
                REFUSED, f"{self._peer} took it for {taken} of {len(self.recipients)} recipients, and not for {words}"
            )
        return Delivery(f"{self._peer} took it for {', '.join(self.recipients)}")

    @contextlib.contextmanager
    def _connected(self, deadline: Deadline) -> t.Iterator[_Smtp]:
        smtp = _Smtp(self.options["host"], self.port, deadline)
        try:
            if self.security == IMPLICIT_TLS:
                smtp.encrypt(self.options.get("ca_file"))
            smtp.greeted()
            smtp.ehlo_or_helo_if_needed()
            if self.security == STARTTLS:
                self._start_tls(smtp)
            if self.options.get("username"):
                smtp.login(self.options["username"], self.options["password"])
            yield smtp
        finally:
            smtp.close()

    def _start_tls(self, smtp: _Smtp) -> None:
        if not smtp.has_extn("starttls"):
            raise ProbeFailure(TLS, f"{self._peer} offers no STARTTLS, and the message is not sent in clear")
        self._ask(smtp.docmd("STARTTLS"), "STARTTLS", 220)
        smtp.encrypt(self.options.get("ca_file"))
        smtp.ehlo_or_helo_if_needed()

    def _data(self, smtp: _Smtp) -> None:
        try:
            code, said = smtp.data(self.content)
        except ProbeFailure as failure:
            raise DeliveryFailure(failure.kind, failure.message, uncertain=True) from failure
        except smtplib.SMTPServerDisconnected as error:
            text = f"{self._peer} closed the connection while it took the message"
            raise DeliveryFailure(REFUSED, text, uncertain=True) from error
        self._ask((code, said), "the message")

    def _ask(self, answer: tuple[int, bytes], what: str, wanted: int = 250) -> None:
        if answer[0] != wanted:
            raise self._answered(*answer, what)

    def _answered(self, code: int, said: bytes | str, what: str) -> DeliveryFailure:
        kind = AUTH if code in (530, 534, 535, 538) else REFUSED
        # 4xx: not now. -1: it said something that is no answer.
        again = 400 <= code < 500
        if code < 0:
            kind = INTERNAL
        return DeliveryFailure(kind, f"{self._peer} refused {what}: {code} {_words(said)}", again=again)


def _words(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())[:LONGEST_ANSWER]


def compose(
    options: t.Mapping[str, t.Any], message: Message, transaction: str, now: datetime.datetime
) -> email.message.EmailMessage:
    """Return the message as it goes out."""
    domain = email.utils.parseaddr(options["sender"])[1].rpartition("@")[2]
    mail = email.message.EmailMessage(policy=email.policy.SMTP)
    mail["From"] = options["sender"]
    mail["To"] = ", ".join(options["recipients"])
    mail["Subject"] = message.subject
    mail["Date"] = email.utils.format_datetime(now)
    # The same in a repeat, by which mail programs know it.
    mail["Message-ID"] = f"<{transaction}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    if message.severity == "critical":
        mail["Importance"] = "high"
    mail.set_content(message.text + "\n")
    if message.html:
        page = f"<h1>{html.escape(message.subject)}</h1>\n{message.html}"
        mail.add_alternative(f'<!DOCTYPE html>\n<html lang="en"><body>\n{page}\n</body></html>\n', subtype="html")
    return mail
