"""The playbook on hosts that are all this one: who is in the report, and why."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

from authority import pem
from cases import Pki

ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_a_host_that_was_asked_and_did_not_answer_is_in_the_report(pki: Pki, tmp_path: pathlib.Path) -> None:
    (tmp_path / "good.pem").write_bytes(pem(*pki.issuing.issue("file.farm.test").sent))

    def host(*files: str) -> dict[str, t.Any]:
        return {"ssl_expiry_files": [{"path": path} for path in files], "ssl_expiry_endpoints": []}

    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become": False,
        "matrixon_server_name": "farm.test",
        "matrixon_profile": "synapse",
        "matrixon_report_dir": str(tmp_path),
        "ssl_expiry_outside_enabled": False,
    }
    hosts = {"good": host(str(tmp_path / "good.pem")), "broken": host("relative.pem"), "idle": host()}
    # JSON is YAML.
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"vars": variables, "children": {"load_balancer": {"hosts": hosts}}}}))
    argv = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory)]
    done = subprocess.run(
        [*argv, str(ROOT / "playbooks/ssl_expiry.yml")],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0, done.stdout
    document = json.loads((tmp_path / "ssl_expiry-farm.test.json").read_text())
    found = {entry["target"]: entry for entry in document["hosts"]}
    assert {name: entry["status"] for name, entry in found.items()} == {"good": "ok", "broken": "unknown"}, done.stdout
    (told,) = found["broken"]["checks"]
    assert "'relative.pem' is no absolute path" in told["message"]
