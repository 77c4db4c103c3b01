# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""The options of a clean-up of media, and what is wrong with them."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._backup.errors import BackupError
from ansible_collections.matrixon.ops.plugins.module_utils._http import HTTPS_SPEC, parse_url
from ansible_collections.matrixon.ops.plugins.module_utils._media.model import LOCAL, REMOTE, Kind, Way
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors
from ansible_collections.matrixon.ops.plugins.module_utils._postgresql import LOGIN_SPEC, PASSWORD_FILE_SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._report import OBSERVER

Options = t.Mapping[str, t.Any]

SPEC: dict[str, t.Any] = {
    **OBSERVER,
    "server_name": {"type": "str", "required": True},
    "media_dir": {"type": "path", "required": True},
    "ways": {"type": "dict", "required": True},
    "controller_time": {"type": "float", "required": True},
    "remote_days": {"type": "int"},
    "remote_without_backup": {"type": "str"},
    "local_days": {"type": "int"},
    "local_confirm": {"type": "str"},
    "local_larger_than": {"type": "int", "default": 0},
    "max_share": {"type": "float", "default": 30},
    "api": {
        "type": "dict",
        "required": True,
        "options": {
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "no_log": True},
            "token_file": {"type": "path", "no_log": False},
            **HTTPS_SPEC,
        },
        "mutually_exclusive": [("token", "token_file")],
    },
    "postgresql": {"type": "dict", "required": True, "options": {**LOGIN_SPEC, **PASSWORD_FILE_SPEC}},
    "backup": {
        "type": "dict",
        "options": {
            "root": {"type": "path", "required": True},
            "server": {"type": "str"},
            "owner": {"type": "str"},
            "repository": {"type": "str"},
            "password_file": {"type": "path", "no_log": False},
            "environment_file": {"type": "path"},
        },
    },
    "database_sets": {"type": "list", "elements": "dict", "default": []},
    "backup_max_age": {"type": "float", "default": 93600},
    "batch": {"type": "int", "default": 500},
    "timeout": {"type": "float", "default": 120},
    "deadline": {"type": "float", "default": 3600},
}
SECRETS = {"api": ("token",), "postgresql": ("password",)}
NAME = re.compile(r"[A-Za-z0-9.\-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")


def kinds_of(options: Options) -> tuple[Kind, ...]:
    """Return what is to be cleaned up; raise OptionErrors with all that cannot be right."""
    if errors := [*_errors(options), *_local_errors(options)]:
        raise OptionErrors(errors)
    try:
        return tuple(
            Kind(
                name,
                options[f"{name}_days"],
                Way.of(way["value"]) if "value" in way else None,
                f"profile {options['profile']} cannot clean up {name} media: {way.get('reason')}",
                options["local_larger_than"] if name == LOCAL else 0,
            )
            for name in (REMOTE, LOCAL)
            for way in (options["ways"][name],)
        )
    except BackupError as error:
        raise OptionErrors([f"ways: {error.message}"]) from error
    except (KeyError, TypeError) as error:
        raise OptionErrors(
            [f"ways: {error} is missing or of another kind; give what the profile has under media_cleanup"]
        ) from error


def _errors(options: Options) -> t.Iterator[str]:
    if not NAME.fullmatch(options["server_name"]):
        yield f"server_name: {options['server_name']!r} is not a server name; write for example example.com"
    if not os.path.normpath(options["media_dir"]).strip("/") or not os.path.isabs(options["media_dir"]):
        yield f"media_dir: {options['media_dir']!r} is not the absolute path of a media store"
    try:
        parse_url(options["api"]["url"])
    except ValueError as error:
        yield f"api.url: {options['api']['url']!r}: {error}"
    for name in (REMOTE, LOCAL):
        way, days = options["ways"].get(name), options[f"{name}_days"]
        if not isinstance(way, dict):
            yield f"ways: {name} is missing; give what the profile has under media_cleanup"
        elif days is not None and "value" in way and not options["api"]["token"]:
            yield f"api.token: is missing; {name} media go only by an administrator's access token"
        if days is not None and days < 1:
            yield f"{name}_days: {days} would take media that are in use; give 1 or more, or leave it out to keep all"
    if not 0 < options["max_share"] <= 100:
        yield f"max_share: {options['max_share']:g} is not above 0 and at most 100, in percent"
    if options["batch"] < 1:
        yield f"batch: {options['batch']} is not 1 or more files"
    for name in ("backup_max_age", "timeout", "deadline"):
        if not options[name] > 0:
            yield f"{name}: {options[name]:g} is no time; give more than 0 seconds"
    waiver = options["remote_without_backup"]
    if waiver is not None and not waiver.strip():
        yield "remote_without_backup: is empty; say why, for it stands in the report, or leave it out"


def _local_errors(options: Options) -> t.Iterator[str]:
    if options["local_larger_than"] < 0:
        yield f"local_larger_than: {options['local_larger_than']} is not 0 or more bytes"
    if options["local_days"] is None:
        return
    if options["local_confirm"] != options["server_name"]:
        yield (
            f"local_confirm: {options['local_confirm'] or ''!r} is not {options['server_name']!r}; local media exist "
            "nowhere else, so repeat the server's name to have those deleted, or leave local_days out"
        )
    if options["backup"] is None:
        yield "backup: is missing; local media go only where a verified backup holds them"
    way = options["ways"].get(LOCAL)
    if isinstance(way, dict) and way.get("state") == "unsupported":
        yield f"local_days: profile {options['profile']} cannot clean up local media: {way.get('reason')}"
