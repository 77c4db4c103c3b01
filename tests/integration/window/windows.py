"""A fleet for maintenance windows: HAProxy by the role's template, Alertmanager, a homeserver that says yes."""

from __future__ import annotations

import datetime
import http.client
import http.server
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import typing as t

import trustme
import yaml

from ansible_collections.matrixon.ops.plugins.module_utils import _haproxy
from ansible_collections.matrixon.ops.plugins.module_utils._backup import tree
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import Component, Manifest
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Store
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

ROOT = pathlib.Path(__file__).resolve().parents[3]
UTC = datetime.timezone.utc
# From there the administration API may be used.
ADMIN = "127.0.0.2"


def now() -> datetime.datetime:
    return datetime.datetime.now(UTC)


def stamp(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def until(good: t.Callable[[], t.Any], seconds: float, what: str) -> t.Any:
    """Ask again and again until something is so, and return it."""
    end = time.monotonic() + seconds
    while True:
        found = good()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def play(path: pathlib.Path, inventory: pathlib.Path, *words: str, **variables: t.Any) -> tuple[int, str]:
    """Run a playbook; return how that ended and all that was printed."""
    done = subprocess.run(
        [
            str(pathlib.Path(sys.executable).parent / "ansible-playbook"),
            *("-i", str(inventory), str(path), "-e", json.dumps(variables), *words),
        ],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def module(name: str, **arguments: t.Any) -> dict[str, t.Any]:
    """Run a module as Ansible does."""
    done = subprocess.run(
        [sys.executable, str(ROOT / f"plugins/modules/{name}.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    result: dict[str, t.Any] = json.loads(done.stdout)
    return result


class Homeserver(http.server.ThreadingHTTPServer):
    """Says yes to everything, but to the probe whether it is ready, whose answer is that there is no such room."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Yes)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Say nothing of a caller that hung up, as HAProxy does after each check."""


class Yes(http.server.BaseHTTPRequestHandler):
    """Answers every method alike."""

    protocol_version = "HTTP/1.1"

    def _yes(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(404 if "/directory/room/" in self.path else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PUT = do_OPTIONS = _yes

    def log_message(self, *dummy: t.Any) -> None:
        """Say nothing."""


class Edge:
    """An HAProxy whose configuration is that of the role load_balancer, on ports of its own."""

    def __init__(self, place: pathlib.Path, homeserver: Homeserver) -> None:
        self.place, self.port = place, free_port()
        self.socket, self.map = str(place / "admin.sock"), str(place / "maintenance.map")
        self.metrics = free_port()
        authority = trustme.CA()
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)
        authority.issue_cert("matrix.example.test").private_key_and_cert_chain_pem.write_to_path(
            str(place / "edge.pem")
        )
        self.variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "matrixon_server_name": "example.test",
            "matrixon_profile": "synapse",
            "matrixon_haproxy_socket": self.socket,
            "matrixon_haproxy_maintenance_map": self.map,
            "matrixon_processes": [
                {"name": "main", "host": "hs1", "address": "127.0.0.1", "port": homeserver.server_address[1]}
            ],
            "load_balancer_addresses": ["127.0.0.1"],
            "load_balancer_certificate": str(place / "edge.pem"),
            "load_balancer_maxconn": 200,
            "load_balancer_admin_networks": [f"{ADMIN}/32"],
            "load_balancer_metrics_bind": f"127.0.0.1:{self.metrics}",
        }
        self._render()
        (place / "maintenance.map").write_text("all 0\nwrites 0\n")
        self.start()

    def _render(self) -> None:
        role = ROOT / "roles/load_balancer"
        tasks = [
            {"ansible.builtin.include_vars": str(role / "defaults/main.yml")},
            {"ansible.builtin.include_vars": str(role / "vars/main.yml")},
            {
                "ansible.builtin.template": {
                    "src": str(role / "templates/body.cfg.j2"),
                    "dest": str(self.place / "body.cfg"),
                    "mode": "0600",
                }
            },
        ]
        plays = [{"hosts": "lb1", "gather_facts": False, "roles": ["matrixon.ops.matrixon"], "tasks": tasks}]
        (self.place / "render.yml").write_text(yaml.safe_dump(plays))
        (self.place / "lb.yml").write_text(yaml.safe_dump({"load_balancer": {"hosts": {"lb1": {}}}}))
        more = {
            "__load_balancer_state_file": str(self.place / "state"),
            "__load_balancer_revision_socket": str(self.place / "revision.sock"),
        }
        code, output = play(self.place / "render.yml", self.place / "lb.yml", **self.variables, **more)
        assert code == 0, output
        text = (self.place / "body.cfg").read_text()
        for port, other in ((443, self.port), (8448, free_port()), (80, free_port())):
            text = text.replace(f"bind 127.0.0.1:{port} ", f"bind 127.0.0.1:{other} ")
            text = text.replace(f"bind 127.0.0.1:{port}\n", f"bind 127.0.0.1:{other}\n")
        # Only root may be another user, and /dev/log is not everywhere.
        drop = ("    user ", "    group ", "    chroot ", "    log /dev/log")
        lines = [line for line in text.splitlines() if not line.startswith(drop)]
        (self.place / "haproxy.cfg").write_text("\n".join(lines).replace(" group haproxy", "") + "\n")

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(self.place / "haproxy.cfg")],
            env={**os.environ, "MATRIXON_REVISION": "1", "PATH": f"{os.environ['PATH']}:/usr/sbin"},
            stderr=(self.place / "haproxy.log").open("w"),
        )
        try:
            until(self._up, 30, "HAProxy with a homeserver behind it")
        except AssertionError:
            self.stop()
            raise

    def _up(self) -> bool:
        assert self.process.poll() is None, (self.place / "haproxy.log").read_text()
        try:
            return self.get("/_matrix/client/versions", source=ADMIN)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def entries(self) -> str:
        try:
            return _haproxy.ask(self.socket, f"show map {self.map}", Deadline(10))
        except ProbeFailure as failure:
            return str(failure)

    def get(
        self, path: str, method: str = "GET", source: str = "127.0.0.1", body: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask as somebody outside does."""
        with socket.create_connection(("127.0.0.1", self.port), 20, (source, 0)) as plain:
            secure = self.context.wrap_socket(plain, server_hostname="matrix.example.test")
            connection = http.client.HTTPConnection("matrix.example.test")
            connection.sock = secure
            connection.request(method, path, body)
            answer = connection.getresponse()
            found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
            connection.close()
            return found


class Alerts:
    """A real Alertmanager."""

    def __init__(self, place: pathlib.Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (place / "am.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
        self.process = subprocess.Popen(
            [
                "prometheus-alertmanager",
                f"--config.file={place / 'am.yml'}",
                f"--storage.path={place / 'am'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._up, 30, "Alertmanager")

    def _up(self) -> bool:
        try:
            return self.ask("GET", "/-/ready")[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: t.Any = None) -> tuple[int, t.Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text.startswith(("[", "{")) else text

    def silences(self) -> list[tuple[str, str]]:
        """The comments of all silences, and what became of them."""
        return [(one["comment"], one["status"]["state"]) for one in self.ask("GET", "/api/v2/silences")[1]]

    def silenced(self, **labels: str) -> bool:
        """Raise an alert, and see whether somebody would hear of it."""
        name = f"probe{time.monotonic_ns()}"
        assert self.ask("POST", "/api/v2/alerts", [{"labels": {"alertname": name, **labels}}])[0] == 200
        query = f"/api/v2/alerts?filter=alertname%3D%22{name}%22"

        def state() -> str:
            found = self.ask("GET", query)[1]
            return str(found[0]["status"]["state"]) if found else "unprocessed"

        return bool(until(lambda: (said := state()) != "unprocessed" and said, 30, "an alert") == "suppressed")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def proven_set(root: pathlib.Path) -> None:
    """A backup set of hs1 that a drill has proven just now."""
    store = Store(str(root), "example.test", "hs1")
    with store.lock("a test"):
        with store.begin("one") as partial:
            (pathlib.Path(partial.path) / "db").mkdir()
            (pathlib.Path(partial.path) / "db/base").write_text("x")
            part = Component("native", tree.digest_tree(partial.path + "/db", Deadline(30), "db"))
            made = Manifest(
                id="one",
                fleet="example.test",
                server="hs1",
                created=now(),
                finished=now(),
                sequence=store.next_sequence(),
                kind="full",
                parent=None,
                chain=(),
                components={"database": part},
            )
            store.commit(partial, made)
        store.record_drill("one", {"status": "ok", "facts": {}})
