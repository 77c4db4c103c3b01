"""Live kernel settings, with a directory in the place of /proc/sys."""

from __future__ import annotations

import os

import pytest

from ansible_collections.matrixon.ops.plugins.modules import matrixon_sysctl as module


@pytest.fixture
def root(tmp_path):
    """Return a kernel with two settings."""
    (tmp_path / "net/core").mkdir(parents=True)
    (tmp_path / "net/core/somaxconn").write_text("4096\n")
    (tmp_path / "net/core/range").write_text("32768\t60999\n")
    return str(tmp_path)


def test_what_differs_is_found_and_what_is_equal_is_left(root):
    settings = {"net.core.somaxconn": "65535", "net.core.range": "32768 60999"}
    assert module.survey(settings, [], root) == ({"net.core.somaxconn": "4096"}, [], [])


def test_a_missing_setting_is_a_problem_unless_it_is_optional(root):
    assert module.survey({"net.core.nope": "1"}, ["net.core.nope"], root) == ({}, ["net.core.nope"], [])
    _drifted, missing, problems = module.survey({"net.core.nope": "1"}, [], root)
    assert missing == [] and len(problems) == 1 and "no such setting" in problems[0]


def test_what_cannot_be_written_is_a_problem_only_if_it_must_be(root, monkeypatch):
    monkeypatch.setattr(module.os, "access", lambda path, mode: mode != os.W_OK)
    assert module.survey({"net.core.somaxconn": "4096"}, [], root)[2] == []
    (problem,) = module.survey({"net.core.somaxconn": "5"}, [], root)[2]
    assert "is 4096, should be 5" in problem and "system_setup_sysctl_skip" in problem


def test_a_value_is_given_and_read_back(root):
    assert module.apply({"net.core.somaxconn": "65535"}, {"net.core.somaxconn": "4096"}, root) == []
    assert module.read("net.core.somaxconn", root) == "65535"


def test_a_kernel_that_keeps_its_own_value_is_not_believed_and_gets_the_rest_back(root, monkeypatch):
    read = module.read
    # It takes the write without complaint and stays at its limit.
    monkeypatch.setattr(module, "read", lambda key, root: "60999" if key == "net.core.range" else read(key, root))
    settings = {"net.core.somaxconn": "65535", "net.core.range": "70000"}
    problems = module.apply(settings, {"net.core.somaxconn": "4096", "net.core.range": "60999"}, root)
    assert problems == ["net.core.range: the kernel was given 70000 and says 60999"]
    assert read("net.core.somaxconn", root) == "4096"
