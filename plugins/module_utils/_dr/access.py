# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.
"""Who may read and write what in the witness: root, and one user for each deployment, below its own keys alone."""

from __future__ import annotations

import typing as t

from ansible_collections.matrixon.ops.plugins.module_utils._dr import witness
from ansible_collections.matrixon.ops.plugins.module_utils._dr.witness import AUTH, Client, Deadline, WitnessError

ROOT = "root"
NOT_ENABLED = "authentication is not enabled"


class AccessRefused(Exception):
    """The witness is not in a state that this may change; the text says why, and the way out."""


class Admin:
    """Asks one member about its users: with root's password, or without one while nobody needs any."""

    def __init__(self, root: Client) -> None:
        self.root = root
        self.enabled = True

    def begin(self, deadline: Deadline) -> None:
        """See whether authentication is on, and whether the password is root's."""
        try:
            self.root.login(deadline)
        except WitnessError as failure:
            if NOT_ENABLED in failure.message:
                self.enabled = False
            elif failure.kind == AUTH:
                raise AccessRefused(
                    "root_password: it is not the one that the witness knows; give that one, only root can change it"
                ) from failure
            else:
                raise

    def ask(self, path: str, body: witness.Json, deadline: Deadline) -> witness.Json:
        """Ask as root, or while authentication is off as nobody."""
        return self.root.administer(path, body, deadline, anonymous=not self.enabled)

    def names(self, path: str, key: str, deadline: Deadline) -> list[str]:
        """Return the names of all users or roles."""
        return [str(name) for name in self.ask(path, {}, deadline).get(key, [])]


class Steps:
    """What has to be done, and done unless this is only a look."""

    def __init__(self, admin: Admin, deadline: Deadline, write: bool) -> None:
        self.admin, self.deadline, self.write = admin, deadline, write
        self.done: list[str] = []

    def __call__(self, what: str, path: str, body: witness.Json) -> None:
        self.done.append(what)
        if self.write:
            self.admin.ask(path, body, self.deadline)


def hold(root: Client, user: Client, deadline: Deadline, write: bool) -> list[str]:
    """Make users, role and rights as they should be; return what was done or would be."""
    admin = Admin(root)
    admin.begin(deadline)
    steps = Steps(admin, deadline, write)
    users = admin.names("auth/user/list", "users", deadline)
    roles = admin.names("auth/role/list", "roles", deadline)
    name = user.settings.user
    if not admin.enabled:
        _require_no_strangers([found for found in users if found not in (ROOT, name)])
    _hold_root(steps, users, roles, root.settings.password)
    _hold_role(steps, roles, name, user.settings.key(""))
    _hold_user(steps, users, user)
    if not admin.enabled:
        steps("authentication is switched on", "auth/enable", {})
    return steps.done


def _require_no_strangers(strangers: list[str]) -> None:
    """Without authentication anyone could have made a user of his own, who would stay."""
    if strangers:
        raise AccessRefused(
            f"authentication is off, and there are users of someone else's: {', '.join(sorted(strangers))}; remove "
            "them with etcdctl user delete if they are not wanted, or switch it on yourself with etcdctl auth enable"
        )


def _hold_root(steps: Steps, users: list[str], roles: list[str], password: str) -> None:
    if steps.admin.enabled:
        return
    if ROOT in users:
        steps("the password of root is set", "auth/user/changepw", {"name": ROOT, "password": password})
    else:
        steps("the user root is made", "auth/user/add", {"name": ROOT, "password": password})
    if ROOT not in roles:
        steps("the role root is made", "auth/role/add", {"name": ROOT})
    if ROOT not in users or ROOT not in _roles_of(steps, ROOT):
        steps("root gets its role", "auth/user/grant", {"user": ROOT, "role": ROOT})


def _hold_role(steps: Steps, roles: list[str], name: str, prefix: str) -> None:
    wanted = {
        "permType": "READWRITE",
        "key": witness.encode(prefix),
        "range_end": witness.encode(witness.after(prefix)),
    }
    found: list[witness.Json] = []
    if name in roles:
        found = steps.admin.ask("auth/role/get", {"role": name}, steps.deadline).get("perm", [])
    else:
        steps(f"the role {name} is made", "auth/role/add", {"name": name})
    # The gateway leaves out what is zero, and READ is.
    for permission in [dict({"permType": "READ"}, **one) for one in found]:
        if permission != wanted:
            place = {key: permission.get(key, "") for key in ("key", "range_end")}
            steps(f"the role {name} loses other rights", "auth/role/revoke", {"role": name, **place})
    if wanted not in found:
        steps(f"the role {name} may read and write {prefix}", "auth/role/grant", {"name": name, "perm": wanted})


def _hold_user(steps: Steps, users: list[str], user: Client) -> None:
    name, password = user.settings.user, user.settings.password
    if name not in users:
        steps(f"the user {name} is made", "auth/user/add", {"name": name, "password": password})
        steps(f"the user {name} gets its role", "auth/user/grant", {"user": name, "role": name})
        return
    if not steps.admin.enabled or not _knows(user, steps.deadline):
        steps(f"the password of {name} is set", "auth/user/changepw", {"name": name, "password": password})
    roles = _roles_of(steps, name)
    for other in roles:
        if other != name:
            steps(f"the user {name} loses the role {other}", "auth/user/revoke", {"name": name, "role": other})
    if name not in roles:
        steps(f"the user {name} gets its role", "auth/user/grant", {"user": name, "role": name})


def _roles_of(steps: Steps, name: str) -> list[str]:
    return [str(role) for role in steps.admin.ask("auth/user/get", {"name": name}, steps.deadline).get("roles", [])]


def _knows(user: Client, deadline: Deadline) -> bool:
    try:
        user.login(deadline)
    except WitnessError as failure:
        if failure.kind != AUTH:
            raise
        return False
    return True


def prove(user: Client, name: str, nonce: str, deadline: Deadline) -> None:
    """Write and read as the user will, and see that he can do no more and nobody without a password can do it."""
    key = f"proof/{name}"
    user.put(key, {"nonce": nonce}, deadline)
    entry = user.get(key, deadline)
    user.delete(key, deadline)
    if entry is None or entry.value != {"nonce": nonce}:
        raise AccessRefused(f"the witness did not return what was written to {user.settings.key(key)}")
    stranger = Client(user.settings._replace(server_name=f"{user.settings.server_name}.not-this-one"))
    doors: list[tuple[str, t.Callable[[], t.Any]]] = [
        (f"the user {user.settings.user} can read keys of another deployment", lambda: stranger.get(key, deadline)),
        (
            "keys can be read without a password",
            lambda: user.administer(
                "kv/range", {"key": witness.encode(user.settings.key(key))}, deadline, anonymous=True
            ),
        ),
    ]
    for finding, attempt in doors:
        if not _refused(attempt):
            raise AccessRefused(f"{finding}; look at its users and roles with etcdctl, as root")


def _refused(attempt: t.Callable[[], t.Any]) -> bool:
    try:
        attempt()
    except WitnessError as failure:
        if failure.kind != AUTH:
            raise
        return True
    return False
