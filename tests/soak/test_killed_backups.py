"""Whatever works on backups is killed at a moment that nobody chose: the next run succeeds, and no good set changes.

SEED repeats a run, ROUNDS says how long it is.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import signal
import time
import typing as t

from clusters import digests, pids, until
from modules import Store
from stores import MediaStore

ROUNDS = int(os.environ.get("ROUNDS", "20"))
SIGNALS = (signal.SIGTERM, signal.SIGKILL)
TOOLS = ("pg_basebackup", "pg_dump", "postgres")


def hidden(store: Store) -> list[str]:
    return [name for name in os.listdir(store.path / "sets") if name.startswith(".")]


def kill(store: Store, module: str, options: dict[str, t.Any], moment: float, number: signal.Signals) -> str:
    """Start a run, end it at a moment, and return how it ended."""
    run = store.start(module, **options)
    time.sleep(moment)
    run.send_signal(number)
    out, err = run.communicate(timeout=120)
    if number == signal.SIGTERM and out.strip():
        said = json.loads(out)
        assert not said.get("failed") or "ended by SIGTERM" in said["msg"], out + err
        return "ended by SIGTERM" if said.get("failed") else "was done before"
    return "killed" if run.returncode < 0 else "was done before"


def test_the_run_after_a_killed_one_succeeds(store: Store, tmp_path: pathlib.Path) -> None:
    seed = int(os.environ.get("SEED", "1"))
    chance = random.Random(seed)
    media = MediaStore(tmp_path / "media", files=400)
    kept = {"driver": "rsync", "path": str(media.root), "required": ["local_content"]}
    restored = store.root.parent / "restored"

    def backup(driver: str) -> dict[str, t.Any]:
        return {"database": {**store.database, "driver": driver}, "media": kept}

    good = store.made(**backup("native"), keep_until="2999-01-01T00:00:00Z")
    store.good("matrixon_backup_drill", media={})
    before = digests(store.path / "sets" / good)
    restore = {"directory": str(restored), "set": good}
    runs: dict[str, tuple[str, dict[str, t.Any]]] = {
        "backup": ("matrixon_backup", backup("native")),
        "dump": ("matrixon_backup", backup("logical")),
        "drill": ("matrixon_backup_drill", {"media": {}}),
        "prune": ("matrixon_backup_prune", {"keep_last": 1, "min_verified": 1, "media": {}}),
        "restore": ("matrixon_restore", restore),
    }
    took = {}
    for name, (module, options) in runs.items():
        begun = time.monotonic()
        store.good(module, **options)
        took[name] = time.monotonic() - begun
    shutil.rmtree(restored)
    for number in range(1, ROUNDS + 1):
        name = chance.choice(sorted(runs))
        module, options = runs[name]
        sent, moment = chance.choice(SIGNALS), chance.uniform(0.0, took[name])
        media.upload()
        how = kill(store, module, options, moment, sent)
        print(f"{number}: {name} after {moment:.2f} of {took[name]:.2f} s by {sent.name}: {how}", flush=True)
        until(lambda: not pids("postgres", "-D", str(store.root.parent / "store")))
        # Whatever it was, the same again succeeds.
        if restored.exists():
            shutil.rmtree(restored)
        store.good(module, **options)
        if restored.exists():
            shutil.rmtree(restored)
        last = store.made(**backup("native"))
        assert hidden(store) == [], (seed, number)
        assert digests(store.path / "sets" / good) == before, (seed, number)
        assert [tool for tool in TOOLS if pids(tool, str(store.path))] == [], (seed, number)
        proven = store.good("matrixon_backup_drill", set=last, media={})
        assert proven["report"]["status"] == "ok", (seed, number, proven["msg"])
        info = store.statuses(store.good("matrixon_backup_info"))
        assert (info["damaged_sets"], info["killed_runs"]) == ("ok", "ok"), (seed, number)
        left = {path.name for path in store.root.parent.iterdir()}
        assert left == {"store"}, (seed, number, left)
