"""New tokens whose rows are drawn like the old ones.

Question. What do new tokens cost on text that holds none of them, before any training?

Claim. New tokens enlarge the sum of the softmax. Where the new rows of the head are the mean of the
old ones, or are drawn from their normal distribution with a small covariance, no prediction of an
old token gets worse by more than log(1 + k/n), k new tokens beside n old ones. Small random rows
have logits near 0, which may lie far above the usual logits, and then take the probability (Hewitt,
Initializing New Word Embeddings for Pretrained Language Models, 2021).

Protocol. A GPT of 2 blocks and width 32 on windows of 32 characters of tiny Shakespeare starts from
torch's default and is trained for 300 steps of 16 windows with Adam at 0.01. Then
`fanin.resize_embedding` adds 1, 8 or 64 tokens to its 65 characters; in the random starts, the new
rows of the head are overwritten by N(0, 0.02²), as language models draw weights, or by N(0, 1), as
`torch.nn.Embedding` does. Measured on 300 other windows are the mean increase of the loss, and the
largest increase of one prediction. 10 replicates of network and rows. In trials with seeds 1 and 2,
64 new tokens cost 0.06 and 0.08 from Hewitt's rows, 0.15 and 0.21 from N(0, 0.02²), and 10 from
N(0, 1).

Criterion. Shown if with 64 new tokens, from Hewitt's rows, the largest increase of a prediction
minus log(1 + 64/65) has an interval of the mean below 0.01; and if the mean increase is smaller
from Hewitt's rows than from N(0, 0.02²), with an interval of the difference below 0, and than from
N(0, 1), with one below −1. Beside it, the same for 8 new tokens; and rows with the whole
covariance, which are as different as the old ones.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping
from typing import Any

import torch
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import read_numbers, subtract
from experiment.records import Condition
from experiment.training import compute_step_loss, load_test_text, load_text, train
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

import fanin
from fanin import models, seeds

WINDOW, BATCH = 32, 16
ADDED = (1, 8, 64)
HEWITT, SMALL, LARGE = "covariance 1e-5 (Hewitt)", "N(0, 0.02²)", "N(0, 1)"
COVARIANCES = {HEWITT: 1e-5, "mean": 0.0, "covariance 1": 1.0}
DEVIATIONS = {SMALL: 0.02, LARGE: 1.0}
STARTS = (*COVARIANCES, *DEVIATIONS)


@functools.lru_cache(maxsize=1)
def train_network(seed: int, steps: int) -> nn.Module:
    """The network that gets new tokens."""
    x, y, vocabulary = load_text(WINDOW)
    model = models.get("gpt(depth=2, width=32)")
    network = model.build((WINDOW,), vocabulary, vocabulary=vocabulary, per_step=True)
    fanin.initialize(network, "torch_default", seed=seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    train(
        network, optimizer, x, y, steps=steps, batch_size=BATCH, seed=seed, loss=compute_step_loss
    )
    return network.eval()


@torch.no_grad()
def compute_losses(network: nn.Module) -> Tensor:
    """The loss of each prediction on windows that are not trained on."""
    x, y = load_test_text(WINDOW)
    return F.cross_entropy(network(x).flatten(0, 1), y.flatten(), reduction="none")


@torch.no_grad()
def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Add tokens to the trained network."""
    start, added = str(condition["start"]), int(condition["added"])
    with torch.enable_grad():
        network = train_network(seed, 150 if fast else 300)
    resized, old = copy.deepcopy(network), load_text(WINDOW)[-1]
    fanin.resize_embedding(
        resized, old + added, seed=seed, embedding="embedding", head="output",
        covariance=COVARIANCES.get(start, COVARIANCES[HEWITT]),
    )  # fmt: skip
    if start in DEVIATIONS:
        rows = resized.get_parameter("output.weight")[old:]
        generator = seeds.make_generator(seed, "new rows")
        rows.copy_(DEVIATIONS[start] * seeds.standard_normal(tuple(rows.shape), generator))
    increases = compute_losses(resized) - compute_losses(network)
    return {
        "increase": float(increases.mean()),
        "largest": float(increases.max()),
        "over_bound": float(increases.max()) - math.log(1 + added / old),
    }


def draw(records: Records) -> Figure:
    """Increases by the number of new tokens."""
    panels = []
    for value, title in (("increase", "mean of all predictions"), ("largest", "largest increase")):
        lines = []
        for start in STARTS:
            found = [read_numbers(records, value, start=start, added=added) for added in ADDED]
            lines.append(Line(start, ADDED, list(zip(*found, strict=True))))
        if value == "largest":
            bounds = [math.log(1 + added / 65) for added in ADDED]
            lines.append(Line("log(1 + k/65)", ADDED, [bounds]))
        panels.append(
            Panel(title, "new tokens", "increase of the loss", lines, log_x=True, log_y=True)
        )
    return draw_panels(panels)


def describe_difference(other: str, added: int, below: float, **more: Any) -> Effect:
    """The effect that Hewitt's rows cost less than others."""
    return Effect(
        says=f"{added} new tokens cost less than from {other}",
        number=f"difference of the mean increases, {HEWITT} − {other}",
        measure=functools.partial(
            subtract, value="increase",
            first={"start": HEWITT, "added": added}, second={"start": other, "added": added},
        ),
        below=below,
        **more,
    )  # fmt: skip


def describe_bound(added: int, **more: Any) -> Effect:
    """The effect that no prediction gets worse than the bound says."""
    return Effect(
        says=f"with {added} new tokens, no prediction gets worse by more than log(1 + {added}/65)",
        number=f"largest increase from {HEWITT}, minus the bound",
        measure=functools.partial(read_numbers, value="over_bound", start=HEWITT, added=added),
        below=0.01,
        **more,
    )


EXPERIMENT = Experiment(
    name="resize_embedding",
    title="New tokens whose rows are drawn like the old ones",
    methods=("resize_embedding",),
    source="Hewitt, Initializing New Word Embeddings for Pretrained Language Models, 2021",
    data=("tiny-shakespeare",),
    conditions=tuple({"added": added, "start": start} for added in ADDED for start in STARTS),
    measure=measure,
    columns={
        "increase": "mean increase of the loss",
        "largest": "largest increase of a prediction",
        "over_bound": "largest increase − log(1 + k/65)",
    },
    effects=(
        describe_bound(64),
        describe_difference(SMALL, 64, 0.0),
        describe_difference(LARGE, 64, -1.0),
        describe_bound(8, counts=False),
        describe_difference(SMALL, 8, 0.0, counts=False),
        describe_difference(LARGE, 8, -1.0, counts=False),
        describe_difference("covariance 1", 64, 0.0, counts=False),
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
