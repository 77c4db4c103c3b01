"""Each filter has something behind it, and its documentation."""

from __future__ import annotations

import importlib
import json
import pathlib
import subprocess
import sys

import yaml

from ansible_collections.matrixon.ops.plugins.filter.filters import PLACES, FilterModule

ROOT = pathlib.Path(__file__).resolve().parents[3]
PACKAGE = "ansible_collections.matrixon.ops.plugins"


def test_each_filter_is_there_and_documented() -> None:
    pages = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "plugins/filter").glob("*.yml")}
    assert {name: page["DOCUMENTATION"]["name"] for name, page in pages.items()} == {name: name for name in PLACES}
    assert set(FilterModule().filters()) == set(PLACES)
    for name, place in PLACES.items():
        assert callable(getattr(importlib.import_module(f"{PACKAGE}.plugin_utils.{place}"), name)), name


def test_a_filter_is_called_with_what_it_is_given() -> None:
    call = FilterModule().filters()["updates_matching"]
    assert call(["good", "bad"], patterns=["g*"]) == ["good"]


def test_to_name_a_filter_brings_nothing_else_in() -> None:
    # Whatever else stood in this directory would be read, too, for each filter of each task of each host.
    assert [path.name for path in (ROOT / "plugins/filter").glob("*.py")] == ["filters.py"]
    code = f"import json, sys, {PACKAGE}.filter.filters; print(json.dumps([*sys.modules]))"
    tree = ROOT.parents[2] if ROOT.parts[-3] == "ansible_collections" else ROOT / ".build/collections"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, check=True, capture_output=True, text=True)
    loaded = {name for name in json.loads(done.stdout) if name.startswith(f"{PACKAGE}.")}
    assert loaded == {f"{PACKAGE}.filter", f"{PACKAGE}.filter.filters"}
