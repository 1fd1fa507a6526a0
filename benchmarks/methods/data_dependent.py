"""Krähenbühl and others' data-dependent start in a small CaffeNet.

Question. Does a batch give every unit mean 0 and variance 1, and all layers one rate of change? Are
the first epochs faster for it?

Claim. Within layers, every unit is centred and scaled to unit variance; between layers, the
relative rate of change (norm of the gradient over norm of the weight) is made the same in all
layers. Then no layer learns too slowly or too fast, and the network trains faster than from
Gaussian weights or those of Xavier or He (Krähenbühl et al., 2016).

Protocol. Five convolutions with 16, 32, 48, 48 and 32 channels, three of them before max pooling,
and linear layers of 128, 128 and 10 units: the order of CaffeNet, which the authors train. CIFAR-10
averaged down to 16×16, 3,000 images; SGD with momentum 0.9, batches of 50, 150 steps. The start
sees the first 400 images. The others are its first step alone (iterations=0), He, Xavier and
N(0, 0.01²). Learning rates from 0.001 to 0.1 in steps of √10; each start has the rate that is best
in the other replicates. Measured on 1,000 fresh images: the largest |mean| and |log₂ std| of a
unit; and the largest |log₂| of a layer's rate over the geometric mean of all rates, with other
random numbers in the authors' random loss η·z than the fit has, and with the cross entropy. Then,
the mean loss of the last 15 batches. 10 replicates. Trials with eight other seeds chose the
learning rates and the number of steps. In the last three of them, which had this protocol, that
largest |log₂| was 0.13 with both steps, 2.2 with the first alone, and above 0.9 with the others;
the loss at the best rate was smaller with both steps than with He by 0.11.

Criterion. Shown if after the first step the mean of the largest |log₂ std| of a unit lies below 0.4
and that of the largest |mean| below 0.3, and with He the former lies above 0.8; if the rates are
apart by less than 0.5 with both steps (random loss) and 0.75 (cross entropy), and by more than 0.75
with He, Xavier and N(0, 0.01²); and if the loss is smaller with both steps than with He by more
than 0, than with Xavier by more than 0.05, and than with N(0, 0.01²) by more than 0.3. The first
step alone is told beside it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import compare_at_best_rates, read_numbers
from experiment.records import Condition, round_values
from experiment.training import average, load_images, thin, train
from matplotlib.figure import Figure
from torch import Tensor, nn

import fanin
from fanin import seeds

RATES = (0.001, 0.00316, 0.01, 0.0316, 0.1)
FAST_RATES = (0.00316, 0.0316)
"""Of a shortened run."""
BOTH, FIRST = "data_dependent", "data_dependent(iterations=0)"
OTHERS = ("he_normal", "xavier_normal", "normal(std=0.01)")
CONDITIONS = tuple(
    {"start": start, "learning_rate": rate} for start in (BOTH, FIRST, *OTHERS) for rate in RATES
)


def build() -> nn.Sequential:
    """CaffeNet's order, for images of (3, 16, 16)."""

    def convolve(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU()]

    return nn.Sequential(
        *convolve(3, 16, 5), nn.MaxPool2d(2), *convolve(16, 32), nn.MaxPool2d(2),
        *convolve(32, 48), *convolve(48, 48), *convolve(48, 32), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def list_weights(model: nn.Sequential) -> list[Tensor]:
    """In the order of computation."""
    return [layer.weight for layer in model if isinstance(layer, (nn.Conv2d, nn.Linear))]


@torch.no_grad()
def measure_units(model: nn.Sequential, x: Tensor) -> tuple[float, float]:
    """The largest |mean| and the largest |log₂ std| of a unit, over samples and places."""
    means, logs = [], []
    for layer in model:
        x = layer(x)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            by_unit = x.double().transpose(0, 1).flatten(1)
            means.append(by_unit.mean(1).abs().max())
            logs.append(by_unit.std(1).log2().abs().max())
    return float(torch.stack(means).max()), float(torch.stack(logs).max())


def compare_rates(model: nn.Sequential, loss: Tensor) -> list[float]:
    """log₂ of ‖∂ℓ/∂W‖ / ‖W‖ of each layer, minus the mean over layers."""
    weights = list_weights(model)
    gradients = torch.autograd.grad(loss, weights, retain_graph=True)
    logs = torch.stack(
        [
            (gradient.norm().double() / weight.detach().norm()).log2()
            for gradient, weight in zip(gradients, weights, strict=True)
        ]
    )
    return [float(one) for one in logs - logs.mean()]


@lru_cache(maxsize=1)
def start(spec: str, seed: int) -> tuple[nn.Sequential, dict[str, Any]]:
    """A network with its initial weights, and what fresh images show of them."""
    images = load_images("cifar10", 3000, 1000, side=16)
    model = build()
    fanin.initialize(model, spec, seed=seed, batch=images.x_train[:400])
    mean, std = measure_units(model, images.x_test)
    outputs = model(images.x_test)
    eta = seeds.standard_normal(tuple(outputs.shape), seeds.make_generator(seed, "fresh"))
    random = compare_rates(model, (eta * outputs).sum())
    entropy = compare_rates(model, F.cross_entropy(outputs, images.y_test))
    return model, {
        "unit_mean": mean,
        "unit_std": std,
        "apart": max(map(abs, random)),
        "apart_entropy": max(map(abs, entropy)),
        "rates": round_values(random),
    }


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Train one network."""
    images = load_images("cifar10", 3000, 1000, side=16)
    first, found = start(str(condition["start"]), seed)
    model = copy.deepcopy(first)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=float(condition["learning_rate"]), momentum=0.9
    )
    losses = train(
        model, optimizer, images.x_train, images.y_train, steps=150, batch_size=50, seed=seed
    )
    at, curve = thin(losses, 15)
    return {"loss": average(losses, 15), **found, "steps": at, "curve": curve}


def read_start(records: Records, value: str, spec: str) -> list[float]:
    """What one start showed, once per replicate."""
    return read_numbers(records, value, start=spec, learning_rate=RATES[1])


def find_least_apart(records: Records) -> list[float]:
    """Of the other starts, how far apart the rates are in the one where they are least so."""
    columns = [read_start(records, "apart", spec) for spec in OTHERS]
    return [min(row) for row in zip(*columns, strict=True)]


def compare(records: Records, first: str, second: str) -> list[float]:
    """Loss with the first start minus the second, each at its best rate."""
    return compare_at_best_rates(records, "loss", {"start": first}, {"start": second}, higher=False)


def draw(records: Records) -> Figure:
    """Rates by layer, and losses by step at the best rate of all replicates."""
    rates, curves = [], []
    for spec in (BOTH, FIRST, *OTHERS):
        picked = records.pick(start=spec)
        means = {
            rate: sum(picked.read("loss", learning_rate=rate).values())
            for rate in picked.list_values("learning_rate")
        }
        best = picked.pick(learning_rate=min(means, key=lambda rate: means[rate]))
        by_layer = [record.values["rates"] for record in best]
        rates.append(Line(spec, range(1, len(by_layer[0]) + 1), by_layer))
        curve = [record.values["curve"] for record in best]
        curves.append(Line(spec, best[0].values["steps"], curve))
    return draw_panels(
        [
            Panel("fresh images, random loss", "layer", "log₂ of rate over their mean", rates),
            Panel("training", "step", "training loss", curves, dashed=2.303),
        ],
        columns=1,
    )


def describe_start(says: str, number: str, value: str, spec: str, **more: Any) -> Effect:
    """An effect of what one start showed before training."""
    return Effect(
        says=says, number=number, measure=partial(read_start, value=value, spec=spec), **more
    )


def describe_difference(first: str, second: str, **more: Any) -> Effect:
    """The effect that one start's loss is below another's."""
    return Effect(
        says=f"{first} learns faster than {second}",
        number="difference of the losses at the best rates",
        measure=partial(compare, first=first, second=second),
        **more,
    )


EXPERIMENT = Experiment(
    name="data_dependent",
    title="Data-dependent weights: units and rates of change in a small CaffeNet",
    methods=("data_dependent",),
    source="Krähenbühl et al., Data-dependent Initializations of Convolutional Neural Networks, "
    "2016",
    data=("cifar10",),
    conditions=CONDITIONS,
    fast_conditions=tuple(each for each in CONDITIONS if each["learning_rate"] in FAST_RATES),
    measure=measure,
    columns={
        "loss": "loss of the last 15 batches",
        "unit_mean": "largest mean of a unit",
        "unit_std": "largest log₂ std of a unit",
        "apart": "how far apart rates are",
        "apart_entropy": "the same, cross entropy",
    },
    effects=(
        describe_start(
            "after the first step every unit has unit variance, on other images too",
            "largest |log₂ std| of a unit", "unit_std", FIRST, below=0.4,
        ),
        describe_start(
            "and mean 0", "largest |mean| of a unit", "unit_mean", FIRST, below=0.3
        ),
        describe_start(
            "with He they have not", "largest |log₂ std| of a unit", "unit_std", "he_normal",
            above=0.8,
        ),
        describe_start(
            "after both steps all layers change at one rate, on other images too",
            "largest |log₂| of a layer's rate over their mean", "apart", BOTH, below=0.5,
        ),
        describe_start(
            "also with the loss that is trained",
            "largest |log₂| of a layer's rate over their mean", "apart_entropy", BOTH, below=0.75,
        ),
        Effect(
            says="with He, Xavier and N(0, 0.01²) they do not",
            number="largest |log₂| of a layer's rate over their mean, smallest of the three",
            measure=find_least_apart,
            above=0.75,
        ),
        describe_difference(BOTH, "he_normal", below=0.0),
        describe_difference(BOTH, "xavier_normal", below=-0.05),
        describe_difference(BOTH, "normal(std=0.01)", below=-0.3),
        describe_difference(BOTH, FIRST, below=0.0, counts=False),
        describe_start(
            "after the first step alone they do not either",
            "largest |log₂| of a layer's rate over their mean", "apart", FIRST, above=1.5,
            counts=False,
        ),
    ),
    draw=draw,
)  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
