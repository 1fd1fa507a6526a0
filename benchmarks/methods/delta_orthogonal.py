"""Delta-orthogonal weights in a plain tanh CNN of 500 layers.

Question. Does a plain convolutional network of 500 layers learn if, and only if, its convolutions
start delta-orthogonal?

Claim. With delta-orthogonal weights (an orthogonal matrix at the centre tap, zeros elsewhere),
plain tanh CNNs of up to 10,000 layers train without skips and without normalization (Xiao et al.,
2018).

Protocol. 500 convolutions 3×3 of 8 channels on 7×7 maps, each followed by tanh, then a linear layer
over the whole map, which starts from lecun_normal. MNIST averaged down to 7×7, 1,000 images; Adam
with learning rate 0.0003, which was chosen for delta-orthogonal on another seed, batches of 50, 30
steps, gradients clipped at norm 1. Biases are 0. What is measured is the mean loss of the last 10
batches, and the norm of the first batch's gradient in the first convolution: where it is 0 in
single precision, no rate helps. 10 replicates, the last 5 of which were added after the others had
been seen.

Criterion. Shown if the interval of the mean loss lies below 2.15 for delta-orthogonal, and above
2.25 for torch's default and for Xavier (chance is ln 10 = 2.303).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import read_numbers
from experiment.records import Condition, round_values
from experiment.training import Images, average, load_images, train
from matplotlib.figure import Figure
from torch import nn

import fanin

DEPTH, FAST_DEPTH = 500, 300
CHANNELS, SIDE = 8, 7
STARTS = ("delta_orthogonal", "torch_default", "xavier_normal")


def build(depth: int) -> nn.Sequential:
    """A plain chain of convolutions, and a linear layer over the whole map."""
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Conv2d(CHANNELS if number else 1, CHANNELS, 3, padding=1), nn.Tanh()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS * SIDE * SIDE, 10))


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Train one network."""
    images = load_images("mnist", 1000, 1000, side=SIDE)
    model = build(FAST_DEPTH if fast else DEPTH)
    rules = {nn.Conv2d: str(condition["start"])}
    fanin.initialize(model, rules, default="lecun_normal", seed=seed)
    gradient = measure_first_gradient(model, images)
    losses = train(
        model, torch.optim.Adam(model.parameters(), lr=0.0003), images.x_train, images.y_train,
        steps=30, batch_size=50, seed=seed, clip=1.0,
    )  # fmt: skip
    return {"loss": average(losses, 10), "gradient": gradient, "curve": round_values(losses)}


def measure_first_gradient(model: nn.Sequential, images: Images) -> float:
    """The norm of the gradient in the first convolution's weight, for 50 images."""
    loss = F.cross_entropy(model(images.x_train[:50]), images.y_train[:50])
    (gradient,) = torch.autograd.grad(loss, model[0].weight)
    return float(gradient.norm())


def draw(records: Records) -> Figure:
    """Losses by step."""
    lines = [
        Line(
            start,
            range(1, 31),
            [record.values["curve"] for record in records.pick(start=start)],
        )
        for start in STARTS
    ]
    return draw_panels(
        [Panel("500 plain tanh convolutions", "step", "training loss", lines, dashed=2.303)]
    )


EXPERIMENT = Experiment(
    name="delta_orthogonal",
    title="Delta-orthogonal: 500 plain tanh convolutions",
    methods=("delta_orthogonal",),
    source="Xiao et al., Dynamical Isometry and a Mean Field Theory of CNNs, 2018",
    data=("mnist",),
    conditions=tuple({"start": start} for start in STARTS),
    measure=measure,
    replicates=10,
    columns={"loss": "loss of the last 10 batches", "gradient": "gradient in the first layer"},
    effects=tuple(
        Effect(
            says=says,
            number="loss of the last 10 batches",
            measure=functools.partial(read_numbers, value="loss", start=start),
            above=above,
            below=below,
        )
        for says, start, above, below in (
            ("delta-orthogonal trains", "delta_orthogonal", -math.inf, 2.15),
            ("torch's default does not", "torch_default", 2.25, math.inf),
            ("Xavier does not", "xavier_normal", 2.25, math.inf),
        )
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
