#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_dns_info
short_description: Ask every authoritative name server for records, and judge what they say
version_added: 0.1.0
description:
  - Finds the zone of each name and its authoritative servers, asks each of them directly, all at once under one total
    deadline, and returns what each says beside a verdict. No cache is in between, so an answer is what the server has
    now.
  - A failover that points a name elsewhere is done when all servers say so, and clients may go on with the old answer
    for as long as the TTL was. Both are judged here, and the TTL can be judged long before the day.
  - Aliases are followed. Where they lead to another zone, the servers of that one are asked, too. The largest TTL on
    the way counts, for clients may keep each element of it.
  - The check C(dns_servers) says of each zone whether its servers answer for it; C(dns_record) whether all answer
    alike, and as expected; C(dns_ttl) how long answers may be kept; C(dns_serial) whether all servers have the same
    version of the zone.
  - V(critical) means that a bad fact was observed. V(unknown) means that it could not be observed, such as where no
    server of a zone answers this host. A TTL that is too large and serials that differ are a V(warning).
  - The module reads only.
notes:
  - "Where it runs: Python 3.9 and C(dnspython) 2.1 or later."
  - Servers are asked by UDP, and by TCP where an answer is too long for that.
  - An IPv6 address is passed over from a host without IPv6 where its server has one of IPv4, too.
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
    support: full
    details:
      - Returns how what the servers say differs from what was expected, in the words of a zone file.
  idempotent:
    support: full
options:
  records:
    description:
      - The records to look at.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The full name, such as V(matrix.example.com).
        type: str
        required: true
      type:
        description: The type of record. A V(CNAME) is not followed where it is itself what is asked for.
        type: str
        choices: [A, AAAA, CNAME]
        default: A
      values:
        description:
          - What every server must answer, in any order and nothing beside it. Left out, they must only answer alike.
        type: list
        elements: str
        default: []
      ttl:
        description: The TTL that the record must have, in seconds. Left out, O(max_ttl) is the limit.
        type: int
  servers:
    description:
      - The authoritative servers, as V(address) or V(address:port). Left out, they are found by the NS records of each
        zone. Given, they must serve every name in O(records).
    type: list
    elements: str
    default: []
  resolvers:
    description:
      - Name servers that find zones and their servers, as V(address) or V(address:port). Defaults to those that this
        host asks.
    type: list
    elements: str
    default: []
  accept_silent:
    description:
      - Authoritative servers that may stay silent, as V(address) or V(address:port), such as those in a region that was
        lost. What they say counts if they do answer.
    type: list
    elements: str
    default: []
  connect_to:
    description:
      - Where to connect in the stead of the address of a name server, as V(address:port) to V(address:port). What
        speaks of names is passed over.
    type: dict
    default: {}
  max_ttl:
    description:
      - Seconds for which clients may keep an answer at most; above it is a V(warning).
    type: int
    default: 60
  wait:
    description:
      - Seconds to go on looking until all servers answer with the expected values, and with the TTL where one is given.
        V(0) looks once.
    type: float
    default: 0
  timeout:
    description:
      - Seconds after which one question to one server is given up. It is a total time and not one per datagram.
    type: float
    default: 3
  deadline:
    description:
      - Seconds after which one look ends, whatever still hangs. The module ends after O(wait) and this at the latest.
    type: float
    default: 20
"""

EXAMPLES = r"""
- name: See that a failover would be quick, and that all name servers agree
  matrixon.ops.matrixon_dns_info:
    deployment: example
    profile: synapse
    records:
      - {name: matrix.example.com, type: A}
      - {name: matrix.example.com, type: AAAA}
    max_ttl: 60
    fail_on: warning

- name: Wait until every authoritative server has the new address
  matrixon.ops.matrixon_dns_info:
    deployment: example
    profile: synapse
    records:
      - {name: matrix.example.com, type: A, values: [192.0.2.20], ttl: 60}
    wait: 60
    fail_on: unknown
  register: switched

- name: Ask two servers that no NS record names, one of which is in the region that was lost
  matrixon.ops.matrixon_dns_info:
    deployment: example
    profile: synapse
    records:
      - {name: matrix.example.internal, values: [10.2.0.10]}
    servers: [10.1.0.53, "10.2.0.53:5353"]
    accept_silent: [10.1.0.53]
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "critical: 1 of 4 checks is critical; dns_record: matrix.example.com A: expected 192.0.2.20, but
    ns2.example.net (192.0.2.54:53) says 192.0.2.10"
report:
  description:
    - The report, of the kind V(dns). Its whole shape is described by C(docs/report.schema.json). Keys without a value
      are left out.
    - The value of C(dns_ttl) is the largest TTL in seconds.
  returned: when the options are good
  type: dict
  sample:
    schema: matrixon.ops/report/1
    kind: dns
    status: critical
settled:
  description: Whether every server answers with the expected values, and with the TTL where one is given.
  returned: when the options are good
  type: bool
  sample: false
seconds:
  description: How long it looked. With O(wait) that is how long it took until all servers agreed, if they did.
  returned: when the options are good
  type: float
  sample: 2.031
records:
  description:
    - An entry for each record, in their order. C(values) are all that any server says, C(ttl) is the largest on the
      way. Where there is no such record, C(ttl) is for how long clients may keep that answer. C(message) is that of
      C(dns_record).
    - C(answers) has what each server says. Its C(outcome) is one of V(answered), V(nxdomain), V(nodata), V(lame),
      V(servfail), V(refused), V(loop), V(malformed), V(timeout), V(unreachable) and V(no_ipv6).
  returned: when the options are good
  type: list
  elements: dict
  sample:
    - name: matrix.example.com
      type: A
      zone: example.com
      values: [192.0.2.10, 192.0.2.20]
      ttl: 60
      settled: false
      message: "matrix.example.com A: expected 192.0.2.20, but ns2.example.net (192.0.2.54:53) says 192.0.2.10"
      answers:
        - server: ns1.example.net (192.0.2.53:53)
          address: "192.0.2.53:53"
          name: matrix.example.com
          outcome: answered
          values: [192.0.2.20]
          aliases: []
          ttl: 60
          serial: 2026112702
          error_kind: null
          message: ""
          duration_ms: 3
zones:
  description: The zones that were asked, each with its C(name) and the C(servers) that were asked for it.
  returned: when the options are good
  type: list
  elements: dict
  sample:
    - name: example.com
      servers: ["ns1.example.net (192.0.2.53:53)", "ns2.example.net (192.0.2.54:53)"]
"""

import platform

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.matrixon.ops.plugins.module_utils._dns.options import LOOK_SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._dns.query import HAS_DNSPYTHON
from ansible_collections.matrixon.ops.plugins.module_utils._dns.run import check_dns, diff_of
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING, OBSERVER, headline


def argument_spec():
    """Return the options."""
    return dict(
        OBSERVER,
        connect_to=dict(type="dict", default={}),
        wait=dict(type="float", default=0),
        deadline=dict(type="float", default=20),
        **LOOK_SPEC,
    )


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if not HAS_DNSPYTHON:
        module.fail_json(msg=missing_required_lib("dnspython (package python3-dnspython)"))
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        outcome = check_dns(options)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    report = outcome.report
    result = dict(
        changed=False,
        msg=headline(report),
        report=report.as_dict(options["detail"]),
        settled=outcome.settled,
        seconds=outcome.seconds,
        records=outcome.records,
        zones=outcome.zones,
    )
    if module._diff:
        result["diff"] = diff_of(options, outcome.records)
    if report.status in FAILING[options["fail_on"]]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
