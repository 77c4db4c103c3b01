#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_release
short_description: Install a release from an archive, wholly or not at all
version_added: 0.1.0
description:
  - Fetches an archive, holds it to its checksum and, if a key is given, to its signature, unpacks it beside its place,
    starts its program once as the user who will run it, and only then gives it its name.
  - Nothing is unpacked before the checksum was right, and nothing runs before the signature was.
  - A failure leaves what was there, and nothing half done.
  - A release that is there is left alone. It is refused if it was made of an archive with another checksum, for one
    version has one content.
  - In an archive there may be files, directories and symbolic links to a neighbour. One with anything else, or with a
    name that leads out of it, is refused as a whole. What is unpacked belongs to root and can be read by all.
attributes:
  check_mode:
    support: full
    description: In check mode nothing is fetched, and the result says whether it would be.
  diff_mode:
    support: none
    description: A release has no lines to show.
  platform:
    support: full
    description: It works on hosts of this kind.
    platforms: linux
options:
  path:
    description: Directory of the release. The one above it must exist.
    type: path
    required: true
  url:
    description: Address of the archive. It is a tar archive, compressed with gzip, bzip2, xz or not at all.
    type: str
    required: true
  url_username:
    description: Login at the server that gives the archive.
    type: str
  url_password:
    description: Password of O(url_username).
    type: str
  checksum:
    description: The word C(sha256), a colon, and what C(sha256sum) prints of the archive.
    type: str
    required: true
  signature_url:
    description: Address of a detached OpenPGP signature of the archive.
    type: str
  signing_key:
    description:
      - The public key, or keys, one of which must have made the signature, as C(gpg --armor --export) prints them.
      - No key of the host counts. It needs C(gpgv) on the host.
    type: str
  program:
    description: Path of the program in the archive. One directory above everything in the archive does not count.
    type: str
    required: true
  probe:
    description:
      - Arguments with which the program prints a line and ends with exit code 0.
      - It has to be something that touches nothing.
    type: list
    elements: str
    default: [--version]
  user:
    description: The user who will run the program, and as whom it is tried out.
    type: str
    required: true
  timeout:
    description: Seconds in which the archive must be there, all told.
    type: float
    default: 600
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Install a release beside the one that runs
  matrixon.ops.matrixon_release:
    path: /opt/matrixon/releases/0.11.0
    url: https://releases.example.com/matrixon-0.11.0-linux-x86_64.tar.gz
    checksum: sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c
    program: matrixon
    user: matrixon
"""

RETURN = r"""
path:
  description: Directory of the release.
  type: str
  returned: success
  sample: /opt/matrixon/releases/0.11.0
release:
  description: What the release was made of, as it is kept in the file C(.release.json) of it. Empty in check mode.
  type: dict
  returned: success
  contains:
    url:
      description: Where the archive was from.
      type: str
    checksum:
      description: Its checksum.
      type: str
    signed_by:
      description: Fingerprint of the key that signed it, or empty.
      type: str
    says:
      description: What the program printed when it was tried out.
      type: str
"""

import json
import os
import platform
import pwd
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

from ansible_collections.matrixon.ops.plugins.module_utils import _release
from ansible_collections.matrixon.ops.plugins.module_utils._command import run
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

PROBE_TIMEOUT_S = 20.0


def record(path: str) -> dict[str, t.Any] | None:
    """Return what a release was made of, or None if it is not a whole one."""
    try:
        with open(os.path.join(path, _release.MARK), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "checksum" in found else None


def opener_of(params: dict[str, t.Any]) -> _release.Opener:
    """Return what opens a URL in the way that Ansible's own modules do."""

    def opened(url: str, seconds: float) -> _release.Opened:
        return t.cast(
            _release.Opened,
            open_url(
                url,
                timeout=seconds,
                http_agent="matrixon.ops",
                url_username=params["url_username"],
                url_password=params["url_password"],
                force_basic_auth=bool(params["url_username"]),
                # The bytes as they are, whatever the server says of them.
                decompress=False,
            ),
        )

    return opened


