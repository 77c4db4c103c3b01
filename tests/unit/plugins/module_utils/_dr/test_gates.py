"""Each gate of a move between regions: good, bad, unknown, and what an operator can and cannot accept."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.matrixon.ops.plugins.module_utils._dr import gates
from ansible_collections.matrixon.ops.plugins.module_utils._dr.gates import Limits
from ansible_collections.matrixon.ops.plugins.module_utils._report import CheckResult

GIB = 2**30
ALLOWED = {
    "max_connections": 200,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}
# A move that nothing stands against.
FACTS: dict[str, t.Any] = {
    "from": "one",
    "to": "two",
    "record": {"region": "one", "epoch": 3},
    "heartbeat": {
        "lsn": "0/5000060",
        "at": "2026-11-27T12:00:00.000Z",
        "timeline": 2,
        "system_identifier": "7000",
        "limits": dict(ALLOWED),
    },
    "standby": {
        "in_recovery": True,
        "system_identifier": "7000",
        "replay_paused": False,
        "apply_delay_s": 0.0,
        "timeline": 2,
        "replay_lsn": "0/5000060",
        "replayed_at": "2026-11-27T11:59:59.000Z",
        "limits": dict(ALLOWED),
        "disk_free_bytes": 50 * GIB,
        "data_bytes": 100 * GIB,
    },
    "homeservers": [{"host": "hs2", "release": "1.163.2", "signing_key_ids": ["ed25519:a_1"]}],
    "primary_homeservers": [{"release": "1.163.2", "signing_key_ids": ["ed25519:a_1"]}],
    "media": {"taken": "2026-11-27T11:50:00Z", "age_s": 600},
    "dns": [{"name": "matrix.example.com", "ttl": 60}, {"name": "example.com", "ttl": 30}],
    "fences": ["ssh"],
}
# By gate: what makes it refuse, which status that has, and what its message says.
BAD: list[tuple[str, dict[str, t.Any], str, str]] = [
    ("dr_regions", {"to": "one"}, "critical", "which is the same region"),
    ("dr_regions", {"record.region": "two"}, "critical", "the witness says that two serves"),
    ("dr_regions", {"record.region": "three"}, "critical", "nothing to move from one"),
    ("dr_fence", {"fences": []}, "critical", "nothing can make sure that one takes no more writes"),
    ("dr_recovery", {"standby.in_recovery": None}, "unknown", "its server does not answer"),
    ("dr_recovery", {"standby.in_recovery": False}, "critical", "it takes writes already"),
    ("dr_identity", {"standby.system_identifier": "7001"}, "critical", "another system (7001) than the primary"),
    ("dr_identity", {"standby.system_identifier": None}, "unknown", "does not say of which system"),
    ("dr_replay", {"standby.replay_paused": True}, "critical", "SELECT pg_wal_replay_resume()"),
    ("dr_replay", {"standby.apply_delay_s": 300.0}, "critical", "it replays 300 s late; set recovery_min_apply_delay"),
    ("dr_replay", {"standby.replay_paused": None}, "unknown", "could not be asked"),
    ("dr_timeline", {"standby.timeline": 1}, "critical", "on timeline 1, and the primary was on 2"),
    ("dr_timeline", {"standby.timeline": None}, "unknown", "does not say on which timeline"),
    ("dr_heartbeat", {"heartbeat": {}}, "critical", "the witness has no heartbeat"),
    (
        "dr_heartbeat",
        {"standby.replayed_at": "2026-11-27T12:01:00.001Z"},
        "critical",
        "the primary went on without its heartbeat",
    ),
    ("dr_loss", {"standby.replay_lsn": None}, "unknown", "does not say how far"),
    (
        "dr_loss",
        {"standby.replay_lsn": "0/5000000", "standby.replayed_at": "2026-11-27T11:44:59.999Z"},
        "critical",
        "96 bytes of the log that the last heartbeat knew of would be lost, what was written in the 900 s before it",
    ),
    (
        "dr_loss",
        {"standby.replay_lsn": "0/5000000", "standby.replayed_at": None},
        "unknown",
        "96 bytes of the log that the last heartbeat knew of would be lost, from an unknown time on",
    ),
    ("dr_connections", {"standby.limits.max_connections": 199}, "critical", "max_connections 199 < 200"),
    ("dr_connections", {"standby.limits.max_worker_processes": 4}, "critical", "max_worker_processes 4 < 8"),
    ("dr_connections", {"standby.limits": {}}, "unknown", "does not say what it allows"),
    ("dr_disk", {"standby.disk_free_bytes": 10 * GIB - 1}, "critical", f"{10 * GIB - 1} bytes are free beside"),
    ("dr_disk", {"standby.disk_free_bytes": None}, "unknown", "does not say how much of its disk is free"),
    ("dr_disk", {"standby.data_bytes": None}, "unknown", "does not say how much of its disk is free"),
    ("dr_release", {"homeservers.0.release": "1.160.0"}, "critical", "the release here is 1.160.0"),
    ("dr_release", {"homeservers.0.release": None}, "critical", "the release here is none"),
    ("dr_release", {"homeservers": []}, "unknown", "no homeserver host of the region could be asked"),
    ("dr_release", {"primary_homeservers": []}, "unknown", "the witness does not know which release served"),
    (
        "dr_signing_key",
        {"homeservers.0.signing_key_ids": ["ed25519:b_2"]},
        "critical",
        "hs2 signs with ed25519:b_2, and what served signed with ed25519:a_1",
    ),
    ("dr_signing_key", {"homeservers.0.signing_key_ids": []}, "critical", "hs2 signs with none"),
    ("dr_signing_key", {"homeservers": []}, "unknown", "no homeserver host of the region could be asked"),
    ("dr_signing_key", {"primary_homeservers": []}, "unknown", "the witness does not know which key"),
    ("dr_media", {"media.age_s": 900.5}, "critical", "allowed are 900 s"),
    ("dr_media", {"media": {"message": "the directory is empty"}}, "critical", "the directory is empty"),
    ("dr_dns_ttl", {"dns.1.ttl": 61}, "critical", "others keep example.com for 61 s; allowed are 60 s"),
    ("dr_dns_ttl", {"dns.0.ttl": None}, "unknown", "the TTL of matrix.example.com could not be asked"),
]
# What an operator can accept: by gate, what makes it refuse, and the value that was measured.
ACCEPTABLE: list[tuple[str, dict[str, t.Any], str]] = [
    ("dr_heartbeat", {"heartbeat": {}}, "none"),
    ("dr_heartbeat", {"standby.replayed_at": "2026-11-27T12:01:00.001Z"}, "2026-11-27T12:00:00.000Z"),
    ("dr_loss", {"standby.replay_lsn": "0/5000000", "standby.replayed_at": "2026-11-27T11:00:00.000Z"}, "96"),
    ("dr_loss", {"standby.replay_lsn": "0/5000000", "standby.replayed_at": None}, "96"),
    ("dr_connections", {"standby.limits.max_connections": 100}, "100"),
    (
        "dr_connections",
        {"standby.limits.max_connections": 100, "standby.limits.max_worker_processes": 4},
        "max_connections:100,max_worker_processes:4",
    ),
    ("dr_disk", {"standby.disk_free_bytes": 2 * GIB + 12345}, str(2 * GIB)),
    ("dr_disk", {"standby.disk_free_bytes": 5}, "0"),
    ("dr_release", {"homeservers.0.release": "1.160.0"}, "1.160.0"),
    ("dr_release", {"primary_homeservers": []}, "1.163.2"),
    ("dr_signing_key", {"homeservers.0.signing_key_ids": ["ed25519:c_3", "ed25519:b_2"]}, "ed25519:b_2,ed25519:c_3"),
    ("dr_signing_key", {"homeservers.0.signing_key_ids": []}, "none"),
    ("dr_signing_key", {"primary_homeservers": []}, "ed25519:a_1"),
    ("dr_media", {"media": {"taken": "2026-11-27T11:00:00Z", "age_s": 3600}}, "2026-11-27T11:00:00Z"),
    ("dr_media", {"media": {"message": "none"}}, "none"),
    ("dr_dns_ttl", {"dns.1.ttl": 3600}, "3600"),
    ("dr_dns_ttl", {"dns.0.ttl": None}, "none"),
]
GATES = {gate.name: gate for gate in gates.GATES}


def changed(changes: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the good facts with some of them put otherwise, each named by its path."""
    facts = copy.deepcopy(FACTS)
    for path, value in changes.items():
        *way, last = path.split(".")
        place: t.Any = facts
        for step in way:
            place = place[int(step)] if step.isdigit() else place[step]
        place[last] = value
    return facts


