"""Time the initialization of a transformer of 355 million parameters, by fanin and by
torch.nn.init.

    python benchmarks/initialize.py --rounds 5 --output results/initialize.json

The two take turns. Both fill the same model with the same distributions: linear weights by the
rule, embeddings N(0, 0.02²), biases 0, normalization layers 1 and 0. fanin's time includes its
record, for which the standard deviation of every weight is measured.

The promised ratios are at most 1.3 for normal weights, 1.7 for uniform ones (all distributions are
made from one normal draw, so that comparisons are paired), 1/3 for truncated ones, and 1 for
orthogonal ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init

import fanin
from fanin.execution.process_settings import get_cpu_name

LAYERS, WIDTH, VOCABULARY, CONTEXT = 24, 1024, 50257, 1024

Fill = Callable[[Tensor], Any]

RULES: dict[str, tuple[Fill, float]] = {
    "he_normal": (init.kaiming_normal_, 1.3),
    "xavier_normal": (init.xavier_normal_, 1.3),
    "xavier_uniform": (init.xavier_uniform_, 1.7),
    "truncated_normal(std=0.02)": (
        lambda weight: init.trunc_normal_(weight, 0.0, 0.02, -0.04, 0.04),
        1 / 3,
    ),
    "orthogonal": (init.orthogonal_, 1.0),
}


class Block(nn.Module):
    """The parameters of one layer of GPT-2 medium, which compute nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)


def build() -> nn.Module:
    """Make GPT-2 medium's parameters, all zero, so that their memory has been touched."""
    with torch.device("meta"):
        model = nn.ModuleDict(
            {
                "tokens": nn.Embedding(VOCABULARY, WIDTH),
                "positions": nn.Embedding(CONTEXT, WIDTH),
                "blocks": nn.ModuleList(Block() for _ in range(LAYERS)),
                "norm": nn.LayerNorm(WIDTH),
            }
        )
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def initialize_with_torch(model: nn.Module, fill: Fill) -> None:
    """Initialize as the author of a model would by hand."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            fill(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


def measure_seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measure each rule in each round, print a table, and write the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rules", nargs="*", default=list(RULES), choices=list(RULES))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    model = build()
    times: dict[str, dict[str, list[float]]] = {
        rule: {"torch": [], "fanin": []} for rule in options.rules
    }
    for number in range(options.rounds):
        for rule in options.rules:
            fill = RULES[rule][0]
            times[rule]["torch"].append(
                measure_seconds(lambda fill=fill: initialize_with_torch(model, fill))
            )  # type: ignore[misc]
            times[rule]["fanin"].append(
                measure_seconds(lambda rule=rule: fanin.initialize(model, rule, seed=0))
            )  # type: ignore[misc]
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    report = {
        "device": get_cpu_name(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": times,
    }
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(render_table(report))


def render_table(report: dict[str, Any]) -> str:
    """Render the measurements as Markdown: medians, their spread, and the ratios of each round."""
    lines = [
        "| rule | torch.nn.init s | fanin s | fanin : torch | promised |",
        "|---|--:|--:|--:|--:|",
    ]
    for rule, sides in report["seconds"].items():
        ratios = [
            ours / theirs for ours, theirs in zip(sides["fanin"], sides["torch"], strict=True)
        ]
        figures = [_render_spread(values) for values in (sides["torch"], sides["fanin"], ratios)]
        lines.append("| " + " | ".join([f"`{rule}`", *figures, f"{RULES[rule][1]:.2g}"]) + " |")
    return "\n".join(lines)


def _render_spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    main()
