#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_pgbackrest
short_description: Configure pgBackRest for a PostgreSQL server, and make its stanza
version_added: 0.1.0
description:
  - Writes C(pgbackrest.conf), and what is secret into C(conf.d/secrets.conf), which the server's user alone can read.
    Then it makes the stanza in each repository that does not have it, and looks whether it is there.
  - A pgBackRest older than 2.55 is refused. So is a repository of another server, and one that lost its stanza though
    the server has archived into it. Then the old files come back.
  - pgBackRest removes nothing by itself with this configuration. Which backups stay is decided over whole sets by
    M(matrixon.ops.matrixon_backup_prune).
  - The server's own settings are not touched. RV(archive_command) is what C(archive_command) must be.
attributes:
  check_mode:
    support: full
    description: Says which files would change. Repositories are asked where no file would, and pgBackRest is installed.
  diff_mode:
    support: full
    description: Shows C(pgbackrest.conf). Nothing that is secret is shown.
  idempotent:
    support: full
extends_documentation_fragment:
  - matrixon.ops._attributes
options:
  stanza:
    description: Name of the cluster in the repositories.
    type: str
    required: true
  data_directory:
    description: Data directory of the server.
    type: path
    required: true
  socket:
    description: Directory of the server's socket.
    type: path
    default: /var/run/postgresql
  port:
    description: The server's port.
    type: int
    default: 5432
  user:
    description: A superuser of the server.
    type: str
    default: postgres
  owner:
    description: The user of the operating system that the server runs as.
    type: str
    default: postgres
  repositories:
    description: Where backups and the log go. The first is number 1. The log goes to all of them.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Directory on this host, or path in the bucket.
        type: path
        required: true
      encrypted:
        description: Whether the repository is encrypted. One in an object store must be.
        type: bool
        default: true
      passphrase:
        description: Its passphrase, of 20 characters or more. Without it nothing can be read any more.
        type: str
      s3:
        description: An object store that speaks S3. Left out, the repository is a directory of this host.
        type: dict
        suboptions:
          bucket:
            description: Name of the bucket.
            type: str
            required: true
          endpoint:
            description: Name of the host, without C(https://) and without a port.
            type: str
            required: true
          region:
            description: The region.
            type: str
            default: us-east-1
          port:
            description: The port.
            type: int
            default: 443
          uri_style:
            description: Whether the bucket stands in the host's name or in the path.
            type: str
            choices: [host, path]
            default: host
          ca_file:
            description:
              - PEM file with an authority that this host does not trust by itself. Certificates are always verified.
            type: path
          access_key:
            description: The access key.
            type: str
            required: true
          secret_key:
            description: The secret key.
            type: str
            required: true
  compression:
    description: How files are compressed.
    type: str
    choices: [zst, lz4, gz]
    default: zst
  compression_level:
    description: How hard.
    type: int
    default: 3
  processes:
    description: How many processors may compress at the same time.
    type: int
    default: 2
  asynchronous:
    description: Whether several segments of the log are archived at the same time, which keeps up with more writing.
    type: bool
    default: true
  spool:
    description: Directory for what asynchronous archiving has to remember.
    type: path
    default: /var/spool/pgbackrest
  log_directory:
    description: Directory of its logs.
    type: path
    default: /var/log/pgbackrest
  configuration:
    description: Directory of the configuration.
    type: path
    default: /etc/pgbackrest
  deadline:
    description: Seconds that the whole run may take.
    type: float
    default: 120
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Keep backups and the log on a file system of their own
  matrixon.ops.matrixon_pgbackrest:
    stanza: main
    data_directory: /var/lib/postgresql/17/main
    repositories:
      - path: /srv/backup/pgbackrest
        passphrase: "{{ vault_repository_passphrase }}"
"""

RETURN = r"""
msg:
  description: What was done.
  returned: always
  type: str
  sample: "the stanza main was made in repository 1"
version:
  description: The version of pgBackRest; none in check mode where it is not installed.
  returned: success
  type: str
  sample: "2.55.1"
archive_command:
  description: What the server's setting C(archive_command) must be.
  returned: success
  type: str
  sample: "pgbackrest --stanza=main archive-push %p"
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_settings as settings
from ansible_collections.matrixon.ops.plugins.module_utils._backup import pgbackrest_setup
from ansible_collections.matrixon.ops.plugins.module_utils._probe import ProbeFailure

S3 = dict(
    bucket=dict(type="str", required=True),
    endpoint=dict(type="str", required=True),
    region=dict(type="str", default="us-east-1"),
    port=dict(type="int", default=443),
    uri_style=dict(type="str", choices=["host", "path"], default="host"),
    ca_file=dict(type="path"),
    access_key=dict(type="str", required=True, no_log=True),
    secret_key=dict(type="str", required=True, no_log=True),
)
REPOSITORY = dict(
    path=dict(type="path", required=True),
    encrypted=dict(type="bool", default=True),
    passphrase=dict(type="str", no_log=True),
    s3=dict(type="dict", options=S3),
)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            stanza=dict(type="str", required=True),
            data_directory=dict(type="path", required=True),
            socket=dict(type="path", default="/var/run/postgresql"),
            port=dict(type="int", default=5432),
            user=dict(type="str", default="postgres"),
            owner=dict(type="str", default="postgres"),
            repositories=dict(type="list", elements="dict", options=REPOSITORY, required=True),
            compression=dict(type="str", choices=["zst", "lz4", "gz"], default="zst"),
            compression_level=dict(type="int", default=3),
            processes=dict(type="int", default=2),
            asynchronous=dict(type="bool", default=True),
            spool=dict(type="path", default="/var/spool/pgbackrest"),
            log_directory=dict(type="path", default="/var/log/pgbackrest"),
            configuration=dict(type="path", default=settings.DIRECTORY),
            deadline=dict(type="float", default=120),
        ),
        supports_check_mode=True,
    )
    try:
        done = pgbackrest_setup.run(module.params, module.check_mode)
    except ProbeFailure as failure:
        module.fail_json(msg=failure.message, error_kind=failure.kind)
    module.exit_json(
        changed=done.changed,
        msg="; ".join(done.words) or "everything is as it should be",
        version=done.version,
        archive_command=done.archive_command,
        diff={"before": done.before, "after": done.after},
    )


if __name__ == "__main__":
    main()
