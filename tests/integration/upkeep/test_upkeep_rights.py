"""What a login may do is what the plan says that it does, and nothing more is said to be done."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from clusters import Cluster
from upkept import DATABASE, ask, drop, neglect, session

pytestmark = pytest.mark.integration

LOGIN = "clerk"
TEND, REBUILD = "upkeep_vacuum", "upkeep_reindex"


@pytest.fixture
def tables(upkept: Cluster) -> t.Iterator[Cluster]:
    """A neglected table of its own owner, and a login that may see all and do nothing."""
    upkept.sql(f"CREATE ROLE keeper; CREATE ROLE {LOGIN} LOGIN; GRANT pg_monitor, pg_read_all_data TO {LOGIN}")
    neglect(upkept, "events")
    # What is unused in an index shows only after a VACUUM.
    upkept.sql("VACUUM (ANALYZE) events", DATABASE)
    upkept.sql("UPDATE events SET changed = 3 WHERE id % 4 = 0", DATABASE)
    upkept.sql("ALTER TABLE events OWNER TO keeper", DATABASE)
    yield upkept
    upkept.sql("GRANT USAGE ON SCHEMA public TO PUBLIC", DATABASE)
    drop(upkept, "events")
    upkept.sql(f"ALTER DATABASE {DATABASE} OWNER TO postgres; DROP ROLE keeper, {LOGIN}")


def since_17(server: Cluster) -> None:
    if server.major < 17:
        pytest.skip(f"MAINTAIN came with 17, and this is {server.major}")


RIGHTS = {
    "nothing": ("SELECT 1", set[str]()),
    "owner": (f"GRANT keeper TO {LOGIN}", {TEND, REBUILD}),
    "database": (f"ALTER DATABASE {DATABASE} OWNER TO {LOGIN}", {TEND}),
    "no_schema": (f"GRANT keeper TO {LOGIN}; REVOKE USAGE ON SCHEMA public FROM PUBLIC", set[str]()),
    "maintain_17": (f"GRANT MAINTAIN ON events TO {LOGIN}", {TEND, REBUILD}),
    "pg_maintain_17": (f"GRANT pg_maintain TO {LOGIN}", {TEND, REBUILD}),
}


@pytest.mark.parametrize("name", RIGHTS)
def test_the_rights_of_a_login_are_those_that_the_server_gives_it(tables: Cluster, name: str) -> None:
    grant, rights = RIGHTS[name]
    if name.endswith("17"):
        since_17(tables)
    if "SCHEMA" in grant:
        # Who reads all data has the use of every schema.
        tables.sql(f"REVOKE pg_read_all_data FROM {LOGIN}; GRANT SELECT ON events TO {LOGIN}", DATABASE)
    tables.psql(DATABASE, grant)
    login = {"user": LOGIN}
    planned = ask(tables, mode="act", check_mode=True, login=login)
    done = ask(tables, mode="act", login=login)
    names = {TEND: "public.events", REBUILD: "public.events_body"}
    for what, target in names.items():
        found = done.check(what, target)
        if what in rights:
            assert target in [one["target"] for one in planned.plan] and found["status"] == "ok", (what, found)
        else:
            assert target not in [one["target"] for one in planned.plan]
            assert found["status"] == "warning" and "this login may not" in found["message"], (what, found)
        # The server itself is asked, by the statement that is not planned.
        statement = "VACUUM public.events" if what == TEND else "REINDEX INDEX CONCURRENTLY public.events_body"
        assert allowed(tables, statement) == (what in rights)
    assert done.changed == bool(rights)


def allowed(server: Cluster, statement: str) -> bool:
    """Whether the server does a statement for the login: VACUUM says no more than a warning."""
    text = f"SET SESSION AUTHORIZATION {LOGIN};\n{statement};"
    counted = "SELECT coalesce(sum(vacuum_count), 0) FROM pg_stat_user_tables"
    before = server.sql(counted, DATABASE)
    try:
        server.psql(DATABASE, text)
    except AssertionError as error:
        assert "permission denied" in str(error) or "must be owner" in str(error), error
        return False
    return statement.startswith("REINDEX") or server.sql(counted, DATABASE) != before


@contextlib.contextmanager
def leftover(server: Cluster) -> t.Iterator[None]:
    """An invalid index as a rebuild leaves it that somebody's transaction keeps from its end."""
    rebuild = "SET lock_timeout = '100ms';\nREINDEX INDEX CONCURRENTLY events_body"
    with (
        session(server, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"),
        pytest.raises(AssertionError, match="lock timeout"),
    ):
        server.psql(DATABASE, rebuild)
    yield


def test_the_rights_of_the_schemas_owner_reach_to_what_a_rebuild_left(tables: Cluster) -> None:
    tables.sql(f"ALTER DATABASE {DATABASE} OWNER TO {LOGIN}; ALTER SCHEMA public OWNER TO {LOGIN}", DATABASE)
    try:
        with leftover(tables):
            done = ask(tables, mode="act", login={"user": LOGIN})
        assert done.check("upkeep_drop_index", "public.events_body_ccnew")["status"] == "ok"
    finally:
        tables.sql("ALTER SCHEMA public OWNER TO pg_database_owner", DATABASE)


def test_the_rights_of_maintain_do_not_drop_what_a_rebuild_left_and_no_second_one_is_made(tables: Cluster) -> None:
    since_17(tables)
    tables.sql(f"GRANT MAINTAIN ON events TO {LOGIN}", DATABASE)
    login = {"user": LOGIN}
    with session(tables, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"):
        done = ask(tables, mode="act", login=login)
    found = done.check(REBUILD, "public.events_body")
    assert found["status"] == "warning" and done.changed, found
    assert "its leftover events_body_ccnew is still there: only the owner" in found["message"]
    assert "next run" not in found["message"]

    again = ask(tables, mode="act", login=login)
    assert again.plan == [] and not again.changed, again.document["msg"]
    assert "only the owner" in again.check("upkeep_drop_index", "public.events_body_ccnew")["message"]
    held = again.check(REBUILD, "public.events_body")
    assert held["status"] == "warning" and "a rebuild has left events_body_ccnew" in held["message"]
    left = tables.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid", DATABASE)
    assert left == "1"

    assert ask(tables, mode="act").changed, "the owner or a superuser clears it away"
    assert ask(tables, mode="act", login=login).report["status"] == "ok"
