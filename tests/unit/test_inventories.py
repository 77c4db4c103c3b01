"""The example inventory speaks of options that exist, and keeps no secret."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "inventories/example"
FILES = sorted([*EXAMPLE.glob("*_vars/**/*.yml"), EXAMPLE / "group_vars/all/vault.yml.example"])
ROLES = sorted(path.parts[-3] for path in ROOT.glob("roles/*/meta/argument_specs.yml"))


def known_options() -> set[str]:
    """Names of all options of all roles."""
    entries = [
        entry
        for path in ROOT.glob("roles/*/meta/argument_specs.yml")
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values()
    ]
    return {name for entry in entries for name in entry.get("options") or {}}


def host_variables() -> dict[str, set[str]]:
    """Names of the variables of each host in the example."""
    found: dict[str, set[str]] = {}

    def walk(group: dict[str, dict[str, dict[str, object]]]) -> None:
        for name, variables in (group.get("hosts") or {}).items():
            found.setdefault(name, set()).update(variables or {})
        for child in (group.get("children") or {}).values():
            walk(child)

    walk(yaml.safe_load((EXAMPLE / "hosts.yml").read_text())["all"])
    return found


def test_there_are_files_to_look_at() -> None:
    assert len(FILES) > 5 and len(ROLES) > 5 and len(known_options()) > 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLE)))
def test_every_option_of_the_example_exists(path: pathlib.Path) -> None:
    names = set(yaml.safe_load(path.read_text()))
    ours = {name for name in names if not name.startswith(("ansible_", "vault_"))}
    assert ours - known_options() == set()


def test_hosts_have_only_their_address_there_and_files_belong_to_hosts() -> None:
    hosts = host_variables()
    assert [name for name, variables in hosts.items() if variables != {"ansible_host"}] == []
    assert {path.stem for path in EXAMPLE.glob("host_vars/*.yml")} <= set(hosts)


def test_every_secret_is_taken_from_the_vault_and_the_vault_holds_none() -> None:
    wanted = set(re.findall(r"\bvault_\w+", "".join(path.read_text() for path in FILES if path.suffix == ".yml")))
    vault = yaml.safe_load((EXAMPLE / "group_vars/all/vault.yml.example").read_text())
    assert set(vault) == wanted
    assert [name for name, value in vault.items() if "CHANGE-ME" not in value] == []
    assert not (EXAMPLE / "group_vars/all/vault.yml").exists()