def build(params: dict[str, t.Any], partial: str) -> dict[str, t.Any]:
    """Make a whole release in the directory ``tree`` below a scratch directory, and return its record."""
    archive, signature, tree = (os.path.join(partial, name) for name in ("archive", "signature", "tree"))
    try:
        user = pwd.getpwnam(params["user"])
    except KeyError:
        raise _release.ReleaseError(f"user: there is no user {params['user']!r} on this host") from None
    wanted = _release.wanted_digest(params["checksum"])
    keyring = _release.keyring_of(params["signing_key"]) if params["signing_key"] else b""

    deadline, opener = Deadline(params["timeout"]), opener_of(params)
    _release.compare(params["url"], _release.fetch(opener, params["url"], archive, deadline), wanted)
    signed_by = ""
    if keyring:
        _release.fetch(opener, params["signature_url"], signature, deadline, _release.SIGNATURE_LIMIT)
        signed_by = _release.signer(archive, signature, keyring, run, Deadline(PROBE_TIMEOUT_S))

    _release.unpack(archive, tree, params["program"])
    program = os.path.join(tree, params["program"])
    _release.fits_machine(program, platform.machine())
    argv = [program, *params["probe"]]
    says = _release.first_words(argv, user.pw_uid, user.pw_gid, tree, Deadline(PROBE_TIMEOUT_S))
    made = {"url": params["url"], "checksum": f"sha256:{wanted}", "signed_by": signed_by, "says": says}
    with open(os.path.join(tree, _release.MARK), "x", encoding="utf-8") as file:
        json.dump(made, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    return made


def put(tree: str, path: str) -> None:
    """Give a whole release its name. A broken one of that name makes room, and comes back if that fails."""
    old = f"{path}.old"
    _release.remove(old)
    if os.path.lexists(path):
        os.rename(path, old)
    try:
        os.rename(tree, path)
    except OSError:
        if os.path.lexists(old):
            os.rename(old, path)
        raise
    _release.remove(old)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "url": {"type": "str", "required": True},
            "url_username": {"type": "str"},
            "url_password": {"type": "str", "no_log": True},
            "checksum": {"type": "str", "required": True},
            "signature_url": {"type": "str"},
            "signing_key": {"type": "str", "no_log": False},
            "program": {"type": "str", "required": True},
            "probe": {"type": "list", "elements": "str", "default": ["--version"]},
            "user": {"type": "str", "required": True},
            "timeout": {"type": "float", "default": 600},
        },
        required_together=[("signature_url", "signing_key")],
        required_by={"url_password": "url_username"},
        supports_check_mode=True,
    )
    params = module.params
    path, partial = params["path"].rstrip("/"), f"{params['path'].rstrip('/')}.partial"
    # What a strict umask would hide from the service's user.
    os.umask(0o022)
    try:
        wanted = f"sha256:{_release.wanted_digest(params['checksum'])}"
        found = record(path)
        if found and found["checksum"] != wanted:
            raise _release.ReleaseError(
                f"{path} is there and was made of an archive with the checksum {found['checksum']}, not {wanted}; "
                "give another archive another version"
            )
        if found and (found.get("signed_by") or not params["signing_key"]):
            module.exit_json(changed=False, path=path, release=found)
        if module.check_mode:
            module.exit_json(changed=True, path=path, release={})
        _release.remove(partial)
        os.mkdir(partial)
        try:
            made = build(params, partial)
            put(os.path.join(partial, "tree"), path)
        finally:
            _release.remove(partial)
    except _release.ReleaseError as error:
        module.fail_json(msg=f"{error}. Nothing was installed, and nothing was changed.")
    except OSError as error:
        module.fail_json(msg=f"{error.filename or path}: {error.strerror or error}. Nothing was installed.")
    module.exit_json(changed=True, path=path, release=made)


if __name__ == "__main__":
    main()
