"""Reading, exporting and reporting a store of 20,000 results.

    python benchmarks/large_store.py --output results/large-store.json  # extra study

The store is made from the committed results of the case study, through the store's own API: each
row again, as further replicates. Every command runs in a process of its own; times are wall times,
and the processor's own, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.store import jsonl
from fanin.store.results_store import Store

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "results" / "case-study.jsonl"
COMMANDS = {
    "status": ["status", "{store}"],
    "export --to csv": ["export", "{store}", "--to", "csv", "--output", "{files}/table.csv"],
    "report": ["report", "{store}", "--output", "{files}"],
}
PROMISED = {"status": 1.0, "export --to csv": 3.0, "report": 20.0}
"""Seconds."""


def make_store(folder: Path, size: int) -> None:
    """Fill a results folder with so many results, each of a planned cell."""
    rows, _ = jsonl.read(ROWS)
    blocks: dict[int, list[Result]] = {}
    for row in rows:
        blocks.setdefault(row.cell.replicate, []).append(row)
    results: list[Result] = []
    replicates = sorted(blocks)
    for replicate in count():
        for row in blocks[replicates[replicate % len(replicates)]]:
            results.append(replace(row, cell=replace(row.cell, replicate=replicate)))
        if len(results) >= size:
            break
    cells = tuple(PlannedCell(result.cell, {}) for result in results[:size])
    with Store.create_or_open(folder) as store:
        store.set_plan(Plan("large", "How long does it take?", "case-study", cells))
        store.add_all(results[:size])


def measure(store: Path, files: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Median, least and most seconds of each command, the median of its processor's seconds, and
    the most memory that one took, in MB.
    """
    measured = {}
    for name, command in COMMANDS.items():
        seconds, processor, memory = [], [], 0
        for _ in range(rounds):
            line = [part.format(store=store, files=files) for part in command]
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "fanin", *line], stdout=subprocess.DEVNULL
            )
            _, code, used = os.wait4(process.pid, 0)
            seconds.append(time.perf_counter() - started)
            processor.append(used.ru_utime + used.ru_stime)
            memory = max(memory, used.ru_maxrss)
            if code:
                raise SystemExit(f"fanin {' '.join(line)} ended with {code}")
        measured[name] = {
            "median": statistics.median(seconds),
            "least": min(seconds),
            "most": max(seconds),
            "processor": statistics.median(processor),
            "megabytes": memory * (1 if sys.platform == "darwin" else 1024) / 1e6,
            "promised": PROMISED[name],
        }
        print(name, measured[name], flush=True)
    return measured


def main() -> None:
    """Make the store, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="a folder for the store, which is kept")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store = arguments.keep or Path(temporary) / "store"
        if not (store / "results.sqlite").exists():
            make_store(store, arguments.size)
        measured = measure(store, Path(temporary), arguments.rounds)
    record = {"size": arguments.size, "rounds": arguments.rounds, "commands": measured}
    if arguments.output:
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
