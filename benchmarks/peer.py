"""Compare trainings per hour of fanin and of the case study's program, on the same cores and data.

    python benchmarks/peer.py --rounds 5 --output results/peer.json

Each round times three contestants one after the other, with nothing else running: the program as
published (one process with as many threads as TensorFlow chooses), the program as two one-thread
processes, and fanin with two workers. Start-up and reading of data do not count. Building, fitting
with validation after every epoch, restoring and evaluating do. A contestant that runs two trainings
at a time does so from beginning to end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fanin.execution import process_settings
from fanin.execution.runner import run_plan
from fanin.store import results_store
from fanin.study import study_file

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Workload:
    """What is trained, for how many epochs, and how many times as fast fanin promises to be."""

    model: str
    data: str
    epochs: int
    promise: float

    @property
    def name(self) -> str:
        """The name in tables."""
        return f"{self.model} · {self.data}"


WORKLOADS = (
    Workload("regression", "california-housing", 10, 5.0),
    Workload("mlp", "mnist", 3, 3.0),
    Workload("cnn", "mnist", 1, 1.5),
    Workload("cnn", "cifar10", 1, 1.5),
)


def measure_published(work: Workload) -> float:
    """Return the trainings per hour of the program as published."""
    return 3600 / statistics.mean(_run_keras(work, threads=0)[0]["seconds"])


def measure_two_processes(work: Workload) -> float:
    """Return the trainings per hour of two one-thread processes of the program, side by side."""
    return sum(
        3600 / statistics.mean(report["seconds"])
        for report in _run_keras(work, threads=1, processes=2)
    )


def measure_fanin(work: Workload) -> float:
    """Return the trainings per hour of fanin with two busy workers."""
    text = f"""
    question = "How fast?"
    protocol = "case-study"
    replicates = 4
    [base]
    model = "{work.model}"
    data = "{work.data}"
    initializer = "he_normal(truncated=true)"
    optimizer = "adam(epsilon='keras')"
    epochs = {work.epochs}
    """
    with tempfile.TemporaryDirectory() as out:
        run_plan(study_file.parse(text, "speed").plan(), out, workers=2)
        results = results_store.read(out).results.values()
    seconds = [
        sum(result.timings[part] for part in ("setup", "train", "evaluate")) for result in results
    ]
    return 2 * 3600 / statistics.mean(seconds)


SIDES: dict[str, Callable[[Workload], float]] = {
    "published": measure_published,
    "two processes": measure_two_processes,
    "fanin": measure_fanin,
}


def measure_peak() -> dict[str, float]:
    """Return the fp32 GFLOP/s of a 2048³ product on one thread, for both matmul backends."""
    torch.set_num_threads(1)
    found = {}
    a, b = torch.rand(2048, 2048), torch.rand(2048, 2048)
    backends: tuple[process_settings.Matmul, ...] = ("default", "onednn")
    for backend in backends:
        process_settings.set_matmul(backend)
        times = []
        for _ in range(6):
            started = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - started)
        found[backend] = 2 * 2048**3 / min(times[1:]) / 1e9
    return found


def main() -> None:
    """Measure each round, print a table, and write the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rates: dict[str, dict[str, list[float]]] = {
        work.name: {side: [] for side in SIDES} for work in WORKLOADS
    }
    peaks = [measure_peak()]
    for number in range(options.rounds):
        for work in WORKLOADS:
            for side, measure in SIDES.items():
                rates[work.name][side].append(measure(work))
        peaks.append(measure_peak())
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    report = {
        "device": process_settings.get_cpu_name(),
        "torch": torch.__version__,
        "peak_gflops": peaks,
        "trainings_per_hour": rates,
    }
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(render_table(report))


def render_table(report: dict[str, Any]) -> str:
    """Render the measurements as Markdown: medians, their spread, and the ratios of each round."""
    lines = [
        "| training | epochs | published program /h | two one-thread processes /h | fanin /h | "
        "fanin : published | promised |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for work in WORKLOADS:
        rates = report["trainings_per_hour"][work.name]
        ratios = [a / b for a, b in zip(rates["fanin"], rates["published"], strict=True)]
        figures = [_render_spread(rates[side]) for side in SIDES]
        promised = f"{work.promise:g}"
        lines.append(
            "| "
            + " | ".join(
                [work.name, str(work.epochs), *figures, _render_spread(ratios, 2), promised]
            )
            + " |"
        )
    return "\n".join(lines)


def _render_spread(values: list[float], digits: int = 0) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def _run_keras(work: Workload, *, threads: int, processes: int = 1) -> list[dict[str, Any]]:
    words = [sys.executable, str(HERE / "keras_program.py"), work.model, work.data]
    words += ["--epochs", str(work.epochs), "--trainings", "2", "--threads", str(threads)]
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("The Keras program failed; see above.")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


if __name__ == "__main__":
    main()
