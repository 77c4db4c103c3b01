"""What is advised for a machine is what PostgreSQL starts with."""

from __future__ import annotations

import os
import pathlib
import socket

import pytest
from clusters import Cluster, run

from ansible_collections.matrixon.ops.plugins.module_utils import _postgresql_tuning as tuning
from ansible_collections.matrixon.ops.plugins.module_utils._performance import advice

GIB = 1024**3
# The tests share this machine with others.
CONNECTIONS = 60


def machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("gigabytes", [1, 4, 64])
def test_postgresql_starts_with_what_is_advised(base: pathlib.Path, majors: list[int], gigabytes: int) -> None:
    for major in majors:
        advised = tuning.settings(gigabytes * GIB, 4 * gigabytes, CONNECTIONS, "ssd", 2, major)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = Cluster(base / f"tuned-{major}-{gigabytes}", major, port)
        server.make()
        with open(server.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{line['name']} = '{line['value']}'\n" for line in advised)
            # A machine with huge pages set aside has them for others.
            file.write("huge_pages = 'off'\n")
        # The server itself reads and checks every value, whatever memory this machine has.
        shown = run(str(server.tools / "postgres"), "-D", str(server.data), "-C", "shared_buffers")
        assert int(shown) * 8192 == gigabytes * GIB // 4
        # Pages of shared memory that nobody touches take none; more than there is, the system refuses.
        if gigabytes * GIB // 4 > machine_bytes() * 3 // 4:
            continue
        server.start()
        try:
            columns = "name, setting, coalesce(unit, ''), vartype, current_setting(name)"
            rows = [line.split("|") for line in server.sql(f"SELECT {columns} FROM pg_settings").splitlines()]
            known = [dict(zip(("name", "setting", "unit", "vartype", "shown"), row, strict=False)) for row in rows]
            machine = advice.Machine(gigabytes * GIB, 4 * gigabytes, CONNECTIONS, "ssd", 2)
            others = [line for line in advice.compare(known, machine, major) if line.verdict != advice.AS_ADVISED]
            assert [line.setting for line in others] == ["huge_pages"], others
        finally:
            server.stop()
