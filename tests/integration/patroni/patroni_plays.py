"""Tasks of the role dr_failover by themselves, with the role's own variables."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles/dr_failover"


def tasks(file: str, *names: str) -> list[dict[str, t.Any]]:
    """Return tasks of the role by their names."""
    found = {task["name"]: task for task in yaml.safe_load((ROLE / f"tasks/{file}.yml").read_text())}
    return [found[name] for name in names]


def play(
    place: pathlib.Path, wanted: list[dict[str, t.Any]], answers: dict[str, str], variables: dict[str, t.Any]
) -> dict[str, t.Any]:
    """Run tasks, and return what expressions come to after them."""
    answer, file = place / "answer.json", place / "play.yml"
    last = {"ansible.builtin.copy": {"dest": str(answer), "content": "{{ answers | to_json }}", "mode": "0600"}}
    parts = [f"{name}/{kind}" for name in ("matrixon", "dr_failover") for kind in ("defaults", "vars")]
    files = [str(ROOT / f"roles/{part}/main.yml") for part in parts]
    content = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        # What a task says of itself counts more. In a file, for what is given holds a password.
        "vars_files": [*files, str(place / "given.json")],
        "tasks": [*wanted, {**last, "vars": {"answers": answers}}],
    }
    file.write_text(json.dumps([content]))
    given = {"matrixon_server_name": "example.com", "ansible_python_interpreter": sys.executable, **variables}
    (place / "given.json").write_text(json.dumps(given))
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), str(file), "-i", "localhost,"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, t.Any] = json.loads(answer.read_text())
    return {**found, "said": done.stdout + done.stderr}
