"""Tools run in groups of their own: no exit status is lost, and nothing outlives the call, however it ends."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading
import time
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._backup import process
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner, Terminated
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

RUN = Runner()


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def running(marker: str) -> list[int]:
    """Return the processes with a word on their command lines. Zombies have no command line."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def gone(marker: str) -> bool:
    end = time.monotonic() + 5
    while running(marker):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


# --- one tool


def test_what_a_tool_says_is_returned() -> None:
    done = RUN.run(sh("cat; echo err >&2; exit 3"), Deadline(5), stdin=b"in \xff", accept=(3,))
    assert (done.code, done.out, done.err) == (3, "in \udcff", "err\n")


def test_nothing_begins_whose_starter_is_gone_before_it_would_be_told(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.os, "getpid", lambda: 1)
    RUN.run(["touch", str(tmp_path / "made")], Deadline(5), accept=(143,))
    assert not (tmp_path / "made").exists()


def test_a_code_that_was_not_accepted_is_a_failure_in_the_tools_own_words() -> None:
    script = "echo first >&2; echo 'thing: error: no such thing' >&2; echo last >&2; exit 2"
    with pytest.raises(BackupError) as caught:
        RUN.run(sh(script), Deadline(5), doing="making a copy")
    assert caught.value.message == "making a copy: sh ended with code 2: thing: error: no such thing"
    assert caught.value.kind == "internal"
    assert caught.value.facts == {
        "code": 2,
        "words": "first\nthing: error: no such thing\nlast\n",
        "no_space": False,
    }


def test_a_tool_that_is_killed_is_a_failure_with_the_signals_name() -> None:
    with pytest.raises(BackupError, match="sh was killed by SIGKILL: it said nothing") as caught:
        RUN.run(sh("kill -9 $$"), Deadline(5))
    assert caught.value.facts["code"] == -9


def test_a_tool_that_is_missing_is_named() -> None:
    with pytest.raises(BackupError, match="no-such-tool is not installed on this host") as caught:
        RUN.run(["no-such-tool"], Deadline(5))
    assert caught.value.kind == "missing_tool"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("a\nb\n", "b"),
        ("pg_dump: error: one\npg_dump: detail: two\n", "pg_dump: error: one"),
        ("LOG: x\n2026 FATAL:  gone\nmore", "2026 FATAL:  gone"),
        ("", "it said nothing"),
    ],
)
def test_the_line_that_says_most_is_chosen(words: str, line: str) -> None:
    assert process.complaint(words) == line


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ('FATAL:  password authentication failed for user "x"', "auth"),
        ('connection to server on socket "/x" failed: fe_sendauth: no password supplied', "auth"),
        ('connection to server at "h" failed: FATAL:  no pg_hba.conf entry for host', "auth"),
        ('connection to server on socket "/x" failed: No such file or directory', "refused"),
        ("FATAL:  terminating connection due to administrator command", "refused"),
        ("canceling statement due to statement timeout", "timeout"),
        ("could not write to file", "internal"),
    ],
)
def test_the_kind_of_a_failure_comes_from_its_words(words: str, kind: str) -> None:
    assert process.kind_of(words) == kind


def test_a_full_disk_is_named_with_the_way_out() -> None:
    error = process.failure("zstd", 1, "zstd: error 70 : Write error : No space left on device\n")
    assert error.facts["no_space"]
    assert error.message.endswith("No space left on device; make room on that file system, or use another one")


def test_the_environment_does_not_lead_tools_astray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    lines = RUN.with_environment(PGPORT="1").run(["env"], Deadline(5)).out.splitlines()
    assert {"LC_ALL=C", "TZ=UTC", "PGPORT=1"} <= set(lines)
    assert not [line for line in lines if line.startswith(("PGPASSWORD", "PGHOST"))]
    assert RUN.environment == {}


def test_a_gentle_tool_steps_back() -> None:
    before = int(RUN.run(["nice"], Deadline(5)).out)
    assert int(Runner(gentle=True).run(["nice"], Deadline(5)).out) == min(19, before + process.NICENESS)
    assert "idle" in Runner(gentle=True).run(["ionice"], Deadline(5)).out


def test_output_goes_to_a_new_file_that_nobody_else_reads(tmp_path: pathlib.Path) -> None:
    before = os.umask(0)
    try:
        done = RUN.run(["echo", "secret"], Deadline(5), target=str(tmp_path / "out"))
        Runner(directory=str(tmp_path)).run(["touch", "made"], Deadline(5))
        RUN.make_directory(str(tmp_path / "folder"))
    finally:
        os.umask(before)
    assert done.out == ""
    assert (tmp_path / "out").read_text() == "secret\n"
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()}
    assert modes == {"out": "0o600", "made": "0o600", "folder": "0o700"}
    with pytest.raises(BackupError, match="out cannot be made: File exists"):
        RUN.run(["true"], Deadline(5), target=str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "secret\n"
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackupError, match="link cannot be made"):
        RUN.create(str(tmp_path / "link"))
    with pytest.raises(BackupError, match="folder cannot be made"):
        RUN.make_directory(str(tmp_path / "folder"))


