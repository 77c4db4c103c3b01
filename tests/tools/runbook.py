"""Make docs/dr-runbook.md from the steps, the gates and the fences of a move between regions."""

from __future__ import annotations

import pathlib
import sys
import textwrap
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/dr-runbook.md"
HEAD = """\
# Runbook: moving a deployment to its other region

Steps, gates and fences are made from the declarations in `plugins/module_utils/_dr/` by `python
tests/tools/runbook.py`, from which the playbook and its report are made, too; a test holds them against each other.

`one` is the region that serves or served, `two` the one that is to serve, `example.com` the server name. Give the same
inventory and `--ask-vault-pass` to each command.

## Before the day

| what | how it is seen |
|---|---|
"""
BEFORE = (
    (
        "The witness stands in a third place, and each database and homeserver host has its guard",
        "`matrixon.ops.witness` and `matrixon.ops.dr_guard` change nothing",
    ),
    (
        "Others keep the names for 60 s at most. A TTL that is lowered on the day comes too late",
        "`matrixon.ops.health`, with `health_dns_records`",
    ),
    ("The standby of region two follows", "`matrixon.ops.health`"),
    (
        "Its homeserver is installed with the same release and signing key, and does not run",
        "`matrixon.ops.site` changes nothing",
    ),
    ("The media come there, if each region has its own", "`dr_failover_media_marker`"),
    (
        "The gates would let the deployment go",
        "`ansible-playbook matrixon.ops.dr_failover --check -e dr_failover_to=two`",
    ),
    (
        "The move was rehearsed, each month and after each upgrade",
        "`ansible-playbook matrixon.ops.dr_drill -e dr_drill_region=two`",
    ),
    ("Sets of the backup were proven", "`matrixon.ops.restore_drill`"),
    (
        "The controller, its inventory, the vault's password and this page can be reached when region one is gone",
        "log in there, from elsewhere",
    ),
    (
        "Somebody may decide, and a second person knows how to fence: provider, power, network",
        "names and numbers, on paper",
    ),
    (
        "A fence is ready for a region that cannot be reached",
        "`dr_failover_fence_command`, or `dr_guard_lease`",
    ),
)
DAY = """
## On the day

1. Is it the region, or the way to it? Ask from elsewhere, and ask what the witness knows; nothing is touched:

   ```sh
   ansible-playbook matrixon.ops.dr_failover --check -e dr_failover_to=two
   ```

   It says all that is against a move at once. Mend that, or accept it by the variable that the refusal names. While
   region one works, wait with a move that would lose something.

2. Decide. Then:

   ```sh
   ansible-playbook matrixon.ops.dr_failover -e dr_failover_to=two -e dr_failover_confirm=example.com
   ```

   Where the region cannot be reached, and nothing else fences it, only after it **was** cut off:

   ```sh
   ansible-playbook matrixon.ops.dr_failover -e dr_failover_to=two -e dr_failover_confirm=example.com \\
     -e '{"dr_failover_fence_statement": "one takes no writes: the provider has switched it off, ticket 4711",
          "dr_failover_fence_by": "your name"}'
   ```

3. The report says what was lost, how long each step took, and what fences region one. It is in `reports/`.
4. Say in the inventory that region two serves: `matrixon_active_region: two`, and what follows from it there (who is
   the primary, and where the others find it; in the example all of it follows). Until then `matrixon.ops.site` refuses
   to start a second primary.
5. Look, and take a backup of the new history:

   ```sh
   ansible-playbook matrixon.ops.health
   ansible-playbook matrixon.ops.backup
   ```
"""
BETWEEN = """
## The gates

All are judged at once, before anything is touched. What can be accepted is so only by a variable that repeats the value
that the refusal names: `-e dr_failover_accept_loss_bytes=123456`. What could not be asked is unknown, and refused, too.

| gate | what must be true | accepted by |
|---|---|---|
"""
FENCES = """
## The fences

The first that holds is taken, what was seen before what is believed. What rests on somebody's word is a warning in the
report. DNS is no fence, nor is a load balancer that sends nobody.

| | holds where | |
|---|---|---|
"""
TAIL = """
## Claiming by hand

Where the playbook cannot be used. The guards believe the witness and nobody else, so it is told before anything is
promoted. `EPOCH` is that of the record that is replaced, which this playbook shows without variables. An empty
`region` lets nobody serve.

```yaml
# claim.yml: ansible-playbook claim.yml -e region=two -e epoch=EPOCH; leave both out to see who serves
- hosts: "{{ groups['postgresql'] | intersect(groups['region_two']) | first }}"
  gather_facts: false
  become: true
  roles: [matrixon.ops.matrixon]
  tasks:
    - matrixon.ops.matrixon_witness: &witness
        endpoints: "{{ matrixon_witness_endpoints }}"
        user: "{{ matrixon_witness_user }}"
        password: "{{ matrixon_witness_password }}"
        ca_file: "{{ matrixon_witness_ca_file or omit }}"
        server_name: "{{ matrixon_server_name }}"
      register: witness
    - ansible.builtin.debug:
        var: witness
    - matrixon.ops.matrixon_witness:
        <<: *witness
        state: claimed
        region: "{{ region }}"
        system_identifier: "{{ witness.record.system_identifier }}"
        timeline: "{{ witness.record.timeline }}"
        expected_epoch: "{{ epoch }}"
        by: runbook
      when: region is defined
```

## When a run died

Start the same command again. Each step is in the journal on the database host of region two
(`/var/lib/matrixon-dr/journal.json`, for root alone): what is done is not done again, what was measured first stands,
and the step in which it died begins once more. A move that is over is only reported.

A move that shall not go on is put aside by its time, which the refusal of another one names:
`-e dr_failover_forget=2026-11-27T12:00:00.000Z`. First be sure who serves.

## When it is to be taken back

After the fence and before the promotion, for example because more would be lost than was thought, region one can serve
again. The old hosts must be reachable. After the promotion this is refused: finish the move, and go home as below.

```sh
ansible-playbook matrixon.ops.dr_failover_undo -e dr_failover_to=two -e dr_failover_confirm=example.com
```

## When region one is back

Its guards keep it down, for the witness names region two. Leave it so, and let its database follow, with
`matrixon_active_region: two` in the inventory:

```sh
ansible-playbook matrixon.ops.dr_failback -e dr_failback_region=one --check   # rewind or copy, and why
ansible-playbook matrixon.ops.dr_failback -e dr_failback_region=one
ansible-playbook matrixon.ops.site
ansible-playbook matrixon.ops.health
```

What was only in the old primary is not in the new one. Where it is rewound, it is gone; where it is copied anew
(`-e dr_failback_method=rebuild`), the old data directory stays beside its place until somebody removes it. If the
report counts a loss, choose the second, and look there for what was lost.

## The way home

A move in the other direction, at an hour of your choice. With both sides up it stops the primary cleanly and waits for
the standby, so nothing is lost; users wait while it does.

```sh
ansible-playbook matrixon.ops.dr_failover --check -e dr_failover_to=one
ansible-playbook matrixon.ops.dr_failover -e dr_failover_to=one -e dr_failover_confirm=example.com
# matrixon_active_region: one in the inventory, and then
ansible-playbook matrixon.ops.dr_failback -e dr_failback_region=two
ansible-playbook matrixon.ops.site
```
"""


