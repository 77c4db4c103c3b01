"""Measure the certificate check against the guide's openssl loop and against community.crypto.get_certificate.

Hundreds of endpoints of a server process on loopback, each with a certificate of its own and an
intermediate. All contenders in one run, in turns (A B, A B), at once and with a wait before each
handshake, as over a network. It asserts nothing: figures are for people.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass

from ask import MODULE, ROOT
from authority import pem
from cases import Pki
from farm import LOOPBACK, Farm, context, tls

# What the guide does for one domain, for many of them.
GUIDE = r"""
while read -r PORT DOMAIN; do
    EXPIRY_DATE=$(echo | openssl s_client -servername "$DOMAIN" -connect "127.0.0.1:$PORT" 2>/dev/null | \
                  openssl x509 -noout -enddate | cut -d= -f2)
    DAYS_UNTIL_EXPIRY=$(( ($(date -d "$EXPIRY_DATE" +%s) - $(date +%s)) / 86400 ))
    if [ $DAYS_UNTIL_EXPIRY -lt 30 ]; then
        echo "WARNING: SSL certificate expires in $DAYS_UNTIL_EXPIRY days"
    fi
    echo "seen $DOMAIN"
done
"""
TASK_CHECK = "matrixon.ops.matrixon_ssl_expiry"
TASK_PEER = "community.crypto.get_certificate"


@dataclass(frozen=True)
class Place:
    """One endpoint of the server process."""

    host: str
    port: int

    def option(self, **more: t.Any) -> dict[str, t.Any]:
        return {"host": self.host, "port": self.port, "address": LOOPBACK, **more}


@dataclass(frozen=True)
class Run:
    """What one run took, how much memory at most, and how many endpoints it saw."""

    seconds: float
    peak: int
    seen: int


def serve(folder: str, number: int, silent: int, delay: float, tell: t.Any) -> None:
    """Be the servers until the parent ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * number + 1000)), hard))
    farm, pki = Farm(pathlib.Path(folder)), Pki()
    (farm.directory / "anchors.pem").write_bytes(pem(pki.root.certificate))
    places = []
    for count in range(number):
        host = f"host{count}.farm.test"
        path = farm.file(pki.issuing.issue(host))
        places.append(Place(host, farm.serve(tls(context(path), delay))))
    places += [Place(f"silent{count}.farm.test", farm.silent()) for count in range(silent)]
    tell.send(places)
    with contextlib.suppress(EOFError):
        tell.recv()
    farm.stop()


@contextlib.contextmanager
def servers(number: int, silent: int = 0, delay: float = 0) -> t.Iterator[tuple[list[Place], str]]:
    """Servers in a process of their own, and the anchors they are trusted by."""
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.Process(target=serve, args=(folder, number, silent, delay, theirs))
        process.start()
        try:
            yield ours.recv(), f"{folder}/anchors.pem"
        finally:
            ours.send("end")
            process.join()


def run(argv: list[str], text: str, **more: str) -> tuple[str, float, int]:
    """Run a command; return what it said, its seconds, and the most memory of its largest process in bytes."""
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build/collections"), **more}
    started = time.monotonic()
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdin and process.stdout
    process.stdin.write(text)
    process.stdin.close()
    out = process.stdout.read()
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{argv[0]} failed: {out[-2000:]}")
    return out, time.monotonic() - started, usage.ru_maxrss * 1024


def module(places: list[Place], ca_file: str, timeout: float = 5) -> Run:
    """Our module as Ansible runs it: a process of its own, options on standard input."""
    options = {
        "deployment": "bench",
        "profile": "synapse",
        "endpoints": [place.option() for place in places],
        "ca_file": ca_file,
        "timeout": timeout,
    }
    out, seconds, peak = run(
        [sys.executable, str(MODULE)],
        json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        PYTHONPATH=str(ROOT / ".build/collections"),
    )
    checks = json.loads(out)["report"]["checks"]
    good = [check for check in checks if check["name"] == "certificate_trust" and check["status"] == "ok"]
    return Run(seconds, peak, len(good))


def guide(places: list[Place], _ca_file: str) -> Run:
    """The guide's loop, in one shell."""
    lines = "".join(f"{place.port} {place.host}\n" for place in places)
    out, seconds, peak = run(["bash", "-c", GUIDE], lines)
    return Run(seconds, peak, out.count("seen "))


def _play(task: dict[str, t.Any], folder: str) -> tuple[str, float, int]:
    path = pathlib.Path(folder) / "play.json"
    path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    argv = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(path)]
    return run([*argv, "-e", f"ansible_python_interpreter={sys.executable}"], "", ANSIBLE_PIPELINING="1")


