"""He against Xavier through 100 ReLU layers.

Question. How large is a signal after 100 ReLU layers that start from He's variance, and from
Xavier's?

Claim. A ReLU halves the second moment, so He's variance 2/fan_in keeps a signal's size, and
Xavier's 1/fan_in (of equal fans) loses a factor of 2 in each layer: 2^−100 after 100 layers (He et
al., 2015). At finite width n, the logarithm of the size also fluctuates from network to network:
its variance grows as about 5·depth/n, and its mean is half of that below the infinite-width value
(Hanin and Nica, 2018).

Protocol. 100 linear layers of equal width without biases, each followed by a ReLU; one normal input
vector of unit mean square. What is measured is half the mean square of what each layer puts out,
which a ReLU passes on: 1 in wide networks with He's variance, 2^−k after k layers with Xavier's.
Widths 512 and 128. 20 replicates of weights.

Criterion. Shown if, at width 512, the 95 % interval of the median of log2(size) after 100 layers
lies within ±2 for He and below −95 for Xavier. Beside it, the spread: Var ln(size) of He at width
128 against 5·100/128.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import read_numbers
from experiment.records import Condition, round_values
from matplotlib.figure import Figure
from torch import nn

import fanin
from fanin import seeds

DEPTH = 100
EXPECTED_VARIANCE = 5 * DEPTH / 128
"""Of ln(size) with He's weights at width 128."""


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """The sizes along one network, in powers of 2."""
    width = int(condition["width"]) // (2 if fast else 1)
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(DEPTH)))
    fanin.initialize(model, str(condition["start"]), seed=seed)
    x = seeds.standard_normal((1, width), seeds.make_generator(seed, "signal"))
    x = x / x.square().mean().sqrt()
    sizes = []
    with torch.no_grad():
        for layer in model:
            x = layer(x)
            sizes.append(math.log2(float(x.double().square().mean()) / 2))
            x = x.relu()
    return {"log2_size": sizes[-1], "curve": round_values(sizes, 5)}


def measure_squared_deviations(records: Records) -> list[float]:
    """Squared deviations of ln(size), times n/(n − 1): their mean is the variance."""
    found = read_numbers(records, "log2_size", start="he_normal", width=128)
    logs = [math.log(2) * value for value in found]
    mean = sum(logs) / len(logs)
    return [(value - mean) ** 2 * len(logs) / (len(logs) - 1) for value in logs]


def draw(records: Records) -> Figure:
    """Sizes by layer, one panel per width."""
    layers = list(range(1, DEPTH + 1))
    return draw_panels(
        [
            Panel(
                f"width {width}", "layer", "log2 of the mean square",
                [
                    Line(
                        start,
                        layers,
                        [r.values["curve"] for r in records.pick(start=start, width=width)],
                    )
                    for start in records.list_values("start")
                ],
                dashed=0.0,
            )
            for width in records.list_values("width")
        ]
    )  # fmt: skip


EXPERIMENT = Experiment(
    name="he_against_xavier",
    title="He against Xavier: a signal through 100 ReLU layers",
    methods=("he_normal", "xavier_normal"),
    source="He et al., Delving Deep into Rectifiers, 2015; Hanin and Nica, Products of Many Large "
    "Random Matrices and Gradients in Deep Neural Networks, 2018",
    conditions=tuple(
        {"start": start, "width": width}
        for width in (512, 128)
        for start in ("he_normal", "xavier_normal")
    ),
    measure=measure,
    replicates=20,
    columns={"log2_size": "log2 of the mean square after 100 layers"},
    effects=(
        Effect(
            says="He's start keeps the signal's size",
            number="log2(size) after 100 layers of width 512",
            measure=lambda records: read_numbers(
                records, "log2_size", start="he_normal", width=512
            ),
            above=-2.0,
            below=2.0,
            of="median",
        ),
        Effect(
            says="Xavier's start loses a factor of 2 per layer",
            number="log2(size) after 100 layers of width 512",
            measure=lambda records: read_numbers(
                records, "log2_size", start="xavier_normal", width=512
            ),
            below=-95.0,
            of="median",
        ),
        Effect(
            says="the spread from network to network is that of finite-width theory",
            number=f"variance of ln(size) at width 128 (theory: {EXPECTED_VARIANCE:.1f})",
            measure=measure_squared_deviations,
            above=EXPECTED_VARIANCE / 3,
            below=EXPECTED_VARIANCE * 3,
            counts=False,
        ),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
