"""The metrics that fanin has."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fanin.training.metrics.metric import REGISTRY, Metric

_MOST_NATS = 700.0
"""Above this exp overflows; a perplexity of 1e304 is as bad as any."""

_LEAST = 1e-30
"""A mean squared error below this counts as this: a perfect fit is no divergence."""


def _correct(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs.argmax(1) == y).sum(dtype=torch.float64)


def _correct_steps(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs.argmax(-1) == y).sum(dtype=torch.float64) / y.shape[1]


def _absolute_error(outputs: Tensor, y: Tensor) -> Tensor:
    difference = (outputs.squeeze(1) - y).abs()
    return (
        difference.sum(dtype=torch.float64)
        if y.ndim == 1
        else difference.mean(1).sum(dtype=torch.float64)
    )


def _squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs - y.view_as(outputs)).square().sum(dtype=torch.float64)


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, _MOST_NATS))


def _psnr(loss: float) -> float:
    return 10 * math.log10(4 / max(loss, _LEAST))


_CLASSES, _TOKENS, _NUMBERS = ("classification",), ("token_classification",), ("regression",)

for _metric in (
    Metric(
        "accuracy",
        "Share of samples whose largest output is their class.",
        "max",
        _CLASSES,
        _correct,
    ),
    Metric(
        "token_accuracy",
        "Share of steps whose largest output is their token.",
        "max",
        _TOKENS,
        _correct_steps,
    ),
    Metric(
        "bits_per_character",
        "Cross-entropy per step in bits, loss / ln 2; of characters, where the tokens are those.",
        "min",
        _TOKENS,
        of_loss=lambda loss: loss / math.log(2),
    ),
    Metric(
        "perplexity",
        "exp(cross-entropy per step).",
        "min",
        (*_CLASSES, *_TOKENS),
        of_loss=_perplexity,
    ),
    Metric(
        "mae",
        "Mean absolute error, in the target's units.",
        "min",
        _NUMBERS,
        _absolute_error,
        power=1,
    ),
    Metric(
        "squared_error",
        "Squared error summed over the outputs: of a reconstruction, as Hinton and Salakhutdinov "
        "report it (2006).",
        "min",
        ("regression", "autoencoding"),
        _squared_error,
        power=2,
    ),
    Metric(
        "psnr",
        "Peak signal-to-noise ratio in dB of targets in [−1, 1], 10·log10(4 / mean squared error).",
        "max",
        _NUMBERS,
        of_loss=_psnr,
    ),
):
    REGISTRY.add(_metric)
