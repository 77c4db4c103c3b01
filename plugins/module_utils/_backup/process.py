# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Run the tools of a backup: as an OS user, without a shell, under a deadline.

Every process is the leader of a group of its own, and nothing of that group
outlives the call: not after the deadline, not after a failure, not when this
process is told to end (``terminable``), and where the host has setpriv not
even when this process is killed outright. The kernel sends that last signal
when the thread ends that started the process, so start them in a thread that
waits for them.

Nothing secret belongs in an argument or an environment: every user of the
host can read the first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    TIMEOUT,
    TLS,
    Deadline,
)

# How long a process may take to end after SIGTERM before SIGKILL follows, in seconds.
GRACE = 5.0
# How long after a stage that lost its reader the reader itself must have ended, in seconds.
PARTNER = 2.0
# The last part of what a tool said that is kept, in bytes.
MAX_WORDS = 64 * 1024
# A script for sh: what it was started by, and what it is to become.
ONLY_WITH_PARENT = '[ "$PPID" = "$1" ] || exit 143; shift; exec "$@"'
NICENESS = 10
# Room in a pipe between two stages. Linux gives 64 KB; with this, unpacking takes a third less of the processor.
PIPE_BYTES = 256 * 1024
# Python knows it by name from 3.10 on.
F_SETPIPE_SZ = 1031
NO_SPACE = "No space left on device"

# What libpq and the tools say, and what kind of failure it is; the first that fits counts.
KINDS = (
    (AUTH, ("authentication failed", "no password supplied", "pg_hba.conf", "permission denied", "must be superuser")),
    (TLS, ("SSL", "certificate")),
    (TIMEOUT, ("timeout", "timed out")),
    (
        REFUSED,
        (
            "connection to server",
            "could not connect",
            "Connection refused",
            "terminating connection",
            "closed the connection",
            "lost connection",
            "the database system is",
            "too many connections",
            "too many clients",
        ),
    ),
)
ERROR_SIGNS = ("error:", "ERROR:", "FATAL:", "fatal:", "PANIC:")


# --- who


@dataclass(frozen=True)
class User:
    """A user of the operating system."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def find_user(name: str) -> User:
    """Return the OS user of that name, or fail."""
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        raise BackupError(INTERNAL, f"this host has no user {name!r}") from error
    return User(name, found.pw_uid, found.pw_gid, tuple(os.getgrouplist(name, found.pw_gid)), found.pw_dir)


def this_user() -> User:
    """Return the OS user that runs this process."""
    return find_user(pwd.getpwuid(os.geteuid()).pw_name)


# --- being told to end


class Terminated(BaseException):
    """This process was told to end.

    No ProbeFailure and no Exception, so that nobody takes it for the failure
    of one step and goes on with the next.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number).name
        super().__init__(f"ended by {self.signal} before the work was done")


class _Interruption:
    """The signal that came, held back while something must not be cut in two."""

    def __init__(self) -> None:
        self.depth = 0
        self.number: int | None = None
        self.told = False

    def handle(self, number: int, _frame: object) -> None:
        # Once is enough: what follows is cleaning up, and that is not to be cut short.
        if self.number is None:
            self.number = number
            for child in list(_living):
                child.kill(signal.SIGTERM)
        self.tell()

    def tell(self) -> None:
        if self.number is not None and not self.told and not self.depth:
            self.told = True
            raise Terminated(self.number)


_interruption = _Interruption()
_living: set[Child] = set()


@contextlib.contextmanager
def terminable() -> t.Iterator[None]:
    """Turn SIGTERM, SIGINT and SIGHUP into Terminated, after passing SIGTERM on to what runs. For the main thread."""
    global _interruption
    _interruption = _Interruption()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before: dict[int, t.Any] = {number: signal.signal(number, _interruption.handle) for number in numbers}
    if signal.getsignal(signal.SIGQUIT) == signal.SIG_IGN:
        # So a shell starts what runs in the background. A server that is to end with this process would inherit that,
        # and be deaf until it has a handler of its own.
        before[signal.SIGQUIT] = signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> t.Iterator[None]:
    """Hold Terminated back until this block is done: for the few steps that must not be cut in two."""
    # Handlers run in the main thread, so the others are never cut.
    mine = _interruption if threading.current_thread() is threading.main_thread() else _Interruption()
    mine.depth += 1
    try:
        yield
    finally:
        mine.depth -= 1
        mine.tell()


