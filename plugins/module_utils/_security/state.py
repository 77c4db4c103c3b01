# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What stays between two runs: how far each log was read, and the counts of the last hours.

It is written beside and renamed, after the report was made. A file that is not
understood is kept under another name: it may be all that tells what was read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
import typing as t
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._probe import AUTH, INTERNAL, TIMEOUT, Deadline, ProbeFailure
from ansible_collections.matrixon.ops.plugins.module_utils._security.files import Place
from ansible_collections.matrixon.ops.plugins.module_utils._security.tally import HOUR, Tally, Waiting

VERSION = 1
NAME = "events.json"
KEY = "pseudonym.key"
KEY_SIZE = 32
KEPT_HOURS = 14 * 24
WAIT = 0.1


@dataclass
class State:
    """What the last run left. ``garbled`` says why there is nothing, where a file stood."""

    updated: float | None = None
    sources: dict[str, dict[str, t.Any]] = field(default_factory=dict)
    hours: dict[tuple[int, str], int] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    # Since when there are counts by hour.
    begun: float | None = None
    garbled: str = ""

    def trail(self, name: str) -> list[Place]:
        """Return the places in a log file."""
        return [Place.of(place) for place in self.sources.get(name, {}).get("trail", [])]

    def cursor(self, name: str) -> str | None:
        """Return the cursor in a journal."""
        return self.sources.get(name, {}).get("cursor")

    def seen(self, name: str) -> float | None:
        """Return when a log was read last."""
        return self.sources.get(name, {}).get("seen")


def load(path: str) -> State:
    """Return what a file holds. One that is not there is a first run; one that is not understood says so."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return State()
    except UnicodeDecodeError:
        return State(garbled="it is no text")
    except OSError as error:
        raise ProbeFailure(AUTH, f"{path} cannot be read: {error.strerror}; run with become") from error
    try:
        return _parse(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return State(garbled=str(error) or type(error).__name__)


def _parse(document: t.Any) -> State:
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ValueError(f"it is no file of version {VERSION}")
    tally = Tally()
    tally.minutes = Counter({(int(minute), str(kind)): int(count) for minute, kind, count in document["minutes"]})
    for counter, name in ((tally.addresses, "addresses"), (tally.users, "users")):
        for minute, kind, who, count in document[name]:
            counter[(int(minute), str(kind), str(who))] = int(count)
    tally.waiting = OrderedDict(
        (
            (str(unit), str(request)),
            Waiting(float(seconds), [(int(m), str(k), int(n), bool(u)) for m, k, n, u in events]),
        )
        for unit, request, seconds, events in document["waiting"]
    )
    state = State(
        updated=float(document["updated"]),
        sources=dict(document["sources"]),
        hours={(int(hour), str(kind)): int(count) for hour, kind, count in document["hours"]},
        tally=tally,
        begun=float(document["begun"]),
    )
    for name, source in state.sources.items():
        state.trail(name)
        if not isinstance(source.get("cursor", ""), str) or not isinstance(source.get("seen", 0.0), (int, float)):
            raise ValueError(f"the place in {name} is not understood")
    return state


def dump(state: State) -> bytes:
    """Return the text of a file. It holds addresses and names, so nobody but its owner may read it."""
    tally = state.tally
    document = {
        "version": VERSION,
        "updated": state.updated,
        "begun": state.begun,
        "sources": state.sources,
        "hours": [[*key, count] for key, count in sorted(state.hours.items())],
        "minutes": [[*row, count] for row, count in sorted(tally.minutes.items())],
        "addresses": [[*row, count] for row, count in sorted(tally.addresses.items())],
        "users": [[*row, count] for row, count in sorted(tally.users.items())],
        "waiting": [[*key, one.seconds, one.events] for key, one in tally.waiting.items()],
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode()


def added_hours(
    hours: t.Mapping[tuple[int, str], int], new: t.Mapping[tuple[int, str], int], now: float
) -> dict[tuple[int, str], int]:
    """Return the counts by hour with new ones, of the last two weeks."""
    both = Counter(dict(hours))
    both.update(new)
    first = int(now // HOUR) - KEPT_HOURS
    return {key: count for key, count in both.items() if key[0] >= first}


def save(directory: str, state: State) -> None:
    """Write the state beside and rename it. A file that was not understood is kept first."""
    path = os.path.join(directory, NAME)
    if state.garbled:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, kept_name(path, t.cast(float, state.updated)))
    _files.replace(path, dump(state), os.geteuid(), os.getegid(), 0o600)
    _files.sync_directory(directory)


def kept_name(path: str, now: float) -> str:
    """Return the name under which a file that is not understood is kept."""
    return f"{path}.garbled-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"


@contextlib.contextmanager
def locked(directory: str, deadline: Deadline) -> t.Iterator[None]:
    """Hold the directory, so that two runs at once do not count the same lines. It is made where it is not there."""
    try:
        if not os.path.isdir(directory):
            _files.make_parents(directory)
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o700)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ProbeFailure(
            AUTH, f"{directory} cannot be used: {error.strerror}; run with become, or give state_dir"
        ) from error
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if deadline.remaining() <= WAIT:
                    raise ProbeFailure(TIMEOUT, f"another run holds {directory}; wait for its end") from error
                time.sleep(WAIT)
        yield
    finally:
        os.close(handle)


def key_of(directory: str, create: bool) -> tuple[bytes, bool]:
    """Return the key of the pseudonyms, and whether it stays: where none may be made it is for this run."""
    path = os.path.join(directory, KEY)
    try:
        with open(path, "rb") as file:
            key = file.read(KEY_SIZE + 1)
    except FileNotFoundError:
        key = secrets.token_bytes(KEY_SIZE)
        if not create:
            return key, False
        _files.replace(path, key, os.geteuid(), os.getegid(), 0o600)
        _files.sync_directory(directory)
        return key, True
    except OSError as error:
        raise ProbeFailure(AUTH, f"{path} cannot be read: {error.strerror}; run with become") from error
    if len(key) != KEY_SIZE:
        raise ProbeFailure(INTERNAL, f"{path} is not a key of {KEY_SIZE} bytes; remove it, and pseudonyms begin anew")
    return key, True
