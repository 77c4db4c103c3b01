# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Shake hands with a server, and come back with what it served and whether OpenSSL accepts it."""

from __future__ import annotations

import functools
import os
import socket
import ssl
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils import _net
from ansible_collections.matrixon.ops.plugins.module_utils._probe import REFUSED, TLS, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._ssl import certificate, starttls
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.certificate import Anchors, Certificate
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.judge import (
    NO_ANCHOR,
    NO_ISSUER,
    SELF_SIGNED_IN_CHAIN,
    Chain,
    Distrust,
)

# Weak keys and hashes have checks of their own: X509_V_ERR_EE_KEY_TOO_SMALL, CA_KEY_TOO_SMALL, CA_MD_TOO_WEAK.
TOO_WEAK = (66, 67, 68)
ANY_STRENGTH = "DEFAULT:@SECLEVEL=0"
# Where systems keep all their anchors in one file.
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
DER = 2
DOING = "the TLS handshake"
CLOSED = ("unexpected eof while reading", "eof occurred in violation of protocol")
NOT_TLS = ("wrong version number", "http request", "https proxy request", "unknown protocol", "record layer failure")
TOO_OLD = ("unsupported protocol", "tlsv1 alert protocol version")


class Served(t.NamedTuple):
    """What one handshake brought."""

    chain: Chain
    protocol: str


class Client:
    """Handshakes under one setting of trust: loading the anchors is the slow part, so each context is made once."""

    def __init__(self, ca_file: str | None = None) -> None:
        self.ca_file = ca_file

    @functools.cached_property
    def strict(self) -> ssl.SSLContext:
        """Return the context that verifies. Names are judged elsewhere, so that each fault has its own check."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        # What later versions of Python turn on would make verdicts differ from host to host.
        context.verify_flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file:
            context.load_verify_locations(self.ca_file)
        else:
            context.load_default_certs()
        return context

    @functools.cached_property
    def lenient(self) -> ssl.SSLContext:
        """Return one that verifies, and takes keys and hashes of any strength."""
        context = Client(self.ca_file).strict
        context.set_ciphers(ANY_STRENGTH)
        return context

    @functools.cached_property
    def blind(self) -> ssl.SSLContext:
        """Return one that accepts anything, to see what there is."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ANY_STRENGTH)
        return context

    @functools.cached_property
    def trusts_nobody(self) -> bool:
        """Say whether there is no authority that could be trusted, as on a host without ca-certificates."""
        paths = ssl.get_default_verify_paths()
        return not (self.ca_file or paths.cafile or (paths.capath and os.listdir(paths.capath)))

    @functools.cached_property
    def anchors(self) -> Anchors:
        """Return the authorities that are trusted, as far as they are in one file."""
        found = ssl.get_default_verify_paths().cafile
        bundle = self.ca_file or found or next((path for path in BUNDLES if os.path.exists(path)), None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if bundle:
            context.load_verify_locations(bundle)
        return Anchors(_readable(context.get_ca_certs(binary_form=True)))

    def look(self, address: _net.Address, server_name: str, protocol: str | None, deadline: Deadline) -> Served:
        """Verify first. Only where that fails, shake hands again without, for the data."""
        distrust = None
        for context in (self.strict, self.lenient):
            try:
                with shake(open_to(address, protocol, deadline), server_name, context, deadline) as sock:
                    return self._served(sock, None)
            except ssl.SSLCertVerificationError as error:
                distrust = self._distrust(error)
                if distrust.code not in TOO_WEAK:
                    break
        with shake(open_to(address, protocol, deadline), server_name, self.blind, deadline) as sock:
            return self._served(sock, distrust)

    def _distrust(self, error: ssl.SSLCertVerificationError) -> Distrust:
        if error.verify_code in (SELF_SIGNED_IN_CHAIN, *NO_ISSUER) and self.trusts_nobody:
            way_out = "install ca-certificates or give ca_file"
            return Distrust(NO_ANCHOR, f"this host has no authorities that it trusts; {way_out}")
        return Distrust(error.verify_code, error.verify_message)

    def _served(self, sock: ssl.SSLSocket, distrust: Distrust | None) -> Served:
        sent = _chain(sock, "get_unverified_chain")
        leaf = certificate.read(sock.getpeercert(binary_form=True) or b"")
        chain = tuple(sent or [leaf])
        if distrust is None:
            needed = _chain(sock, "get_verified_chain") or [leaf]
        else:
            needed = certificate.path(leaf, chain[1:], self.anchors if chain[1:] else None)
        return Served(Chain(chain, tuple(needed), bool(sent), distrust), sock.version() or "TLS")


def open_to(address: _net.Address, protocol: str | None, deadline: Deadline) -> socket.socket:
    """Connect, and go as far as the handshake begins."""
    sock = _net.connect_address(address, deadline)
    if protocol:
        try:
            starttls.ask(protocol, sock, deadline)
        except ProbeFailure:
            sock.close()
            raise
    return sock


def shake(sock: socket.socket, server_name: str, context: ssl.SSLContext, deadline: Deadline) -> ssl.SSLSocket:
    """Do the handshake. A certificate that is not accepted raises the error of ssl."""
    try:
        sock.settimeout(deadline.require(DOING))
        return context.wrap_socket(sock, server_hostname=server_name)
    except ssl.SSLCertVerificationError:
        sock.close()
        raise
    except ssl.SSLError as error:
        sock.close()
        raise failure_of(error, deadline) from error
    except OSError as error:
        sock.close()
        raise _net.failure_of(error, DOING, deadline) from error
    except ProbeFailure:
        sock.close()
        raise


def failure_of(error: ssl.SSLError, deadline: Deadline) -> ProbeFailure:
    """Say what an error of the handshake means to an operator."""
    words = _net.reason(error)
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or words in CLOSED:
        return ProbeFailure(REFUSED, "it closed the connection during the TLS handshake")
    if words in NOT_TLS:
        return ProbeFailure(TLS, f"what answers there does not speak TLS ({words})")
    if words in TOO_OLD:
        return ProbeFailure(TLS, f"it speaks no TLS 1.2 or later ({words})")
    return _net.failure_of(error, DOING, deadline)


def _chain(sock: ssl.SSLSocket, method: str) -> list[Certificate]:
    """Return a chain of the connection, empty where this Python has no way to it.

    It is public from 3.13 on, and before that only there below the socket, from 3.10 on.
    """
    ask = getattr(sock, method, None) or getattr(getattr(sock, "_sslobj", None), method, None)
    found = (ask() if ask else None) or ()
    return [certificate.read(one if isinstance(one, bytes) else one.public_bytes(DER)) for one in found]


def _readable(ders: t.Iterable[bytes]) -> t.Iterator[Certificate]:
    for der in ders:
        try:
            yield certificate.read(der)
        except ProbeFailure:
            continue
