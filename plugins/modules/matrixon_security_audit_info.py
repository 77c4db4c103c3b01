#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_security_audit_info
short_description: Find what is weak on a host, in one call
version_added: 0.1.0
description:
  - Looks at packages, files with secrets, PostgreSQL, Redis, the homeserver's settings, listening ports, accounts,
    sudo, the SSH server and the kernel, under one total deadline, and returns one report with what is weak.
  - A finding has a stable id, what was found, what is expected, how heavy it is, and how to mend it. Where a rule can
    be broken by several things, the id goes on with a colon and the thing, as in C(secret-readable:/etc/a.key).
  - V(critical) and V(warning) mean that a weakness was observed. V(unknown) means that it could not be observed.
    What does not apply to a host, or is not installed there, is V(skipped) with the reason and the way out.
  - O(exceptions) are findings that somebody answers for until a day. Until then they are V(skipped) with the reason;
    afterwards they count again, and say so.
  - The module reads only. It does not update package lists, and what C(lynis) writes goes into a private directory that
    is gone afterwards.
notes:
  - "On the target: Python 3.9. Each of these adds to what can be seen, where it is installed: C(apt), C(sudo), the
    OpenSSH server, C(ufw), C(psql) and C(setpriv), C(debsecan), which asks Debian's security tracker, and C(lynis)."
  - "On the controller: nothing beyond ansible-core."
  - Root's rights are needed to see all of it. Without them much is V(unknown), and it says so.
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
  areas:
    description:
      - What to look at. Left out, all of it.
    type: list
    elements: str
    choices: [packages, files, postgresql, redis, homeserver, ports, access, kernel]
  deadline:
    description:
      - Seconds after which the module returns, whatever still hangs.
    type: float
    default: 300
  timeout:
    description:
      - Seconds for each look but that of C(lynis), which may take all the time there is.
    type: float
    default: 60
  lists_max_days:
    description:
      - Days after which package lists are too old for it to follow from them that no update is pending.
    type: float
    default: 7
  debsecan:
    description:
      - Whether known vulnerabilities are asked for, where C(debsecan) is installed. It fetches its data.
    type: bool
    default: true
  debsecan_source:
    description:
      - Where C(debsecan) fetches its data from, as a URL that ends in a slash. Empty is Debian's security tracker.
    type: str
    default: ""
  lynis:
    description:
      - Whether C(lynis) runs, where it is installed. It takes about half a minute of one core.
    type: bool
    default: true
  ports:
    description:
      - Ports at which this host may listen for others, such as V(443/tcp) or V(49152:65535/udp). Without a protocol
        they are TCP. Empty judges none.
    type: list
    elements: str
    default: []
  firewall:
    description:
      - Whether the packet filter C(ufw) must be active.
    type: bool
    default: false
  automation_users:
    description:
      - Users who may become root for everything without a password, as C(sudoers) has them. A group begins with C(%).
    type: list
    elements: str
    default: []
  shell_users:
    description:
      - Accounts of services that may have a shell. Debian gives one to V(postgres).
    type: list
    elements: str
    default: [postgres]
  secret_files:
    description:
      - Files that hold secrets. What is not there is not judged.
    type: list
    elements: dict
    default: []
    suboptions:
      paths:
        description: Paths of files, or patterns as those of a shell.
        type: list
        elements: path
        required: true
      owners:
        description: Users one of whom must own it. Empty leaves the owner unjudged.
        type: list
        elements: str
        default: []
  directories:
    description:
      - Directories below which nobody but their owners may write. Other file systems below them are not looked at.
    type: list
    elements: path
    default: []
  directories_without:
    description:
      - Paths below them that are left out, such as those of media.
    type: list
    elements: path
    default: []
  postgresql:
    description:
      - The PostgreSQL server of this host. It is asked read-only at its socket, as its own user. Left out, there is
        none.
    type: dict
    suboptions:
      socket_directory:
        description: Where its socket lies.
        type: path
        default: /var/run/postgresql
      port:
        description: Its port.
        type: int
        default: 5432
      user:
        description: The user that it runs as, who is its superuser, too.
        type: str
        default: postgres
      superusers:
        description: Logins that may be superusers.
        type: list
        elements: str
        default: [postgres]
      database:
        description: The database of the homeserver.
        type: str
        default: postgres
      admins_query:
        description: A query for the names of the homeserver's administrators. Left out, nobody is asked.
        type: str
      admins_unsupported:
        description: Why there is no such query, for the report.
        type: str
      admins:
        description: Who may be an administrator. Empty lets the number decide.
        type: list
        elements: str
        default: []
      max_admins:
        description: How many administrators there may be where O(postgresql.admins) is empty.
        type: int
        default: 5
  redis:
    description:
      - The Redis server of this host. Left out, there is none.
    type: dict
    suboptions:
      host:
        description: Where it is asked.
        type: str
        default: 127.0.0.1
      port:
        description: Its port.
        type: int
        default: 6379
      password:
        description: Its password.
        type: str
      password_file:
        description: File on the target with the password. It counts before O(redis.password).
        type: path
  homeserver:
    description:
      - The homeserver of this host. Left out, there is none.
    type: dict
    suboptions:
      configuration:
        description: Command that prints the configuration as JSON, with the absolute path of a program first.
        type: list
        elements: str
        default: []
      settings:
        description:
          - Paths of settings in that document, as in the section C(audit.settings) of a profile. What is not named is
            not judged.
        type: dict
        default: {}
      unsupported:
        description: Why there is no such command, for the report.
        type: str
      signing_key:
        description: File with the key that signs events.
        type: path
      signing_key_max_days:
        description: Days after which the file of the key should have been written anew.
        type: float
        default: 1095
  exceptions:
    description:
      - Findings that somebody answers for. An unknown says nothing of a weakness, so no exception is for it.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: The id of a rule, or that of one finding with its colon and thing.
        type: str
        required: true
      host:
        description: Pattern of O(target), as for file names.
        type: str
        required: true
      reason:
        description: Why it is accepted.
        type: str
        required: true
      owner:
        description: Who answers for it.
        type: str
        required: true
      expires:
        description: The last day on which it counts, such as V(2027-01-31), in UTC.
        type: str
        required: true
