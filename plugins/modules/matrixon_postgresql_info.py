#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_postgresql_info
short_description: What a Debian host says of PostgreSQL without a running server
version_added: 0.1.0
description:
  - Looks at the packages, the cluster's configuration and its data directory, and at the size of the machine.
  - It needs no running server and no installed one. It changes nothing.
  - The role P(matrixon.ops.postgresql#role) plans with it.
attributes:
  check_mode:
    support: full
    description: It only reads, and does the same in check mode.
  diff_mode:
    support: none
    description: Nothing changes.
  platform:
    support: full
    description: Debian's layout of clusters is assumed.
    platforms: debian
options:
  version:
    description: The major version. V(0) stands for the one that the distribution brings.
    type: int
    default: 0
  cluster:
    description: Name of the cluster, in Debian's sense.
    type: str
    default: main
  data_directory:
    description: Where the data lies or will lie. Empty stands for Debian's place.
    type: path
    default: ""
  packages:
    description: Names of packages of which to say whether they are installed. C({major}) stands for the major version.
    type: list
    elements: str
    default: []
  readable:
    description: Files that the server must be able to read.
    type: list
    elements: path
    default: []
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Look at the cluster of this host
  matrixon.ops.matrixon_postgresql_info:
    packages: ["postgresql-{major}"]
  register: found
"""

RETURN = r"""
major:
  description: The major version, 0 if none was given and the distribution is not known.
  type: int
  returned: always
  sample: 17
distribution:
  description: Name and version of the distribution.
  type: str
  returned: always
  sample: debian 13
memory_bytes:
  description: Memory of the machine, or the smaller limit that it is under.
  type: int
  returned: always
  sample: 17179869184
cores:
  description: Cores that may be used.
  type: int
  returned: always
  sample: 4
installed:
  description: Whether the server of this major version is installed.
  type: bool
  returned: always
  sample: true
missing_packages:
  description: Which of O(packages) are not installed.
  type: list
  elements: str
  returned: always
  sample: []
configured:
  description: Whether Debian's configuration of the cluster is there.
  type: bool
  returned: always
  sample: true
configured_data_directory:
  description: The data directory that this configuration names.
  type: str
  returned: always
  sample: /var/lib/postgresql/17/main
other_clusters:
  description: Clusters of the same name and another major version.
  type: list
  elements: str
  returned: always
  sample: []
data_directory:
  description: Where the data lies or will lie.
  type: str
  returned: always
  sample: /var/lib/postgresql/17/main
data:
  description:
    - V(absent), V(empty), V(cluster), or V(foreign) for a directory that holds something else.
    - V(broken) if C(PG_VERSION) is there, but the control file cannot be read or is of another major version.
  type: str
  returned: always
  sample: cluster
standby:
  description: Whether the data is that of a standby.
  type: bool
  returned: always
  sample: false
running:
  description: Whether a server runs on the data.
  type: bool
  returned: always
  sample: true
control:
  description: System identifier, state, checksums, timeline and limits out of the control file.
  type: dict
  returned: always
  sample: {"system_identifier": "7576123456789012345", "checksums": true}
unreadable:
  description: Which of O(readable) the server cannot read. Not known before it is installed, and then empty.
  type: list
  elements: str
  returned: always
  sample: []
"""

import os
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_host as host

CONFIGURATION = "/etc/postgresql"
ENVIRONMENT = {"LC_ALL": "C"}


def content(*paths: str) -> str:
    """Return the text of the first file that is there, or nothing."""
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            continue
    return ""


def missing_packages(module: AnsibleModule, names: list[str]) -> list[str]:
    """Return the packages that dpkg does not call installed."""
    if not names:
        return []
    argv = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *names]
    # Code 1 says that one of them is not known at all.
    dummy, out, dummy = module.run_command(argv, environ_update=ENVIRONMENT)
    installed = {line.split()[0] for line in out.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def data_state(module: AnsibleModule, directory: str, major: int, tools: str) -> tuple[str, dict]:
    """Return what a data directory is, and what its control file says."""
    nothing = host.control_data("")
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return "absent", nothing
    except OSError as error:
        module.fail_json(msg=f"data_directory: {directory} cannot be read: {error.strerror}; run the module as root")
    if not names:
        return "empty", nothing
    if "PG_VERSION" not in names:
        return "foreign", nothing
    if content(os.path.join(directory, "PG_VERSION")).strip() != str(major):
        return "broken", nothing
    argv = [os.path.join(tools, "pg_controldata"), directory]
    if not os.path.exists(argv[0]):
        return "cluster", nothing
    code, out, dummy = module.run_command(argv, environ_update=ENVIRONMENT)
    found = host.control_data(out)
    return ("cluster", found) if code == 0 and found["system_identifier"] else ("broken", nothing)


def running(directory: str, proc: str = "/proc") -> bool:
    """Say whether the process that the data directory names is there, and is a server on this data."""
    pid = content(os.path.join(directory, "postmaster.pid")).partition("\n")[0].strip()
    if not pid.isdigit() or content(f"{proc}/{pid}/comm").strip() != "postgres":
        return False
    try:
        return os.path.samefile(f"{proc}/{pid}/cwd", directory)
    except OSError:
        # Its number cannot be another process's without the name being, too: that is likely enough.
        return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(
            version=dict(type="int", default=0),
            cluster=dict(type="str", default="main"),
            data_directory=dict(type="path", default=""),
            packages=dict(type="list", elements="str", default=[]),
            readable=dict(type="list", elements="path", default=[]),
        ),
        supports_check_mode=True,
    )
    cluster = module.params["cluster"]
    distribution = host.os_release(content("/etc/os-release"))
    major = module.params["version"] or host.MAJORS.get(distribution, 0)
    tools = f"/usr/lib/postgresql/{major}/bin"
    configuration = f"{CONFIGURATION}/{major}/{cluster}/postgresql.conf"
    directory = (module.params["data_directory"] or f"/var/lib/postgresql/{major}/{cluster}").rstrip("/")
    installed = os.path.exists(f"{tools}/postgres")

    versions = os.listdir(CONFIGURATION) if os.path.isdir(CONFIGURATION) else []
    others = [
        f"{name}/{cluster}"
        for name in sorted(versions)
        if re.match(r"\d+$", name)
        and name != str(major)
        and os.path.exists(f"{CONFIGURATION}/{name}/{cluster}/postgresql.conf")
    ]
    data, control = data_state(module, directory, major, tools)
    unreadable = []
    if installed:
        for path in module.params["readable"]:
            # As the server's own user, through all directories above.
            code, dummy, dummy = module.run_command(["runuser", "-u", "postgres", "--", "test", "-r", path])
            if code != 0:
                unreadable.append(path)

    module.exit_json(
        changed=False,
        major=major,
        distribution=" ".join(distribution),
        memory_bytes=host.memory_bytes(
            content("/proc/meminfo"),
            content("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        ),
        cores=len(os.sched_getaffinity(0)),
        installed=installed,
        missing_packages=missing_packages(
            module, [name.replace("{major}", str(major)) for name in module.params["packages"]]
        ),
        configured=os.path.exists(configuration),
        configured_data_directory=host.setting(content(configuration), "data_directory").rstrip("/"),
        other_clusters=others,
        data_directory=directory,
        data=data,
        running=running(directory),
        standby=os.path.exists(f"{directory}/standby.signal"),
        control=control,
        unreadable=unreadable,
    )


if __name__ == "__main__":
    main()