# --- one process


class Child:
    """A process in a group of its own. What it says on standard error is kept."""

    def __init__(self, tool: str, argv: list[str], **options: t.Any) -> None:
        self.tool = tool
        self._errors = _nameless()
        self._code: int | None = None
        self._handle: int | None = None
        options.setdefault("stderr", self._errors)
        # What cleans up is started after the signal, and is not to be ended by it.
        told = _interruption.number is not None
        with uninterrupted():
            self.process: subprocess.Popen[bytes] = subprocess.Popen(argv, start_new_session=True, **options)
            _living.add(self)
            if not told and _interruption.number is not None:
                # It came between the two lines above, to another thread or to this one.
                self.kill(signal.SIGTERM)
            # From a kernel before 5.3, or where a sandbox forbids it, we have to look now and then.
            with contextlib.suppress(OSError):
                self._handle = os.pidfd_open(self.process.pid)

    @property
    def pid(self) -> int:
        """Return the process's number, which is that of its group, too."""
        return self.process.pid

    def kill(self, number: int) -> None:
        """Send a signal to the whole group, if the leader was not reaped yet."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def ended(self, seconds: float = 0.0) -> bool:
        """Say whether the leader has ended, after waiting so long for it. It is not reaped by this."""
        return bool(_wait([self], seconds))

    def reap(self) -> int:
        """End what is left of the group, and return the leader's code. The leader must have ended."""
        if self._code is None:
            # Before the leader is reaped, while its number cannot be anybody else's.
            self.kill(signal.SIGKILL)
            code = self.process.wait()
            with uninterrupted():
                self._code = code
                _living.discard(self)
                if self._handle is not None:
                    os.close(self._handle)
        return self._code

    def end(self, number: int = signal.SIGTERM, grace: float = GRACE) -> int:
        """Make the group end: with a signal first, after so many seconds with SIGKILL. Return the leader's code."""
        if self._code is None and not self.ended():
            self.kill(number)
            if not self.ended(grace):
                self.kill(signal.SIGKILL)
                self.ended(GRACE)
        return self.reap()

    def words(self) -> str:
        """Return the last part of what it said on standard error."""
        return _tail(self._errors)

    def forget(self) -> None:
        """Let go of what it said."""
        self._errors.close()


def _peek(child: Child) -> bool:
    # WNOWAIT leaves the zombie, which holds the number of the group.
    return child._code is not None or bool(os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG))


def _wait(children: list[Child], seconds: float) -> list[Child]:
    """Return those that have ended, after waiting so long for the first of them."""
    end = time.monotonic() + seconds
    while True:
        done = [child for child in children if _peek(child)]
        left = end - time.monotonic()
        if done or left <= 0:
            return done
        poller = select.poll()
        handles = [child._handle for child in children if child._handle is not None]
        for handle in handles:
            poller.register(handle, select.POLLIN)
        poller.poll(min(left, 3600.0 if len(handles) == len(children) else 0.02) * 1000 + 1)


# --- what went wrong