# --- who


def test_a_user_that_is_not_there_is_named() -> None:
    with pytest.raises(BackupError, match="this host has no user 'nobody-of-that-name'"):
        process.find_user("nobody-of-that-name")


def test_only_root_runs_a_tool_as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    other = process.User("other", os.geteuid() + 1, 1, (), "/")
    monkeypatch.setattr(os, "geteuid", lambda: other.uid + 1)
    with pytest.raises(BackupError, match="run this as root or as other") as caught:
        Runner(other).run(["true"], Deadline(5))
    assert caught.value.kind == "auth"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_tool_runs_as_the_user_with_his_groups_alone() -> None:
    user = process.find_user("nobody")
    assert Runner(user).run(["id", "-un"], Deadline(5)).out == "nobody\n"
    groups = Runner(user).run(["id", "-G"], Deadline(5)).out.split()
    assert {int(group) for group in groups} == {user.gid, *user.groups}
    assert Runner(user).run(sh("echo $HOME"), Deadline(5)).out.strip() == user.home


# --- deadlines, and what is left behind


def test_the_deadline_ends_the_whole_group() -> None:
    started = time.monotonic()
    with pytest.raises(ProbeFailure, match="sh: no answer within 0.3 s") as caught:
        RUN.run(sh("sleep 61.25 & sleep 61.25"), Deadline(0.3))
    assert caught.value.kind == "timeout"
    assert time.monotonic() - started < 3
    assert gone("61.25")


def test_a_group_that_does_not_want_to_end_is_killed() -> None:
    started = time.monotonic()
    child = RUN.start(sh("trap '' TERM; sleep 62.25 & wait; sleep 62.25"))
    time.sleep(0.2)
    assert child.end(grace=0.2) == -signal.SIGKILL
    assert time.monotonic() - started < 3
    assert gone("62.25")


def test_what_a_tool_leaves_running_is_ended() -> None:
    RUN.run(sh("sleep 63.25 >/dev/null 2>&1 & exit 0"), Deadline(5))
    assert gone("63.25")


def test_a_deadline_that_has_passed_starts_nothing(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ProbeFailure, match="no answer"):
        RUN.run(["touch", str(tmp_path / "made")], Deadline(0))
    assert list(tmp_path.iterdir()) == []


# --- pipes


def test_a_pipe_carries_from_a_file_to_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "in").write_bytes(os.urandom(300_000))
    stages = [["gzip", "-c1"], ["cat"], ["gzip", "-dc"]]
    RUN.pipe(stages, Deadline(5), source=str(tmp_path / "in"), target=str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_a_pipe_holds_more_than_the_kernel_gives_it() -> None:
    asks = [sys.executable, "-c", "import fcntl; print(fcntl.fcntl(0, 1032))"]
    assert int(RUN.pipe([["true"], asks], Deadline(10)).out) == process.PIPE_BYTES > 65536


def test_where_the_kernel_gives_no_more_a_pipe_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PIPE_BYTES", -1)
    assert RUN.pipe([["echo", "all"], ["cat"]], Deadline(5)).out == "all\n"


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        # A shell would call each of these a success, or name the wrong one.
        ([sh("echo half; exit 4"), ["cat"], ["cat"]], "sh ended with code 4"),
        ([sh("echo half; kill -9 $$"), ["cat"]], "sh was killed by SIGKILL"),
        ([["cat", "/dev/zero"], sh("echo full >&2; exit 5")], "sh ended with code 5: full"),
        ([["cat", "/dev/zero"], sh("exit 6"), ["cat"]], "sh ended with code 6"),
        ([["true"], ["false"]], "false ended with code 1"),
    ],
)
def test_every_stage_of_a_pipe_must_succeed(stages: list[list[str]], named: str) -> None:
    with pytest.raises(BackupError, match=named):
        RUN.pipe(stages, Deadline(5))


def test_a_stage_that_has_read_enough_may_end_early() -> None:
    stages = [["cat", "/dev/zero"], ["cat"], ["head", "-c", "3"]]
    assert RUN.pipe(stages, Deadline(5), early=True).out == "\0\0\0"
    with pytest.raises(BackupError, match="SIGPIPE"):
        RUN.pipe(stages, Deadline(5))
    for broken in ([["cat", "/dev/zero"], ["false"]], [sh("echo no >&2; exit 4"), sh("sleep 0.5; exit 5")]):
        with pytest.raises(BackupError, match="ended with code"):
            RUN.pipe(broken, Deadline(5), early=True)


