"""A running Redis held to its settings: compared, set while it runs, or named for a restart."""

from __future__ import annotations

import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils import _redis_settings as settings
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

PASSWORD = "s3cret-redis"
FILE = "/etc/redis/matrixon.conf"
RULES = ["+@all", "-shutdown"]


def array(*items: str) -> bytes:
    return b"*%d\r\n" % len(items) + b"".join(servers.bulk(item) for item in items)


def replies(**other: bytes) -> dict[str, bytes]:
    """What a Redis says that runs as it should."""
    good = {
        "AUTH": b"+OK\r\n",
        "PING": b"+PONG\r\n",
        "INFO": servers.bulk(f"redis_version:8.0.2\r\nconfig_file:{FILE}\r\n"),
        "ACL": array("flags", "on", "commands", "-shutdown +@all"),
        "CONFIG": array("maxmemory", "268435456", "save", ""),
    }
    return {**good, **other}


def hold(serve, answers: dict[str, bytes], wanted: dict[str, str] | None = None, change: bool = True):
    """Hold a Redis with these answers; it lets in whoever has no password, too, unless PING is an error."""
    server = serve(servers.redis(answers))
    outcome = settings.hold(
        settings.servers_at(["127.0.0.1"], server.port, PASSWORD),
        {"maxmemory": "256mb", "save": ""} if wanted is None else wanted,
        RULES,
        FILE,
        Deadline(2),
        change=change,
        pause=lambda _seconds: None,
    )
    return outcome, server


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0", 0), ("64b", 64), ("1k", 1000), ("1kb", 1024), ("256mb", 2**28), ("2G", 2 * 10**9), ("1GB", 2**30)],
)
def test_memory_is_counted_as_redis_does(text: str, amount: int) -> None:
    assert settings.memory_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "mb", "yes", "-1", "1.5gb", "1tb", "1bb", "3600 1"])
def test_what_is_no_memory_is_none(text: str) -> None:
    assert settings.memory_bytes(text) is None


@pytest.mark.parametrize(
    ("wanted", "running", "differs"),
    [
        ("256mb", "268435456", False),
        ("256m", "268435456", True),
        ("3600  1", "3600 1", False),
        ("", "", False),
        ("", "3600 1", True),
        ("yes", "no", True),
    ],
)
def test_values_are_compared_by_meaning(wanted: str, running: str, differs: bool) -> None:
    assert bool(settings.differences({"x": wanted}, {"x": running})) is differs


def test_a_setting_that_is_not_told_differs() -> None:
    assert settings.differences({"port": "6379"}, {}) == {"port": {"before": "", "after": "6379"}}


def test_addresses_that_may_be_missing_are_not_tried() -> None:
    found = settings.servers_at(["127.0.0.1", "-::1", "0.0.0.0", "::", "fd00::1"], 6379, "")
    assert [server.host for server in found] == ["127.0.0.1", "127.0.0.1", "::1", "fd00::1"]
    assert {server.password for server in found} == {None}


def test_a_redis_that_lets_anyone_in_wants_a_restart(serve) -> None:
    outcome, _server = hold(serve, replies())
    assert outcome.applied == {} and outcome.version == "8.0.2"
    assert len(outcome.restart) == 1 and "without a password" in outcome.restart[0]


def test_what_differs_is_set_and_nothing_else(serve) -> None:
    outcome, server = hold(serve, replies(CONFIG=array("maxmemory", "1", "save", "")))
    assert outcome.applied == {"maxmemory": {"before": "1", "after": "268435456"}}
    assert [words for words in server.requests if words[:2] == ["CONFIG", "SET"]] == [
        ["CONFIG", "SET", "maxmemory", "268435456"]
    ]


def test_check_mode_sets_nothing(serve) -> None:
    outcome, server = hold(serve, replies(CONFIG=array("maxmemory", "1", "save", "")), change=False)
    assert list(outcome.applied) == ["maxmemory"]
    assert [words for words in server.requests if "SET" in words] == []


def refusing(text: bytes):
    """Serve a Redis that tells its settings and refuses to change one."""

    def script(sock, server) -> None:
        answers = replies(CONFIG=array("databases", "16"))
        with sock.makefile("rb") as reader:
            while line := reader.readline():
                words = []
                for _word in range(int(line[1:])):
                    size = int(reader.readline()[1:])
                    words.append(reader.read(size + 2)[:-2].decode())
                sock.sendall(text if words[:2] == ["CONFIG", "SET"] else answers[words[0]])

    return script


@pytest.mark.parametrize("fatal", [False, True])
def test_only_what_is_fixed_at_start_wants_a_restart(serve, fatal: bool) -> None:
    text = b"-ERR CONFIG SET failed - " + (b"argument is wrong\r\n" if fatal else b"can't set immutable config\r\n")
    server = serve(refusing(text))
    there = settings.servers_at(["127.0.0.1"], server.port, PASSWORD)
    if fatal:
        with pytest.raises(ProbeFailure, match="databases: Redis refuses '32'"):
            settings.hold(there, {"databases": "32"}, [], None, Deadline(2))
        return
    outcome = settings.hold(there, {"databases": "32"}, [], None, Deadline(2))
    assert outcome.applied == {} and outcome.restart[0] == "databases is '16', not '32'"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"INFO": servers.bulk("config_file:/etc/redis/redis.conf\r\n")}, "runs with /etc/redis/redis.conf"),
        ({"ACL": array("commands", "+@all")}, "its commands are '+@all'"),
        ({"AUTH": b"-WRONGPASS invalid\r\n"}, "refused the password"),
    ],
)
def test_what_cannot_be_set_wants_a_restart(serve, other: dict[str, bytes], reason: str) -> None:
    outcome, _server = hold(serve, replies(**other))
    assert reason in outcome.restart[0] and PASSWORD not in " ".join(outcome.restart)


def test_a_redis_that_does_not_answer_wants_a_restart() -> None:
    gone = settings.servers_at(["127.0.0.1"], 1, PASSWORD)
    outcome = settings.hold(gone, {}, [], None, Deadline(0.5), pause=lambda _seconds: None)
    assert len(outcome.restart) == 1 and "127.0.0.1:1" in outcome.restart[0]


def test_an_address_that_does_not_answer_wants_a_restart(serve) -> None:
    server = serve(servers.redis(replies()))
    there = settings.servers_at(["127.0.0.1", "127.0.0.9"], server.port, PASSWORD)
    outcome = settings.hold(there, {}, [], None, Deadline(2))
    assert any(f"127.0.0.9:{server.port}" in reason for reason in outcome.restart)


def test_loading_is_waited_for(serve) -> None:
    pauses: list[float] = []
    answers = replies(PING=b"-LOADING Redis is loading the dataset in memory\r\n")

    def waited(seconds: float) -> None:
        pauses.append(seconds)
        answers["PING"] = b"+PONG\r\n"

    server = serve(servers.redis(answers))
    there = settings.servers_at(["127.0.0.1"], server.port, PASSWORD)
    outcome = settings.hold(there, {"maxmemory": "256mb"}, RULES, FILE, Deadline(2), pause=waited)
    assert pauses == [settings.PAUSE] and outcome.version == "8.0.2"
