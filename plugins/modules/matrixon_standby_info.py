#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_standby_info
short_description: What a standby of PostgreSQL is, and how far behind its primary
version_added: 0.1.0
description:
  - Looks at the server of this host on its socket, and at its data directory where no server runs.
  - Held against the last heartbeat of the primary it says how much of the log is missing here, in bytes and in seconds.
    What the primary wrote after that heartbeat is not in it.
  - With O(marker) it says whether the server has joined its primary. A server that only looks like a standby, such as
    an old primary that was started with C(standby.signal), is told by it.
  - What could not be read is named in C(standby.unreadable), and nothing is guessed. V(critical) means that a bad fact
    was observed, V(unknown) that it could not be observed.
  - The module reads only. It also tells of a primary, and then the check C(standby_recovery) is V(critical).
author:
  - The matrixon.ops authors (@matrixon)
extends_documentation_fragment:
  - matrixon.ops._attributes
  - matrixon.ops._observer
  - matrixon.ops._dr_server
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
  heartbeat:
    description:
      - What the primary said of itself last, as the witness has it. Needed are C(lsn), C(at), C(timeline) and
        C(system_identifier); with C(limits) the settings are compared in which a standby must not be smaller.
    type: dict
  marker:
    description: A row that was written on the primary, by which a standby shows that it has joined it.
    type: dict
    suboptions:
      id:
        description: Its name, as M(matrixon.ops.matrixon_promote) and M(matrixon.ops.matrixon_marker) return it.
        type: str
        required: true
      timeline:
        description: Timeline of the primary. Left out, it is that of O(heartbeat).
        type: int
  lag_warning:
    description: From how many seconds of lag on the check C(standby_lag) is V(warning).
    type: float
    default: 60
  lag_critical:
    description: From how many seconds of lag on it is V(critical).
    type: float
    default: 900
"""

EXAMPLES = r"""
- name: Look at the standby, and how much would be lost
  matrixon.ops.matrixon_standby_info:
    deployment: example
    profile: synapse
    heartbeat: "{{ last_heartbeat }}"
  register: found

- name: Show that the old primary follows the new one
  matrixon.ops.matrixon_standby_info:
    deployment: example
    profile: synapse
    marker:
      id: "{{ promoted.marker.id }}"
      timeline: "{{ promoted.timeline }}"
    fail_on: critical
"""

RETURN = r"""
msg:
  description: The verdict in one line, with the worst finding.
  returned: always
  type: str
  sample: "ok: all 7 checks are good"
report:
  description:
    - The report, of the kind V(standby). Its whole shape is described by C(docs/report.schema.json).
    - Its checks are C(standby_server), C(standby_recovery), C(standby_replay), C(standby_receiver), C(standby_lag),
      and with a heartbeat or a marker C(standby_identity), C(standby_limits), C(standby_timeline), C(standby_marker).
  returned: when the options are good
  type: dict
  sample: {schema: matrixon.ops/report/1, kind: standby, status: ok}
