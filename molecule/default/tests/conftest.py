"""The fleet as its clients and its operator meet it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
import uuid

import pytest
import testinfra
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from lab.matrix import Client, MatrixError  # noqa: E402

LOAD_BALANCER = "172.30.10.11"
PUBLIC_NAME = "matrix.fleet.test"
SYSTEM_SETUP = yaml.safe_load((ROOT / "roles/system_setup/defaults/main.yml").read_text())
CA = ROOT / ".build/molecule/ca/ca.pem"
PLAYBOOK_TIMEOUT_S = 900
SOAK = os.environ.get("MATRIXON_FLEET_TESTS") == "soak"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: it takes minutes, and runs with MATRIXON_FLEET_TESTS=soak alone")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("soak") and not SOAK:
        pytest.skip("it takes minutes, and belongs to the soak: MATRIXON_FLEET_TESTS=soak")


class User(t.NamedTuple):
    """A user who is logged in through the load balancer."""

    client: Client
    id: str
    token: str

    def call(self, method: str, path: str, body: object = None, **options: t.Any) -> dict:
        return self.client.call(method, f"/_matrix/client/{path}", self.token, body, **options)


class Run(t.NamedTuple):
    """How a playbook ended."""

    code: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """The counts of each host, as the last lines say them."""
        lines = self.output.rpartition("PLAY RECAP")[2].splitlines()
        rows = [line.split() for line in lines if " ok=" in line]
        return {row[0]: {key: int(value) for key, value in (pair.split("=") for pair in row[2:])} for row in rows}

    @property
    def changed(self) -> set[str]:
        """The hosts on which something changed."""
        return {host for host, counts in self.recap.items() if counts["changed"]}


def client(name: str = PUBLIC_NAME) -> Client:
    """Speak TLS by name, as a user's client does."""
    return Client((LOAD_BALANCER, 443), name, str(CA))


@pytest.fixture(scope="session")
def ca() -> str:
    """The CA of the fleet's certificates."""
    return str(CA)


@pytest.fixture(scope="session")
def client_at() -> t.Callable[[tuple[str, int], str], Client]:
    """A client that calls an address by a name."""
    return lambda address, name: Client(address, name, str(CA))


@pytest.fixture(scope="session")
def client_as() -> t.Callable[[str], Client]:
    """A client that is not logged in, and calls the load balancer by a name."""
    return client


def login(name: str, password: str) -> User:
    speaker = client()
    answer = speaker.login(name, password)
    return User(speaker, answer["user_id"], answer["access_token"])


@pytest.fixture(scope="session")
def variables() -> dict[str, t.Any]:
    """What the inventory says to all hosts."""
    return yaml.safe_load((ROOT / "molecule/default/group_vars/all.yml").read_text())


@pytest.fixture(scope="session")
def newcomer(variables: dict[str, t.Any]) -> t.Callable[..., User]:
    """Register a user of whom nothing is known yet, and log in."""

    def make(name: str, *, admin: bool = False) -> User:
        full_name, password = f"{name}{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
        client().register(variables["homeserver_registration_shared_secret"], full_name, password, admin=admin)
        return login(full_name, password)

    return make


@pytest.fixture(scope="session")
def people(newcomer: t.Callable[..., User]) -> tuple[User, User]:
    """Two users, one of whom is an administrator."""
    alice, bob = newcomer("alice", admin=True), newcomer("bob")
    for user in (alice, bob):
        limit = {"messages_per_second": 0, "burst_count": 0}
        path = f"/_synapse/admin/v1/users/{user.id}/override_ratelimit"
        alice.client.call("POST", path, alice.token, limit)
    return alice, bob


@pytest.fixture(scope="session")
def room(people: tuple[User, User]) -> str:
    """A room that both are in."""
    alice, bob = people
    made = alice.call("POST", "v3/createRoom", {"preset": "private_chat", "invite": [bob.id]})["room_id"]
    bob.call("POST", f"v3/join/{made}")
    return made


@pytest.fixture(scope="session")
def server() -> t.Callable[[str], t.Any]:
    """Reach a host by its name, as root."""
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    return lambda name: testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory, sudo=True)


@pytest.fixture(scope="session")
def sql(server: t.Callable[[str], t.Any]) -> t.Callable[[str, str], str]:
    """Ask a database server as its superuser."""

    def ask(name: str, query: str) -> str:
        done = server(name).run("sudo -u postgres psql -X -A -t -d synapse -c %s", query)
        assert done.rc == 0, done.stderr
        return done.stdout.strip()

    return ask


