"""System updates of the fleet: in which order, behind a drain, and after a run that was killed or failed."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
ARCHIVE = "/srv/updates-test"
SUITE = "fleet-security"
JOURNAL = "/var/lib/matrixon-updates/journal.json"
SEEN = "/var/tmp/updates-test-journal.json"
SOCKET = "/run/haproxy/admin.sock"
# Runs the builder of the archive on the host.
BUILD = """
import types
builder = types.ModuleType("builder")
exec(compile(given["code"], "builder", "exec"), builder.__dict__)
builder.make(given["root"], given["suites"])
print("null")
"""
# Only the archive of the test: what Debian has today is not for a test to install.
TAKE_OVER = (
    "set -e; mkdir -p /etc/apt/kept-by-a-test/sources.list.d;"
    " if [ -e /etc/apt/sources.list ]; then mv /etc/apt/sources.list /etc/apt/kept-by-a-test/; fi;"
    " find /etc/apt/sources.list.d -type f -exec mv -t /etc/apt/kept-by-a-test/sources.list.d {} +;"
    f" echo 'deb [trusted=yes] file:{ARCHIVE} {SUITE} main' > /etc/apt/sources.list.d/updates-test.list;"
    " apt-get update"
)
GIVE_BACK = (
    "set -e; rm -f /etc/apt/sources.list.d/updates-test.list;"
    " if [ -e /etc/apt/kept-by-a-test/sources.list ]; then mv /etc/apt/kept-by-a-test/sources.list /etc/apt/; fi;"
    " find /etc/apt/kept-by-a-test/sources.list.d -type f -exec mv -t /etc/apt/sources.list.d {} +;"
    f" rm -r /etc/apt/kept-by-a-test {ARCHIVE}; rm -f {SEEN} {JOURNAL};"
    " dpkg --purge --force-all fleet-good fleet-bad; apt-get update"
)


@pytest.fixture(scope="module")
def offer(server: t.Any, run_python: t.Any) -> t.Iterator[t.Callable[..., None]]:
    """Put packages into an archive on hs2 that is the only one there."""
    code = (ROOT / "tests/integration/updates/archive_of_debs.py").read_text()
    host = server("hs2")

    def put(*packages: dict[str, str]) -> None:
        run_python("hs2", BUILD, code=code, root=ARCHIVE, suites={SUITE: list(packages)})

    put({"name": "fleet-good", "version": "1"}, {"name": "fleet-bad", "version": "1"})
    done = host.run(TAKE_OVER)
    assert done.rc == 0, done.stderr
    try:
        done = host.run("DEBIAN_FRONTEND=noninteractive apt-get install -y fleet-good fleet-bad")
        assert done.rc == 0, done.stderr
        yield put
    finally:
        done = host.run(GIVE_BACK)
        assert done.rc == 0, done.stderr


def versions(host: t.Any) -> dict[str, str]:
    told = host.run("dpkg-query -W -f '${Package} ${Version}\\n' 'fleet-*'").stdout
    return dict(line.split() for line in told.splitlines())


def drained(server: t.Any) -> set[str]:
    """The servers that the load balancer was told to drain."""
    told = server("lb1").run("echo 'show servers state' | socat - %s", SOCKET).stdout
    rows = [line.split() for line in told.splitlines()[2:] if line.strip()]
    return {row[3] for row in rows if int(row[6]) & 0x08}


def report(path: pathlib.Path, host: str) -> dict[str, t.Any]:
    document = json.loads((path / "updates-molecule.json").read_text())
    return next(entry for entry in document["hosts"] if entry["target"] == host)


def test_the_primary_comes_last_and_check_mode_touches_nothing(server: t.Any, playbook: t.Any) -> None:
    run = playbook("updates", "--check", "-e", "updates_hosts=db1:db2:lb1", "-e", "updates_fail_on=never")
    assert run.code == 0, run.output
    # The report of check mode is not written, and nothing else says that it would change.
    steps = run.output.partition("Show the order")[2].partition("TASK")[0]
    assert steps.index("host: db2") < steps.index("host: db1"), steps
    assert "stage: primary" in steps and "lb1: it is the only load balancer" in steps, steps
    assert not server("db2").file(JOURNAL).exists


def test_a_killed_run_is_healed_and_the_host_is_updated_behind_a_drain(
    server: t.Any, playbook: t.Any, client_as: t.Any, keep_asking: t.Any, offer: t.Any, tmp_path: pathlib.Path
) -> None:
    host = server("hs2")
    offer({"name": "fleet-good", "version": "2", "postinst": f"cp {JOURNAL} {SEEN}"})
    # What a run leaves that was killed between drain and return.
    host.run("mkdir -m 0700 -p %s", str(pathlib.PurePosixPath(JOURNAL).parent))
    host.run('echo \'{"started": "2026-01-01T00:00:00Z"}\' > %s', JOURNAL)
    backends = [
        line.split()[1]
        for line in server("lb1").run("echo 'show servers state' | socat - %s", SOCKET).stdout.splitlines()[2:]
        if " worker2 " in line
    ]
    server("lb1").run("echo 'set server %s/worker2 state drain' | socat - %s", backends[0], SOCKET)
    assert drained(server) == {"worker2"}
    (asker,) = keep_asking(lambda: client_as("matrix.fleet.test").call("GET", "/_matrix/client/versions"))

    run = playbook("updates", "-e", "updates_hosts=hs2", "-e", f"matrixon_report_dir={tmp_path}")
    asker.stop()
    assert run.code == 0, run.output
    assert run.output.index("heal.yml for hs2") < run.output.index("Install fleet-good")
    assert versions(host)["fleet-good"] == "2"
    # Seen from within the installation: it was out of service then.
    assert json.loads(host.file(SEEN).content_string)["drained"] is True
    assert drained(server) == set()
    assert not host.file(JOURNAL).exists
    assert asker.count > 10 and asker.failures == []
    (check,) = [one for one in report(tmp_path, "hs2")["checks"] if one["name"] == "updates_run"]
    assert check["status"] == "ok", check


def test_a_host_whose_update_fails_is_brought_back_and_told(
    server: t.Any, playbook: t.Any, offer: t.Any, tmp_path: pathlib.Path
) -> None:
    host = server("hs2")
    offer({"name": "fleet-good", "version": "2"}, {"name": "fleet-bad", "version": "2", "postinst": "exit 1"})
    run = playbook("updates", "-e", "updates_hosts=hs2", "-e", f"matrixon_report_dir={tmp_path}")
    assert run.code != 0, run.output
    assert drained(server) == set()
    assert not host.file(JOURNAL).exists
    found = report(tmp_path, "hs2")
    assert found["status"] == "critical"
    (check,) = [one for one in found["checks"] if one["name"] == "updates_run"]
    assert "it is in service" in check["message"] and "fleet-bad" in check["message"], check
