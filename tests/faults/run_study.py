"""Runs a plan as a user's script would, at its top level: ``python run_study.py PLAN OUT OPTIONS``,
both in JSON.

Prints one line for every event, and exits as the command line does.
"""

import json
import os
import socket
import sys

from preloaded_workers import DESCRIPTOR, Nursery

from fanin.cell.plan import Plan
from fanin.errors import FaninError
from fanin.execution import executors
from fanin.execution.events import CellFinished
from fanin.execution.runner import run_plan


def show(event: object) -> None:
    text = (
        f" {event.result.cell.id} {event.result.outcome}" if isinstance(event, CellFinished) else ""
    )
    print(f"{type(event).__name__}{text}", flush=True)


if descriptor := os.environ.pop(DESCRIPTOR, ""):
    nursery = Nursery(socket.socket(fileno=int(descriptor)))
    vars(executors)["subprocess"] = nursery.as_subprocess()

try:
    plan = Plan.from_json(json.loads(sys.argv[1]))
    summary = run_plan(plan, sys.argv[2], on_event=show, **json.loads(sys.argv[3]))
except FaninError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
sys.exit(summary.exit_code)
