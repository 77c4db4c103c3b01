# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Rows by which a server is known again: written where writes are taken, looked for where they should have come to."""

from __future__ import annotations

import time
import typing as t
import uuid

from ansible_collections.matrixon.ops.plugins.module_utils._backup.cluster import Session, literal
from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._backup.outcome import Outcome
from ansible_collections.matrixon.ops.plugins.module_utils._dr.server import Facts, Host, Options, open_host, refuse
from ansible_collections.matrixon.ops.plugins.module_utils._dr.standby import NAME, SCHEMA, find_marker
from ansible_collections.matrixon.ops.plugins.module_utils._probe import INTERNAL, REFUSED, Deadline

# Two that begin at once must not both make it; the number is this collection's own.
MAKE = f"""
BEGIN;
SET LOCAL synchronous_commit = on;
SELECT pg_advisory_xact_lock(7130215);
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}.marker (id text PRIMARY KEY, written_at timestamptz NOT NULL);
INSERT INTO {SCHEMA}.marker VALUES ({{}}, clock_timestamp()) ON CONFLICT DO NOTHING;
COMMIT
"""


def new_name() -> str:
    """Return a name that no other marker has."""
    return str(uuid.uuid4())


def write(place: Host, name: str, deadline: Deadline) -> Facts:
    """Commit a marker and read it back in another session. One that is there stays as it is."""
    with place.session(deadline) as session:
        before = find_marker(session, name)["visible"]
        if not before:
            _require_answers(session)
            session.execute(MAKE.format(literal(name)))
    # A session that has written may see what nobody else ever does.
    with place.session(deadline) as session:
        found = find_marker(session, name)
        if not found["visible"]:
            raise BackupError(
                INTERNAL, f"{place.server}: the marker {name} was committed, and another session lacks it"
            )
        position = session.value("SELECT pg_current_wal_flush_lsn()")
        return {"id": name, "written_at": found["written_at"], "lsn": position, "new": not before}


def _require_answers(session: Session) -> None:
    """Refuse to commit where a commit waits for a standby that is not there."""
    names = session.value("SELECT current_setting('synchronous_standby_names')")
    count = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
    if names and session.value(count) == "0":
        raise BackupError(
            REFUSED,
            f"synchronous_standby_names is {names!r}, and no such standby is there: every commit would wait for ever; "
            "set it to nothing and reload",
        )


def problems(options: Options) -> t.Iterator[str]:
    """Yield what is wrong with the options: one sentence for each."""
    if options["deadline"] <= 0:
        yield f"deadline: {options['deadline']:g} is not more than 0; name a number of seconds"
    if options["id"] is not None and not NAME.fullmatch(options["id"]):
        yield f"id: {options['id']!r:.80} is no name of a marker; use up to 200 letters, digits and _ . : -"


def run(options: Options, check: bool, clock: t.Callable[[], float] = time.monotonic) -> Outcome:
    """Write a marker on the primary of this host."""
    refuse(problems(options))
    deadline = Deadline(options["deadline"], clock)
    place = open_host(options)
    name = options["id"] or new_name()
    with place.session(deadline) as session:
        if session.value("SELECT pg_is_in_recovery()") != "f":
            raise BackupError(REFUSED, f"{place.server} is a standby, and takes no marker; write it on the primary")
        there = find_marker(session, name)["visible"]
    dummy, timeline = place.identify(deadline)
    if check:
        plan = () if there else (f"write the marker {name} into {SCHEMA}.marker",)
        return Outcome(changed=not there, msg=plan[0] if plan else "the marker is there", plan=plan)
    found = write(place, name, deadline)
    found["timeline"] = timeline
    changed = found.pop("new")
    words = "was written" if changed else "is there"
    return Outcome(changed=changed, msg=f"the marker {name} {words}, on timeline {timeline}", values={"marker": found})
