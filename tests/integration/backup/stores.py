"""Media stores in Synapse's layout, tools that misbehave, and ways to compare directories."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import random
import shutil
import stat
import string
import subprocess
import sys
import tempfile
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup.media import Kept, Source
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

COLLECTIONS = pathlib.Path(__file__).resolve().parents[3] / ".build/collections"
ODD = (b"new\nline", b"\xff\xfe", b"#comment", b" blanks ", b"-dash", rb"a\#012b", b"*[x]?")


def soon(seconds: float = 120) -> Deadline:
    return Deadline(seconds)


class MediaStore:
    """A media store that tests fill, change and break."""

    def __init__(self, root: pathlib.Path, files: int = 40, seed: int = 1) -> None:
        self.root, self._random = root, random.Random(seed)
        self.media = [self.upload() for dummy in range(files // 2)]

    @property
    def source(self) -> Source:
        return Source(str(self.root), (Kept("local_content"), Kept("local_thumbnails"), Kept("remote_content", False)))

    def upload(self) -> str:
        """Add a file and its thumbnail; return the media's id."""
        media_id = "".join(self._random.choices(string.ascii_letters, k=24))
        for path in self.paths(media_id):
            self.write(path, self._random.randbytes(self._random.randint(100, 2000)))
        return media_id

    @staticmethod
    def paths(media_id: str) -> tuple[str, str]:
        three = f"{media_id[:2]}/{media_id[2:4]}/{media_id[4:]}"
        return f"local_content/{three}", f"local_thumbnails/{three}/32-32-image-jpeg-crop"

    def write(self, path: str | bytes, content: bytes) -> pathlib.Path:
        whole = self.path(path)
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(content)
        return whole

    def path(self, path: str | bytes) -> pathlib.Path:
        return self.root / (path if isinstance(path, str) else os.fsdecode(path))

    def add_odd_names(self) -> list[bytes]:
        names = [b"local_content/odd/" + name for name in ODD]
        for name in names:
            self.write(name, name)
        return names


def tree(root: pathlib.Path | str) -> dict[bytes, tuple[t.Any, ...]]:
    """Everything below a directory: kind, mode, and of files length, mtime and checksum, of links where they lead."""
    top, found = os.fsencode(root), {}
    for folder, folders, names in os.walk(top):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            facts: tuple[t.Any, ...] = (stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), info.st_uid)
            if stat.S_ISREG(info.st_mode):
                digest = hashlib.sha256(pathlib.Path(os.fsdecode(path)).read_bytes()).hexdigest()
                facts += (info.st_size, info.st_mtime_ns, digest)
            elif stat.S_ISLNK(info.st_mode):
                facts += (os.readlink(path),)
            found[os.path.relpath(path, top)] = facts
    return found


def kept(root: pathlib.Path) -> dict[bytes, tuple[t.Any, ...]]:
    """What of a media store a backup keeps."""
    return {path: facts for path, facts in tree(root).items() if not path.startswith(b"other")}


def flip(path: pathlib.Path, position: int = 10) -> None:
    """Change one byte and nothing else that a file system shows."""
    info = path.stat()
    mode = stat.S_IMODE(info.st_mode)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 0x01]))
    path.chmod(mode)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def wrapper(path: pathlib.Path, tool: str, before: str = "", after: str = "") -> str:
    """Make a tool that is another one with something done before and after it. Its code stays the real one's."""
    real = shutil.which(tool)
    path.write_text(f'#!/bin/sh\n{before}\n{real} "$@"\ncode=$?\n{after}\nexit $code\n')
    path.chmod(0o755)
    return str(path)


@contextlib.contextmanager
def open_to_all() -> t.Iterator[pathlib.Path]:
    """Give a directory that any user can enter; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="matrixon-backup-", dir="/var/tmp") as name:
        path = pathlib.Path(name)
        path.chmod(0o755)
        yield path


@contextlib.contextmanager
def mounted(path: pathlib.Path, size: str) -> t.Iterator[None]:
    """Mount a file system of its own, in memory, over a directory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def start(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a Python process of its own that can import the collection."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
