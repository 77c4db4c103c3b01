# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What the upkeep asks PostgreSQL 13 and later. Nothing here waits for a lock on a table.

Sizes come from pg_class: pg_relation_size opens the relation, and would wait for whoever holds it.
"""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._health import postgresql as health
from ansible_collections.matrixon.ops.plugins.module_utils._health.postgresql import (
    PRIMARY,
    SETTINGS,
    STANDBY,
    STATS,
    Question,
    answer,
)
from ansible_collections.matrixon.ops.plugins.module_utils._performance import postgresql as performance
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import Row, Server, Session
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Facts, ProbeFailure

# "matrixon" in two halves: no two runs of the upkeep work in one database.
LOCK = (1835103337, 1920496750)

IDENTITY = f"""
SELECT pg_is_in_recovery() AS in_recovery, current_database() AS database, current_user AS "user",
       split_part(current_setting('server_version'), ' ', 1) AS version,
       current_setting('server_version_num')::int AS number,
       current_setting('block_size')::int AS block_size,
       pg_has_role('{STATS}', 'USAGE') AS {STATS}, pg_has_role('{SETTINGS}', 'USAGE') AS {SETTINGS}"""

_SCHEMAS = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_(toast|temp)'"

OPTIONS = """
SELECT current_setting('autovacuum')::bool AND current_setting('track_counts')::bool AS autovacuum,
       current_setting('data_checksums')::bool AS checksums, d.tablespace,
       current_setting('autovacuum_vacuum_threshold')::float8 AS autovacuum_vacuum_threshold,
       current_setting('autovacuum_vacuum_scale_factor')::float8 AS autovacuum_vacuum_scale_factor,
       current_setting('autovacuum_vacuum_insert_threshold')::float8 AS autovacuum_vacuum_insert_threshold,
       current_setting('autovacuum_vacuum_insert_scale_factor')::float8 AS autovacuum_vacuum_insert_scale_factor,
       coalesce(current_setting('autovacuum_vacuum_max_threshold', true), '-1')::float8
           AS autovacuum_vacuum_max_threshold,
       current_setting('autovacuum_analyze_threshold')::float8 AS autovacuum_analyze_threshold,
       current_setting('autovacuum_analyze_scale_factor')::float8 AS autovacuum_analyze_scale_factor,
       current_setting('autovacuum_freeze_max_age')::float8 AS autovacuum_freeze_max_age,
       current_setting('autovacuum_multixact_freeze_max_age')::float8 AS autovacuum_multixact_freeze_max_age
FROM (SELECT dattablespace::bigint AS tablespace FROM pg_database WHERE datname = current_database()) d"""

AGES = """
SELECT datname AS database, age(datfrozenxid)::float8 AS xid, mxid_age(datminmxid)::float8 AS mxid FROM pg_database"""

# A VACUUM has a snapshot, too, but nothing waits for it and it keeps no rows.
_SESSION = """
SELECT CASE WHEN backend_type = 'walsender' AND datname IS NULL THEN 'standby'
            WHEN backend_type = 'autovacuum worker' THEN 'autovacuum' ELSE 'session' END AS kind,
       pid, usename AS user, application_name AS application, state,
       greatest(age(backend_xmin), age(backend_xid))::float8 AS age,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds,
       extract(epoch FROM clock_timestamp() - CASE WHEN state LIKE 'idle%' THEN state_change
           ELSE greatest(xact_start, query_start) END)::float8 AS held, NULL AS name, false AS catalogs
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)"""
_PREPARED = """
SELECT 'prepared', NULL, owner, NULL, NULL, age(transaction)::float8,
       extract(epoch FROM clock_timestamp() - prepared)::float8,
       extract(epoch FROM clock_timestamp() - prepared)::float8, gid, false
FROM pg_prepared_xacts WHERE database = current_database()"""


def _slots(column: str, catalogs: str) -> str:
    return f"""
SELECT 'slot', active_pid, NULL, NULL, CASE WHEN active THEN 'active' ELSE 'inactive' END,
       age({column})::float8, NULL, NULL, slot_name, {catalogs}
FROM pg_replication_slots WHERE {column} IS NOT NULL"""


# Who keeps VACUUM from removing rows, and since when at least (held): a transaction may be older than its snapshot.
# Sessions in other databases do so for shared catalogs only, a logical slot for the catalogs of all databases.
HOLDERS = f"""{_SESSION}
  AND (datname = current_database() OR datname IS NULL) AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
