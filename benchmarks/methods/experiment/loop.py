"""An experiment, and the loop that runs its conditions replicate by replicate."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from experiment.effects import Decision, Effect, decide
from experiment.records import Condition, Record, Records, append_record, read_records
from fanin import seeds
from fanin.analysis.statistics import estimate
from fanin.execution.process_settings import get_cpu_name

RESULTS = Path(__file__).resolve().parents[3] / "results" / "methods"

FAST_REPLICATES = 2

FIRST_SEED = 1000
"""Of replicate 0. Trials that chose sizes, rates and criteria used smaller ones."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One paper's effect, its conditions, and how it is measured, decided and drawn."""

    name: str
    """That of its file."""
    title: str
    methods: tuple[str, ...]
    """Names in the registry of initializers, or of recipes."""
    source: str
    """The paper."""
    conditions: tuple[Condition, ...]
    measure: Callable[[Condition, int, bool], Mapping[str, Any]]
    """(condition, seed, fast) → values. The seed is that of weights and batches, and differs from
    replicate to replicate; torch's global generator starts from it, too. `fast` asks for a
    shortened run.
    """
    effects: tuple[Effect, ...]
    draw: Callable[[Records], Figure]
    columns: Mapping[str, str]
    """Value → its heading in the table."""
    replicates: int = 10
    data: tuple[str, ...] = ()
    """Real data sets that it needs in FANIN_DATA_DIR."""
    fast_conditions: tuple[Condition, ...] = field(default=())
    """The conditions of a shortened run; all if empty."""

    def list_runs(self, fast: bool, replicates: int | None = None) -> list[tuple[Condition, int]]:
        """Condition and replicate of each run; a replicate is complete before the next begins."""
        n = replicates or (FAST_REPLICATES if fast else self.replicates)
        conditions = (self.fast_conditions if fast else ()) or self.conditions
        return [(condition, replicate) for replicate in range(n) for condition in conditions]

    def find_missing(self, records: Records) -> list[tuple[Condition, int]]:
        """The runs that records lack."""
        known = {record.key for record in records}
        return [
            (condition, replicate)
            for condition, replicate in self.list_runs(fast=False)
            if Record(condition, replicate, {}, 0.0, "", "").key not in known
        ]

    def decide(self, records: Records) -> list[Decision]:
        """What became of each effect."""
        return [decide(effect, records) for effect in self.effects]


def describe_verdict(decisions: Sequence[Decision]) -> str:
    """Whether all effects that count are shown; if only some are, how many."""
    counted = [decision.is_shown for decision in decisions if decision.effect.counts]
    if all(counted):
        return "shown"
    return (
        f"not shown here ({sum(counted)} of {len(counted)} parts)"
        if any(counted)
        else "not shown here"
    )


def run(
    experiment: Experiment, path: Path, *, fast: bool = False, replicates: int | None = None
) -> Records:
    """Measure what the file lacks, and return the records of all runs."""
    torch.set_num_threads(1)
    known = {record.key: record for record in read_records(path)}
    runs = experiment.list_runs(fast, replicates)
    records = []
    for number, (condition, replicate) in enumerate(runs, 1):
        wanted = Record(condition, replicate, {}, 0.0, get_cpu_name(), torch.__version__)
        if wanted.key not in known:
            known[wanted.key] = _measure(experiment, wanted, fast)
            append_record(path, known[wanted.key])
            words = ", ".join(f"{name}={value}" for name, value in condition.items())
            print(
                f"{number}/{len(runs)} replicate {replicate}, {words}: "
                f"{_describe(known[wanted.key].values)} ({known[wanted.key].seconds:.1f} s)",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        records.append(known[wanted.key])
    return Records(records)


def _measure(experiment: Experiment, wanted: Record, fast: bool) -> Record:
    started = time.process_time()
    seed = FIRST_SEED + wanted.replicate
    with seeds.preserve_torch_state(seed):
        values = experiment.measure(wanted.condition, seed, fast)
    return Record(
        dict(wanted.condition), wanted.replicate, dict(values),
        round(time.process_time() - started, 2), wanted.machine, wanted.torch,
    )  # fmt: skip


def _describe(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" for name, value in values.items() if not isinstance(value, list)
    )


def describe_numbers(numbers: list[float]) -> str:
    """Mean ± half-width of its interval; where a number is infinite, the range instead."""
    if not all(map(math.isfinite, numbers)):
        diverged = sum(not math.isfinite(number) for number in numbers)
        return f"{diverged} of {len(numbers)} diverged"
    found = estimate(numbers)
    half = "" if math.isnan(found.half_width) else f" ± {found.half_width:.2g}"
    return f"{found.mean:.4g}{half}"


def run_command(experiment: Experiment) -> int:
    """``python benchmarks/methods/NAME.py``: run what is missing and print the verdicts."""
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fast", action="store_true", help="a shortened run, for tests")
    parser.add_argument("--out", type=Path, help="results/methods/NAME.jsonl if it is not --fast")
    parser.add_argument("--replicates", type=int)
    options = parser.parse_args()
    folder = Path("runs/methods") if options.fast else RESULTS
    path = options.out or folder / f"{experiment.name}.jsonl"
    records = run(experiment, path, fast=options.fast, replicates=options.replicates)
    for condition in records.list_conditions():
        found = records.pick(**condition)
        numbers = [
            f"{heading} {describe_numbers([record.values[value] for record in found])}"
            for value, heading in experiment.columns.items()
        ]
        print(*map(str, condition.values()), "|", "; ".join(numbers))
    for decision in experiment.decide(records):
        print(
            f"{decision.verdict}: {decision.effect.says} ({decision.effect.number}: "
            f"{decision.value:.4g}, {decision.low:.4g} to {decision.high:.4g}, n = {decision.n})"
        )
    return 0
