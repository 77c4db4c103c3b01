#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_health
short_description: Observe one host of a Matrix deployment and return a verdict for everything on it
version_added: 0.1.0
description:
  - Runs every check that the given scopes call for, all at once and under one total deadline, and returns one report.
  - Each of the options O(homeserver), O(federation), O(haproxy), O(postgresql), O(redis), O(system), O(backup),
    O(certificates) and O(dns) is a scope. A scope that is given is checked; one that is left out is not.
  - V(critical) means that a bad fact was observed. V(unknown) means that it could not be observed.
    V(skipped) means that there was nothing to look at, and is never V(ok). A run that measured nothing is V(unknown).
  - What the homeserver says of itself is shown as the check C(self_report) and counts neither for nor against it.
  - The module reads only, with one exception. The canary posts one small marker message into its room,
    in check mode too.
notes:
  - "On the target: nothing but Python 3.9 for most checks. The SQL checks need C(psycopg2), the federation
    signature and certificates need C(cryptography), and O(dns) and a server name that is found by SRV records need
    C(dnspython). What is missing makes the checks that need it V(unknown), and no others."
  - "On the controller: nothing beyond ansible-core."
  - Some checks of the system see more as root, among them open files of other users' processes.
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
  - matrixon.ops._checks
  - matrixon.ops._https
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
  deadline:
    description:
      - Seconds after which the module returns, whatever still hangs.
    type: float
    default: 20
  timeout:
    description:
      - Seconds after which one probe gives up. It is a total time and not one per read.
    type: float
    default: 5
  retries:
    description:
      - How often to look again at what was not ok. Every attempt is in the report.
    type: int
    default: 0
  retry_delay:
    description:
      - Seconds between two attempts.
    type: float
    default: 1
  baseline:
    description:
      - An earlier report of the same host. Rates and differences, such as the time until a disk is full,
        are measured against it. One that cannot be read counts as none.
    type: dict
  homeserver:
    description:
      - The homeserver processes on this host, and the public address of the deployment.
    type: dict
    suboptions:
      instances:
        description:
          - The homeserver processes to ask, main and workers.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: How the report calls the instance.
            type: str
            required: true
          url:
            description: Base URL of its client API.
            type: str
            required: true
      public_url:
        description:
          - Base URL that clients use, through the load balancer. The canary takes this way.
        type: str
      room_id:
        description:
          - The room of the canary. Both its users have joined it.
        type: str
      sender_token:
        description:
          - Access token of the user that sends the canary.
        type: str
      sender_token_file:
        description:
          - File on the target that holds the token.
        type: path
      reader_token:
        description:
          - Access token of a second user, who reads it back.
        type: str
      reader_token_file:
        description:
          - File on the target that holds the token.
        type: path
      canary_timeout:
        description:
          - Seconds after which the canary counts as lost.
        type: float
        default: 10
      self_report_path:
        description:
          - Path at which the homeserver reports its own health. The answer is shown and not trusted.
        type: str
      self_report_command:
        description:
          - Command and arguments with which the homeserver's own program reports its health.
            It is called only if it knows the subcommand. The answer is shown and not trusted.
        type: list
        elements: str
        default: []
  federation:
    description:
      - The way by which other homeservers reach this deployment.
    type: dict
    suboptions:
      server_name:
        description:
          - The part of a user id behind the colon.
        type: str
        required: true
      expected:
        description:
          - Where the server name should lead, as V(host:port).
        type: str
  haproxy:
    description:
      - HAProxy on this host.
    type: dict
    suboptions:
      socket:
        description:
          - Its runtime socket.
        type: path
        required: true
      backends:
        description:
          - Backends with the number of servers that should be up. Left out, every server of every backend should be.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the backend.
            type: str
            required: true
          expected:
            description: How many servers should be up. Fewer is a warning.
            type: int
            required: true
          quorum:
            description:
              - How many servers must be up. Fewer is critical.
              - Defaults to half of O(haproxy.backends[].expected), rounded up.
            type: int
  postgresql:
    description:
      - The PostgreSQL server.
    type: dict
    suboptions:
      host:
        description: Name, address or socket directory of the server.
        type: str
        default: 127.0.0.1
      port:
        description: Port to connect to.
        type: int
        default: 5432
      database:
        description: Database to connect to.
        type: str
        required: true
      user:
        description: User to log in as. A member of the role C(pg_monitor) sees everything that is checked.
        type: str
        required: true
      password:
        description: Password to log in with.
        type: str
      password_file:
        description: File on the target that holds the password.
        type: path
      sslmode:
        description: How to use TLS, in the words of libpq.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
        default: prefer
      ca_file:
        description: PEM file with the certificate authorities to trust.
        type: path
      role:
        description: The role that this server should have. A standby is not asked what only a primary can answer.
        type: str
        choices: [primary, standby]
        default: primary
      standbys:
        description: Application names of the standbys that must be connected to a primary.
        type: list
        elements: str
        default: []
      nodes:
        description: Every server of the cluster. Exactly one of them may be the primary.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: How the report calls the server.
            type: str
            required: true
          host:
            description: Its name or address.
            type: str
            required: true
          port:
            description: Its port.
            type: int
            default: 5432
      settings_checksum:
        description:
          - The settings that the server should run with, as the fact C(postgresql.settings_checksum) of an
            earlier report.
          - Left out, the settings are compared with those of O(baseline).
        type: str
  redis:
    description:
      - The Redis server.
    type: dict
    suboptions:
      host:
        description: Name or address to connect to.
        type: str
        default: 127.0.0.1
      port:
        description: Port to connect to.
        type: int
        default: 6379
      socket:
        description: Unix socket to connect to in the stead of O(redis.host) and O(redis.port).
        type: path
      user:
        description: User to log in as, where Redis has access lists.
        type: str
      password:
        description: Password to log in with.
        type: str
      password_file:
        description: File on the target that holds the password.
        type: path
      tls:
        description: Whether to speak TLS.
        type: bool
        default: false
      ca_file:
        description: PEM file with the certificate authorities to trust.
        type: path
      role:
        description: The role that this server should have.
        type: str
        choices: [master, replica]
        default: master
  system:
    description:
      - The operating system of this host.
    type: dict
    suboptions:
      mounts:
        description: Paths whose file systems must not fill up.
        type: list
        elements: str
        default: [/]
      units:
        description:
          - systemd units that must be active.
          - A service that only a timer starts is not active in between. Name its timer.
        type: list
        elements: str
        default: []
      listeners:
        description: TCP ports that must be listened on.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: How the report calls the service.
            type: str
            required: true
          port:
            description: Its port.
            type: int
            required: true
          address:
            description: The address that it must listen on. Left out, any will do.
            type: str
      processes:
        description: Processes without a unit whose open files are watched.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: How the report calls the process.
            type: str
            required: true
          pid_file:
            description: File that holds its process id.
            type: str
            required: true
      expected_connections:
        description:
          - Connections from this host to one destination that it is sized for, such as those of a load balancer.
        type: int
  backup:
    description:
      - The backup sets on this host. Of each server with sets there, how old the newest complete one is, the newest one
        that a drill has proved, and the end of the database's log in C(wal) beside the sets.
    type: dict
    suboptions:
      root:
        description: Directory with the backup sets.
        type: path
        required: true
      expected:
        description: Whether this host must have sets. If not, a host without any is skipped.
        type: bool
        default: true
  certificates:
    description:
      - Certificates, judged as M(matrixon.ops.matrixon_ssl_expiry) does. That module can ask for more, and it has the
        certificates in its result.
    type: dict
    suboptions:
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
            description: The name to ask for in the TLS handshake. Defaults to O(certificates.endpoints[].host).
            type: str
          names:
            description:
              - Names and addresses that the certificate must be for. Defaults to
                O(certificates.endpoints[].server_name).
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
          - A PEM file may hold many. If it begins with the certificate of a server, those of its issuers in the file
            and those of other servers count, and what nobody needs is a warning when it has ended. If it begins with
            an authority, all of them count.
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
          - Matrix server names, the part of a user id behind the colon. Each is followed through its well-known file
            and SRV records, and each address of where it leads is looked at as an endpoint.
          - What other homeservers pass over, such as a well-known file that is not JSON, is a V(warning).
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
      timeout:
        description:
          - Seconds after which one endpoint is given up. O(timeout) does not count here.
        type: float
        default: 5
  dns:
    description:
      - Names of the deployment, judged at each of their authoritative name servers as M(matrixon.ops.matrixon_dns_info)
        does. So a TTL that would make a failover slow is seen long before the day.
    type: dict
    suboptions:
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
            description: The type of record.
            type: str
            choices: [A, AAAA, CNAME]
            default: A
          values:
            description: What every server must answer. Left out, they must only answer alike.
            type: list
            elements: str
            default: []
          ttl:
            description: The TTL that the record must have, in seconds. Left out, O(dns.max_ttl) is the limit.
            type: int
      servers:
        description:
          - The authoritative servers, as V(address) or V(address:port). Left out, they are found by the NS records of
            each zone.
        type: list
        elements: str
        default: []
      resolvers:
        description:
          - Name servers that find zones and their servers, as V(address) or V(address:port). Defaults to those that
            this host asks.
        type: list
        elements: str
        default: []
      accept_silent:
        description:
          - Authoritative servers that may stay silent, as V(address) or V(address:port).
        type: list
        elements: str
        default: []
      max_ttl:
        description:
          - Seconds for which clients may keep an answer at most; above it is a V(warning).
        type: int
        default: 60
      timeout:
        description:
          - Seconds after which one question to one server is given up. O(timeout) does not count here.
        type: float
        default: 3
