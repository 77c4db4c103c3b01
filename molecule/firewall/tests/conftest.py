"""The hosts, what knocks at them, and their operator."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import time
import typing as t

import pytest
import testinfra
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLAYBOOK = "molecule/firewall/converge.yml"
PLAYBOOK_TIMEOUT_S = 240
ALL_PORTS = "all"
VARIABLES = yaml.safe_load((ROOT / "molecule/firewall/group_vars/all.yml").read_text())
LISTENING = sorted([22, *VARIABLES["listen_ports"]])


class Run(t.NamedTuple):
    """How a playbook ended."""

    code: int
    output: str

    @property
    def text(self) -> str:
        """What it said, without line breaks."""
        return " ".join(self.output.split())

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """The counts of each host, as the last lines say them."""
        lines = self.output.rpartition("PLAY RECAP")[2].splitlines()
        rows = [line.split() for line in lines if " ok=" in line]
        return {row[0]: {key: int(value) for key, value in (pair.split("=") for pair in row[2:])} for row in rows}

    def count(self, key: str) -> dict[str, int]:
        """One of the counts, by host."""
        return {host: counts[key] for host, counts in self.recap.items()}


@dataclasses.dataclass(frozen=True)
class Host:
    """A host with a packet filter, or one that knocks."""

    name: str
    server: t.Any

    @functools.cached_property
    def addresses(self) -> list[str]:
        """Its addresses, IPv4 and IPv6."""
        text = self.run("ip -json address show dev eth0 scope global")
        # Older iproute2 leaves an empty entry for an address of another scope.
        return [entry["local"] for entry in json.loads(text)[0]["addr_info"] if entry]

    def run(self, command: str, *arguments: str) -> str:
        """Run a command as root."""
        done = self.server.run(command, *arguments)
        assert done.rc == 0, f"{command}: {done.stderr}"
        return t.cast(str, done.stdout)

    def knock(self, *others: Host, ports: str = ALL_PORTS) -> dict[str, dict[str, t.Any]]:
        """Say what answers at the addresses of other hosts, by address."""
        addresses = [address for other in others for address in other.addresses]
        return t.cast(dict, json.loads(self.run(f"python3 /usr/local/bin/molecule-scan {ports} {' '.join(addresses)}")))

    def opened(self, other: Host) -> list[list[int]]:
        """Say which of the ports that somebody listens at are open, by family."""
        found = self.knock(other, ports=",".join(map(str, LISTENING)))
        return [found[address]["open"] for address in other.addresses]

    def rules(self) -> str:
        """Everything that the packet filter is made of."""
        live = "iptables-save -t filter; ip6tables-save -t filter"
        files = "/etc/ufw/* /etc/default/ufw /var/lib/matrixon-firewall/state.json"
        text = self.run(
            f"({live}) | sed -e /^#/d -e 's/ .[0-9]*:[0-9]*.$//'; sha256sum $(ls -d {files} | grep -v '\\.d$')"
        )
        assert "ufw-user-input" in text and "ufw6-user-input" in text and "state.json" in text
        return text

    def log_in(self) -> subprocess.CompletedProcess[str]:
        """Log in anew from here, over no connection that stands."""
        variables = self.server.ansible.get_variables()
        key = variables.get("ansible_ssh_private_key_file") or variables["ansible_private_key_file"]
        options = "ControlMaster=no ControlPath=none BatchMode=yes ConnectTimeout=1 ConnectionAttempts=1"
        options += " StrictHostKeyChecking=no UserKnownHostsFile=/dev/null LogLevel=ERROR"
        command = ["ssh", "-F", "none", "-i", key, *(f"-o{option}" for option in options.split())]
        return subprocess.run(
            [*command, f"{variables['ansible_user']}@{variables['ansible_host']}", "hostname"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )


class Operator:
    """Who runs the playbook."""

    def __init__(self) -> None:
        self.inventory = str(pathlib.Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
        self.environment = {
            **os.environ,
            "NO_COLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        }

    def start(self, *arguments: str, **variables: t.Any) -> subprocess.Popen[str]:
        return self._start("ansible-playbook", PLAYBOOK, "-e", json.dumps(variables), *arguments)

    def play(self, *arguments: str, **variables: t.Any) -> Run:
        return self.end(self.start(*arguments, **variables))

    def module(self, host: str, **arguments: t.Any) -> Run:
        """Call the module alone."""
        name = "matrixon.ops.matrixon_ufw"
        return self.end(self._start("ansible", host, "--become", "-m", name, "-a", json.dumps(arguments)))

    @staticmethod
    def end(process: subprocess.Popen[str]) -> Run:
        output, dummy = process.communicate(timeout=PLAYBOOK_TIMEOUT_S)
        return Run(process.returncode, output)

    def _start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, "-i", self.inventory],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def host(name: str) -> Host:
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    return Host(name, testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory, sudo=True))


@pytest.fixture(scope="session")
def lb1() -> Host:
    """A load balancer."""
    return host("lb1")


@pytest.fixture(scope="session")
def db1() -> Host:
    """A database server."""
    return host("db1")


@pytest.fixture(scope="session")
def inside() -> Host:
    """A host of the homeserver, which may log in, too."""
    return host("inside")


@pytest.fixture(scope="session")
def outside() -> Host:
    """A host that nobody knows."""
    return host("outside")


@pytest.fixture(scope="session")
def operator() -> Operator:
    """Who runs the playbook."""
    return Operator()


@pytest.fixture(scope="session")
def listening() -> list[int]:
    """Where somebody listens on each host that has a packet filter."""
    return LISTENING


@pytest.fixture(scope="session")
def until() -> t.Callable[[t.Callable[[], bool], float], bool]:
    """Wait for a condition, and tell if it came about."""

    def wait(condition: t.Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.3)
        return True

    return wait
