"""The textfile: the node exporter sees the old file or the new one, never a part."""

from __future__ import annotations

import os

import pytest

from ansible_collections.matrixon.ops.plugins.modules import matrixon_textfile as module


def test_the_file_beside_is_whole_readable_and_not_a_prom_file(tmp_path, monkeypatch):
    path = tmp_path / "matrixon_health.prom"
    path.write_text("old 1\n")
    seen: dict[str, tuple[str, int]] = {}
    rename = os.replace

    def watched(source, target):
        for item in tmp_path.iterdir():
            seen[item.name] = (item.read_text(), item.stat().st_mode & 0o777)
        rename(source, target)

    monkeypatch.setattr(module.os, "replace", watched)
    module.replace(str(path), b"new 1\n", 0o644)
    assert seen.pop(path.name)[0] == "old 1\n"
    assert list(seen.values()) == [("new 1\n", 0o644)]
    assert not any(name.endswith(".prom") for name in seen)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "new 1\n"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.prom"
    path.write_text("old 1\n")

    def full(dummy):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        module.replace(str(path), b"new 1\n", 0o644)
    assert [item.name for item in tmp_path.iterdir()] == ["a.prom"]
    assert path.read_text() == "old 1\n"
