"""Every profile is data of one shape."""

from __future__ import annotations

import copy
import json
import pathlib

import jsonschema
import pytest
import yaml

ROLE = pathlib.Path(__file__).resolve().parents[2] / "roles/matrixon"
SCHEMA = json.loads((ROLE / "files/profiles/schema.json").read_text())
PROFILES = sorted((ROLE / "files/profiles").glob("*.yml"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_profile_has_the_shape_of_the_schema(path: pathlib.Path) -> None:
    profile = yaml.safe_load(path.read_text())
    jsonschema.validate(profile, SCHEMA)
    assert profile["name"] == path.stem


def test_the_role_offers_exactly_the_profiles_there_are() -> None:
    spec = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())
    choices = spec["argument_specs"]["main"]["options"]["matrixon_profile"]["choices"]
    assert sorted(choices) == [path.stem for path in PROFILES]


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("ports", "client", 70000),
        ("paths", "data_dir", "relative/path"),
        ("self_report", "path", {"state": "unsupported"}),
        ("self_report", "path", {"state": "unsupported", "reason": "none", "value": "/health"}),
        ("self_report", "path", {"state": "perhaps"}),
        ("service", "main_unit", "synapse"),
        ("database", "locale", ""),
    ],
)
def test_schema_refuses(group: str, key: str, value: object) -> None:
    profile = copy.deepcopy(yaml.safe_load(PROFILES[0].read_text()))
    profile[group][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(profile, SCHEMA)
