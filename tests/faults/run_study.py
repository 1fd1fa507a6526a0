"""Runs a plan as a user's script would, at its top level: ``python run_study.py PLAN.json OUT [OPTIONS.json]``.

Prints one line for every event, and exits as the command line does.
"""

import json
import sys
from pathlib import Path

from fanin.errors import FaninError
from fanin.study.events import CellFinished
from fanin.study.plan import Plan
from fanin.study.runner import run_plan


def show(event: object) -> None:
    text = f" {event.result.cell.id} {event.result.outcome}" if isinstance(event, CellFinished) else ""
    print(f"{type(event).__name__}{text}", flush=True)


try:
    options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    summary = run_plan(Plan.from_json(json.loads(Path(sys.argv[1]).read_text())), sys.argv[2], on_event=show, **options)
except FaninError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
sys.exit(summary.exit_code)
