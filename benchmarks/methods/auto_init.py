"""AutoInit over activations, dropout rates and poolings.

Question. Do layers put out mean 0 and variance 1 on real images, whatever activation, dropout and
pooling lie between them, if their weights are set by formulas alone? Does that help training?

Claim. AutoInit follows mean and variance of the signal through the network by formulas, and so
keeps them at 0 and 1 in every layer. Networks train better than from the default weights, over
activations, dropout rates and learning rates (Bingham and Miikkulainen, 2023).

Protocol. Ten plain networks: ReLU, SiLU, ELU, tanh and a user's own sine, with dropout of 0 and 0.5
after each activation. Dense: 8 layers of 96 units. Convolutional: 5 layers of 24 channels, 3×3 with
padding, two of them before a 2×2 pooling (maximum or average, then dropout). The starts, none of
which sees a batch: AutoInit, and for all activations alike He, Xavier and torch's default. MNIST
averaged down to 14×14 and standardised, 2,000 images. Measured on fresh images (1,000; 150 for the
convolutional networks) in train mode: drift, the largest |log₂ rms| of what a hidden layer puts
out, and the largest |mean|. The dense networks are trained: SGD with momentum 0.9, batches of 50,
80 steps (two epochs), learning rates 0.004, 0.02 and 0.1; each start has, for each network, the
rate that is best in the other replicates. Measured is the cross entropy on the fresh images without
dropout. 10 replicates. Trials with other seeds chose depth, dropout, rates and steps, among 6, 8
and 10 layers, 0.2, 0.3 and 0.5, 0.001 to 0.1, and 80 to 120. In them AutoInit's loss was below He's
and torch's by 0.15 or more, and near Xavier's: from 0.08 below to 0.02 above. In four trials the
drift of AutoInit in the worst of the ten networks was 0.4 to 1.1 (dense), and 0.7 to 1.6
(convolutional); it differs from draw to draw, most with SiLU.

Criterion. Shown if for AutoInit the drift and the |mean| of the worst of the ten dense networks lie
below 1 (a factor of 2) and 0.5; if for each other start the worst drift lies above 2; if the worst
drift of the convolutional networks lies below 1.5 with both poolings; and if the loss, averaged
over the ten networks, is smaller with AutoInit than with He and with torch's default by more than
0.1, and than with Xavier at all. How many of the thirty pairs of network and rate learn (a loss
below 2; chance is 2.303) is told beside it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import read_at_best_rate, read_numbers
from experiment.records import Condition
from experiment.training import load_images, measure_loss, train
from matplotlib.figure import Figure
from torch import Tensor, nn

import fanin
from fanin import seeds


class Sine(nn.Module):
    """An activation that no table of gains has."""

    def forward(self, x: Tensor) -> Tensor:
        """sin x."""
        return torch.sin(x)


DEPTH, WIDTH, CHANNELS = 8, 96, 24
RATES = (0.004, 0.02, 0.1)
FAST_RATE = 0.02
"""Of a shortened run."""
ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "elu": nn.ELU, "tanh": nn.Tanh, "sine": Sine}
NETWORKS = tuple((activation, dropout) for activation in ACTIVATIONS for dropout in (0.0, 0.5))
STARTS = ("auto_init", "he_normal", "xavier_normal", "torch_default")
LEARNED = 2.0
"""A smaller loss than this is one that learned; chance is ln 10 = 2.303."""
CONDITIONS = tuple(
    {"activation": activation, "dropout": dropout, "start": start, "learning_rate": rate}
    for activation, dropout in NETWORKS
    for start in STARTS
    for rate in RATES
)


def build_dense(activation: str, dropout: float, inputs: int) -> nn.Sequential:
    """A plain chain and a head."""
    layers: list[nn.Module] = []
    for number in range(DEPTH):
        linear = nn.Linear(WIDTH if number else inputs, WIDTH)
        layers += [linear, ACTIVATIONS[activation](), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def build_convolutional(activation: str, dropout: float, pooling: type[nn.Module]) -> nn.Sequential:
    """Five convolutions, with poolings after the second and the fourth, and a head."""
    layers: list[nn.Module] = []
    for number in range(5):
        convolution = nn.Conv2d(CHANNELS if number else 1, CHANNELS, 3, padding=1)
        layers += [convolution, ACTIVATIONS[activation]()]
        if number in (1, 3):
            layers.append(pooling(2))
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS * 9, 10))


@torch.no_grad()
def measure_drift(model: nn.Sequential, x: Tensor) -> tuple[float, float]:
    """The largest |log₂ rms| and the largest |mean| of what a hidden layer puts out."""
    drift = mean = 0.0
    for layer in model.train()[:-1]:
        x = layer(x)
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            rms = float(x.double().square().mean().sqrt())
            drift = max(drift, abs(math.log2(rms)))
            mean = max(mean, abs(float(x.double().mean())))
    return drift, mean


@lru_cache(maxsize=1)
def start(
    activation: str, dropout: float, method: str, seed: int
) -> tuple[nn.Sequential, dict[str, float]]:
    """A dense network with its initial weights, and the drifts of the three networks."""
    x = load_images("mnist", 2000, 1000, side=14).x_test
    found = {}
    for name, pooling in (("drift_maximum", nn.MaxPool2d), ("drift_average", nn.AvgPool2d)):
        model = build_convolutional(activation, dropout, pooling)
        fanin.initialize(model, method, seed=seed)
        found[name], _ = measure_drift(model, x[:150])
    model = build_dense(activation, dropout, x[0].numel())
    fanin.initialize(model, method, seed=seed)
    found["drift"], found["mean"] = measure_drift(model, x.flatten(1))
    return model, found


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Train one dense network."""
    images = load_images("mnist", 2000, 1000, side=14)
    activation, dropout = str(condition["activation"]), float(condition["dropout"])
    with seeds.preserve_torch_state(seed):
        first, found = start(activation, dropout, str(condition["start"]), seed)
    model = copy.deepcopy(first)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=float(condition["learning_rate"]), momentum=0.9
    )
    x = images.x_train.flatten(1)
    train(model, optimizer, x, images.y_train, steps=80, batch_size=50, seed=seed)
    return {"loss": measure_loss(model, images.x_test.flatten(1), images.y_test), **found}


