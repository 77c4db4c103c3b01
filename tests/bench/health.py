"""Measure the health check against one ping task and against the guide's checks.

Sixty hosts on one machine, all contenders in one run, in turns (A B C, A B C), so
that a busy machine slows all of them. It asserts nothing: figures are for people.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# The tests' own handle on a lab.
from conftest import Lab

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HOSTS = 60
FORKS = 20
ROUNDS = 3
MODULE_RUNS = 15


# The guide's health check and the look at the system that it asks for, as the
# shell tasks that a first automation of it would be.
GUIDE = {
    "Basic health check": "curl -sf {{ bench_url }}/_matrix/client/versions",
    "Database connectivity": "pg_isready -h 127.0.0.1 -p {{ bench_pg_port }}",
    "Cache connectivity": "exec 3<>/dev/tcp/127.0.0.1/{{ bench_redis_port }} && printf 'PING\\r\\n' >&3 && head -1 <&3",
    "Disk space check": "df {{ bench_dir }} | tail -1 | awk '{print $5}' | sed 's/%//'",
    "Load": "top -bn1 | head -10",
    "Memory": "free -m",
}


def guide(directory: pathlib.Path) -> pathlib.Path:
    """Write the playbook of the guide's checks: facts, and a shell task for each."""
    tasks = [
        {"name": name, "ansible.builtin.shell": {"cmd": command, "executable": "/bin/bash"}}
        for name, command in GUIDE.items()
    ]
    path = directory / "guide.json"
    path.write_text(json.dumps([{"name": "The guide's checks", "hosts": "all", "tasks": tasks}]))
    return path


def inventory(lab: Lab, directory: pathlib.Path) -> pathlib.Path:
    """Write hosts that each have a homeserver, a database and a cache: those of the lab."""
    ports = lab.facts["ports"]
    values = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "matrixon_profile": "synapse",
        "matrixon_server_name": lab.facts["server_name"],
        "matrixon_instances": [{"name": n, "url": lab.url(n)} for n in ("main", "worker1", "worker2")],
        "matrixon_database_port": ports["postgresql"],
        "matrixon_database_password_file": lab.secret("monitor_password"),
        "matrixon_redis_port": ports["redis"],
        "matrixon_redis_password_file": lab.secret("redis_password"),
        "matrixon_mounts": ["/", str(lab.dir)],
        "matrixon_report_dir": str(directory / "reports"),
        "health_public": False,
        "health_units": [],
        "health_retries": 0,
        "health_skip_checks": {"time_offset": "not what is measured", "failed_units": "not what is measured"},
        "bench_url": lab.url("main"),
        "bench_pg_port": ports["postgresql"],
        "bench_redis_port": ports["redis"],
        "bench_dir": str(lab.dir),
    }
    names = {f"host{number:02}": None for number in range(1, HOSTS + 1)}
    groups = {name: {"hosts": names} for name in ("homeserver", "postgresql", "redis")}
    path = directory / "hosts.json"
    path.write_text(json.dumps({"all": {"vars": values, "children": groups}}))
    return path


def play(hosts: pathlib.Path, playbook: pathlib.Path) -> float:
    """Run a playbook and return its seconds."""
    environment = {
        **os.environ,
        "ANSIBLE_FORKS": str(FORKS),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build/collections"),
    }
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(hosts), str(playbook)]
    started = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        raise SystemExit(f"{playbook.name} failed:\n{done.stdout[:6000]}{done.stderr[-1000:]}")
    return seconds


def module_times(lab: Lab) -> None:
    """Print how long the module itself takes on the healthy lab, and how large its result is."""
    results = [lab.health(deadline=20) for _run in range(MODULE_RUNS)]
    inside = sorted(result.report["duration_ms"] for result in results)
    around = sorted(result.seconds * 1000 for result in results)
    last = results[-1]
    print(f"module on the healthy lab, {MODULE_RUNS} runs, {len(last.checks)} checks")
    print(f"  inside the module   median {statistics.median(inside):6.0f} ms   worst {inside[-1]:6.0f} ms")
    print(f"  whole process       median {statistics.median(around):6.0f} ms   worst {around[-1]:6.0f} ms")
    size = len(json.dumps({key: value for key, value in last.document.items() if key != "invocation"}))
    print(f"  result              {size / 1000:.1f} KB, detail: problems (status {last.report['status']})")


def main() -> None:
    """Start a lab, measure, stop it."""
    lab = Lab("bench", 22000)
    lab("up", "--messages", "50")
    try:
        lab.settle()
        module_times(lab)
        with tempfile.TemporaryDirectory() as name:
            hosts = inventory(lab, pathlib.Path(name))
            contenders: dict[str, pathlib.Path] = {
                "one ping task": HERE / "ping.yml",
                "playbooks/health.yml": ROOT / "playbooks/health.yml",
                "the guide's checks": guide(pathlib.Path(name)),
            }
            times: dict[str, list[float]] = {label: [] for label in contenders}
            print(f"{HOSTS} hosts on this machine, {FORKS} forks, pipelining, {ROUNDS} rounds in turns", flush=True)
            for _round in range(ROUNDS):
                for label, playbook in contenders.items():
                    times[label].append(play(hosts, playbook))
                    print(f"  {label:22} {times[label][-1]:6.1f} s", flush=True)
        show(times)
    finally:
        lab("down")


def show(times: dict[str, list[float]]) -> None:
    """Print medians, and the two ratios that matter."""
    for label, values in times.items():
        print(f"median {label:22} {statistics.median(values):6.1f} s")
    ratio("health / ping", times["playbooks/health.yml"], times["one ping task"], "at most 1.3")
    ratio("guide / health", times["the guide's checks"], times["playbooks/health.yml"], "at least 6")


def ratio(label: str, over: list[float], under: list[float], goal: str) -> None:
    """Print a ratio of medians, and how far the rounds lie apart."""
    rounds = sorted(a / b for a, b in zip(over, under, strict=True))
    median = statistics.median(over) / statistics.median(under)
    print(f"{label:15} {median:.2f}   (rounds {rounds[0]:.2f} to {rounds[-1]:.2f}; goal {goal})")
