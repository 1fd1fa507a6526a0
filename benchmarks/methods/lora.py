"""LoRA's starts: a trained network adapted to other images.

Question. Does the start of LoRA's pairs decide how fast a trained network adapts?

Claim. Pairs that start from the largest singular values of the weight (PiSSA, Meng et al., 2024),
from its QR decomposition (OLoRA, Büyükakyüz, 2024) or from the principal directions of what a layer
receives (EVA, Paischer et al., 2024) converge faster than random ones with a product of zero (Hu et
al., 2021).

Protocol. An MLP with 3 hidden layers of 128 ReLU units starts from he_normal and learns 5,000
digits of MNIST, averaged down to 14×14, in 300 steps of 50 with Adam at 0.001. Then it adapts to
5,000 images of Fashion-MNIST, whose classes take the places of the digits: all weights and biases
are frozen, and each of the four layers gets a pair of rank 8 with the scaling 1. EVA sees 300 of
the new images. 100 steps of 50 (one epoch) with Adam at the rates 0.001, 0.002, 0.004, 0.008, 0.016
and 0.032, all from the same network and with the same batches. What is measured is how far the
start moves an output, relative to the largest; the mean loss of all 100 batches, which is the area
under the curve; and that of the last 20. Each is taken at the rate that is best for it. 10
replicates, each with a network of its own. Sizes and rank were chosen after trials with seeds 1 to
4: at rank 4, EVA alone was ahead, and after 200 steps no start was.

Criterion. Shown if the interval of the mean difference of the losses of all batches lies below 0
for PiSSA, OLoRA and EVA, minus gaussian and minus kaiming, the default of LoRA's code; and if the
mean change of the outputs lies below 10⁻⁴ for all three. Beside it, the orthogonal start, and the
losses of the last 20 batches.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Mapping
from typing import Any

import torch
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import read_numbers, subtract
from experiment.rate_sweep import make_rate_line, summarize_sweep, sweep_rates
from experiment.records import Condition
from experiment.training import average, load_images, thin, train
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

import fanin

RATES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
SIZES = (14 * 14, 128, 128, 128, 10)
RANK = 8
CLAIMED, RANDOM = ("pissa", "olora", "eva"), ("gaussian", "kaiming")
METHODS = (*RANDOM, "orthogonal", *CLAIMED)


class AdaptedLinear(nn.Module):
    """A frozen linear layer, and the pair beside it: y = W·x + b + B·A·x."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().clone())
        self.register_buffer("bias", layer.bias.detach().clone())
        self.a = nn.Parameter(torch.zeros(RANK, layer.in_features))
        self.b = nn.Parameter(torch.zeros(layer.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) → (N, outputs)."""
        return F.linear(x, self.weight, self.bias) + F.linear(F.linear(x, self.a), self.b)


@functools.lru_cache(maxsize=1)
def train_digits(seed: int) -> nn.Sequential:
    """The network that is adapted."""
    images = load_images("mnist", 5000, 1000, side=14)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    fanin.initialize(network, "he_normal", seed=seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    x, y = images.x_train.flatten(1), images.y_train
    train(network, optimizer, x, y, steps=300, batch_size=50, seed=seed)
    return network


@torch.no_grad()
def adapt(network: nn.Sequential, method: str, x: Tensor, seed: int) -> nn.Sequential:
    """A copy with pairs beside its layers; x is what it receives."""
    adapted = nn.Sequential()
    for number, layer in enumerate(network):
        new = AdaptedLinear(layer) if isinstance(layer, nn.Linear) else copy.deepcopy(layer)
        if isinstance(new, AdaptedLinear):
            pair = fanin.LoraPair(new.weight, new.a, new.b, name=f"layer {number}")
            fanin.initialize_lora(pair, method, seed=seed, batch=x)
        adapted.append(new)
        x = new(x)
    return adapted


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Adapt the network at each rate."""
    images = load_images("fashion-mnist", 5000, 1000, side=14)
    x, y, fresh = images.x_train.flatten(1), images.y_train, images.x_test.flatten(1)
    network = train_digits(seed)
    adapted = adapt(network, str(condition["start"]), x[:300], seed)
    with torch.no_grad():
        before = network(fresh)
        changed = float((adapted(fresh) - before).abs().max() / before.abs().max())
    steps = 60 if fast else 100
    curves = sweep_rates(adapted, RATES, x, y, steps=steps, batch_size=50, seed=seed)
    summary = summarize_sweep(RATES, curves, steps)
    at, curve = thin(curves[summary["losses"].index(summary["loss"])], 20)
    last = min(average(losses, 20) for losses in curves)
    return summary | {"last": last, "changed": changed, "steps": at, "curve": curve}


def draw(records: Records) -> Figure:
    """Losses by rate, and by step at the best rate of each replicate."""
    found = {start: records.pick(start=start) for start in METHODS}
    lines = [
        Line(start, some[0].values["steps"], [one.values["curve"] for one in some])
        for start, some in found.items()
    ]
    rates = [make_rate_line(start, some) for start, some in found.items()]
    return draw_panels(
        [
            Panel("at the best rate", "step", "training loss", lines, limits=(0.5, 1.8)),
            Panel(
                "mean of all steps", "learning rate", "training loss", rates,
                log_x=True, limits=(0.8, 2.4),
            ),
        ]
    )  # fmt: skip


def describe_difference(start: str, other: str, value: str, **more: Any) -> Effect:
    """The effect that one start has a smaller loss than another."""
    batches = "all" if value == "loss" else "the last 20"
    return Effect(
        says=f"{start} is faster than {other}" + ("" if value == "loss" else ", at the end"),
        number=f"difference of the losses of {batches} batches at the best rates",
        measure=functools.partial(
            subtract, value=value, first={"start": start}, second={"start": other}
        ),
        below=0.0,
        **more,
    )


EXPERIMENT = Experiment(
    name="lora",
    title="LoRA's starts: a trained network adapted to other images",
    methods=tuple(f"lora:{name}" for name in METHODS),
    source="Hu et al., LoRA, 2021; Meng et al., PiSSA, 2024; Büyükakyüz, OLoRA, 2024; Paischer et "
    "al., EVA, 2024",
    data=("mnist", "fashion-mnist"),
    conditions=tuple({"start": start} for start in METHODS),
    measure=measure,
    columns={
        "loss": "loss of all batches at the best rate",
        "log2_best_rate": "log2 of that rate",
        "last": "loss of the last 20 batches at the best rate",
        "changed": "change of the outputs at the start",
    },
    effects=(
        *(
            Effect(
                says=f"{start} keeps what the network computes",
                number="largest change of an output, relative to the largest",
                measure=functools.partial(read_numbers, value="changed", start=start),
                below=1e-4,
            )
            for start in CLAIMED
        ),
        *(describe_difference(start, other, "loss") for other in RANDOM for start in CLAIMED),
        *(describe_difference("orthogonal", other, "loss", counts=False) for other in RANDOM),
        *(
            describe_difference(start, other, "last", counts=False)
            for other in RANDOM
            for start in CLAIMED
        ),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
