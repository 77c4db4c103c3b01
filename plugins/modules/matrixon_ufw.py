#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_ufw
short_description: Give ufw a whole set of rules, and take it back unless it is confirmed
version_added: 0.1.0
description:
  - Makes the rules of ufw those of a list, in its order, with incoming and routed traffic denied and outgoing
    traffic allowed, for IPv4 and IPv6. Rules that are not in the list are removed.
  - Compares the files of ufw and the rules in the kernel, so it also notices a packet filter that was stopped,
    flushed or opened by hand.
  - A change can be armed. The new rules then live in the kernel alone, and the host takes them back after some
    seconds by a systemd timer, unless O(state=confirmed) comes first. A reboot takes them back, too.
  - Rules in other tables and other chains, such as those of Docker or fail2ban, are left alone.
attributes:
  check_mode:
    support: full
    description: In check mode nothing is written, and the result says which rules would come and go.
  diff_mode:
    support: full
    description: Shows the rules that come and go.
  platform:
    support: full
    description: It works on hosts of this kind, with ufw, iptables and systemd.
    platforms: debian
options:
  state:
    description:
      - V(present) compares, and applies what differs.
      - V(confirmed) makes an armed change last.
      - V(rolled_back) waits until the host has taken an armed change back, and says when it did.
    type: str
    choices: [present, confirmed, rolled_back]
    default: present
  rules:
    description: The rules, as from P(matrixon.ops.firewall_rules#filter). Required with O(state=present).
    type: list
    elements: dict
    suboptions:
      action:
        description: What happens to what the rule matches.
        type: str
        choices: [allow, deny, reject]
        default: allow
      proto:
        description: The protocol.
        type: str
        choices: [tcp, udp, any]
        default: tcp
      port:
        description: A port, a range such as V(1000:2000), or empty for all.
        type: str
        default: ""
      from:
        description: An address, a network, or V(any).
        type: str
        default: any
      interface:
        description: Where it comes in. Empty means anywhere.
        type: str
        default: ""
      comment:
        description: What it is for.
        type: str
        default: ""
  logging:
    description: What ufw logs.
    type: str
    choices: ["off", low, medium, high, full]
    default: low
  keep_unmanaged:
    description: Whether rules stay that this module did not write.
    type: bool
    default: false
  only_add:
    description:
      - Whether all rules stay that are there, whoever wrote them, so that nothing is closed that was open.
      - A host without a packet filter gets one all the same, and denies what no rule allows.
    type: bool
    default: false
  rollback_after:
    description: Seconds after which the host takes the change back. 0 makes it last at once.
    type: int
    default: 0
  token:
    description: Which armed change is meant, from RV(token). Required with the other states.
    type: str
  timeout:
    description: Seconds to wait with O(state=rolled_back).
    type: int
    default: 60
author:
  - The matrixon.ops authors (@matrixon)
"""

EXAMPLES = r"""
- name: Let in SSH from one network, and nothing else
  matrixon.ops.matrixon_ufw:
    rules:
      - {port: "22", from: 10.0.9.0/24, comment: ssh}
    rollback_after: 60
  register: change

- name: Show that a new connection gets through
  ansible.builtin.wait_for_connection:
    timeout: 20
  vars:
    ansible_ssh_args: -o ControlMaster=no -o ControlPath=none
  when: change.armed

- name: Keep the rules
  matrixon.ops.matrixon_ufw:
    state: confirmed
    token: "{{ change.token }}"
  when: change.armed
"""

RETURN = r"""
installed:
  description: Whether ufw is there.
  type: bool
  returned: with O(state=present)
reasons:
  description: Why something was changed, or would be.
  type: list
  elements: str
  returned: with O(state=present)
  sample: [the rules in the kernel are not those that ufw loaded]
added:
  description: Rules that come.
  type: list
  elements: str
  returned: with O(state=present)
  sample: [allow in from 10.0.9.0/24 to any port 22 proto tcp]
removed:
  description: Rules that go.
  type: list
  elements: str
  returned: with O(state=present)
unmanaged:
  description: Rules that stay though they are not in the list, with O(keep_unmanaged=true) or O(only_add=true).
  type: list
  elements: str
  returned: with O(state=present)
armed:
  description: Whether the change waits for O(state=confirmed).
  type: bool
  returned: with O(state=present)
token:
  description: Which change that is.
  type: str
  returned: with O(state=present), if armed
rolled_back_at:
  description: When the host took the change back, in UTC.
  type: str
  returned: with O(state=rolled_back)
restored:
  description: Whether the kernel has the rules again that it had before the change.
  type: bool
  returned: with O(state=rolled_back)
"""

import json
import os
import re
import shutil
import tempfile
import time
import typing as t
import uuid

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils import _firewall, _ufw

UFW = "/usr/sbin/ufw"
RULES = {"4": "/etc/ufw/user.rules", "6": "/etc/ufw/user6.rules"}
DEFAULTS = "/etc/default/ufw"
CONFIG = "/etc/ufw/ufw.conf"
FILES = (*RULES.values(), DEFAULTS, CONFIG)
# What else ufw loads. Others write it; when it changed, the kernel does not have it yet.
LOADED = [f"/etc/ufw/{name}" for name in ("before.rules", "before6.rules", "after.rules", "after6.rules")]
LOADED += ["/etc/ufw/before.init", "/etc/ufw/after.init", "/etc/ufw/sysctl.conf"]
POLICIES = {
    "IPV6": "yes",
    "DEFAULT_INPUT_POLICY": "DROP",
    "DEFAULT_OUTPUT_POLICY": "ACCEPT",
    "DEFAULT_FORWARD_POLICY": "DROP",
}
TABLES = {"4": "iptables", "6": "ip6tables"}
STATE = "/var/lib/matrixon-firewall"
STAGE = "/run/matrixon-firewall"
UNIT = "matrixon-firewall-rollback-{0}"

ROLLBACK = """#!/bin/sh
# Takes back a change of the packet filter that nobody confirmed.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd {stage} || exit 1
# Who moves this file away has won: this script or the confirmation.
mv armed rolling 2>/dev/null || exit 0
result=restored
{files}
{tables}
if [ $result = opened ]; then
    # Better open than locked. It cannot happen: the saved rules were tried before the change.
    /lib/ufw/ufw-init force-stop
fi
printf '{{"token": "{token}", "time": "%s", "result": "%s"}}\\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" $result \\
    > {state}/last-rollback.json
echo "matrixon-firewall: nobody confirmed the new rules in {seconds} s, so the old ones are back ($result)"
"""


class Problem(Exception):
    """Something that cannot be done, with the reason."""


class Plan(t.NamedTuple):
    """What is to be done, and why."""

    reasons: list[str]
    added: list[str]
    removed: list[str]
    unmanaged: list[str]
    files: dict[str, str]
    wanted: dict[str, list[_ufw.Entry]]
    bypasses: dict[str, list[str]]
    gapless: bool
    diff: tuple[str, str]


class Host:
    """ufw on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        # A kernel without IPv6 has nothing to filter there.
        self.families = [family for family in _ufw.FAMILIES if family == "4" or os.path.exists("/proc/net/if_inet6")]

    def run(self, argv: list[str], stdin: str | None = None) -> str:
        code, out, err = self.module.run_command(argv, data=stdin, environ_update={"LC_ALL": "C"}, binary_data=True)
        if code != 0:
            raise Problem(f"{' '.join(argv)}: {(err.strip() or out.strip()) or f'it ended with code {code}'}")
        return t.cast(str, out)

    def saved(self) -> dict[str, str]:
        """Return the kernel's rules, by family."""
        return {
            family: _ufw.first_table(self.run([f"{TABLES[family]}-save", "-t", "filter"])) for family in self.families
        }

    def surroundings(self) -> str:
        """Return a fingerprint of what the kernel's rules depend on besides those of users."""
        return _ufw.digest([*[read(path) for path in LOADED], self.run(["iptables", "--version"]), self.families])

    def starts_at_boot(self) -> bool:
        code, dummy, dummy = self.module.run_command(["systemctl", "is-enabled", "ufw.service"])
        return bool(code == 0)


def read(path: str) -> str:
    """Return a file's text, or nothing where there is no file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def write(path: str, text: str, mode: int | None = None) -> None:
    """Replace a file in one step; its owner and mode stay."""
    folder, name = os.path.split(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            if os.path.exists(path):
                found = os.stat(path)
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
                mode = found.st_mode & 0o7777 if mode is None else mode
            os.fchmod(file.fileno(), 0o640 if mode is None else mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def make_plan(host: Host, params: dict[str, t.Any]) -> Plan:
    """Compare what is with what should be."""
    rules = [{key: str(value or "") for key, value in rule.items()} for rule in params["rules"]]
    for rule in rules:
        if rule["from"] != _firewall.ANY:
            rule["from"] = _firewall.plain(_firewall.network(rule["from"]))
        if rule["port"]:
            _firewall.port_range(rule["port"])
        if rule["interface"] and not _firewall.INTERFACE.match(rule["interface"]):
            raise Problem(f"'{rule['interface']}' is not the name of an interface")

    reasons: list[str] = []
    files, wanted, found = {}, {}, {}
    for family, path in RULES.items():
        text = read(path)
        found[family] = _ufw.parse(text)
        wanted[family] = _ufw.entries(rules, family)
        if params["only_add"]:
            wanted[family] = _ufw.extend(found[family], wanted[family])
        elif params["keep_unmanaged"]:
            wanted[family] = _ufw.merge(found[family], wanted[family])
        files[path] = _ufw.render(text, wanted[family], family)
    before = [entry.describe() for family in _ufw.FAMILIES for entry in found[family]]
    after = [entry.describe() for family in _ufw.FAMILIES for entry in wanted[family]]
    differ = [family for family in _ufw.FAMILIES if [e.text for e in found[family]] != [e.text for e in wanted[family]]]
    if differ:
        reasons.append("the rules differ")
    for family in _ufw.FAMILIES:
        if family not in differ:
            files[RULES[family]] = read(RULES[family])

    settings = []
    defaults = {DEFAULTS: POLICIES, CONFIG: {"ENABLED": "yes", "LOGLEVEL": params["logging"]}}
    for path, values in defaults.items():
        text = read(path)
        here = _ufw.options(text, values)
        settings += [f"{name} is {here.get(name, '')!r}" for name, value in values.items() if here.get(name) != value]
        files[path] = _ufw.set_options(text, values) if _differs(here, values) else text
    if settings:
        reasons.append(f"ufw's settings differ: {', '.join(settings)}")

    installed = os.path.exists(UFW)
    bypasses: dict[str, list[str]] = {}
    gapless = False
    if not installed:
        reasons.insert(0, "ufw is not installed")
    else:
        saved = host.saved()
        known = json.loads(read(f"{STATE}/state.json") or "{}")
        for family in host.families:
            if not _ufw.is_up(saved[family], family, POLICIES["DEFAULT_INPUT_POLICY"]):
                reasons.append(f"the kernel does not ask ufw about IPv{family}")
            keep = params["keep_unmanaged"] or params["only_add"]
            bypasses[family] = [] if keep else _ufw.bypasses(saved[family])
            if bypasses[family]:
                reasons.append(f"rules in the kernel go past ufw: {'; '.join(bypasses[family])}")
        skeletons = {family: _ufw.digest(_ufw.skeleton(saved[family])) for family in host.families}
        same = known.get("surroundings") == host.surroundings() and known.get("skeletons") == skeletons
        gapless = same and not settings and all(_ufw.is_whole(read(path)) for path in RULES.values())
        if known.get("live") != {family: _ufw.digest(_ufw.live(saved[family])) for family in host.families}:
            if not any("kernel" in reason for reason in reasons):
                reasons.append("the rules in the kernel are not those that were loaded last")
        elif not same:
            reasons.append("what ufw loads around its rules has changed")
        if not host.starts_at_boot():
            reasons.append("ufw.service does not start at boot")
    return Plan(
        reasons,
        [line for line in after if line not in before],
        [line for line in before if line not in after],
        [entry.describe() for family in _ufw.FAMILIES for entry in wanted[family] if not entry.managed],
        files,
        wanted,
        bypasses,
        gapless,
        ("".join(f"{line}\n" for line in before), "".join(f"{line}\n" for line in after)),
    )


def _differs(here: dict[str, str], values: dict[str, str]) -> bool:
    return any(here.get(name) != value for name, value in values.items())


def apply(host: Host, plan: Plan, seconds: int) -> str:
    """Load the rules. Returns the token of an armed change, or nothing."""
    refuse_second_change(host)
    token = uuid.uuid4().hex[:12]
    saved = stage(host, plan, token, seconds)
    if seconds:
        arm(host, token, seconds)
    try:
        load(host, plan, saved)
        loaded = verify(host, plan)
    except (Problem, OSError) as error:
        write(f"{STAGE}/armed", token, 0o600)
        host.run(["/bin/sh", f"{STAGE}/rollback.sh"])
        disarm(host, token)
        raise Problem(f"the rules could not be loaded, so the old ones are back: {error}") from error
    known = {
        "live": {family: _ufw.digest(_ufw.live(loaded[family])) for family in host.families},
        "skeletons": {family: _ufw.digest(_ufw.skeleton(loaded[family])) for family in host.families},
        "surroundings": host.surroundings(),
    }
    write(f"{STAGE}/state.json", json.dumps(known, sort_keys=True), 0o600)
    for path in FILES:
        shutil.copy2(path, f"{STAGE}/new/{os.path.basename(path)}.{_kind(path)}")
        if seconds:
            # Until it is confirmed only the kernel has the change: a reboot takes it back.
            write(path, read(_staged("saved", path)))
    if not seconds:
        keep(host)
        return ""
    return token


def _kind(path: str) -> str:
    return "defaults" if path == DEFAULTS else "ufw"


def _staged(folder: str, path: str) -> str:
    return f"{STAGE}/{folder}/{os.path.basename(path)}.{_kind(path)}"


def refuse_second_change(host: Host) -> None:
    """Refuse while another change waits; take back one whose timer is gone."""
    token = read(f"{STAGE}/armed").strip()
    if not token:
        return
    code, dummy, dummy = host.module.run_command(["systemctl", "is-active", UNIT.format(token) + ".timer"])
    if code == 0:
        raise Problem(
            "another change of the rules waits for its confirmation on this host; it is taken back within a minute or "
            "two, so try again then"
        )
    host.run(["/bin/sh", f"{STAGE}/rollback.sh"])


def stage(host: Host, plan: Plan, token: str, seconds: int) -> dict[str, str]:
    """Keep what is, and see that the way back and the way forward can be gone."""
    shutil.rmtree(STAGE, ignore_errors=True)
    for folder in (STAGE, f"{STAGE}/saved", f"{STAGE}/new", STATE):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    saved = host.saved()
    for path in FILES:
        shutil.copy2(path, _staged("saved", path))
    for family, text in saved.items():
        write(f"{STAGE}/saved/live{family}", text, 0o600)
        host.run([f"{TABLES[family]}-restore", "--test"], stdin=text)
        host.run([f"{TABLES[family]}-restore", "--noflush", "--test"], stdin=plan.files[RULES[family]])
    script = ROLLBACK.format(
        stage=STAGE,
        state=STATE,
        token=token,
        seconds=seconds,
        files="\n".join(f"cp -p {_staged('saved', path)} {path}" for path in FILES),
        tables="\n".join(f"{TABLES[family]}-restore < saved/live{family} || result=opened" for family in saved),
    )
    write(f"{STAGE}/rollback.sh", script, 0o700)
    return saved


def arm(host: Host, token: str, seconds: int) -> None:
    """Let the host itself take the change back."""
    unit = UNIT.format(token)
    write(f"{STAGE}/armed", token, 0o600)
    try:
        host.run(
            [
                "systemd-run",
                f"--unit={unit}",
                f"--on-active={seconds}",
                "--timer-property=AccuracySec=1s",
                "--description=Take back the new rules of the packet filter unless they are confirmed",
                "/bin/sh",
                f"{STAGE}/rollback.sh",
            ]
        )
        host.run(["systemctl", "is-active", f"{unit}.timer"])
    except Problem as error:
        os.unlink(f"{STAGE}/armed")
        raise Problem(f"the way back could not be armed, so nothing was changed: {error}") from error


def disarm(host: Host, token: str) -> None:
    """Stop the timer, if there is one."""
    host.module.run_command(["systemctl", "stop", UNIT.format(token) + ".timer"])


def load(host: Host, plan: Plan, saved: dict[str, str]) -> None:
    """Bring the rules into the kernel."""
    for path, text in plan.files.items():
        write(path, text)
    if plan.gapless:
        # One transaction for each family, as ufw itself adds a rule: nothing is open or shut in between.
        for family in host.families:
            host.run([f"{TABLES[family]}-restore", "--noflush"], stdin=plan.files[RULES[family]])
    else:
        host.run([UFW, "reload"])
        for family, text in host.saved().items():
            jumps = _ufw.lost_jumps(text, family)
            if jumps:
                host.run([f"{TABLES[family]}-restore", "--noflush"], stdin="\n".join(["*filter", *jumps, "COMMIT", ""]))
    for family, lines in plan.bypasses.items():
        deletes = [line.replace("-A ", "-D ", 1) for line in lines]
        if deletes:
            host.run([f"{TABLES[family]}-restore", "--noflush"], stdin="\n".join(["*filter", *deletes, "COMMIT", ""]))


def verify(host: Host, plan: Plan) -> dict[str, str]:
    """See that the kernel has what was asked for."""
    loaded = host.saved()
    for family, text in loaded.items():
        if not _ufw.is_up(text, family, POLICIES["DEFAULT_INPUT_POLICY"]) or _ufw.lost_jumps(text, family):
            raise Problem(f"ufw was loaded, but the kernel does not ask it about IPv{family}")
        lacking = _ufw.missing([entry for entry in plan.wanted[family] if entry.managed], text, family)
        if lacking:
            raise Problem(f"the kernel did not take: {'; '.join(entry.describe() for entry in lacking)}")
        extra = len(_ufw.user_rules(text, family)) - sum(len(entry.lines) for entry in _incoming(plan.wanted[family]))
        if extra and not any(not entry.managed for entry in plan.wanted[family]):
            raise Problem(f"the kernel has {extra} rules for IPv{family} that nobody asked for")
    return loaded


def _incoming(entries: list[_ufw.Entry]) -> list[_ufw.Entry]:
    return [entry for entry in entries if entry.managed]


def keep(host: Host) -> None:
    """Make the loaded rules last."""
    for path in FILES:
        write(path, read(_staged("new", path)))
    write(f"{STATE}/state.json", read(f"{STAGE}/state.json"), 0o600)
    if not host.starts_at_boot():
        host.run(["systemctl", "unmask", "ufw.service"])
        host.run(["systemctl", "enable", "ufw.service"])
    shutil.rmtree(STAGE, ignore_errors=True)


def confirm(host: Host, token: str) -> None:
    """Make an armed change last, unless the host has taken it back."""
    if read(f"{STAGE}/armed").strip() != token:
        raise Problem(f"the change was not confirmed in time: {rolled_back(token) or 'no change waits on this host'}")
    try:
        os.rename(f"{STAGE}/armed", f"{STAGE}/confirmed")
    except FileNotFoundError as error:
        raise Problem("the change was not confirmed in time: the host takes it back just now") from error
    disarm(host, token)
    keep(host)


def rolled_back(token: str) -> str:
    """Return when the host took a change back, or nothing."""
    record = json.loads(read(f"{STATE}/last-rollback.json") or "{}")
    return str(record.get("time")) if record.get("token") == token else ""


def is_restored(host: Host) -> bool:
    """Say whether the kernel has the rules again that were saved."""
    return all(_plain(text) == _plain(read(f"{STAGE}/saved/live{family}")) for family, text in host.saved().items())


def _plain(saved: str) -> list[str]:
    return [re.sub(r" \[\d+:\d+\]$", "", line) for line in saved.splitlines() if not line.startswith("#")]


def main() -> None:
    """Run the module."""
    rule_spec = {
        "action": {"type": "str", "choices": ["allow", "deny", "reject"], "default": "allow"},
        "proto": {"type": "str", "choices": ["tcp", "udp", "any"], "default": "tcp"},
        "port": {"type": "str", "default": ""},
        "from": {"type": "str", "default": "any"},
        "interface": {"type": "str", "default": ""},
        "comment": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "confirmed", "rolled_back"], "default": "present"},
            "rules": {"type": "list", "elements": "dict", "options": rule_spec},
            "logging": {"type": "str", "choices": ["off", "low", "medium", "high", "full"], "default": "low"},
            "keep_unmanaged": {"type": "bool", "default": False},
            "only_add": {"type": "bool", "default": False},
            "rollback_after": {"type": "int", "default": 0},
            "token": {"type": "str", "no_log": False},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[
            ("state", "present", ("rules",)),
            ("state", "confirmed", ("token",)),
            ("state", "rolled_back", ("token",)),
        ],
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="the packet filter belongs to root; run this with become: true")
    host = Host(module)
    try:
        if module.params["state"] == "present":
            result = present(host, module)
        elif module.params["state"] == "confirmed":
            result = {"changed": True}
            if not module.check_mode:
                confirm(host, module.params["token"])
        else:
            result = wait_for_rollback(host, module)
    except (Problem, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def present(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Compare, and apply what differs."""
    plan = make_plan(host, module.params)
    installed = os.path.exists(UFW)
    result: dict[str, t.Any] = {
        "changed": bool(plan.reasons),
        "installed": installed,
        "reasons": plan.reasons,
        "added": plan.added,
        "removed": plan.removed,
        "unmanaged": plan.unmanaged,
        "armed": False,
    }
    if module._diff:
        result["diff"] = {
            "before_header": "rules of ufw",
            "after_header": "rules of ufw",
            "before": plan.diff[0],
            "after": plan.diff[1],
        }
    if plan.reasons and not module.check_mode:
        if not installed:
            raise Problem("ufw is not installed on this host; install the package ufw")
        token = apply(host, plan, module.params["rollback_after"])
        result.update(armed=bool(token), **({"token": token} if token else {}))
    return result


def wait_for_rollback(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Wait until the host has taken an armed change back."""
    token, end = module.params["token"], time.monotonic() + module.params["timeout"]
    while not rolled_back(token):
        if time.monotonic() > end:
            raise Problem(f"the host did not take its rules back within {module.params['timeout']} s")
        time.sleep(1)
    return {"changed": False, "rolled_back_at": rolled_back(token), "restored": is_restored(host)}


if __name__ == "__main__":
    main()
