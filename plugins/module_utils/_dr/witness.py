# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The witness: an etcd outside both regions that remembers which of them serves.

It is asked through etcd's JSON gateway, with the standard library alone: the role
``dr_guard`` copies this very file to hosts that know nothing of Ansible. So it
imports nothing else of the collection.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import email.utils
import functools
import http.client
import io
import json
import select
import socket
import ssl
import threading
import time
import typing as t
import urllib.parse

REFUSED = "refused"
TIMEOUT = "timeout"
AUTH = "auth"
DNS = "dns"
TLS = "tls"
PARSE = "parse"

MAX_BODY = 4 * 1024 * 1024
# Codes of gRPC in the answers of the gateway.
UNAVAILABLE = (1, 2, 4, 8, 10, 14)
PERMISSION_DENIED = 7
UNAUTHENTICATED = 16
# etcd gives some refusals of the password and the token no code of their own.
BAD_LOGIN = ("authentication failed", "user name is empty", "user name not found")
BAD_TOKEN = ("invalid auth token", "revision of auth store is old")

Clock = t.Callable[[], float]
Json = dict[str, t.Any]


class WitnessError(Exception):
    """The witness could not be asked. ``kind`` is one word, ``message`` is for people and names the peer."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class _Answered(WitnessError):
    """It was reached and said no: another member would say the same."""

    def __init__(self, kind: str, message: str, stale_token: bool = False) -> None:
        super().__init__(kind, message)
        self.stale_token = stale_token


class Deadline:
    """A point in monotonic time by which everything must be done."""

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left, never below zero."""
        return max(0.0, self._end - self._clock())

    def require(self, peer: str) -> float:
        """Return the seconds that are left, or fail with the name of the peer."""
        left = self.remaining()
        if left <= 0:
            raise WitnessError(TIMEOUT, f"the witness at {peer} gave no answer within {self.seconds:.3g} s")
        return left

    def within(self, seconds: float) -> Deadline:
        """Return a deadline that ends after ``seconds``, or with this one."""
        return Deadline(min(seconds, self.remaining()), self._clock)


class Endpoint(t.NamedTuple):
    """Where a member listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"https://[{self.host}]:{self.port}" if ":" in self.host else f"https://{self.host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """Return the parts of an address such as https://witness.example.org:2379, or raise ValueError."""
    way_out = "write for example https://witness.example.org:2379"
    parts = urllib.parse.urlsplit(text)
    if parts.scheme != "https":
        raise ValueError(f"'{text}' is not an https URL, and the password would go over the wire in clear; {way_out}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the URL of {parts.hostname} holds a login, which would be shown; {way_out}")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"'{text}' has no port from 1 to 65535; {way_out}") from error
    if not parts.hostname or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"'{text}' is not the address of a server; {way_out}")
    return Endpoint(parts.hostname, port or 2379)


class Settings(t.NamedTuple):
    """How the witness is reached, and which deployment it is asked about."""

    endpoints: tuple[Endpoint, ...]
    server_name: str
    user: str
    password: str
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"Settings({', '.join(map(str, self.endpoints))}; {self.server_name}; {self.user})"

    def key(self, *words: str) -> str:
        """Return the full name of a key of this deployment."""
        return "/".join(["", "matrixon", self.server_name, *words])


class Entry(t.NamedTuple):
    """A value, the store's revision at which it was written, and the lease that it hangs on."""

    value: Json
    revision: int
    lease: int = 0


class Snapshot(t.NamedTuple):
    """Keys as they were at one revision, by their names below the deployment, and the witness's own time."""

    entries: dict[str, Entry]
    revision: int
    clock: datetime.datetime | None


class Swap(t.NamedTuple):
    """Whether a write was done, and what the key holds now."""

    done: bool
    now: Entry | None


