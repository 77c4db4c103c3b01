"""An archive goes on with its server: where the server kept no log, and where a timeline ends with a segment."""

from __future__ import annotations

import contextlib
import os
import pathlib
import typing as t

import pytest
from clusters import Cluster, make_owned, until
from modules import Store, answer, start

from ansible_collections.matrixon.ops.plugins.module_utils._backup import archive, cluster
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Child, Runner
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline

SLOT = "matrixon_backup"
RECEIVED = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND flush_lsn >= '{}'"


class Followed:
    """A server, the archive of its log, and what keeps the one to the other."""

    def __init__(self, store: Store, runner: Runner) -> None:
        self.store, self.server, self.runner = store, store.server, runner
        for folder in (store.path.parent, store.path, store.path / "wal"):
            make_owned(folder)
        self.path = store.path / "wal"

    def follow(self, check: bool = False) -> dict[str, t.Any]:
        options = {"path": str(self.path), "slot": SLOT, "owner": self.store.options["owner"], **self.store.database}
        result = answer(start("matrixon_archive_follow", **options, _ansible_check_mode=check))
        assert not result.get("failed"), result["msg"]
        return result

    @contextlib.contextmanager
    def receiver(self) -> t.Iterator[Child]:
        """Run a receiver as the role's unit does."""
        with cluster.client(self.server.server, self.runner, Deadline(60)) as client:
            child = self.runner.start(archive.receiver(client, str(self.path), SLOT))
            try:
                yield child
            finally:
                child.end()

    @contextlib.contextmanager
    def receiving(self) -> t.Iterator[None]:
        """Receive the log; what was committed by the end has come."""
        with self.receiver():
            yield
            position = self.server.sql("SELECT pg_current_wal_lsn()")
            until(lambda: self.server.sql(RECEIVED.format(position)) == "1")

    def segments(self, number: int) -> None:
        """Let the server fill some segments."""
        for dummy in range(number):
            self.server.sql("CREATE TABLE IF NOT EXISTS w (); SELECT pg_create_restore_point('x'), pg_switch_wal()")

    def age(self) -> dict[str, t.Any]:
        checks = self.store.call("matrixon_backup_info")["report"]["checks"]
        return next(check for check in checks if check["name"] == "archive_age")


@pytest.fixture
def followed(store: Store, runner: Runner) -> Followed:
    return Followed(store, runner)


def test_the_slot_is_made_once(followed: Followed) -> None:
    assert followed.follow(check=True)["changed"]
    assert followed.server.sql("SELECT count(*) FROM pg_replication_slots") == "0", "check mode made a slot"
    assert os.listdir(followed.path) == []
    assert followed.follow()["changed"]
    with followed.receiving():
        followed.segments(2)
    assert not followed.follow()["changed"]
    assert not followed.follow(check=True)["changed"]


def test_where_the_server_gave_the_slot_up_the_log_goes_on_and_the_hole_is_seen(followed: Followed) -> None:
    server = followed.server
    server.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
    server.sql("ALTER SYSTEM SET wal_keep_size = 0")
    server.sql("ALTER SYSTEM SET max_wal_size = '32MB'")
    server.sql("ALTER SYSTEM SET min_wal_size = '32MB'")
    server.sql("SELECT pg_reload_conf()")
    followed.follow()
    with followed.receiving():
        followed.store.made()
    assert followed.age()["status"] == "ok", followed.age()
    for dummy in range(4):
        followed.segments(4)
        server.sql("CHECKPOINT")
    status = f"SELECT coalesce(restart_lsn::text, 'given up') FROM pg_replication_slots WHERE slot_name = '{SLOT}'"
    assert server.sql(status) == "given up", server.sql(status)
    with followed.receiver() as alone:
        assert alone.ended(20), "a receiver gets on by itself"
    # With so little room the server would give it up again at once.
    server.sql("ALTER SYSTEM RESET max_slot_wal_keep_size")
    server.sql("SELECT pg_reload_conf()")
    result = followed.follow()
    assert result["changed"] and result["hole_before"], result
    assert "take a new set" in result["msg"]
    with followed.receiving():
        followed.segments(2)
    assert followed.age()["status"] == "critical" and "has a hole" in followed.age()["message"]
    assert not followed.follow()["changed"]
    with followed.receiving():
        followed.store.made()
    assert followed.age()["status"] == "ok", followed.age()


@pytest.mark.soak
def test_where_a_timeline_was_left_at_the_end_of_a_segment_the_next_one_is_received(
    followed: Followed, place: pathlib.Path
) -> None:
    store, server = followed.store, followed.server
    followed.follow()
    with followed.receiving():
        name = store.made()
        server.sql("CREATE TABLE last AS SELECT 1 AS a")
        # As the role does it before a restore: what was written last ends with its segment.
        server.sql("SELECT pg_switch_wal()")
    server.stop("fast")
    # On a slow machine the server had time for a record of its own behind the switch, which would move the end.
    for begun in followed.path.glob("*.partial"):
        begun.unlink()
    copy = Cluster(place / "copy", server.major, server.port)
    make_owned(copy.base)
    copy.socket, copy.data = server.socket, copy.base / "data"
    store.good("matrixon_restore", directory=str(copy.data), set=name, accept_unverified=name, slot=SLOT)
    copy.start()
    followed.server = copy
    try:
        assert copy.sql("SELECT count(*) FROM last") == "1"
        assert copy.sql(f"SELECT restart_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = '{SLOT}'") == "t"
        with followed.receiver() as alone:
            assert alone.ended(20), "a receiver gets on by itself"
        result = followed.follow()
        assert result["timeline"] == 2 and result["hole_before"] is None, result
        with followed.receiving():
            followed.segments(2)
        assert not followed.follow()["changed"]
        with followed.receiving():
            store.server = copy
            store.made()
        assert followed.age()["status"] == "ok", followed.age()
    finally:
        copy.stop()


@pytest.mark.parametrize("slot", ["Slot", "a-b", "x" * 64, "'"])
def test_what_is_no_name_of_a_slot_is_refused_at_once(followed: Followed, slot: str) -> None:
    reason = f"slot: {slot!r} is no name of a slot"
    result = answer(start("matrixon_archive_follow", path=str(followed.path), slot=slot))
    assert result["failed"] and reason in result["msg"]
    result = followed.store.call("matrixon_restore", directory=f"{followed.store.root}/new", slot=slot)
    assert result["failed"] and reason in result["msg"]
    result = followed.store.call("matrixon_restore", directory="/new", slot=SLOT, component="media")
    assert result["failed"] and "slot: media has no log" in result["msg"]
