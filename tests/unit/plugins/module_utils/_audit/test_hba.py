"""PostgreSQL's logins and pg_hba.conf, with the answers of a real server, clean and weakened."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._audit import postgresql
from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import Look, Skip, Tools
from ansible_collections.matrixon.ops.plugins.module_utils._command import Finished
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, ProbeFailure

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures/audit"
GIVEN = {
    "socket_directory": "/run/nowhere",
    "port": 5432,
    "user": "postgres",
    "superusers": ["postgres"],
    "database": "synapse",
    "admins_query": "SELECT name FROM users",
    "admins_unsupported": None,
    "admins": [],
    "max_admins": 2,
}


def answer(name: str) -> dict[str, Any]:
    return postgresql.parse((FIXTURES / f"{name}.json").read_text())


def ids(facts: dict[str, Any], *superusers: str) -> set[str]:
    return {finding.id for finding in postgresql.judge(facts, superusers or ("postgres",)).findings}


def test_debians_own_server_is_clean() -> None:
    assert ids(answer("postgresql_clean")) == set()


def test_a_weakened_server() -> None:
    assert ids(answer("postgresql_weak")) == {
        "pg-superuser:audit_super",
        "pg-role-md5:audit_md5",
        "pg-password-encryption",
        "pg-tls-off",
        "pg-hba-trust:line 105",
        "pg-hba-anywhere:line 106",
        "pg-hba-method:line 106",
        "pg-hba-method:line 110",
        "pg-hba-plain:line 106",
        "pg-hba-plain:line 108",
        "pg-hba-plain:line 112",
        "pg-superuser-network:audit_super line 106",
        "pg-superuser-network:audit_super line 112",
        "pg-hba-error:line 107",
        "pg-hba-error:line 109",
        "pg-hba-error:line 113",
    }


def row(**other: Any) -> dict[str, Any]:
    whole = {
        "line": 1,
        "type": "hostssl",
        "database": ["all"],
        "user": ["all"],
        "address": "192.0.2.0",
        "netmask": "255.255.255.0",
        "method": "scram-sha-256",
        "error": None,
    }
    return {**whole, **other}


def of(*rows: dict[str, Any], password: bool = True) -> set[str]:
    role = {"name": "postgres", "super": True, "login": True, "password": password, "md5": False}
    settings = {"ssl": "on", "password_encryption": "scram-sha-256"}
    return {one.partition(":")[0] for one in ids({"settings": settings, "roles": [role], "hba": list(rows)})}


@pytest.mark.parametrize(
    ("given", "weak"),
    [
        (row(user=["synapse"]), set()),
        (row(), {"pg-superuser-network"}),
        (row(database=["replication"]), set()),
        (row(address="127.0.0.1", netmask="255.0.0.0", type="host"), set()),
        (row(address="::1", netmask="ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", type="host"), set()),
        (row(address="samehost", netmask=None, type="host"), set()),
        (row(address="samenet", netmask=None, type="host", user=["synapse"]), {"pg-hba-plain"}),
        (row(address="::", netmask="::", user=["synapse"]), {"pg-hba-anywhere"}),
        (row(address="all", netmask=None, user=["synapse"]), {"pg-hba-anywhere"}),
        (row(method="md5", user=["synapse"]), {"pg-hba-method"}),
        (row(type="local", address=None, netmask=None, method="trust"), {"pg-hba-trust"}),
        (row(method="reject", address="0.0.0.0", netmask="0.0.0.0", type="host"), set()),
    ],
)
def test_single_rules(given: dict[str, Any], weak: set[str]) -> None:
    assert of(given) == weak


def test_who_has_no_password_proves_none() -> None:
    assert of(row(), password=False) == set()
    assert of(row(method="cert"), password=False) == {"pg-superuser-network"}


def test_an_earlier_rule_that_turns_superusers_away_counts() -> None:
    reject = row(type="host", method="reject", address="all", netmask=None, user=["postgres"])
    assert of(reject, row(line=2)) == set()
    assert of(row(line=2), reject) == {"pg-superuser-network"}


def test_tls_is_only_needed_where_others_come() -> None:
    facts = answer("postgresql_clean")
    facts["settings"]["ssl"] = "off"
    assert ids(facts) == set()
    facts["hba"].append(row(user=["synapse"]))
    assert ids(facts) == {"pg-tls-off"}


@pytest.mark.parametrize("text", ["", "null", "{}", '{"settings": null, "roles": null}'])
def test_nonsense_is_unknown(text: str) -> None:
    with pytest.raises(ProbeFailure, match="not understood"):
        postgresql.parse(text)


@pytest.mark.parametrize(
    ("admins", "known", "most", "statuses"),
    [
        (["@a:x"], [], 2, ["ok"]),
        (["@a:x", "@b:x", "@c:x"], [], 2, ["warning"]),
        (["@a:x", "@b:x"], ["@a:x"], 0, ["warning"]),
        (["@a:x"], ["@a:x"], 0, ["ok"]),
    ],
)
def test_administrators(admins: list[str], known: list[str], most: int, statuses: list[str]) -> None:
    seen = postgresql.judge_admins({"standby": False, "admins": admins}, known, most)
    assert [finding.status for finding in seen.findings] == statuses


def test_a_standby_leaves_administrators_to_its_primary() -> None:
    seen = postgresql.judge_admins({"standby": True, "admins": ["@a:x"]}, [], 0)
    assert [finding.status for finding in seen.findings] == ["skipped"]


def test_a_server_that_does_not_run_is_unknown_and_none_is_skipped() -> None:
    first = postgresql.plan({"postgresql": GIVEN})[0]
    assert isinstance(first, Look)
    with pytest.raises(ProbeFailure) as caught:
        first.probe(Tools(), Deadline(5))
    assert caught.value.kind == "refused"
    assert isinstance(postgresql.plan({"postgresql": None})[0], Skip)
    without = postgresql.plan({"postgresql": {**GIVEN, "admins_query": None, "admins_unsupported": "it has none"}})
    assert isinstance(without[1], Skip) and without[1].reason == "it has none"


def test_it_is_asked_read_only_as_its_own_user(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".s.PGSQL.5432").write_text("")
    monkeypatch.setattr(postgresql, "tool", lambda name: "/bin/sh")
    calls = []

    def runner(argv: list[str], _deadline: Deadline) -> Finished:
        calls.append(argv)
        return Finished(0, (FIXTURES / "postgresql_clean.json").read_text(), "")

    look = postgresql.plan({"postgresql": {**GIVEN, "socket_directory": str(tmp_path)}})[0]
    assert isinstance(look, Look)
    look.probe(Tools(runner=runner), Deadline(5))
    assert "--reuid=postgres" in calls[0]
    assert any("default_transaction_read_only=on" in word for word in calls[0])