class Client:
    """One deployment's view of the witness. Each call ends by its deadline, whatever the peer does."""

    def __init__(self, settings: Settings, clock: Clock = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._token: str | None = None
        self._first = 0

    def get(self, name: str, deadline: Deadline) -> Entry | None:
        """Return what a key holds, asked of the majority of the members."""
        return self._entry(self._call("kv/range", {"key": self._key(name)}, deadline)[0], name)

    def read(self, deadline: Deadline) -> Snapshot:
        """Return everything about the deployment, at one revision."""
        prefix = self.settings.key("")
        wanted = {"key": encode(prefix), "range_end": encode(after(prefix))}
        answer, clock = self._call("kv/range", wanted, deadline)
        entries = {}
        for pair in answer.get("kvs", []):
            name = decode(pair["key"]).decode("utf-8", "replace")[len(prefix) :]
            # What else someone keeps here must not hide the rest.
            with contextlib.suppress(WitnessError):
                entries[name] = _entry(pair, name)
        return Snapshot(entries, int(answer.get("header", {}).get("revision", 0)), clock)

    def put(self, name: str, value: Json, deadline: Deadline, lease: int = 0) -> None:
        """Write a key, whatever it held."""
        self._call("kv/put", self._put(name, value, lease), deadline)

    def delete(self, name: str, deadline: Deadline) -> None:
        """Remove a key; one that is not there is no failure."""
        self._call("kv/deleterange", {"key": self._key(name)}, deadline)

    def swap(self, name: str, value: Json, revision: int, deadline: Deadline) -> Swap:
        """Write a key only if it was last written at that revision; 0 means that it must not exist."""
        request = {
            "compare": [self._unchanged(name, revision)],
            "success": [{"request_put": self._put(name, value)}],
            "failure": [{"request_range": {"key": self._key(name)}}],
        }
        answer, _clock = self._call("kv/txn", request, deadline)
        if answer.get("succeeded"):
            return Swap(True, Entry(value, int(answer["header"]["revision"])))
        now = self._entry(answer["responses"][0]["response_range"], name)
        # A first try may have been carried out although its answer was lost.
        if answer.get("retried") and now is not None and now.value == value:
            return Swap(True, now)
        return Swap(False, now)

    def put_while(self, guard: str, revision: int, name: str, value: Json, deadline: Deadline, lease: int = 0) -> bool:
        """Write a key only while another one is as it was seen; return whether it was written."""
        request = {
            "compare": [self._unchanged(guard, revision)],
            "success": [{"request_put": self._put(name, value, lease)}],
        }
        return bool(self._call("kv/txn", request, deadline)[0].get("succeeded"))

    def grant(self, seconds: int, deadline: Deadline) -> int:
        """Return the number of a new lease."""
        return int(self._call("lease/grant", {"TTL": seconds}, deadline)[0]["ID"])

    def keep_alive(self, lease: int, deadline: Deadline) -> int:
        """Let a lease begin anew; return its seconds, 0 if it has expired."""
        answer = self._call("lease/keepalive", {"ID": lease}, deadline)[0]
        return int(answer.get("result", {}).get("TTL", 0))

    def time_left(self, lease: int, deadline: Deadline) -> int:
        """Return the seconds until a lease expires, -1 if it has."""
        return int(self._call("lease/timetolive", {"ID": lease}, deadline)[0].get("TTL", 0))

    def revoke(self, lease: int, deadline: Deadline) -> None:
        """Give a lease back: what hangs on it goes with it."""
        self._call("lease/revoke", {"ID": lease}, deadline)

    def login(self, deadline: Deadline) -> None:
        """Try the password, at the first member."""
        self._login(self.settings.endpoints[0], deadline)

    def administer(self, path: str, body: Json, deadline: Deadline, anonymous: bool = False) -> Json:
        """Ask the first member for something about its users, or anything without being one."""
        if not anonymous:
            return self._authorised(self.settings.endpoints[0], path, body, deadline)[0]
        return _post(self.settings.endpoints[0], path, body, self.settings.ca_file, None, deadline)[0]

    def _key(self, name: str) -> str:
        return encode(self.settings.key(name))

    def _put(self, name: str, value: Json, lease: int = 0) -> Json:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return {"key": self._key(name), "value": encode(text), "lease": lease}

    def _unchanged(self, name: str, revision: int) -> Json:
        return {"key": self._key(name), "target": "MOD", "result": "EQUAL", "mod_revision": revision}

    def _entry(self, answer: Json, name: str) -> Entry | None:
        pairs = answer.get("kvs", [])
        return _entry(pairs[0], name) if pairs else None

    def _call(self, path: str, body: Json, deadline: Deadline) -> tuple[Json, datetime.datetime | None]:
        """Ask the members in turn, beginning with the one that answered last."""
        count = len(self.settings.endpoints)
        failures: list[WitnessError] = []
        for step in range(count):
            number = (self._first + step) % count
            # A member that hangs must leave time for the others.
            share = deadline.within(deadline.remaining() / (count - step))
            try:
                answer = self._authorised(self.settings.endpoints[number], path, body, share)
            except _Answered:
                self._first = number
                raise
            except WitnessError as failure:
                failures.append(failure)
                continue
            self._first = number
            if failures:
                answer[0]["retried"] = True
            return answer
        raise WitnessError(failures[0].kind, "; ".join(failure.message for failure in failures))

    def _authorised(
        self, endpoint: Endpoint, path: str, body: Json, deadline: Deadline
    ) -> tuple[Json, datetime.datetime | None]:
        """Ask with a token; where it is no longer good, log in once more."""
        fresh = self._token is None
        token = self._token or self._login(endpoint, deadline)
        try:
            return _post(endpoint, path, body, self.settings.ca_file, token, deadline)
        except _Answered as refusal:
            if not refusal.stale_token or fresh:
                raise
        self._token = None
        return _post(endpoint, path, body, self.settings.ca_file, self._login(endpoint, deadline), deadline)

    def _login(self, endpoint: Endpoint, deadline: Deadline) -> str:
        login = {"name": self.settings.user, "password": self.settings.password}
        answer, _clock = _post(endpoint, "auth/authenticate", login, self.settings.ca_file, None, deadline)
        token = answer.get("token")
        if not token:
            raise WitnessError(PARSE, f"the witness at {endpoint} answered a login without a token")
        self._token = str(token)
        return self._token


def after(prefix: str) -> str:
    """Return the first key behind all those that begin with a prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def encode(text: str) -> str:
    """Return keys and values as the gateway wants them."""
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> bytes:
    return base64.b64decode(text)


def _entry(pair: Json, name: str) -> Entry:
    """Return the value of a key, or fail if it is no JSON object."""
    try:
        value = json.loads(decode(pair.get("value", "")))
        revision, lease = int(pair["mod_revision"]), int(pair.get("lease", 0))
    except (ValueError, KeyError) as error:
        raise WitnessError(PARSE, f"the key {name} of the witness holds something that is not JSON") from error
    if not isinstance(value, dict):
        raise WitnessError(PARSE, f"the key {name} of the witness holds no JSON object")
    return Entry(value, revision, lease)


class _Stream(io.RawIOBase):
    """A socket whose reads all end by one deadline; a timeout for each read would let a slow peer go on for ever."""

    def __init__(self, sock: ssl.SSLSocket, peer: str, deadline: Deadline) -> None:
        super().__init__()
        self._sock, self._peer, self._deadline = sock, peer, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        self._sock.settimeout(self._deadline.require(self._peer))
        try:
            return self._sock.recv_into(buffer)
        except socket.timeout as error:
            self._deadline.require(self._peer)
            raise WitnessError(TIMEOUT, f"the witness at {self._peer} gave no answer in time") from error

    def makefile(self, *_words: t.Any, **_options: t.Any) -> io.BufferedReader:
        return io.BufferedReader(self)


def _post(
    endpoint: Endpoint, path: str, body: Json, ca_file: str | None, token: str | None, deadline: Deadline
) -> tuple[Json, datetime.datetime | None]:
    """Send one request and return its whole answer, and the time that the peer says it is."""
    peer = str(endpoint)
    deadline.require(peer)
    content = json.dumps(body).encode()
    lines = [
        f"POST /v3/{path} HTTP/1.1",
        f"Host: {peer[len('https://') :]}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "Connection: close",
        *([f"Authorization: {token}"] if token else []),
    ]
    try:
        with _connect(endpoint, ca_file, deadline) as sock:
            sock.settimeout(deadline.require(peer))
            sock.sendall("\r\n".join([*lines, "", ""]).encode() + content)
            response = http.client.HTTPResponse(t.cast(t.Any, _Stream(sock, peer, deadline)), method="POST")
            response.begin()
            answer = response.read(MAX_BODY + 1)
    except ssl.SSLCertVerificationError as error:
        raise WitnessError(TLS, f"the witness at {peer} is not trusted: {error.verify_message}") from error
    except socket.timeout as error:
        raise WitnessError(TIMEOUT, f"the witness at {peer} gave no answer within {deadline.seconds:.3g} s") from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        raise WitnessError(REFUSED, f"the witness at {peer} closed the connection before it had answered") from error
    except ssl.SSLError as error:
        raise WitnessError(TLS, f"the witness at {peer} does not speak TLS as it should: {_reason(error)}") from error
    except (http.client.RemoteDisconnected, http.client.IncompleteRead) as error:
        raise WitnessError(REFUSED, f"the witness at {peer} closed the connection before it had answered") from error
    except http.client.HTTPException as error:
        raise WitnessError(PARSE, f"the witness at {peer} gave an answer that is not HTTP: {_reason(error)}") from error
    except OSError as error:
        raise WitnessError(REFUSED, f"the witness at {peer} cannot be reached: {_reason(error)}") from error
    if len(answer) > MAX_BODY:
        raise WitnessError(PARSE, f"the witness at {peer} gave an answer larger than {MAX_BODY} bytes")
    return _judge(peer, response.status, answer), _time(response.headers.get("Date"))


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _judge(peer: str, status: int, answer: bytes) -> Json:
    """Return the document of an answer, or the failure that it tells of."""
    try:
        # A stream of answers is one to a line; only one was asked for.
        document = json.loads(answer.splitlines()[0] if answer else b"")
    except (ValueError, IndexError) as error:
        start = " ".join(answer[:60].decode("utf-8", "replace").split())
        message = f"the witness at {peer} answered {status} with what is not JSON: {start!r}"
        raise WitnessError(PARSE, message) from error
    if not isinstance(document, dict):
        raise WitnessError(PARSE, f"the witness at {peer} answered {status} with no JSON object")
    problem = document.get("error")
    if status == 200 and not problem:
        return document
    # In a stream the error is an object of its own.
    inner = problem if isinstance(problem, dict) else document
    said = str(inner.get("message") or inner.get("error") or f"HTTP {status}")
    code = inner.get("code", inner.get("grpc_code"))
    if any(words in said for words in BAD_TOKEN):
        raise _Answered(AUTH, f"the witness at {peer} does not take the token: {said}", stale_token=True)
    if code in (UNAUTHENTICATED, PERMISSION_DENIED) or any(words in said for words in BAD_LOGIN):
        raise _Answered(AUTH, f"the witness at {peer} answered but refuses this user: {said}")
    if code in UNAVAILABLE or status >= 500:
        raise WitnessError(REFUSED, f"the witness at {peer} cannot answer: {said}")
    raise _Answered(REFUSED, f"the witness at {peer} refuses: {said}")


def _time(text: str | None) -> datetime.datetime | None:
    try:
        return email.utils.parsedate_to_datetime(text or "")
    except (TypeError, ValueError):
        return None


@functools.lru_cache(maxsize=8)
def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    # On by itself from Python 3.13 on: what is trusted must not differ with the Python of a host.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _connect(endpoint: Endpoint, ca_file: str | None, deadline: Deadline) -> ssl.SSLSocket:
    """Connect to the first address that lets us."""
    peer = str(endpoint)
    try:
        context = _context(ca_file)
    except OSError as error:
        raise WitnessError(TLS, f"the authorities in {ca_file} cannot be read: {_reason(error)}") from error
    addresses = _addresses(endpoint, deadline)
    last: OSError = OSError("it has no address")
    for number, address in enumerate(addresses):
        share = deadline.within(deadline.require(peer) / (len(addresses) - number))
        sock = socket.socket(address[0], socket.SOCK_STREAM)
        try:
            sock.settimeout(max(share.remaining(), 0.001))
            sock.connect(address[1])
        except OSError as error:
            sock.close()
            last = error
            continue
        return _start_tls(sock, context, endpoint.host, peer, deadline)
    raise last


def _start_tls(sock: socket.socket, context: ssl.SSLContext, host: str, peer: str, deadline: Deadline) -> ssl.SSLSocket:
    """Shake hands step by step: a peer that drips would outlast a timeout for each read."""
    wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        wrapped.setblocking(False)
        while True:
            try:
                wrapped.do_handshake()
                return wrapped
            except ssl.SSLWantReadError:
                select.select([wrapped], [], [], deadline.require(peer))
            except ssl.SSLWantWriteError:
                select.select([], [wrapped], [], deadline.require(peer))
    except BaseException:
        wrapped.close()
        raise


def _addresses(endpoint: Endpoint, deadline: Deadline) -> list[tuple[t.Any, t.Any]]:
    """Return what a name leads to. Name servers know no deadline, so they are asked beside."""
    found: list[tuple[t.Any, t.Any]] = []
    failure: list[OSError] = []

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
            found.extend((info[0], info[4]) for info in infos)
        except OSError as error:
            failure.append(error)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(deadline.remaining())
    if asker.is_alive():
        raise WitnessError(TIMEOUT, f"the name {endpoint.host} was not resolved within {deadline.seconds:.3g} s")
    if failure:
        raise WitnessError(DNS, f"the name {endpoint.host} cannot be resolved: {_reason(failure[0])}")
    return found


class Record(t.NamedTuple):
    """Who may serve: the key ``primary``. An empty region means nobody."""

    region: str
    system_identifier: str
    timeline: int
    epoch: int
    since: str
    by: str
    revision: int = 0

    def value(self) -> Json:
        """Return it as the witness keeps it."""
        return {key: value for key, value in self._asdict().items() if key != "revision"}


PRIMARY = "primary"
HEARTBEAT = "heartbeat"


def parse_record(entry: Entry) -> Record:
    """Return the record in the key ``primary``, or fail naming what is wrong with it."""
    kinds: dict[str, type] = {
        "region": str,
        "system_identifier": str,
        "timeline": int,
        "epoch": int,
        "since": str,
        "by": str,
    }
    for name, kind in kinds.items():
        value = entry.value.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise WitnessError(PARSE, f"the key primary of the witness has no good {name}: {value!r}")
    return Record(**{name: entry.value[name] for name in kinds}, revision=entry.revision)


def says_already(record: Record | None, region: str, system_identifier: str, timeline: int) -> bool:
    """Tell if a claim would change nothing."""
    return record is not None and record[:3] == (region, system_identifier, timeline)


def next_record(
    record: Record | None,
    region: str,
    system_identifier: str,
    timeline: int,
    by: str,
    now: datetime.datetime,
) -> Record:
    """Return the record that follows: its epoch is one higher."""
    epoch = record.epoch + 1 if record else 1
    return Record(region, system_identifier, timeline, epoch, stamp(now), by)


def stamp(moment: datetime.datetime) -> str:
    """Return a moment in RFC 3339, with milliseconds."""
    return moment.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_stamp(text: t.Any) -> datetime.datetime | None:
    """Return the moment of such a stamp, None if it is none."""
    try:
        moment = datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


class ClaimRefused(Exception):
    """The record is not the one that the caller has seen."""


class Claimed(t.NamedTuple):
    """The record before a claim and after it. They are the same object if nothing was to be done."""

    before: Record | None
    after: Record


def current(client: Client, deadline: Deadline) -> Record | None:
    """Return the record as the witness has it now."""
    entry = client.get(PRIMARY, deadline)
    return parse_record(entry) if entry else None


def claim(
    client: Client,
    region: str,
    system_identifier: str,
    timeline: int,
    by: str,
    expected_epoch: int,
    deadline: Deadline,
    now: datetime.datetime,
    write: bool = True,
) -> Claimed:
    """Say who may serve, if the record is still the one of ``expected_epoch``; 0 means that there is none."""
    before = current(client, deadline)
    if before is not None and says_already(before, region, system_identifier, timeline):
        return Claimed(before, before)
    _require_epoch(before, expected_epoch)
    wanted = next_record(before, region, system_identifier, timeline, by, now)
    if not write:
        return Claimed(before, wanted)
    swap = client.swap(PRIMARY, wanted.value(), before.revision if before else 0, deadline)
    found = parse_record(swap.now) if swap.now else None
    if swap.done and found is not None:
        return Claimed(before, found)
    _require_epoch(found, expected_epoch)
    raise ClaimRefused("the record was changed by someone else just now, and back again; look at it and claim anew")


def _require_epoch(record: Record | None, expected: int) -> None:
    epoch = record.epoch if record else 0
    if epoch != expected:
        raise ClaimRefused(
            f"expected_epoch: {expected} was given, but {told(record)}; see whether that is what you want to replace, "
            f"and give {epoch} if it is"
        )


def told(record: Record | None) -> str:
    """Return a record in words."""
    if record is None:
        return "the witness has no record of who may serve (epoch 0)"
    who = f"region {record.region} is the primary" if record.region else "nobody may serve"
    return f"{who} since {record.since} (epoch {record.epoch}, by {record.by})"


def age(text: t.Any, now: datetime.datetime) -> float | None:
    """Return the seconds since a stamp, None if it is none."""
    moment = parse_stamp(text)
    return round((now - moment).total_seconds(), 3) if moment else None


def hosts(snapshot: Snapshot, folder: str, now: datetime.datetime) -> dict[str, Json]:
    """Return what the hosts said below a folder, each with its age."""
    prefix = f"{folder}/"
    return {
        name[len(prefix) :]: dict(entry.value, age_seconds=age(entry.value.get("at"), now))
        for name, entry in snapshot.entries.items()
        if name.startswith(prefix)
    }
