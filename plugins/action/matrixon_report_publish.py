# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish what the hosts of a play returned, on the controller.

It is an action plugin, because it works on the controller only, in one step
and without a connection, and because the documents that it reads would be
echoed in the result of a module.
"""

from __future__ import annotations

import base64
import datetime
import difflib
import hashlib
import json
import os
import pathlib
import re
import tempfile
import typing as t

import jinja2
import markupsafe
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.matrixon.ops.plugins.module_utils import _fleet, _page, _report

ARGUMENTS: dict[str, t.Any] = {
    "documents": {"type": "list", "elements": "raw", "required": True},
    "unreachable": {"type": "list", "elements": "raw", "default": []},
    "kind": {"type": "str", "default": "health"},
    "deployment": {"type": "str", "default": ""},
    "dir": {"type": "path", "required": True},
    "json": {"type": "bool", "default": True},
    "hosts": {"type": "bool", "default": True},
    "page": {"type": "bool", "default": True},
    "keep": {"type": "int", "default": 30},
    "file_mode": {"type": "str", "default": "0640"},
    "skew_components": {"type": "list", "elements": "str", "default": list(_fleet.DEFAULT_SKEW_COMPONENTS)},
    "stale_after": {"type": "int", "default": 86400},
    "template": {"type": "path", "default": ""},
}

_DIFF_LINES = 40
_KIND = re.compile(r"[a-z][a-z_]*\Z")
_MODE = re.compile(r"0?[0-7]{3}\Z")
_COLLECTION = pathlib.Path(__file__).resolve().parents[2]
_TEMPLATE = _COLLECTION / "roles" / "report" / "templates" / "page.html.j2"


class ActionModule(ActionBase):
    """Write the fleet's reports."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> dict[str, t.Any]:
        """Work out the fleet's view and write what has changed."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        dummy, options = self.validate_argument_spec(ARGUMENTS)
        options = _fleet.plain(options)
        _refuse_bad(options)
        store = Store(options["dir"], int(options["file_mode"], 8), write=not self._task.check_mode)
        try:
            result.update(publish(options, store, _now()))
        except OSError as error:
            raise AnsibleActionFail(f"The report cannot be written: {error}") from error
        if self._task.check_mode:
            result["msg"] = _check_mode_message(store)
        if self._task.diff:
            result["diff"] = store.diff()
        return result


def _refuse_bad(options: dict[str, t.Any]) -> None:
    if not _KIND.match(options["kind"]):
        raise AnsibleActionFail(f"kind is {options['kind']!r}; it must be a word of small letters and underscores")
    if not _MODE.match(options["file_mode"]):
        raise AnsibleActionFail(f"file_mode is {options['file_mode']!r}; it must be octal digits such as '0640'")
    if options["keep"] < 0:
        raise AnsibleActionFail(f"keep is {options['keep']}; it must be 0 or more")


def _now() -> str:
    return _report.rfc3339(datetime.datetime.now(datetime.timezone.utc))


def _check_mode_message(store: Store) -> str:
    if not store.changes:
        return "Check mode: nothing would be written, every file is as it should be."
    return "Check mode: nothing was written. Would be: " + "; ".join(f"{verb} {path}" for verb, path in store.changes)


def publish(options: dict[str, t.Any], store: Store, now: str) -> dict[str, t.Any]:
    """Write all outputs that are switched on and return what a caller needs to know."""
    fleet = _fleet.fleet_view(
        options["documents"],
        options["unreachable"],
        kind=options["kind"],
        deployment=options["deployment"],
        now=now,
        skew_components=options["skew_components"],
    )
    name = f"{fleet['kind']}-{_fleet.file_name(fleet['deployment'])}"
    history = History(store, name, options["keep"])
    runs = history.read(fleet)
    paths: dict[str, str] = {}
    if options["json"]:
        paths["json"] = store.put(f"{name}.json", _json(fleet, indent=1))
    if options["hosts"]:
        for host in fleet["hosts"]:
            # A host that returned nothing keeps its last report as the baseline.
            if not host.get("synthesised"):
                host_file = f"{fleet['kind']}-{_fleet.file_name(host['target'])}.json"
                store.put(f"hosts/{host_file}", _json(_fleet.compact(host)))
        paths["hosts"] = str(store.root / "hosts")
    history.add(fleet)
    # Last, as a template of one's own may fail, and the records are kept by then.
    if options["page"]:
        template = options["template"] or str(_TEMPLATE)
        page = _page.page_view(
            fleet,
            runs,
            version=collection_version(),
            stale_after=options["stale_after"],
            unreadable_history=history.unreadable,
        )
        paths["page"] = store.put(f"{name}.html", render(pathlib.Path(template), page))
    previous = runs[-1]["status"] if runs else None
    return {
        "changed": bool(store.changes),
        "changes": [f"{verb} {path}" for verb, path in store.changes],
        "summary": _fleet.summary(fleet, paths, previous),
        "headline": fleet["headline"],
        "status": fleet["status"],
    }


def _json(document: t.Any, indent: int | None = None) -> str:
    separators = None if indent else (",", ":")
    return json.dumps(document, ensure_ascii=False, indent=indent, separators=separators) + "\n"


# The page


def render(template: pathlib.Path, page: dict[str, t.Any]) -> str:
    """Return the page. Autoescape is on, and the policy in it allows only its own script."""
    # A template of one's own may use the parts of this collection's.
    folder = jinja2.ChoiceLoader([jinja2.FileSystemLoader(str(path.parent)) for path in (template, _TEMPLATE)])
    environment = jinja2.Environment(
        loader=folder,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = folder.get_source(environment, "page.css")[0]
    script = folder.get_source(environment, "page.js")[0]
    try:
        return environment.get_template(template.name).render(
            page=page,
            style=markupsafe.Markup(style),
            script=markupsafe.Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    except jinja2.TemplateError as error:
        raise AnsibleActionFail(f"The template {template} failed: {error}") from error


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def collection_version() -> str:
    """Return the version of this collection, or nothing if it does not say."""
    try:
        return str(json.loads((_COLLECTION / "MANIFEST.json").read_text())["collection_info"]["version"])
    except (OSError, ValueError, KeyError):
        pass
    try:
        found = re.search(r"(?m)^version:\s*[\"']?([^\s\"']+)", (_COLLECTION / "galaxy.yml").read_text())
    except OSError:
        return ""
    return found.group(1) if found else ""


# Files


class Store:
    """The report directory. It writes whole files by rename, and only those that differ."""

    def __init__(self, root: str, mode: int, *, write: bool) -> None:
        self.root = pathlib.Path(root)
        self.mode = mode
        # Who may read a file may enter its directory.
        self.directory_mode = mode | (mode & 0o444) >> 2 | 0o100
        self.write = write
        self.changes: list[tuple[str, str]] = []
        self._texts: dict[str, tuple[str, str]] = {}

    def put(self, name: str, text: str) -> str:
        """Make a file hold a text and return its path."""
        path = self.root / name
        content = text.encode("utf-8", "replace")
        try:
            before: bytes | None = path.read_bytes()
            mode = path.stat().st_mode & 0o777
        except FileNotFoundError:
            before, mode = None, self.mode
        if before != content:
            self.changes.append(("update" if before is not None else "create", str(path)))
            self._texts[str(path)] = ((before or b"").decode("utf-8", "replace"), text)
            if self.write:
                self._replace(path, content)
        elif mode != self.mode:
            self.changes.append(("set the mode of", str(path)))
            if self.write:
                path.chmod(self.mode)
        return str(path)

    def remove(self, path: pathlib.Path) -> None:
        """Remove a file."""
        self.changes.append(("remove", str(path)))
        if self.write:
            path.unlink(missing_ok=True)

    def _replace(self, path: pathlib.Path, content: bytes) -> None:
        for folder in (*reversed(path.parent.parents), path.parent):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                folder.chmod(self.directory_mode)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:60]}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), self.mode)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            pathlib.Path(temporary).unlink(missing_ok=True)
            raise

    def diff(self) -> list[dict[str, str]]:
        """Return what changes, cut to what a person reads."""
        return [{"prepared": self._diff(verb, path)} for verb, path in self.changes]

    def _diff(self, verb: str, path: str) -> str:
        before, after = self._texts.get(path, ("", ""))
        if verb != "update" or not path.endswith(".json") or before.count("\n") < 2:
            return f"{verb} {path}\n"
        lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), path, path, lineterm="", n=1))
        cut = [line[:200] for line in lines[:_DIFF_LINES]]
        if len(lines) > len(cut):
            cut.append(f"({len(lines) - len(cut)} more lines)")
        return "\n".join(cut) + "\n"


class History:
    """One compact file per run, the newest of which are kept."""

    def __init__(self, store: Store, name: str, keep: int) -> None:
        self.store = store
        self.name = name
        self.keep = keep
        self.unreadable = 0
        self.directory = store.root / "history"
        self._pattern = re.compile(re.escape(name) + r"-\d{8}T\d{9}Z\.json\Z")

    def files(self) -> list[pathlib.Path]:
        """Return the stored runs of this deployment, oldest first."""
        try:
            return sorted(path for path in self.directory.iterdir() if self._pattern.match(path.name))
        except FileNotFoundError:
            return []

    def read(self, fleet: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        """Return the runs before this one that the plots show."""
        runs = []
        # One more than is plotted, as this run may be among them.
        for path in self.files()[-(_page.STRIP_RUNS + 1) :]:
            try:
                point = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError):
                point = None
            if not _fleet.is_history_point(point):
                self.unreadable += 1
            elif point["finished"] < fleet["finished"]:
                runs.append(point)
        return runs

    def add(self, fleet: dict[str, t.Any]) -> None:
        """Store this run and drop the oldest ones."""
        name = f"{self.name}-{_fleet.timestamp_name(fleet['finished'])}.json"
        stored = [path for path in self.files() if path.name != name]
        if self.keep:
            self.store.put(f"history/{name}", _json(_fleet.history_point(fleet)))
            stored = sorted([*stored, self.directory / name])
        for path in stored[: max(0, len(stored) - self.keep)]:
            self.store.remove(path)
