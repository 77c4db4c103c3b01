"""Maintenance windows of the fleet: one in which hosts are updated, and one whose time runs out.

They take minutes, and so are for the soak: MATRIXON_FLEET_TESTS=soak. tests/integration/window has those of one host.
"""

from __future__ import annotations

import datetime
import http.server
import json
import pathlib
import threading
import time
import typing as t

import pytest

pytestmark = pytest.mark.soak
SEEN = "/var/tmp/window-test.json"
# A newer libcrypto as dpkg brings it: everything that has loaded the old one runs with a file that is gone.
REPLACE = (
    "f=$(readlink -f $(ldconfig -p | awk '/libcrypto.so.3 /{print $NF; exit}'));"
    ' cp -p "$f" "$f.new"; mv "$f.new" "$f"'
)
# What a client of this host gets, which may not administrate: for something to read, and for something to write.
CLIENT = """
import http.client, json, ssl, sys
seen = {}
for method, path in (("GET", "versions"), ("POST", "v3/login")):
    connection = http.client.HTTPSConnection("172.30.10.11", timeout=20, context=ssl._create_unverified_context())
    connection.request(method, "/_matrix/client/" + path, "{}", {"Host": "matrix.fleet.test"})
    answer = connection.getresponse()
    seen[method] = [answer.status, json.loads(answer.read()).get("errcode")]
json.dump(seen, open(sys.argv[1], "w"))
"""
ASK = f"python3 - {SEEN} <<'END'\n{CLIENT}END\n"


class Fleet:
    """The playbooks of a window, with journals and reports of their own."""

    def __init__(self, playbook: t.Any, place: pathlib.Path, chat: int) -> None:
        self.playbook, self.place = playbook, place
        hook = {"name": "chat", "type": "webhook", "webhook_url": f"http://127.0.0.1:{chat}/hook"}
        self.channels = {"notify_channels": [hook], "notify_state_dir": str(place / "told")}

    def run(self, name: str, *words: str, window: dict[str, t.Any] | None = None, **given: t.Any) -> t.Any:
        variables = {
            "maintenance_window_dir": str(self.place / "windows"),
            "matrixon_report_dir": str(self.place / "reports"),
            "maintenance_window_short_notice": "the test cannot wait",
            "maintenance_window_answer": "writes",
            **self.channels,
            **({"maintenance_window": window} if window else {}),
            **given,
        }
        return self.playbook(name, "-e", json.dumps(variables), *words)

    def journal(self, name: str) -> dict[str, t.Any]:
        return dict(json.loads((self.place / f"windows/molecule/{name}.json").read_text()))

    def state(self, name: str) -> str:
        return str(self.journal(name)["state"])

    def checks(self, name: str) -> dict[str, dict[str, t.Any]]:
        report = json.loads((self.place / f"reports/hosts/maintenance_window-{name}.json").read_text())
        return {f"{check['name']} {check['target']}": check for check in report["checks"]}


def window(name: str, lasts_s: float) -> dict[str, t.Any]:
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "id": name,
        "starts": f"{now - datetime.timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}",
        "ends": f"{now + datetime.timedelta(seconds=lasts_s):%Y-%m-%dT%H:%M:%SZ}",
        "summary": "Systems are updated.",
        "affects": ["homeserver"],
        "rollback": "the snapshots of the hosts",
    }


class Chat(http.server.BaseHTTPRequestHandler):
    """A room that people are told in."""

    heard: t.ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *dummy: t.Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def fleet(playbook: t.Any, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    chat = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=chat.serve_forever, daemon=True).start()
    yield Fleet(playbook, tmp_path_factory.mktemp("window"), chat.server_address[1])
    chat.shutdown()


def pids(host: t.Any) -> dict[str, str]:
    return {
        name: host.check_output("systemctl show -P MainPID matrix-synapse-worker@%s", name)
        for name in ("worker2", "worker3")
    }


