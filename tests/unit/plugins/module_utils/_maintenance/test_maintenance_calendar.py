"""Which steps of the calendar a host runs, and what is said of a choice that cannot be right."""

from __future__ import annotations

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._maintenance import calendar

DAILY = calendar.steps_of(
    [
        {"id": "10-010", "name": "health", "title": "Look", "groups": ["redis", "postgresql"], "acts": False},
        {"id": "10-042", "name": "media_cleanup", "title": "Clean", "groups": ["homeserver"], "acts": True},
        {"id": "10-090", "name": "documents", "title": "Read", "once": True, "acts": False},
    ]
)
WEEKLY = calendar.steps_of([{"id": "20-010", "name": "updates", "title": "Update", "groups": ["all"], "acts": True}])
CALENDARS = {"daily": DAILY, "weekly": WEEKLY}


def choice(skip: object = None, only: object = (), tags: object = ("all",), skip_tags: object = ()) -> calendar.Choice:
    return calendar.choice_of(skip, only, tags, skip_tags)


def states(wanted: calendar.Choice, groups: tuple[str, ...] = ("homeserver", "redis")) -> dict[str, str]:
    return {entry["id"]: entry["reason"] or entry["state"] for entry in calendar.plan(DAILY, wanted, groups, True)}


def test_a_host_has_the_steps_of_its_groups() -> None:
    assert states(choice()) == {"10-010": "due", "10-042": "due", "10-090": "due"}
    assert states(choice(), ("redis",)) == {"10-010": "due", "10-090": "due"}
    assert [entry["id"] for entry in calendar.plan(DAILY, choice(), ("redis",), False)] == ["10-010"]
    assert [entry["id"] for entry in calendar.plan(WEEKLY, choice(), (), False)] == ["20-010"]


@pytest.mark.parametrize("word", ["10-042", "media_cleanup"])
def test_a_step_is_called_by_its_id_or_its_name(word: str) -> None:
    assert states(choice({word: "the store is being moved"}))["10-042"] == "maintenance_skip: the store is being moved"
    for wanted in (choice(only=[word]), choice(only=f" {word}, "), choice(tags=[word])):
        found = states(wanted)
        assert found["10-042"] == "due" and found["10-010"].endswith(f"names {word}")
    assert states(choice(skip_tags=[word])) == {"10-010": "due", "10-042": "--skip-tags names it", "10-090": "due"}


def test_a_step_that_was_not_asked_for_is_told_from_one_that_a_rule_skips() -> None:
    found = calendar.plan(
        DAILY, choice({"10-042": "moved"}, only=["10-042", "documents"]), ("homeserver", "redis"), True
    )
    assert {entry["id"]: entry["state"] for entry in found} == {
        "10-010": "others", "10-042": "skipped", "10-090": "due",
    }  # fmt: skip


def test_words_of_ansible_name_no_step() -> None:
    assert states(choice(tags=["all"], skip_tags=["never"])) == states(choice())


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (choice({"10-024": "x"}), "maintenance_skip: there is no step '10-024'; did you mean 10-042"),
        (choice({"10-042": " "}), "maintenance_skip: '10-042' has no reason"),
        (choice(only=["media_clean"]), "maintenance_only: there is no step 'media_clean'; did you mean media_cleanup?"),
        (choice(only="20-010"), "maintenance_only: '20-010' is a step of maintenance_weekly"),
        (choice(tags=["healt"]), "--tags: there is no step 'healt'; did you mean health?"),
        (choice(skip_tags=["zzz"]), "--skip-tags: there is no step 'zzz'; docs/maintenance-calendar.md lists them all"),
    ],
)
def test_what_names_no_step_is_refused_with_the_near_ones(wanted: calendar.Choice, said: str) -> None:
    (problem,) = calendar.problems(wanted, "daily", CALENDARS)
    assert problem.startswith(said)


def test_a_skip_may_name_a_step_of_another_calendar() -> None:
    assert calendar.problems(choice({"20-010": "frozen"}, skip_tags=["updates"]), "daily", CALENDARS) == []