UNION ALL{_PREPARED}
UNION ALL{_slots("xmin", "false")}
UNION ALL{_slots("catalog_xmin", "true")}
ORDER BY age DESC NULLS LAST"""

# Which prepared transaction a lock belongs to: each has one on its own id, too, under the same virtual id.
_OWN = "(SELECT virtualtransaction, transactionid FROM pg_locks WHERE locktype = 'transactionid' AND pid IS NULL) o"
_SAME = "l.pid IS NULL AND o.virtualtransaction = l.virtualtransaction"

# Whom a rebuild waits for: those with a snapshot in this database, and those who hold any lock on the table.
OLDER = f"""{_SESSION} AND backend_type <> 'autovacuum worker'
  AND datname = current_database() AND (backend_xmin IS NOT NULL OR pid IN (
    SELECT pid FROM pg_locks WHERE locktype = 'relation' AND relation = {{oid}} AND granted))
UNION ALL{_PREPARED} AND EXISTS (
    SELECT FROM pg_locks l JOIN {_OWN} ON {_SAME}
    WHERE l.locktype = 'relation' AND l.relation = {{oid}} AND o.transactionid = transaction)"""

PREPARED = """
SELECT gid AS name, owner AS user, database, extract(epoch FROM clock_timestamp() - prepared)::float8 AS seconds
FROM pg_prepared_xacts ORDER BY prepared"""

CHECKSUMS = """
SELECT coalesce(sum(checksum_failures), 0)::float8 AS failures, max(checksum_last_failure)::text AS last,
       string_agg(coalesce(datname, 'shared catalogs'), ', ') FILTER (WHERE checksum_failures > 0) AS databases
FROM pg_stat_database"""

STATISTICS = f"""
SELECT schemaname AS schema, tablename AS table, attname AS column, null_frac::float8 AS nulls,
       avg_width::float8 AS width
FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
WHERE NOT inherited AND {_SCHEMAS} AND schemaname <> 'pg_catalog'"""

LAG = """
SELECT application_name AS name, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 AS behind
FROM pg_stat_replication WHERE state IN ('streaming', 'catchup') AND replay_lsn IS NOT NULL ORDER BY 2 DESC LIMIT 1"""

BASEBACKUPS = "SELECT count(*) AS count FROM pg_stat_progress_basebackup"

# Whom a statement may have waited for. VACUUM and ANALYZE wait for the strong locks only, a rebuild for all.
LOCKED_BY = f"""
SELECT CASE WHEN p.gid IS NULL THEN 'session' ELSE 'prepared' END AS kind, p.gid AS name, l.pid, l.mode,
       coalesce(a.usename, p.owner) AS user, a.application_name AS application, a.state,
       extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8 AS seconds
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
LEFT JOIN {_OWN} ON {_SAME} LEFT JOIN pg_prepared_xacts p ON p.transaction = o.transactionid
WHERE l.locktype = 'relation' AND l.relation = {{oid}} AND l.granted AND ({{modes}})
  AND l.pid IS DISTINCT FROM pg_backend_pid() AND (l.pid IS NOT NULL OR p.gid IS NOT NULL)
  AND l.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY coalesce(a.xact_start, p.prepared) LIMIT 1"""
STRONG = "l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')"
ANY = "true"

INDEX = """
SELECT x.oid::bigint AS oid, pg_relation_size(x.oid)::float8 AS size,
       i.indisvalid AND i.indisready AND i.indislive AS valid
FROM pg_class x JOIN pg_index i ON i.indexrelid = x.oid JOIN pg_namespace n ON n.oid = x.relnamespace
WHERE n.nspname = %s AND x.relname = %s"""

TAKE_LOCK = f"SELECT pg_try_advisory_lock({LOCK[0]}, {LOCK[1]}) AS taken"
LOCK_OWNER = f"""
SELECT l.pid, a.usename AS user, a.application_name AS application
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.classid = {LOCK[0]} AND l.objid = {LOCK[1]} AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

# Where a tablespace lies: empty for pg_default, which is in the data directory.
PLACE = "SELECT pg_tablespace_location({oid}) AS place"
DATA_DIRECTORY = "SELECT current_setting('data_directory') AS place"

# Rebuilds that run now: what they have not finished is no leftover.
BUILDING = "SELECT relid::bigint AS table FROM pg_stat_progress_create_index WHERE datname = current_database()"


def tables(number: int) -> str:
    """Return the question for tables, with what the login may do to each."""
    return f"""
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relpages::float8 AS pages,
       c.reltuples::float8 AS tuples, c.relkind AS kind, coalesce(c.reloptions, '{{}}') AS options,
       (SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns,
       coalesce(x.relpages, 0)::float8 AS toast_pages, greatest(x.reltuples, 0)::float8 AS toast_tuples,
       coalesce(s.n_live_tup, 0)::float8 AS live, coalesce(s.n_dead_tup, 0)::float8 AS dead,
       coalesce(s.n_mod_since_analyze, 0)::float8 AS modified, coalesce(s.n_ins_since_vacuum, 0)::float8 AS inserted,
       coalesce(s.vacuum_count, 0)::float8 AS vacuums, coalesce(s.analyze_count, 0)::float8 AS analyzes,
       extract(epoch FROM clock_timestamp() - greatest(s.last_vacuum, s.last_autovacuum))::float8 AS vacuumed,
       extract(epoch FROM clock_timestamp() - greatest(s.last_analyze, s.last_autoanalyze))::float8 AS analyzed,
       greatest(age(c.relfrozenxid), age(x.relfrozenxid))::float8 AS xid_age,
       greatest(mxid_age(c.relminmxid), mxid_age(x.relminmxid))::float8 AS mxid_age,
       {_may_tend(number)} AS permitted
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class x ON x.oid = c.reltoastrelid LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND {_SCHEMAS}"""