standby:
  description: The facts. Of a server that is down only those of its files are there.
  returned: when the options are good
  type: dict
  contains:
    server:
      description: V(running) or V(stopped).
      type: str
      returned: always
      sample: running
    data_directory:
      description: Where the data lies.
      type: str
      returned: always
      sample: /var/lib/postgresql/17/main
    major:
      description: The major version of the data.
      type: int
      returned: always
      sample: 17
    unreadable:
      description: What could not be read, each with C(what), C(error_kind) and C(message).
      type: list
      elements: dict
      returned: always
      sample: []
    system_identifier:
      description: Which cluster it is a copy of.
      type: str
      returned: when it could be read
      sample: "7576123456789012345"
    in_recovery:
      description: Whether it is a standby.
      type: bool
      returned: when the server answers
      sample: true
    timeline:
      description: The timeline that a standby replays, or that a primary writes. Of a server that is down, the latest
        that its control file knows.
      type: int
      returned: when it could be read
      sample: 1
    received_timeline:
      description: The timeline that the receiver gets.
      type: int
      returned: when the server answers
      sample: 1
    checkpoint_timeline:
      description: The timeline of the last checkpoint or restartpoint.
      type: int
      returned: when the server answers
      sample: 1
    receive_lsn:
      description: Up to where the log was received since the server started, or null.
      type: str
      returned: when the server answers
      sample: 0/5000060
    replay_lsn:
      description: Up to where a standby has replayed the log.
      type: str
      returned: when the server answers
      sample: 0/5000060
    flush_lsn:
      description: Up to where a primary has written the log.
      type: str
      returned: when the server answers
      sample: null
    replayed_at:
      description: When the last transaction that was replayed was committed on the primary; null if none was replayed
        since the server started.
      type: str
      returned: when the server answers
      sample: "2026-11-27T12:00:00.123Z"
    replay_paused:
      description: Whether the replay is paused, or will be. C(replay_pause_state) has the server's own words.
      type: bool
      returned: when the server answers
      sample: false
    apply_delay_s:
      description: The server's C(recovery_min_apply_delay), in seconds.
      type: float
      returned: when the server answers
      sample: 0.0
    receiver:
      description: What receives the log, with C(status), C(received_timeline), C(flushed_lsn), C(sender_host),
        C(sender_port), C(slot_name), C(last_message_at), and C(conninfo) without passwords. Null on a primary.
      type: dict
      returned: when the server answers
      sample: {status: streaming, received_timeline: 1}
    restore_command:
      description: Whether the server has a C(restore_command).
      type: bool
      returned: when the server answers
      sample: true
    primary_conninfo:
      description: Whether it is told a primary.
      type: bool
      returned: when the server answers
      sample: true
    limits:
      description: The five settings in which a standby must not be smaller than its primary.
      type: dict
      returned: when they could be read
      sample: {max_connections: 200, max_worker_processes: 8}
    data_bytes:
      description: Size of all databases.
      type: int
      returned: when the server answers
      sample: 1073741824
    disk_free_bytes:
      description: What is free on the file system of the data directory.
      type: int
      returned: always
      sample: 53687091200
    checksums:
      description: Whether data pages have checksums.
      type: bool
      returned: when it could be read
      sample: true
    wal_log_hints:
      description: The setting of that name; C(full_page_writes), C(archive_mode) and C(synchronous_standby_names) are
        there likewise.
      type: bool
      returned: when it could be read
      sample: true
    half_rewound:
      description: Whether a rewind of the data directory was begun and not ended. It must not be started then.
      type: bool
      returned: always
      sample: false
    patroni:
      description: Whether the files are those of a cluster that Patroni runs.
      type: bool
      returned: always
      sample: false
    standby_signal:
      description: Whether the file is there that makes the server start as a standby.
      type: bool
      returned: always
      sample: true
    marker:
      description: Whether the row of O(marker) is C(visible) here, and C(written_at).
      type: dict
      returned: with O(marker), when the server answers
      sample: {id: 4f6c, visible: true}
    lag_bytes:
      description: How much of the log is missing here of what the primary had written at the heartbeat. Never negative.
      type: int
      returned: with O(heartbeat)
      sample: 0
    lag_seconds:
      description:
        - How old the last transaction here was at the heartbeat, 0 if nothing is missing. It is the most that can be
          missing.
        - Null where no transaction was replayed since the server started.
      type: float
      returned: with O(heartbeat)
      sample: 0.0
    control_state:
      description: The state in the control file, in PostgreSQL's words.
      type: str
      returned: when the server is down
      sample: shut down
    clean:
      description: Whether it was stopped cleanly.
      type: bool
      returned: when the server is down
      sample: true
    end_lsn:
      description: Where the log ends, behind the last checkpoint. A standby that replayed up to there lacks nothing.
        It is what O(matrixon.ops.matrixon_promote#module:until_lsn) takes.
      type: str
      returned: when a primary was stopped cleanly
      sample: 0/50000D8
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._dr import standby
from ansible_collections.matrixon.ops.plugins.module_utils._dr.entry import observe
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import SERVER
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER


def main():
    module = AnsibleModule(
        argument_spec=dict(
            SERVER,
            **OBSERVER,
            heartbeat=dict(type="dict"),
            marker=dict(type="dict", options=dict(id=dict(type="str", required=True), timeline=dict(type="int"))),
            lag_warning=dict(type="float", default=60),
            lag_critical=dict(type="float", default=900),
        ),
        supports_check_mode=True,
    )
    observe(module, standby.run)


if __name__ == "__main__":
    main()