def judged(
    changes: dict[str, t.Any], accepted: dict[str, t.Any] | None = None, limits: Limits | None = None
) -> dict[str, CheckResult]:
    checks = gates.judge(changed(changes), limits or Limits(), accepted or {}, "db2")
    assert [check.name for check in checks] == list(GATES)
    assert {check.target for check in checks} == {"db2"}
    return {check.name: check for check in checks}


def refused(checks: dict[str, CheckResult]) -> list[str]:
    return [text.split(":")[0] for text in gates.refusals(checks.values())]


def test_a_move_that_nothing_stands_against_passes_all_fourteen() -> None:
    checks = judged({})
    assert {check.status for check in checks.values()} == {"ok"} and len(checks) == 14
    assert refused(checks) == []


@pytest.mark.parametrize(("gate", "changes", "status", "words"), BAD)
def test_each_gate_refuses_with_its_own_reason(gate: str, changes: dict[str, t.Any], status: str, words: str) -> None:
    checks = judged(changes)
    assert checks[gate].status == status and words in checks[gate].message
    assert gate in refused(checks)


def test_every_gate_is_tried_good_bad_and_where_it_can_be_accepted() -> None:
    assert {gate for gate, *_rest in BAD} == set(GATES)
    assert {gate for gate, *_rest in ACCEPTABLE} == {name for name, gate in GATES.items() if gate.accept}
    assert len(set(gates.ACCEPTED)) == len(gates.ACCEPTED)