def playbook(places: list[Place], ca_file: str) -> Run:
    """Our module as a play of one task."""
    arguments = {
        "deployment": "bench",
        "profile": "synapse",
        "endpoints": [place.option() for place in places],
        "ca_file": ca_file,
    }
    with tempfile.TemporaryDirectory() as folder:
        out, seconds, peak = _play({"name": "Ours", TASK_CHECK: arguments}, folder)
    return Run(seconds, peak, len(places) if "ok=1" in out else 0)


def peer(places: list[Place], ca_file: str) -> Run:
    """community.crypto.get_certificate in a loop."""
    task = {
        "name": "Peer",
        TASK_PEER: {"host": LOOPBACK, "server_name": "{{ item[0] }}", "port": "{{ item[1] }}", "ca_cert": ca_file},
        "loop": [[place.host, place.port] for place in places],
    }
    with tempfile.TemporaryDirectory() as folder:
        out, seconds, peak = _play(task, folder)
    return Run(seconds, peak, out.count("ok: [localhost] => (item="))


Contender = t.Callable[[list[Place], str], Run]


def turns(places: list[Place], ca_file: str, contenders: dict[str, tuple[Contender, int]], rounds: int) -> None:
    """Run the contenders in turns and print a table. Each sees so many endpoints; what is fewer is extrapolated."""
    found: dict[str, list[Run]] = {label: [] for label in contenders}
    for _round in range(rounds):
        for label, (contender, number) in contenders.items():
            result = contender(places[:number], ca_file)
            if result.seen != number:
                raise SystemExit(f"{label} saw {result.seen} of {number} endpoints")
            found[label].append(result)
            print(f"    {label:24} {result.seconds:7.2f} s for {number}", flush=True)
    first = next(iter(contenders))
    ours = _seconds(found[first], contenders[first][1], len(places))
    for label, (_contender, number) in contenders.items():
        seconds = _seconds(found[label], number, len(places))
        note = f", extrapolated from {number}" if number < len(places) else ""
        print(f"  {label:24} median {seconds:7.2f} s, {seconds / ours:6.1f} times{note}")


def _seconds(runs: list[Run], number: int, wanted: int) -> float:
    return statistics.median(one.seconds for one in runs) * wanted / number


def main(words: list[str]) -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(prog="certificates", description=__doc__)
    parser.add_argument("--endpoints", type=int, default=200)
    parser.add_argument("--sample", type=int, default=20, help="endpoints that get_certificate is shown")
    parser.add_argument("--hanging", type=int, default=10)
    parser.add_argument("--many", type=int, default=2000, help="endpoints for the measure of memory")
    parser.add_argument("--rounds", type=int, default=2)
    sizes = parser.parse_args(words)
    for delay in (0.0, 0.06):
        print(f"{sizes.endpoints} endpoints, {delay * 1000:.0f} ms before each handshake", flush=True)
        with servers(sizes.endpoints, delay=delay) as (places, ca_file):
            contenders: dict[str, tuple[Contender, int]] = {
                "the module": (module, sizes.endpoints),
                "the guide's loop": (guide, sizes.endpoints),
                "a play with the module": (playbook, sizes.endpoints),
                "a play with the peer": (peer, min(sizes.sample, sizes.endpoints)),
            }
            turns(places, ca_file, contenders, sizes.rounds)
    hanging(sizes.endpoints, sizes.hanging, sizes.rounds)
    memory(sizes.many)


def hanging(number: int, silent: int, rounds: int) -> None:
    """Print what silent endpoints add, with a timeout of 5 s."""
    print(f"{number} endpoints and {silent} that hang, timeout 5 s", flush=True)
    with servers(number, silent) as (places, ca_file):
        for _round in range(rounds):
            without, along = (module(some, ca_file) for some in (places[:number], places))
            added = along.seconds - without.seconds
            print(f"  without {without.seconds:.2f} s, with {along.seconds:.2f} s: they add {added:.2f} s", flush=True)


def memory(number: int) -> None:
    """Print the memory of a run over very many endpoints."""
    with servers(number) as (places, ca_file):
        few = module(places[:1], ca_file)
        many = module(places, ca_file)
    print(
        f"{number} endpoints: {many.seconds:.1f} s, {many.peak / 1e6:.0f} MB at most; "
        f"1 endpoint: {few.seconds:.2f} s, {few.peak / 1e6:.0f} MB"
    )
