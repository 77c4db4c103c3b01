#!/usr/bin/env python
"""Have Docker run, and build the images of the Molecule scenarios.

    images.py           both

A host of a scenario is a minimal Debian with systemd, sshd and Python: what a
provider hands over. An image is built once and then named after its recipe, so
a change of the recipe builds it anew.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))
import system

RELEASES = ("bookworm", "trixie")
REPOSITORY = "matrixon-ops/host"
SOCKET = pathlib.Path("/var/run/docker.sock")
PIDS = (pathlib.Path("/var/run/docker.pid"), pathlib.Path("/run/docker/containerd/containerd.pid"))
DAEMON_LOG = pathlib.Path("/var/log/matrixon-ops-dockerd.log")
DAEMON_TIMEOUT_S = 60

PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",
    "perl",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# The user that Ansible logs in as: no password, and root only through sudo.
CUSTOMIZE = (
    'chroot "$1" useradd --create-home --shell /bin/bash ansible',
    'echo "ansible ALL=(ALL) NOPASSWD: ALL" > "$1/etc/sudoers.d/ansible"',
    'install -d -m 0700 -o 1000 -g 1000 "$1/home/ansible/.ssh"',
)


def main() -> None:
    """Do what is missing."""
    system.install_missing({"dockerd": "docker.io", "mmdebstrap": "mmdebstrap"})
    ensure_engine()
    for release in RELEASES:
        ensure_image(release)


def engine_answers() -> bool:
    """Tell if a Docker engine takes commands."""
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


def ensure_engine() -> None:
    """Start Docker, by systemd where it runs, else as a daemon of its own."""
    if engine_answers():
        return
    if os.geteuid() != 0:
        sys.exit("Docker does not answer. Start it, or let this user talk to it (group docker), and call make again.")
    if pathlib.Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"], check=True)
    else:
        for pid in PIDS:
            if pid.exists() and not _is_alive(pid.read_text()):
                pid.unlink()
        with DAEMON_LOG.open("ab") as log:
            subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + DAEMON_TIMEOUT_S
    while not engine_answers():
        if time.monotonic() > deadline:
            sys.exit(f"Docker did not answer within {DAEMON_TIMEOUT_S} s; its log is {DAEMON_LOG}")
        time.sleep(0.5)


def _is_alive(pid: str) -> bool:
    """Tell if that process is Docker, and not another that got the number since."""
    command = pathlib.Path(f"/proc/{pid.strip()}/comm")
    return command.exists() and command.read_text().strip() in ("dockerd", "containerd")


def recipe(release: str) -> list[str]:
    """Return the command that builds an image, without its target."""
    hooks = [f"--customize-hook={hook}" for hook in CUSTOMIZE]
    return ["mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", *hooks, release]


def ensure_image(release: str) -> None:
    """Build the image of a release unless this very recipe was built before."""
    digest = hashlib.sha256("\0".join(recipe(release)).encode()).hexdigest()[:12]
    wanted, current = f"{REPOSITORY}:{release}-{digest}", f"{REPOSITORY}:{release}"
    if subprocess.run(["docker", "image", "inspect", wanted], capture_output=True, check=False).returncode:
        started = time.monotonic()
        print(f"Building {current}", flush=True)
        with tempfile.TemporaryDirectory(prefix="matrixon-ops-") as directory:
            tar = f"{directory}/{release}.tar"
            done = subprocess.run([*recipe(release), tar], capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{done.stderr}\nmmdebstrap failed with exit code {done.returncode}")
            subprocess.run(["docker", "import", tar, wanted], stdout=subprocess.DEVNULL, check=True)
        print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    subprocess.run(["docker", "tag", wanted, current], check=True)


if __name__ == "__main__":
    main()
