"""Spectral scaling: maps of any shape, and learning at any width.

Question. Has a weight the same size as a map whatever its shape, and does a step of training change
the features of a wide network as much as those of a narrow one?

Claim. Features are learned alike at every width if the spectral norm of each weight, and that of
its change, are of the order of √(outputs/inputs). A normal start of standard deviation
min(1, √(outputs/inputs))/√inputs and SGD rates in proportion to outputs/inputs give that; starts
that look at entries alone do not (Yang, Simon and Bernstein, 2023).

Protocol. Shapes: five maps of 65,536 entries, from 1,024 inputs and 64 outputs to the reverse.
Measured is log2 of the spectral norm over √(outputs/inputs), and by how much it differs between the
shapes; derived are 0.68 for spectral, 0 for spectral(exact=true), 2 for lecun_normal and he_normal,
4 for xavier_normal. Widths: ReLU networks whose three hidden layers have n, n/4 and n units, for n
of 64, 128, 256, 512 and 1,024; digits, 3 steps of SGD on one batch of 64. Spectral has the rate
0.1·outputs/inputs in each layer, and lecun_normal 0.01 in all. Measured are the exponents of the
width that fit the rms change of what each of the four layers puts out, and the spectral norm of
each weight's change over √(outputs/inputs): of the four the one farthest from 0, without its sign.
10 replicates.

Criterion. Shown if the interval of the mean difference between shapes lies below 1 for spectral,
below 0.2 for exact=true, and above 1.5 for the other three; and if the interval of the mean
exponent farthest from 0 lies below 0.15 with spectral, and above 0.4 with lecun_normal and one
rate, both for the change of features and for that of weights. In trials with seeds 1 and 2 these
were 0.06 to 0.1 with spectral, and 0.8 to 1 with lecun_normal.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import read_numbers
from experiment.records import Condition, round_values
from experiment.training import load_digits
from matplotlib.figure import Figure
from torch import Tensor, nn

import fanin
from fanin import seeds

SHAPES = ((64, 1024), (128, 512), (256, 256), (512, 128), (1024, 64))
"""Outputs and inputs."""
WIDTHS = (64, 128, 256, 512, 1024)
STEPS, BATCH = 3, 64
STARTS = ("spectral", "spectral(exact=true)", "lecun_normal", "he_normal", "xavier_normal")
SPECTRAL, STANDARD = STARTS[0], STARTS[2]
RATES = {"spectral": 0.1, "lecun_normal": 0.01}
"""Of spectral that where outputs are as many as inputs."""


def measure_norm(weight: Tensor) -> float:
    """The spectral norm over √(outputs/inputs)."""
    outputs, inputs = weight.shape
    return float(torch.linalg.matrix_norm(weight.double(), 2)) / math.sqrt(outputs / inputs)


def measure_shapes(start: str, seed: int) -> list[float]:
    """log2 of the norm of each shape."""
    sizes = []
    for outputs, inputs in SHAPES:
        layer = nn.Linear(inputs, outputs, bias=False)
        fanin.initialize(layer, start, seed=seed)
        sizes.append(math.log2(measure_norm(layer.weight.detach())))
    return sizes


def build(start: str, width: int, seed: int) -> nn.Sequential:
    """A network of four layers with its weights."""
    sizes = (64, width, width // 4, width, 10)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    fanin.initialize(network, start, seed=seed)
    return network


def list_linear(network: nn.Sequential) -> list[nn.Linear]:
    """The linear layers."""
    return [layer for layer in network if isinstance(layer, nn.Linear)]


@torch.no_grad()
def compute_features(network: nn.Sequential, x: Tensor) -> list[Tensor]:
    """What the linear layers put out."""
    found = []
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            found.append(x.double())
    return found


def measure_changes(start: str, width: int, seed: int) -> tuple[list[float], list[float]]:
    """The rms change of each layer's output in a few steps, and the norm of its weight's change."""
    x, y = load_digits("flat")
    at = seeds.draw_order(seed, 0, len(x))[:BATCH]
    network = build(start, width, seed)
    layers = list_linear(network)
    groups = []
    for layer in layers:
        scale = layer.out_features / layer.in_features if start == SPECTRAL else 1.0
        groups.append({"params": layer.parameters(), "lr": RATES[start] * scale})
    optimizer = torch.optim.SGD(groups)
    features = compute_features(network, x[at])
    weights = [layer.weight.detach().clone() for layer in layers]
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(network(x[at]), y[at]).backward()
        optimizer.step()
    after = compute_features(network, x[at])
    return (
        [float((b - a).square().mean().sqrt()) for a, b in zip(features, after, strict=True)],
        [
            measure_norm(layer.weight.detach() - weight)
            for layer, weight in zip(layers, weights, strict=True)
        ],
    )


def fit_worst_exponent(changes: Sequence[Sequence[float]]) -> float:
    """The power of the width that is farthest from 0 among the layers, without its sign."""
    slopes = np.polyfit(np.log(WIDTHS), np.log(np.asarray(changes)), 1)[0]
    return float(np.abs(slopes).max())


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Norms by shape; for the two starts that are trained, changes by width, else nothing."""
    start = str(condition["start"])
    norms = measure_shapes(start, seed)
    values: dict[str, Any] = {
        "difference": max(norms) - min(norms),
        "largest": max(norms),
        "norms": round_values(norms),
    }
    if start in RATES:
        found = [measure_changes(start, width, seed) for width in WIDTHS]
        features, weights = ([pair[at] for pair in found] for at in (0, 1))
        values["feature_exponent"] = fit_worst_exponent(features)
        values["weight_exponent"] = fit_worst_exponent(weights)
        values["features"] = [round_values(column) for column in np.transpose(features)]
    return values


