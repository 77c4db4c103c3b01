"""The homeserver's user: it owns the data, and nobody logs in as it."""

from __future__ import annotations

import typing as t
import uuid

import pytest

testinfra_hosts = ["ansible://homeserver"]


@pytest.fixture
def service(root: t.Any) -> str:
    return root.profile["service"]["user"]


def test_the_service_user_cannot_log_in(root: t.Any, service: str) -> None:
    assert root.run("su - %s -c true", service).rc != 0
    # It is its shell that refuses: with another one, root can be that user.
    assert root.out("su -s /bin/sh - %s -c 'id -un'", service) == service
    assert root.out("passwd -S %s", service).split()[1] == "L"


def test_sessions_of_the_service_user_have_its_limits(root: t.Any, service: str) -> None:
    limits = root.out("su -s /bin/sh %s -c 'ulimit -Sn; ulimit -Hn'", service).split()
    assert limits == [str(root.asked["system_setup_nofile_soft"]), str(root.asked["system_setup_nofile_hard"])]


def test_a_stranger_sees_nothing_of_the_homeserver(root: t.Any, service: str) -> None:
    paths = root.profile["paths"]
    assert root.may("nobody", "ls /var/lib"), "a stranger sees nothing at all, so this would show nothing"
    for name in ("config_dir", "data_dir", "media_dir", "log_dir"):
        assert not root.may("nobody", "ls %s", paths[name]), paths[name]
        assert not root.may("nobody", "touch %s", f"{paths[name]}/molecule"), paths[name]


def test_the_service_writes_its_data_and_reads_its_configuration(root: t.Any, service: str) -> None:
    paths = root.profile["paths"]
    for name in ("data_dir", "media_dir", "log_dir"):
        file = f"{paths[name]}/molecule-{uuid.uuid4().hex[:8]}"
        assert root.may(service, "touch %s", file), file
        root.out("rm %s", file)
    assert root.may(service, "ls %s", paths["config_dir"])
    assert not root.may(service, "touch %s", f"{paths['config_dir']}/molecule")
