# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ufw's files and the kernel's rules as texts: read, write and compare. Pure.

ufw keeps a user's rules in /etc/ufw/user.rules and user6.rules. Each is a comment line
"### tuple ###" that ufw reads, followed by the lines for iptables-restore made from it.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t

FAMILIES = ("4", "6")
EVERYBODY = {"4": "0.0.0.0/0", "6": "::/0"}
PREFIX = {"4": "ufw", "6": "ufw6"}
# Begins the comment of every rule that is written here, and so tells them from others.
MARK = "matrixon: "
# What ufw asks one after the other, each a chain for what comes in, goes out and is routed.
STEPS = ("before-logging", "before", "after", "after-logging", "reject", "track")
TARGETS = {"allow": "ACCEPT", "deny": "DROP", "reject": "REJECT"}

HEAD = """*filter
:{p}-user-input - [0:0]
:{p}-user-output - [0:0]
:{p}-user-forward - [0:0]
:{p}-user-limit - [0:0]
:{p}-user-limit-accept - [0:0]
### RULES ###
"""
FOOT = """
### END RULES ###
-A {p}-user-limit -m limit --limit 3/minute -j LOG --log-prefix "[UFW LIMIT BLOCK] "
-A {p}-user-limit -j REJECT
-A {p}-user-limit-accept -j ACCEPT
COMMIT
"""
EMPTY_TABLE = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"

RULES_MARK = "### RULES ###"
END_MARK = "### END RULES ###"
TUPLE = re.compile(r"^### tuple ###\s*(.*?)\s*$")


class Entry(t.NamedTuple):
    """A rule as ufw keeps it: what it is, and the lines that load it."""

    text: str
    lines: tuple[str, ...]

    @property
    def comment(self) -> str:
        """Its comment, which ufw writes in hexadecimal."""
        dummy, found, code = self.text.rpartition(" comment=")
        try:
            return bytes.fromhex(code).decode("utf-8", "replace") if found else ""
        except ValueError:
            return ""

    @property
    def managed(self) -> bool:
        """Whether it was written here."""
        return self.comment.startswith(MARK)

    def describe(self) -> str:
        """Write it in one line for people."""
        words = self.text.partition(" comment=")[0].split()
        if len(words) not in (7, 9):
            return self.text
        action, proto, port, target, source_port, source, direction = (*words[:6], words[-1])
        line = f"{action} {direction.replace('_', ' on ', 1)} from {_anywhere(source)}"
        line += f" port {source_port}" if source_port != "any" else ""
        line += f" to {_anywhere(target)}" + (f" port {port}" if port != "any" else "")
        line += f" proto {proto}" if proto != "any" else ""
        family = " (v6)" if (source, target) == (EVERYBODY["6"], EVERYBODY["6"]) else ""
        return line + family + (f"  # {self.comment}" if self.comment else "")


def _anywhere(address: str) -> str:
    return "any" if address in EVERYBODY.values() else address


def entries(rules: list[dict[str, str]], family: str) -> list[Entry]:
    """Return the rules of one family of addresses, as ufw writes them."""
    found = []
    for rule in rules:
        source = rule["from"]
        if source == "any":
            source = EVERYBODY[family]
        elif (":" in source) != (family == "6"):
            continue
        found.append(_entry(rule, source, family))
    return found


def _entry(rule: dict[str, str], source: str, family: str) -> Entry:
    proto, port, interface = rule["proto"], rule["port"], rule["interface"]
    comment = (MARK + rule["comment"]).encode().hex()
    text = " ".join(
        [
            rule["action"],
            proto,
            port or "any",
            EVERYBODY[family],
            "any",
            source,
            f"in_{interface}" if interface else "in",
            f"comment={comment}",
        ]
    )
    lines = []
    # A port belongs to a protocol, so a rule for any protocol is one line for each.
    for name in ("tcp", "udp") if proto == "any" and port else (proto,):
        words = [f"-A {PREFIX[family]}-user-input"]
        words += [f"-i {interface}"] if interface else []
        words += [f"-p {name}"] if name != "any" else []
        words += [f"-m multiport --dports {port}"] if ":" in port else []
        words += [f"--dport {port}"] if port and ":" not in port else []
        words += [f"-s {source}"] if source != EVERYBODY[family] else []
        words += [f"-j {TARGETS[rule['action']]}"]
        words += ["--reject-with tcp-reset"] if rule["action"] == "reject" and name == "tcp" else []
        lines.append(" ".join(words))
    return Entry(text, tuple(lines))


def parse(text: str) -> list[Entry]:
    """Return the rules of one of ufw's files."""
    found: list[tuple[str, list[str]]] = []
    inside = True
    for line in text.splitlines():
        match = TUPLE.match(line)
        if match:
            found.append((re.sub(r"\s+", " ", match.group(1)), []))
            inside = True
        elif line.startswith("###"):
            inside = False
        elif inside and found and line.startswith("-A "):
            found[-1][1].append(line.strip())
    return [Entry(rule, tuple(lines)) for rule, lines in found]


def merge(found: list[Entry], wanted: list[Entry]) -> list[Entry]:
    """Return the wanted rules among those made by others, which keep their places before or after."""
    first = next((place for place, entry in enumerate(found) if entry.managed), len(found))
    before = [entry for entry in found[:first] if not entry.managed]
    after = [entry for entry in found[first:] if not entry.managed]
    return [*before, *wanted, *after]


def extend(found: list[Entry], wanted: list[Entry]) -> list[Entry]:
    """Return the wanted rules and all that are there. Those of this module that are not wanted come last.

    So an old rule that denies does not stand before a new one that allows.
    """
    known = {entry.text for entry in wanted}
    old = [entry for entry in found if entry.managed and entry.text not in known]
    return [*merge(found, wanted), *old]


