"""Make an archive of Debian packages in a directory, for apt to take from. Needs Python and dpkg-deb only.

It also runs by itself on a host: its input is JSON of the arguments of `make`.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile


def build(pool: pathlib.Path, name: str, version: str, depends: str = "", postinst: str = "") -> str:
    """Build one package, with what it does once it is unpacked, and return its paragraph of the list."""
    file = pool / f"{name}_{version}_all.deb"
    fields = [f"Package: {name}", f"Version: {version}", "Architecture: all", "Maintainer: Tests <tests@example.com>"]
    if depends:
        fields.append(f"Depends: {depends}")
    fields.append("Description: made by a test")
    with tempfile.TemporaryDirectory() as folder:
        control = pathlib.Path(folder) / "DEBIAN"
        control.mkdir()
        control.chmod(0o755)
        (control / "control").write_text("\n".join([*fields, ""]))
        if postinst:
            (control / "postinst").write_text(f"#!/bin/sh\nset -e\n{postinst}\n")
            (control / "postinst").chmod(0o755)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "--build", folder, str(file)], check=True, stdout=subprocess.DEVNULL
        )
    content = file.read_bytes()
    fields += [f"Filename: pool/{file.name}", f"Size: {len(content)}", f"SHA256: {hashlib.sha256(content).hexdigest()}"]
    return "\n".join([*fields, ""])


def make(root: str, suites: dict[str, list[dict]]) -> None:
    """Make the archive anew: packages by suite, each with name, version, and perhaps depends and postinst."""
    base = pathlib.Path(root)
    (base / "pool").mkdir(parents=True, exist_ok=True)
    for suite, packages in suites.items():
        place = base / "dists" / suite / "main" / "binary-all"
        place.mkdir(parents=True, exist_ok=True)
        listing = "\n".join(build(base / "pool", **package) for package in packages).encode()
        (place / "Packages").write_bytes(listing)
        # apt asks for the host's own architecture, too.
        own = base / "dists" / suite / "main" / "binary-amd64"
        own.mkdir(exist_ok=True)
        (own / "Packages").write_bytes(listing)
        sums = [
            f" {hashlib.sha256(listing).hexdigest()} {len(listing)} main/binary-{name}/Packages"
            for name in ("all", "amd64")
        ]
        head = [f"Suite: {suite}", f"Codename: {suite}", "Origin: Tests", "Label: Tests", "Architectures: all amd64"]
        release = [*head, "Components: main", "Date: Thu, 26 Nov 2026 12:00:00 UTC", "SHA256:", *sums, ""]
        (base / "dists" / suite / "Release").write_text("\n".join(release))


if __name__ == "__main__":
    make(**json.load(sys.stdin))
