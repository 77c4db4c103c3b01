"""What all tests share: the checkout can be imported as ansible_collections.matrixon.ops."""

from __future__ import annotations

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
COLLECTIONS = ROOT / ".build/collections"

if not (COLLECTIONS / "ansible_collections/matrixon/ops/galaxy.yml").exists():
    raise RuntimeError("run `make setup` first: it makes the link under which the tests import the collection")
sys.path.insert(0, str(COLLECTIONS))
