"""Old media go through the real Synapse, what should stay stays, and each gate is shut once."""

from __future__ import annotations

import email.utils
import json
import pathlib
import subprocess
import sys
import time
import typing as t

import jsonschema
import pytest
from media_world import ROOT, World, call, check, proxy

pytestmark = pytest.mark.integration

SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())


def statuses(document: dict[str, t.Any]) -> dict[str, str]:
    return {one["name"]: one["status"] for one in document["report"]["checks"]}


def test_remote_media_go_by_age_and_the_second_run_finds_none(world: World) -> None:
    old = [world.fetched(days) for days in (91, 200, 400)]
    held = world.fetched(300)
    world.sql("UPDATE remote_media_cache SET quarantined_by = '@admin:lab.test' WHERE media_id = %s", held)
    young = [world.fetched(89), world.fetched(1)]
    paths = [world.file_of(media_id) for media_id in (*old, held, *young)]
    # Of 1970 had the time been in seconds; nothing else of the store is touched.
    local = world.local()

    would = world.clean(check_mode=True)
    assert would["changed"] and world.remote() == {*old, held, *young} and all(path.exists() for path in paths)
    assert check(would, "remote_media")["status"] == "skipped"
    assert "3 files" in check(would, "remote_media")["message"]
    assert {one["path"] for one in would["doomed"]["remote"]} == {str(p.relative_to(world.store)) for p in paths[:3]}

    done = world.clean(batch=2)
    jsonschema.validate(done["report"], SCHEMA)
    assert (done["changed"], done["report"]["status"]) == (True, "ok"), done
    assert world.remote() == {held, *young} and world.local() == local
    assert [path.exists() for path in paths] == [False] * 3 + [True] * 3
    assert not list((world.store / "remote_thumbnail").glob("*/*/*/*/*-crop"))[3:]
    facts = done["report"]["facts"]["remote"]
    assert (facts["gone"]["files"], facts["left"]["files"]) == (3, 0)
    assert (facts["there"]["files"], facts["there_after"]["files"]) == (6, 3) and facts["disk_freed"] > 0
    # The lab talks to no other server, and then gives out none of its files.
    assert "Federation denied with far.example" in check(done, "remote_kept")["skipped_reason"]
    said = check(done, "remote_self_report")
    assert (said["value"], said["source"]) == (3, "self_report")

    again = world.clean()
    assert (again["changed"], again["report"]["status"], again["doomed"]) == (False, "ok", {})
    assert world.remote() == {held, *young}


def test_local_media_go_only_by_choice_with_each_file_in_a_proven_set(world: World) -> None:
    old, young = [world.upload(120) for _number in range(3)], world.upload()
    safe = {name: world.upload(500) for name in ("quarantined", "protected", "avatar")}
    world.sql("UPDATE local_media_repository SET quarantined_by = 'a' WHERE media_id = %s", safe["quarantined"])
    world.sql("UPDATE local_media_repository SET safe_from_quarantine = true WHERE media_id = %s", safe["protected"])
    world.sql("UPDATE profiles SET avatar_url = %s WHERE user_id = 'admin'", f"mxc://lab.test/{safe['avatar']}")
    before = world.local()
    try:
        assert world.clean()["changed"] is False
        unproven = world.back_up(proven=False)
        refused = world.clean_local()
        assert check(refused, "media_backup")["status"] == "critical" and world.local() == before
        assert "1 of them with media, and no drill proved one" in check(refused, "media_backup")["message"]
        proven = world.back_up()
        assert proven != unproven

        would = world.clean_local(check_mode=True)
        assert would["changed"] and world.local() == before, would
        assert {one["path"][-20:] for one in would["doomed"]["local"]} == {media_id[4:] for media_id in old}
        done = world.clean_local()
        assert (done["changed"], done["report"]["status"]) == (True, "ok"), done
        assert before - world.local() == set(old)
        assert not any(world.local_path(media_id).exists() for media_id in old)
        assert done["report"]["facts"]["local"]["backup_set"] == proven
        assert check(done, "local_kept")["status"] == "ok"
        assert world.request("GET", f"/_matrix/client/v1/media/download/lab.test/{young}")
        # What went is still to be had.
        found = list((world.sets / "lab/hs1/media").glob(f"*/files/local_content/*/*/{old[0][4:]}"))
        assert found and found[0].stat().st_size == 3000
        assert world.clean_local()["changed"] is False
    finally:
        world.sql("UPDATE profiles SET avatar_url = NULL WHERE user_id = 'admin'")


