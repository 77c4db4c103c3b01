#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_media_cleanup
short_description: Delete media that nobody used for long, through the homeserver's API
version_added: 0.1.0
description:
  - Has the homeserver delete copies of other servers' media, and by explicit choice media of its own users, that nobody
    used for a number of days. No file is deleted but by the homeserver itself.
  - What would go is looked up in the homeserver's tables first, with all its files in the media store.
  - It refuses where the clocks of the controller, this host and the homeserver differ by more than a minute, where too
    large a share would go at once, and where no verified backup of the database is new enough.
  - Local media go one by one, and only when the newest verified set of the media holds every file that would go, in its
    length. Pictures of users and rooms stay, and what is quarantined or protected from quarantine.
  - Afterwards rows and files are looked up again, and a file that stayed is fetched. What the API itself says is
    labelled C(self_report) and counts for nothing.
  - An API that fails in the middle ends the run. The report says by what was measured how much went and how much is
    left, and the next run goes on.
notes:
  - "On the target, which must be the host of the media: Python 3.9, C(psycopg2), and what reads the backup sets,
    C(restic) or C(rsync). Become root, or a user who can read media and sets."
  - "On the controller: nothing beyond ansible-core."
  - What a backup holds of deleted media is the last copy, until the retention of the backup takes it, too.
  - Copies in storage providers of Synapse are not deleted by Synapse, so they stay.
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
  - matrixon.ops._postgresql_login
attributes:
  check_mode:
    support: full
    details:
      - Looks and judges as otherwise, says what would go and why, and deletes nothing.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A second run finds nothing that is old, and calls nothing.
options:
  server_name:
    description: The part of a user id behind the colon.
    type: str
    required: true
  media_dir:
    description: Directory of the media store on this host.
    type: path
    required: true
  ways:
    description: What the profile has under C(media_cleanup), with the calls and queries.
    type: dict
    required: true
  controller_time:
    description: The controller's time in seconds since 1970, such as V({{ now(utc=true\).timestamp(\) }}).
    type: float
    required: true
  remote_days:
    description: Copies of other servers' media go that nobody used for so many days. Left out, they stay.
    type: int
  remote_without_backup:
    description:
      - Why remote media may go without a verified backup of the database. It stands in the report.
      - Left out, there must be one. Local media always need one.
    type: str
  local_days:
    description: Media of own users go that nobody used for so many days. Left out, they stay.
    type: int
  local_confirm:
    description: O(server_name) once more, without which no local media go.
    type: str
  local_larger_than:
    description: Local media of so many bytes or fewer stay.
    type: int
    default: 0
  max_share:
    description: Percent of the files, and of the bytes, of one kind that may go at once. More is refused.
    type: float
    default: 30
  api:
    description: The admin API of the homeserver process that keeps the media.
    type: dict
    required: true
    suboptions:
      url:
        description: Its base, such as V(http://127.0.0.1:8008). Best asked directly, not through a load balancer.
        type: str
        required: true
      token:
        description: Access token of an administrator. Needed where the profile can clean up.
        type: str
      token_file:
        description: File on this host that holds it.
        type: path
      connect_to:
        description: Where to connect in the stead of an address, as V(host:port) to V(host:port).
        type: dict
        default: {}
      ca_file:
        description: PEM file with the authorities to trust in HTTPS. Left out, those of the system are trusted.
        type: path
      validate_certs:
        description: Whether certificates and their names are verified.
        type: bool
        default: true
  postgresql:
    description:
      - The server that holds the homeserver's database, and that database. The session is read-only, and the user may
        read the homeserver's tables.
    required: true
  backup:
    description: The backup sets of this host, as in M(matrixon.ops.matrixon_backup_info). Needed for local media.
    type: dict
    suboptions:
      root:
        description: Directory with all backup sets.
        type: path
        required: true
      server:
        description: Name of the server that the sets are of. Left out, this host's name.
        type: str
      owner:
        description: User of the operating system to whom the store belongs. Left out, the user who runs the module.
        type: str
      repository:
        description: Where the media are kept. Left out, what O(backup.environment_file) names, else beside the sets.
        type: str
      password_file:
        description: File with restic's password.
        type: path
      environment_file:
        description: File with variables for restic.
        type: path
  database_sets:
    description:
      - The sets of the host with the database, as M(matrixon.ops.matrixon_backup_info) returns them under C(sets).
        Those of O(backup) are looked at as well.
    type: list
    elements: dict
    default: []
  backup_max_age:
    description: Seconds that the newest verified set of the database may be old.
    type: float
    default: 93600
  batch:
    description: How many remote files one call of the API may delete. Those of one moment go together.
    type: int
    default: 500
  timeout:
    description: Seconds for one call of the API.
    type: float
    default: 120
  deadline:
    description: Seconds after which no further call is made. What is true then is looked at within another minute.
    type: float
    default: 3600
"""

EXAMPLES = r"""
- name: Delete copies of other servers' media that nobody used for 90 days
  matrixon.ops.matrixon_media_cleanup:
    deployment: example
    profile: synapse
    server_name: example.com
    media_dir: /var/lib/matrix-synapse/media
    ways: "{{ matrixon_facts.media_cleanup }}"
    controller_time: "{{ now(utc=true).timestamp() }}"
    remote_days: 90
    api: {url: "http://127.0.0.1:8008", token_file: /etc/matrixon/admin_token}
    postgresql: {host: db1.internal, database: synapse, user: synapse, password: "{{ vault_database }}"}
    backup: {root: /var/backups/matrixon}
    database_sets: "{{ hostvars['db1'].backups.sets }}"
    fail_on: unknown
  register: cleaned
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "ok: all 9 checks are good"
doomed:
  description:
    - What was to go, by kind, the longest unused first, at most 1000 of each. In check mode what would go.
    - Left out for a kind that was refused.
  returned: when the options are good
  type: dict
  sample:
    remote:
      - {path: remote_content/example.org/aB/cD/eFgH, bytes: 52311, used: "2026-05-01T09:00:00.000Z"}
report:
  description:
    - The report, of the kind V(media_cleanup). Its whole shape is described by C(docs/report.schema.json).
    - Its facts have for each kind what was there before and after, what went and what is left.
  returned: when the options are good
  type: dict
  sample: {schema: matrixon.ops/report/1, kind: media_cleanup, status: ok}
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._health.options import read_secrets
from ansible_collections.matrixon.ops.plugins.module_utils._media.options import SECRETS, SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._media.run import run
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._report import FAILING, count, headline


def diff_of(doomed):
    """Return the files that go, or would go, one a line."""
    lines = [one["path"] for kind in sorted(doomed) for one in doomed[kind]]
    return dict(before="".join(f"{line}\n" for line in lines), after="")


def main():
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        module.no_log_values.update(read_secrets(options, SECRETS))
        outcome = run(options, module.check_mode)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    report = outcome.report
    reasons = "; ".join(check.skipped_reason for check in report.checks if check.skipped_reason)
    result = dict(
        changed=outcome.changed,
        # Where nothing was executed, why is all there is to say.
        msg=f"{headline(report)}; {reasons}" if reasons and not count(report.checks)["ok"] else headline(report),
        report=report.as_dict(options["detail"]),
        doomed=outcome.doomed,
    )
    if module._diff and outcome.changed:
        result["diff"] = diff_of(outcome.doomed)
    if report.status in FAILING[options["fail_on"]]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
