"""Tests of what an error of the handshake means to an operator."""

from __future__ import annotations

import ssl

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.handshake import failure_of


def error(reason: str, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    made = kind(1, reason)
    made.reason = reason
    return made


ERRORS = {
    "plain HTTP": (error("WRONG_VERSION_NUMBER"), "tls", "what answers there does not speak TLS"),
    "HTTP that OpenSSL knows": (error("HTTP_REQUEST"), "tls", "what answers there does not speak TLS"),
    "an old protocol, by alert": (error("TLSV1_ALERT_PROTOCOL_VERSION"), "tls", "it speaks no TLS 1.2 or later"),
    "an old protocol, by answer": (error("UNSUPPORTED_PROTOCOL"), "tls", "it speaks no TLS 1.2 or later"),
    "an end": (error("EOF", ssl.SSLEOFError), "refused", "it closed the connection during the TLS handshake"),
    "a polite end": (error("", ssl.SSLZeroReturnError), "refused", "it closed the connection"),
    "an end as OpenSSL 3 has it": (error("UNEXPECTED_EOF_WHILE_READING"), "refused", "it closed the connection"),
    "an alert": (error("SSLV3_ALERT_HANDSHAKE_FAILURE"), "tls", "the TLS handshake: TLS failed: sslv3 alert handshake"),
    "silence": (error("", ssl.SSLWantReadError), "timeout", "the TLS handshake: no answer"),
}


@pytest.mark.parametrize(("given", "kind", "words"), ERRORS.values(), ids=list(ERRORS))
def test_error(given: ssl.SSLError, kind: str, words: str) -> None:
    failure = failure_of(given, Deadline(5))
    assert failure.kind == kind
    assert failure.message.startswith(words)
