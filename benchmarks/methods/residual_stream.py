"""The residual stream of GPT-2, OLMo and GPT-J by depth.

Question. Does the sum of all residual branches keep its size when a pre-norm transformer gets
deeper?

Claim. GPT-2 divides the weights that end a branch by the root of the number of branches, to account
for the accumulation on the residual path with depth (Radford et al., 2019). Derived for a start
where each branch reads a normalized stream, so that branches have independent sizes set by their
own weights alone: the standard deviation of the sum of 2L branches grows as L^½ with one standard
deviation for all weights (BERT's), as L^0 with GPT-2's, as √(1 + 1/2 + … + 1/L) with Mitchell's,
which divides by √(2(l + 1)) in block l (OLMo), and as L^−½ with Wang's 2/(L√d) (GPT-J).

Protocol. GPTs of 4, 8, 16, 32 and 64 blocks, width 64, 4 heads, tiny Shakespeare in windows of 32
characters. GPT-2's 0.02 is made for a width of 768; here it is 0.02·√(768/width). BERT's start, the
control, has the same standard deviation after its truncation. Wang's stands beside small_init for
all other weights, as in GPT-NeoX. Measured are the rms of what all branches together add to the
stream of 16 windows, and the exponent of depth fitted to it (least squares of the logarithms); for
Mitchell's start also after division by the root of the harmonic sum. Besides: the norm of the
gradient of value weights in the first block over that in the last one, and a training at 16 blocks
of width 32: Adam, batches of 16, 40 steps at the rates 0.001, 0.003 and 0.01 from the same weights
and with the same batches, the mean loss of the last 10 at the best rate. 10 replicates.

Criterion. Shown if the interval of the mean exponent lies within ±0.1 of each of the four derived
ones. The gradients and losses are told beside it: the sources claim nothing of them. In trials with
seeds 1 to 4 the exponents were 0.50 to 0.57, −0.02 to 0.02, 0.00 to 0.05 after division, and −0.48
to −0.55; GPT-2's loss was smaller than BERT's by 0.1 to 0.2.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import read_numbers, subtract
from experiment.rate_sweep import make_rate_line, summarize_sweep, sweep_rates
from experiment.records import Condition, round_values
from experiment.training import compute_step_loss, load_text
from matplotlib.figure import Figure
from torch import Tensor, nn

import fanin
from fanin import models, seeds

DEPTHS, FAST_DEPTHS = (4, 8, 16, 32, 64), (4, 16, 64)
WIDTH, WINDOW, WINDOWS = 64, 32, 16
TRAINED_DEPTH, TRAINED_WIDTH = 16, 32
RATES = (0.001, 0.003, 0.01)
STARTS = ("bert", "gpt2", "mitchell", "wang_init")
KEPT = 0.8796
"""The standard deviation of a normal that is cut at two of them, in units of its own."""
WRITERS = ("blocks.*.attention.output.weight", "blocks.*.mlp.linear2.weight")


def build(start: str, depth: int, width: int, seed: int) -> nn.Module:
    """A GPT with its weights."""
    x, _, characters = load_text(WINDOW)
    model = models.get(f"gpt(depth={depth}, width={width})")
    network = model.build((WINDOW,), characters, vocabulary=characters, per_step=True)
    std = 0.02 * math.sqrt(768 / width)
    if start == "wang_init":
        others = f"small_init(dim={width})"
        wang = f"wang_init(layers={depth}, dim={width})"
        fanin.initialize(
            network, dict.fromkeys(WRITERS, wang), default=others, embeddings=others, seed=seed
        )
        return network
    specs = {"bert": f"bert(std={std / KEPT:.6g})", "gpt2": f"gpt2(std={std:.6g})"}
    batch = None if start == "bert" else x[:4]
    fanin.initialize(network, specs.get(start, start), seed=seed, batch=batch)
    return network


@torch.no_grad()
def measure_added(network: Any, x: Tensor) -> float:
    """The rms of what all branches together add to the stream."""
    first = network.embedding(x) + network.positions(x)
    h = first
    for block in network.blocks:
        h = block(h)
    return float((h - first).double().square().mean().sqrt())


def measure_gradient_ratio(network: Any, x: Tensor, y: Tensor) -> float:
    """The norm of the gradient of the value weights in the first block over the last one's."""
    compute_step_loss(network(x), y).backward()
    first, last = (network.blocks[at].attention.value.weight.grad.double().norm() for at in (0, -1))
    network.zero_grad()
    return float(first / last)


def fit_exponent(depths: Sequence[int], sizes: Sequence[float]) -> float:
    """The power of the depth."""
    return float(np.polyfit(np.log(depths), np.log(sizes), 1)[0])