def pick_network(activation: str, dropout: float, method: str) -> dict[str, str | float]:
    """The factors of a network and its start."""
    return {"activation": activation, "dropout": dropout, "start": method}


def find_worst(records: Records, value: str, method: str) -> list[float]:
    """The largest value over the ten networks, in each replicate."""
    columns = [
        read_numbers(records, value, learning_rate=FAST_RATE, **pick_network(*network, method))
        for network in NETWORKS
    ]
    return [max(row) for row in zip(*columns, strict=True)]


def find_least_drift(records: Records) -> list[float]:
    """Of the other starts, the worst drift of the one where it is smallest."""
    columns = [find_worst(records, "drift", method) for method in STARTS[1:]]
    return [min(row) for row in zip(*columns, strict=True)]


def average_losses(records: Records, method: str) -> list[float]:
    """The mean over the ten networks of the loss, each at its best rate."""
    columns = [
        read_at_best_rate(records, "loss", higher=False, **pick_network(*network, method)).values()
        for network in NETWORKS
    ]
    return [sum(row) / len(row) for row in zip(*columns, strict=True)]


def count_learned(records: Records, method: str) -> list[float]:
    """How many pairs of network and rate learned, in each replicate."""
    replicates = sorted({record.replicate for record in records})
    picked = records.pick(start=method)
    return [
        float(sum(r.values["loss"] < LEARNED for r in picked if r.replicate == replicate))
        for replicate in replicates
    ]


