"""The rules of the house that a machine can check.

Each rule looks at the files that git tracks or would track, so a new file
counts before it is committed.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
from typing import Any

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = "GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)"
LICENCE = "SPDX-License-Identifier: GPL-3.0-or-later"

# Two that hide a failure, and one that splits what it is given as it likes.
FORBIDDEN = re.compile(r"^\s*(?:- )?(ignore_errors:|failed_when: +false\b|ansible\.builtin\.shell:)", re.MULTILINE)
# Collections that one driver of a role needs, and that Galaxy does not bring for everybody.
OPTIONAL = {"amazon.aws"}
# A path that exists on one machine only. Spelled so that it does not find itself.
LOCAL_PATH = re.compile(r"(?<![\w.}~-])/(?:root|work)/")
CONTROLLER_ACTIONS = {
    "ansible.builtin.assert",
    "ansible.builtin.set_stats",
    "matrixon.ops.matrixon_report_publish",
}
SLICING = re.compile(r"^# (Safe to slice|Not safe to slice)\b", re.MULTILINE)


def git_files(*patterns: str) -> list[str]:
    """Names of the files that git tracks or would track, those that exist."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if name and (ROOT / name).is_file()]


def load(path: pathlib.Path) -> Any:
    """Read a YAML file; a file with nothing but comments is an empty mapping."""
    return yaml.safe_load(path.read_text()) or {}


def roles() -> list[str]:
    """Names of the roles."""
    return sorted({name.split("/")[1] for name in git_files("roles") if name.count("/") > 1})


def test_git_lists_this_file() -> None:
    # Without it an empty listing would let every other test pass.
    assert "tests/unit/test_house.py" in git_files()


def test_action_group_lists_every_module() -> None:
    modules = {pathlib.Path(name).stem for name in git_files("plugins/modules/*.py")} - {"__init__"}
    assert set(load(ROOT / "meta/runtime.yml")["action_groups"]["matrixon"]) == modules


def test_modules_are_called_matrixon() -> None:
    names = [pathlib.Path(name).name for name in git_files("plugins/modules/*.py")]
    assert [name for name in names if not name.startswith("matrixon_")] == []


@pytest.mark.parametrize("name", git_files("plugins/*.py"))
def test_plugin_has_licence_header(name: str) -> None:
    head = "".join((ROOT / name).read_text().splitlines(keepends=True)[:6])
    assert HEADER in head and LICENCE in head


@pytest.mark.parametrize("role", roles())
def test_role_has_its_papers(role: str) -> None:
    papers = ("README.md", "meta/main.yml", "meta/argument_specs.yml")
    assert [paper for paper in papers if not (ROOT / "roles" / role / paper).is_file()] == []


@pytest.mark.parametrize("role", roles())
def test_role_options_equal_its_defaults(role: str) -> None:
    directory = ROOT / "roles" / role
    entries = load(directory / "meta/argument_specs.yml")["argument_specs"].values()
    options = {name: option for entry in entries for name, option in (entry.get("options") or {}).items()}
    defaults = load(directory / "defaults/main.yml") if (directory / "defaults/main.yml").exists() else {}
    required = {name for name, option in options.items() if option.get("required")}
    assert set(defaults) - set(options) == set(), "defaults that the argument spec does not know"
    assert set(options) - set(defaults) - required == set(), "options that are not required and have no default"


@pytest.mark.parametrize("role", roles())
def test_role_names_its_options_in_its_readme(role: str) -> None:
    directory = ROOT / "roles" / role
    text = (directory / "README.md").read_text()
    options = load(directory / "meta/argument_specs.yml")["argument_specs"]["main"].get("options") or {}

    def named(option: str) -> bool:
        # In a row of several, the later ones go by their endings.
        words = option.split("_")
        endings = ["_".join(words[place:]) for place in range(1, len(words))]
        return f"`{option}`" in text or any(f"`{dots}_{end}`" in text for end in endings for dots in ("", "..."))

    assert [option for option in options if not named(option)] == []


@pytest.mark.parametrize("name", git_files("roles/*.yml", "playbooks/*.yml"))
def test_failures_are_not_hidden(name: str) -> None:
    assert FORBIDDEN.findall((ROOT / name).read_text()) == []


def tasks_of(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All tasks of a file of tasks, those in blocks among them."""
    found = []
    for entry in entries:
        found.append(entry)
        for part in ("block", "rescue", "always"):
            found += tasks_of(entry.get(part) or [])
    return found


@pytest.mark.parametrize("name", git_files(":(glob)roles/*/tasks/*.yml"))
def test_a_task_that_wants_no_rights_says_so_to_inventories_too(name: str) -> None:
    # An inventory's ansible_become counts more than the keyword. Action plugins use no rights of their own.
    tasks = [task for task in tasks_of(load(ROOT / name) or []) if task.get("become") is False]
    modules = [task for task in tasks if not set(task) & CONTROLLER_ACTIONS]
    assert [task["name"] for task in modules if task.get("vars", {}).get("ansible_become") is not False] == []


@pytest.mark.parametrize("name", git_files(":(glob)playbooks/*.yml"))
def test_playbook_says_if_it_may_be_sliced(name: str) -> None:
    text = (ROOT / name).read_text()
    header = text[: re.search(r"^- ", text, re.MULTILINE).start()]
    assert SLICING.search(header), "the header needs a line `# Safe to slice...` or `# Not safe to slice...`"


def test_no_file_names_a_path_of_one_machine() -> None:
    found = []
    for name in git_files():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:
            lines = content.decode(errors="replace").splitlines()
            found += [f"{name}:{number}: {line}" for number, line in enumerate(lines, 1) if LOCAL_PATH.search(line)]
    assert found == []


def test_every_collection_in_use_is_a_dependency() -> None:
    texts = [(ROOT / name).read_text() for name in git_files(":(glob)roles/*/*/*.yml", ":(glob)playbooks/*.yml")]
    name = r"((?!ansible\.builtin|matrixon\.ops|net\.)[a-z]+\.[a-z]+)\.[a-z0-9_]+"
    pattern = re.compile(rf"^\s+(?:- )?{name}:", re.MULTILINE)
    used = {name for text in texts for name in pattern.findall(text)}
    assert used == set(load(ROOT / "galaxy.yml")["dependencies"]) | OPTIONAL
    readme = (ROOT / "README.md").read_text()
    assert [name for name in sorted(OPTIONAL) if f"`{name}`" not in readme] == []


def test_sanity_tests_ignore_nothing() -> None:
    assert git_files("tests/sanity/ignore*") == []


def test_every_make_target_is_documented() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {name for line in re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE) for name in line.split()}
    defined = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    documented = set(re.findall(r"^([a-z-]+):.* ## \S", makefile, re.MULTILINE))
    assert targets == defined == documented
