# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""What is known of the backup sets of a host beyond their age: which were proven, and how far their log leads."""

from __future__ import annotations

import datetime
import os

from ansible_collections.matrixon.ops.plugins.module_utils._backup.archive import Archive, first_hole
from ansible_collections.matrixon.ops.plugins.module_utils._backup.manifest import (
    DATABASE,
    PHYSICAL,
    Manifest,
    Target,
)
from ansible_collections.matrixon.ops.plugins.module_utils._backup.process import Runner
from ansible_collections.matrixon.ops.plugins.module_utils._backup.store import Entry, Store
from ansible_collections.matrixon.ops.plugins.module_utils._health import backup
from ansible_collections.matrixon.ops.plugins.module_utils._probe import Deadline, Facts, ProbeFailure

# The driver whose archive is a directory of this host.
NATIVE = "native"


def observe(root: str, deadline: Deadline) -> Facts:
    """Return, for each server under the root, its newest proven set and how far its log leads."""
    try:
        servers = list(backup.servers_below(os.path.normpath(root), backup.MAX_DEPTH))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename == os.path.normpath(root):
            return {"servers": {}}
        raise backup.failure_of(error) from error
    found: Facts = {}
    for server in servers:
        deadline.require(f"reading the sets in {server}")
        try:
            found[server] = _proof(server)
        except ProbeFailure as failure:
            found[server] = failure
    return {"servers": found}


def _proof(server: str) -> Facts:
    fleet, name = os.path.split(server)
    root, fleet = os.path.split(fleet)
    entries = [entry for entry in Store(root, fleet, name).sets() if entry.manifest and not entry.damage]
    proven = [(entry.id, _finished(entry)) for entry in entries if entry.verified]
    physical = [entry.manifest for entry in entries if entry.manifest and entry.manifest.kind in PHYSICAL]
    return {
        "sets": len(entries),
        "proven": proven[-1] if proven else None,
        "log": _log(os.path.join(server, "wal"), physical[-1] if physical else None),
    }


def _finished(entry: Entry) -> datetime.datetime:
    if not entry.manifest:
        raise AssertionError
    return entry.manifest.finished


def _log(path: str, manifest: Manifest | None) -> Facts | ProbeFailure:
    """Return the first hole in the log after a set, and when its archive was last written to; or why not."""
    if manifest is None or manifest.pg is None:
        return {"skipped": "there is no set of a whole database server that a log could go on from"}
    driver = manifest.components[DATABASE].driver
    if driver != NATIVE:
        return {"skipped": f"the log of set {manifest.id} is kept by {driver}; matrixon_backup_info follows it there"}
    if not os.path.isdir(path):
        return {"skipped": f"there is no archive of the log in {path}"}
    try:
        # Only names and lengths are looked at, so no tool is needed.
        archive = Archive(path, Runner(), "", manifest.pg.segment_bytes)
        walk, names = archive.walk(manifest.pg, Target())
    except ProbeFailure as failure:
        return failure
    return {"set": manifest.id, "path": path, "hole": first_hole(walk, path), "newest": archive.written(names)}