def make_shape_effect(says: str, start: str, **ends: float) -> Effect:
    """An effect about the difference between shapes."""
    return Effect(
        says=says,
        number=f"largest − smallest log2(norm / √(outputs/inputs)) with {start}",
        measure=functools.partial(read_numbers, value="difference", start=start),
        **ends,
    )


def make_width_effect(says: str, start: str, value: str, **ends: float) -> Effect:
    """An effect about an exponent of the width."""
    return Effect(
        says=says,
        number=f"exponent of the width farthest from 0 with {start}",
        measure=functools.partial(read_numbers, value=value, start=start),
        **ends,
    )


def draw(records: Records) -> Figure:
    """Norms by shape, and the change of each layer's features by width."""
    aspects = [math.log2(outputs / inputs) for outputs, inputs in SHAPES]
    lines = [
        Line(start, aspects, [record.values["norms"] for record in records.pick(start=start)])
        for start in STARTS
    ]
    shapes = Panel(
        "spectral norm by shape", "log2(outputs/inputs)", "log2(norm / √(outputs/inputs))", lines,
    )  # fmt: skip
    names = ("n", "n/4", "n again", "output")
    trained = [
        Panel(
            f"{start}, {'rates by shape' if start == SPECTRAL else 'one rate'}",
            "width n", "log2(rms change in 3 steps)",
            [
                Line(
                    name,
                    np.log2(WIDTHS).tolist(),
                    np.log2([r.values["features"][at] for r in records.pick(start=start)]).tolist(),
                )
                for at, name in enumerate(names)
            ],
            ticks={math.log2(width): str(width) for width in WIDTHS},
        )
        for start in RATES
    ]  # fmt: skip
    return draw_panels([shapes, *trained], columns=3)


EXPERIMENT = Experiment(
    name="spectral",
    title="Spectral scaling: any shape, any width",
    methods=("spectral",),
    source="Yang, Simon and Bernstein, A Spectral Condition for Feature Learning, 2023",
    conditions=tuple({"start": start} for start in STARTS),
    measure=measure,
    columns={
        "difference": "log2 of the norm, largest − smallest",
        "largest": "log2 of the norm, largest",
    },
    effects=(
        make_shape_effect("spectral gives maps of all shapes the same size", SPECTRAL, below=1.0),
        make_shape_effect("with exact=true still more alike", STARTS[1], below=0.2),
        *(
            make_shape_effect(f"{start} does not", start, above=1.5)
            for start in STARTS[2:]
        ),
        make_width_effect(
            "with rates by shape, features change alike at every width",
            SPECTRAL, "feature_exponent", below=0.15,
        ),
        make_width_effect("with one rate they do not", STANDARD, "feature_exponent", above=0.4),
        make_width_effect(
            "with rates by shape, weights change alike as maps",
            SPECTRAL, "weight_exponent", below=0.15,
        ),
        make_width_effect("with one rate they do not", STANDARD, "weight_exponent", above=0.4),
    ),
    draw=draw,
)  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
