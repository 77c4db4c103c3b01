"""A running homeserver that somebody tries to get into: what its log says is what was done, and by whom."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t
import uuid
from collections import Counter

from intruder import Intruder, Watch

ROOT = pathlib.Path(__file__).resolve().parents[3]
ATTACKER, NETWORK = "203.0.113.77", "2001:db8:7:7"


def rows(document: dict[str, t.Any], name: str) -> dict[str, float]:
    found = [table["rows"] for table in document["report"]["facts"]["rankings"] if table["name"] == name]
    return {row[0]: row[1] for row in found[0]} if found else {}


def check(document: dict[str, t.Any], name: str) -> dict[str, t.Any]:
    (found,) = [one for one in document["report"]["checks"] if one["name"] == name]
    return t.cast("dict[str, t.Any]", found)


def test_what_is_done_to_the_server_is_what_the_report_says(watch: Watch, intruder: Intruder) -> None:
    # Names that nobody had before: the limits of the lab and other tests keep out of each other's way.
    nobody = f"nobody-{uuid.uuid4().hex[:8]}"
    done: Counter[str] = Counter()
    for number in range(5):
        assert intruder.login(f"{nobody}{number}", f"{NETWORK}::{number + 1:x}", f"worker{number % 2 + 1}") == 403
        done["login_unknown_user"] += 1
    statuses = [intruder.login("carol", ATTACKER) for _number in range(6)]
    done["login_wrong_password"] += statuses.count(403)
    done["rate_limited"] += statuses.count(429)
    assert set(statuses) == {403, 429}
    bob = intruder.secret("bob_token")
    assert intruder.ask("main", "GET", "/_synapse/admin/v2/users", ATTACKER, token=bob) == 403
    assert intruder.ask("main", "GET", "/_synapse/admin/v2/users", ATTACKER) == 401
    done["admin_refused"] += 2
    assert intruder.ask("worker2", "GET", "/_matrix/client/v3/account/whoami", ATTACKER, token="bogus") == 401
    done["token_refused"] += 1
    body = {"username": nobody, "password": "x", "auth": {"type": "m.login.dummy"}}
    assert intruder.ask("worker1", "POST", "/_matrix/client/v3/register", ATTACKER, body) == 403
    done["registration_refused"] += 1
    signed = {"Authorization": 'X-Matrix origin=evil.example,key="ed25519:a",sig="AAAA"'}
    path = "/_matrix/federation/v1/query/profile?user_id=%40bob%3Alab.test"
    assert intruder.ask("worker1", "GET", path, ATTACKER, **signed) == 403
    done["federation_refused"] += 1

    document = watch.until(dict(done))
    assert rows(document, "addresses")[ATTACKER] == sum(done.values()) - 5
    assert rows(document, "networks") == {f"{NETWORK}::/64": 5}
    assert rows(document, "users")["@carol:lab.test"] == len(statuses) - statuses.count(429)
    assert rows(document, "limits") == {"rc_login.failed_attempts": statuses.count(429)}
    assert check(document, "security_addresses")["status"] == "ok"
    assert check(document, "admin_refused")["status"] == "warning"
    assert watch()["report"]["facts"]["events"] == {}


def test_a_client_behind_the_load_balancer_cannot_name_its_own_address(watch: Watch, lab: t.Any) -> None:
    nobody = f"nobody-{uuid.uuid4().hex[:8]}"
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": nobody}, "password": "x"}
    argv = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"X-Forwarded-For: {ATTACKER}"]
    url = f"https://127.0.0.1:{lab.facts['ports']['https']}/_matrix/client/v3/login"
    done = subprocess.run([*argv, "-d", json.dumps(body), url], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "403"
    document = watch.until({"login_unknown_user": 1})
    # The lab's own clients come from loopback; on a real host that would be a proxy that hides its clients.
    assert rows(document, "addresses") == {"127.0.0.1": 1}
    assert check(document, "security_addresses")["status"] == "warning"


def test_line_breaks_in_a_name_make_no_address(watch: Watch, intruder: Intruder) -> None:
    nobody = f"nobody-{uuid.uuid4().hex[:8]}"
    forged = f"{nobody}\n2026-11-27 16:00:00,000 - synapse.handlers.auth - 1 - WARNING - POST-0 - Failed password login"
    assert intruder.login(f"{forged} for user @alice", ATTACKER) == 403
    end = time.monotonic() + 30
    while not (facts := watch(check_mode=True)["report"]["facts"])["events"]:
        assert time.monotonic() < end
        time.sleep(0.2)
    # What a client forged counts, as nothing tells it from a line of the server; it is of no request that ended.
    assert (facts["events"], facts["with_address"]) == ({"login_wrong_password": 1}, 0)


def test_the_playbook_publishes_a_report(lab: t.Any, tmp_path: pathlib.Path, intruder: Intruder) -> None:
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become": False,
        "matrixon_server_name": "lab.test",
        "matrixon_profile": "synapse",
        "matrixon_public_url": lab.facts["public_url"],
        "matrixon_instances": [{"name": name, "url": lab.url(name)} for name in ("main", "worker1", "worker2")],
        "matrixon_report_dir": str(tmp_path / "reports"),
        "security_monitor_journal_units": [],
        "security_monitor_log_files": [str(lab.dir / "log" / "main.log"), str(lab.dir / "log" / "worker?.log")],
        "security_monitor_host_log": False,
        "security_monitor_fail2ban": False,
        "security_monitor_state_dir": str(tmp_path / "state"),
    }
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"vars": variables, "children": {"homeserver": {"hosts": {"hs1": None}}}}}))

    def play(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), *words]
            + [str(ROOT / "playbooks/security_report.yml")],
            cwd=ROOT,
            env={**os.environ, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    done = play("--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "reports").exists()
    done = play()
    assert done.returncode == 0, done.stdout + done.stderr
    intruder.ask("main", "GET", "/_synapse/admin/v2/users", ATTACKER)
    done = play("-e", '{"security_monitor_thresholds": {"admin_refused": {"critical": 1}}}')
    assert done.returncode != 0, done.stdout
    document = json.loads((tmp_path / "reports/security-lab.test.json").read_text())
    (host,) = document["hosts"]
    assert (document["kind"], host["status"]) == ("security", "critical")
    assert host["facts"]["events"] == {"admin_refused": 1}
    text = (tmp_path / "reports/security-lab.test.html").read_text() + json.dumps(document)
    assert ATTACKER not in text
