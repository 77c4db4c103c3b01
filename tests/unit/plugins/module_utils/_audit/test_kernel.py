"""The kernel's settings, core dumps and the clock."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._audit import kernel
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import NotHere, Tools
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline
from ansible_collections.matrixon.ops.plugins.module_utils._timesync import Offset

GOOD = {**kernel.LEAST, **dict.fromkeys(kernel.NONE, 0)}


@pytest.fixture
def host(tmp_path: pathlib.Path) -> pathlib.Path:
    for key, value in GOOD.items():
        put(tmp_path, key, value)
    put(tmp_path, "fs.suid_dumpable", 0)
    put(tmp_path, "kernel.core_pattern", "core")
    return tmp_path


def put(root: pathlib.Path, key: str, value: object) -> None:
    path = root / "proc/sys" / key.replace(".", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")


def statuses(host: pathlib.Path) -> dict[str, str]:
    seen = kernel.judge_settings(kernel.probe_settings(Tools(str(host)), Deadline(5)))
    return {finding.id: finding.status for finding in seen.findings}


def test_a_good_kernel(host: pathlib.Path) -> None:
    assert statuses(host) == {"kernel-setting": "ok"}


@pytest.mark.parametrize("key", sorted(GOOD))
def test_each_setting_that_is_off_is_found(host: pathlib.Path, key: str) -> None:
    put(host, key, 1 if key in kernel.NONE else GOOD[key] - 1)
    assert statuses(host) == {f"kernel-setting:{key}": "warning"}


def test_more_than_asked_is_good_and_what_the_kernel_does_not_know_is_left_out(host: pathlib.Path) -> None:
    put(host, "kernel.unprivileged_bpf_disabled", 2)
    (host / "proc/sys/net/ipv6/conf/all/accept_redirects").unlink()
    assert statuses(host) == {"kernel-setting": "ok"}


def test_nonsense_is_unknown(host: pathlib.Path) -> None:
    put(host, "kernel.kptr_restrict", "many")
    assert statuses(host) == {"kernel-setting:kernel.kptr_restrict": "unknown"}


def test_no_settings_at_all_is_unknown(tmp_path: pathlib.Path) -> None:
    assert statuses(tmp_path) == {"kernel-setting": "unknown"}


def test_a_container_answers_for_its_own_settings_only(host: pathlib.Path) -> None:
    (host / ".dockerenv").write_text("")
    put(host, "kernel.kptr_restrict", 0)
    assert statuses(host) == {"kernel-setting": "ok"}
    put(host, "net.ipv4.conf.all.accept_redirects", 1)
    assert statuses(host) == {"kernel-setting:net.ipv4.conf.all.accept_redirects": "warning"}
    for probe in (kernel.probe_cores, kernel.probe_clock):
        with pytest.raises(NotHere, match="container"):
            probe(Tools(str(host)), Deadline(5))


@pytest.mark.parametrize(
    ("suid", "pattern", "weak"),
    [(0, "core", False), (2, "|/usr/lib/systemd/systemd-coredump %P", False), (2, "core", True), (1, "|/x", True)],
)
def test_core_dumps(host: pathlib.Path, suid: int, pattern: str, weak: bool) -> None:
    put(host, "fs.suid_dumpable", suid)
    put(host, "kernel.core_pattern", pattern)
    assert bool(kernel.judge_cores(kernel.probe_cores(Tools(str(host)), Deadline(5))).findings) is weak


@pytest.mark.parametrize(
    ("offset", "weak"),
    [
        (Offset(0.01, "chrony"), False),
        (Offset(1.5, "chrony"), True),
        (Offset(None, "the kernel", "no time service has set it lately"), True),
    ],
)
def test_the_clock(offset: Offset, weak: bool) -> None:
    assert bool(kernel.judge_clock(offset).findings) is weak
