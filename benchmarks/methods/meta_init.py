"""MetaInit repairs bad starts of a plain network.

Question. Does minimizing the gradient quotient over the norms of the weights turn a bad start into
one that trains?

Claim. MetaInit recovers from bad starts, and plain networks then train without normalization and
without shortcuts (Dauphin and Schoenholz, 2019).

Protocol. 12 linear layers of 40 units with ReLU. Weights are normal with half of He's standard
deviation, with He's, or with twice it. MetaInit takes 100 steps on 128 images; it is compared with
the weights that it began with. MNIST averaged down to 10×10, 2,000 images; SGD with momentum 0.9,
batches of 50, 120 steps (three epochs), gradients clipped at norm 1. Learning rates 0.01 to 0.3 by
factors of about √10; each start has the rate that is best in the other replicates. The budget is
one of training steps: MetaInit's own take some seconds, which are recorded. 10 replicates.

Criterion. Shown if, from half and from twice He's standard deviation, the gradient quotient falls
(mean of log₂ of the ratio below −0.5), and the mean loss of the last 10 batches is smaller with
MetaInit by more than 0.2. He's own scale, which is good already, is told beside it.
"""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from experiment import Effect, Experiment, Panel, Records, draw_panels, run_command
from experiment.effects import compare_at_best_rates, read_numbers
from experiment.figures import make_best_line
from experiment.records import Condition
from experiment.training import average, load_images, thin, train
from matplotlib.figure import Figure
from torch import nn

import fanin

DEPTH, WIDTH = 12, 40
SCALES = (0.5, 1.0, 2.0)
RATES = (0.01, 0.03, 0.1, 0.3)
FAST_RATE = 0.1
"""Of a shortened run."""
CONDITIONS = tuple(
    {"scale": scale, "start": start, "learning_rate": rate}
    for scale in SCALES
    for start in ("meta_init", "base")
    for rate in RATES
)


def build(inputs: int) -> nn.Sequential:
    """A plain chain and a head."""
    layers: list[nn.Module] = []
    for number in range(DEPTH):
        layers += [nn.Linear(WIDTH if number else inputs, WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


@lru_cache(maxsize=1)
def start(
    scale: float, method: str, seed: int, fast: bool
) -> tuple[nn.Sequential, dict[str, float]]:
    """A network with its initial weights, and what was measured of them."""
    images = load_images("mnist", 2000, 1000, side=10)
    x, y = images.x_train.flatten(1), images.y_train
    model = build(x.shape[1])
    base = f"variance_scaling(scale={2 * scale**2}, distribution=normal)"
    spec = f"meta_init(base='{base}', steps={60 if fast else 100})"
    started = time.process_time()
    found = {"quotient_before": math.nan, "quotient_after": math.nan}
    if method == "meta_init":
        record = fanin.initialize(model, spec, seed=seed, batch=x[:128], target=y[:128])
        said = re.search(r"quotient ([\d.e+-]+) → ([\d.e+-]+)", record["0.weight"].fitted or "")
        assert said
        found = {"quotient_before": float(said[1]), "quotient_after": float(said[2])}
    else:
        fanin.initialize(model, base, seed=seed)
    return model, {**found, "fit_seconds": time.process_time() - started}


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Train one network."""
    images = load_images("mnist", 2000, 1000, side=10)
    first, found = start(float(condition["scale"]), str(condition["start"]), seed, fast)
    model = copy.deepcopy(first)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=float(condition["learning_rate"]), momentum=0.9
    )
    losses = train(
        model, optimizer, images.x_train.flatten(1), images.y_train,
        steps=80 if fast else 120, batch_size=50, seed=seed, clip=1.0,
    )  # fmt: skip
    at, curve = thin(losses, 20)
    return {"loss": min(average(losses, 10), 100.0), **found, "steps": at, "curve": curve}


def measure_fall(records: Records, scale: float) -> list[float]:
    """log₂ of the gradient quotient after over before."""
    picked = {"scale": scale, "start": "meta_init", "learning_rate": FAST_RATE}
    before, after = (
        read_numbers(records, name, **picked) for name in ("quotient_before", "quotient_after")
    )
    return [math.log2(b / a) for a, b in zip(before, after, strict=True)]


def compare(records: Records, scale: float) -> list[float]:
    """Loss with MetaInit minus without, each at its best rate."""
    return compare_at_best_rates(
        records,
        "loss",
        {"scale": scale, "start": "meta_init"},
        {"scale": scale, "start": "base"},
        higher=False,
    )


def draw(records: Records) -> Figure:
    """Losses by step, at the best rate of all replicates."""
    panels = []
    for scale in SCALES:
        lines = [
            make_best_line(start, records.pick(scale=scale, start=start))
            for start in ("meta_init", "base")
        ]
        panels.append(
            Panel(
                f"{scale:g} × He's std", "step", "training loss", lines, dashed=2.303,
                limits=(0, 4),
            )
        )  # fmt: skip
    return draw_panels(panels, columns=3)


def describe_fall(scale: float, *, counts: bool = True) -> Effect:
    """The effect that the quotient falls."""
    return Effect(
        says=f"the gradient quotient falls from {scale:g} × He's std",
        number="log₂(quotient after / before)",
        measure=lambda records: measure_fall(records, scale),
        below=-0.5,
        counts=counts,
    )


def describe_difference(scale: float, *, counts: bool = True) -> Effect:
    """The effect that training is faster."""
    return Effect(
        says=f"from {scale:g} × He's std, MetaInit's start learns faster",
        number="difference of the losses at the best rates",
        measure=lambda records: compare(records, scale),
        below=-0.2,
        counts=counts,
    )


EXPERIMENT = Experiment(
    name="meta_init",
    title="MetaInit: bad starts of a plain network, repaired",
    methods=("meta_init",),
    source="Dauphin and Schoenholz, MetaInit: Initializing Learning by Learning to Initialize, "
    "2019",
    data=("mnist",),
    conditions=CONDITIONS,
    fast_conditions=tuple(each for each in CONDITIONS if each["learning_rate"] == FAST_RATE),
    measure=measure,
    columns={"loss": "loss of the last 10 batches", "fit_seconds": "seconds of the start"},
    effects=(
        describe_fall(0.5),
        describe_fall(2.0),
        describe_fall(1.0, counts=False),
        describe_difference(0.5),
        describe_difference(2.0),
        describe_difference(1.0, counts=False),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
