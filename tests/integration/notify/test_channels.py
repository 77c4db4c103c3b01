"""What arrives at the other ends, and what becomes of channels that fail."""

from __future__ import annotations

import json
import pathlib
import subprocess
import time
import typing as t
import urllib.request

import jsonschema
import pytest
import trustme
from ends import (
    EVENT,
    PASSWORD,
    SUCCESS,
    USERNAME,
    MailServer,
    Pages,
    Receiver,
    answer,
    drip,
    finish,
    free_port,
    hang,
    hang_up,
    notify,
    start,
    statuses,
    wait_for,
)

# One server of these tests wants a password and has no TLS, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
Start = t.Callable[..., Receiver]
StartMail = t.Callable[..., MailServer]
Channel = dict[str, t.Any]

WEBHOOK_PATH = "/services/T0123456/B0123456/abcdefSECRETxyz"
MATRIX_TOKEN, ROUTING_KEY = "syt_secret_token_1", "0123456789abcdef0123456789abcdef"


def webhook(receiver: Receiver, name: str = "chat", **more: t.Any) -> Channel:
    return {"name": name, "type": "webhook", "webhook_url": receiver.url(WEBHOOK_PATH), **more}


def room(receiver: Receiver, name: str = "room", **more: t.Any) -> Channel:
    known = {"url": receiver.url(), "token": MATRIX_TOKEN, "room_id": "!ops:example.test"}
    return {"name": name, "type": "matrix", **known, **more}


def pager(receiver: Receiver, **more: t.Any) -> Channel:
    return {
        "name": "pager",
        "type": "pagerduty",
        "url": receiver.url("/v2/enqueue"),
        "routing_key": ROUTING_KEY,
        **more,
    }


def page(pages: Pages, **more: t.Any) -> Channel:
    return {"name": "page", "type": "status_page", "url": pages.url, "page_id": "page1", "token": pages.TOKEN, **more}


def mailbox(server: MailServer, ca_file: str, **more: t.Any) -> Channel:
    login = {"username": USERNAME, "password": PASSWORD}
    place = {"host": "127.0.0.1", "port": server.port, "ca_file": ca_file}
    ends = {"sender": "Operations <notify@example.test>", "recipients": ["ops@example.test"]}
    return {"name": "mail", "type": "email", **place, **login, **ends, **more}


@pytest.fixture
def state_dir(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "state")


def test_every_kind_of_channel_gets_the_message_once(
    receiver: Start, pages: Pages, mail: StartMail, ca_file: str, state_dir: str
) -> None:
    chat, homeserver, events, post = receiver(), receiver(EVENT), receiver(SUCCESS), mail()
    asked: dict[str, t.Any] = {
        "channels": [webhook(chat), room(homeserver), pager(events), page(pages), mailbox(post, ca_file)],
        "state_dir": state_dir,
        "subject": "Failover <started> & going\r\nBcc: evil@example.test",
        "text": "Ask @channel, a < b & c",
        "html": "<p>Ask, a &lt; b</p>",
        "public_text": "We are on it.",
        "link": "https://ops.example.test/run/1",
    }
    told = notify(**asked)
    assert statuses(told) == dict.fromkeys(("chat", "room", "pager", "page", "mail"), "sent"), told["msg"]
    assert told["changed"] and told["report"]["status"] == "ok"
    jsonschema.validate(told["report"], SCHEMA)

    line = "Failover <started> & going Bcc: evil@example.test"
    (said,) = chat.bodies()
    assert said == {
        "text": "*Failover &lt;started&gt; &amp; going Bcc: evil@example.test*\nAsk @\u200bchannel, a &lt; b &amp; c"
    }
    (request,) = homeserver.requests
    assert request.path.startswith("/_matrix/client/v3/rooms/%21ops%3Aexample.test/send/m.room.message/")
    assert (request.method, request.headers["authorization"]) == ("PUT", f"Bearer {MATRIX_TOKEN}")
    (said,) = homeserver.bodies()
    assert said["body"] == f"{line}\n\nAsk @channel, a < b & c"
    assert "<strong>Failover &lt;started&gt; &amp; going" in said["formatted_body"]
    assert said["m.mentions"] == {}
    (said,) = events.bodies()
    assert (said["event_action"], said["dedup_key"]) == ("trigger", "dr_failover/example.test")
    assert (said["routing_key"], said["payload"]["severity"]) == (ROUTING_KEY, "critical")
    assert said["links"][0]["href"] == asked["link"]
    (incident,) = pages.incidents
    assert (incident["status"], incident["impact_override"]) == ("investigating", "critical")
    assert incident["incident_updates"] == [{"body": "We are on it.", "status": "investigating"}]
    (message,) = post.messages
    assert (message["Subject"], message["Bcc"], message["To"]) == (line, None, "ops@example.test")
    assert message.get_body(("plain",)).get_content().strip() == asked["text"]
    assert asked["html"] in message.get_body(("html",)).get_content()
    assert post.logins == [(USERNAME, PASSWORD, True)]

    again = notify(**asked)
    assert set(statuses(again).values()) == {"unchanged"} and not again["changed"]
    assert again["report"]["status"] == "ok"
    assert [len(end.requests) for end in (chat, homeserver, events)] == [1, 1, 1]
    assert len(post.messages) == len(pages.incidents) == 1


