"""Measure how an old primary comes back: rewound, or as a new copy of the primary.

In turns (A B A B), each from the same state: an old primary that wrote on after the other was promoted. It asserts
nothing: figures are for people.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import shutil
import tempfile
import time

from clusters import run
from pairs import Pair, Parted, Template

ROUNDS = 2
ROW_BYTES = 1000


def newest() -> int:
    """The newest PostgreSQL of this machine."""
    return max(int(path.name) for path in pathlib.Path("/usr/lib/postgresql").iterdir())


def main(words: list[str]) -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(prog="bench failback", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the database")
    parser.add_argument("--diverged", type=int, default=2000, help="rows that only the old primary has")
    parser.add_argument("--wal", type=int, default=256, help="max_wal_size in MB: pg_rewind copies all of pg_wal")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="bench-failback-") as directory, contextlib.ExitStack() as stack:
        base = pathlib.Path(directory)
        base.chmod(0o755)
        measure(base, options, stack)


def measure(base: pathlib.Path, options: argparse.Namespace, stack: contextlib.ExitStack) -> None:
    """Make the old and the new primary once, and bring the old one back in turns."""
    pair = Pair(Template(base / "template", newest()), base / "pair", stack)
    wal = {"wal_keep_size": "80MB", "min_wal_size": "80MB", "max_wal_size": f"{options.wal}MB"}
    pair.one.set(**wal)
    pair.two.set(**wal)
    pair.start()
    fill(pair, options.megabytes)
    Parted(pair)
    size = sum(path.stat().st_size for path in (pair.one.data / "base").rglob("*") if path.is_file())
    print(f"{size / 1e6:.0f} MB of data, {wal_bytes(pair.two.data) / 1e6:.0f} MB of log on the new primary")
    pair.two.start()
    kept = pair.one.data.with_name("kept")
    pair.one.data.rename(kept)
    for number in range(ROUNDS):
        run("cp", "-a", "--reflink=auto", str(kept), str(pair.one.data))
        run("sync")
        rewound = timed(lambda: good(pair.rewind(state="rewound")))
        shutil.rmtree(pair.one.data)
        run("sync")
        copied = timed(lambda: copy(pair))
        shutil.rmtree(pair.one.data)
        print(f"round {number + 1}: rewound {rewound:.2f} s, copied {copied:.2f} s, ratio {rewound / copied:.2f}")


def wal_bytes(data: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in (data / "pg_wal").iterdir() if path.is_file())


def fill(pair: Pair, megabytes: int) -> None:
    """Write rows until the database has its size, and let the standby have them."""
    count = megabytes * 1_000_000 // ROW_BYTES
    pair.one.sql(
        "INSERT INTO messages (body) SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 30) part, "
        f"generate_series(1, {count}) number GROUP BY number"
    )
    pair.one.sql("CHECKPOINT")
    pair.caught_up(pair.two, pair.one)


def copy(pair: Pair) -> None:
    """Copy the new primary, as the role postgresql does."""
    run(
        str(pair.two.tools / "pg_basebackup"),
        f"--pgdata={pair.one.data}",
        f"--host={pair.two.socket}",
        f"--port={pair.two.port}",
        "--username=postgres",
        "--wal-method=stream",
        "--checkpoint=fast",
    )


def good(result: dict) -> None:
    """Stop where the module did not do it."""
    if result.get("failed"):
        raise SystemExit(result["msg"])


def timed(act) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun
