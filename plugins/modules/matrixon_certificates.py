#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_certificates
short_description: Put certificates and their keys in place
version_added: 0.1.0
description:
  - Writes for each certificate a directory with C(fullchain.pem), C(privkey.pem) and, for HAProxy, both in
    C(haproxy.pem), and beside these directories C(ca.pem).
  - Before anything is replaced, each certificate is held against its key, its names, the time and its issuer. If one is
    wrong, none is written. Each file is written beside the old one and renamed.
  - With a CA on the controller, the key is made on the host and never leaves it. The host sends a signing
    request, and the controller answers it. The key of the CA never leaves the controller.
  - It needs the Python library cryptography on the host, and for O(method=lab_ca) on the controller.
attributes:
  check_mode:
    support: full
    description: In check mode nothing is written, and the result says what would be.
  diff_mode:
    support: none
    description: A diff would show keys.
  action:
    support: full
    description: It has an action plugin, for what is read and signed on the controller.
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: posix
options:
  method:
    description:
      - Where the certificates come from.
      - With V(given), O(given) holds them.
      - With V(lab_ca), a CA in O(ca_dir) on the controller issues them. It is made if it is not there.
      - With V(placeholder), the host makes itself a self-signed certificate where there is none, so that a
        service can start before a real one is fetched. It never replaces another certificate.
    type: str
    choices: [given, lab_ca, placeholder]
    required: true
  directory:
    description: Where the directories of the certificates are.
    type: path
    required: true
  group:
    description: The group that may read the keys.
    type: str
    default: ssl-cert
  wanted:
    description: The certificates that this host should have.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the certificate and its directory.
        type: str
        required: true
      names:
        description: Host names and addresses that it must be for.
        type: list
        elements: str
        required: true
  given:
    description:
      - The certificates and keys by name, each with C(certificate) or C(certificate_file), and C(key) or C(key_file).
      - The files are on the controller and may be encrypted by Ansible Vault.
    type: dict
    default: {}
  ca:
    description: The certificate of the CA, in PEM, that is written as C(ca.pem). Empty leaves what is there.
    type: str
    default: ""
  ca_file:
    description: The same as a file on the controller.
    type: str
    default: ""
  ca_dir:
    description: Directory of the CA on the controller, for O(method=lab_ca).
    type: str
    default: ""
  ca_name:
    description: Name of the CA if it has to be made.
    type: str
    default: matrixon.ops lab CA
  days:
    description: Days for which a certificate is issued.
    type: int
    default: 90
  renew_before:
    description: Days before its end at which a certificate is issued anew, or warned of if it was given.
    type: int
    default: 30
  reload:
    description: Units that are reloaded after a certificate was replaced, those of them that run.
    type: list
    elements: str
    default: []
  issued:
    description: The certificates that were issued for requests of this host. For the action plugin.
    type: dict
    default: {}
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Let a CA of the lab issue a certificate
  matrixon.ops.matrixon_certificates:
    method: lab_ca
    ca_dir: "{{ playbook_dir }}/lab-ca"
    directory: /etc/ssl/matrixon
    wanted:
      - name: public
        names: [example.com, matrix.example.com]
    reload: [haproxy]
"""

RETURN = r"""
certificates:
  description: What this host serves, by name.
  type: dict
  returned: success
  sample:
    public:
      names: [example.com]
      not_after: "2026-09-01T10:00:00Z"
      issuer: CN=matrixon.ops lab CA
      placeholder: false
replaced:
  description: The certificates that were replaced, each with the reason.
  type: dict
  returned: always
  sample: {public: it has 12 days left}
requests:
  description: Signing requests that wait for an answer. The action plugin answers them.
  type: dict
  returned: with O(method=lab_ca)
  sample: {}
missing:
  description: With O(method=placeholder), the certificates that are a placeholder, or for other names than wanted.
  type: list
  elements: str
  returned: success
  sample: []
http:
  description: With O(method=placeholder), whether one is missing and something listens on port 80.
  type: bool
  returned: success
  sample: true
reloaded:
  description: The units that were reloaded.
  type: list
  elements: str
  returned: always
  sample: [haproxy]
"""

import contextlib
import grp
import os
import socket
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.matrixon.ops.plugins.module_utils import _certificates as pki

PENDING = ".privkey.pending"
RELOAD = ".reload"
KEY_MODE = 0o640
CERTIFICATE_MODE = 0o644
DIRECTORY_MODE = 0o750


class Store:
    """The directories of the certificates on this host."""

    def __init__(self, directory: str, gid: int, write: bool) -> None:
        self.directory = directory
        self.gid = gid
        self.write = write
        self.changed = False

    def path(self, *parts: str) -> str:
        """Return a path below the directory."""
        return os.path.join(self.directory, *parts)

    def read(self, *parts: str) -> str:
        """Return the text of a file, empty if there is none."""
        try:
            with open(self.path(*parts), encoding="utf-8") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def make_directory(self, mode: int, *parts: str) -> None:
        """Make a directory with this mode."""
        path = self.path(*parts)
        gid = self.gid if parts else 0
        try:
            state = os.stat(path)
        except FileNotFoundError:
            self.changed = True
            if not self.write:
                return
            os.makedirs(path, 0o755 if not parts else 0o700)
            state = os.stat(path)
        if (state.st_mode & 0o7777, state.st_uid, state.st_gid) != (mode, 0, gid):
            self.changed = True
            if self.write:
                os.chown(path, 0, gid)
                os.chmod(path, mode)

    def put(self, text: str, mode: int, gid: int, *parts: str) -> bool:
        """Make a file hold a text, in one step for whoever reads it. Say whether the text is another."""
        path = self.path(*parts)
        same = os.path.exists(path) and self.read(*parts) == text
        if same:
            state = os.stat(path)
            if (state.st_mode & 0o7777, state.st_uid, state.st_gid) == (mode, 0, gid):
                return False
        self.changed = True
        if not self.write:
            return not same
        handle, temporary = tempfile.mkstemp(prefix=".new.", dir=os.path.dirname(path))
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                os.fchown(file.fileno(), 0, gid)
                os.fchmod(file.fileno(), mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        return not same

    def remove(self, *parts: str) -> None:
        """Remove a file if it is there."""
        if self.write:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(*parts))


class Work:
    """One run: what is there, what is wanted, what was done."""

    def __init__(self, module: AnsibleModule, store: Store) -> None:
        self.module = module
        self.options = module.params
        self.store = store
        self.moment = pki.now()
        self.replaced: dict[str, str] = {}
        self.missing: list[str] = []
        self.requests: dict[str, str] = {}
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.authorities: list[t.Any] = []

    def fail_on_errors(self) -> None:
        """End here with all that is wrong, before anything is written."""
        if self.errors:
            self.module.fail_json(msg="; ".join(self.errors), replaced={}, reloaded=[])

    def judge(self, name: str, names: list[str], certificate: str, key: str) -> tuple[list[t.Any], list[str]]:
        """Return the chain and what speaks against it."""
        try:
            chain, secret = pki.load_chain(certificate), pki.load_key(key)
        except pki.BadCertificate as error:
            return [], [str(error)]
        return chain, pki.problems(chain, secret, names, self.authorities, self.moment)

    def present(self, name: str) -> tuple[str, str]:
        """Return the certificate and key that are in place."""
        return self.store.read(name, "fullchain.pem"), self.store.read(name, "privkey.pem")

    def install(self, name: str, certificate: str, key: str, why: str) -> None:
        """Write what belongs to one certificate. The key comes first: alone it harms nothing."""
        store, gid = self.store, self.store.gid
        certificate, key = certificate.strip() + "\n", key.strip() + "\n"
        store.make_directory(DIRECTORY_MODE, name)
        files = (
            ("privkey.pem", key, KEY_MODE, gid),
            ("fullchain.pem", certificate, CERTIFICATE_MODE, 0),
            ("haproxy.pem", certificate + key, KEY_MODE, gid),
        )
        if any(store.read(name, file) != text for file, text, *dummy in files):
            self.replaced[name] = why
            if store.write:
                # Should this run end before the reload, the next one makes up for it.
                store.put("", 0o600, 0, RELOAD)
        for file, text, mode, group in files:
            store.put(text, mode, group, name, file)

    def reason(self, name: str, names: list[str]) -> str:
        """Return why the certificate in place has to be issued anew, empty if it has not."""
        certificate, key = self.present(name)
        if not certificate or not key:
            return "there was none"
        chain, found = self.judge(name, names, certificate, key)
        if found:
            return "; ".join(found)
        if not same_names(chain[0], names):
            return f"it was for {', '.join(pki.names_of(chain[0]))}"
        left = (pki.not_after(chain[0]) - self.moment) // pki.DAY
        return f"it had {left} days left" if left < self.options["renew_before"] else ""

    def from_given(self) -> None:
        """Put in place what was given."""
        for item in self.options["wanted"]:
            given = self.options["given"].get(item["name"], {})
            chain, found = self.judge(item["name"], item["names"], given.get("certificate", ""), given.get("key", ""))
            self.errors += [f"certificate {item['name']}: {problem}" for problem in found]
            if chain and not found:
                left = (pki.not_after(chain[0]) - self.moment) // pki.DAY
                if left < self.options["renew_before"]:
                    self.warnings.append(f"certificate {item['name']}: it has {left} days left")
        self.fail_on_errors()
        for item in self.options["wanted"]:
            given = self.options["given"][item["name"]]
            self.install(item["name"], given["certificate"], given["key"], "another was given")

    def from_authority(self) -> None:
        """Ask for what is missing, or put in place what was issued."""
        issued = self.options["issued"]
        for item in self.options["wanted"]:
            name, names = item["name"], item["names"]
            why = self.reason(name, names)
            if not why:
                self.install(name, *self.present(name), why)
            elif name in issued:
                key = self.store.read(name, PENDING)
                dummy, found = self.judge(name, names, issued[name], key)
                self.errors += [f"certificate {name}: {problem}" for problem in found]
                self.fail_on_errors()
                self.install(name, issued[name], key, why)
                self.store.remove(name, PENDING)
            else:
                self.ask(name, names, why)

    def ask(self, name: str, names: list[str], why: str) -> None:
        """Make a key that waits for its certificate, and a request."""
        self.store.changed = True
        if not self.store.write:
            self.replaced[name] = why
            return
        self.store.make_directory(DIRECTORY_MODE, name)
        key = pki.new_key()
        self.store.put(pki.key_pem(key), 0o600, 0, name, PENDING)
        self.requests[name] = pki.request(key, names)

    def from_nothing(self) -> None:
        """Let a service start where no certificate is.

        The CA that was given is that of other certificates, such as the database's: what an ACME server
        issued comes from its own.
        """
        self.authorities = []
        for item in self.options["wanted"]:
            name, names = item["name"], item["names"]
            certificate, key = self.present(name)
            chain, found = self.judge(name, names, certificate, key) if certificate and key else ([], ["none"])
            if found or pki.is_placeholder(chain[0]) or not same_names(chain[0], names):
                self.missing.append(name)
            if not found or (chain and not pki.is_placeholder(chain[0])):
                self.install(name, certificate, key, "")
            else:
                self.install(name, *pki.placeholder(names, self.moment), "there was none")

    def facts(self) -> dict[str, dict[str, t.Any]]:
        """Return what is in place now."""
        found = {}
        for item in self.options["wanted"]:
            chain = pki.load_chain(self.store.read(item["name"], "fullchain.pem"))
            if chain:
                found[item["name"]] = {
                    "names": pki.names_of(chain[0]),
                    "not_after": f"{pki.not_after(chain[0]):%Y-%m-%dT%H:%M:%SZ}",
                    "issuer": chain[0].issuer.rfc4514_string(),
                    "placeholder": pki.is_placeholder(chain[0]),
                }
        return found

    def reload(self) -> list[str]:
        """Reload the units that serve the certificates, those of them that run."""
        if not self.store.write or not os.path.exists(self.store.path(RELOAD)):
            return []
        done = []
        for unit in self.options["reload"]:
            if self.module.run_command(["systemctl", "is-active", "--quiet", unit])[0] != 0:
                continue
            code, out, err = self.module.run_command(["systemctl", "reload", unit])
            if code != 0:
                self.module.fail_json(
                    msg=f"The certificate was replaced, but {unit} could not be reloaded and serves the old one: "
                    f"{(err or out).strip()}",
                    replaced=self.replaced,
                    reloaded=done,
                )
            done.append(unit)
        self.store.remove(RELOAD)
        return done


def same_names(certificate: t.Any, names: list[str]) -> bool:
    """Return whether the certificate is for these names and no others."""
    return sorted(pki.names_of(certificate)) == sorted({pki.canonical(name) for name in names})


def listens(port: int) -> bool:
    """Return whether something on this host listens on a port."""
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 2):
        return True
    return False


def run(module: AnsibleModule) -> dict[str, t.Any]:
    """Do it, and return the result."""
    options = module.params
    try:
        gid = grp.getgrnam(options["group"]).gr_gid
    except KeyError:
        if not module.check_mode:
            module.fail_json(msg=f"group: there is no group {options['group']} on this host; install ssl-cert")
        gid = 0
    store = Store(options["directory"], gid, write=not module.check_mode)
    work = Work(module, store)
    try:
        work.authorities = pki.load_chain(options["ca"])
    except pki.BadCertificate as error:
        work.errors.append(f"ca: {error}")
    if options["ca"] and not work.authorities:
        work.errors.append("ca: there is no certificate in it; give PEM")
    work.fail_on_errors()
    store.make_directory(0o755)
    method = {"given": work.from_given, "lab_ca": work.from_authority, "placeholder": work.from_nothing}
    method[options["method"]]()
    if options["ca"]:
        store.put(options["ca"].strip() + "\n", CERTIFICATE_MODE, 0, "ca.pem")
    reloaded = work.reload()
    for warning in work.warnings:
        module.warn(warning)
    return dict(
        changed=store.changed or bool(reloaded),
        certificates=work.facts(),
        replaced=work.replaced,
        requests=work.requests,
        missing=work.missing,
        http=options["method"] == "placeholder" and bool(work.missing) and listens(80),
        reloaded=reloaded,
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(
            method=dict(type="str", choices=["given", "lab_ca", "placeholder"], required=True),
            directory=dict(type="path", required=True),
            group=dict(type="str", default="ssl-cert"),
            wanted=dict(
                type="list",
                elements="dict",
                default=[],
                options=dict(
                    name=dict(type="str", required=True),
                    names=dict(type="list", elements="str", required=True),
                ),
            ),
            given=dict(type="dict", default={}, no_log=True),
            ca=dict(type="str", default=""),
            ca_file=dict(type="str", default=""),
            ca_dir=dict(type="str", default=""),
            ca_name=dict(type="str", default="matrixon.ops lab CA"),
            days=dict(type="int", default=90),
            renew_before=dict(type="int", default=30),
            reload=dict(type="list", elements="str", default=[]),
            issued=dict(type="dict", default={}),
        ),
        supports_check_mode=True,
    )
    if not pki.HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography (package python3-cryptography)"))
    try:
        result = run(module)
    except OSError as error:
        module.fail_json(msg=f"directory: the certificates cannot be written: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
