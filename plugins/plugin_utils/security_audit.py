# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of exceptions of the security audit."""

from __future__ import annotations

import datetime
import os
import typing as t

import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.module_utils._audit import exceptions
from ansible_collections.matrixon.ops.plugins.module_utils._audit.options import rules
from ansible_collections.matrixon.ops.plugins.module_utils._report import Report

OPTION = "security_audit_exceptions"
LARGEST = 1024 * 1024


def security_exceptions(path: t.Any) -> dict[str, t.Any]:
    """Return the entries of a file of exceptions, and a sentence for each that is wrong."""
    name = str(path or "")
    if not name:
        return {"entries": [], "problems": []}
    where = f"{OPTION}: {name}"
    if not os.path.isabs(name):
        return _refused(f"{where} is not absolute; write it from the root, for example with inventory_dir")
    try:
        with open(name, encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            return _refused(f"{where} is larger than {LARGEST} bytes, so it holds something else")
        entries = yaml.safe_load(text)
    except OSError as error:
        return _refused(
            f"{where} cannot be read on the controller: {error.strerror}; correct the path or leave it empty"
        )
    except (yaml.YAMLError, UnicodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = "" if line is None else f" at line {line + 1}"
        return _refused(f"{where} is not YAML{place}; mend it")
    found, problems = exceptions.parse(entries, rules(), where)
    return {"entries": [one.as_dict() for one in found] if not problems else [], "problems": problems}


def _refused(problem: str) -> dict[str, t.Any]:
    return {"entries": [], "problems": [problem]}


def security_exceptions_use(
    entries: t.Any, results: t.Any, hosts: t.Any, deployment: str, profile: str
) -> list[dict[str, t.Any]]:
    """Return a report on which exceptions are of no use any more, as a list; it is empty without exceptions."""
    found, problems = exceptions.parse(entries, rules())
    if problems:
        raise AnsibleFilterError(f"security_exceptions_use: {'; '.join(problems)}")
    if not found:
        return []
    try:
        states = {str(result["report"]["target"]): list(result["exceptions"]) for result in results}
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(f"security_exceptions_use: a result of the module lacks {error}") from error
    now = datetime.datetime.now(datetime.timezone.utc)
    checks = exceptions.judge_use(found, states, [str(host) for host in hosts])
    report = Report("security_audit", "exceptions", deployment, profile, now, now, tuple(checks))
    return [report.as_dict()]
