"""Tests of the few Redis commands that a health check speaks."""

from __future__ import annotations

import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
    Deadline,
    ProbeFailure,
)
from ansible_collections.matrixon.ops.plugins.module_utils._redis import RedisError, RedisServer, Session, parse_info

PASSWORD = "s3cret-redis"
INFO = "# Server: it\r\nredis_version:8.0.2\r\nrun_id:abc\r\n\r\n# Keyspace\r\nlink:a:b\r\nempty:\r\n"
GOOD = {"AUTH": b"+OK\r\n", "PING": b"+PONG\r\n", "INFO": servers.bulk(INFO)}


def server_at(server: servers.Server, **options: object) -> RedisServer:
    return RedisServer("127.0.0.1", server.port, **options)


def talk(redis: RedisServer, seconds: float = 5) -> dict[str, str]:
    session: Session = redis.session(Deadline(seconds))
    try:
        assert session.call("PING") == "PONG"
        return session.info()
    finally:
        session.close()


def test_info_is_read_as_pairs() -> None:
    found = parse_info(INFO)
    assert found == {"redis_version": "8.0.2", "run_id": "abc", "link": "a:b", "empty": ""}


LOGINS = {
    "without a password": ({}, [["PING"], ["INFO"]]),
    "with a password": ({"password": PASSWORD}, [["AUTH", PASSWORD], ["PING"], ["INFO"]]),
    "as a user": ({"user": "mon", "password": PASSWORD}, [["AUTH", "mon", PASSWORD], ["PING"], ["INFO"]]),
    "with letters outside ASCII": ({"password": "p\u00e4ss"}, [["AUTH", "p\u00e4ss"], ["PING"], ["INFO"]]),
}


@pytest.mark.parametrize(("options", "asked"), LOGINS.values(), ids=list(LOGINS))
def test_session_logs_in(serve, options: dict[str, str], asked: list[list[str]]) -> None:
    server = serve(servers.redis(GOOD))
    assert talk(server_at(server, **options))["redis_version"] == "8.0.2"
    assert server.requests == asked


def test_reply_may_be_a_line_or_a_text(serve) -> None:
    assert talk(server_at(serve(servers.redis({**GOOD, "PING": servers.bulk("PONG")}))))["run_id"] == "abc"


def test_unix_socket_is_spoken_to(serve, tmp_path) -> None:
    path = str(tmp_path / "redis.sock")
    serve(servers.redis(GOOD), listener=servers.unix_listener(path))
    redis = RedisServer("127.0.0.1", 1, socket=path)
    assert redis.name == path and talk(redis)["run_id"] == "abc"


@pytest.mark.parametrize(("host", "works"), [("localhost", True), ("127.0.0.1", False)])
def test_tls_verifies_the_name(serve, authority, ca_file: str, host: str, works: bool) -> None:
    server = serve(servers.redis(GOOD), tls=servers.tls_for(authority, "localhost"))
    redis = RedisServer(host, server.port, tls=True, ca_file=ca_file)
    if works:
        assert talk(redis)["run_id"] == "abc"
        return
    with pytest.raises(ProbeFailure) as caught:
        talk(redis)
    assert caught.value.kind == TLS and server.requests == []


LOGIN_REFUSED = {
    "a wrong password": (b"-WRONGPASS invalid username-password pair\r\n", AUTH),
    "no permission": (b"-NOPERM this user has no permissions\r\n", AUTH),
    "a password where none is set": (b"-ERR AUTH <password> called without any password configured\r\n", AUTH),
    "a server that cannot save": (b"-MISCONF Redis is configured to save RDB snapshots\r\n", REFUSED),
    "an AUTH that was renamed": (f"-ERR unknown command 'AUTH', with args: '{PASSWORD}'\r\n".encode(), AUTH),
}


@pytest.mark.parametrize(("reply", "kind"), LOGIN_REFUSED.values(), ids=list(LOGIN_REFUSED))
def test_login_is_refused_without_telling_the_password_for(serve, reply: bytes, kind: str) -> None:
    server = serve(servers.redis({**GOOD, "AUTH": reply}))
    with pytest.raises(ProbeFailure) as caught:
        talk(server_at(server, password=PASSWORD))
    assert caught.value.kind == kind and server.authority in caught.value.message
    assert PASSWORD not in caught.value.message and PASSWORD not in str(caught.value.__cause__)


def test_login_while_the_server_loads_is_no_refusal(serve) -> None:
    server = serve(servers.redis({**GOOD, "AUTH": b"-LOADING Redis is loading the dataset in memory\r\n"}))
    assert talk(server_at(server, password=PASSWORD))["run_id"] == "abc"


def test_error_reply_has_its_code(serve) -> None:
    session = server_at(serve(servers.redis({"PING": b"-NOAUTH Authentication required.\r\n"}))).session(Deadline(5))
    with pytest.raises(RedisError) as caught:
        session.call("PING")
    assert caught.value.code == "NOAUTH" and "Authentication" in str(caught.value)
    session.close()


BROKEN = {
    "another protocol": (servers.say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), PARSE, "Redis protocol"),
    "bytes without end": (servers.flood(b""), PARSE, "Redis protocol"),
    "a size that is none": (servers.say(b"$many\r\n"), PARSE, "Redis protocol"),
    "a size beyond reason": (servers.say(b"$99999999999\r\n"), PARSE, "Redis protocol"),
    "a line cut short": (servers.say(b"+PON"), PARSE, "Redis protocol"),
    "a text cut short": (servers.say(b"$4\r\nPONG\r"), PARSE, "cut short"),
    "another kind of reply": (servers.say(b":4\r\nPONG\r\n"), PARSE, "Redis protocol"),
    "nothing, and closes": (servers.hang_up, REFUSED, "closed"),
    "nothing, and resets": (servers.reset, REFUSED, "cut"),
}


@pytest.mark.parametrize(("script", "kind", "words"), BROKEN.values(), ids=list(BROKEN))
def test_failure_names_the_server_that_sends(serve, script: servers.Script, kind: str, words: str) -> None:
    server = serve(script)
    with pytest.raises(ProbeFailure) as caught:
        talk(server_at(server))
    assert caught.value.kind == kind and words in caught.value.message and server.authority in caught.value.message


DRIPPING = {
    "nothing": servers.silent,
    "a line byte by byte": servers.drip(b"+"),
    "a text byte by byte": servers.drip(b"$100000\r\n"),
}


@pytest.mark.parametrize("script", DRIPPING.values(), ids=list(DRIPPING))
def test_total_deadline_holds_when_the_server_sends(serve, script: servers.Script) -> None:
    with pytest.raises(ProbeFailure) as caught:
        talk(server_at(serve(script)), 0.3)
    assert caught.value.kind == TIMEOUT
