"""Make docs/checks.md from the declarations of the checks."""

from __future__ import annotations

import pathlib
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/checks.md"
HEAD = """\
# Checks of matrixon_health

Made from the declarations in `plugins/module_utils/_health/` by `python tests/tools/checks.py`; a test holds it
against them. Thresholds are defaults, changed by the option `thresholds` or the variable `health_thresholds`.

*Gate* marks the check that stands for its service: where the service refuses, stays silent or talks nonsense, this
check is critical, and the others of that service are unknown, for nothing was measured. Where it turns the login
away, the gate is unknown too: it was not observed. A threshold that reads "at most" fires on small values.
"""

PERFORMANCE_PAGE = ROOT / "docs/performance-checks.md"
PERFORMANCE_HEAD = """\
# Checks of matrixon_performance_info

Made from the declarations in `plugins/module_utils/_performance/` by `python tests/tools/checks.py`; a test holds it
against them. Thresholds are defaults, changed by the option `thresholds` or the variable `performance_thresholds`. A
check without any is for information. A threshold that reads "at most" fires on small values.

Where there is too little to judge by, such as three requests for `response_time`, a check is skipped with the words
"not enough data". `slow_endpoint` and `postgresql_slow_query` judge what was slowest, even if it ran once.
"""

DATABASE_PAGE = ROOT / "docs/database-checks.md"
DATABASE_HEAD = """\
# Checks of matrixon_postgresql_upkeep

Made from the declarations in `plugins/module_utils/_upkeep/` by `python tests/tools/checks.py`; a test holds it
against them. Those whose names begin with `postgresql` are shared with `matrixon_health` and
`matrixon_performance_info`. Thresholds are defaults, changed by the option `thresholds` or the variable
`database_upkeep_thresholds`. A check without any is for information. A threshold that reads "at most" fires on small
values.

With `mode: act` there are others: `upkeep_gates`, and `upkeep_vacuum`, `upkeep_analyze`, `upkeep_reindex` and
`upkeep_drop_index` for each table or index, where a warning means that a person is needed and skipped says why
nothing was done. `upkeep_left` names what time was too short for, `upkeep_invalid_index` what only a person can judge.
"""


def number(value: float | None, unit: str | None) -> str:
    """A threshold as people write it."""
    if value is None:
        return ""
    if unit == "B":
        for power, name in ((30, "GiB"), (20, "MiB")):
            if value >= 2**power:
                return f"{value / 2**power:g} {name}"
    if unit == "s" and value >= 7200:
        return f"{value / 3600:g} h"
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:g} {unit or ''}".strip()


def row(check: t.Any) -> str:
    """One line of a table."""
    most = "at most " if check.below else ""
    limits = [most + text if text else "" for text in (number(v, check.unit) for v in (check.warning, check.critical))]
    gate = "gate" if check.gate else "shown, not trusted" if check.source == "self_report" else ""
    summary = check.summary[0].upper() + check.summary[1:]
    return f"| `{check.name}` | {summary} | {limits[0]} | {limits[1]} | {gate} |"


def page(scopes: dict[str, t.Any], head: str = HEAD) -> str:
    """The whole page."""
    parts = [head]
    for name, scope in scopes.items():
        parts.append(f"\n## {name}\n\n| check | what it says | warning | critical | |\n|---|---|---|---|---|\n")
        parts += [row(check) + "\n" for check in scope.CHECKS]
    return "".join(parts)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / ".build/collections"))
    from ansible_collections.matrixon.ops.plugins.module_utils._health.run import SCOPES
    from ansible_collections.matrixon.ops.plugins.module_utils._performance.run import SCOPES as PERFORMANCE

    PAGE.write_text(page(SCOPES))
    PERFORMANCE_PAGE.write_text(page(PERFORMANCE, PERFORMANCE_HEAD))
    from ansible_collections.matrixon.ops.plugins.module_utils._upkeep.run import SCOPES as DATABASE

    DATABASE_PAGE.write_text(page(DATABASE, DATABASE_HEAD))