"""

EXAMPLES = r"""
- name: Look at everything on a host that runs a homeserver, its database and its cache
  matrixon.ops.matrixon_health:
    deployment: example
    profile: synapse
    homeserver:
      instances:
        - {name: main, url: "http://127.0.0.1:8008"}
      public_url: https://matrix.example.com
      room_id: "!canary:example.com"
      sender_token_file: /etc/matrixon/canary_sender_token
      reader_token_file: /etc/matrixon/canary_reader_token
    postgresql:
      database: synapse
      user: monitor
      password_file: /etc/matrixon/monitor_password
    redis:
      password_file: /etc/matrixon/redis_password
    system:
      mounts: [/, /var/lib/postgresql]
  register: health

- name: Fail when something is really broken
  ansible.builtin.assert:
    that: health.report.status != 'critical'
    fail_msg: "{{ health.msg }}"

- name: Ask the database only, look twice, and be stricter about connections
  matrixon.ops.matrixon_health:
    deployment: example
    profile: synapse
    postgresql:
      database: synapse
      user: monitor
      password: "{{ vault_monitor_password }}"
    retries: 1
    thresholds:
      postgresql_connections: {warning: 60, critical: 75}
    fail_on: critical
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "critical: 1 of 14 checks is critical; redis_ping: Redis at 10.0.0.7:6379: no answer within 5 s"
report:
  description:
    - The report. Its whole shape is described by C(docs/report.schema.json). Keys without a value are left out.
  returned: when the options are good
  type: dict
  contains:
    schema:
      description: Name and version of the shape.
      type: str
      sample: matrixon.ops/report/1
    kind:
      description: Always V(health).
      type: str
      sample: health
    target:
      description: The host.
      type: str
      sample: db1
    deployment:
      description: The deployment.
      type: str
      sample: example
    profile:
      description: The homeserver profile.
      type: str
      sample: synapse
    started:
      description: When the run began, in UTC.
      type: str
      sample: "2026-11-23T09:00:00.000Z"
    finished:
      description: When it ended, in UTC.
      type: str
      sample: "2026-11-23T09:00:00.210Z"
    duration_ms:
      description: How long it took, in milliseconds.
      type: int
      sample: 210
    status:
      description: The overall verdict, one of V(ok), V(warning), V(critical) and V(unknown).
      type: str
      sample: critical
    counts:
      description: How many checks have each status. Self-reports do not count.
      type: dict
      sample: {ok: 13, warning: 0, critical: 1, unknown: 0, skipped: 2}
    checks:
      description: Every check, worst first.
      type: list
      elements: dict
      sample:
        - name: postgresql_connect
          target: 10.0.0.5:5432
          status: critical
          message: "10.0.0.5:5432: connection refused, nothing listens there"
          error_kind: refused
          duration_ms: 2
          source: probe
          warning: 100
    facts:
      description: What was found beside the verdicts, such as versions, and counters for the next run to compare with.
      type: dict
      sample: {versions: {postgresql: "17.2"}}
    evidence:
      description: Proofs that were left behind. Empty for this module.
      type: list
      elements: str
      sample: []
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._health.options import CHECKS_SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._health.run import (
    SCOPES,
    check_health,
    read_secrets,
)
from ansible_collections.matrixon.ops.plugins.module_utils._http import HTTPS_SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING, OBSERVER, headline


def argument_spec():
    """Return the options; each scope brings its own."""
    spec = dict(
        OBSERVER,
        deadline=dict(type="float", default=20),
        timeout=dict(type="float", default=5),
        retries=dict(type="int", default=0),
        retry_delay=dict(type="float", default=1),
        baseline=dict(type="dict"),
        **CHECKS_SPEC,
        **HTTPS_SPEC,
    )
    spec.update({name: dict(type="dict", options=scope.SPEC) for name, scope in SCOPES.items()})
    return spec


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_one_of=[list(SCOPES)],
        supports_check_mode=True,
    )
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        module.no_log_values.update(read_secrets(options))
        report = check_health(options)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    result = dict(changed=False, msg=headline(report), report=report.as_dict(options["detail"]))
    if report.status in FAILING[options["fail_on"]]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
