"""Command line of the lab: `python lab/lab.py up`, and `--help` for the rest."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import psycopg2

if not __package__:
    # Run as a script: the package is found beside, and this directory must not shadow it.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from lab import control, seed, services
from lab.config import DEFAULT_NAME, DEFAULT_PORT_BASE, Lab, LabError
from lab.matrix import MatrixError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab.py",
        description="A throw-away Matrix deployment on loopback.",
    )
    parser.add_argument("--name", help=f"which lab (MATRIXON_LAB_NAME; default {DEFAULT_NAME})")
    parser.add_argument(
        "--port-base",
        type=int,
        help=f"first of its ports (MATRIXON_LAB_PORT_BASE; default {DEFAULT_PORT_BASE})",
    )
    parser.add_argument("--state-dir", help="where it lives (MATRIXON_LAB_DIR)")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    up = verbs.add_parser("up", help="start what is missing, seed once, end when healthy")
    up.add_argument(
        "--messages",
        type=int,
        default=seed.DEFAULT_MESSAGES,
        help="how many to seed a new lab with (default %(default)s)",
    )
    verbs.add_parser("down", help="end and remove everything of this lab")
    status = verbs.add_parser("status", help="what runs and what answers; exit code 1 if not all")
    status.add_argument("--json", action="store_true")
    for verb, text in (
        ("start", "start a service and wait for its answer"),
        ("stop", "stop it in good order"),
        ("freeze", "halt all of its processes, as a hung machine would"),
        ("thaw", "let them go on"),
    ):
        one = verbs.add_parser(verb, help=text)
        one.add_argument("service", choices=list(services.ALL))
    verbs.add_parser("standby-up", help="build a streaming standby, or start it again")
    verbs.add_parser("standby-down", help="remove it and its slot")
    return parser


def _show(state: dict) -> None:
    print(f"{'service':<12}{'state':<10}{'pid':>8}{'port':>7}  {'healthy':<9}detail")
    for row in state["services"]:
        healthy = "-" if row["state"] == "absent" else "yes" if row["healthy"] else "NO"
        pid = row["pid"] or "-"
        line = f"{row['service']:<12}{row['state']:<10}{pid:>8}{row['port']:>7}  {healthy:<9}"
        print(line + row["detail"])


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        lab = Lab.find(options.name, options.port_base, options.state_dir)
        if options.verb == "up":
            control.up(lab, options.messages)
        elif options.verb == "down":
            control.down(lab)
        elif options.verb == "status":
            state = control.status(lab)
            if options.json:
                print(json.dumps(state, indent=2))
            else:
                _show(state)
            return 0 if state["healthy"] else 1
        elif options.verb == "standby-up":
            control.standby_up(lab)
        elif options.verb == "standby-down":
            control.standby_down(lab)
        else:
            control.one(lab, options.verb, options.service)
    except (LabError, MatrixError, psycopg2.Error) as error:
        print(f"lab: {str(error).strip()}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
