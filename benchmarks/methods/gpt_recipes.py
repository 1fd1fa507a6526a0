"""Recipes of language models under one tiny GPT.

Question. How much do the starts of published language models matter for a tiny GPT, once the
learning rate is tuned for each?

Claim. Each recipe was made for its own model, and no paper compares them. GPT-2's divides the
weights that end residual branches by √(2L), so that the residual stream does not grow with depth
(Radford et al., 2019); it is claimed here that in GPT-2's own architecture this is better than
torch's default.

Protocol. A GPT of 4 blocks, width 32, 4 heads, windows of 32 characters of tiny Shakespeare; Adam,
batches of 16 windows, 60 steps, at the learning rates 0.001, 0.003, 0.01, 0.03 and 0.1, all from
the same weights and with the same batches. Six recipes, and torch_default. What is measured is the
mean loss of the last 20 batches at each rate. 10 replicates.

Criterion. Shown if, at the best rate of each, the interval of the mean difference of losses, recipe
minus torch_default, lies below 0 for gpt2. The other recipes are judged alike beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from experiment import Effect, Experiment, Panel, Records, draw_panels, run_command
from experiment.effects import subtract
from experiment.rate_sweep import make_rate_line, summarize_sweep, sweep_rates
from experiment.records import Condition
from experiment.training import compute_step_loss, load_text
from matplotlib.figure import Figure

import fanin
from fanin import models

RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
RECIPES = ("gpt2", "olmo2", "llama", "torchtitan_llama3", "nanochat", "modded_nanogpt")
DEFAULT = "torch_default"
WINDOW = 32


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """The loss at each rate."""
    x, y, vocabulary = load_text(WINDOW)
    model = models.get("gpt(width=32)")
    network = model.build((WINDOW,), vocabulary, vocabulary=vocabulary, per_step=True)
    start = str(condition["start"])
    spec = start if start == DEFAULT else f"recipe:{start}"
    batch = None if start == DEFAULT else x[:8]
    fanin.initialize(network, spec, seed=seed, batch=batch)
    curves = sweep_rates(
        network, RATES, x, y,
        steps=40 if fast else 60, batch_size=16, seed=seed, loss=compute_step_loss,
    )  # fmt: skip
    return summarize_sweep(RATES, curves, 20)


def draw(records: Records) -> Figure:
    """Losses by rate."""
    lines = [make_rate_line(start, records.pick(start=start)) for start in (DEFAULT, *RECIPES)]
    panel = Panel(
        "a tiny GPT on tiny Shakespeare", "learning rate", "training loss", lines, log_x=True
    )
    return draw_panels([panel])


EXPERIMENT = Experiment(
    name="gpt_recipes",
    title="Recipes of language models under one tiny GPT",
    methods=tuple(f"recipe:{name}" for name in RECIPES),
    source="the recipes' own sources",
    data=("tiny-shakespeare",),
    conditions=tuple({"start": start} for start in (DEFAULT, *RECIPES)),
    measure=measure,
    columns={"loss": "loss at the best rate", "log2_best_rate": "log2 of the best rate"},
    effects=tuple(
        Effect(
            says=f"{name} is better than torch_default",
            number="difference of losses at the best rates",
            measure=functools.partial(
                subtract, value="loss", first={"start": name}, second={"start": DEFAULT}
            ),
            below=0.0,
            counts=name == "gpt2",
        )
        for name in RECIPES
    ),
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
