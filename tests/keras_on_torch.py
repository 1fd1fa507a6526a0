"""Keras' layers on its torch backend, which a process chooses when it imports Keras: what they
start from, and what keras_default and other rules make of them.

python keras_on_torch.py    prints, as JSON, what differs, and facts of records
"""

from __future__ import annotations

import json
import os
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import torch
from test_torch_layers import differ
from torch import Tensor, nn

import fanin

L = keras.layers
CASES: dict[str, tuple[Any, Any]] = {
    "Dense": (lambda: L.Dense(80), (None, 60)),
    "EinsumDense": (
        lambda: L.EinsumDense("abc,cde->abde", (None, 8, 9), bias_axes="de"),
        (2, 3, 50),
    ),
    "Conv1D": (lambda: L.Conv1D(60, 5, groups=2), (None, 9, 30)),
    "Conv2D": (lambda: L.Conv2D(60, (3, 5)), (None, 9, 9, 12)),
    "Conv2DTranspose": (lambda: L.Conv2DTranspose(60, 3), (None, 9, 9, 12)),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(5, depth_multiplier=3), (None, 9, 9, 60)),
    "SeparableConv2D": (
        lambda: L.SeparableConv2D(80, 5, depth_multiplier=2),
        (None, 9, 9, 64),
    ),
    "Embedding": (lambda: L.Embedding(100, 50), (None,)),
    "LSTM": (lambda: L.LSTM(40), (None, 5, 30)),
    "GRU": (lambda: L.GRU(40), (None, 5, 30)),
    "SimpleRNN": (lambda: L.SimpleRNN(60), (None, 5, 60)),
    "BatchNormalization": (lambda: L.BatchNormalization(), (None, 8)),
    "LayerNormalization": (lambda: L.LayerNormalization(), (None, 8)),
    "GroupNormalization": (lambda: L.GroupNormalization(2), (None, 8)),
    "RMSNormalization": (lambda: L.RMSNormalization(), (None, 8)),
    "PReLU": (lambda: L.PReLU(), (None, 8)),
}


def read(layer: nn.Module) -> dict[str, Tensor]:
    """The trainable values, by the last part of their names."""
    return {
        name.rpartition("/")[2]: one.detach().flatten().clone().double()
        for name, one in layer.named_parameters()
        if one.requires_grad
    }


def compare(name: str) -> list[str]:
    """In what a fresh layer and one that keras_default has filled differ; also what the comparison
    would not see.
    """
    make, shape = CASES[name]
    keras.utils.set_random_seed(1)
    layer = make()
    layer.build(shape)
    theirs = read(layer)
    for parameter in layer.parameters():
        if parameter.requires_grad:
            nn.init.constant_(parameter, 7.0)
    fanin.initialize(layer, "keras_default", seed=0, special="overwrite")
    ours = read(layer)
    found = [f"{key}: {wrong}" for key in theirs if (wrong := differ(ours[key], theirs[key]))]
    for key, values in theirs.items():
        if len(values.unique()) > 2 and key != "recurrent_kernel":
            seen = len(values) >= 3_000 and differ(ours[key] * 1.15, values)
            found += [] if seen else [f"{key}: {len(values)} numbers are too few"]
    return found


def find_orthogonal(name: str) -> bool:
    """Whether the state's matrix is orthogonal over all gates at once, as Keras makes it."""
    make, shape = CASES[name]
    layer = make()
    layer.build(shape)
    fanin.initialize(layer, "keras_default", seed=0, special="overwrite")
    kernel = layer.cell.recurrent_kernel.value.detach()
    return torch.allclose(kernel @ kernel.T, torch.eye(len(kernel)), atol=1e-5)


def describe_model() -> dict[str, Any]:
    """Fans that he_normal takes in a whole model, whose parameters are in one holder."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            L.Input((16, 16, 4)),
            L.Conv2D(8, 3, groups=2, name="conv"),
            L.DepthwiseConv2D(3, name="depthwise"),
            L.Flatten(),
            L.Dense(10, name="head"),
        ]
    )
    record = fanin.initialize(model, "he_normal", seed=0)
    return {
        one.name.split("/", 1)[1]: [one.fan_in, one.fan_out, one.role]
        for one in record
        if one.rule and one.tied_to is None
    }


def main() -> None:
    different = {name: compare(name) for name in CASES}
    print(
        json.dumps(
            {
                "different": different,
                "orthogonal": {
                    name: find_orthogonal(name) for name in ("LSTM", "GRU", "SimpleRNN")
                },
                "fans": describe_model(),
            }
        )
    )


if __name__ == "__main__":
    main()
