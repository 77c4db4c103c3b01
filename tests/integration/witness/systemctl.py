"""Stands in for systemd where there is none: the few commands that the guard gives, for the units of one host.

GUARD_UNITS names a file that says of each unit what it asks before it starts, how it starts and stops, and where
its process is. What was commanded is written beside.
"""

import fnmatch
import json
import os
import signal
import subprocess
import sys


def pid_of(unit):
    try:
        with open(unit["pid_file"], encoding="utf-8") as file:
            pid = int(file.readline())
        os.kill(pid, 0)
        return pid
    except (OSError, ValueError):
        return 0


def start(unit):
    if subprocess.run(unit["ask"], check=False).returncode == 0:
        subprocess.run(unit["start"], check=True)


def kill_all(unit):
    """Send SIGKILL to the process, and to those that it has started, as to all of a control group."""
    pid = pid_of(unit)
    if pid:
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
        for process in [pid, *map(int, children.split())]:
            os.kill(process, signal.SIGKILL)


def main():
    path = os.environ["GUARD_UNITS"]
    with open(path, encoding="utf-8") as file:
        units = json.load(file)
    words = [word for word in sys.argv[2:] if not word.startswith("-")]
    with open(f"{path}.log", "a", encoding="utf-8") as log:
        log.write(f"{sys.argv[1]} {' '.join(words)}\n")
    named = {name: unit for name, unit in units.items() if any(fnmatch.fnmatch(name, word) for word in words)}
    for name, unit in named.items():
        if sys.argv[1] == "show":
            print(f"Id={name}\nActiveState={'active' if pid_of(unit) else 'inactive'}\nSubState=running\n")
        elif sys.argv[1] == "start":
            start(unit)
        elif sys.argv[1] == "stop":
            subprocess.Popen(unit["stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        elif sys.argv[1] == "kill":
            kill_all(unit)
        else:
            sys.exit(f"systemctl {sys.argv[1]} is not known here")


main()
