"""A drill as its operator meets it."""

from __future__ import annotations

import json
import pathlib
import typing as t

from regions import on

DIRECTORY, RUN = "/var/lib/postgresql/matrixon-drill", "/run/matrixon-drill"
HOMESERVER, COPY = "matrixon-drill-homeserver.service", "matrixon-drill-postgresql.service"
# So that the copy need not wait for a checkpoint that is spread over minutes.
FAST = ["-e", "dr_drill_checkpoint=fast"]


def report_of(reports: pathlib.Path) -> dict[str, t.Any]:
    (host,) = json.loads((reports / "drill_dr-molecule-dr.json").read_text())["hosts"]
    return t.cast("dict[str, t.Any]", host)


def flat(text: str) -> str:
    return " ".join(text.split())


def units(host: str) -> str:
    return on(host, "systemctl", "list-units", "--all", "--plain", "--no-legend", "matrixon-drill*")


def nothing_is_left() -> None:
    for host in ("db2", "hs2"):
        assert not units(host)
        assert not on(host, "find", "/run/systemd/system", "-name", "matrixon-drill*")
        for path in (DIRECTORY, RUN, "/run/matrixon-drill-postgresql"):
            assert not on(host, "find", path, "-maxdepth", "0", check=False), f"{path} on {host}"
    assert "matrixon-drill" not in on("db2", "ps", "-eo", "args")
