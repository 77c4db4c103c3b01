"""Two zones and their name servers for all tests of DNS."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from nameservers import NameServer, Zone, until
from zones import ELSEWHERE, OTHERS, RECORDS, ZONE, Region


@pytest.fixture(scope="session")
def region(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Region]:
    directory = tmp_path_factory.mktemp("dns")
    home = Zone(ZONE, RECORDS)
    primary = NameServer(directory, "primary", [home])
    secondary = NameServer(directory, "secondary", [Zone(ZONE, primary=primary)], ipv6=True)
    deaf = NameServer(directory, "deaf", [Zone(ZONE, primary=primary, hears=False)])
    home.notifies = [secondary, deaf]
    elsewhere = NameServer(directory, "elsewhere", [Zone(ELSEWHERE, OTHERS)])
    running = Region(primary, secondary, deaf, elsewhere)
    try:
        for server in (primary, secondary, deaf, elsewhere):
            server.start()
        for server in (primary, secondary, deaf):
            until(lambda server=server: server.serial(ZONE) > 0, f"{server.name} has the zone")
        yield running
    finally:
        for server in (primary, secondary, deaf, elsewhere):
            server.stop()
