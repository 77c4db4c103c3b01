"""Tests of what HAProxy's runtime socket says."""

from __future__ import annotations

import pytest
import servers

from ansible_collections.matrixon.ops.plugins.module_utils import _haproxy
from ansible_collections.matrixon.ops.plugins.module_utils._probe import PARSE, REFUSED, TIMEOUT, Deadline, ProbeFailure

# The columns of HAProxy 3.0 up to the type, and what it prints for a live server.
STAT = (
    "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,"
    "act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,\n"
    "matrix,FRONTEND,,,2,3,2000,7,1,2,0,0,0,,,,,OPEN,,,,,,,,,1,2,0,,,,0,\n"
    "synapse,main,0,0,0,1,,5,1,2,,0,,0,0,0,0,UP,1,1,0,0,0,12,0,,1,3,1,,5,,2,\n"
    'synapse,"worker,1",0,0,0,1,,5,1,2,,0,,0,0,0,0,DOWN 1/2,1,1,0,0,0,12,0,,1,3,2,,5,,2,\n'
    "synapse,BACKEND,0,0,0,1,200,5,1,2,0,0,,0,0,0,0,UP,1,1,0,,0,12,0,,1,3,0,,5,,1,\n"
    "\n"
)


def test_stat_is_read_as_rows() -> None:
    rows = _haproxy.parse_stat(STAT)
    assert [(row["pxname"], row["svname"], row["status"], row["type"]) for row in rows] == [
        ("matrix", "FRONTEND", "OPEN", "0"),
        ("synapse", "main", "UP", "2"),
        ("synapse", "worker,1", "DOWN 1/2", "2"),
        ("synapse", "BACKEND", "UP", "1"),
    ]


# The columns of HAProxy 2.6 up to the admin state. worker1 was drained, worker2 follows it, worker3 is in maintenance.
STATES = (
    "1\n"
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n"
    "3 homeserver_general 1 worker1 10.0.0.21 2 8 1\n"
    "3 homeserver_general 2 worker2 10.0.0.22 2 16 1\n"
    "3 homeserver_general 3 worker3 10.0.0.22 0 1 1\n"
    "4 homeserver_sync 1 worker1 10.0.0.21 2 24 1\n"
    "4 homeserver_sync 2 other 10.0.0.23 2 8 1\n"
    "\n"
)


def test_what_somebody_drained_is_told_apart_from_what_follows_it() -> None:
    rows = _haproxy.parse_servers_state(STATES)
    names = ["worker1", "worker2"]
    assert _haproxy.drained(rows, names) == ["homeserver_general/worker1", "homeserver_sync/worker1"]
    assert _haproxy.drained(rows, []) == []


@pytest.mark.parametrize("text", ["", "Permission denied\n", "2\n# be_id be_name srv_id\n", "1\n"])
def test_states_that_are_none_are_a_failure_and_not_no_servers(text: str) -> None:
    with pytest.raises(ProbeFailure, match="states of servers"):
        _haproxy.parse_servers_state(text)


NO_TABLES = {
    "nothing": "",
    "a refusal": "Permission denied\n",
    "an unknown command": "Unknown command: 'show stat', but maybe one of the following ones is a better match:\n",
    "a web page": "<html>",
    "other columns": "# name,status\nmain,UP\n",
}


@pytest.mark.parametrize("text", NO_TABLES.values(), ids=list(NO_TABLES))
def test_answer_is_no_table_when_it_is(text: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        _haproxy.parse_stat(text)
    assert caught.value.kind == PARSE and repr(text[:10])[1:-1] in caught.value.message


def test_info_is_read_as_pairs() -> None:
    assert _haproxy.parse_info("Name: HAProxy\nVersion: 3.0.11\nUptime: 0d 0h01m12s\nMaxconn: 2000\nNode: a:b\n\n") == {
        "Node": "a:b",
        "Name": "HAProxy",
        "Version": "3.0.11",
        "Uptime": "0d 0h01m12s",
        "Maxconn": "2000",
    }


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("12", 12), ("-1", -1), ("", None), ("many", None)])
def test_column_is_a_number_or_was_left_empty(text: str, number: int | None) -> None:
    assert _haproxy.number({"slim": text}, "slim") == number
    assert _haproxy.number({}, "slim") is None


def test_one_command_is_asked_per_connection(serve, tmp_path) -> None:
    path = str(tmp_path / "haproxy.sock")
    server = serve(servers.commands({"show stat": STAT}), listener=servers.unix_listener(path))
    assert _haproxy.ask(path, "show stat", Deadline(5)) == STAT
    assert server.requests == ["show stat"]


BROKEN = {
    "drips": (servers.drip(b"# "), TIMEOUT),
    "is silent": (servers.silent, TIMEOUT),
    "floods": (servers.flood(b""), PARSE),
}


@pytest.mark.parametrize(("script", "kind"), BROKEN.values(), ids=list(BROKEN))
def test_failure_names_the_socket_that(serve, tmp_path, script: servers.Script, kind: str) -> None:
    path = str(tmp_path / "haproxy.sock")
    serve(script, listener=servers.unix_listener(path))
    with pytest.raises(ProbeFailure) as caught:
        _haproxy.ask(path, "show info", Deadline(0.3 if kind == TIMEOUT else 5))
    assert caught.value.kind == kind and path in caught.value.message


def test_socket_that_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(ProbeFailure) as caught:
        _haproxy.ask(str(tmp_path / "haproxy.sock"), "show info", Deadline(5))
    assert caught.value.kind == REFUSED