@pytest.mark.parametrize(("gate", "changes", "value"), ACCEPTABLE)
def test_the_value_that_was_measured_is_accepted_when_it_is_repeated(
    gate: str, changes: dict[str, t.Any], value: str
) -> None:
    variable = f"dr_failover_accept_{GATES[gate].accept}"
    before = judged(changes)[gate]
    assert before.status != "ok" and before.message.endswith(f"To go on none the less give {variable}={value}")
    after = judged(changes, {GATES[gate].accept: value})
    assert after[gate].status == "ok" and after[gate].message.endswith(f"; accepted by {variable}={value}")
    # Nothing else is accepted with it.
    others = {"heartbeat": "yes", "loss_bytes": "yes", "release": "yes"}
    assert [name for name in refused(judged(changes, others)) if name != gate] == refused(after)


@pytest.mark.parametrize(("gate", "changes", "value"), ACCEPTABLE)
@pytest.mark.parametrize("other", ["true", "97", "ed25519:x"])
def test_another_value_is_refused_and_both_are_named(
    gate: str, changes: dict[str, t.Any], value: str, other: str
) -> None:
    check = judged(changes, {GATES[gate].accept: other})[gate]
    assert check.status == judged(changes)[gate].status
    assert check.message.endswith(f". dr_failover_accept_{GATES[gate].accept} is {other}, and the value is {value} now")


@pytest.mark.parametrize(
    ("gate", "changes"), [(gate, changes) for gate, changes, *_rest in BAD if not GATES[gate].accept]
)
def test_what_leads_nowhere_cannot_be_accepted(gate: str, changes: dict[str, t.Any]) -> None:
    every = dict.fromkeys([*gates.ACCEPTED, gate, "", "fence", "recovery", "identity", "replay", "timeline"], "none")
    check = judged(changes, every)[gate]
    assert check.status != "ok" and "dr_failover_accept" not in check.message


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        ("dr_loss", {"standby.replay_lsn": None}),
        ("dr_connections", {"standby.limits": {}}),
        ("dr_disk", {"standby.disk_free_bytes": None}),
        ("dr_release", {"homeservers": []}),
        ("dr_signing_key", {"homeservers": []}),
    ],
)
@pytest.mark.parametrize("value", ["None", "none", "0", ""])
def test_what_was_not_measured_cannot_be_accepted(gate: str, changes: dict[str, t.Any], value: str) -> None:
    check = judged(changes, {GATES[gate].accept: value})[gate]
    assert check.status == "unknown" and "dr_failover_accept" not in check.message


def test_a_number_is_as_good_as_its_text() -> None:
    assert judged({"dns.1.ttl": 3600}, {"dns_ttl": 3600})["dr_dns_ttl"].status == "ok"


def test_all_reasons_come_at_once_and_each_names_its_gate() -> None:
    changes: dict[str, t.Any] = {
        "fences": [],
        "standby.replay_paused": True,
        "standby.replay_lsn": "0/5000000",
        "standby.replayed_at": None,
        "standby.disk_free_bytes": 1,
        "homeservers.0.release": "1.160.0",
        "media.age_s": 901,
        "dns.0.ttl": 61,
    }
    checks = judged(changes, {"dns_ttl": "61"})
    assert refused(checks) == ["dr_fence", "dr_replay", "dr_loss", "dr_disk", "dr_release", "dr_media"]
    assert gates.refusals(checks.values())[1].startswith("dr_replay: its replay is paused")


def test_without_a_heartbeat_what_it_would_be_held_against_is_skipped_with_the_reason_and_never_ok() -> None:
    checks = judged({"heartbeat": None})
    skipped = {name: check.skipped_reason for name, check in checks.items() if check.status == "skipped"}
    assert skipped == dict.fromkeys(
        ("dr_identity", "dr_timeline", "dr_loss", "dr_connections"), "there is no heartbeat to hold it against"
    )
    assert refused(checks) == ["dr_heartbeat"]