def sum_harmonic(depth: int) -> float:
    """1 + 1/2 + … + 1/depth."""
    return sum(1 / block for block in range(1, depth + 1))


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Sizes and gradients by depth, and the loss at each rate."""
    x, y, _ = load_text(WINDOW)
    at = seeds.draw_order(seed, 0, len(x))[:WINDOWS]
    depths, start = FAST_DEPTHS if fast else DEPTHS, str(condition["start"])
    added, ratios = [], []
    for depth in depths:
        network = build(start, depth, WIDTH, seed)
        added.append(measure_added(network, x[at]))
        ratios.append(measure_gradient_ratio(network, x[at], y[at]))
    divided = [
        size / math.sqrt(sum_harmonic(depth)) for size, depth in zip(added, depths, strict=True)
    ]
    trained = build(start, TRAINED_DEPTH, TRAINED_WIDTH, seed)
    curves = sweep_rates(
        trained, RATES, x, y,
        steps=20 if fast else 40, batch_size=16, seed=seed, loss=compute_step_loss,
    )  # fmt: skip
    return {
        "exponent": fit_exponent(depths, added),
        "divided_exponent": fit_exponent(depths, divided),
        "last_added": added[-1],
        "last_ratio": ratios[-1],
        "depths": list(depths),
        "added": round_values(added),
        "ratios": round_values(ratios),
        **summarize_sweep(RATES, curves, 10),
    }


def make_exponent_effect(says: str, start: str, expected: float) -> Effect:
    """An effect that an exponent of depth is the derived one."""
    value = "divided_exponent" if start == "mitchell" else "exponent"
    after = " after division by the root of the harmonic sum" if start == "mitchell" else ""
    return Effect(
        says=says,
        number=f"exponent of depth{after}",
        measure=functools.partial(read_numbers, value=value, start=start),
        above=expected - 0.1,
        below=expected + 0.1,
    )


def make_effect_beside(says: str, number: str, value: str, start: str) -> Effect:
    """An effect that a value is smaller than the control's."""
    return Effect(
        says=says,
        number=f"{number}, {start} − bert",
        measure=functools.partial(
            subtract, value=value, first={"start": start}, second={"start": "bert"}
        ),
        below=0.0,
        counts=False,
    )


def draw(records: Records) -> Figure:
    """Sizes and gradients by depth, and losses by rate."""

    def make_lines(value: str) -> list[Line]:
        return [
            Line(
                start,
                np.log2(found[0].values["depths"]).tolist(),
                np.log2([record.values[value] for record in found]).tolist(),
            )
            for start in STARTS
            for found in [records.pick(start=start)]
        ]

    ticks = {math.log2(depth): str(depth) for depth in records[0].values["depths"]}
    return draw_panels(
        [
            Panel(
                "what all branches add", "blocks", "log2(rms)", make_lines("added"), ticks=ticks,
            ),
            Panel(
                "gradients of value weights", "blocks", "log2(first block / last block)",
                make_lines("ratios"), ticks=ticks,
            ),
            Panel(
                f"training, {TRAINED_DEPTH} blocks", "learning rate", "training loss",
                [make_rate_line(start, records.pick(start=start)) for start in STARTS], log_x=True,
            ),
        ],
        columns=3,
    )  # fmt: skip


EXPERIMENT = Experiment(
    name="residual_stream",
    title="GPT-2, OLMo, GPT-J: the residual stream by depth",
    methods=("gpt2", "mitchell", "wang_init", "small_init", "bert"),
    source="Radford et al., Language Models are Unsupervised Multitask Learners, 2019; Groeneveld "
    "et al., OLMo: Accelerating the Science of Language Models, 2024; Wang and Komatsuzaki, "
    "GPT-J-6B, 2021",
    data=("tiny-shakespeare",),
    conditions=tuple({"start": start} for start in STARTS),
    measure=measure,
    columns={
        "exponent": "exponent of depth",
        "last_added": f"rms added by {DEPTHS[-1]} blocks",
        "last_ratio": f"gradient, first / last of {DEPTHS[-1]} blocks",
        "loss": "loss at the best rate",
    },
    effects=(
        make_exponent_effect("with one standard deviation the stream grows as √L", "bert", 0.5),
        make_exponent_effect("with GPT-2's start it does not grow", "gpt2", 0.0),
        make_exponent_effect("with Mitchell's it grows as the root of log L", "mitchell", 0.0),
        make_exponent_effect("with Wang's it shrinks as 1/√L", "wang_init", -0.5),
        *(
            make_effect_beside(says, number, value, start)
            for says, number, value in (
                (
                    "gradients of the first and the last of 64 blocks are more alike",
                    "ratio of gradients",
                    "last_ratio",
                ),
                ("16 blocks learn faster", "loss at the best rate", "loss"),
            )
            for start in STARTS[1:]
        ),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
