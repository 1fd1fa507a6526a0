"""ZerO and IDInit: how much runs differ.

Question. Do runs from weights without, or almost without, randomness differ less from one another?

Claim. ZerO's networks of zeros and ones reach the accuracy of random starts, and vary less from run
to run (Zhao et al., 2022); IDInit's padded identities train faster and more stably (Pan et al.,
2025).

Protocol. A ResNet of 8 layers with batch normalization and 8 channels in its first stage, on the
8×8 images of digits: 1,438 for training. SGD with momentum 0.9 and learning rate 0.05, batches of
32, 225 steps (five epochs). What is measured is the loss on 359 test images. The order of the
samples differs from replicate to replicate for all starts; weights differ for he_normal alone, and
by 10⁻⁶ for idinit. 20 replicates.

Criterion. Shown if, for ZerO and for IDInit, the interval of the mean of |loss − median| minus that
of he_normal (Brown and Forsythe's comparison of spreads) lies below 0. Beside it, the difference of
the losses themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import compare_spreads, read_numbers, subtract
from experiment.records import Condition, round_values
from experiment.training import load_digits, load_digits_test, measure_accuracy, measure_loss, train
from matplotlib.figure import Figure

import fanin
from fanin import models

STARTS = ("he_normal", "zero_one", "idinit")


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Train one network."""
    x, y = load_digits("image")
    network = models.get("resnet(width=8)").build(tuple(x.shape[1:]), 10)
    fanin.initialize(network, str(condition["start"]), seed=seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = train(network, optimizer, x, y, steps=90 if fast else 225, batch_size=32, seed=seed)
    x_test, y_test = load_digits_test()
    return {
        "test_loss": round(measure_loss(network, x_test, y_test), 5),
        "accuracy": round(measure_accuracy(network, x_test, y_test), 5),
        "curve": round_values(losses),
    }


def draw(records: Records) -> Figure:
    """Losses by step, and the sorted test losses."""
    curves, sorted_losses = [], []
    for start in STARTS:
        found = [record.values["curve"] for record in records.pick(start=start)]
        curves.append(Line(start, range(1, len(found[0]) + 1), found))
        losses = sorted(read_numbers(records, "test_loss", start=start))
        sorted_losses.append(Line(start, range(1, len(losses) + 1), [losses]))
    return draw_panels(
        [
            Panel("training", "step", "training loss", curves),
            Panel("test loss of each replicate", "replicates, sorted", "test loss", sorted_losses),
        ]
    )


EXPERIMENT = Experiment(
    name="zero_and_identity",
    title="ZerO and IDInit: the spread between runs",
    methods=("zero_one", "idinit"),
    source="Zhao et al., ZerO Initialization, 2022; Pan et al., IDInit, 2025",
    conditions=tuple({"start": start} for start in STARTS),
    measure=measure,
    replicates=20,
    columns={"test_loss": "test loss", "accuracy": "test accuracy"},
    effects=(
        *(
            Effect(
                says=f"runs from {start} differ less than from he_normal",
                number="|loss − median| minus that of he_normal",
                measure=functools.partial(
                    compare_spreads,
                    value="test_loss",
                    first={"start": start},
                    second={"start": "he_normal"},
                ),
                below=0.0,
            )
            for start in STARTS[1:]
        ),
        *(
            Effect(
                says=f"the loss from {start} is not higher",
                number="difference of test losses",
                measure=functools.partial(
                    subtract,
                    value="test_loss",
                    first={"start": start},
                    second={"start": "he_normal"},
                ),
                below=0.02,
                counts=False,
            )
            for start in STARTS[1:]
        ),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