def test_one_that_fails_or_stays_silent_holds_up_no_other(receiver: Start, mail: StartMail, state_dir: str) -> None:
    good, silent, dripping, broken = receiver(), receiver(hang), receiver(drip), receiver(answer(b"no", 500))
    channels = [
        webhook(silent, "silent", timeout=1),
        webhook(dripping, "dripping", timeout=1),
        room(silent, "silent_room", timeout=1),
        webhook(broken, "broken"),
        {**webhook(good, "nobody", timeout=2), "webhook_url": f"http://127.0.0.1:{free_port()}/x"},
        webhook(good, "good"),
    ]
    told = notify(channels=channels, state_dir=state_dir)
    assert statuses(told) == {**dict.fromkeys((c["name"] for c in channels), "failed"), "good": "sent"}
    kinds = {name: (one["error_kind"], one["uncertain"]) for name, one in told["by_name"].items()}
    assert kinds == {
        "silent": ("timeout", True),
        "dripping": ("timeout", True),
        "silent_room": ("timeout", True),
        "broken": ("refused", True),
        "nobody": ("refused", False),
        "good": (None, False),
    }
    # Each within its own deadline; the rest is what a busy machine adds.
    assert all(told["by_name"][name]["duration_ms"] < 5000 for name in ("silent", "dripping", "silent_room"))
    assert len(good.requests) == 1
    assert told["report"]["status"] == "unknown" and told["report"]["counts"]["warning"] == 1
    jsonschema.validate(told["report"], SCHEMA)
    assert not told.get("failed")
    # The task fails if it is asked to, with all of the results.
    for fail_on, fails in (("all", False), ("any", True)):
        again = notify(channels=[webhook(broken), webhook(good, "good")], state_dir=state_dir, fail_on=fail_on)
        assert bool(again.get("failed")) == fails and len(again["results"]) == 2
    assert notify(channels=[webhook(broken)], state_dir=state_dir, fail_on="all")["failed"]


