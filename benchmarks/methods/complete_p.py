"""CompleteP: the best learning rate by depth.

Question. Does the best learning rate of a transformer stay where it is when it gets deeper?

Claim. With CompleteP, whose branches count x + f(x)/L, it does; in the standard parametrization it
falls with depth (Dey et al., 2025).

Protocol. Pre-norm encoders of 2, 8 and 24 blocks, width 32, 4 heads; the rows of digits as
sequences of 8 steps, Adam without warm-up, batches of 32, 40 steps. Nine learning rates from 2^−12
to 2^−4, all from the same weights and with the same batches. The standard parametrization is
lecun_normal with one rate for all layers; complete_p(base=32, base_depth=2) is the same start at 2
blocks. The best rate of a replicate is the one with the smallest mean loss of the last 12 batches,
by a parabola through it and its neighbours. 10 replicates, the last 5 of which were added after the
others had been seen.

Criterion. Shown if, from 2 to 24 blocks, the interval of the mean shift of log2(best rate) lies
within ±1 with CompleteP, and below −1 without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiment import Effect, Experiment, Records, run_command
from experiment.effects import subtract
from experiment.rate_sweep import (
    draw_rate_panels,
    measure_rate_shift,
    read_factors,
    summarize_sweep,
    sweep_rates,
)
from experiment.records import Condition
from experiment.training import load_digits
from matplotlib.figure import Figure

import fanin
from fanin import models

DEPTHS, FAST_DEPTHS = (2, 8, 24), (2, 24)
RATES = tuple(2.0**-power for power in range(12, 3, -1))
STANDARD, COMPLETE = "lecun_normal", "complete_p(base=32, base_depth=2)"


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """The loss at each rate."""
    x, y = load_digits("rows")
    model = models.get(f"transformer(depth={condition['depth']}, width=32)")
    network = model.build(tuple(x.shape[1:]), 10)
    record = fanin.initialize(network, str(condition["start"]), seed=seed)
    curves = sweep_rates(
        network, RATES, x, y,
        steps=25 if fast else 40, batch_size=32, seed=seed, factors=read_factors(record),
    )  # fmt: skip
    return summarize_sweep(RATES, curves, 12)


def draw(records: Records) -> Figure:
    """Losses by rate: a panel for each parametrization."""
    labels = {depth: f"{depth} blocks" for depth in DEPTHS}
    return draw_rate_panels(records, (STANDARD, COMPLETE), "depth", labels)


EXPERIMENT = Experiment(
    name="complete_p",
    title="CompleteP: the best learning rate by depth",
    methods=("complete_p",),
    source="Dey et al., Don't be Lazy: CompleteP Enables Compute-efficient Deep Transformers, 2025",
    conditions=tuple(
        {"start": start, "depth": depth} for start in (STANDARD, COMPLETE) for depth in DEPTHS
    ),
    fast_conditions=tuple(
        {"start": start, "depth": depth} for start in (STANDARD, COMPLETE) for depth in FAST_DEPTHS
    ),
    measure=measure,
    replicates=10,
    columns={"log2_best_rate": "log2 of the best rate", "loss": "loss at the best rate"},
    effects=(
        Effect(
            says="with CompleteP the best rate stays",
            number="shift of log2(best rate) from 2 to 24 blocks",
            measure=lambda records: measure_rate_shift(records, COMPLETE, "depth", 2, 24),
            above=-1.0,
            below=1.0,
        ),
        Effect(
            says="in the standard parametrization it falls",
            number="shift of log2(best rate) from 2 to 24 blocks",
            measure=lambda records: measure_rate_shift(records, STANDARD, "depth", 2, 24),
            below=-1.0,
        ),
        Effect(
            says="at 24 blocks, CompleteP is better at its best rate",
            number="loss at the best rate, CompleteP − standard",
            measure=lambda records: subtract(
                records, "loss", {"start": COMPLETE, "depth": 24}, {"start": STANDARD, "depth": 24}
            ),
            below=0.0,
            counts=False,
        ),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
