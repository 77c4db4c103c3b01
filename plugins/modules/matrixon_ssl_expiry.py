#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_ssl_expiry
short_description: Judge the certificates of a whole fleet in one call
version_added: 0.1.0
description:
  - Looks at many certificates at once, under one total deadline, and returns one report. They are those that endpoints
    serve, those in files, and those that Matrix server names lead to.
  - A server name is followed by the rules of Matrix, as other homeservers do. They decide which name the certificate
    must be for, and the report says which and why.
  - Each fault has a check of its own, so a certificate that has expired is not called untrusted too. Where nothing
    could be read, the checks of what was not seen are V(skipped), and the check that says why is not.
  - V(critical) means that a bad fact was observed. V(unknown) means that it could not be observed. A run that measured
    nothing is V(unknown).
  - It shakes hands once where a certificate is accepted, and a second time without verification where it is not, so
    that there are data of what is wrong too. No issuer is fetched from where a certificate says it is. What a server
    does not send, a client does not see.
  - The module reads only.
notes:
  - "On the target: Python 3.9 and C(cryptography). The chain that a server sends can be seen from Python 3.10 on.
    C(dnspython) is needed for server names that are found by SRV records, and with O(resolvers). The command
    C(openssl) is needed for certificates that ask for a stapled answer."
  - "On the controller: nothing beyond ansible-core."
  - The common name of a certificate is not looked at, as no client does so any more.
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
attributes:
  check_mode:
    support: full
    details:
      - Runs in full and gives the same verdicts. It never reports a change.
  diff_mode:
    support: N/A
    details:
      - It changes nothing.
  idempotent:
    support: full
options:
  endpoints:
    description:
      - Endpoints whose certificates are judged. Each address of an endpoint is looked at by itself.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Name or address.
        type: str
        required: true
      port:
        description: Port to connect to.
        type: int
        default: 443
      name:
        description: How the report calls the endpoint. Defaults to host and port.
        type: str
      server_name:
        description: The name to ask for in the TLS handshake. Defaults to O(endpoints[].host).
        type: str
      names:
        description: Names and addresses that the certificate must be for. Defaults to O(endpoints[].server_name).
        type: list
        elements: str
      starttls:
        description: Protocol in which TLS is asked for. Left out, TLS begins at once.
        type: str
        choices: [smtp, imap, postgresql]
      address:
        description: IP address to connect to, in place of those that the name leads to.
        type: str
      self_signed:
        description: Whether a certificate that is signed by itself is accepted.
        type: bool
        default: false
      required:
        description: Whether an endpoint that stays silent is V(critical). If not, it is V(unknown).
        type: bool
        default: false
  files:
    description:
      - Files on the target whose certificates are judged, as PEM, DER or PKCS#12.
      - A PEM file may hold many. If it begins with the certificate of a server, those of its issuers in the file and
        those of other servers count, and what nobody needs is a warning when it has ended. If it begins with an
        authority, all of them count.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the file.
        type: path
        required: true
      name:
        description: How the report calls the file. Defaults to its path.
        type: str
      password_file:
        description: File on the target that holds the password of a PKCS#12 file or of an encrypted key.
        type: path
      key:
        description:
          - File with the private key that must be the one of the first certificate.
          - Left out, a key in the file itself is held against it, if there is one.
        type: path
      names:
        description: Names and addresses that the first certificate must be for.
        type: list
        elements: str
      endpoint:
        description:
          - Name of an endpoint of this call that must serve the first certificate. If it serves another,
            a reload was forgotten.
        type: str
  server_names:
    description:
      - Matrix server names, the part of a user id behind the colon. Each is followed through its well-known file and
        SRV records, and each address of where it leads is looked at as an endpoint.
      - What other homeservers pass over, such as a well-known file that is not JSON, is a V(warning).
      - The check C(certificate_delegation) tells for how long others keep a well-known file after it changed.
    type: list
    elements: str
    default: []
  renewal:
    description:
      - systemd timers of this host that renew certificates. Each must be active and enabled, its last run must have
        been good, and the next must come before the certificates end.
    type: list
    elements: dict
    default: []
    suboptions:
      timer:
        description: Full name of the timer.
        type: str
        required: true
      service:
        description: Full name of the service that renews. Defaults to the one that the timer starts.
        type: str
      files:
        description: Paths of PEM or DER files that it renews.
        type: list
        elements: path
        default: []
  warning_days:
    description:
      - Days before its end from which a certificate is a V(warning).
    type: float
    default: 30
  critical_days:
    description:
      - Days before its end from which a certificate is V(critical).
    type: float
    default: 14
  warning_share:
    description:
      - The part of its lifetime that is left from which a certificate is a V(warning). The smaller of both limits
        counts, so that one for six days does not warn all its life. With V(1) the days alone count.
    type: float
    default: 0.3333333333333333
  critical_share:
    description:
      - The part of its lifetime that is left from which a certificate is V(critical).
    type: float
    default: 0.16666666666666666
  min_protocol:
    description:
      - The oldest protocol that endpoints should take. Each is asked once more, for older ones only, and must refuse.
      - Left out, nothing is asked. TLS 1.2 must be spoken in any case.
    type: str
    choices: [TLSv1.2, TLSv1.3]
  ocsp:
    description:
      - Whether the authority is asked by OCSP if it has revoked a certificate. This goes out to the address that the
        certificate names. Authorities that only publish lists are V(skipped).
    type: bool
    default: false
  checks:
    description:
      - Names of the checks to report. Left out, every check is. That nothing could be read is always told.
    type: list
    elements: str
  skip_checks:
    description:
      - Checks that are not to count, each with the reason. They stand in the report as V(skipped) with it.
    type: dict
    default: {}
  threads:
    description:
      - How many targets are looked at at once.
    type: int
    default: 32
  timeout:
    description:
      - Seconds after which one address of an endpoint is given up. It is a total time and not one per read.
    type: float
    default: 5
  deadline:
    description:
      - Seconds after which the module returns, whatever still hangs.
    type: float
    default: 60
  connect_to:
    description:
      - Where to connect in the stead of an address, as V(host:port) to V(host:port).
        Names in certificates and handshakes stay as they were.
    type: dict
    default: {}
  resolvers:
    description:
      - Name servers to ask in place of the system's, as V(address) or V(address:port).
    type: list
    elements: str
    default: []
  ca_file:
    description:
      - PEM file with the certificate authorities to trust. Left out, those of the system are trusted.
      - It must hold the roots. An intermediate in it is no root, and one that only this host knows is a V(warning),
        for others do not know it.
    type: path
