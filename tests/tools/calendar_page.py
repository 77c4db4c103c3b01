"""Make docs/maintenance-calendar.md from the files of the calendars."""

from __future__ import annotations

import pathlib
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/maintenance-calendar.md"
FILES = ROOT / "roles/maintenance/files/calendar"
CALENDARS = {"daily": "each day", "weekly": "each week", "monthly": "each month"}
HEAD = """\
# The maintenance calendar

Made from `roles/maintenance/files/calendar/*.yml` by `python tests/tools/calendar_page.py`; the playbooks run those
files, and a test holds this page against them.

```sh
ansible-playbook matrixon.ops.maintenance_daily --check                       # what each step would do
ansible-playbook matrixon.ops.maintenance_daily                               # all steps, one report
ansible-playbook matrixon.ops.maintenance_daily --tags 10-020                 # one step, by id or name
ansible-playbook matrixon.ops.maintenance_daily -e maintenance_only=journal   # the same, from a survey of AWX
ansible-playbook matrixon.ops.maintenance_daily -e '{"maintenance_skip": {"10-020": "logs are being examined"}}'
```

Each step ends as a check: `ok` is done, `warning` needs a person, `critical` failed, `unknown` could not be seen, and
`skipped` says why. A step that failed does not stop the others, but those that need it. A run fails at its end.
An id is never used again for another step.
"""


def load(name: str) -> list[dict[str, t.Any]]:
    """The steps of a calendar."""
    return yaml.safe_load((FILES / f"{name}.yml").read_text())


def where(step: dict[str, t.Any]) -> str:
    """On which hosts a step runs, in words."""
    if step.get("once"):
        return "once, on the controller"
    return "each host" if step["groups"] == ["all"] else ", ".join(f"`{name}`" for name in step["groups"])


def made_of(step: dict[str, t.Any]) -> str:
    """What a step is made of."""
    calls = [f"`{call['role'].rpartition('.')[2]}` ({call['entry']})" for call in step.get("calls", [])]
    return ", ".join(calls) or "plays of its own"


def section(step: dict[str, t.Any]) -> str:
    """One step."""
    lines = [f"\n### {step['id']} {step['name']}\n\n{step['title']}. {' '.join(step['does'].split())}\n\n"]
    lines += [f"- **Where:** {where(step)}\n", f"- **Runs:** {made_of(step)}\n"]
    needs = [f"step {name}" for name in step.get("needs", [])]
    lines += [
        f"- **Needs:** {', '.join([*needs, step['wants']] if step['wants'] != 'nothing' else needs) or 'nothing'}\n"
    ]
    lines += [f"- **Acts:** {'yes' if step['acts'] else 'no, it looks'}\n"]
    return "".join(lines)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, often in CALENDARS.items():
        parts.append(f"\n## maintenance_{name}: {often}\n")
        parts += [section(step) for step in load(name)]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
