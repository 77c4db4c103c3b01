# Copyright (c) 2026, the matrixon.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """The options of every module that observes and returns a verdict: OBSERVER in module_utils/_report.py."""

    DOCUMENTATION = r"""
options:
  target:
    description:
      - How the report calls this host. Defaults to the host's own name.
    type: str
  deployment:
    description:
      - Name of the deployment, for the report.
    type: str
    required: true
  profile:
    description:
      - Name of the homeserver profile, for the report.
    type: str
    required: true
  fail_on:
    description:
      - From which overall status on the task fails. It returns the whole report then, too.
      - V(unknown) also fails on V(critical), and V(warning) on both.
    type: str
    choices: [never, warning, unknown, critical]
    default: never
  unknown_as:
    description:
      - How heavy V(unknown) checks weigh in the overall status. They never weigh as ok.
    type: str
    choices: [unknown, warning, critical]
    default: unknown
  detail:
    description:
      - With V(problems), what is ok comes without its message and thresholds, which keeps results small.
    type: str
    choices: [problems, full]
    default: problems
"""
