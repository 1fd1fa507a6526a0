"""What it costs to measure signals: the same cell with and without, in turn.

    python benchmarks/watch_overhead.py MODEL DATA EPOCHS PAIRS

    python benchmarks/watch_overhead.py mlp digits 21 15

Prints the median over the pairs of (CPU seconds of an epoch with signals) / (without), and their
range. CPU seconds of one thread, so that another program on the machine counts less. The first
epoch is left out.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from fanin.cell.cell import Cell
from fanin.execution import process_settings
from fanin.training.train import DataCache, train


def measure_epoch(cell: Cell, cache: DataCache) -> float:
    """CPU seconds of an epoch of the cell, evaluation included."""
    ends: list[float] = []
    train(cell, cache=cache, environment={}, on_epoch=lambda row: ends.append(time.process_time()))
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("epochs", type=int)
    parser.add_argument("pairs", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    process_settings.tune_process()
    cache, cells = DataCache(), {}
    for signals in (False, True):
        cells[signals] = Cell(
            model=given.model,
            data=given.data,
            initializer="he_normal",
            epochs=given.epochs,
            signals=signals,
        )
        measure_epoch(cells[signals], cache)
    ratios, seconds = [], []
    for pair in range(given.pairs):
        order = (False, True) if pair % 2 else (True, False)
        found = {signals: measure_epoch(cells[signals], cache) for signals in order}
        ratios.append(found[True] / found[False])
        seconds.append(found[False])
    print(
        f"{given.model} on {given.data}: an epoch takes {statistics.median(seconds) * 1e3:.2f} ms; "
        f"with signals {statistics.median(ratios):.3f} of that "
        f"({min(ratios):.3f} to {max(ratios):.3f}, n = {given.pairs} pairs)"
    )


if __name__ == "__main__":
    main()
