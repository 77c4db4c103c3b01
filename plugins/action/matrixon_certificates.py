# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate needs of the controller: files that were given, and the CA of a lab.

The module on the host does the rest. An action plugin signs in the same task,
where delegated tasks would cost one connection each for every certificate.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import tempfile
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.matrixon.ops.plugins.module_utils import _certificates as pki

MODULE = "matrixon.ops.matrixon_certificates"


class ActionModule(ActionBase):
    """Read and sign on the controller, and call the module."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> dict[str, t.Any]:
        """Run the module, and a second time with the answers to its requests."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        options = dict(self._task.args)
        if options.get("ca_file"):
            options["ca"] = self._controller_file(options["ca_file"], "ca_file")
        options["given"] = {
            name: self._contents(name, dict(given or {})) for name, given in (options.get("given") or {}).items()
        }
        authority = None
        if options.get("method") == "lab_ca":
            if not pki.HAS_CRYPTOGRAPHY:
                raise AnsibleActionFail("method: lab_ca needs the Python library cryptography on the controller")
            if not options.get("ca_dir"):
                raise AnsibleActionFail("ca_dir: method lab_ca needs the directory of the CA on the controller")
            authority = Authority(pathlib.Path(options["ca_dir"]).expanduser())
            made = authority.open(options.get("ca_name") or "matrixon.ops lab CA", write=not self._task.check_mode)
            options["ca"] = authority.text
            result["changed"] = made
        answer = self._call(options, task_vars)
        requests = answer.get("requests") or {}
        if authority and requests and not answer.get("failed"):
            options["issued"] = authority.answer(
                requests, {item["name"]: item["names"] for item in options["wanted"]}, int(options.get("days") or 90)
            )
            answer = self._call(options, task_vars)
            answer["changed"] = True
        answer["changed"] = bool(answer.get("changed") or result.get("changed"))
        result.update(answer)
        return result

    def _call(self, options: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
        return dict(self._execute_module(module_name=MODULE, module_args=options, task_vars=task_vars))

    def _contents(self, name: str, given: dict[str, t.Any]) -> dict[str, str]:
        """Return the texts, read from the controller where files are named."""
        found = {}
        for part in ("certificate", "key"):
            path = given.get(f"{part}_file")
            found[part] = self._controller_file(path, f"{name}.{part}_file") if path else given.get(part) or ""
        return found

    def _controller_file(self, path: str, option: str) -> str:
        try:
            # Decrypts what Ansible Vault encrypted.
            real = self._loader.get_real_file(self._loader.path_dwim(str(path)), decrypt=True)
            try:
                return pathlib.Path(real).read_text(encoding="utf-8")
            finally:
                self._loader.cleanup_tmp_file(real)
        except (AnsibleError, OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail(f"{option}: {path} on the controller cannot be read: {error}") from None


class Authority:
    """A CA in a directory of the controller."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.key: t.Any = None
        self.certificate: t.Any = None

    @property
    def text(self) -> str:
        """Return its certificate as PEM."""
        return pki.pem(self.certificate) if self.certificate else ""

    def open(self, name: str, write: bool = True) -> bool:
        """Read it, and make it if it is not there. Say whether it was made."""
        key_file, certificate_file = self.directory / "ca.key", self.directory / "ca.pem"
        try:
            if not write:
                return not self._read(key_file, certificate_file)
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The hosts of a play come here at the same time, and one of them makes it.
            with open(self.directory / ".lock", "w", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self._read(key_file, certificate_file):
                    return False
                self.key, self.certificate = pki.authority(name, pki.now())
                _write(key_file, pki.key_pem(self.key), 0o600)
                # It counts from here on: a key alone is made anew.
                _write(certificate_file, self.text, 0o644)
        except OSError as error:
            raise AnsibleActionFail(f"ca_dir: the CA in {self.directory} cannot be used: {error}") from None
        return True

    def _read(self, key_file: pathlib.Path, certificate_file: pathlib.Path) -> bool:
        if not certificate_file.exists():
            return False
        if key_file.stat().st_mode & 0o077:
            raise AnsibleActionFail(
                f"ca_dir: other users may read {key_file}; give it mode 0600, and think of a new CA"
            )
        try:
            chain, self.key = pki.load_chain(certificate_file.read_text()), pki.load_key(key_file.read_text())
        except pki.BadCertificate as error:
            raise AnsibleActionFail(f"ca_dir: {self.directory}: {error}") from None
        if not chain or not pki.same_key(chain[0], self.key):
            raise AnsibleActionFail(f"ca_dir: {self.directory}: ca.key is not the key of ca.pem")
        self.certificate = chain[0]
        left = (pki.not_after(self.certificate) - pki.now()) // pki.DAY
        if left < 1:
            raise AnsibleActionFail(f"ca_dir: {self.directory}: the CA has ended; move it away, and a new one is made")
        return True

    def answer(self, requests: dict[str, str], names: dict[str, list[str]], days: int) -> dict[str, str]:
        """Issue what was asked for, for the names of the inventory."""
        try:
            return {
                name: pki.issue(text, names[name], self.key, self.certificate, days, pki.now())
                for name, text in requests.items()
            }
        except (pki.BadCertificate, ValueError) as error:
            raise AnsibleActionFail(f"The signing request cannot be answered: {error}") from None


def _write(path: pathlib.Path, text: str, mode: int) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".new.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