def test_only_who_failed_is_tried_again_and_a_new_state_is_told_to_all(receiver: Start, state_dir: str) -> None:
    first, second = receiver(), receiver(answer(b"no_service", 404), answer(b"ok"))
    asked: dict[str, t.Any] = {"channels": [webhook(first, "first"), webhook(second, "second")], "state_dir": state_dir}
    told = notify(**asked)
    assert statuses(told) == {"first": "sent", "second": "failed"}
    assert "answered 404 ('no_service')" in told["by_name"]["second"]["message"]
    assert statuses(notify(**asked)) == {"first": "unchanged", "second": "sent"}
    assert statuses(notify(**asked)) == {"first": "unchanged", "second": "unchanged"}
    assert statuses(notify(**asked, state="completed")) == {"first": "sent", "second": "sent"}
    # Back in a state in which it has been: that is news, too.
    assert statuses(notify(**asked)) == {"first": "sent", "second": "sent"}
    # So is the same on another occasion, once.
    assert statuses(notify(**asked, occasion="run2")) == {"first": "sent", "second": "sent"}
    assert statuses(notify(**asked, occasion="run2")) == {"first": "unchanged", "second": "unchanged"}
    # Another thing has a memory of its own.
    assert statuses(notify(**asked, key="deploy/example.test")) == {"first": "sent", "second": "sent"}
    assert (len(first.requests), len(second.requests)) == (5, 6)
    kept = sorted(path for path in pathlib.Path(state_dir).iterdir())
    assert pathlib.Path(state_dir).stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


