"""Kernel settings: names, files, and what a later file says instead."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils import _sysctl as sysctl


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.core.somaxconn", "net/core/somaxconn"),
        ("net/core/somaxconn", "net/core/somaxconn"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
    ],
)
def test_the_first_separator_of_a_name_decides(key, path):
    assert sysctl.relative_path(key) == path


@pytest.mark.parametrize("key", ["somaxconn", "../etc/passwd", "net/../../etc", "net.*.x", "", "/net/core", "a.b\nc"])
def test_what_is_no_name_is_refused(key):
    with pytest.raises(ValueError, match="not the name of a kernel setting"):
        sysctl.relative_path(key)


@pytest.mark.parametrize(
    ("value", "text"), [("10240\t65535\n", "10240 65535"), (65535, "65535"), (True, "1"), (False, "0"), ("", "")]
)
def test_a_value_is_compared_as_the_kernel_means_it(value, text):
    assert sysctl.normal(value) == text


def test_the_file_says_each_setting_and_lets_optional_ones_be_missing():
    text = sysctl.render({"net.b": "1 2", "net.a": "0"}, ["net.a"])
    assert text.splitlines()[1:] == ["-net.a = 0", "net.b = 1 2"] and text.endswith("\n")
    assert sysctl.assignments(text) == {"net/a": "0", "net/b": "1 2"}


def test_files_are_read_as_systemd_reads_them():
    text = "# net.a=1\n; net.b=2\n  -net/c = 3\t4 \nnet.d=\nnonsense\nnet.*.e = 5\nnet.c = 6\n"
    assert sysctl.assignments(text) == {"net/c": "6", "net/d": ""}


def test_only_a_later_file_that_says_something_else_is_named(tmp_path):
    first, second = tmp_path / "etc", tmp_path / "usr"
    first.mkdir()
    second.mkdir()
    (first / "10-a.conf").write_text("net.a = 9\n")
    (first / "90-own.conf").write_text("net.a = 1\n")
    (first / "95-same.conf").write_text("net.b = 2\n")
    (first / "99-gone.conf").symlink_to("nowhere")
    # A file of this name lies in /etc, so the distribution's does not count.
    (second / "95-same.conf").write_text("net.b = 7\n")
    (second / "99-other.conf").write_text("net.a = 8\n")
    (second / "99-note.txt").write_text("net.b = 8\n")
    files = sysctl.later_files(str(first / "90-own.conf"), (str(first), str(second), str(tmp_path / "none")))
    assert [name.rsplit("/", 2)[1:] for name in files] == [
        ["etc", "95-same.conf"],
        ["etc", "99-gone.conf"],
        ["usr", "99-other.conf"],
    ]
    said = sysctl.overruled({"net.a": "1", "net.b": "2", "net.c": "3"}, files)
    assert said == [f"net.a is 1 now, but {second}/99-other.conf is read later at boot and says 8; remove it there"]
