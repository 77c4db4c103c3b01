# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Which state was told to whom, in one small file for each thing that is told of."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import time
import typing as t
import uuid
from dataclasses import dataclass, field

from ansible_collections.matrixon.ops.plugins.module_utils import _files
from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import (
    ACKNOWLEDGE,
    KEEPERS,
    NONE,
    OPEN,
    RESOLVE,
    SEVERITIES,
    STATUS_PAGE,
    Channel,
    Message,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

SCHEMA = "matrixon.ops/notify/1"
PAUSE = 0.05


class Forgotten(Exception):
    """What was told before cannot be read or written."""


@dataclass(frozen=True)
class Told:
    """The last thing that a channel was told. ``is_open``: it has an incident that is not resolved."""

    change: int
    state: str
    at: str
    is_open: bool = False


@dataclass(frozen=True)
class Remembered:
    """What is known of a key. Each change of its state has a number; ``id`` tells two memories apart."""

    key: str
    id: str
    state: str = ""
    occasion: str = ""
    change: int = 0
    channels: t.Mapping[str, Told] = field(default_factory=dict)

    def in_state(self, state: str, occasion: str = "") -> Remembered:
        """Return what is known once this state is announced. On another occasion the same state is a change."""
        if (state, occasion) == (self.state, self.occasion):
            return self
        return dataclasses.replace(self, state=state, occasion=occasion, change=self.change + 1)

    def told(self, channel: str, incident: str, at: str) -> Remembered:
        """Return what is known once a channel was told the present state."""
        before = self.channels.get(channel)
        is_open = incident in (OPEN, ACKNOWLEDGE) or (incident == NONE and before is not None and before.is_open)
        entry = Told(self.change, self.state, at, is_open)
        return dataclasses.replace(self, channels={**self.channels, channel: entry})

    def transaction(self, channel: str) -> str:
        """Return what a repeat of the present message is known by, in this run and in the next."""
        return hashlib.sha256(f"{self.id}/{self.change}/{channel}".encode()).hexdigest()[:32]


def fresh(key: str) -> Remembered:
    """Return what is known of a key that nobody was told of."""
    return Remembered(key, uuid.uuid4().hex)


def reason_to_pass_over(channel: Channel, message: Message, chosen: t.Collection[str], known: Remembered) -> str | None:
    """Return why a channel is not meant, or None if it is.

    Who was told that something is open is told that it is over, whatever the
    channel's limits are.
    """
    told = known.channels.get(channel.name)
    over = message.incident == RESOLVE and told is not None and told.is_open
    if chosen and channel.name not in chosen:
        return "it is not among those that were chosen"
    if channel.states and message.state not in channel.states and not over:
        return f"it is not told of the state {message.state}"
    if SEVERITIES.index(message.severity) < SEVERITIES.index(channel.min_severity) and not over:
        return f"{message.severity} is below its {channel.min_severity}"
    if channel.type in KEEPERS and message.incident == NONE:
        return "it keeps incidents, and this message is about none"
    if channel.type == STATUS_PAGE and message.incident != RESOLVE and not message.public_text:
        return "there are no words for the public"
    return None


def already_told(channel: Channel, known: Remembered) -> Told | None:
    """Return when a channel was told the present state, if it was."""
    told = known.channels.get(channel.name)
    return told if told is not None and told.change == known.change else None


class Memory:
    """The file of one key."""

    def __init__(self, directory: str, key: str) -> None:
        self.directory = directory
        self.key = key
        words = re.sub(r"[^A-Za-z0-9.-]+", "_", key)[:60].strip("._")
        self.name = f"{words}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        self.path = os.path.join(directory, f"{self.name}.json")

    def prepare(self) -> None:
        """Make the directory, for its owner alone."""
        with _named(self.directory):
            if not os.path.isdir(self.directory):
                _files.make_parents(self.directory)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(self.directory, 0o700)

    @contextlib.contextmanager
    def locked(self, deadline: Deadline, sleep: t.Callable[[float], None] = time.sleep) -> t.Iterator[None]:
        """Keep others from telling of the same key meanwhile."""
        path = os.path.join(self.directory, f".{self.name}.lock")
        with _named(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            while not _lock(handle):
                if deadline.remaining() <= 0:
                    raise Forgotten(f"another run has been telling of {self.key} for {deadline.seconds:.3g} s")
                sleep(PAUSE)
            yield
        finally:
            os.close(handle)

    def load(self) -> Remembered:
        """Return what is known; a file that cannot be read is told of, and not taken for an empty one."""
        with _named(self.path):
            found = _files.look(self.path)
        if found.kind == "absent":
            return fresh(self.key)
        if found.content is None:
            raise Forgotten(f"{self.path} is a {found.kind} and no file")
        try:
            return _parse(json.loads(found.content), self.key)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Forgotten(f"{self.path} is damaged ({type(error).__name__})") from error

    def save(self, known: Remembered) -> None:
        """Write what is known, in one step for whoever reads it."""
        document = {"schema": SCHEMA, **dataclasses.asdict(known)}
        content = (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
        with _named(self.path):
            _files.replace(self.path, content, os.getuid(), os.getgid(), 0o600)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _named(path: str) -> t.Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Forgotten(f"{path}: {error.strerror}") from error


def _parse(document: t.Any, key: str) -> Remembered:
    if document["schema"] != SCHEMA or document["key"] != key:
        raise ValueError("another file")
    channels = {str(name): _parse_told(told) for name, told in document["channels"].items()}
    name, state, occasion = (str(document[word]) for word in ("id", "state", "occasion"))
    return Remembered(key, name, state, occasion, int(document["change"]), channels)


def _parse_told(entry: t.Any) -> Told:
    return Told(int(entry["change"]), str(entry["state"]), str(entry["at"]), bool(entry["is_open"]))
