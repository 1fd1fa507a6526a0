"""LSUV in plain networks of 16 layers.

Question. Does a deep plain network without normalization learn faster if each layer's output is
scaled to unit variance on one batch?

Claim. With layer-sequential unit variance, very deep plain nets train, for several activations, at
least as fast as with starts that were made for them (Mishkin and Matas, 2016).

Protocol. 16 linear layers of 48 units, each followed by ReLU, tanh or GELU. MNIST averaged down to
14×14, 2,000 images; SGD with momentum 0.9, batches of 50, 120 steps (three epochs). LSUV sees the
first 200 images. The others are its own base, orthonormal weights without the scaling, and
Xavier's. Learning rates 0.00316, 0.01 and 0.0316; each start has the rate that is best in the other
replicates. Measured are the mean loss of the last 10 batches, and the largest |log₂ std| of a
hidden layer's output on fresh images. 10 replicates.

Criterion. Shown if the mean of the largest |log₂ std| lies below 0.5 with LSUV and above 2 with
orthonormal weights (both with ReLU), and if with ReLU and with GELU the mean loss is smaller with
LSUV than with orthonormal weights by more than 0.2. Tanh, for which orthonormal weights are
critical, is told beside it, and so is Xavier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import compare_at_best_rates, read_numbers
from experiment.records import Condition
from experiment.training import average, load_images, thin, train
from matplotlib.figure import Figure
from torch import Tensor, nn

import fanin

DEPTH, WIDTH = 16, 48
RATES = (0.00316, 0.01, 0.0316)
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
STARTS = ("lsuv", "orthogonal", "xavier_normal")
CONDITIONS = tuple(
    {"activation": activation, "start": start, "learning_rate": rate}
    for activation in ACTIVATIONS
    for start in STARTS
    for rate in RATES
)


def build(activation: str, inputs: int) -> nn.Sequential:
    """A plain chain and a head."""
    layers: list[nn.Module] = []
    for number in range(DEPTH):
        layers += [nn.Linear(WIDTH if number else inputs, WIDTH), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


@torch.no_grad()
def measure_drift(model: nn.Sequential, x: Tensor) -> float:
    """The largest |log₂ std| of what a hidden linear layer puts out; at most 60."""
    largest = 0.0
    for layer in model[:-1]:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            std = float(x.double().std())
            largest = max(largest, min(abs(math.log2(max(std, 2.0**-60))), 60.0))
    return largest


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Train one network."""
    images = load_images("mnist", 2000, 1000, side=14)
    x, y = images.x_train.flatten(1), images.y_train
    model = build(str(condition["activation"]), x.shape[1])
    fanin.initialize(model, str(condition["start"]), seed=seed, batch=x[:200])
    drift = measure_drift(model, images.x_test.flatten(1))
    optimizer = torch.optim.SGD(
        model.parameters(), lr=float(condition["learning_rate"]), momentum=0.9
    )
    steps = 40 if fast else 120
    losses = train(model, optimizer, x, y, steps=steps, batch_size=50, seed=seed)
    at, curve = thin(losses, 20)
    return {"loss": average(losses, 10), "drift": drift, "steps": at, "curve": curve}


def compare(records: Records, activation: str, other: str) -> list[float]:
    """Loss with LSUV minus loss with another start, each at its best rate."""
    return compare_at_best_rates(
        records,
        "loss",
        {"activation": activation, "start": "lsuv"},
        {"activation": activation, "start": other},
        higher=False,
    )


def measure_drifts(records: Records, start: str) -> list[float]:
    """Of one start with ReLU."""
    return read_numbers(records, "drift", activation="relu", start=start, learning_rate=RATES[0])


def draw(records: Records) -> Figure:
    """Losses by step, at the best rate of all replicates."""
    panels = []
    for activation in ACTIVATIONS:
        lines = []
        for start in STARTS:
            picked = records.pick(activation=activation, start=start)
            rates = picked.list_values("learning_rate")
            means = {rate: sum(picked.read("loss", learning_rate=rate).values()) for rate in rates}
            best = picked.pick(learning_rate=min(means, key=lambda rate: means[rate]))
            curves = [record.values["curve"] for record in best]
            lines.append(Line(start, best[0].values["steps"], curves))
        panels.append(
            Panel(f"16 layers, {activation}", "step", "training loss", lines, dashed=2.303)
        )
    return draw_panels(panels, columns=3)


def describe_difference(activation: str, other: str, **more: Any) -> Effect:
    """The effect that LSUV's loss is below another start's."""
    return Effect(
        says=f"with {activation}, LSUV learns faster than {other}",
        number="difference of the losses at the best rates",
        measure=lambda records: compare(records, activation, other),
        **more,
    )


EXPERIMENT = Experiment(
    name="lsuv",
    title="LSUV: plain networks of 16 layers",
    methods=("lsuv",),
    source="Mishkin and Matas, All You Need Is a Good Init, 2016",
    data=("mnist",),
    conditions=CONDITIONS,
    fast_conditions=tuple(each for each in CONDITIONS if each["learning_rate"] < 0.02),
    measure=measure,
    columns={"loss": "loss of the last 10 batches", "drift": "largest |log₂ std| of a layer"},
    effects=(
        Effect(
            says="every hidden layer puts out unit variance, on other images too",
            number="largest |log₂ std| with LSUV",
            measure=lambda records: measure_drifts(records, "lsuv"),
            below=0.5,
        ),
        Effect(
            says="orthonormal weights alone do not",
            number="largest |log₂ std| with orthonormal weights",
            measure=lambda records: measure_drifts(records, "orthogonal"),
            above=2.0,
        ),
        describe_difference("relu", "orthogonal", below=-0.2),
        describe_difference("gelu", "orthogonal", below=-0.2),
        describe_difference("tanh", "orthogonal", below=-0.2, counts=False),
        describe_difference("relu", "xavier_normal", below=-0.2, counts=False),
        describe_difference("gelu", "xavier_normal", below=-0.2, counts=False),
        describe_difference("tanh", "xavier_normal", below=-0.2, counts=False),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