def render(current: str, wanted: list[Entry], family: str) -> str:
    """Return ufw's file with other rules in it.

    What ufw wrote around them, such as the rules for logging, stays.
    """
    if is_whole(current):
        head = current[: current.index(RULES_MARK)] + RULES_MARK + "\n"
        foot = "\n" + current[current.index(END_MARK) :]
    else:
        head, foot = HEAD.format(p=PREFIX[family]), FOOT.format(p=PREFIX[family])
    body = "".join(f"\n### tuple ### {entry.text}\n" + "".join(f"{line}\n" for line in entry.lines) for entry in wanted)
    return head + body + foot


def is_whole(text: str) -> bool:
    """Say whether a file is one that a running ufw wrote, with logging in it."""
    return RULES_MARK in text and END_MARK in text and "### END LOGGING ###" in text


def set_options(text: str, options: dict[str, str]) -> str:
    """Return a file of NAME=value lines with some of them set."""
    lines, left = [], dict(options)
    for line in text.splitlines():
        name = line.partition("=")[0].strip()
        if name in options and not line.lstrip().startswith("#"):
            if name in left:
                value = left.pop(name)
                # What means the same already stays as it is.
                lines.append(line if _value(line) == value else _assignment(line, name, value))
            continue
        lines.append(line)
    lines += [f"{name}={value}" for name, value in left.items()]
    return "\n".join(lines) + "\n"


def _value(line: str) -> str:
    return line.partition("=")[2].strip().strip("\"'")


def _assignment(line: str, name: str, value: str) -> str:
    return f'{name}="{value}"' if '"' in line else f"{name}={value}"


def options(text: str, names: t.Iterable[str]) -> dict[str, str]:
    """Return some of the values of a file of NAME=value lines."""
    wanted = set(names)
    found = {}
    for line in text.splitlines():
        name = line.partition("=")[0].strip()
        if name in wanted:
            found[name] = _value(line)
    return found


def live(saved: str) -> list[str]:
    """Return what of iptables-save belongs to ufw: policies, its chains, and the way into them."""
    kept = []
    for line in saved.splitlines():
        if re.match(r":(INPUT|FORWARD|OUTPUT) ", line):
            kept.append(line.partition("[")[0].strip())
        elif re.match(r"-A ufw6?-", line) or re.match(r"-A (INPUT|FORWARD|OUTPUT) -j ufw6?-", line):
            kept.append(line.strip())
    # The order of rules in a chain counts, that of the chains does not.
    return sorted(kept, key=lambda line: line.split()[:2] if line.startswith("-A") else [line])


def user_rules(saved: str, family: str) -> list[str]:
    """Return the kernel's lines of the chain that holds the rules for what comes in."""
    chain = f"-A {PREFIX[family]}-user-input "
    return [line for line in live(saved) if line.startswith(chain)]


def skeleton(saved: str) -> list[str]:
    """Return what is live of ufw besides the rules of users."""
    return [line for line in live(saved) if not re.match(r"-A ufw6?-user-(input|output|forward) ", line)]


def bypasses(saved: str) -> list[str]:
    """Return rules that let something in before ufw is asked, or after it has said nothing."""
    return [line for line in saved.splitlines() if re.match(r"-A INPUT .*-j ACCEPT\b", line)]


def canonical(line: str) -> tuple[str, ...]:
    """Return a rule in a form in which what was asked for equals what the kernel tells."""
    words = line.split()
    options_found: dict[str, str] = {}
    place = 0
    while place < len(words):
        name, value = words[place], words[place + 1] if place + 1 < len(words) else ""
        place += 2
        if name in ("-m", "--reject-with"):
            # The kernel names the matches that it took, and how it rejects.
            continue
        if name in ("-s", "-d"):
            value = re.sub(r"/(32|128)$", "", value) if ("." in value or value.endswith("/128")) else value
        options_found[name] = value
    return tuple(sorted(f"{name} {value}" for name, value in options_found.items()))


def missing(wanted: list[Entry], saved: str, family: str) -> list[Entry]:
    """Return the rules that the kernel does not have, or not in their order."""
    here = [canonical(line) for line in user_rules(saved, family)]
    place, lacking = 0, []
    for entry in wanted:
        start = place
        for line in entry.lines:
            try:
                place = here.index(canonical(line), place) + 1
            except ValueError:
                lacking.append(entry)
                place = start
                break
    return lacking


def is_up(saved: str, family: str, policy: str) -> bool:
    """Say whether the kernel asks ufw about what comes in, and denies what ufw does not allow."""
    lines = live(saved)
    prefix = PREFIX[family]
    return (
        f":INPUT {policy}" in lines
        and f"-A INPUT -j {prefix}-before-input" in lines
        and f"-A {prefix}-before-input -j {prefix}-user-input" in lines
    )


def lost_jumps(saved: str, family: str) -> list[str]:
    """Return what brings ufw's chains back into the built-in ones, or nothing where none is lost.

    ufw makes these jumps together with its chains only. So where the built-in chains were
    flushed but ufw's chains are still there, not even its reload makes them again.
    """
    lines = saved.splitlines()
    found = []
    for chain in ("INPUT", "OUTPUT", "FORWARD"):
        wanted = [f"-A {chain} -j {PREFIX[family]}-{name}-{chain.lower()}" for name in STEPS]
        if [line for line in lines if line in wanted] != wanted:
            # All of them anew: their order counts.
            found += [line.replace("-A ", "-D ", 1) for line in lines if line in wanted] + wanted
    return found


def digest(value: t.Any) -> str:
    """Return a fingerprint."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def first_table(saved: str) -> str:
    """Return what iptables-save told, so that it can be restored; a kernel without rules tells nothing."""
    return saved if "*filter" in saved else EMPTY_TABLE
