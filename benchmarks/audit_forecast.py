"""Does the audit's forecast tell starts that train from those that do not?

    python benchmarks/audit_forecast.py train --grid development --output results/….jsonl
    python benchmarks/audit_forecast.py train --grid held-out --output results/….jsonl

`train` trains every case of a grid, at five learning rates from five seeds, and appends one row to
the file for each; the same command again trains what is missing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import torch
from forecast_grid.grids import list_groups
from forecast_grid.trainings import STEPS, train_start


def train_missing(grid: str, optimizer: str, path: Path) -> None:
    """Append a row for each case that the file lacks."""
    done = {(row["group"], row["start"]) for row in read_rows(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for group in list_groups(grid):
            if optimizer not in ("", group.optimizer):
                continue
            for start in group.starts:
                if (group.name, start) in done:
                    continue
                errors = [
                    [[encode(e) for e in row] for row in s] for s in train_start(group, start)
                ]
                row = {
                    "group": group.name,
                    "start": start,
                    "uninformed": encode(group.task.uninformed),
                    "steps": STEPS,
                    "errors": errors,
                }
                file.write(json.dumps(row) + "\n")
                file.flush()


def encode(value: float) -> float | None:
    """None is infinite: JSON has no number for it."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    trainer = commands.add_parser("train")
    trainer.add_argument("--grid", choices=("development", "held-out"), required=True)
    trainer.add_argument(
        "--optimizer", choices=("adam", "sgd"), default="", help="of this one only"
    )
    trainer.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_flush_denormal(True)
    train_missing(arguments.grid, arguments.optimizer, arguments.output)


if __name__ == "__main__":
    main()