def test_a_set_that_lacks_one_file_shuts_the_gate(world: World) -> None:
    old = [world.upload(120) for _number in range(3)]
    world.back_up()
    late = world.upload(120)
    refused = world.clean_local(fail_on="unknown")
    assert refused["failed"] and not refused["changed"]
    said = check(refused, "media_backup")
    assert (said["status"], said["value"]) == ("critical", 1)
    assert f"lacks 1 of the 4 files that would go: {world.local_path(late).relative_to(world.store)}" in said["message"]
    assert {*old, late} <= world.local() and "local" not in refused["doomed"]
    # So does one whose copy is not as long, or has gone from the snapshot.
    world.local_path(late).unlink()
    world.sql("DELETE FROM local_media_repository WHERE media_id = %s", late)
    (copy,) = (world.sets / "lab/hs1/media").glob(f"*/files/local_content/*/*/{old[0][4:]}")
    copy.unlink()
    assert check(world.clean_local(), "media_backup")["value"] == 1
    assert set(old) <= world.local()


def test_restic_says_what_it_holds(world: World, tmp_path: pathlib.Path) -> None:
    old = [world.upload(120) for _number in range(2)]
    password = tmp_path / "password"
    password.write_text("a password of some length")
    password.chmod(0o600)
    world.back_up(driver="restic", password_file=str(password))
    late = world.upload(120)
    backup = {"root": str(world.sets), "server": "hs1", "password_file": str(password)}
    refused = world.clean_local(backup=backup)
    assert check(refused, "media_backup")["value"] == 1 and late[4:] in check(refused, "media_backup")["message"]
    world.age(late, 0)
    assert world.clean_local(backup=backup)["report"]["status"] == "ok"
    assert not set(old) & world.local() and late in world.local()


def test_remote_media_want_a_fresh_verified_backup_of_the_database_or_a_reason(world: World) -> None:
    world.fetched(1)
    old = world.fetched(100)
    for sets in ([], [world.database_set(status="complete")], [world.database_set(age=27 * 3600)]):
        refused = world.clean(database_sets=sets, fail_on="critical")
        assert refused["failed"] and check(refused, "database_backup")["status"] == "critical"
        assert "take one with the playbook" in check(refused, "database_backup")["message"] and old in world.remote()
    waived = world.clean(database_sets=[], remote_without_backup="the lab has none")
    assert waived["changed"] and old not in world.remote()
    assert waived["report"]["facts"]["remote"]["without_backup"] == "the lab has none"
    assert any("the lab has none" in line for line in waived["report"]["evidence"])


def test_too_large_a_share_is_refused_with_what_was_measured(world: World) -> None:
    ids = [world.fetched(days) for days in (100, 100, 1, 1)]
    refused = world.clean(max_share=30)
    said = check(refused, "remote_share")
    assert (said["status"], said["value"]) == ("critical", 50.0)
    assert "2 files" in said["message"] and "50.0 %" in said["message"] and "max_share is 30 %" in said["message"]
    assert world.remote() == set(ids) and not refused["changed"]


def test_an_api_that_fails_in_the_middle_leaves_true_figures_and_the_next_run_goes_on(world: World) -> None:
    old = [world.fetched(100 + number) for number in range(6)]
    young = world.fetched(1)
    address = {"token_file": world.lab.secret("admin_token")}
    with proxy(world, good=2) as between:
        broken = world.clean(batch=2, api={**address, "url": between.url})
    said = check(broken, "remote_media")
    assert broken["changed"] and said["status"] == "critical" and said["value"] == 4, said
    assert "answered 500" in said["message"] and "are left; run it again to go on" in said["message"]
    # The longest unused went first.
    assert world.remote() == {*old[:2], young}
    assert broken["report"]["facts"]["remote"]["left"]["files"] == 2
    # This time it does what it was asked before it fails: what was measured counts.
    with proxy(world, good=0, acts=True) as between:
        acted = world.clean(batch=1, api={**address, "url": between.url})
    facts = acted["report"]["facts"]["remote"]
    assert (facts["gone"]["files"], facts["left"]["files"]) == (1, 1) and acted["changed"]
    assert check(acted, "remote_self_report")["value"] == 0
    rest = world.clean()
    assert rest["report"]["status"] == "ok" and world.remote() == {young}


def test_local_media_that_fail_in_the_middle_go_on_as_well(world: World) -> None:
    old = [world.upload(100 + number) for number in range(4)]
    world.back_up()
    with proxy(world, good=2) as between:
        broken = world.clean_local(api={"token_file": world.lab.secret("admin_token"), "url": between.url})
    assert check(broken, "local_media")["value"] == 2 and broken["changed"]
    assert set(old) & world.local() == set(old[:2])
    # The file of one is gone, and its row is there, as after a crash: it is in the backup, so the row may go.
    world.local_path(old[0]).unlink()
    rest = world.clean_local()
    assert rest["report"]["status"] == "ok" and not set(old) & world.local()


