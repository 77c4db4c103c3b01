# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What needs upkeep and why: facts of the catalog in, a list of work out. Pure."""

from __future__ import annotations

import math
import re
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.matrixon.ops.plugins.module_utils._health.model import human_seconds
from ansible_collections.matrixon.ops.plugins.module_utils._human import digits, human
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Row
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Facts
from ansible_collections.matrixon.ops.plugins.module_utils._report import SKIPPED, WARNING
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep import bloat
from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.questions import catalog

DROP, VACUUM, ANALYZE, REINDEX = "drop", "vacuum", "analyze", "reindex"
# A rebuild stands beside what it replaces, and writes as much into the log.
ROOM = 2
LEFTOVER = re.compile(r"^(?P<stem>.+)_cc(new|old)[0-9]*$")
# The server cuts names at 63 bytes, and the stem of a leftover's before its suffix.
LONGEST_STEM = 50
_RIGHT = "give it the table's owner, or MAINTAIN (17 and later), and USAGE of the schema"
NOT_PERMITTED = f"this login may not vacuum or analyse the table; {_RIGHT}"
NOT_OWNED = "only the owner of the table or of its schema may drop it"


@dataclass(frozen=True)
class Rules:
    """From when on something is work."""

    dead_rows: int = 1000
    dead_share: float = 10
    freeze_share: float = 75
    reindex: bool = True
    reindex_share: float = 40
    reindex_size: int = 64 * 1024**2
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """One statement to run, and the reason in one sentence. ``need`` orders what is of one kind."""

    kind: str
    schema: str
    name: str
    oid: int
    why: str
    need: float = 0.0
    table_oid: int = 0
    freeze: bool = False
    analyze: bool = False
    size: float = 0.0
    tablespace: int = 0

    @property
    def tends(self) -> bool:
        """Return whether it is done before indexes are looked at again: only VACUUM makes their sizes known."""
        return self.kind != REINDEX

    @property
    def target(self) -> str:
        """Return its name as people read it."""
        return f"{self.schema}.{self.name}"

    @property
    def statement(self) -> str:
        """Return what is sent to the server."""
        name = f"{quoted(self.schema)}.{quoted(self.name)}"
        if self.kind == VACUUM:
            words = ["FREEZE"] * self.freeze + ["ANALYZE"] * self.analyze + ["PARALLEL 0"]
            return f"VACUUM ({', '.join(words)}) {name}"
        if self.kind == ANALYZE:
            return f"ANALYZE {name}"
        return f"{'REINDEX INDEX' if self.kind == REINDEX else 'DROP INDEX'} CONCURRENTLY {name}"


@dataclass(frozen=True)
class Held:
    """Work that is needed and not done, and why: a person is needed, or it was asked for."""

    work: Work
    reason: str
    status: str = WARNING


@dataclass
class Plan:
    """What is to be done in its order, and what is not."""

    works: list[Work] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    # Invalid indexes that are nobody's leftovers.
    strange: list[Row] = field(default_factory=list)

    def add(self, work: Work, rules: Rules, reason: str | None) -> None:
        """Take a piece of work in, unless something speaks against it."""
        if work.target in rules.skip:
            self.held.append(Held(work, f"left out by the option skip; {work.why}", SKIPPED))
        elif reason:
            self.held.append(Held(work, f"{reason}; {work.why}"))
        else:
            self.works.append(work)


def quoted(name: str) -> str:
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def make(facts: Facts, rules: Rules, room: t.Callable[[int], float | str]) -> Plan:
    """Return what the facts call for. ``room`` says how many bytes are free in a tablespace, or why that is unknown."""
    tables, indexes, statistics, options, holders, building = catalog(
        facts, "tables", "indexes", "statistics", "options", "holders", "building"
    )
    plan, block = Plan(), facts["identity"]["block_size"]
    oldest = oldest_since(holders)
    for table in tables:
        _plan_table(plan, table, options[0], rules, oldest, block)
    known = bloat.widths(statistics)
    busy = {row["table"] for row in building}
    for index in indexes:
        if not index["valid"]:
            _plan_invalid(plan, index, indexes, rules, busy)
        elif rules.reindex:
            left = [other for other in indexes if not other["valid"] and not other["owned"]]
            left = [other for other in left if twin_of(other, [index])]
            _plan_index(plan, index, bloat.of_index(index, known, block), rules, room, left)
    plan.works.sort(key=_order)
    return plan


def _order(work: Work) -> tuple[int, float, str]:
    """Leftovers cost little, tables that near wraparound come first of the rest, and rebuilds take longest."""
    rank = {DROP: 0, VACUUM: 2, ANALYZE: 3, REINDEX: 4}[work.kind]
    return (1 if work.freeze else rank, -work.need, work.target)


# Tables ------------------------------------------------------------------------------------------------------------


