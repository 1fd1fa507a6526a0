"""Wider and deeper copies of a trained network against large networks from scratch.

Question. How many steps does a larger network save if it starts as a trained small one?

Claim. A network that is widened or deepened so that its function stays trains faster than one of
the same size from scratch (Chen, Goodfellow and Shlens, Net2Net, 2016; Chen et al., bert2BERT,
2022; Wang et al., LEMON, 2023).

Protocol. A GPT of 2 blocks, width 32 and 4 heads, on windows of 32 characters of tiny Shakespeare.
It starts from torch's default and is trained for 300 steps of 16 windows with Adam at 0.01. Wider:
`fanin.widen` doubles its width and its hidden units; its heads keep their number and width, as a
model that counts its heads itself allows no more. Deeper: `fanin.deepen` puts a block after each,
so there are 4. From scratch: the same two large networks, which start from torch's default. All of
them, and the small one, are trained for 100 further steps with a fresh Adam at the rates 0.001,
0.003, 0.01 and 0.03. What is measured is the difference of the loss on 300 other windows that
growing makes, relative to the loss; the mean loss of the last 20 batches at each rate; and after
how many steps the mean of 10 batches first lies below 2.6, at the rate where that comes first. 10
replicates, each with a small network of its own; the last 4 were trained after the others had been
seen.

The sizes were chosen after two trials. With seed 1 and these sizes, the grown networks had 2.27 and
2.26 after 100 steps, the wide one from scratch 2.54, and the small one, trained on, 2.26. With seed
5, a small width of 16 that grew to 48, and 200 steps, the widened network had 2.41 and the one from
scratch 2.35: in so many steps it overtook.

Criterion. Shown if, for wider and for deeper, the relative difference that growing makes has an
interval of the mean below 10⁻⁵, and the interval of the mean difference of losses at the best
rates, grown − from scratch, lies below −0.05. Beside it: grown − the small one trained on, which
asks whether the larger network is of use in so few steps.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import read_numbers, subtract
from experiment.rate_sweep import make_rate_line, summarize_sweep, sweep_rates
from experiment.records import Condition
from experiment.training import compute_step_loss, load_test_text, load_text, thin, train
from matplotlib.figure import Figure
from torch import nn

import fanin
from fanin import models

RATES = (0.001, 0.003, 0.01, 0.03)
WINDOW, BATCH = 32, 16
WIDTH, GROWN_WIDTH = 32, 64
SMALL, GROWN, SCRATCH = "small, trained on", "grown", "from scratch"
TARGET = 2.6
CONDITIONS = (
    {"size": "small", "start": SMALL},
    *({"size": size, "start": start} for size in ("wider", "deeper") for start in (GROWN, SCRATCH)),
)


@functools.lru_cache(maxsize=1)
def train_small(seed: int) -> nn.Module:
    """The network that the others grow from."""
    x, y, vocabulary = load_text(WINDOW)
    model = models.get(f"gpt(depth=2, width={WIDTH})")
    network = model.build((WINDOW,), vocabulary, vocabulary=vocabulary, per_step=True)
    fanin.initialize(network, "torch_default", seed=seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    train(network, optimizer, x, y, steps=300, batch_size=BATCH, seed=seed, loss=compute_step_loss)
    return network


def grow(small: nn.Module, size: str, seed: int) -> nn.Module:
    """A wider or deeper copy, or a copy."""
    batch = load_text(WINDOW)[0][:4]
    if size == "wider":
        widths = {"embedding": GROWN_WIDTH} | {
            f"blocks.{number}.mlp.linear1": 4 * GROWN_WIDTH for number in range(2)
        }
        return fanin.widen(small, widths, batch=batch, seed=seed).model
    if size == "deeper":
        return fanin.deepen(small, ["blocks.0", "blocks.1"], batch=batch).model
    return copy.deepcopy(small)


@torch.no_grad()
def measure_test_loss(network: nn.Module) -> float:
    """On windows that are not trained on."""
    x, y = load_test_text(WINDOW)
    return float(compute_step_loss(network.eval()(x), y))


def count_steps(curves: Sequence[Sequence[float]]) -> float:
    """Steps until the mean of 10 losses first lies below the target, at the fastest rate."""
    found = [
        start + 10
        for curve in curves
        for start in range(len(curve) - 9)
        if sum(curve[start : start + 10]) / 10 < TARGET
    ]
    return min(found, default=math.inf)


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Train one network at each rate."""
    x, y, _ = load_text(WINDOW)
    small = train_small(seed)
    network = grow(small, str(condition["size"]), seed)
    before = measure_test_loss(small)
    changed = abs(measure_test_loss(network) - before) / before
    if condition["start"] == SCRATCH:
        fanin.initialize(network, "torch_default", seed=seed)
    curves = sweep_rates(
        network, RATES, x, y, loss=compute_step_loss,
        steps=60 if fast else 100, batch_size=BATCH, seed=seed + 1_000_000,
    )  # fmt: skip
    summary = summarize_sweep(RATES, curves, 20)
    best = summary["losses"].index(summary["loss"])
    at, curve = thin(curves[best], 20)
    more = {"steps_to_target": count_steps(curves), "steps": at, "curve": curve}
    return summary | more | ({} if condition["start"] == SCRATCH else {"changed": changed})


def draw(records: Records) -> Figure:
    """Losses by rate, and by step at the best rate of each replicate."""
    panels = []
    for size in ("wider", "deeper"):
        arms = {
            GROWN: records.pick(size=size, start=GROWN),
            SCRATCH: records.pick(size=size, start=SCRATCH),
            SMALL: records.pick(start=SMALL),
        }
        lines = [
            Line(name, found[0].values["steps"], [one.values["curve"] for one in found])
            for name, found in arms.items()
        ]
        panels.append(Panel(f"{size}, at the best rate", "step", "training loss", lines))
        lines = [make_rate_line(name, found) for name, found in arms.items()]
        panels.append(
            Panel(f"{size}, after 100 steps", "learning rate", "training loss", lines, log_x=True)
        )
    return draw_panels(panels)


def describe_size(size: str) -> tuple[Effect, ...]:
    """The effects of one way to grow."""
    grown = {"size": size, "start": GROWN}
    return (
        Effect(
            says=f"{size}: growing keeps the function",
            number="relative difference of the loss on other windows",
            measure=functools.partial(read_numbers, value="changed", **grown),
            below=1e-5,
        ),
        Effect(
            says=f"{size}: the grown network has the lower loss",
            number="difference of losses at the best rates, grown − from scratch",
            measure=functools.partial(
                subtract, value="loss", first=grown, second=grown | {"start": SCRATCH}
            ),
            below=-0.05,
        ),
        Effect(
            says=f"{size}: it is of use against the small one, trained on",
            number="difference of losses at the best rates, grown − small",
            measure=functools.partial(subtract, value="loss", first=grown, second={"start": SMALL}),
            below=0.0,
            counts=False,
        ),
    )


EXPERIMENT = Experiment(
    name="growth",
    title="Wider and deeper copies of a trained network",
    methods=("widen", "deepen"),
    source="Chen et al., Net2Net, 2016; Chen et al., bert2BERT, 2022; Wang et al., LEMON, 2023",
    conditions=CONDITIONS,
    measure=measure,
    replicates=10,
    columns={
        "loss": "loss at the best rate",
        "log2_best_rate": "log2 of the best rate",
        "steps_to_target": "steps to 2.6",
    },
    effects=(*describe_size("wider"), *describe_size("deeper")),
    draw=draw,
    data=("tiny-shakespeare",),
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