def complaint(words: str) -> str:
    """Return the line that says best what went wrong: the first that calls itself an error, or the last one."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    named = [line for line in lines if any(sign in line for sign in ERROR_SIGNS)]
    return (named or lines[-1:] or ["it said nothing"])[0]


def kind_of(words: str) -> str:
    """Return the kind of a failure from what a tool said."""
    return next((kind for kind, signs in KINDS if any(sign in words for sign in signs)), INTERNAL)


def failure(tool: str, code: int, words: str, doing: str = "") -> BackupError:
    """Return the error for a tool that did not end as it should."""
    line = complaint(words)
    line = line[len(tool) + 2 :].removeprefix("error: ") if line.startswith(f"{tool}: ") else line
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    # What a killed process said before has nothing to do with it.
    kind = INTERNAL if code < 0 else kind_of(line)
    message = f"{doing + ': ' if doing else ''}{tool} {how}: {line}"
    # Tools that are written in Go say it in small letters.
    full = NO_SPACE.lower() in words.lower()
    if full:
        if NO_SPACE.lower() not in message.lower():
            message += f" ({NO_SPACE})"
        message += "; make room on that file system, or use another one"
    return BackupError(kind, message, {"code": code, "words": words, "no_space": full})


def damaged(message: str, facts: dict[str, t.Any] | None = None) -> BackupError:
    """Return the error for a set of which a bad fact was observed: it is not what was put away."""
    return BackupError(PARSE, message, facts)


# --- running


@dataclass(frozen=True)
class Runner:
    """How tools are run: as which user, with what in the environment, and whether they step back for others.

    ``user`` None is the user of this process. ``gentle`` gives them the
    lowest claim on processor and disk.
    """

    user: User | None = None
    environment: dict[str, str] = field(default_factory=dict)
    gentle: bool = False
    directory: str = "/"

    def with_environment(self, **variables: str) -> Runner:
        """Return one with more variables in the environment."""
        return replace(self, environment={**self.environment, **variables})

    def run(
        self,
        argv: list[str],
        deadline: Deadline,
        *,
        stdin: bytes = b"",
        target: str | None = None,
        accept: t.Container[int] = (0,),
        doing: str = "",
    ) -> Finished:
        """Run one tool. A code that is not in ``accept`` is a failure.

        Its output is returned, or goes to the new file ``target``.
        """
        return self._run([argv], deadline, stdin, None, target, accept, doing)

    def pipe(
        self,
        stages: list[list[str]],
        deadline: Deadline,
        *,
        source: str | None = None,
        target: str | None = None,
        doing: str = "",
        early: bool = False,
    ) -> Finished:
        """Run tools, each with the output of the one before it. Each must end with code 0.

        ``source`` is the file that the first one reads, ``target`` the new
        file that the last one writes. The failure names the stage that ended
        first, not those that lost their partner by it. With ``early`` the
        last one need not read to the end.
        """
        return self._run(stages, deadline, b"", source, target, (0,), doing, early)

    def start(
        self, argv: list[str], *, log: t.IO[bytes] | None = None, end_with: str = "TERM", **options: t.Any
    ) -> Child:
        """Start a process and return at once. ``end_with`` is the signal that it gets when this process dies."""
        if log is not None:
            options.update(stdout=log, stderr=log)
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.DEVNULL)
        environment = self._environment()
        tool = shutil.which(argv[0], path=environment["PATH"])
        if not tool:
            raise BackupError(MISSING_TOOL, f"{argv[0]} is not installed on this host, or not on the PATH")
        try:
            return Child(
                os.path.basename(tool),
                [*self._prefix(end_with), tool, *argv[1:]],
                env=environment,
                cwd=self.directory,
                umask=0o077,
                **self._identity(),
                **options,
            )
        except OSError as error:
            raise BackupError(INTERNAL, f"{argv[0]} could not be started: {error.strerror}") from error

    def converse(self, argv: list[str]) -> Conversation:
        """Start a tool to talk with, line by line."""
        return Conversation(self.start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def create(self, path: str) -> t.IO[bytes]:
        """Open a new file that only the user can read. It is an error if something is at the path."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BackupError(INTERNAL, f"{path} cannot be made: {error.strerror}") from error
        self._give(handle)
        return os.fdopen(handle, "wb")

    def make_directory(self, path: str) -> None:
        """Make a directory that only the user can enter. It is an error if something is at the path."""
        try:
            os.mkdir(path, 0o700)
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise BackupError(INTERNAL, f"the directory {path} cannot be made: {error.strerror}") from error
        try:
            self._give(handle)
        finally:
            os.close(handle)

    def _give(self, handle: int) -> None:
        if self.user and self.user.uid != os.geteuid():
            os.fchown(handle, self.user.uid, self.user.gid)

    def _identity(self) -> dict[str, t.Any]:
        if self.user is None or self.user.uid == os.geteuid():
            return {}
        if os.geteuid() != 0:
            raise BackupError(
                AUTH, f"only root can run a tool as the user {self.user.name}; run this as root or as {self.user.name}"
            )
        return {"user": self.user.uid, "group": self.user.gid, "extra_groups": self.user.groups}

    def _environment(self) -> dict[str, str]:
        """Return a small environment: what this process was given about servers must not lead the tools astray."""
        user = self.user or this_user()
        return {
            "PATH": os.environ.get("PATH") or os.defpath,
            "HOME": user.home,
            "USER": user.name,
            "LOGNAME": user.name,
            "LC_ALL": "C",
            "TZ": "UTC",
            **self.environment,
        }

    def _prefix(self, end_with: str) -> list[str]:
        prefix = []
        if shutil.which("setpriv"):
            prefix += ["setpriv", "--pdeathsig", end_with, "--"]
            # Were this process gone before that was asked for, nobody would ever send the signal.
            prefix += ["sh", "-c", ONLY_WITH_PARENT, "sh", str(os.getpid())]
        if self.gentle:
            prefix += [*_words("nice", "-n", str(NICENESS)), *_words("ionice", "-c", "3")]
        return prefix

    def _run(
        self,
        stages: list[list[str]],
        deadline: Deadline,
        stdin: bytes,
        source: str | None,
        target: str | None,
        accept: t.Container[int],
        doing: str,
        early: bool = False,
    ) -> Finished:
        what = doing or os.path.basename(stages[0][0])
        deadline.require(what)
        children: list[Child] = []
        with contextlib.ExitStack() as stack:
            before: t.Any = _input(source, stdin)
            if before != subprocess.DEVNULL:
                stack.enter_context(before)
            last: t.IO[bytes]
            if target:
                last = stack.enter_context(self.create(target))
            else:
                last = stack.enter_context(_nameless())
            stack.callback(_end_all, children)
            for position, argv in enumerate(stages):
                output = last if position == len(stages) - 1 else subprocess.PIPE
                with uninterrupted():
                    children.append(self.start(argv, stdin=before, stdout=output))
                widen(children[-1].process.stdout)
                if position:
                    # Else a stage would not notice that the next one is gone.
                    before.close()
                before = children[-1].process.stdout
            _await(children, deadline, what, accept, doing, early)
            code = children[-1].reap()
            return Finished(code, "" if target else _text(last), children[-1].words())


