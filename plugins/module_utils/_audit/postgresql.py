# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""PostgreSQL: who is superuser, who may come from where, and how passwords are kept."""

from __future__ import annotations

import ipaddress
import json
import os
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._audit.model import (
    Finding,
    Look,
    Plan,
    Rule,
    Seen,
    Skip,
    Tools,
    bad,
    good,
    skipped,
    tool,
)
from ansible_collections.matrixon.ops.plugins.module_utils._probe import (
    AUTH,
    INTERNAL,
    MISSING_TOOL,
    PARSE,
    REFUSED,
    Deadline,
    Facts,
    ProbeFailure,
)

SUPERUSER = Rule(
    "pg-superuser",
    "warning",
    "only the server's own user is a superuser",
    "run 'ALTER ROLE name NOSUPERUSER', and grant what it needs",
)
SUPERUSER_NETWORK = Rule(
    "pg-superuser-network",
    "critical",
    "no superuser logs in over the network",
    "name the logins in pg_hba.conf in place of 'all', or reject the superusers before",
)
TRUST = Rule(
    "pg-hba-trust",
    "critical",
    "nobody is let in unasked",
    "put scram-sha-256 or peer in the place of trust in pg_hba.conf",
)
ANYWHERE = Rule(
    "pg-hba-anywhere",
    "critical",
    "pg_hba.conf names who comes from where",
    "put the addresses of the homeservers in the place of 0.0.0.0/0, ::/0 or all",
)
METHOD = Rule(
    "pg-hba-method",
    "warning",
    "passwords are proved by scram-sha-256",
    "put scram-sha-256 in the place of md5 and password in pg_hba.conf, after the passwords were set anew",
)
PLAIN = Rule(
    "pg-hba-plain",
    "warning",
    "what comes over the network comes by TLS",
    "put hostssl in the place of host in pg_hba.conf",
)
TLS_OFF = Rule(
    "pg-tls-off", "critical", "a server with clients on other hosts has TLS", "set ssl to on, with a certificate"
)
HASHING = Rule(
    "pg-password-encryption",
    "warning",
    "new passwords are kept as SCRAM",
    "set password_encryption to scram-sha-256",
)
OLD_PASSWORD = Rule(
    "pg-role-md5", "warning", "the passwords of all logins are kept as SCRAM", "set the passwords of these logins anew"
)
HBA_ERROR = Rule(
    "pg-hba-error", "warning", "PostgreSQL understands all of pg_hba.conf", "mend the line, then reload the server"
)
ADMINS = Rule(
    "homeserver-admins",
    "warning",
    "few people are administrators of the homeserver, and each is known",
    "take the right from who does not need it, or name them in security_audit_admins",
)

RULES = (SUPERUSER, SUPERUSER_NETWORK, TRUST, ANYWHERE, METHOD, PLAIN, TLS_OFF, HASHING, OLD_PASSWORD, HBA_ERROR)

# One question, so that one short session is all that the server sees. Hashes stay where they are.
QUESTION = """
SELECT json_build_object(
  'settings', (SELECT json_object_agg(name, setting) FROM pg_settings
               WHERE name IN ('ssl', 'password_encryption', 'listen_addresses', 'port', 'server_version')),
  'roles', (SELECT json_agg(json_build_object('name', rolname, 'super', rolsuper, 'login', rolcanlogin,
                                              'password', rolpassword IS NOT NULL,
                                              'md5', coalesce(rolpassword LIKE 'md5%', false)) ORDER BY rolname)
            FROM pg_authid),
  'hba', (SELECT json_agg(json_build_object('line', line_number, 'type', type, 'database', database,
                                            'user', user_name, 'address', address, 'netmask', netmask,
                                            'method', auth_method, 'error', error) ORDER BY line_number)
          FROM pg_hba_file_rules))
"""
UNTHOUGHT = ("reject",)
PASSWORD_METHODS = ("scram-sha-256", "md5", "password")