def threshold(table: Row, options: Row, what: str) -> float:
    """Return from how many rows on autovacuum takes a table: ``vacuum``, ``vacuum_insert`` or ``analyze``.

    Options of the table go before those of the server.
    """
    own = {**options, **_own(table)}
    base, scale = float(own[f"autovacuum_{what}_threshold"]), float(own[f"autovacuum_{what}_scale_factor"])
    if base < 0:
        # It may be switched off for inserts.
        return math.inf
    rows = base + scale * float(max(0.0, table["tuples"]))
    most = float(own["autovacuum_vacuum_max_threshold"]) if what == "vacuum" else -1.0
    return float(min(rows, most)) if most >= 0 else rows


def _own(table: Row) -> dict[str, str]:
    return dict(option.split("=", 1) for option in table["options"])


def autovacuumed(table: Row, options: Row) -> bool:
    """Return whether autovacuum may take the table at all."""
    own = _own(table).get("autovacuum_enabled", "true").lower()
    return bool(options["autovacuum"]) and own in ("true", "on", "yes", "1")


def freeze_share(table: Row, options: Row) -> tuple[float, str]:
    """Return how near a table is to the age at which autovacuum must freeze it, in percent, and of which counter."""
    own = _own(table)
    shares = []
    for name, age in (("", "xid_age"), ("multixact_", "mxid_age")):
        key = f"autovacuum_{name}freeze_max_age"
        most = min(float(options[key]), float(own.get(key) or options[key]))
        shares.append((100.0 * table[age] / most, f"{name.replace('_', ' ')}age {digits(table[age])} of {key}"))
    return max(shares)


def dead_share(table: Row) -> float:
    """Return the share of dead rows, in percent."""
    rows = table["dead"] + table["live"]
    return float(100.0 * table["dead"] / rows) if rows else 0.0


def oldest_since(holders: t.Sequence[Row]) -> Row | None:
    """Return who has kept VACUUM from removing rows for longest, of those whose beginning is known."""
    known = [row for row in holders if row["held"] is not None]
    return max(known, key=lambda row: row["held"]) if known else None


def holder_words(row: Row) -> str:
    """Say who holds a snapshot, and since when."""
    since = "" if row["seconds"] is None else f" since {human_seconds(max(0.0, row['seconds']))}"
    if row["kind"] == "prepared":
        return f"the prepared transaction {row['name']} of {row['user']}{since}"
    if row["kind"] == "slot":
        return f"the {row['state']} replication slot {row['name']}"
    if row["kind"] == "autovacuum":
        return f"autovacuum, pid {row['pid']}{since}"
    words = ", ".join(word for word in (row["user"], row["application"], row["state"]) if word)
    what = "the feedback of a standby, " if row["kind"] == "standby" else "a transaction of "
    return f"{what}pid {row['pid']} ({words}){since}"


PREPARED_WAY_OUT = "end it with COMMIT PREPARED or ROLLBACK PREPARED"


def way_out(row: Row) -> str:
    """Say what a person can do about who holds a snapshot."""
    if row["kind"] == "prepared":
        return PREPARED_WAY_OUT
    if row["kind"] == "slot" and row["state"] == "inactive":
        return "let its reader come back, or drop it with pg_drop_replication_slot"
    if row["kind"] == "slot":
        return f"see what its reader, at pid {row['pid']}, is busy with"
    if row["kind"] == "standby":
        return "end the query on the standby that it stands for, or set hot_standby_feedback there to off"
    if row["kind"] == "autovacuum":
        return "it ends by itself"
    return f"let it end, or end it with pg_terminate_backend({row['pid']})"


def _plan_table(plan: Plan, table: Row, options: Row, rules: Rules, oldest: Row | None, block: int) -> None:
    reasons, need = _vacuum_reasons(table, options, rules)
    near, counter = freeze_share(table, options)
    freeze = near >= rules.freeze_share
    if freeze:
        reasons.insert(0, f"{counter} ({near:.0f} %)")
        need = max(need, near)
    # PostgreSQL's own catalogs are analysed by autovacuum, and the planner hardly notices.
    analyze = None if table["schema"] == "pg_catalog" else _analyze_reason(table, options, rules)
    size = (table["pages"] + table["toast_pages"]) * block
    basis = Work(ANALYZE, table["schema"], table["name"], table["oid"], analyze or "", 0.0, table["oid"], size=size)
    refused = None if table["permitted"] else NOT_PERMITTED
    useless = _useless(table, oldest)
    if reasons and useless and not refused:
        plan.add(replace(basis, kind=VACUUM, why="; ".join(reasons), need=need, freeze=freeze), rules, useless)
        reasons = []
    if reasons:
        why = "; ".join([*reasons, *([analyze] if analyze else [])])
        work = replace(basis, kind=VACUUM, why=why, need=need, freeze=freeze, analyze=bool(analyze))
        plan.add(work, rules, refused)
    elif analyze:
        plan.add(basis, rules, refused)


