"""Whether numbers look as if they had been drawn at random, and from what."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fanin.diagnosis.held_parameters import take_sample

_LOOKED_AT = 4096
_SHARE_DISTINCT = 0.25
"""Of random float32 numbers nearly all are distinct; of rows that repeat, such as those of Mamba's
A_log, few."""
_ENOUGH_DISTINCT = 100
"""So many distinct values are random in bfloat16 too, whose normal draws have about a thousand."""
_MOST_ZEROS = 0.75
"""A sparse start has more; so do identities."""
_SMOOTH, _SMOOTH_NOISES = 0.5, 3.5
"""Neighbours of a table of sines, or of a ramp, correlate by more than both 0.5 and 3.5/√n; those
of a random draw do so once in two thousand times at worst."""
_FLAT = -0.9
"""The excess kurtosis of a uniform draw is -1.2, of a normal one 0, of one cut at two standard
deviations -0.63."""
_UNIFORM_EDGE = 1.9
"""The largest number of a uniform draw is 1.73 standard deviations from its mean."""


def is_random(values: Tensor) -> bool:
    """Whether numbers look drawn: neither constant nor structured, as an identity, a table of sines
    or a ramp is.
    """
    some = take_sample(values, _LOOKED_AT)
    if len(some) < 2 or not bool(some.isfinite().all()):
        return False
    if int((some == 0).sum()) > _MOST_ZEROS * len(some):
        return False
    distinct = len(some.abs().unique())
    if distinct < min(max(2.0, _SHARE_DISTINCT * len(some)), _ENOUGH_DISTINCT):
        return False
    return not _is_smooth(values)


def _is_smooth(values: Tensor) -> bool:
    """Whether neighbours along an axis are alike, or all numbers in order."""
    matrix = values.reshape(len(values), -1) if values.dim() > 1 else values.reshape(1, -1)
    matrix = matrix[:256, :256].double()
    steps = matrix.flatten().diff()
    if bool((steps > 0).all()) or bool((steps < 0).all()):
        return True
    pairs = ((matrix[:, :-1], matrix[:, 1:]), (matrix[:-1], matrix[1:]))
    return any(
        abs(correlate(one.flatten(), other.flatten()))
        > max(_SMOOTH, _SMOOTH_NOISES / math.sqrt(one.numel()))
        for one, other in pairs
        if one.numel()
    )


def correlate(one: Tensor, other: Tensor) -> float:
    """Pearson's correlation; 0 if one of them is constant."""
    one, other = (part.double() - part.double().mean() for part in (one, other))
    size = one.norm() * other.norm()
    return float(one @ other / size) if float(size) > 0 else 0.0


def describe_draw(values: Tensor) -> str:
    """The spec of an initializer that draws numbers such as these."""
    some = take_sample(values).double()
    std, mean = (one.item() for one in torch.std_mean(some, correction=0))
    if std == 0:
        return f"constant(value={mean:.4g})"
    if abs(mean) < 4 * std / math.sqrt(len(some)):
        mean = 0.0
    score = (some - some.mean()) / std
    if float(score.pow(4).mean()) - 3 < _FLAT and float(score.abs().max()) < _UNIFORM_EDGE:
        edge = math.sqrt(3) * std if mean else float(some.abs().max()) * (1 + 1 / len(some))
        return f"uniform(low={mean - edge:.4g}, high={mean + edge:.4g})"
    return f"normal(std={std:.4g})" if mean == 0 else f"normal(mean={mean:.4g}, std={std:.4g})"
