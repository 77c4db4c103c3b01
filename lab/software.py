"""What the lab needs on the machine: Debian packages and a cached virtual environment."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from lab.config import LabError, say

PYTHON = "/usr/bin/python3"
HAPROXY = "/usr/sbin/haproxy"
REDIS = "/usr/bin/redis-server"
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
# psycopg2-binary in place of Synapse's `postgres` extra: that one wants a compiler.
REQUIREMENTS = ("matrix-synapse[redis]", "psycopg2-binary")
POLICY = Path("/usr/sbin/policy-rc.d")
CLUSTER_DROP_IN = Path("/etc/postgresql-common/createcluster.d/zz-matrixon-lab.conf")


def postgresql_bin() -> Path | None:
    """The newest server that is installed, and not only its client."""
    found = [
        (int(path.parts[-3]), path.parent)
        for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")
        if path.parts[-3].isdigit() and (path.parent / "postgres").exists()
    ]
    return max(found)[1] if found else None


def _missing() -> list[str]:
    wanted = []
    if postgresql_bin() is None:
        wanted.append("postgresql")
    if not os.access(REDIS, os.X_OK):
        wanted.append("redis-server")
    if not os.access(HAPROXY, os.X_OK):
        wanted.append("haproxy")
    probe = [PYTHON, "-c", "import ensurepip, venv"]
    if not os.access(PYTHON, os.X_OK) or subprocess.run(probe, capture_output=True, check=False).returncode:
        wanted.append("python3-venv")
    return wanted


def ensure_packages() -> None:
    wanted = _missing()
    if not wanted:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError(f"missing packages, install them first: {' '.join(wanted)}")
    started = time.monotonic()
    say("packages", "installing " + " ".join(wanted))
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
    with _quiet_install():
        for arguments in (["update"], ["install", "--no-install-recommends", *wanted]):
            done = subprocess.run(
                [*apt, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                raise LabError(f"apt-get {arguments[0]} failed:\n{_tail(done.stdout)}")
    if still := _missing():
        raise LabError(f"still missing after the installation: {' '.join(still)}")
    say("packages", "installed", started)


@contextlib.contextmanager
def _quiet_install():
    """Neither start services nor make a default cluster; leave the machine's own rules alone."""
    made: list[Path] = []
    if not POLICY.exists():
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
        made.append(POLICY)
    directory = CLUSTER_DROP_IN.parent
    new_directories = [path for path in (directory, directory.parent) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    CLUSTER_DROP_IN.write_text("create_main_cluster = false\n")
    made.append(CLUSTER_DROP_IN)
    try:
        yield
    finally:
        for path in made:
            path.unlink(missing_ok=True)
        for path in new_directories:
            with contextlib.suppress(OSError):
                path.rmdir()


def cache_dir() -> Path:
    if given := os.environ.get("MATRIXON_CACHE_DIR"):
        return Path(os.path.abspath(given))
    if os.geteuid() == 0:
        return Path("/var/cache/matrixon-ops")
    return Path.home() / ".cache" / "matrixon-ops"


def ensure_venv() -> Path:
    """The interpreter of Synapse's environment, built once per set of constraints."""
    version = subprocess.check_output([PYTHON, "-V"], text=True).split()[1]
    key = hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest()[:16]
    # The system's own Python: service users cannot run one under root's home.
    python_tag = "py" + ".".join(version.split(".")[:2])
    final = cache_dir() / f"synapse-{key}-{python_tag}"
    interpreter = final / "bin" / "python"
    if interpreter.exists():
        return interpreter
    final.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(final.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not interpreter.exists():
            _build_venv(final)
    return interpreter


def _build_venv(final: Path) -> None:
    started = time.monotonic()
    say("synapse", "building its environment")
    beside = final.with_name(final.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    install = [str(beside / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    install += ["--constraint", str(CONSTRAINTS), *REQUIREMENTS]
    for command in ([PYTHON, "-m", "venv", str(beside)], install):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            umask=0o022,
        )
        if done.returncode:
            raise LabError(f"{' '.join(command[:4])} ... failed:\n{_tail(done.stdout)}")
    _rewrite_scripts(beside, final)
    os.rename(beside, final)
    say("synapse", "environment built", started)


def _rewrite_scripts(beside: Path, final: Path) -> None:
    """Scripts carry the path that they were installed under; they shall work after the rename."""
    old, new = str(beside).encode(), str(final).encode()
    for script in (beside / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            content = script.read_bytes()
            if old in content:
                script.write_bytes(content.replace(old, new))


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.splitlines()[-lines:])
