"""The role as playbooks use it: words, templates, results, and no secret in what Ansible prints."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import jsonschema
import yaml
from ends import EVENT, PASSWORD, SUCCESS, USERNAME, MailServer, Pages, Receiver, answer, free_port

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
Start = t.Callable[..., Receiver]

SECRETS = {
    "webhook_path": "T0A1B2C3D/B0A1B2C3D/abcdefSECRETxyz",
    "matrix": "syt_secret_token_of_role",
    "pager": "fedcba9876543210fedcba9876543210",
    "mail": PASSWORD,
    "page": Pages.TOKEN,
}


def play(tmp_path: pathlib.Path, tasks: list[dict[str, t.Any]], *words: str, **variables: t.Any) -> tuple[int, str]:
    """Run tasks on a host that is this one; return how that ended and all that was printed."""
    known = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        # As many inventories have it for all; the role needs no rights.
        "ansible_become": True,
        "ansible_become_user": "nobody",
        "ansible_become_exe": "/nonexistent/sudo",
        "matrixon_server_name": "example.test",
        "matrixon_profile": "synapse",
        "notify_state_dir": str(tmp_path / "state"),
        "notify_timeout": 20,
        **variables,
    }
    hosts = {"all": {"vars": known, "hosts": {"db1": {}}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "db1", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(
        [
            str(pathlib.Path(sys.executable).parent / "ansible-playbook"),
            *("-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), *words),
        ],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def told(entry: str = "main", **variables: t.Any) -> dict[str, t.Any]:
    role = {"name": "matrixon.ops.notify", "tasks_from": entry}
    return {"name": f"Tell by {entry}", "ansible.builtin.include_role": role, "vars": variables}


def kept(path: pathlib.Path) -> dict[str, t.Any]:
    """A task that keeps on disk what the role left behind."""
    content = "{{ {'results': notify_results | default(none), 'report': notify_report | default(none)} | to_json }}"
    copy = {"content": content, "dest": str(path), "mode": "0600"}
    return {"name": "Keep it", "ansible.builtin.copy": copy, "vars": {"ansible_become": False}, "check_mode": False}


def results(path: pathlib.Path) -> dict[str, str]:
    document = json.loads(path.read_text())
    jsonschema.validate(document["report"], SCHEMA)
    return {one["channel"]: one["status"] for one in document["results"]}


def test_a_failover_is_told_state_by_state_and_no_secret_is_printed(
    receiver: Start, pages: Pages, mail: t.Callable[..., MailServer], ca_file: str, tmp_path: pathlib.Path
) -> None:
    chat, homeserver, events, post = receiver(), receiver(EVENT), receiver(SUCCESS), mail()
    broken = receiver(lambda request: answer(f"Cannot POST {request.path}".encode(), 404))
    channels = [
        {"name": "chat", "type": "webhook", "webhook_url": chat.url("/services/" + SECRETS["webhook_path"])},
        {"name": "broken", "type": "webhook", "webhook_url": broken.url("/services/" + SECRETS["webhook_path"])},
        {"name": "room", "type": "matrix", "url": homeserver.url(), "token": SECRETS["matrix"], "room_id": "!a:b.test"},
        {"name": "pager", "type": "pagerduty", "url": events.url("/"), "routing_key": SECRETS["pager"]},
        {"name": "page", "type": "status_page", "url": pages.url, "page_id": "page1", "token": SECRETS["page"]},
        {
            **{"name": "mail", "type": "email", "host": "127.0.0.1", "port": post.port, "ca_file": ca_file},
            **{"username": USERNAME, "password": PASSWORD},
            **{"sender": "notify@example.test", "recipients": ["ops@example.test"]},
        },
    ]
    out = {state: tmp_path / f"{state}.json" for state in ("started", "again", "completed", "drill")}
    link = {"notify_link": "https://ops.example.test/run/7"}
    lines = {"notify_details": ["RTO 132 s", "lost: 0 bytes & <nothing>"]}
    code, printed = play(
        tmp_path,
        [
            told("preflight"),
            told("failover", notify_state="started", notify_failover_region="two", **link),
            kept(out["started"]),
            told("failover", notify_state="started", notify_failover_region="two"),
            kept(out["again"]),
            told("failover", notify_state="completed", notify_failover_region="two", **lines),
            kept(out["completed"]),
            told("failover", notify_state="drill", notify_what="Rehearsed for the auditors."),
            kept(out["drill"]),
        ],
        "-vvv",
        notify_channels=channels,
    )
    assert code == 0, printed
    assert [word for word in SECRETS.values() if word in printed] == []
    assert [word for word in SECRETS["webhook_path"].split("/") if word in printed] == []
    everybody = ("chat", "room", "pager", "page", "mail")
    failed = {"broken": "failed"}
    assert results(out["started"]) == {**dict.fromkeys(everybody, "sent"), **failed}
    assert results(out["again"]) == {**dict.fromkeys(everybody, "unchanged"), **failed}
    assert results(out["completed"]) == {**dict.fromkeys(everybody, "sent"), **failed}
    assert results(out["drill"]) == {
        **dict.fromkeys(("chat", "room", "mail"), "sent"),
        **dict.fromkeys(("pager", "page"), "skipped"),
        **failed,
    }
    started, completed, drill = (body["text"] for body in chat.bodies())
    assert started.startswith("*example.test: the failover to region two has started*\n")
    assert "\nAffected: Users cannot send or read messages" in started and "\nNext: The old side is fenced" in started
    assert "https://ops.example.test/run/7" in started
    assert started.endswith("critical: dr_failover/example.test is started")
    assert "- lost: 0 bytes &amp; &lt;nothing&gt;" in completed
    assert "Rehearsed for the auditors." in drill and "Nobody is affected" in drill
    assert [one["event_action"] for one in events.bodies()] == ["trigger", "resolve"]
    (incident,) = pages.incidents
    assert incident["name"] == "example.test is not available"
    assert [one["body"] for one in incident["incident_updates"]] == [
        "The service is available again.",
        "The service moves to another site. Messages cannot be sent or read until that is done.",
    ]
    page = post.messages[1].get_body(("html",))
    assert page is not None and "<li>lost: 0 bytes &amp; &lt;nothing&gt;</li>" in page.get_content()
    assert '<a href="https://ops.example.test/run/7">' in str(homeserver.bodies()[0]["formatted_body"])


def test_own_words_own_template_and_when_it_fails(receiver: Start, tmp_path: pathlib.Path) -> None:
    chat, broken = receiver(), receiver(answer(b"no", 500))
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/mine.txt.j2").write_text("{{ notify_message.what }} Region: {{ matrixon_deployment }}")
    channels = [
        {"name": "chat", "type": "webhook", "webhook_url": chat.url("/a")},
        {"name": "broken", "type": "webhook", "webhook_url": broken.url("/b")},
    ]
    words = {
        "notify_key": "deploy/example.test",
        "notify_state": "started",
        "notify_subject": "Release 1.2",
        # What comes from a server is not a template.
        "notify_what": "{{ said }}",
        "notify_text_template": "mine.txt.j2",
        "notify_html_template": "",
    }
    tasks = [
        told(**words, notify_to=["chat"], notify_host="db1"),
        told(**words, notify_to=["broken"], notify_fail_on="all"),
    ]
    unsafe = {"name": "Read", "ansible.builtin.command": "echo '{% raw %}{{ 1 + 1 }}{% endraw %}'", "register": "read"}
    unsafe["vars"] = {"ansible_become": False}
    take = {"name": "Take", "ansible.builtin.set_fact": {"said": "{{ read.stdout }}"}}
    after = kept(tmp_path / "after.json")
    guarded = {"block": [tasks[1]], "rescue": [after, {"ansible.builtin.fail": {"msg": "It failed as asked"}}]}
    code, printed = play(tmp_path, [unsafe, take, tasks[0], guarded], notify_channels=channels)
    assert code != 0 and "It failed as asked" in printed, printed
    assert chat.bodies() == [{"text": "*Release 1.2*\n{{ 1 + 1 }} Region: example.test"}]
    # The results are there, although it failed.
    assert results(tmp_path / "after.json") == {"chat": "skipped", "broken": "failed"}


def test_all_that_is_wrong_is_said_before_anybody_is_told(receiver: Start, tmp_path: pathlib.Path) -> None:
    chat = receiver()
    channels = [
        {"name": "chat", "type": "webhook", "webhook_url": chat.url("/SECRETword")},
        {"name": "chat", "type": "webhok", "webhook_url": "htp:/SECRETword"},
        {"name": "room", "type": "matrix", "url": "http://matrix.example.test", "room_id": "#ops:example.test"},
        {
            "name": "mail",
            "type": "email",
            "host": "mail.example.test",
            "sender": "ops",
            "recipients": ["a@b.test\nX: y"],
        },
    ]
    rescued = {
        "block": [told("preflight", notify_channels=channels, notify_to=["chatt"])],
        "rescue": [told("preflight", notify_channels=[])],
    }
    code, printed = play(tmp_path, [rescued], "-vvv")
    assert code != 0 and "SECRETword" not in printed
    for words in (
        "channels[1] (chat): type: 'webhok' is not known; did you mean webhook?",
        "channels: chat stands there twice",
        "channels[2] (room): token: it is missing or empty; the type matrix needs it",
        "http would show it to everybody on the way; give https, or allow_http: true",
        "room_id: '#ops:example.test' is no room id",
        "sender: 'ops' is no address",
        "recipients[0]: ",
        "to: 'chatt' is no channel; did you mean chat?",
        "channels: there is nobody to tell; give at least one",
    ):
        assert words in printed, printed
    assert chat.requests == []


def test_host_that_cannot_be_reached_tells_nobody_and_stops_nothing(tmp_path: pathlib.Path) -> None:
    channels = [{"name": "chat", "type": "webhook", "webhook_url": "https://chat.example.test/a"}]
    far = {"name": "Add it", "ansible.builtin.add_host": {"name": "far", "ansible_host": "127.0.0.1"}}
    far["ansible.builtin.add_host"].update(ansible_connection="ssh", ansible_port=free_port())
    words = {"notify_key": "k", "notify_state": "s", "notify_subject": "S", "notify_what": "W"}
    code, printed = play(
        tmp_path,
        [far, told(**words, notify_host="far"), kept(tmp_path / "kept.json")],
        notify_channels=channels,
    )
    assert code == 0, printed
    assert results(tmp_path / "kept.json") == {"chat": "failed"}