def widen(pipe: t.IO[bytes] | None) -> None:
    """Let a pipe hold more, so that its two ends do not wait for each other all the time."""
    # The kernel says no to a user who has many; the pipe then stays as it is.
    with contextlib.suppress(OSError):
        if pipe:
            fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)


def _await(
    children: list[Child], deadline: Deadline, what: str, accept: t.Container[int], doing: str, early: bool
) -> None:
    """Wait for all stages. The first that failed is named, but for those that only lost their partner by it."""
    waiting = list(children)
    # A stage whose reader is gone may be seen to end before that reader is.
    cut_off: list[BackupError] = []
    while waiting:
        seconds = deadline.remaining()
        done = _wait(waiting, min(seconds, PARTNER) if cut_off and not early else seconds)
        if not done:
            raise cut_off[0] if cut_off and not early else deadline.failure(what)
        waiting = [child for child in waiting if child not in done]
        for child in done:
            code = child.reap()
            if code in accept:
                if early and child is children[-1]:
                    return
                continue
            error = failure(child.tool, code, child.words(), doing)
            if code != -signal.SIGPIPE and "roken pipe" not in child.words():
                raise error
            cut_off.append(error)
    if cut_off:
        raise cut_off[0]


def _end_all(children: list[Child]) -> None:
    with uninterrupted():
        for child in children:
            child.kill(signal.SIGTERM)
        for child in children:
            child.end()
            if child.process.stdout:
                child.process.stdout.close()
            child.forget()


