"""Pack the stand-in as releases: two that are good, and some that must be refused.

    releases.py DIRECTORY

Beside each archive lies its checksum, and a detached signature by a key made here. The
clock does not get into an archive, so the same stand-in has the same checksum.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile

STANDIN = (pathlib.Path(__file__).parent / "standin.py").read_text()
VERSION = 'VERSION = "0.0.1"'
# Just enough of an ELF file to say for which machine it is: 183 is aarch64.
AARCH64 = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (183).to_bytes(2, "little") + bytes(44)


def program(version: str) -> bytes:
    assert VERSION in STANDIN
    return ("#!/usr/bin/python3\n" + STANDIN.replace(VERSION, f'VERSION = "{version}"')).encode()


def archive(content: bytes) -> bytes:
    """Return a gzipped tar archive that holds the program."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("matrixon")
        member.size, member.mode = len(content), 0o755
        tar.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def sign(directory: pathlib.Path, names: list[str]) -> None:
    """Sign files with a key of this run, and leave its public half."""
    with tempfile.TemporaryDirectory(prefix="matrixon-ops-") as home:
        gpg = [
            "gpg",
            "--homedir",
            home,
            "--batch",
            "--quiet",
            "--yes",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        subprocess.run([*gpg, "--quick-generate-key", "release@fleet.test", "ed25519", "sign"], check=True)
        for name in names:
            subprocess.run([*gpg, "--detach-sign", "--armor", str(directory / name)], check=True)
        key = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
        (directory / "release.pub").write_bytes(key)


def main() -> None:
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    good = archive(program("0.0.1"))
    releases = {
        "0.0.1": good,
        "0.0.2": archive(program("0.0.2")),
        "truncated": good[: len(good) // 2],
        "aarch64": archive(AARCH64),
    }
    for version, content in releases.items():
        name = f"matrixon-{version}.tar.gz"
        (directory / name).write_bytes(content)
        (directory / f"{name}.sha256").write_text("sha256:" + hashlib.sha256(content).hexdigest())
    sign(directory, [f"matrixon-{version}.tar.gz" for version in ("0.0.1", "0.0.2")])


if __name__ == "__main__":
    main()