@pytest.fixture(scope="session")
def until() -> t.Callable[[t.Callable[[], bool], float], bool]:
    """Wait for a condition, and tell if it came about."""

    def wait(condition: t.Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    return wait


class Asker(threading.Thread):
    """A client that keeps asking, and remembers what failed."""

    def __init__(self, ask: t.Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.ask, self.count, self.failures = ask, 0, []
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.1):
            self.count += 1
            try:
                self.ask()
            except (OSError, http.client.HTTPException, MatrixError) as error:
                self.failures.append(f"{time.strftime('%T')} {error!r}")

    def stop(self) -> None:
        self.done.set()
        self.join(60)


@pytest.fixture
def keep_asking() -> t.Iterator[t.Callable[..., list[Asker]]]:
    """Start clients that keep asking, each one thing."""
    running: list[Asker] = []

    def start(*questions: t.Callable[[], object]) -> list[Asker]:
        askers = [Asker(question) for question in questions]
        for asker in askers:
            asker.start()
        running.extend(askers)
        return askers

    yield start
    for asker in running:
        asker.stop()


@pytest.fixture(scope="session")
def run_python(server: t.Callable[[str], t.Any]) -> t.Callable[..., t.Any]:
    """Run a script on a host; it prints JSON. Its input is JSON, too, and so no command line tells it."""

    def run(name: str, script: str, *, python: str = "/usr/bin/python3", **given: t.Any) -> t.Any:
        code = "import json, sys\ngiven = json.loads(sys.stdin.readline())\n" + script
        whole = json.dumps(given) + "\n"
        done = server(name).run("printf %s %s | %s -c %s", "%s", whole, python, code)
        assert done.rc == 0, done.stderr
        return json.loads(done.stdout)

    return run


class Begun(t.NamedTuple):
    """A playbook that runs, and what it prints."""

    process: subprocess.Popen[bytes]
    output: t.IO[str]

    def wait(self, seconds: float) -> Run:
        """Wait for its end, and see to it if there is none."""
        try:
            self.process.wait(seconds)
        finally:
            self.kill()
        return Run(self.process.returncode, self.said())

    def kill(self) -> None:
        """End it in the middle, as a controller does that dies."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def said(self) -> str:
        self.output.seek(0)
        return self.output.read()


@pytest.fixture(scope="session")
def begun() -> t.Callable[..., Begun]:
    """Start a playbook against the fleet, in a group of processes of its own."""

    def start(name: str, *arguments: str) -> Begun:
        inventory = os.environ["MOLECULE_INVENTORY_FILE"]
        command = ["ansible-playbook", "-i", str(pathlib.Path(inventory).parent), f"playbooks/{name}.yml", *arguments]
        # A file, for nobody may be there who reads.
        with tempfile.TemporaryFile("w+") as output:
            run = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "NO_COLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            return Begun(run, os.fdopen(os.dup(output.fileno())))

    return start


@pytest.fixture(scope="session")
def playbook(begun: t.Callable[..., Begun]) -> t.Callable[..., Run]:
    """Call a playbook against the fleet, as its operator would."""
    return lambda name, *arguments: begun(name, *arguments).wait(PLAYBOOK_TIMEOUT_S)


class Root:
    """A host, with root's rights, and what its inventory asks for."""

    def __init__(self, host: t.Any) -> None:
        self.host = host
        variables = host.ansible.get_variables()
        self.groups = variables["group_names"]
        self.asked = {**SYSTEM_SETUP, **{key: value for key, value in variables.items() if key in SYSTEM_SETUP}}
        profile = variables.get("matrixon_profile", "matrixon")
        self.profile = yaml.safe_load((ROOT / f"roles/matrixon/files/profiles/{profile}.yml").read_text())

    def run(self, command: str, *arguments: str) -> t.Any:
        with self.host.sudo():
            return self.host.run(command, *arguments)

    def out(self, command: str, *arguments: str) -> str:
        done = self.run(command, *arguments)
        assert done.rc == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def may(self, user: str, command: str, *arguments: str) -> bool:
        """Whether a command succeeds as a user."""
        return self.run(f"runuser -u {user} -- {command}", *arguments).rc == 0


@pytest.fixture
def root(host: t.Any) -> Root:
    return Root(host)


# The packages of a test, and what Debian has today, which is not for a test to install.
ARCHIVE = "/srv/updates-test"
SUITE = "fleet-security"
KEPT = "/etc/apt/kept-by-a-test"
# Runs the builder of the archive on the host.
BUILD = """
import types
builder = types.ModuleType("builder")
exec(compile(given["code"], "builder", "exec"), builder.__dict__)
builder.make(given["root"], given["suites"])
print("null")
"""
TAKE_OVER = (
    f"set -e; mkdir -p {KEPT}/sources.list.d;"
    f" if [ -e /etc/apt/sources.list ]; then mv /etc/apt/sources.list {KEPT}/; fi;"
    f" find /etc/apt/sources.list.d -type f -exec mv -t {KEPT}/sources.list.d {{}} +;"
    f" echo 'deb [trusted=yes] file:{ARCHIVE} {SUITE} main' > /etc/apt/sources.list.d/updates-test.list;"
    " apt-get update"
)
GIVE_BACK = (
    "set -e; rm -f /etc/apt/sources.list.d/updates-test.list;"
    f" if [ -e {KEPT}/sources.list ]; then mv {KEPT}/sources.list /etc/apt/; fi;"
    f" find {KEPT}/sources.list.d -type f -exec mv -t /etc/apt/sources.list.d {{}} +;"
    f" rm -r {KEPT} {ARCHIVE}; rm -rf /var/lib/matrixon-updates;"
    " dpkg --purge --force-all fleet-good fleet-bad; apt-get update"
)


class Offer:
    """The packages that an archive on a host has, which is the only one there."""

    def __init__(self, name: str, host: t.Any, run_python: t.Callable[..., t.Any]) -> None:
        self.name, self.host, self.run_python = name, host, run_python
        self.code = (ROOT / "tests/integration/updates/archive_of_debs.py").read_text()

    def put(self, *packages: dict[str, str]) -> None:
        self.run_python(self.name, BUILD, code=self.code, root=ARCHIVE, suites={SUITE: list(packages)})

    @property
    def installed(self) -> dict[str, str]:
        told = self.host.run("dpkg-query -W -f '${Package} ${Version}\\n' 'fleet-*'").stdout
        return dict(line.split() for line in told.splitlines())


@pytest.fixture(scope="module")
def offer_on(
    server: t.Callable[[str], t.Any], run_python: t.Callable[..., t.Any]
) -> t.Iterator[t.Callable[[str], Offer]]:
    """Have two packages on a host, installed in their first version."""
    with contextlib.ExitStack() as taken_over:

        def make(name: str) -> Offer:
            host = server(name)
            made = Offer(name, host, run_python)
            made.put({"name": "fleet-good", "version": "1"}, {"name": "fleet-bad", "version": "1"})
            taken_over.callback(host.check_output, GIVE_BACK)
            host.check_output(TAKE_OVER)
            host.check_output("DEBIAN_FRONTEND=noninteractive apt-get install -y fleet-good fleet-bad")
            return made

        yield make


@pytest.fixture(scope="module")
def offer(offer_on: t.Callable[[str], Offer]) -> Offer:
    """The offer of the host that most tests update."""
    return offer_on("hs2")


@pytest.fixture(scope="session")
def drained(server: t.Callable[[str], t.Any]) -> t.Callable[[], set[str]]:
    """Ask the load balancer which servers it was told to drain."""

    def ask() -> set[str]:
        told = server("lb1").check_output("echo 'show servers state' | socat - /run/haproxy/admin.sock")
        rows = [line.split() for line in told.splitlines()[2:] if line.strip()]
        return {row[3] for row in rows if int(row[6]) & 0x08}

    return ask


@pytest.fixture
def neglected(
    sql: t.Callable[[str, str], str], until: t.Callable[[t.Callable[[], bool], float], bool]
) -> t.Iterator[t.Callable[[], str]]:
    """A table with 20000 dead rows that autovacuum leaves alone, and the way to count these."""

    def dead() -> str:
        return sql("db1", "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'neglected'")

    sql("db1", "CREATE TABLE neglected (id int) WITH (autovacuum_enabled = false)")
    try:
        sql("db1", "INSERT INTO neglected SELECT generate_series(1, 20000)")
        sql("db1", "UPDATE neglected SET id = id + 1")
        assert until(lambda: dead() == "20000", 20)
        yield dead
    finally:
        sql("db1", "DROP TABLE neglected")