def seen_from(host: t.Any) -> dict[str, list[t.Any]]:
    host.check_output(ASK)
    return dict(json.loads(host.file(SEEN).content_string))


def test_hosts_are_updated_in_a_window_and_what_runs_with_old_files_is_restarted(
    fleet: Fleet, server: t.Any, offer: t.Any, drained: t.Any, keep_asking: t.Any, client_as: t.Any
) -> None:
    hs2 = server("hs2")
    offer.put({"name": "fleet-good", "version": "2", "postinst": f"{REPLACE}\n{ASK}"})
    this = window("good", 3600)
    given = {
        "window": this,
        "maintenance_window_playbook": "matrixon.ops.updates",
        "updates_hosts": "hs2",
        "updates_needs_window": True,
    }
    told = fleet.run("maintenance_window_announce", window=this)
    assert told.code == 0 and len(Chat.heard) == 1 and "Systems are updated." in Chat.heard[0], told.output
    before = pids(hs2)
    dry = fleet.run("maintenance_window", "--check", **given)
    assert dry.code == 0 and fleet.state("good") == "announced", dry.output
    assert offer.installed["fleet-good"] == "1"

    (asker,) = keep_asking(lambda: client_as("matrix.fleet.test").call("GET", "/_matrix/client/versions"))
    run = fleet.run("maintenance_window", **given)
    asker.stop()
    assert run.code == 0, run.output
    assert offer.installed["fleet-good"] == "2"
    # Seen from within the installation.
    assert json.loads(hs2.file(SEEN).content_string) == {"GET": [200, None], "POST": [503, "M_UNKNOWN"]}
    after = pids(hs2)
    assert all(after[name] != before[name] for name in before), (before, after)
    assert hs2.run("grep -l 'libcrypto.*(deleted)' /proc/%s/maps", after["worker2"]).stdout == ""
    assert asker.count > 10 and asker.failures == []
    assert seen_from(hs2)["POST"][0] == 400 and drained() == set()
    checks = fleet.checks("good")
    assert len(Chat.heard) == 3, Chat.heard
    assert [step["name"] for step in fleet.journal("good")["steps"]] == ["update hs2"]
    # It was announced late, and this fleet has no Alertmanager.
    others = {"window_announced good": "warning", "window_silence good": "skipped"}
    assert {name: check["status"] for name, check in checks.items() if check["status"] != "ok"} == others, checks

    again = fleet.run("maintenance_window", **given)
    assert again.code != 0 and "good is closed" in again.output, again.output


def test_what_has_not_begun_when_time_runs_out_is_left_to_a_person(fleet: Fleet, server: t.Any) -> None:
    hs2, short = server("hs2"), window("short", 90)
    ends = time.monotonic() + 90
    assert fleet.run("maintenance_window_announce", window=short, maintenance_window_margin=1).code == 0
    opened = fleet.run("maintenance_window_open", window=short, maintenance_window_margin=1)
    assert opened.code == 0 and fleet.state("short") == "open", opened.output
    assert seen_from(hs2)["POST"] == [503, "M_UNKNOWN"]
    time.sleep(max(0.0, ends - time.monotonic()) + 1)
    assert seen_from(hs2)["POST"][0] == 400

    daily = fleet.run("maintenance_daily", "--limit", "cache1", maintenance_only="journal")
    assert daily.code == 0, daily.output
    report = json.loads((fleet.place / "reports/maintenance_daily-molecule.json").read_text())
    (step,) = [check for check in report["hosts"][0]["checks"] if check["target"] == "10-020"]
    assert step["status"] == "warning" and "not begun: short is expired" in step["message"], step
    closed = fleet.run("maintenance_window_close")
    assert closed.code != 0, closed.output
    checks = fleet.checks("short")
    assert "not done: 10-020 journal" in checks["window_steps short"]["message"], checks
    assert checks["window_time short"]["status"] == "critical" and fleet.state("short") == "closed"