def section(number: int, step: t.Any) -> str:
    """One step: what is done, why here, the proof, and how a person does it."""
    does = textwrap.fill(step.does, 120)
    lines = [f"\n### {number}. {step.title} (`{step.name}`)\n\n{does}\n\n"]
    lines += [f"- **Why here:** {step.why}\n- **Proof:** {step.proof}\n- **By hand:**\n\n  ```sh\n"]
    lines += [f"  {line}\n" for command in step.by_hand for line in command.splitlines()]
    return "".join([*lines, "  ```\n"])


def page(steps: t.Any, gates: t.Any, fences: t.Any) -> str:
    """The whole page."""
    before = [f"| {what} | {seen} |\n" for what, seen in BEFORE]
    parts = [HEAD, *before, DAY, "\n## The steps\n"]
    parts += [section(number, step) for number, step in enumerate(steps, 1)]
    parts.append(BETWEEN)
    for gate in gates:
        accepted = f"`dr_failover_accept_{gate.accept}`" if gate.accept else "nobody"
        parts.append(f"| `{gate.name}` | {gate.meaning} | {accepted} |\n")
    parts.append(FENCES)
    for fence in fences:
        parts.append(f"| `{fence.method}` | {fence.holds} | {'seen' if fence.seen else 'believed'} |\n")
    return "".join([*parts, TAIL])


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / ".build/collections"))
    from ansible_collections.matrixon.ops.plugins.module_utils._dr.gates import GATES
    from ansible_collections.matrixon.ops.plugins.module_utils._dr.steps import FENCES as DECLARED
    from ansible_collections.matrixon.ops.plugins.module_utils._dr.steps import STEPS

    PAGE.write_text(page(STEPS, GATES, DECLARED))
