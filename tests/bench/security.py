"""Measure reading a homeserver's log against grep with the same patterns, on a million lines.

In turns (A B, A B), so that a busy machine slows both. The counts are checked, the seconds are for people.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import resource
import statistics
import subprocess
import tempfile
import time
import typing as t

import yaml

from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._security.files import read_log
from ansible_collections.matrixon.ops.plugins.module_utils._security.language import Reader, compile_language
from ansible_collections.matrixon.ops.plugins.module_utils._security.tally import Tally

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROFILE = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/synapse.yml").read_text())["security"]
LINES = 1_000_000
ROUNDS = 5
# One login in so many lines fails. An attack is one in two: the line that fails and the line that ends its request.
SHARES = (("quiet", 1000), ("busy", 20), ("attack", 2))

STAMP = "2026-11-27 16:{:02}:{:02},{:03}"
QUIET = (
    "{time} - synapse.access.http.8008 - 643 - INFO - GET-{number} - 203.0.113.{low} - 8008 - "
    "{{@user{low}:example.com}} Processed request: 0.005sec/0.000sec ru=(0.001sec, 0.000sec) "
    'db=(0.000sec/0.001sec/1) 2640B 200 "GET /_matrix/client/v3/sync?since=s{number}_1_2_3&timeout=30000 HTTP/1.1" '
    '"Mozilla/5.0 (X11; Linux x86_64)" [0 dbevts]\n'
)
WRONG = (
    "{time} - synapse.handlers.auth - 1435 - WARNING - POST-{number} - "
    "Failed password login for user @user{low}:example.com\n"
    "{time} - synapse.access.http.8008 - 643 - INFO - POST-{number} - 198.51.100.{low} - 8008 - {{None}} "
    "Processed request: 0.005sec/0.000sec ru=(0.001sec, 0.000sec) db=(0.000sec/0.001sec/1) 64B 403 "
    '"POST /_matrix/client/v3/login HTTP/1.1" "Python-urllib/3.11" [0 dbevts]\n'
)


def write(path: pathlib.Path, lines: int, share: int) -> int:
    """Write a log in which one line in ``share`` tells of a failed login; return how many do."""
    events = written = 0
    with open(path, "w") as file:
        while written < lines:
            time_of = STAMP.format(written * 60 // lines, written % 60, written % 1000)
            values = {"time": time_of, "number": written, "low": written % 250}
            if written % share == 0:
                file.write(WRONG.format(**values))
                events, written = events + 1, written + 2
            else:
                file.write(QUIET.format(**values))
                written += 1
    return events


def ours(path: pathlib.Path) -> Tally:
    """Read the log as the module does."""
    tally = Tally()
    reader = Reader(compile_language(PROFILE), tally.take, awaited=tally.awaits)
    read_log(str(path), [], 0.0, time.time(), lambda block: reader.text(block, "u"), Deadline(3600))
    return tally


def grep(path: pathlib.Path) -> int:
    """Count the lines of events and of ends of requests as an operator would."""
    needles = [event["needle"] for event in PROFILE["events"]] + PROFILE["access"]["needles"]
    pattern = "|".join(re.escape(needle).replace('\\"', '"').replace("\\ ", " ") for needle in needles)
    command = ["grep", "-cE", pattern, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"})
    return int(done.stdout)


def seconds(act: t.Callable[[], t.Any]) -> tuple[float, t.Any]:
    """Return the processor seconds of this process and its children, and what came of it."""
    before = _spent()
    found = act()
    return _spent() - before, found


def _spent() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main(words: list[str]) -> None:
    """Write the logs, read them in turns, and print rates and ratios."""
    parser = argparse.ArgumentParser(prog="security", description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(words)
    for name, share in SHARES:
        with tempfile.TemporaryDirectory() as directory:
            compare(name, pathlib.Path(directory) / "homeserver.log", given.lines, share, given.rounds)


def compare(name: str, path: pathlib.Path, lines: int, share: int, rounds: int) -> None:
    """Read one log with both, and print what it cost."""
    events = write(path, lines, share)
    size = path.stat().st_size
    mine, theirs = [], []
    for _round in range(rounds):
        spent, tally = seconds(lambda: ours(path))
        mine.append(spent)
        found = (tally.kinds["login_wrong_password"], tally.with_address["login_wrong_password"])
        if found != (events, events):
            raise SystemExit(f"{name}: {found} events and addresses were found, {events} were written")
        spent, counted = seconds(lambda: grep(path))
        theirs.append(spent)
        if counted != 2 * events:
            raise SystemExit(f"{name}: grep found {counted} lines, {2 * events} were written")
    ratios = [mine[at] / theirs[at] for at in range(rounds)]
    figures = {
        "log": name,
        "lines": lines,
        "bytes": size,
        "events": events,
        "lines_per_second": round(lines / statistics.median(mine)),
        "ours_over_grep": round(statistics.median(ratios), 2),
        "from": round(min(ratios), 2),
        "to": round(max(ratios), 2),
    }
    print(json.dumps(figures), flush=True)