def test_clocks_that_differ_shut_the_gate(world: World) -> None:
    old = world.fetched(100)
    off = world.clean(controller_time=time.time() - 100)
    said = check(off, "clocks")
    assert said["status"] == "critical" and said["value"] == pytest.approx(100, abs=20) and not off["changed"]
    assert check(off, "remote_media")["status"] == "skipped"
    date = email.utils.formatdate(time.time() + 3600, usegmt=True)
    with proxy(world, date=date) as between:
        off = world.clean(api={"token_file": world.lab.secret("admin_token"), "url": between.url})
    assert check(off, "clocks")["status"] == "critical" and old in world.remote()


def test_what_cannot_be_asked_is_unknown_and_nothing_goes(world: World, tmp_path: pathlib.Path) -> None:
    old = world.fetched(100)
    url, canary = world.lab.url("main"), "canary-of-a-wrong-token"
    wrong = world.clean(api={"url": url, "token": canary}, fail_on="unknown")
    assert wrong["failed"] and canary not in json.dumps(wrong)
    assert (check(wrong, "admin_api")["status"], check(wrong, "admin_api")["error_kind"]) == ("unknown", "auth")
    # A user who is no administrator.
    weak = world.clean(api={"url": url, "token_file": world.lab.secret("alice_token")})
    assert check(weak, "admin_api")["error_kind"] == "auth"
    gone = world.clean(api={"url": "http://127.0.0.1:9", "token": canary})
    assert check(gone, "admin_api")["error_kind"] == "refused"
    server = {**world.options()["postgresql"], "user": "monitor", "password_file": world.lab.secret("monitor_password")}
    blind = world.clean(postgresql=server)
    assert (check(blind, "remote_media")["status"], check(blind, "remote_media")["error_kind"]) == ("unknown", "auth")
    (tmp_path / "empty").mkdir()
    other = world.clean(media_dir=str(tmp_path / "empty"))
    assert (
        check(other, "remote_store")["status"] == "critical" and "mounted?" in check(other, "remote_store")["message"]
    )
    assert old in world.remote() and world.file_of(old).exists()


def test_bad_options_are_refused_all_at_once(world: World) -> None:
    refused = world.clean(remote_days=0, local_days=0, local_confirm="lab", max_share=0, remote_without_backup=" ")
    for words in (
        "remote_days: 0",
        "local_days: 0",
        "local_confirm: 'lab' is not 'lab.test'",
        "max_share: 0",
        "say why",
    ):
        assert words in refused["msg"], refused["msg"]
    assert refused["failed"] and "report" not in refused


def test_a_profile_that_cannot_says_so(world: World) -> None:
    ways = {name: {"state": "unsupported", "reason": "it has no tables"} for name in ("remote", "local")}
    found = world.clean(ways=ways, profile="matrixon")
    assert (found["changed"], found["report"]["status"]) == (False, "unknown")
    reason = "profile matrixon cannot clean up remote media: it has no tables"
    assert check(found, "remote_media")["skipped_reason"] == reason
    refused = call(
        "matrixon_media_cleanup",
        **{**world.options(), "ways": ways, "profile": "matrixon", "local_days": 9, "local_confirm": "lab.test"},
    )
    assert "local_days: profile matrixon cannot clean up local media: it has no tables" in refused["msg"]


def test_a_file_that_stayed_must_come_as_it_lies_in_the_store(world: World) -> None:
    world.fetched(1, b"what is kept")
    for content, status in ((b"what is kept", "ok"), (b"what is lost", "critical")):
        old = world.fetched(100)
        with proxy(world, download=content) as between:
            done = world.clean(max_share=100, api={"token_file": world.lab.secret("admin_token"), "url": between.url})
        assert check(done, "remote_kept")["status"] == status and done["changed"] and old not in world.remote()


def test_the_playbook_deletes_and_publishes(world: World, tmp_path: pathlib.Path) -> None:
    dummy, young = world.fetched(100), world.fetched(1)
    reports = tmp_path / "reports"
    given = {
        "matrixon_report_dir": str(reports),
        "matrixon_backup_root": str(world.sets),
        "media_cleanup_max_share": 90,
        "media_cleanup_remote_without_backup": "the lab has none",
    }
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), str(ROOT / "playbooks/media_cleanup.yml")]
    command += ["-i", str(ROOT / "inventories/lab"), "-e", json.dumps(given)]
    done = subprocess.run(
        command, cwd=ROOT, env=world.lab.environment, capture_output=True, text=True, timeout=300, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0 and world.remote() == {young}, output
    assert "[WARNING]" not in output and world.token not in output
    page = json.loads((reports / "media_cleanup-lab.json").read_text())
    assert page["status"] == "ok" and (reports / "media_cleanup-lab.html").exists()
    report = json.loads((reports / "hosts/media_cleanup-lab-hs.json").read_text())
    assert report["facts"]["remote"]["gone"]["files"] == 1
    assert any("the lab has none" in line for line in report["evidence"])