"""

EXAMPLES = r"""
- name: Look at what the fleet serves, and at the file that one endpoint should serve
  matrixon.ops.matrixon_ssl_expiry:
    deployment: example
    profile: synapse
    endpoints:
      - host: matrix.example.com
        names: [matrix.example.com, example.com]
        required: true
      - {name: mail, host: mail.example.com, port: 587, starttls: smtp}
      - {name: database, host: db1.internal, port: 5432, starttls: postgresql, self_signed: true}
    files:
      - path: /etc/ssl/matrixon/public/fullchain.pem
        key: /etc/ssl/matrixon/public/privkey.pem
        endpoint: matrix.example.com:443
    renewal:
      - {timer: certbot.timer, files: [/etc/ssl/matrixon/public/fullchain.pem]}
  register: certificates

- name: Look at a server name as other homeservers do, asking two name servers outside
  matrixon.ops.matrixon_ssl_expiry:
    deployment: example
    profile: synapse
    server_names: [example.com]
    resolvers: [192.0.2.53, "198.51.100.53:5353"]
    min_protocol: TLSv1.2

- name: Be stricter, and fail on what is really broken
  matrixon.ops.matrixon_ssl_expiry:
    deployment: example
    profile: synapse
    endpoints:
      - host: matrix.example.com
    warning_days: 45
    critical_days: 20
    warning_share: 0.5
    fail_on: critical
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "critical: 1 of 14 checks is critical; certificate_expiry: matrix.example.com:443 at 192.0.2.1: the
    certificate expires in 5.0 days, on 2026-12-02 09:00 UTC"
report:
  description:
    - The report, of the kind V(ssl_expiry). Its whole shape is described by C(docs/report.schema.json).
      Keys without a value are left out.
    - The value of C(certificate_expiry) is the number of seconds left.
  returned: when the options are good
  type: dict
  sample:
    schema: matrixon.ops/report/1
    kind: ssl_expiry
    status: warning
soonest:
  description: The certificate that ends first of all that were read.
  returned: when one was read
  type: dict
  sample:
    target: matrix.example.com:443 at 192.0.2.1
    subject: CN=matrix.example.com
    not_after: "2026-12-02T09:00:00Z"
    days: 5.0
counts:
  description:
    - How many targets have each status. Skipped is one of which nothing could be looked at from here, such as an IPv6
      address from a host without IPv6.
  returned: when the options are good
  type: dict
  sample: {ok: 199, warning: 0, critical: 1, unknown: 0, skipped: 0}
certificates:
  description:
    - An entry for each target, worst first, with C(target), C(status), C(not_after) and C(days). The last two are
      those of the needed certificate that ends first.
    - Where something is wrong, or with O(detail=full), it also tells the rest of the certificate and the chain.
  returned: when the options are good
  type: list
  elements: dict
  sample:
    - target: matrix.example.com:443 at 192.0.2.1
      status: critical
      not_after: "2026-12-02T09:00:00Z"
      days: 5.0
      subject: CN=matrix.example.com
      issuer: CN=An authority
      names: [matrix.example.com]
      serial: 3A5F
      not_before: "2026-09-03T09:00:00Z"
      key: EC secp256r1
      signature: ecdsa-with-SHA256
      fingerprint: 0d5e21ab
      address: 192.0.2.1:443
      protocol: TLSv1.3
      expected_names: [matrix.example.com]
      chain:
        - {subject: CN=matrix.example.com, not_after: "2026-12-02T09:00:00Z", needed: true, sent: true}
"""

import platform

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER, leave
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.certificate import HAS_CRYPTOGRAPHY
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.options import LIMITS_SPEC, TARGETS_SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._ssl.run import check_certificates


def argument_spec():
    """Return the options."""
    return dict(
        OBSERVER,
        min_protocol=dict(type="str", choices=["TLSv1.2", "TLSv1.3"]),
        ocsp=dict(type="bool", default=False),
        checks=dict(type="list", elements="str"),
        skip_checks=dict(type="dict", default={}),
        threads=dict(type="int", default=32),
        timeout=dict(type="float", default=5),
        deadline=dict(type="float", default=60),
        connect_to=dict(type="dict", default={}),
        resolvers=dict(type="list", elements="str", default=[]),
        ca_file=dict(type="path"),
        **LIMITS_SPEC,
        **TARGETS_SPEC,
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if not HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography (package python3-cryptography)"))
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        outcome = check_certificates(options)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    leave(
        module,
        outcome.report,
        soonest=outcome.soonest,
        counts=outcome.counts,
        certificates=outcome.certificates,
    )


if __name__ == "__main__":
    main()
