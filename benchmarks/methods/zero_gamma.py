"""Zero gamma: large learning rates without warm-up.

Question. Does a ResNet with batch normalization start better, and bear larger learning rates, if
the scale that ends each residual branch starts at 0?

Claim. With γ = 0 in the last normalization of each branch, every block starts as its shortcut, and
training is easier at its start (He et al., Bag of Tricks, 2019). It improves all models, and most
with large batches and the large rates that go with them (Goyal et al., 2017).

Protocol. ResNet-20 for CIFAR with 8, 16 and 32 channels in its stages (16, 32 and 64 in the
source). Weights from he_normal(mode=fan_out), the head from N(0, 0.01²), as in Goyal et al.; the
two starts have the same weights and differ in γ alone. 5,000 images of CIFAR-10, averaged down to
16×16; SGD with momentum 0.9, batches of 250, 40 steps (two epochs), no warm-up, at the learning
rates 0.1, 0.2, 0.4, 0.8 and 1.6. What is measured is the mean loss of the first and of the last 10
batches. 10 replicates, the last 3 of which were trained after the others had been seen. In a trial
with seed 3 and 60 steps, γ = 0 and γ = 1 ended at 1.87 and 2.20 at the rate 0.8, at 1.92 and 2.32
at 1.6, and at 2.01 and 1.73 at 0.1; so the part about the best rates was not expected to hold.

Criterion. Shown if the interval of the mean difference of the last losses, γ = 0 minus γ = 1, lies
below −0.1 at 0.8 and at 1.6, and below 0 at the best rate of each; and if that of the first losses,
at the rates that are best for them, lies below 0. Beside it, the last losses at 0.1.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import compare_at_best_rates, read_numbers, subtract
from experiment.records import Condition
from experiment.training import average, load_images, train
from matplotlib.figure import Figure

import fanin
from fanin import models

RATES = (0.1, 0.2, 0.4, 0.8, 1.6)
LARGE = (0.8, 1.6)
STARTS = {"γ = 0": "zero_gamma", "γ = 1": "he_normal(mode=fan_out)"}


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Train one network."""
    images = load_images("cifar10", 5000, 1000, side=16)
    rate = float(condition["learning_rate"])
    network = models.get("resnet20(width=8)").build(images.shape, 10)
    fanin.initialize(network, STARTS[str(condition["start"])], seed=seed)
    fanin.initialize(network.get_submodule("output"), "normal(std=0.01)", seed=seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    losses = train(
        network, optimizer, images.x_train, images.y_train,
        steps=30 if fast else 40, batch_size=250, seed=seed,
    )  # fmt: skip
    return {"first": sum(losses[:10]) / 10, "loss": average(losses, 10)}


def compare(records: Records, value: str) -> list[float]:
    """γ = 0 minus γ = 1, each at its best rate."""
    zero, one = ({"start": start} for start in STARTS)
    return compare_at_best_rates(records, value, zero, one, higher=False)


def draw(records: Records) -> Figure:
    """First and last losses by rate."""
    panels = []
    for value, title in (("first", "batches 1 to 10"), ("loss", "batches 31 to 40")):
        lines = []
        for start in STARTS:
            found = [
                read_numbers(records, value, start=start, learning_rate=rate) for rate in RATES
            ]
            lines.append(Line(start, RATES, list(zip(*found, strict=True))))
        panels.append(
            Panel(title, "learning rate", "training loss", lines, log_x=True, dashed=2.303)
        )
    return draw_panels(panels)


def describe_rate(rate: float, **more: Any) -> Effect:
    """The effect that γ = 0 ends lower at one rate."""
    zero, one = ({"start": start, "learning_rate": rate} for start in STARTS)
    return Effect(
        says=f"γ = 0 ends lower at the rate {rate:g}",
        number="difference of the last losses, γ = 0 minus γ = 1",
        measure=functools.partial(subtract, value="loss", first=zero, second=one),
        **more,
    )


EXPERIMENT = Experiment(
    name="zero_gamma",
    title="Zero gamma: large learning rates without warm-up",
    methods=("zero_gamma",),
    source="Goyal et al., Accurate, Large Minibatch SGD, 2017; He et al., Bag of Tricks for Image "
    "Classification with Convolutional Neural Networks, 2019",
    data=("cifar10",),
    conditions=tuple({"start": start, "learning_rate": rate} for rate in RATES for start in STARTS),
    measure=measure,
    replicates=10,
    columns={"first": "loss of the first 10 batches", "loss": "loss of the last 10 batches"},
    effects=(
        *(describe_rate(rate, below=-0.1) for rate in LARGE),
        Effect(
            says="at the best rate of each, γ = 0 ends lower",
            number="difference of the last losses, γ = 0 minus γ = 1",
            measure=functools.partial(compare, value="loss"),
            below=0.0,
        ),
        Effect(
            says="at the best rate of each, γ = 0 begins lower",
            number="difference of the first losses, γ = 0 minus γ = 1",
            measure=functools.partial(compare, value="first"),
            below=0.0,
        ),
        describe_rate(RATES[0], below=0.0, counts=False),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
