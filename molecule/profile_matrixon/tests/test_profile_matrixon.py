"""The profile matrixon, on a release that names itself a stand-in."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import tomllib
import typing as t
import urllib.request

import pytest
import testinfra
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
RELEASES = ROOT / ".build/molecule/releases"
URLS = {"hs1": "http://172.30.30.21:8008", "hs2": "http://172.30.30.22:8008"}
PROFILE = yaml.safe_load((ROOT / "roles/matrixon/files/profiles/matrixon.yml").read_text())


def server(name: str) -> t.Any:
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory, sudo=True)


def versions(name: str) -> tuple[dict, str]:
    """What the client API says, and who says it."""
    with urllib.request.urlopen(f"{URLS[name]}/_matrix/client/versions", timeout=10) as answer:
        return json.load(answer)["server"], answer.headers["Server"].strip()


def deploy(**variables: str) -> tuple[int, str]:
    """Run the playbook as an operator would, with some variables otherwise."""
    inventory = pathlib.Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent
    command = ["ansible-playbook", "-i", str(inventory), "playbooks/homeserver.yml", "-e", json.dumps(variables)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def state(name: str) -> dict[str, str]:
    """What must not move when a release is refused."""
    host = server(name)
    return {
        "current": host.check_output("readlink /opt/matrixon/current"),
        "releases": host.check_output("ls -A /opt/matrixon/releases"),
        "process": host.check_output("systemctl show --value -p MainPID matrixon"),
    }


@pytest.mark.parametrize("name", URLS)
def test_the_release_answers_and_names_itself_a_standin(name: str) -> None:
    said, header = versions(name)
    assert (said["name"], header) == ("matrixon stand-in 0.0.1", "matrixon-standin/0.0.1")
    arguments = server(name).check_output("cat /proc/$(systemctl show --value -p MainPID matrixon)/cmdline")
    assert "/opt/matrixon/current/matrixon\0start\0--config\0/etc/matrixon/matrixon.toml" in arguments


@pytest.mark.parametrize("name", URLS)
def test_the_configuration_is_that_of_the_guide(name: str) -> None:
    found = tomllib.loads(server(name).check_output("cat /etc/matrixon/matrixon.toml"))
    for table, settings in PROFILE["config"]["settings"].items():
        assert {key: found[table].get(key) for key in settings} == settings
    assert found["global"]["server_name"] == "standin.test"
    assert found["database"]["max_connections"] == 10
    assert (
        urllib.request.unquote(found["global"]["database_url"].split(":")[2].rpartition("@")[0]) == 'qu"ote/sl@sh#é\\x'
    )


@pytest.mark.parametrize("name", URLS)
def test_the_process_may_do_little(name: str) -> None:
    host = server(name)
    assert host.check_output("ps -o user= -p $(systemctl show --value -p MainPID matrixon)").strip() == "matrixon"
    shown = host.check_output("systemctl show -p NoNewPrivileges -p ProtectSystem -p PrivateTmp matrixon").splitlines()
    assert sorted(shown) == ["NoNewPrivileges=yes", "PrivateTmp=yes", "ProtectSystem=strict"]
    nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    assert host.run(f"{nobody} cat /etc/matrixon/matrixon.toml").rc == 1
    assert host.run(f"{nobody} /opt/matrixon/current/matrixon --version").rc == 0


REFUSED = {
    "wrong checksum": (
        {"homeserver_version": "0.0.2", "homeserver_archive_checksum": "sha256:" + "0" * 64},
        "sha256",
    ),
    "truncated": ({"homeserver_version": "truncated"}, "the archive is truncated or damaged"),
    "wrong architecture": ({"homeserver_version": "aarch64"}, "aarch64"),
    "wrong signature": (
        {
            "homeserver_version": "0.0.2",
            "homeserver_archive_signature_url": "{{ releases_url }}/matrixon-0.0.1.tar.gz.asc",
        },
        "the archive's signature is not good",
    ),
    "absent checksum": ({"homeserver_archive_checksum": ""}, "homeserver_archive_checksum: is missing"),
    "absent archive": ({"homeserver_version": "0.0.3", "homeserver_archive_checksum": "sha256:" + "0" * 64}, "404"),
    "another archive as the same version": (
        {"homeserver_archive_checksum": "sha256:" + hashlib.sha256(b"").hexdigest()},
        "was made of something else",
    ),
}
UNSIGNED = {"homeserver_archive_signature_url": "", "homeserver_archive_signing_key": ""}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_and_nothing_has_moved(case: str) -> None:
    variables, sentence = REFUSED[case]
    if "signature" not in case:
        variables = {**UNSIGNED, **variables}
    before = {name: state(name) for name in URLS}
    code, output = deploy(**variables)
    assert code == 2, output
    assert sentence in " ".join(output.split()), output
    assert {name: state(name) for name in URLS} == before
    assert [versions(name)[0]["name"] for name in URLS] == ["matrixon stand-in 0.0.1"] * 2


def test_a_new_release_and_the_way_back() -> None:
    code, output = deploy(homeserver_version="0.0.2")
    assert code == 0, output
    assert [versions(name)[0]["name"] for name in URLS] == ["matrixon stand-in 0.0.2"] * 2
    assert state("hs1")["releases"].split() == ["0.0.1", "0.0.2"]
    # The way back needs no archive: the old release is still there.
    server("hs1").check_output("systemctl stop releases")
    code, output = deploy()
    assert code == 0, output
    assert [versions(name)[0]["name"] for name in URLS] == ["matrixon stand-in 0.0.1"] * 2
    assert state("hs1")["current"] == "/opt/matrixon/releases/0.0.1"
