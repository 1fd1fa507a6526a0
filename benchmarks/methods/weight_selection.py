"""Weight selection: a small network that starts from a larger, trained one.

Question. Does a network train faster if its weights are picked from those of a wider, trained one?

Claim. A network that starts from evenly placed weights of a larger pretrained network of its family
trains faster and becomes more accurate than one that starts from random weights (Xu et al., 2024).

Protocol. Pre-norm vision transformers of 4 blocks and patches of 2×2 on the 8×8 images of digits.
The large one has width 64 and 4 heads; it starts from truncated_normal(std=0.02) and is trained for
270 steps of 32 images with Adam at 0.001. The small one has width 32 and 2 heads (heads of the same
size) and starts from its weights by weight_selection, or from truncated_normal(std=0.02), the usual
start of such networks, or xavier_uniform. It takes 45 steps of 32 (one epoch) at the learning rates
0.0003, 0.001 and 0.003. What is measured is the mean loss of the last 15 batches at each rate.
Large and small network see the same images. 10 replicates, each with a large network of its own.

Criterion. Shown if, at the best rate of each, the interval of the mean difference of losses,
weight_selection minus the other, lies below 0 against both.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from experiment import Effect, Experiment, Panel, Records, draw_panels, run_command
from experiment.effects import subtract
from experiment.rate_sweep import make_rate_line, summarize_sweep, sweep_rates
from experiment.records import Condition
from experiment.training import load_digits, train
from matplotlib.figure import Figure
from safetensors.torch import save_file
from torch import nn

import fanin
from fanin import models

RATES = (0.0003, 0.001, 0.003)
SELECTED, USUAL = "weight_selection", "truncated_normal(std=0.02)"
STARTS = (SELECTED, USUAL, "xavier_uniform")


def build(width: int, heads: int) -> nn.Module:
    """A vision transformer for digits."""
    return models.get(f"vit(heads={heads}, patch=2, width={width})").build((1, 8, 8), 10)


def train_large(seed: int, steps: int) -> nn.Module:
    """The trained network that weights are taken from."""
    x, y = load_digits("image")
    network = build(64, 4)
    fanin.initialize(network, USUAL, seed=seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    train(network, optimizer, x, y, steps=steps, batch_size=32, seed=seed)
    return network


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """The loss of the small network at each rate."""
    x, y = load_digits("image")
    network = build(32, 2)
    if condition["start"] == SELECTED:
        large = train_large(seed, 180 if fast else 270)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "large.safetensors"
            save_file(large.state_dict(), source)
            fanin.initialize(network, fanin.get(SELECTED, source=str(source)), seed=seed)
    else:
        fanin.initialize(network, str(condition["start"]), seed=seed)
    curves = sweep_rates(network, RATES, x, y, steps=45, batch_size=32, seed=seed)
    return summarize_sweep(RATES, curves, 15)


def draw(records: Records) -> Figure:
    """Losses by rate."""
    lines = [make_rate_line(start, records.pick(start=start)) for start in STARTS]
    panel = Panel("after one epoch on digits", "learning rate", "training loss", lines, log_x=True)
    return draw_panels([panel])


EXPERIMENT = Experiment(
    name="weight_selection",
    title="Weight selection from a wider, trained network",
    methods=("weight_selection",),
    source="Xu et al., Initializing Models with Larger Ones, 2024",
    conditions=tuple({"start": start} for start in STARTS),
    measure=measure,
    columns={"loss": "loss at the best rate", "log2_best_rate": "log2 of the best rate"},
    effects=tuple(
        Effect(
            says=f"the loss is lower than from {other}",
            number="difference of losses at the best rates",
            measure=functools.partial(
                subtract, value="loss", first={"start": SELECTED}, second={"start": other}
            ),
            below=0.0,
        )
        for other in (USUAL, "xavier_uniform")
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
