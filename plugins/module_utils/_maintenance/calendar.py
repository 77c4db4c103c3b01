# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The maintenance calendar: its steps are data, and this says which of them a host runs."""

from __future__ import annotations

import difflib
import typing as t
from dataclasses import dataclass

CALENDARS = ("daily", "weekly", "monthly")
EVERYWHERE = "all"
# Words of --tags and --skip-tags that mean no step.
NO_STEP = frozenset(("all", "always", "never", "tagged", "untagged"))
# Due, skipped by a rule, or not asked for because others were.
DUE, SKIPPED, OTHERS = "due", "skipped", "others"


@dataclass(frozen=True)
class Step:
    """One step of a calendar, as its file has it. ``id`` is never used again for another step."""

    id: str
    name: str
    title: str
    groups: tuple[str, ...]
    once: bool
    acts: bool
    needs: tuple[str, ...]

    @property
    def words(self) -> frozenset[str]:
        """Return what one may call it."""
        return frozenset((self.id, self.name))


def steps_of(entries: t.Iterable[t.Mapping[str, t.Any]]) -> tuple[Step, ...]:
    """Return the steps of a calendar's file. Its shape is held by a schema."""
    return tuple(
        Step(
            id=str(entry["id"]),
            name=str(entry["name"]),
            title=str(entry["title"]),
            groups=tuple(entry.get("groups") or ()),
            once=bool(entry.get("once")),
            acts=bool(entry["acts"]),
            needs=tuple(entry.get("needs") or ()),
        )
        for entry in entries
    )


@dataclass(frozen=True)
class Choice:
    """Which steps somebody wants. ``skip`` gives a reason for each that he does not want."""

    skip: t.Mapping[str, str]
    only: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()


def words(value: t.Any) -> tuple[str, ...]:
    """Return the words of a list, or of a text with commas, as a survey of AWX gives it."""
    parts = value.split(",") if isinstance(value, str) else value or ()
    return tuple(word for word in (str(part).strip() for part in parts) if word)


def choice_of(skip: t.Any, only: t.Any, tags: t.Any, skip_tags: t.Any) -> Choice:
    """Return the choice that variables and the command line make."""
    reasons = {str(key): str(value or "").strip() for key, value in dict(skip or {}).items()}
    return Choice(
        skip=reasons,
        only=words(only),
        tags=tuple(word for word in words(tags) if word not in NO_STEP),
        skip_tags=tuple(word for word in words(skip_tags) if word not in NO_STEP),
    )


def problems(choice: Choice, calendar: str, calendars: t.Mapping[str, t.Sequence[Step]]) -> list[str]:
    """Return what is wrong with a choice, a sentence each. Only skips may name steps of other calendars."""
    here = {word for step in calendars[calendar] for word in step.words}
    elsewhere = {word: name for name, steps in calendars.items() for step in steps for word in step.words}
    found = []
    for word, reason in choice.skip.items():
        if word not in elsewhere:
            found.append(_unknown("maintenance_skip", word, elsewhere))
        elif not reason:
            found.append(f'maintenance_skip: \'{word}\' has no reason; write one, as in {{"{word}": "why"}}')
    given = (("maintenance_only", choice.only), ("--tags", choice.tags), ("--skip-tags", choice.skip_tags))
    for option, named in given:
        for word in named:
            if word not in elsewhere:
                found.append(_unknown(option, word, here))
            elif word not in here and option != "--skip-tags":
                found.append(
                    f"{option}: '{word}' is a step of maintenance_{elsewhere[word]}, and this is "
                    f"maintenance_{calendar}; call that playbook"
                )
    return found


def _unknown(option: str, word: str, known: t.Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else "docs/maintenance-calendar.md lists them all"
    return f"{option}: there is no step '{word}'; {hint}"


def plan(steps: t.Sequence[Step], choice: Choice, groups: t.Collection[str], first: bool) -> list[dict[str, str]]:
    """Return of each step of this host if it is due, or why not. A step for other hosts is not in it.

    ``first`` is the host on whose behalf a step runs that is done once for the deployment.
    """
    found = []
    for step in steps:
        if step.once and not first:
            continue
        if not step.once and EVERYWHERE not in step.groups and not set(step.groups) & set(groups):
            continue
        reason = skip_reason(step, choice)
        state = DUE if not reason else SKIPPED if skip_rule(step, choice) else OTHERS
        found.append({"id": step.id, "name": step.name, "state": state, "reason": reason})
    return found


def skip_rule(step: Step, choice: Choice) -> str:
    """Return what says that a step is not to be done, or nothing."""
    for word in (step.id, step.name):
        if word in choice.skip:
            return f"maintenance_skip: {choice.skip[word]}"
    return "--skip-tags names it" if step.words & set(choice.skip_tags) else ""


def skip_reason(step: Step, choice: Choice) -> str:
    """Return why a step is not wanted, or nothing."""
    rule = skip_rule(step, choice)
    if rule:
        return rule
    if choice.only and not step.words & set(choice.only):
        return f"maintenance_only names {', '.join(choice.only)}"
    if choice.tags and not step.words & set(choice.tags):
        return f"--tags names {', '.join(choice.tags)}"
    return ""
