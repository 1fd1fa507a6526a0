"""Signals: the variance of activations and gradients by depth, before any training."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fanin import apply, initializers
from fanin.cell.protocol import REGISTRY as PROTOCOLS
from fanin.data import Prepared
from fanin.study.canonical_cell import make_cell
from fanin.training.cell_model import make_model
from fanin.training.train import DataCache

DEPTH, WIDTH, SAMPLES = 20, 256, 512
FIRST, LAST = 1, 11
"""The variances of these hidden layers are compared: ten layers apart, beyond the input's effect.
"""

STARTS: dict[str, dict[str, str]] = {
    "sigmoid": {"xavier": "xavier_uniform", "lecun": "lecun_normal"},
    "tanh": {"xavier": "xavier_uniform", "orthogonal": "orthogonal", "lecun": "lecun_normal"},
    "relu": {
        "he": "he_normal",
        "xavier": "xavier_uniform",
        "orthogonal": "orthogonal",
        "normal 0.02": "normal(std=0.02)",
        "normal 0.05": "normal(std=0.05)",
        "normal 0.2": "normal(std=0.2)",
    },
    "leaky_relu": {"he": "he_normal"},
    "identity": {"orthogonal": "orthogonal"},
}


def observe_signals(replicates: int) -> list[dict[str, Any]]:
    """A record per activation, start and replicate, of a plain network of 20 layers of 256 units on
    digits.

    Keys: ``forward``, ln of the variance of the activations in hidden layer 11 over that in layer
    1; ``backward``, ln of the variance of the loss's gradient with respect to the activations in
    layer 1 over that in layer 11. Both are 0 where the variance is kept. ``activations`` and
    ``gradients``: log10 of the variance of each layer. A variance is that of all units and samples.
    """
    cache = DataCache()
    return [
        {
            "activation": activation,
            "start": start,
            "replicate": replicate,
            **_measure(cache, activation, spec, replicate),
        }
        for activation, specs in STARTS.items()
        for start, spec in specs.items()
        for replicate in range(replicates)
    ]


def _measure(cache: DataCache, activation: str, spec: str, replicate: int) -> dict[str, Any]:
    cell = make_cell(
        {
            "model": f"mlp(widths=[{WIDTH}], depth={DEPTH})",
            "data": "digits",
            "activation": activation,
            "initializer": spec,
            "replicate": replicate,
        }
    )
    dataset, prepared = cache.prepare(cell, PROTOCOLS.get(cell.protocol))
    model = make_model(cell).build_for(dataset.info)
    apply.initialize(model, initializers.get(cell.initializer), seed=cell.derive_seed("init"))
    outputs = _record(model, prepared)
    forward = [math.log10(_vary(t)) for t in outputs]
    backward = [math.log10(_vary(t.grad)) for t in outputs]
    ratio = math.log(10)
    return {
        "forward": round(ratio * (forward[LAST - 1] - forward[FIRST - 1]), 4),
        "backward": round(ratio * (backward[FIRST - 1] - backward[LAST - 1]), 4),
        "activations": [round(value, 3) for value in forward],
        "gradients": [round(value, 3) for value in backward],
    }


def _record(model: nn.Module, prepared: Prepared) -> list[Tensor]:
    """The outputs of all activations, with their gradients."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    for module in model.get_submodule("activations").children():
        module.register_forward_hook(keep)
    x, y = prepared.train.x[:SAMPLES] / prepared.divisor, prepared.train.y[:SAMPLES]
    with torch.enable_grad():
        functional.cross_entropy(model(x), y.long()).backward()
    return outputs


def _vary(tensor: Tensor | None) -> float:
    """The variance in double precision; a tiny number instead of 0, which has no logarithm."""
    assert tensor is not None
    return max(float(tensor.detach().double().var()), 1e-300)