def indexes(number: int) -> str:
    """Return the question for indexes; a system catalog's are not ours to rebuild."""
    return f"""
SELECT i.indexrelid::bigint AS oid, n.nspname AS schema, x.relname AS name, c.oid::bigint AS table_oid,
       c.relname AS table, x.relpages::float8 AS pages, x.reltuples::float8 AS tuples, a.amname AS method,
       i.indisvalid AND i.indisready AND i.indislive AS valid,
       i.indisexclusion AS exclusion, coalesce(x.reloptions, '{{}}') AS options, x.reltablespace::bigint AS tablespace,
       {_may_rebuild(number)} AS permitted, {_OWNER} OR pg_has_role(n.nspowner, 'USAGE') AS owned,
       (i.indrelid, i.indisunique, i.indclass::text, i.indcollation::text, i.indoption::text, i.indkey::text,
        i.indexprs::text, i.indpred::text)::text AS shape,
       ARRAY(SELECT CASE WHEN k.number = 0 THEN x.relname::text || '/' || b.attname ELSE c.relname::text || '/' ||
                    (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = k.number) END
             FROM unnest(i.indkey::int[]) WITH ORDINALITY k(number, place)
             JOIN pg_attribute b ON b.attrelid = i.indexrelid AND b.attnum = k.place ORDER BY k.place) AS columns
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_am a ON a.oid = x.relam JOIN pg_namespace n ON n.oid = x.relnamespace
WHERE x.relkind = 'i' AND c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND {_SCHEMAS}
  AND n.nspname <> 'pg_catalog'"""


# A superuser is a member of every role, and an index is dropped by the owner of its table or of its schema.
_OWNER = "pg_has_role(c.relowner, 'USAGE')"
_DATABASE = """(NOT c.relisshared AND
        (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()))"""


def _may_tend(number: int) -> str:
    """Return the server's own rule for VACUUM and ANALYZE of a table by its name."""
    return _may(number, f"{_OWNER} OR {_DATABASE}")


def _may_rebuild(number: int) -> str:
    """Return the server's own rule for REINDEX INDEX, to which owning the database gives no right."""
    return _may(number, _OWNER)


def _may(number: int, owner: str) -> str:
    right = " OR has_table_privilege(c.oid, 'MAINTAIN')" if number >= 170000 else ""
    return f"(({owner}{right}) AND has_schema_privilege(n.oid, 'USAGE'))"


def questions(number: int) -> dict[str, Question]:
    """Return what is asked of a server of this version number, such as 150018."""
    others = health.questions(number)
    return {
        "options": Question(OPTIONS),
        "ages": Question(AGES),
        "tables": Question(tables(number), role=PRIMARY),
        "indexes": Question(indexes(number), role=PRIMARY),
        "statistics": Question(STATISTICS, role=PRIMARY),
        "building": Question(BUILDING, role=PRIMARY, right=STATS),
        "holders": Question(HOLDERS, right=STATS),
        "prepared": Question(PREPARED),
        "checksums": Question(CHECKSUMS),
        "connections": performance.CONNECTIONS,
        "transaction": performance.questions(number)["transaction"],
        "work": Question(performance.WORK),
        **{name: others[name] for name in ("idle_in_transaction", "slots", "wraparound")},
    }


def observe(session: Session, server: Server) -> Facts:
    """Ask everything that the server's role can answer; a question that fails leaves its failure as its answer."""
    identity = session.row(IDENTITY)
    facts: Facts = {
        "identity": identity,
        "server": str(server),
        "where": server.where,
        "role": STANDBY if identity["in_recovery"] else PRIMARY,
    }
    ask = functools.partial(answer, session, identity=identity, server=server)
    for name, question in questions(identity["number"]).items():
        if question.role in (None, facts["role"]):
            facts[name] = ask(question)
    work: list[Row] | ProbeFailure = facts["work"]
    # The judges of the cache compare two readings; one alone tells what was of all time.
    facts["work"] = work if isinstance(work, ProbeFailure) else (work[0], work[0])
    return facts


def catalog(facts: Facts, *names: str) -> t.Iterator[list[Row]]:
    """Yield the rows of answers, or raise the failure that stands in the place of one."""
    for name in names:
        if isinstance(facts[name], ProbeFailure):
            raise facts[name]
        yield facts[name]