def _vacuum_reasons(table: Row, options: Row, rules: Rules) -> tuple[list[str], float]:
    reasons, need = [], 0.0
    own, share = threshold(table, options, "vacuum"), dead_share(table)
    ago = "never vacuumed" if table["vacuumed"] is None else f"vacuumed {human_seconds(table['vacuumed'])} ago"
    if table["dead"] >= rules.dead_rows and (table["dead"] >= own or share >= rules.dead_share):
        off = "" if autovacuumed(table, options) else " and is off"
        reasons.append(
            f"{digits(table['dead'])} of {digits(table['dead'] + table['live'])} rows are dead ({share:.0f} %), "
            f"autovacuum takes it from {digits(own)} on{off}; {ago}"
        )
        need = share
    inserts = threshold(table, options, "vacuum_insert")
    if table["inserted"] >= max(inserts, rules.dead_rows) and not reasons:
        reasons.append(f"{digits(table['inserted'])} rows came in since the last VACUUM, {ago}")
        need = 1.0
    return reasons, need


def _analyze_reason(table: Row, options: Row, rules: Rules) -> str | None:
    own = threshold(table, options, "analyze")
    if table["modified"] >= max(own, rules.dead_rows):
        return (
            f"{digits(table['modified'])} rows changed since the last ANALYZE, autovacuum's threshold is {digits(own)}"
        )
    if table["analyzed"] is None and table["live"] >= rules.dead_rows:
        return f"{digits(table['live'])} rows and no record of an ANALYZE"
    return None


def _useless(table: Row, oldest: Row | None) -> str | None:
    """Say why another VACUUM would remove nothing: whoever kept rows from the last one still does."""
    if oldest is None or table["vacuumed"] is None or oldest["held"] <= table["vacuumed"]:
        return None
    return (
        f"another VACUUM would remove nothing: what died since the last one {human_seconds(table['vacuumed'])} ago is "
        f"kept by {holder_words(oldest)}; {way_out(oldest)}"
    )


# Indexes -----------------------------------------------------------------------------------------------------------


def _plan_index(
    plan: Plan,
    index: Row,
    estimate: bloat.Estimate | None,
    rules: Rules,
    room: t.Callable[[int], float | str],
    left: t.Sequence[Row],
) -> None:
    if estimate is None or estimate.size < rules.reindex_size or estimate.share < rules.reindex_share:
        return
    why = (
        f"{human(estimate.wasted, 'B')} of {human(estimate.size, 'B')} are bloat ({estimate.share:.0f} %, "
        f"an estimate from the statistics)"
    )
    work = Work(
        REINDEX,
        index["schema"],
        index["name"],
        index["oid"],
        why,
        estimate.wasted,
        index["table_oid"],
        size=estimate.size,
        tablespace=index["tablespace"],
    )
    plan.add(work, rules, _against_rebuild(index, work, room, left))


def _against_rebuild(index: Row, work: Work, room: t.Callable[[int], float | str], left: t.Sequence[Row]) -> str | None:
    if not index["permitted"]:
        return f"this login may not rebuild the index; {_RIGHT}"
    if left:
        # Else each run that does not end would leave one more, and every write pays for all of them.
        return f"a rebuild has left {left[0]['name']}, which is to go first, and {NOT_OWNED}"
    if index["exclusion"]:
        return "the index of an exclusion constraint cannot be rebuilt without locking the table"
    return too_narrow(work, room)


def too_narrow(work: Work, room: t.Callable[[int], float | str]) -> str | None:
    """Say why there is no room for a rebuild, or None where there is."""
    free = room(work.tablespace)
    if isinstance(free, str):
        return f"not rebuilt, for its free space is unknown: {free}"
    if free < ROOM * work.size:
        return f"{human(free, 'B')} of disk are free, and a rebuild wants {human(ROOM * work.size, 'B')}"
    return None


def _plan_invalid(plan: Plan, index: Row, indexes: t.Sequence[Row], rules: Rules, busy: set[int]) -> None:
    if index["table_oid"] in busy:
        return
    twin = twin_of(index, indexes)
    if twin is None:
        plan.strange.append(index)
        return
    why = f"left by a rebuild of {twin['name']} that did not end; the index itself is valid"
    work = Work(DROP, index["schema"], index["name"], index["oid"], why, table_oid=index["table_oid"])
    plan.add(work, rules, None if index["owned"] else NOT_OWNED)


def twin_of(index: Row, indexes: t.Sequence[Row]) -> Row | None:
    """Return the valid index of which an invalid one is the leftover: same table and columns, same stem of the name."""
    found = LEFTOVER.match(index["name"])
    if found is None:
        return None
    stem = found.group("stem")
    cut = len(stem.encode()) >= LONGEST_STEM
    for other in indexes:
        same = other["name"] == stem or (cut and other["name"].startswith(stem))
        if same and other["valid"] and other["shape"] == index["shape"] and other["schema"] == index["schema"]:
            return other
    return None
