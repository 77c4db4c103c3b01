"""Directories and configuration files, written anew at every `up`."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from string import Template

from lab import pki
from lab.config import DATABASE, PUBLIC_URL, SECRETS, SERVER_NAME, Lab, write

TEMPLATES = Path(__file__).with_name("templates")
COPIED = ("log.yaml", "sync_paths.lst", "worker_paths.lst", "worker_get_paths.lst")


def everything(lab: Lab) -> None:
    _directories(lab)
    for name in SECRETS:
        lab.ensure_secret(name)
    pki.ensure(lab)
    _signing_key(lab)
    for name in COPIED:
        _config(lab, name, (TEMPLATES / name).read_text())
    for name in ("homeserver.yaml", "haproxy.cfg", "redis.conf"):
        _config(lab, name, filled(lab, name))
    for worker in ("worker1", "worker2"):
        text = filled(
            lab,
            "worker.yaml",
            worker_name=worker,
            worker_port=lab.ports[worker],
            worker_metrics_port=lab.ports[f"{worker}_metrics"],
        )
        _config(lab, f"{worker}.yaml", text)


def filled(lab: Lab, template: str, **more: object) -> str:
    values = {name: lab.secret(name) for name in SECRETS}
    values |= lab.ports
    values |= {
        "etc": lab.etc,
        "run": lab.run,
        "synapse": lab.synapse,
        "redis_dir": lab.redis,
        "server_name": SERVER_NAME,
        "public_url": PUBLIC_URL,
        "database": DATABASE,
    }
    return Template((TEMPLATES / template).read_text()).substitute(values | more)


def _directories(lab: Lab) -> None:
    # Services own what they write; the rest stays with the operator, and secrets with nobody else.
    for path in (lab.redis, lab.synapse, lab.run, lab.log):
        path.mkdir(exist_ok=True)
        path.chmod(0o750)
        if lab.owner is not None:
            os.chown(path, *lab.owner)
    for path, mode in ((lab.etc, 0o750), (lab.ca, 0o755), (lab.secrets, 0o700)):
        path.mkdir(exist_ok=True)
        path.chmod(mode)
    if lab.owner is not None:
        os.chown(lab.etc, 0, lab.owner[1])


def _config(lab: Lab, name: str, text: str) -> None:
    group = None if lab.owner is None else (0, lab.owner[1])
    write(lab.etc / name, text, 0o640, group)


def _signing_key(lab: Lab) -> None:
    path = lab.etc / "signing.key"
    if not path.exists():
        seed = base64.b64encode(os.urandom(32)).decode().rstrip("=")
        _config(lab, path.name, f"ed25519 a_{os.urandom(2).hex()} {seed}\n")
