"""Sound models of Keras on its torch backend, which a process chooses when it imports Keras.

python audit_keras_on_torch.py    prints, as JSON, the errors and warnings of each
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import torch
from sound_models.entry import draw_classes, draw_images, draw_values
from torch import Tensor, nn

import fanin
from fanin import seeds

L = keras.layers


def make_dense() -> tuple[Any, Tensor, Tensor, Any]:
    """Two hidden layers with dropout, logits."""
    layers = [L.Dense(48, "relu"), L.Dropout(0.2), L.Dense(48, "relu"), L.Dense(4)]
    x = torch.randn(32, 12)
    return keras.Sequential([keras.Input((12,)), *layers]), x, draw_classes(x, 4), None


def make_probabilities() -> tuple[Any, Tensor, Tensor, Any]:
    """A softmax inside the model, and a loss of probabilities."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.nll_loss(output.clamp(1e-7, 1).log(), target)

    layers = [L.Dense(32, "relu"), L.Dense(4, "softmax")]
    x = torch.randn(32, 12)
    return keras.Sequential([keras.Input((12,)), *layers]), x, draw_classes(x, 4), loss


def make_images() -> tuple[Any, Tensor, Tensor, Any]:
    """Convolutions with batch normalization, channels last."""
    layers = [L.Conv2D(16, 3, padding="same"), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D()]
    layers += [L.Conv2D(32, 3, padding="same", activation="relu"), L.GlobalAveragePooling2D()]
    x = draw_images(12).movedim(1, -1).contiguous()
    model = keras.Sequential([keras.Input((16, 16, 3)), *layers, L.Dense(5)])
    return model, x, draw_classes(x, 5), None


def make_regressor() -> tuple[Any, Tensor, Tensor, Any]:
    """The functional API with two branches."""
    start = keras.Input((12,))
    first, second = L.Dense(24, "tanh")(start), L.Dense(24, "gelu")(start)
    model = keras.Model(start, L.Dense(1)(L.Concatenate()([first, second])))
    x = torch.randn(32, 12)
    return model, x, draw_values(x), None


def make_series() -> tuple[Any, Tensor, Tensor, Any]:
    """An LSTM on vectors."""
    x = torch.randn(16, 8, 6)
    model = keras.Sequential([keras.Input((8, 6)), L.LSTM(16), L.Dense(4)])
    return model, x, draw_classes(x[:, -3:], 4), None


def make_words() -> tuple[Any, Tensor, Tensor, Any]:
    """Embeddings and a GRU."""
    x = torch.randint(30, (24, 8))
    model = keras.Sequential([keras.Input((8,)), L.Embedding(30, 16), L.GRU(16), L.Dense(4)])
    return model, x, x[:, -1] % 4, None


MODELS: dict[str, Callable[[], tuple[Any, Tensor, Tensor, Any]]] = {
    "dense": make_dense,
    "probabilities": make_probabilities,
    "images": make_images,
    "regressor": make_regressor,
    "series": make_series,
    "words": make_words,
}


def audit(name: str) -> dict[str, list[str]]:
    """What is found in one model, by severity."""
    with seeds.preserve_global_state(0):
        keras.utils.set_random_seed(0)
        model, x, target, loss = MODELS[name]()
    found: dict[str, list[str]] = {"error": [], "warning": [], "note": []}
    result = fanin.audit(model, x, target=target, loss=loss)
    for one in result.findings:
        found[one.severity].append(f"{one.code} {one.where}: {one.summary}")
    found["unseen"] = list(result.notes)
    return found


if __name__ == "__main__":
    print(json.dumps({name: audit(name) for name in MODELS}))
