"""Whether a server runs on a data directory, told without asking it."""

from __future__ import annotations

import pathlib

from ansible_collections.matrixon.ops.plugins.modules import matrixon_postgresql_info as info


def test_a_server_runs_only_if_its_process_is_there_and_on_this_data(tmp_path: pathlib.Path) -> None:
    data, other, proc = tmp_path / "data", tmp_path / "other", tmp_path / "proc"
    for directory in (data, other, proc / "70"):
        directory.mkdir(parents=True)

    def running(comm: str = "postgres", cwd: pathlib.Path = data) -> bool:
        (proc / "70/comm").write_text(f"{comm}\n")
        (proc / "70/cwd").unlink(missing_ok=True)
        (proc / "70/cwd").symlink_to(cwd)
        return info.running(str(data), str(proc))

    assert not running()
    (data / "postmaster.pid").write_text(f"70\n{data}\n1795495198\n")
    assert running()
    # A killed server leaves its file behind, and its number goes to somebody else.
    assert not running(comm="sshd")
    assert not running(cwd=other)
    (data / "postmaster.pid").write_text("71\n")
    assert not running()