def asker(given: Facts) -> t.Callable[[str, str, Tools, Deadline], str]:
    """Return the way to ask the server as its own user by its socket, read-only."""

    def answer(database: str, sql: str, tools: Tools, deadline: Deadline) -> str:
        folder, port = given["socket_directory"], given["port"]
        if not os.path.exists(os.path.join(folder, f".s.PGSQL.{port}")):
            raise ProbeFailure(REFUSED, f"PostgreSQL at {folder}, port {port}: no such socket; it is not running")
        if not os.path.exists(tool("psql")):
            raise ProbeFailure(MISSING_TOOL, "psql is not installed on this host")
        user = given["user"]
        options = f"-c default_transaction_read_only=on -c statement_timeout={max(1, int(deadline.remaining() * 500))}"
        session = [
            "psql",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            folder,
            "-p",
            str(port),
            "-d",
            database,
        ]
        identity = [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        argv = [
            tool("setpriv"),
            *identity,
            "--",
            "env",
            f"PGOPTIONS={options}",
            "HOME=/nonexistent",
            *session,
            "-c",
            sql,
        ]
        done = tools.runner(argv, deadline)
        if done.code != 0:
            kind = AUTH if "authentication" in done.err or "not permitted" in done.err else INTERNAL
            # psql repeats the question below what is wrong with it.
            wrong = next(
                (line for line in done.err.splitlines() if "ERROR:" in line or "FATAL:" in line), done.complaint
            )
            raise ProbeFailure(kind, f"PostgreSQL could not be asked as {user}: {wrong}")
        return done.out.strip()

    return answer


def parse(text: str) -> Facts:
    """Return the answer to the question."""
    try:
        found: Facts = json.loads(text)
        for part in ("settings", "roles", "hba"):
            found[part] = found[part] or {}
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise ProbeFailure(PARSE, f"PostgreSQL answered something that was not understood: {error}") from error


def judge(facts: Facts, superusers: t.Collection[str]) -> Seen:
    """Hold the rules of pg_hba.conf and the logins against what is expected."""
    roles, settings = list(facts["roles"]), facts["settings"]
    supers = {role["name"]: role["password"] for role in roles if role["super"] and role["login"]}
    findings = [bad(SUPERUSER, f"{name} is a superuser, too", name) for name in supers if name not in superusers]
    remote = False
    shadowed: set[str] = set()
    for row in facts["hba"]:
        if row["error"]:
            findings.append(bad(HBA_ERROR, f"line {row['line']}: {row['error']}", f"line {row['line']}"))
            continue
        findings += _hba_findings(row, supers, shadowed)
        remote = remote or (_from_afar(row) and row["method"] not in UNTHOUGHT)
    if remote and settings.get("ssl") != "on":
        findings.append(bad(TLS_OFF, f"ssl is {settings.get('ssl')}, and pg_hba.conf lets other hosts in"))
    if settings.get("password_encryption") != "scram-sha-256":
        findings.append(bad(HASHING, f"password_encryption is {settings.get('password_encryption')}"))
    old = [role["name"] for role in roles if role["md5"]]
    findings += [bad(OLD_PASSWORD, f"the password of {name} is kept as MD5", name) for name in old]
    told = {"superusers": list(supers), "hba_rules": len(facts["hba"]), "settings": settings}
    return Seen(findings, {"postgresql": told})


def _hba_findings(row: Facts, supers: dict[str, bool], shadowed: set[str]) -> t.Iterator[Finding]:
    """Yield what is wrong with one rule. ``shadowed`` are users whom an earlier rule turned away from everywhere."""
    where = f"line {row['line']}"
    users = row["user"] or ["all"]
    said = f"{where}: {row['type']} {','.join(row['database'] or [])} {','.join(users)} {_address(row)} {row['method']}"
    if row["method"] in UNTHOUGHT:
        if _is_everywhere(row) and row["type"] == "host" and "all" in (row["database"] or []):
            shadowed.update(users)
        return
    if row["method"] == "trust":
        yield bad(TRUST, said, where)
    if _is_everywhere(row):
        yield bad(ANYWHERE, said, where)
    if row["method"] in ("md5", "password"):
        yield bad(METHOD, said, where)
    if not _from_afar(row):
        return
    if row["type"] in ("host", "hostnossl"):
        yield bad(PLAIN, said, where)
    # The word replication stands for no database that a superuser could ask, and who has no password proves none.
    if row["database"] != ["replication"]:
        by_password = row["method"] in PASSWORD_METHODS
        reached = [
            name
            for name, has_password in supers.items()
            if (name in users or "all" in users) and name not in shadowed and (has_password or not by_password)
        ]
        for name in [] if "all" in shadowed else reached:
            yield bad(SUPERUSER_NETWORK, f"{name} may log in by {said}", f"{name} {where}")


def _address(row: Facts) -> str:
    if row["address"] is None:
        return ""
    return f"{row['address']}/{row['netmask']}" if row["netmask"] else str(row["address"])


def _network(row: Facts) -> t.Any:
    """Return the network of a rule, or None where it is a word or a name."""
    try:
        address = ipaddress.ip_address(row["address"])
        mask = ipaddress.ip_address(row["netmask"] or ("255.255.255.255" if address.version == 4 else "f" * 4))
    except ValueError:
        return None
    if not row["netmask"]:
        return ipaddress.ip_network(address)
    prefix = bin(int(mask)).count("1")
    return ipaddress.ip_network(f"{address}/{prefix}", strict=False)


def _is_everywhere(row: Facts) -> bool:
    if row["type"] == "local" or row["address"] is None:
        return False
    network = _network(row)
    return row["address"] == "all" or (network is not None and network.prefixlen == 0)


def _from_afar(row: Facts) -> bool:
    """Return whether a rule is for other hosts."""
    if row["type"] == "local" or row["address"] is None or row["address"] in ("samehost", "localhost"):
        return False
    network = _network(row)
    return network is None or not network.is_loopback


def judge_admins(facts: Facts, known: t.Collection[str], most: int) -> Seen:
    """Say who is an administrator of the homeserver."""
    if facts["standby"]:
        return Seen([skipped(ADMINS, "this server is a standby; its primary is asked")])
    names = facts["admins"]
    told = {"homeserver_admins": names}
    if known:
        findings = [bad(ADMINS, f"{name} is an administrator", name) for name in names if name not in known]
        return Seen(findings or [good(ADMINS, f"{len(names)} administrators, all of them known")], told)
    if len(names) > most:
        text = f"{len(names)} administrators, more than {most}: {', '.join(names[:10])}"
        return Seen([bad(ADMINS, text, value=len(names))], told)
    return Seen([good(ADMINS, f"{len(names)} administrators: {', '.join(names) or 'none'}")], told)


def plan(options: Facts) -> Plan:
    """Return what is looked at, where there is a server."""
    given = options["postgresql"]
    if given is None:
        return [Skip((*RULES, ADMINS), "no PostgreSQL server is said to be on this host")]
    answer = asker(given)

    def probe(tools: Tools, deadline: Deadline) -> Facts:
        return parse(answer("postgres", QUESTION, tools, deadline))

    def probe_admins(tools: Tools, deadline: Deadline) -> Facts:
        names = f"(SELECT json_agg(a) FROM ({given['admins_query']}) q(a))"
        sql = f"SELECT json_build_object('standby', pg_is_in_recovery(), 'admins', {names})"
        try:
            found: Facts = json.loads(answer(given["database"], sql, tools, deadline))
        except ValueError as error:
            raise ProbeFailure(PARSE, f"the question for administrators was answered with nonsense: {error}") from error
        return {"standby": found["standby"], "admins": [str(name) for name in found["admins"] or []]}

    looks: Plan = [Look("postgresql", RULES, probe, lambda facts: judge(facts, given["superusers"]))]
    if given["admins_query"]:
        known, most = given["admins"], given["max_admins"]
        looks.append(Look("admins", (ADMINS,), probe_admins, lambda facts: judge_admins(facts, known, most)))
    else:
        looks.append(Skip((ADMINS,), given["admins_unsupported"] or "no question for administrators is given"))
    return looks
