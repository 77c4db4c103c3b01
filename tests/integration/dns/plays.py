"""The role dns as playbooks run it: many cases in one run, for starting Ansible takes longer than most of them."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t
from dataclasses import dataclass

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
FACTS = ("dns_result", "dns_problems", "dns_verified")


@dataclass(frozen=True)
class Case:
    """One call of the role, and how it ended: the message of what failed, and the facts that it left."""

    failed: str
    facts: dict[str, t.Any]

    @property
    def result(self) -> dict[str, t.Any]:
        return self.facts["dns_result"]

    @property
    def problems(self) -> list[str]:
        return self.facts["dns_problems"]


def _tasks(name: str, variables: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The tasks of one case. Each begins without the facts of those before."""
    given = dict(variables)
    role = {"name": "matrixon.ops.dns", "tasks_from": given.pop("entry", "main")}
    keep = "{{ {'failed': failure | default(''), " + ", ".join(f"'{fact}': {fact}" for fact in FACTS) + "} }}"
    return [
        {"name": f"Forget before {name}", "ansible.builtin.set_fact": {**{fact: {} for fact in FACTS}, "failure": ""}},
        {
            "name": name,
            "block": [{"name": f"Run {name}", "ansible.builtin.include_role": role, "vars": given}],
            "rescue": [
                {
                    "name": f"Note how {name} failed",
                    "ansible.builtin.set_fact": {
                        "failure": "{{ ansible_failed_result.msg | default(ansible_failed_task.name, true) }}"
                    },
                }
            ],
        },
        {"name": f"Keep {name}", "ansible.builtin.set_fact": {f"kept_{name}": keep}},
    ]


def run(
    directory: pathlib.Path,
    cases: dict[str, dict[str, t.Any]],
    *words: str,
    hosts: t.Sequence[str] = ("first",),
    collections: pathlib.Path | None = None,
) -> tuple[dict[str, Case], str]:
    """Run cases in their order; return what came of each, and all that Ansible said."""
    kept = directory / "kept.json"
    write = {
        "name": "Write what was kept",
        "ansible.builtin.copy": {
            "content": "{{ {" + ", ".join(f"'{name}': kept_{name}" for name in cases) + "} | to_json }}",
            "dest": str(kept),
            "mode": "0600",
        },
        "check_mode": False,
        "diff": False,
        "when": f"inventory_hostname == '{hosts[-1]}'",
        "vars": {"ansible_become": False},
    }
    tasks = [task for name, given in cases.items() for task in _tasks(name, given)]
    play = {"name": "Cases", "hosts": "all", "gather_facts": False, "tasks": [*tasks, write]}
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        # Nobody can become another user in this way, so a task that wants to is seen.
        "ansible_become": True,
        "ansible_become_user": "nobody",
        "ansible_become_exe": "/bin/false",
        "matrixon_server_name": "matrix.test",
        "matrixon_profile": "synapse",
    }
    inventory = {"all": {"vars": common, "hosts": dict.fromkeys(hosts)}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    argv = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(directory / "hosts.yml")]
    done = subprocess.run(
        [*argv, str(directory / "play.yml"), *words],
        cwd=ROOT,
        env={
            **os.environ,
            "NO_COLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(
                [*([str(collections)] if collections else []), str(ROOT / ".build/collections")]
            ),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
        check=False,
    )
    assert kept.exists(), done.stdout
    found = json.loads(kept.read_text())
    return {name: Case(one["failed"], {fact: one[fact] for fact in FACTS}) for name, one in found.items()}, done.stdout