@pytest.mark.parametrize(
    ("gate", "changes", "reason"),
    [
        ("dr_media", {"media": None}, "nobody said where"),
        ("dr_dns_ttl", {"dns": []}, "no records are to be changed"),
        ("dr_signing_key", {"primary_homeservers.0.signing_key_ids": []}, "no file of signing keys"),
        ("dr_connections", {"heartbeat.limits": None}, "does not say what the primary allowed"),
    ],
)
def test_what_has_no_part_in_the_move_is_skipped_with_its_reason(
    gate: str, changes: dict[str, t.Any], reason: str
) -> None:
    check = judged(changes)[gate]
    assert check.status == "skipped" and reason in (check.skipped_reason or "")


@pytest.mark.parametrize("region", ["one", "", None])
def test_a_run_that_goes_on_finds_that_nobody_serves_and_that_is_no_reason_to_refuse(region: str | None) -> None:
    assert judged({"record.region": region})["dr_regions"].status == "ok"
    assert judged({"record": {}})["dr_regions"].status == "ok"


@pytest.mark.parametrize(
    ("seconds", "lost", "limits", "status"),
    [
        (900.0, "0/5000000", Limits(), "ok"),
        (900.001, "0/5000000", Limits(), "critical"),
        (1.0, "0/5000000", Limits(rpo_bytes=96), "ok"),
        (1.0, "0/5000000", Limits(rpo_bytes=95), "critical"),
        (5.0, "0/5000000", Limits(rpo_s=4.9), "critical"),
        # More bytes than are allowed are too many, whatever their time is.
        (None, "0/5000000", Limits(rpo_bytes=95), "critical"),
        (None, "0/5000000", Limits(rpo_bytes=96), "unknown"),
        # Nothing is lost, however long nothing was written.
        (90000.0, "0/5000060", Limits(rpo_bytes=0), "ok"),
        (None, "0/5000060", Limits(rpo_s=0, rpo_bytes=0), "ok"),
        (None, "0/6000000", Limits(), "ok"),
    ],
)
def test_the_loss_is_judged_at_both_sides_of_each_limit(
    seconds: float | None, lost: str, limits: Limits, status: str
) -> None:
    heartbeat = "1970-01-02T12:00:00.000Z"
    at = None if seconds is None else moment(129600 - seconds)
    changes = {"standby.replay_lsn": lost, "standby.replayed_at": at, "heartbeat.at": heartbeat}
    check = judged(changes, limits=limits)["dr_loss"]
    assert check.status == status
    assert check.value == (96 if lost == "0/5000000" else 0) and check.unit == "B"


def moment(seconds: float) -> str:
    whole, fraction = divmod(round(seconds * 1000), 1000)
    hours, rest = divmod(whole, 3600)
    return f"1970-01-{1 + hours // 24:02d}T{hours % 24:02d}:{rest // 60:02d}:{rest % 60:02d}.{fraction:03d}Z"


@pytest.mark.parametrize(("replayed", "status"), [("12:01:00.000", "ok"), ("12:01:00.001", "critical")])
def test_a_heartbeat_is_old_where_the_standby_knows_of_more_than_a_minute_after_it(replayed: str, status: str) -> None:
    assert judged({"standby.replayed_at": f"2026-11-27T{replayed}Z"})["dr_heartbeat"].status == status


def test_limits_are_met_at_their_very_value_and_more_is_well() -> None:
    at_limit = {
        "standby.disk_free_bytes": 10 * GIB,
        "standby.timeline": 3,
        "standby.limits.max_connections": 400,
        "media.age_s": 900,
        "dns.0.ttl": 60,
    }
    assert refused(judged(at_limit)) == []
    # As text, too: the witness keeps what a guard of another release wrote.
    assert refused(judged({"heartbeat.timeline": "2", "heartbeat.system_identifier": 7000})) == []


def test_every_homeserver_host_counts_and_not_only_the_first() -> None:
    two = [*FACTS["homeservers"], {"host": "hs3", "release": "1.160.0", "signing_key_ids": ["ed25519:b_2"]}]
    checks = judged({"homeservers": two})
    assert refused(checks) == ["dr_release", "dr_signing_key"]
    assert "1.160.0,1.163.2" in checks["dr_release"].message and "hs3 signs with" in checks["dr_signing_key"].message
    three = [*two, {"host": "hs4", "release": "1.163.2", "signing_key_ids": []}]
    # What was said of one host does not cover the next one.
    once = judged({"homeservers": three}, {"signing_key": "ed25519:b_2"})["dr_signing_key"]
    assert once.status == "critical" and once.message.endswith("and the value is ed25519:b_2,none now")
    more = judged({"homeservers.0.signing_key_ids": ["ed25519:a_1", "ed25519:old"]})
    assert more["dr_signing_key"].status == "ok"
