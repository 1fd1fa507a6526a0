"""The built-in metrics."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fanin.data import Task
from fanin.training.metrics.metric import REGISTRY, Metric

_MAX_NATS = 700.0
"""Above this, exp overflows; perplexities are cut at 1e304."""

_MIN_SQUARED_ERROR = 1e-30
"""Smaller mean squared errors count as this one, so that a perfect fit has a finite PSNR."""


def _count_correct(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs.argmax(1) == y).sum(dtype=torch.float64)


def _sum_step_accuracies(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs.argmax(-1) == y).sum(dtype=torch.float64) / y.shape[1]


def _sum_absolute_errors(outputs: Tensor, y: Tensor) -> Tensor:
    errors = (outputs.squeeze(1) - y).abs()
    per_sample = errors if y.ndim == 1 else errors.mean(1)
    return per_sample.sum(dtype=torch.float64)


def _sum_squared_errors(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs - y.view_as(outputs)).square().sum(dtype=torch.float64)


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, _MAX_NATS))


def _psnr(loss: float) -> float:
    return 10 * math.log10(4 / max(loss, _MIN_SQUARED_ERROR))


_CLASSES: tuple[Task] = ("classification",)
_TOKENS: tuple[Task] = ("token_classification",)
_NUMBERS: tuple[Task] = ("regression",)

for _metric in (
    Metric(
        "accuracy",
        "Share of samples whose largest output is their class.",
        "max",
        _CLASSES,
        _count_correct,
    ),
    Metric(
        "token_accuracy",
        "Share of steps whose largest output is their token.",
        "max",
        _TOKENS,
        _sum_step_accuracies,
    ),
    Metric(
        "bits_per_character",
        "Cross-entropy per step in bits, loss / ln 2; per character if the tokens are characters.",
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
        _sum_absolute_errors,
        power=1,
    ),
    Metric(
        "squared_error",
        "Squared error summed over the outputs, as Hinton and Salakhutdinov (2006) report it for "
        "reconstructions.",
        "min",
        ("regression", "autoencoding"),
        _sum_squared_errors,
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