def _words(*words: str) -> list[str]:
    return list(words) if shutil.which(words[0]) else []


def _input(source: str | None, stdin: bytes) -> t.Any:
    """Return what a first stage reads. It may be secret, so it never touches a disk."""
    if source:
        try:
            return open(source, "rb")
        except OSError as error:
            raise BackupError(INTERNAL, f"{source} cannot be read: {error.strerror}") from error
    if not stdin:
        return subprocess.DEVNULL
    file = os.fdopen(os.memfd_create("input"), "w+b")
    file.write(stdin)
    file.seek(0)
    return file


def _nameless() -> t.IO[bytes]:
    """Return a new file that nobody else can open."""
    handle, path = tempfile.mkstemp(prefix="matrixon-")
    os.unlink(path)
    return os.fdopen(handle, "w+b")


def _text(file: t.IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "surrogateescape")


def _tail(file: t.IO[bytes]) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - MAX_WORDS))
    return file.read().decode("utf-8", "replace")


class Conversation:
    """A running tool that is told something and answers in lines."""

    def __init__(self, child: Child) -> None:
        self.child = child
        if not (child.process.stdin and child.process.stdout):
            raise AssertionError
        self._in, self._out = child.process.stdin.fileno(), child.process.stdout.fileno()
        os.set_blocking(self._in, False)
        self._read = b""

    def send(self, text: str, deadline: Deadline, doing: str) -> None:
        """Tell it something. A tool that has ended takes no more; its next answer says so."""
        rest = memoryview(text.encode("utf-8", "surrogateescape"))
        while rest:
            _ready(self._in, select.POLLOUT, deadline, doing)
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                return

    def line(self, deadline: Deadline, doing: str) -> str | None:
        """Return its next line without the end of the line, or None when it has closed its output."""
        while b"\n" not in self._read:
            _ready(self._out, select.POLLIN, deadline, doing)
            piece = os.read(self._out, 65536)
            if not piece:
                return None
            self._read += piece
        line, dummy, self._read = self._read.partition(b"\n")
        return line.decode("utf-8", "surrogateescape")

    def failure(self, doing: str) -> BackupError:
        """Return the error for a tool that ended before it had answered."""
        code = self.child.end(grace=GRACE) if self.child.ended(GRACE) else self.child.end()
        return failure(self.child.tool, code, self.child.words(), doing)

    def close(self) -> None:
        """End it."""
        with uninterrupted():
            self.child.end()
            for pipe in (self.child.process.stdin, self.child.process.stdout):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self.child.forget()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _ready(handle: int, event: int, deadline: Deadline, doing: str) -> None:
    poller = select.poll()
    poller.register(handle, event)
    if not poller.poll(deadline.remaining() * 1000):
        raise deadline.failure(doing)


# --- what a killed run left running


def orphans(prefix: str) -> list[int]:
    """Return the processes that were told to work on a path that begins like this, by an argument or behind its =."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                words = os.fsdecode(file.read()).split("\0")
                if any(word.startswith(prefix) or word.partition("=")[2].startswith(prefix) for word in words):
                    found.append(int(name))
    return found


def end_orphans(prefix: str, grace: float = GRACE) -> int:
    """End such processes, and return how many there were. Only for whoever knows that nobody else may have any.

    A process that forked by itself, as pg_basebackup does for the log, is not
    told when ours is killed outright, and holds its place on the server.
    """
    first = orphans(prefix)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in orphans(prefix):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        until = time.monotonic() + grace
        while orphans(prefix) and time.monotonic() < until:
            time.sleep(0.02)
    if left := orphans(prefix):
        raise BackupError(INTERNAL, f"process {left[0]} of a run that was killed works on {prefix}* and does not end")
    return len(first)
