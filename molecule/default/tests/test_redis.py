"""Redis, asked: who gets in, how it runs, what it refuses."""

from __future__ import annotations

import json
import typing as t

import pytest

testinfra_hosts = ["ansible://redis"]

# Speaks to Redis on the host itself, with no client to install.
TALK = r"""
import json, socket, sys
asked = json.load(sys.stdin)
said = []
with socket.create_connection((asked["host"], asked["port"]), 5) as sock:
    reader = sock.makefile("rb")
    def reply():
        line = reader.readline().decode().rstrip("\r\n")
        kind, rest = line[:1], line[1:]
        if kind == "$":
            return None if rest == "-1" else reader.read(int(rest) + 2)[:-2].decode()
        if kind == "*":
            return [reply() for _ in range(int(rest))]
        return line
    for words in asked["commands"]:
        words = [word.encode() for word in words]
        sock.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        said.append(reply())
print(json.dumps(said))
"""


class Redis:
    """The Redis of one host."""

    def __init__(self, host: t.Any) -> None:
        self.host = host
        self.variables = host.ansible.get_variables()
        self.password = resolve(host, "matrixon_redis_password")
        self.port = int(self.variables.get("matrixon_redis_port", 6379))

    def ask(self, *commands: tuple[str, ...], address: str = "127.0.0.1") -> list[t.Any]:
        """Send commands over one connection and return the replies."""
        asked = json.dumps({"host": address, "port": self.port, "commands": commands})
        done = self.host.run("printf %%s %s | python3 -c %s", asked, TALK)
        assert done.rc == 0, done.stderr
        return json.loads(done.stdout)

    def login(self, *commands: tuple[str, ...], address: str = "127.0.0.1") -> list[t.Any]:
        """Log in, send commands and return their replies."""
        replies = self.ask(("AUTH", self.password), *commands, address=address)
        assert replies[0] == "+OK"
        return replies[1:]


def resolve(host: t.Any, name: str) -> t.Any:
    """Return a variable of the host with its templates filled in."""
    return host.ansible("debug", f"var={name}", check=True)[name]


@pytest.fixture
def redis(host: t.Any) -> Redis:
    return Redis(host)


def test_the_password_lets_in(redis: Redis) -> None:
    assert redis.login(("PING",)) == ["+PONG"]


@pytest.mark.parametrize("commands", [[("PING",)], [("AUTH", "x" * 24)], [("AUTH", "default", "")]])
def test_nothing_else_lets_in(redis: Redis, commands: list[tuple[str, ...]]) -> None:
    assert redis.ask(*commands)[0].startswith(("-NOAUTH", "-WRONGPASS"))


def test_every_given_address_answers(redis: Redis) -> None:
    [said] = redis.login(("CONFIG", "GET", "bind"))
    firm = [address for address in said[1].split() if not address.startswith("-")]
    assert len(firm) > 1, "Redis listens on loopback alone, and no other host can reach it"
    for address in firm:
        assert redis.login(("PING",), address=address) == ["+PONG"]


def test_messages_pass(redis: Redis) -> None:
    assert redis.login(("SUBSCRIBE", "matrixon-test")) == [["subscribe", "matrixon-test", ":1"]]
    assert redis.login(("SET", "matrixon-test", "1", "EX", "5"), ("GET", "matrixon-test")) == ["+OK", "1"]


def test_it_runs_with_the_settings_of_a_message_bus(redis: Redis) -> None:
    names = ("maxmemory", "maxmemory-policy", "save", "appendonly", "protected-mode")
    said = redis.login(*(("CONFIG", "GET", name) for name in names))
    running = {name: reply[1] for name, reply in zip(names, said, strict=True)}
    assert int(running.pop("maxmemory")) > 0
    assert running == {"maxmemory-policy": "noeviction", "save": "", "appendonly": "no", "protected-mode": "yes"}


@pytest.mark.parametrize("words", [("REPLICAOF", "127.0.0.1", "1"), ("SHUTDOWN", "NOSAVE"), ("CONFIG", "REWRITE")])
def test_commands_that_would_harm_are_refused(redis: Redis, words: tuple[str, ...]) -> None:
    assert redis.login(words, ("PING",)) == [f"{redis.login(words)[0]}", "+PONG"]
    assert redis.login(words)[0].startswith("-NOPERM")


def test_no_other_user_reads_its_configuration(redis: Redis) -> None:
    [info] = redis.login(("INFO", "server"))
    [path] = [line.split(":", 1)[1] for line in info.splitlines() if line.startswith("config_file:")]
    assert redis.host.run("setpriv --reuid=nobody --regid=nogroup --clear-groups cat %s", path).rc != 0
    assert redis.host.run("setpriv --reuid=redis --regid=redis --clear-groups cat %s", path).rc == 0


def test_it_comes_back_after_it_was_killed(redis: Redis) -> None:
    process = redis.host.check_output("systemctl show --property MainPID --value redis-server")
    redis.host.check_output("kill -9 %s", process)
    other = f"systemctl is-active -q redis-server && [ $(systemctl show -p MainPID --value redis-server) != {process} ]"
    assert redis.host.run("timeout 15 sh -c %s", f"until {other}; do sleep 0.3; done").rc == 0
    assert redis.login(("PING",)) == ["+PONG"]
