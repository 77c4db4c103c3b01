"""The weekly and the monthly calendar on the fleet: each step, what it did at the service, check mode and a second run.

They take minutes, and so are for the soak: MATRIXON_FLEET_TESTS=soak.
"""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

pytestmark = pytest.mark.soak
REPORTS = pathlib.Path(__file__).resolve().parents[3] / "reports"
# Debian's updates of the day are not for a test to install; updates have tests of their own.
SKIPPED = {"20-060": "in tests of its own"}
GOOD = {"ok", "warning", "skipped"}


class Found(t.NamedTuple):
    """How the playbook ended, and the steps of each host."""

    code: int
    output: str
    changed: set[str]
    hosts: dict[str, dict[str, dict[str, t.Any]]]

    def bad(self) -> list[dict[str, t.Any]]:
        return [step for steps in self.hosts.values() for step in steps.values() if step["status"] not in GOOD]


@pytest.fixture(scope="module")
def calendar(playbook: t.Any, ca: str) -> t.Callable[..., Found]:
    def call(name: str, *words: str, **given: t.Any) -> Found:
        variables = {"maintenance_skip": SKIPPED, "ssl_expiry_outside_ca_file": ca, **given}
        run = playbook(f"maintenance_{name}", "-e", json.dumps(variables), *words)
        # Check mode publishes nothing.
        document = {"hosts": []} if "--check" in words else json.loads(published(name))
        hosts = {host["target"]: {check["target"]: check for check in host["checks"]} for host in document["hosts"]}
        steps = [step for host in document["hosts"] for step in host["facts"]["steps"] if step["status"] != "skipped"]
        # One after the other, whichever hosts they are for.
        assert [step["id"] for step in sorted(steps, key=began)] == sorted(step["id"] for step in steps)
        return Found(run.code, run.output, run.changed, hosts)

    return call


class Store:
    """The backup sets of the primary, and what drills found."""

    def __init__(self, host: t.Any) -> None:
        self.host, self.root = host, "/var/backups/matrixon/molecule/db1"

    def sets(self) -> dict[str, str]:
        """Return the kind of each set. Before the first one there is no catalog."""
        catalog = json.loads(self.host.run(f"cat {self.root}/catalog.json").stdout or '{"sets": []}')
        return {entry["id"]: entry["kind"] for entry in catalog["sets"]}

    def proofs(self) -> dict[str, str]:
        """Return the status of each drill, by its file."""
        paths = self.host.run(f"find {self.root}/drills -name '*.json'").stdout.split()
        return {path: json.loads(self.host.check_output("cat %s", path))["status"] for path in paths}


@pytest.fixture(scope="module")
def store(server: t.Any) -> Store:
    return Store(server("db1"))


def began(step: dict[str, t.Any]) -> str:
    return str(step["began"])


def published(name: str) -> bytes:
    return (REPORTS / f"maintenance_{name}-molecule.json").read_bytes()


def test_each_month_a_full_set_is_made_and_proven(calendar: t.Any, store: Store, people: t.Any) -> None:
    alice, _bob = people
    # A store of media with nothing in it is taken for one that is not mounted.
    alice.client.upload(alice.token, "some.bin", "application/octet-stream", b"some")
    # Other tests have deleted media, which are most of this small store.
    shrunk = {"backup_media_shrink_percent": 100}
    sets, proofs = store.sets(), store.proofs()
    found = calendar("monthly", **shrunk)
    assert not found.bad(), found.bad()
    assert found.code == 0, found.output
    assert set(found.hosts) == {"controller", "lb1", "hs1", "hs2", "db1", "db2", "cache1"}
    made = {name: kind for name, kind in store.sets().items() if name not in sets}
    proven = {path: status for path, status in store.proofs().items() if path not in proofs}
    assert list(made.values()) == ["full"] and list(proven.values()) == ["ok"], (made, proven)
    assert next(iter(made)) in next(iter(proven))

    before = store.sets(), store.proofs(), published("monthly")
    dry = calendar("monthly", "--check")
    assert dry.code == 0, dry.output
    assert (store.sets(), store.proofs(), published("monthly")) == before
    again = calendar("monthly", **shrunk)
    assert again.code == 0 and not again.bad(), again.bad()
    # Old ones may have gone by their retention.
    assert [kind for name, kind in store.sets().items() if name not in before[0]] == ["full"]


def test_each_week_the_newest_set_is_proven_and_the_database_is_tended(
    calendar: t.Any, store: Store, neglected: t.Callable[[], str]
) -> None:
    tend = {"database_upkeep_dead_rows": 5000}
    proofs = store.proofs()
    dry = calendar("weekly", "--check", **tend)
    assert dry.code == 0, dry.output
    assert neglected() == "20000" and store.proofs() == proofs
    found = calendar("weekly", **tend)
    assert not found.bad(), found.bad()
    assert found.code == 0, found.output
    assert neglected() == "0"
    assert [status for path, status in store.proofs().items() if path not in proofs] == ["ok"]
    # The tool for it is not installed here.
    assert found.hosts["db1"]["20-045"]["status"] == "skipped", found.hosts["db1"]["20-045"]
    again = calendar("weekly", **tend)
    assert again.code == 0 and not again.bad(), again.bad()
    assert "nothing to do" in again.hosts["db1"]["20-040"]["message"], again.hosts["db1"]["20-040"]
