"""The client against etcd: what it writes and reads, and what it says of one that fails."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import typing as t

import pytest
from clusters import until
from etcd import PASSWORD, ROOT_PASSWORD, SERVER_NAME, USER, Etcd, free_port
from proxy import CUT, DRIP, HANG, PASS, Proxy

from ansible_collections.matrixon.ops.plugins.module_utils._dr import access, witness
from ansible_collections.matrixon.ops.plugins.module_utils._dr.witness import Client, Deadline, WitnessError

pytestmark = pytest.mark.integration
ROOT = pathlib.Path(__file__).resolve().parents[3]
IDENTIFIER = "7577196071415013215"


def soon() -> Deadline:
    return Deadline(30)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def failure(client: Client, seconds: float = 30) -> WitnessError:
    """Return why the witness could not be asked; it must end by its deadline."""
    started = time.monotonic()
    with pytest.raises(WitnessError) as caught:
        client.get("primary", Deadline(seconds))
    # The margin is for a machine that is busy. What is not bounded takes minutes.
    assert time.monotonic() - started < seconds + 10
    assert PASSWORD not in caught.value.message
    return caught.value


def test_a_key_is_written_only_as_it_was_seen(client: Client) -> None:
    assert client.get("primary", soon()) is None
    first = client.swap("primary", {"a": 1}, 0, soon())
    assert first.done and first.now
    late = client.swap("primary", {"a": 2}, 0, soon())
    assert not late.done and late.now == first.now
    second = client.swap("primary", {"a": 3}, first.now.revision, soon())
    assert second.done and client.get("primary", soon()) == second.now
    assert client.put_while("primary", first.now.revision, "heartbeat", {"b": 1}, soon()) is False
    assert client.get("heartbeat", soon()) is None
    assert second.now and client.put_while("primary", second.now.revision, "heartbeat", {"b": 2}, soon())
    entries = client.read(soon()).entries
    assert {name: entry.value for name, entry in entries.items()} == {"primary": {"a": 3}, "heartbeat": {"b": 2}}


def test_of_twenty_who_claim_at_once_one_wins(client: Client, store: Etcd) -> None:
    barrier = threading.Barrier(20)

    def claim(number: int) -> str:
        own = store.client()
        own.login(soon())
        barrier.wait(60)
        try:
            return witness.claim(own, f"r{number}", IDENTIFIER, 1, str(number), 0, soon(), now()).after.region
        except witness.ClaimRefused as refusal:
            assert "expected_epoch: 0 was given, but region r" in str(refusal)
            return ""

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        winners = [region for region in pool.map(claim, range(20)) if region]
    record = witness.current(client, soon())
    assert record is not None and winners == [record.region] and record.epoch == 1


def test_a_claim_whose_answer_was_lost_is_known_as_ones_own(
    client: Client, store: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = store.client(
        endpoints=(witness.parse_endpoint(store.url), witness.parse_endpoint(f"https://localhost:{store.port}"))
    )
    real, lost = witness._post, []

    def lose(endpoint: t.Any, path: str, *words: t.Any) -> t.Any:
        answer = real(endpoint, path, *words)
        if path == "kv/txn" and not lost:
            lost.append(endpoint)
            raise WitnessError("refused", "the connection broke before the answer came")
        return answer

    monkeypatch.setattr(witness, "_post", lose)
    outcome = witness.claim(two, "one", IDENTIFIER, 1, "me", 0, soon(), now())
    assert lost and outcome.after.region == "one" and outcome.after.revision > 0
    # Someone else's is not.
    lost.clear()
    swap = two.swap("primary", {"other": 1}, 0, soon())
    assert not swap.done


def test_an_old_token_is_replaced(client: Client, store: Etcd) -> None:
    client.put("x", {"a": 1}, soon())
    client._token = "nonsense.17"
    assert client.get("x", soon())
    # With each change of a user all tokens are of yesterday.
    store.root().administer("auth/user/changepw", {"name": USER, "password": PASSWORD}, soon())
    assert client.get("x", soon())
    client.put("x", {"a": 2}, soon())


def test_a_lease_ends_by_itself_and_takes_its_keys_along(client: Client) -> None:
    short, long = client.grant(2, soon()), client.grant(60, soon())
    client.put("lease/a", {}, soon(), short)
    client.put("lease/b", {}, soon(), long)
    assert client.keep_alive(long, soon()) == 60
    assert 0 < client.time_left(long, soon()) <= 60
    until(lambda: client.get("lease/a", soon()) is None, 60)
    assert client.time_left(short, soon()) == -1 and client.keep_alive(short, soon()) == 0
    entry = client.get("lease/b", soon())
    assert entry and entry.lease == long
    client.revoke(long, soon())
    assert client.get("lease/b", soon()) is None


def test_failures_have_names(client: Client, store: Etcd, tmp_path: pathlib.Path) -> None:
    closed = store.client(endpoints=(witness.parse_endpoint(f"https://127.0.0.1:{free_port()}"),))
    assert failure(closed).kind == "refused"
    wrong = failure(store.client(password="another-password"))
    assert wrong.kind == "auth" and "refuses this user" in wrong.message
    assert failure(store.client(user="nobody")).kind == "auth"
    assert failure(store.client(server_name="example.com")).kind == "auth"
    assert failure(store.client(ca_file=None)).kind == "tls"
    assert "/nowhere" in failure(store.client(ca_file="/nowhere")).message
    unknown = store.client(endpoints=(witness.parse_endpoint("https://nowhere.invalid:2379"),))
    assert failure(unknown).kind == "dns"


@pytest.mark.parametrize("mode", [HANG, DRIP])
def test_a_witness_that_does_not_end_is_given_up(store: Etcd, proxy: Proxy, mode: str) -> None:
    between = store.client(endpoints=(witness.parse_endpoint(proxy.url),))
    proxy.mode = mode
    told = failure(between, 0.7)
    assert told.kind == "timeout" and "0.7 s" in told.message
    # In the midst of an answer, too, when TLS has been spoken.
    proxy.mode = PASS
    between.login(soon())
    proxy.mode = mode
    assert failure(between, 0.7).kind == "timeout"
    proxy.mode = CUT
    assert failure(between).kind in ("refused", "tls")


def test_an_etcd_that_hangs_is_given_up(client: Client, store: Etcd) -> None:
    client.login(soon())
    store.hang()
    try:
        assert failure(client, 0.7).kind == "timeout"
    finally:
        store.go_on()
    assert client.get("primary", soon()) is None


@contextlib.contextmanager
def server(store: Etcd, serve: t.Callable[[ssl.SSLSocket], None]) -> t.Iterator[Client]:
    """Return a client of something that speaks TLS as the witness does, and then does as it likes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(store.base / "cert.pem", store.base / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            raw, _address = listener.accept()
            # The client may be gone before the last word.
            with contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as sock:
                sock.recv(65536)
                serve(sock)
                sock.unwrap()

        threading.Thread(target=accept, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        yield store.client(endpoints=(witness.parse_endpoint(url),))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\nnonsense", b"nonsense\r\n\r\n", b""])
def test_what_is_no_etcd_is_told(store: Etcd, answer: bytes) -> None:
    with server(store, lambda sock: sock.sendall(answer)) as other:
        told = failure(other)
    assert told.kind == ("parse" if answer else "refused")
    assert str(other.settings.endpoints[0]) in told.message


def test_one_that_says_a_byte_now_and_then_is_given_up(store: Etcd) -> None:
    def drip(sock: ssl.SSLSocket) -> None:
        # Each is an answer by itself to who waits for the next one only.
        for _number in range(300):
            sock.sendall(b"H")
            time.sleep(0.1)

    with server(store, drip) as other:
        assert failure(other, 0.7).kind == "timeout"


def test_members_are_asked_in_turn(store: Etcd, client: Client, proxy: Proxy) -> None:
    proxy.mode = HANG
    dead, hangs = f"https://127.0.0.1:{free_port()}", proxy.url
    several = store.client(endpoints=tuple(witness.parse_endpoint(url) for url in (dead, hangs, store.url)))
    several.put("x", {"a": 1}, Deadline(6))
    # The one that answered is asked first from then on.
    started = time.monotonic()
    several.put("x", {"a": 2}, Deadline(6))
    assert time.monotonic() - started < 2
    none = store.client(endpoints=tuple(witness.parse_endpoint(url) for url in (dead, hangs)))
    told = failure(none, 1)
    assert told.kind == "refused" and dead in told.message and hangs in told.message


def test_rights_are_held_and_proved(client: Client, store: Etcd) -> None:
    root = store.root()
    assert access.hold(root, client, soon(), write=True) == []
    access.prove(client, "here", "nonce", soon())
    # Too much, too little, another password: each is put right.
    everything = {"permType": "READWRITE", "key": "AA==", "range_end": "AA=="}
    root.administer("auth/role/grant", {"name": USER, "perm": everything}, soon())
    with pytest.raises(access.AccessRefused, match="can read keys of another deployment"):
        access.prove(client, "here", "nonce", soon())
    assert access.hold(root, client, soon(), write=True) == [f"the role {USER} loses other rights"]
    root.administer("auth/user/revoke", {"name": USER, "role": USER}, soon())
    root.administer("auth/user/changepw", {"name": USER, "password": "of-someone-else"}, soon())
    assert len(access.hold(root, client, soon(), write=False)) == 2
    assert failure(store.client()).kind == "auth"
    assert len(access.hold(root, client, soon(), write=True)) == 2
    access.prove(client, "here", "nonce", soon())
    with pytest.raises(access.AccessRefused, match="root_password: it is not the one"):
        access.hold(store.client("root", "nonsense-nonsense"), client, soon(), write=True)


def test_users_of_someone_elses_are_not_taken_in(tmp_path: pathlib.Path) -> None:
    open_to_all = Etcd(tmp_path)
    open_to_all.start()
    try:
        root, user = open_to_all.root(), open_to_all.client()
        with pytest.raises(WitnessError):
            access.prove(user, "here", "nonce", soon())
        root.administer("auth/user/add", {"name": "mallory", "password": "x"}, soon(), anonymous=True)
        with pytest.raises(access.AccessRefused, match="someone else's: mallory"):
            access.hold(root, user, soon(), write=True)
        root.administer("auth/user/delete", {"name": "mallory"}, soon(), anonymous=True)
        # A run that died halfway is gone on with.
        root.administer("auth/user/add", {"name": "root", "password": "another"}, soon(), anonymous=True)
        steps = access.hold(root, user, soon(), write=True)
        assert steps[0] == "the password of root is set" and steps[-1] == "authentication is switched on"
        assert access.hold(root, user, soon(), write=True) == []
        access.prove(user, "here", "nonce", soon())
    finally:
        open_to_all.stop()


def module(name: str, **arguments: t.Any) -> dict[str, t.Any]:
    """Run a module as Ansible does."""
    done = subprocess.run(
        [sys.executable, str(ROOT / f"plugins/modules/{name}.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert PASSWORD not in done.stdout and ROOT_PASSWORD not in done.stdout
    result: dict[str, t.Any] = json.loads(done.stdout)
    return result


def test_the_module_claims_and_reads(client: Client, store: Etcd) -> None:
    reach = {"endpoints": [store.url], "user": USER, "password": PASSWORD, "ca_file": str(store.ca_file)}
    reach["server_name"] = SERVER_NAME
    empty = module("matrixon_witness", **reach)
    assert (empty["record"], empty["revision"], empty["heartbeat"], empty["guards"]) == (None, 0, None, {})
    claim = {**reach, "state": "claimed", "region": "one", "system_identifier": IDENTIFIER, "timeline": 1}
    claim.update(by="a test", expected_epoch=0)
    assert module("matrixon_witness", **claim, _ansible_check_mode=True)["changed"]
    assert client.get("primary", soon()) is None
    first = module("matrixon_witness", **claim)
    assert first["changed"] and first["record"]["epoch"] == 1
    assert not module("matrixon_witness", **claim)["changed"]
    refused = module("matrixon_witness", **{**claim, "region": ""})
    assert refused["failed"] and "give 1 if it is" in refused["msg"]
    assert module("matrixon_witness", **{**claim, "region": "", "expected_epoch": 1})["record"]["region"] == ""
    for name, value in (("region", "No Region"), ("timeline", 0), ("system_identifier", "x"), ("expected_epoch", -1)):
        bad = module("matrixon_witness", **{**claim, name: value})
        assert bad["failed"] and bad["msg"].startswith(f"{name}: "), bad
    at = witness.stamp(now() - datetime.timedelta(seconds=100))
    client.put("heartbeat", {"lsn": "0/5", "at": at}, soon())
    client.put("homeserver/hs1", {"release": "1", "at": at}, soon())
    client.put("guard/db1", {"serves": True, "at": at}, soon())
    client.put("guard/db2", {"serves": False, "at": at}, soon())
    client.put("lease/db1", {}, soon(), client.grant(60, soon()))
    read = module("matrixon_witness", **reach)
    assert read["msg"].startswith("nobody may serve since") and not read["changed"]
    assert read["heartbeat"]["lsn"] == "0/5" and 100 <= read["heartbeat"]["age_seconds"] < 200
    assert read["homeservers"]["hs1"]["release"] == "1"
    assert 0 < read["guards"]["db1"]["lease_left"] <= 60 and read["guards"]["db2"]["lease_left"] is None
    assert abs(read["clock_difference_seconds"]) < 5


def test_the_module_says_why_it_cannot_ask(store: Etcd, client: Client) -> None:
    reach = {"endpoints": [store.url], "user": USER, "password": PASSWORD, "server_name": SERVER_NAME}
    untrusted = module("matrixon_witness", **reach)
    assert untrusted["failed"] and untrusted["error_kind"] == "tls"
    clear = module("matrixon_witness", **{**reach, "endpoints": ["http://127.0.0.1:2379"]})
    assert clear["msg"].startswith("endpoints: 'http://127.0.0.1:2379' is not an https URL")
    assert module("matrixon_witness", **{**reach, "endpoints": []})["msg"].startswith("endpoints: there is none")
