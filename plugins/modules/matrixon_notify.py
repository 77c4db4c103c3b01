#!/usr/bin/python
# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: matrixon_notify
short_description: Tell people of a change, once, by every channel that they have
version_added: 0.1.0
description:
  - Sends one message to webhooks, mail servers, Matrix rooms, PagerDuty and status pages, to all at once, and says of
    each how that ended. A channel that fails or stays silent does not hold up the others.
  - It remembers in O(state_dir) which state each channel was told of. The same state again is V(unchanged), and a
    channel that failed the last time is tried again.
  - A message is repeated only where a repeat can do no harm. Matrix and PagerDuty know a repeat by its id, and on a
    status page an incident of the same key is looked for first. A webhook or a mail server that took a message and did
    not say so is not sent it again in the same run.
  - TLS is verified, and every deadline is a total time. Addresses of webhooks, tokens and passwords are in no result.
notes:
  - Needs nothing but Python on the host that sends, which is usually the controller.
  - Most playbooks use the role P(matrixon.ops.notify#role), which words the message and calls this.
  - A proxy is not used.
author:
  - the matrixon.ops authors (@matrixon-ops)
extends_documentation_fragment:
  - matrixon.ops._attributes
attributes:
  check_mode:
    support: full
    details:
      - Says what would be sent to whom. Nobody is asked or told, and nothing is remembered.
  diff_mode:
    support: full
    details:
      - Shows which state each channel was told of before and after.
  idempotent:
    support: full
options:
  key:
    description:
      - What the message is about, such as V(dr_failover/example.com). PagerDuty and status pages know the incident
        by it.
    type: str
    required: true
  state:
    description:
      - In which state that is now, such as V(started). Only a change of it is told.
    type: str
    required: true
  occasion:
    description:
      - Which time it is, such as the id of a run. The same state on another occasion is a change and is told.
    type: str
    default: ""
  severity:
    description: How bad that is.
    type: str
    choices: [info, warning, error, critical]
    default: info
  incident:
    description:
      - What the state means for channels that keep incidents, V(pagerduty) and V(status_page). With V(none) they are
        passed over.
    type: str
    choices: [none, open, acknowledge, resolve]
    default: none
  subject:
    description: What happened, in one line.
    type: str
    required: true
  text:
    description: The message as plain text.
    type: str
    required: true
  html:
    description: The message as HTML, for e-mail and Matrix. Left out, they get the text alone.
    type: str
    default: ""
  public_subject:
    description: Title of the incident on a status page. Defaults to O(subject).
    type: str
    default: ""
  public_text:
    description:
      - What everybody may read on a status page. Left out, status pages are passed over, but for the end of an
        incident.
    type: str
    default: ""
  link:
    description: Where to read more, for PagerDuty.
    type: str
    default: ""
  channels:
    description:
      - Whom to tell. Each has a C(name), a C(type), and the options of its type.
      - Secrets belong into a vault.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: How the results call the channel. Always needed, and each its own.
        type: str
      type:
        description:
          - One of V(webhook), V(email), V(matrix), V(pagerduty) and V(status_page). Always needed.
        type: str
      webhook_url:
        description:
          - "V(webhook): the address, which is a secret. It gets JSON with C(text), as Slack and Mattermost take it."
        type: str
      url:
        description:
          - "V(matrix): base URL of the homeserver's client API."
          - "V(pagerduty): where events go, if not to C(https://events.pagerduty.com/v2/enqueue); customers in the EU
            have C(https://events.eu.pagerduty.com/v2/enqueue)."
          - "V(status_page): base URL of the API, if not C(https://api.statuspage.io/v1)."
        type: str
      token:
        description:
          - "V(matrix): access token of a user who is in the room. V(status_page): the API key."
        type: str
      room_id:
        description:
          - "V(matrix): id of the room, which begins with V(!). It must not be encrypted."
        type: str
      routing_key:
        description:
          - "V(pagerduty): the integration key of the service."
        type: str
      page_id:
        description:
          - "V(status_page): id of the page."
        type: str
      component_ids:
        description:
          - "V(status_page): components that an open incident affects. Its end makes them operational again."
        type: list
        elements: str
      component_status:
        description:
          - "V(status_page): in which state these are meanwhile, V(degraded_performance), V(partial_outage),
            V(major_outage) or V(under_maintenance). V(partial_outage) if left out."
        type: str
      host:
        description:
          - "V(email): the mail server."
        type: str
      port:
        description:
          - "V(email): its port. Left out, 587, 465 or 25, after O(channels[].security)."
        type: int
      security:
        description:
          - "V(email): V(starttls), which is insisted on, V(tls) from the first byte, or V(none). Left out, it is
            V(starttls)."
        type: str
      username:
        description:
          - "V(email): whom to log in as. Left out, there is no login."
        type: str
      password:
        description:
          - "V(email): the password for it."
        type: str
      sender:
        description:
          - "V(email): from whom it is."
        type: str
      recipients:
        description:
          - "V(email): addresses of those who get it. If the server refuses some of them the others get it, and the
            channel counts as failed."
        type: list
        elements: str
      ca_file:
        description: PEM file with the authorities to trust, on the host that sends. Left out, those of the system.
        type: path
      allow_http:
        description: Whether a URL may be http to another machine, so that all on the way can read it.
        type: bool
      min_severity:
        description:
          - What is less severe is not told, but for the end of an incident of which the channel was told.
          - V(info) if left out.
        type: str
      states:
        description:
          - The states that are told, in the same way. Left out, all are.
        type: list
        elements: str
      timeout:
        description: Seconds for this channel, in place of O(timeout).
        type: float
  to:
    description: Names of the channels that are meant. Empty means all.
    type: list
    elements: str
    default: []
  state_dir:
    description:
      - Directory in which is remembered who was told what. It is made, for its owner alone, if it is missing.
      - If it cannot be used the message is sent none the less, with a warning.
    type: path
    default: ~/.local/state/matrixon-notify
  timeout:
    description: Seconds after which a channel is given up, all its attempts together.
    type: float
    default: 15
  attempts:
    description: How often a channel is tried at most.
    type: int
    default: 3
  fail_on:
    description:
      - When the task fails, after all were tried. V(any) is when one channel failed, and V(all) when one failed and
        none was told.
    type: str
    choices: [never, any, all]
    default: never
  target:
    description: How the report calls the host that sends. Defaults to its own name.
    type: str
  deployment:
    description: Name of the deployment, for the report and as the source of an event.
    type: str
    required: true
  profile:
    description: Name of the homeserver profile, for the report.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Tell of a failover that has begun
  matrixon.ops.matrixon_notify:
    deployment: example
    profile: synapse
    key: dr_failover/example.com
    state: started
    severity: critical
    incident: open
    subject: The failover of example.com has begun
    text: Users cannot send messages until it is done.
    public_text: Messages cannot be sent at the moment. We are working on it.
    channels:
      - {name: chat, type: webhook, webhook_url: "{{ vault_chat_webhook }}"}
      - name: room
        type: matrix
        url: https://matrix.other.example
        token: "{{ vault_notify_token }}"
        room_id: "!operations:other.example"
      - {name: pager, type: pagerduty, routing_key: "{{ vault_pagerduty_key }}", min_severity: error}
      - {name: public, type: status_page, page_id: abcd1234, token: "{{ vault_status_page_token }}"}
      - name: mail
        type: email
        host: smtp.example.com
        username: notify
        password: "{{ vault_mail_password }}"
        sender: Operations <notify@example.com>
        recipients: [ops@example.com]
  delegate_to: localhost
  become: false
"""

RETURN = r"""
msg:
  description: Who was told, and who was not, in one line.
  returned: always
  type: str
  sample: "dr_failover/example.com is started; told: chat, room; FAILED: pager (https://events.pagerduty.com: no answer
    within 15 s; it may have been delivered none the less)"
results:
  description: How it ended, channel by channel, in the order of O(channels).
  returned: when the options are good
  type: list
  elements: dict
  contains:
    channel:
      description: Name of the channel.
      type: str
    type:
      description: Its type.
      type: str
    status:
      description:
        - V(sent), V(unchanged) if it had been told of this state, V(skipped) if it was not meant, V(failed), or in
          check mode V(would_send).
      type: str
    message:
      description: What was done, or why not.
      type: str
    error_kind:
      description: Why it failed, one of C(refused), C(timeout), C(auth), C(dns), C(tls), C(parse), C(internal).
      type: str
    uncertain:
      description: Whether a message that counts as failed may have been delivered.
      type: bool
    attempts:
      description: How often it was tried.
      type: int
    duration_ms:
      description: How long that took.
      type: int
  sample:
    - channel: chat
      type: webhook
      status: sent
      message: https://hooks.slack.com answered 200
      error_kind: null
      uncertain: false
      attempts: 1
      duration_ms: 180
report:
  description:
    - The report, of the kind V(notify), with a check C(notify_delivery) for each channel. Its whole shape is described
      by C(docs/report.schema.json).
    - A channel that failed is a V(warning) while somebody was told, and V(critical) where nobody was.
  returned: when the options are good
  type: dict
  sample:
    schema: matrixon.ops/report/1
    kind: notify
    status: warning
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.matrixon.ops.plugins.module_utils._notify.model import INCIDENT, NONE, SEVERITIES
from ansible_collections.matrixon.ops.plugins.module_utils._notify.options import CHANNEL_SPEC
from ansible_collections.matrixon.ops.plugins.module_utils._notify.run import notify, summary
from ansible_collections.matrixon.ops.plugins.module_utils._options import OptionErrors

NOT_SHOWN = {"module_args": "not shown: under a wrong name there may be a secret"}


class Module(AnsibleModule):
    """A module that tells nobody its options when they are wrong.

    Ansible knows a secret by the name of its option. It refuses a name that is
    misspelt, and would show what stands there.
    """

    def fail_json(self, msg, **more):
        """End with a failure."""
        super().fail_json(msg, invocation=NOT_SHOWN, **more)


def argument_spec():
    """Return the options."""
    return dict(
        key=dict(type="str", required=True, no_log=False),
        state=dict(type="str", required=True),
        occasion=dict(type="str", default=""),
        severity=dict(type="str", choices=list(SEVERITIES), default="info"),
        incident=dict(type="str", choices=list(INCIDENT), default=NONE),
        subject=dict(type="str", required=True),
        text=dict(type="str", required=True),
        html=dict(type="str", default=""),
        public_subject=dict(type="str", default=""),
        public_text=dict(type="str", default=""),
        link=dict(type="str", default=""),
        channels=dict(type="list", elements="dict", required=True, options=CHANNEL_SPEC),
        to=dict(type="list", elements="str", default=[]),
        state_dir=dict(type="path", default="~/.local/state/matrixon-notify"),
        timeout=dict(type="float", default=15),
        attempts=dict(type="int", default=3),
        fail_on=dict(type="str", choices=["never", "any", "all"], default="never"),
        target=dict(type="str"),
        deployment=dict(type="str", required=True),
        profile=dict(type="str", required=True),
    )


def lines(told):
    """Return who was told of what, for a diff."""
    return "".join(f"{name}: {state}\n" for name, state in sorted(told.items()))


def main():
    module = Module(argument_spec=argument_spec(), supports_check_mode=True)
    options = dict(module.params, target=module.params["target"] or platform.node())
    try:
        outcome = notify(options, module.check_mode)
    except OptionErrors as error:
        module.fail_json(msg=str(error))
    for warning in outcome.warnings:
        module.warn(warning)
    result = dict(
        changed=outcome.changed,
        msg=summary(outcome, options["key"], options["state"]),
        results=[one.as_dict() for one in outcome.results],
        report=outcome.report.as_dict(),
        diff=dict(
            before_header=f"told of {options['key']}",
            after_header=f"told of {options['key']}",
            before=lines(outcome.before),
            after=lines(outcome.after),
        ),
    )
    if outcome.fails(options["fail_on"]):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