def test_repeated_only_where_that_does_no_harm(receiver: Start, state_dir: str) -> None:
    busy = answer({"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 100}, 429)
    ends = {
        # Both promise that nothing was done.
        "told_to_wait": receiver(answer(b"slow down", 429, Retry_After="1"), answer(b"ok")),
        "not_now": receiver(answer(b"", 503), answer(b"ok")),
        "for_hours": receiver(answer(b"slow down", 429, Retry_After="3600")),
        "cut": receiver(hang_up),
        "broken": receiver(answer(b"", 502)),
        "refused": receiver(answer(b"", 410)),
        "moved": receiver(answer(b"", 302, Location="http://127.0.0.1:1/")),
        "not_ok": receiver(answer({"ok": False, "error": "channel_is_archived"})),
    }
    rooms = {
        "busy_room": receiver(busy, EVENT),
        "broken_room": receiver(answer(b"", 502), answer(b"", 500), EVENT),
        "cut_room": receiver(hang_up, EVENT),
        "hung_room": receiver(hang, EVENT),
        "nonsense_room": receiver(answer(b"<html>")),
        "idless_room": receiver(answer({"event": "$event"})),
        "forbidden_room": receiver(answer({"errcode": "M_FORBIDDEN", "error": "not in the room"}, 403)),
    }
    channels = [webhook(end, name) for name, end in ends.items()]
    # Half of this is waited for the one that hangs.
    channels += [room(end, name, timeout=6) for name, end in rooms.items()]
    channels.append(pager(receiver(answer({"status": "invalid event"}, 202))))
    told = notify(channels=channels, state_dir=state_dir)
    seen = {name: (told["by_name"][name]["status"], len(end.requests)) for name, end in {**ends, **rooms}.items()}
    assert seen == {
        "told_to_wait": ("sent", 2),
        "not_now": ("sent", 2),
        "for_hours": ("failed", 1),
        "cut": ("failed", 1),
        "broken": ("failed", 1),
        "refused": ("failed", 1),
        "moved": ("failed", 1),
        "not_ok": ("failed", 1),
        "busy_room": ("sent", 2),
        "broken_room": ("sent", 3),
        "cut_room": ("sent", 2),
        "hung_room": ("sent", 2),
        "nonsense_room": ("failed", 1),
        "idless_room": ("failed", 1),
        "forbidden_room": ("failed", 1),
    }, told["msg"]
    assert "3.6e+03 s, which is too late" in told["by_name"]["for_hours"]["message"]
    assert told["by_name"]["told_to_wait"]["duration_ms"] >= 1000
    assert "channel_is_archived" in told["by_name"]["not_ok"]["message"]
    assert told["by_name"]["forbidden_room"]["error_kind"] == "auth"
    # It was answered, and not with what says that it is done.
    assert {told["by_name"][name]["error_kind"] for name in ("nonsense_room", "idless_room", "pager")} == {"parse"}
    assert told["by_name"]["cut"]["uncertain"] and not told["by_name"]["refused"]["uncertain"]
    # A repeat carries the id of the first.
    assert all(len({request.path for request in end.requests}) == 1 for end in rooms.values())


def test_run_that_was_killed_is_repeated_with_the_same_id(receiver: Start, state_dir: str) -> None:
    chat, homeserver = receiver(), receiver(hang, EVENT)
    asked: dict[str, t.Any] = {"channels": [room(homeserver, timeout=60)], "state_dir": state_dir}
    process = start(**asked)
    wait_for(lambda: homeserver.requests)
    process.kill()
    process.communicate()
    # Nothing of the dead run keeps the next one from it.
    told = notify(channels=[room(homeserver), webhook(chat)], state_dir=state_dir)
    assert statuses(told) == {"room": "sent", "chat": "sent"}
    first, second = homeserver.requests
    assert first.path == second.path


def test_two_runs_at_once_tell_once(receiver: Start, state_dir: str) -> None:

    def slowly(_request: t.Any) -> bytes:
        # Time enough for the others to come, who would send if nothing held them.
        time.sleep(2)
        return answer(b"ok")

    chat = receiver(slowly)
    running: list[subprocess.Popen[str]] = [
        start(channels=[webhook(chat)], state_dir=state_dir) for _number in range(3)
    ]
    ended = sorted(statuses(finish(process))["chat"] for process in running)
    assert (ended, len(chat.requests)) == (["sent", "unchanged", "unchanged"], 1)


def test_check_mode_says_to_whom_and_does_nothing(
    receiver: Start, pages: Pages, mail: StartMail, ca_file: str, tmp_path: pathlib.Path
) -> None:
    chat, homeserver, events, post = receiver(), receiver(EVENT), receiver(SUCCESS), mail()
    state = tmp_path / "state"
    channels = [webhook(chat), room(homeserver), pager(events), page(pages), mailbox(post, ca_file)]
    asked: dict[str, t.Any] = {"channels": channels, "public_text": "Soon.", "state_dir": str(state)}
    told = notify(check_mode=True, **asked, _ansible_diff=True)
    assert set(statuses(told).values()) == {"would_send"} and told["changed"]
    messages = {name: one["message"] for name, one in told["by_name"].items()}
    assert messages["mail"].endswith(f"would go to ops@example.test by 127.0.0.1:{post.port}")
    assert messages["room"].endswith(f"would go to the room !ops:example.test at {homeserver.url()}")
    assert messages["chat"].endswith(f"would go to a webhook of {chat.url()}")
    assert (told["diff"]["before"], told["diff"]["after"].splitlines()[0]) == ("", "chat: started")
    assert told["report"]["status"] == "unknown" and told["report"]["counts"]["skipped"] == 5
    jsonschema.validate(told["report"], SCHEMA)
    assert [end.requests for end in (chat, homeserver, events, pages.receiver)] == [[], [], [], []]
    assert not post.messages and not post.logins and not state.exists()
    # It knows what has been told.
    assert notify(**asked)["changed"]
    assert set(statuses(notify(check_mode=True, **asked)).values()) == {"unchanged"}
    # And forgets nothing of it for a state that is not announced.
    (kept,) = state.glob("*.json")
    before = kept.read_bytes()
    told = notify(check_mode=True, **asked, state="completed", _ansible_diff=True)
    assert set(statuses(told).values()) == {"would_send"} and kept.read_bytes() == before
    assert "chat: started" in told["diff"]["before"] and "chat: completed" in told["diff"]["after"]


def test_incident_is_made_changed_and_resolved_once(receiver: Start, pages: Pages, state_dir: str) -> None:
    events = receiver(SUCCESS)
    channels = [page(pages, component_ids=["c1"]), pager(events, min_severity="error")]
    asked: dict[str, t.Any] = {"channels": channels, "state_dir": state_dir}
    # The page made the incident and nobody was told so: it is looked for, and not made again.
    pages.lose_answers = 1
    told = notify(**asked, public_text="Moving.")
    assert statuses(told) == {"page": "sent", "pager": "sent"}, told["msg"]
    assert [(one["status"], len(one["incident_updates"])) for one in pages.incidents] == [("investigating", 1)]
    assert pages.incidents[0]["components"] == {"c1": "partial_outage"}
    assert not told["by_name"]["page"]["uncertain"]
    # People found something out meanwhile, which is not taken back.
    pages.incidents[0]["status"] = "monitoring"
    assert statuses(notify(**asked, state="failed", public_text="It takes longer."))["page"] == "sent"
    assert [one["status"] for one in pages.incidents] == ["monitoring"]
    # The end is told below the channel's severity, for it was told of the beginning.
    pages.lose_answers = 1
    over = notify(**asked, state="completed", severity="info", incident="resolve")
    assert statuses(over) == {"page": "sent", "pager": "sent"}, over["msg"]
    assert [one["status"] for one in pages.incidents] == ["resolved"]
    assert pages.incidents[0]["components"] == {"c1": "operational"}
    assert [one["event_action"] for one in events.bodies()] == ["trigger", "trigger", "resolve"]
    later = notify(**asked, key="other", state="completed", severity="info", incident="resolve")
    assert statuses(later) == {"page": "skipped", "pager": "skipped"}
    # What says nothing to the public, or is about no incident, is not for them.
    assert statuses(notify(**asked, key="more"))["page"] == "skipped"
    assert set(statuses(notify(**asked, key="none", incident="none")).values()) == {"skipped"}


def test_mail_goes_to_nobody_who_cannot_prove_his_name(
    mail: StartMail, ca_file: str, state_dir: str, tmp_path: pathlib.Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    post, clear = mail(), mail(starttls=False)
    told = notify(
        channels=[
            mailbox(post, str(stranger), name="stranger"),
            mailbox(clear, ca_file, name="clear"),
            mailbox(post, ca_file, name="wrong", password="wrong-password"),
        ],
        state_dir=state_dir,
    )
    assert {name: one["error_kind"] for name, one in told["by_name"].items()} == {
        "stranger": "tls",
        "clear": "tls",
        "wrong": "auth",
    }
    assert set(post.logins) == {(USERNAME, "wrong-password", True)} and not clear.logins
    assert not post.messages and not clear.messages
    # In clear, to this machine, if that is asked for.
    assert statuses(notify(channels=[mailbox(clear, ca_file, security="none")], state_dir=state_dir)) == {
        "mail": "sent"
    }


def test_mail_that_some_do_not_get_has_failed(mail: StartMail, ca_file: str, state_dir: str) -> None:
    post = mail(refuse=("gone@example.test",))
    both = mailbox(post, ca_file, recipients=["ops@example.test", "gone@example.test"])
    none = mailbox(post, ca_file, name="none", recipients=["gone@example.test"])
    told = notify(channels=[both, none], state_dir=state_dir)
    assert statuses(told) == {"mail": "failed", "none": "failed"}
    assert "took it for 1 of 2 recipients, and not for gone@example.test: 550" in told["by_name"]["mail"]["message"]
    assert post.recipients == [["ops@example.test"]]


@pytest.mark.parametrize("damage", ["no JSON", "of another key", "a directory", "no place"])
def test_lost_memory_keeps_nobody_from_being_told(receiver: Start, tmp_path: pathlib.Path, damage: str) -> None:
    chat = receiver()
    state = tmp_path / "state"
    asked: dict[str, t.Any] = {"channels": [webhook(chat)], "state_dir": str(state)}
    notify(**asked)
    (kept,) = state.glob("*.json")
    if damage == "no JSON":
        kept.write_text("{")
    elif damage == "of another key":
        kept.write_text(kept.read_text().replace("dr_failover", "deploy"))
    elif damage == "a directory":
        kept.unlink()
        kept.mkdir()
    else:
        asked["state_dir"] = str(kept / "below")
    told = notify(**asked)
    assert statuses(told) == {"chat": "sent"}
    assert "some may be told twice" in str(told["warnings"]), told["output"]
    assert len(chat.requests) == 2


def test_secrets_are_in_no_output(receiver: Start, pages: Pages, mail: StartMail, ca_file: str, state_dir: str) -> None:
    # Servers that repeat what they were asked.
    echo = receiver(lambda request: answer(f"Cannot POST {request.path} {request.body!r}".encode(), 404))
    large = receiver(answer(b"x" * 2_000_000))
    post = mail()
    channels = [
        webhook(echo),
        webhook(large, "large"),
        room(receiver(lambda request: answer(request.headers["authorization"].encode(), 404))),
        pager(echo),
        page(pages, token="wrong-token-123"),
        mailbox(post, ca_file, password="wrong-password"),
    ]
    told = notify(channels=channels, state_dir=state_dir, public_text="We are on it.")
    assert set(statuses(told).values()) == {"failed"}, told["msg"]
    secrets = ["abcdefSECRETxyz", "B0123456", MATRIX_TOKEN, ROUTING_KEY, "wrong-token-123", "wrong-password"]
    kept = "".join(path.read_text() for path in pathlib.Path(state_dir).iterdir())
    assert [secret for secret in secrets if secret in told["output"] + kept] == []
    # Nor where they stand under a name that is misspelt or of another type.
    wrong = notify(channels=[{"name": "chat", "type": "webhook", "wehbook_url": "https://x.test/SECRETword"}])
    assert wrong["failed"] and "wehbook_url" in wrong["msg"] and "SECRETword" not in wrong["output"]
    wrong = notify(channels=[{"name": "chat", "type": "webhook", "webhook_url": "htps://x.test/SECRETword"}])
    assert wrong["failed"] and "SECRETword" not in wrong["output"]


def test_room_of_a_real_homeserver_gets_a_repeat_once(lab: t.Any, state_dir: str) -> None:
    room_id = lab.facts["canary_room_id"]
    token, reader = (
        pathlib.Path(lab.secret(f"canary_{who}_token")).read_text().strip() for who in ("sender", "reader")
    )
    channel = {"name": "room", "type": "matrix", "url": lab.url("main"), "token": token, "room_id": room_id}
    asked: dict[str, t.Any] = {"channels": [channel], "state_dir": state_dir, "html": "<p>Users <em>cannot</em></p>"}
    told = notify(**asked)
    event = told["by_name"]["room"]["message"].partition(" ")[0]
    assert statuses(told) == {"room": "sent"}, told["msg"]
    path = f"/_matrix/client/v3/rooms/{room_id}/event/{event}"
    read = urllib.request.Request(lab.url("main") + path, headers={"Authorization": f"Bearer {reader}"})
    with urllib.request.urlopen(read, timeout=30) as response:
        content = json.load(response)["content"]
    assert content["body"].startswith("The failover of example.test has started\n\nUsers cannot")
    assert content["formatted_body"].endswith(asked["html"])
    # A run that died before it could remember what it had sent.
    (kept,) = pathlib.Path(state_dir).glob("*.json")
    document = json.loads(kept.read_text())
    document["channels"] = {}
    kept.write_text(json.dumps(document))
    again = notify(**asked)
    assert again["by_name"]["room"]["message"] == told["by_name"]["room"]["message"]
    elsewhere = {**channel, "name": "elsewhere", "room_id": "!nowhere:example.test"}
    stranger = {**channel, "name": "stranger", "token": "syt_nobody"}
    failed = notify(channels=[elsewhere, stranger], state_dir=state_dir)
    assert {one["error_kind"] for one in failed["results"]} == {"auth"}
    assert "M_FORBIDDEN" in failed["by_name"]["elsewhere"]["message"]
    assert "M_UNKNOWN_TOKEN" in failed["by_name"]["stranger"]["message"]
