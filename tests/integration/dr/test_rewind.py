"""Old primaries that are rewound, and those that must not be."""

from __future__ import annotations

import pathlib
import shutil

from clusters import digests, make_owned, run
from pairs import Pair, message, statuses


def untouched(pair: Pair) -> dict[str, str]:
    return digests(pair.one.data)


def test_a_server_that_was_killed_is_recovered_and_rewound_and_keeps_its_own_files(split: Pair) -> None:
    one, two = split.one, split.two
    # Crash recovery ends with a checkpoint, after which a server keeps no more than it must.
    one.set(wal_keep_size="0")
    one.start()
    for dummy in range(3):
        one.sql("SELECT pg_switch_wal(); INSERT INTO messages (body) VALUES ('x')")
    refused = split.rewind()
    assert refused["failed"] and "stop it first" in refused["msg"]
    rows = two.rows()
    one.stop("immediate")
    (one.data / "server.key").write_text("of the first host")
    folder = make_owned(one.data / "conf.d")
    (folder / "own.conf").write_text("# own\n")
    (two.data / "strange.crt").write_text("of the second host")
    own = (one.data / "postgresql.conf").read_text()
    before = untouched(split)
    found = split.rewind()
    assert found["possible"] and found["needed"] and not found["proven"] and found["notes"]
    planned = split.rewind(check=True, state="rewound")
    assert planned["changed"] and planned["plan"][-2:] == ["run pg_rewind", "write standby.signal"]
    assert untouched(split) == before
    done = split.rewind(state="rewound")
    assert done["changed"] and done["proven"] and done["fork"]["timeline"] == 1, done["msg"]
    assert (one.data / "postgresql.conf").read_text() == own != (two.data / "postgresql.conf").read_text()
    assert (one.data / "server.key").read_text() == "of the first host"
    assert (folder / "own.conf").exists() and not (one.data / "strange.crt").exists()
    assert not pathlib.Path(f"{one.data}.matrixon-rewind").exists()
    again = split.rewind(state="rewound")
    assert not again["changed"] and not again["needed"]
    split.follows(one, two)
    one.start()
    split.caught_up(one, two)
    marker = two.good("matrixon_marker")["marker"]
    split.caught_up(one, two)
    assert one.info(marker={"id": marker["id"], "timeline": 2})["report"]["status"] == "ok"
    assert one.rows() == rows


def test_a_log_that_was_recycled_is_refused_before_anything_is_touched(split: Pair) -> None:
    split.one.set(wal_keep_size="0")
    split.one.start()
    for dummy in range(3):
        split.one.sql("SELECT pg_switch_wal(); INSERT INTO messages (body) VALUES ('x'); CHECKPOINT")
    split.one.stop("fast")
    before = untouched(split)
    found = split.rewind()
    assert not found["possible"] and "is gone from pg_wal: 00000001" in found["reasons"][0], found
    failed = split.rewind(state="rewound")
    assert failed["failed"] and failed["reasons"] == found["reasons"] and "built anew" in failed["msg"]
    assert untouched(split) == before


def test_a_segment_that_only_the_dry_run_misses_is_refused_with_its_words_or_fetched(split: Pair) -> None:
    found = split.rewind()
    assert found["possible"] and found["proven"]
    # The last common checkpoint is before the fork, and its segment is looked for by pg_rewind alone.
    fork = found["fork"]["lsn"]
    first = int(fork.split("/")[1], 16) // (1024 * 1024)
    older: list[pathlib.Path] = [
        path for path in (split.one.data / "pg_wal").glob("00000001*") if int(path.name[16:], 16) < first
    ]
    for path in older:
        shutil.move(path, split.archive)
    refused = split.rewind()
    assert older and not refused["possible"] and refused["reasons"][0].startswith("pg_rewind --dry-run:"), refused
    split.one.set(restore_command=f"cp {split.archive}/%f %p")
    assert not split.rewind(archive=False)["possible"]
    assert split.rewind()["possible"]
    # What the dry run fetched stays.
    assert split.rewind(archive=False)["possible"]


def test_servers_that_do_not_fit_are_refused_with_all_reasons(split: Pair) -> None:
    run(str(split.one.tools / "pg_checksums"), "--disable", f"--pgdata={split.one.data}", "--no-sync")
    found = split.rewind()
    assert "neither checksums nor wal_log_hints" in found["reasons"][0] and not found["possible"]
    # The old primary is named as the source of the new one.
    split.two.stop("fast")
    split.one.start()
    turned = split.two.call(
        "matrixon_rewind", source={"host": str(split.one.socket), "port": split.one.port}, state="rewound"
    )
    assert turned["failed"] and "it may be the old primary that is named" in turned["msg"]
    # A standby is no source.
    split.one.stop("fast")
    split.follows(split.two, split.one)
    split.two.start()
    assert "is a standby; name the primary" in split.rewind()["reasons"][0]


def test_a_rewind_that_ends_in_the_middle_leaves_a_directory_that_nobody_takes_for_whole(split: Pair) -> None:
    one = split.one
    tools = make_owned(split.base / "tools")
    tools.chmod(0o755)
    for tool in one.tools.iterdir():
        (tools / tool.name).symlink_to(tool)
    (tools / "pg_rewind").unlink()
    script = f'case "$*" in *--dry-run*) exec {one.tools}/pg_rewind "$@";; esac\n'
    broken = f'#!/bin/sh\n{script}echo "pg_rewind: need to copy 20 MB" >&2\n: > {one.data}/base/1/1259\nkill -9 $$\n'
    (tools / "pg_rewind").write_text(broken)
    (tools / "pg_rewind").chmod(0o755)
    failed = split.rewind(bin_directory=str(tools), state="rewound")
    assert failed["failed"] and "is not whole and must not be started" in failed["msg"], failed["msg"]
    # From now on it is refused with the right tools, too.
    for state in ("checked", "rewound"):
        again = split.rewind(state=state)
        assert (
            not again["possible"] and "built anew" in again["msg"] and bool(again.get("failed")) == (state == "rewound")
        )
    found = one.info()
    assert statuses(found)["standby_server"] == "critical"
    assert "must not be started" in message(found, "standby_server")
    # Another directory at the same place is another one.
    shutil.move(one.data, split.base / "aside")
    run("cp", "-a", str(split.base / "aside"), str(one.data))
    assert "must not be started" not in split.rewind()["msg"]