"""

EXAMPLES = r"""
- name: Look at a database server
  matrixon.ops.matrixon_security_audit_info:
    deployment: example
    profile: synapse
    ports: [22/tcp, 5432/tcp]
    firewall: true
    automation_users: [ansible]
    secret_files:
      - {paths: [/etc/ssl/matrixon/*/privkey.pem], owners: [root]}
      - {paths: [/var/lib/postgresql/*.pgpass], owners: [postgres]}
    directories: [/etc, /usr/local]
    postgresql: {}
    exceptions:
      - id: ssh-password-login
        host: db1
        reason: the vendor logs in from its own network
        owner: alice
        expires: "2027-01-31"
  register: audit

- name: Ask only who gets in, and fail on what is really open
  matrixon.ops.matrixon_security_audit_info:
    deployment: example
    profile: synapse
    areas: [access, ports]
    ports: [22/tcp]
    fail_on: critical
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "critical: 1 of 41 checks is critical; ssh_root_login: permitrootlogin is yes; expected: root does not log in
    with a password; to mend: set PermitRootLogin no in sshd_config, then reload ssh [ssh-root-login]"
report:
  description:
    - The report, of the kind V(security_audit). Its whole shape is described by C(docs/report.schema.json).
    - The name of a check is the id of its rule with underscores, its target the thing that a finding is about.
  returned: when the options are good
  type: dict
  sample:
    schema: matrixon.ops/report/1
    kind: security_audit
    status: critical
findings:
  description: What is weak, the worst first, a hundred at most.
  returned: when the options are good
  type: list
  elements: dict
  sample:
    - id: ssh-root-login
      severity: critical
      found: permitrootlogin is yes
      expected: root does not log in with a password
      mend: set PermitRootLogin prohibit-password or no in sshd_config, then reload ssh
exceptions:
  description:
    - What became of each exception that is for this host. V(used) and V(expired) matched a finding, V(unused) none,
      and what V(unseen) is about was not looked at, or could not be observed.
  returned: when the options are good
  type: list
  elements: dict
  sample:
    - {id: ssh-password-login, host: db1, state: used}
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._audit.options import AREAS_SPEC, read_secrets
from ansible_collections.matrixon.ops.plugins.module_utils._audit.run import audit
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER, leave


def main():
    module = AnsibleModule(argument_spec=dict(OBSERVER, **AREAS_SPEC), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        module.no_log_values.update(read_secrets(options))
        outcome = audit(options)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    leave(module, outcome.report, findings=outcome.findings, exceptions=outcome.exceptions)


if __name__ == "__main__":
    main()