def subtract_rows(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """first − second, replicate by replicate."""
    return [a - b for a, b in zip(first, second, strict=True)]


def read_lines(records: Records, value: str, dropout: float) -> list[Line]:
    """A value by activation, for each start; the loss is that at the best rate."""
    lines = []
    for method in STARTS:
        columns = []
        for activation in ACTIVATIONS:
            network = pick_network(activation, dropout, method)
            columns.append(
                list(read_at_best_rate(records, value, higher=False, **network).values())
                if value == "loss"
                else read_numbers(records, value, learning_rate=FAST_RATE, **network)
            )
        rows = [list(row) for row in zip(*columns, strict=True)]
        lines.append(Line(method, range(len(columns)), rows))
    return lines


def draw(records: Records) -> Figure:
    """Drifts, and losses at the best rates, by activation."""
    kinds = (
        ("drift", "dense", "largest |log₂ rms|", None),
        ("drift_maximum", "max pooling", "largest |log₂ rms|", None),
        ("loss", "dense, trained", "cross entropy", 2.303),
    )
    panels = [
        Panel(
            f"{title}, dropout {dropout:g}", "activation", what,
            read_lines(records, value, dropout), dashed=dashed, categories=tuple(ACTIVATIONS),
        )
        for value, title, what, dashed in kinds
        for dropout in (0.0, 0.5)
    ]  # fmt: skip
    return draw_panels(panels)


def describe_drift(says: str, value: str, below: float) -> Effect:
    """The effect that a number of AutoInit stays small in the worst of the ten networks."""
    what = "|mean|" if value == "mean" else "|log₂ rms|"
    return Effect(
        says=says,
        number=f"largest {what} of the worst network",
        measure=partial(find_worst, value=value, method="auto_init"),
        below=below,
    )


def describe_loss(other: str, below: float) -> Effect:
    """The effect that AutoInit's loss is below another start's."""
    return Effect(
        says=f"AutoInit learns faster than {other}",
        number="difference of the losses at the best rates, averaged over networks",
        measure=lambda records: subtract_rows(
            average_losses(records, "auto_init"), average_losses(records, other)
        ),
        below=below,
    )


def describe_stability(other: str) -> Effect:
    """The effect that AutoInit learns in more pairs of network and rate than another start."""
    return Effect(
        says=f"AutoInit learns in more of 30 pairs of network and rate than {other}",
        number="difference of the numbers of pairs that learn",
        measure=lambda records: subtract_rows(
            count_learned(records, "auto_init"), count_learned(records, other)
        ),
        above=0.0,
        counts=False,
    )


EXPERIMENT = Experiment(
    name="auto_init",
    title="AutoInit: activations, dropout rates and poolings",
    methods=("auto_init",),
    source="Bingham and Miikkulainen, AutoInit: Analytic Signal-Preserving Weight Initialization "
    "for Neural Networks, 2023",
    data=("mnist",),
    conditions=CONDITIONS,
    fast_conditions=tuple(each for each in CONDITIONS if each["learning_rate"] == FAST_RATE),
    measure=measure,
    columns={
        "loss": "loss without dropout",
        "drift": "largest log₂ rms",
        "drift_maximum": "with max pooling",
        "drift_average": "with average pooling",
    },
    effects=(
        describe_drift("every dense layer puts out a second moment near 1", "drift", 1.0),
        describe_drift("and a mean near 0", "mean", 0.5),
        Effect(
            says="with He, Xavier and torch's default they do not",
            number="largest |log₂ rms| of the worst network, smallest of the three",
            measure=find_least_drift,
            above=2.0,
        ),
        describe_drift("so do convolutions around max pooling", "drift_maximum", 1.5),
        describe_drift("and around average pooling", "drift_average", 1.5),
        describe_loss("he_normal", -0.1),
        describe_loss("torch_default", -0.1),
        describe_loss("xavier_normal", 0.0),
        *(describe_stability(other) for other in STARTS[1:]),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