def test_a_pipe_whose_source_is_missing_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(BackupError, match="nothing cannot be read: No such file"):
        RUN.pipe([["cat"]], Deadline(5), source=str(tmp_path / "nothing"), target=str(tmp_path / "out"))


def test_the_deadline_ends_all_stages() -> None:
    with pytest.raises(ProbeFailure, match="no answer"):
        RUN.pipe([["sleep", "64.25"], ["sleep", "64.26"]], Deadline(0.3))
    assert gone("64.25") and gone("64.26")


# --- conversations


def test_a_tool_is_talked_with_line_by_line() -> None:
    with RUN.converse(["cat"]) as talk:
        talk.send("one\ntwo\n", Deadline(5), "talking")
        assert [talk.line(Deadline(5), "talking") for dummy in range(2)] == ["one", "two"]
        with pytest.raises(ProbeFailure, match="talking: no answer within 0.1 s"):
            talk.line(Deadline(0.1), "talking")


def test_a_tool_that_ends_in_a_conversation_is_a_failure() -> None:
    with RUN.converse(sh("read line; echo 'ERROR:  no such table' >&2; exit 3")) as talk:
        talk.send("hello\n", Deadline(5), "talking")
        assert talk.line(Deadline(5), "talking") is None
        talk.send("more\n" * 100, Deadline(5), "talking")
        assert str(talk.failure("talking")) == "talking: sh ended with code 3: ERROR:  no such table"


def test_a_tool_that_does_not_listen_runs_into_the_deadline() -> None:
    with RUN.converse(["sleep", "65.25"]) as talk, pytest.raises(ProbeFailure, match="no answer within 0.2 s"):
        talk.send("x" * 500_000, Deadline(0.2), "talking")
    assert gone("65.25")


# --- being told to end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_being_told_to_end_ends_what_runs(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
    with pytest.raises(Terminated, match=f"ended by {number.name} before the work was done"), process.terminable():
        RUN.run(sh("sleep 66.25 & sleep 66.25"), Deadline(20))
    assert gone("66.25")
    assert signal.getsignal(number) == before


def test_nobody_takes_it_for_the_failure_of_a_step() -> None:
    assert not issubclass(Terminated, Exception)


def test_it_is_held_back_while_something_must_not_be_cut_in_two() -> None:
    steps = []
    with pytest.raises(Terminated), process.terminable():
        with process.uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append("first")
            with process.uninterrupted():
                steps.append("second")
            steps.append("third")
        steps.append("never")
    assert steps == ["first", "second", "third"]


def test_it_comes_once_so_that_clearing_up_is_not_cut_short() -> None:
    cleared = False
    with pytest.raises(Terminated), process.terminable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleared = True
    assert cleared


def test_what_is_just_being_started_is_told_to_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[BaseException] = []
    start, main = subprocess.Popen, threading.main_thread().ident
    assert main

    def late(*args: t.Any, **options: t.Any) -> t.Any:
        started = start(*args, **options)
        # It runs, and nobody has written that down yet.
        signal.pthread_kill(main, signal.SIGTERM)
        while process._interruption.number is None:
            time.sleep(0.01)
        return started

    def work() -> None:
        try:
            RUN.run(["sleep", "68.25"], Deadline(20))
        except BackupError as error:
            failures.append(error)

    monkeypatch.setattr(subprocess, "Popen", late)
    thread = threading.Thread(target=work)
    with pytest.raises(Terminated), process.terminable():
        thread.start()
        # A join that is interrupted would take the thread for ended.
        time.sleep(10)
    thread.join(5)
    assert [str(error) for error in failures] == ["sleep was killed by SIGTERM: it said nothing"]


def test_what_a_thread_runs_is_told_to_end_too() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            RUN.run(["sleep", "67.25"], Deadline(20))
        except BackupError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    with pytest.raises(Terminated), process.terminable():
        thread.start()
        while not running("67.25"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
    thread.join(5)
    assert [str(error) for error in failures] == ["sleep was killed by SIGTERM: it said nothing"]


def test_what_is_started_in_the_background_makes_nobody_deaf_to_its_last_signal() -> None:
    def deaf() -> bool:
        status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
        ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
        return bool(int(ignored, 16) >> (signal.SIGQUIT - 1) & 1)

    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        assert deaf()
        with process.terminable():
            assert not deaf()
        assert deaf()
    finally:
        signal.signal(signal.SIGQUIT, before)
