"""Numbers that describe one tensor of a pass: moments, shares, how different its samples are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from fanin import seeds

SAMPLE_LIMIT = 16
"""Samples that are compared with one another."""
NUMBER_LIMIT = 2048
"""Numbers of each sample that are compared, chosen at random: a cosine of so many is known to
±1/√2048 = 0.02.
"""
_EXACT = 1e-15, 1e15
"""Absolute values whose squares, summed over a tensor, are normal numbers of float32."""

CLOSE = 0.1
"""Of numbers that are close to their mean, √(rms² − mean²) would lose the digits that matter."""
ROW = 4096


@dataclass(frozen=True)
class Moments:
    """Of all numbers of a tensor."""

    finite: bool
    mean: float
    std: float
    rms: float
    maximum: float


@dataclass(frozen=True)
class UnitShares:
    """Of the units of a tensor, and of its numbers."""

    units: int
    zero_units: float
    constant_units: float
    zero_share: float


@dataclass(frozen=True)
class SampleSpread:
    """How different the samples of a tensor are."""

    effective_rank: float | None
    similarity: float | None
    distance: float | None


def measure_moments(tensor: Tensor) -> Moments:
    """Mean, standard deviation, rms and largest absolute value; of an empty tensor zeros."""
    values = _to_float(tensor)
    if not values.numel():
        return Moments(True, 0.0, 0.0, 0.0, 0.0)
    low, high = (float(one) for one in torch.aminmax(values))
    maximum = max(abs(low), abs(high))
    if not math.isfinite(low) or not math.isfinite(high):
        return Moments(False, math.nan, math.nan, math.nan, math.inf)
    if maximum and not _EXACT[0] < maximum < _EXACT[1]:
        values = values.double()
    mean, rms = float(values.mean()), _compute_rms(values)
    std = math.sqrt(max(rms**2 - mean**2, 0.0))
    if std < CLOSE * rms:
        std, mean = (float(one) for one in torch.std_mean(values, correction=0))
        rms = math.hypot(mean, std)
    return Moments(True, mean, std, rms, maximum)


def _compute_rms(values: Tensor) -> float:
    """By the lengths of short rows, which are added in double precision: `torch.std_mean` is exact
    too and takes ten times as long.
    """
    flat = values.reshape(-1)
    whole = len(flat) // ROW * ROW
    rows = torch.linalg.vector_norm(flat[:whole].view(-1, ROW), dim=1).double()
    rest = torch.linalg.vector_norm(flat[whole:]).double()
    return math.sqrt(float(rows.square().sum() + rest.square()) / len(flat))


def measure_rms(tensor: Tensor) -> tuple[float, bool]:
    """The rms, and whether all numbers are finite."""
    found = measure_moments(tensor)
    return found.rms, found.finite


def measure_units(tensor: Tensor, axis: int) -> UnitShares:
    """The shares of units that are always 0 and always the same; `axis` counts the units."""
    values = _to_float(tensor)
    units = values.shape[axis]
    if not values.numel():
        return UnitShares(units, 0.0, 0.0, 0.0)
    others = [one for one in range(values.dim()) if one != axis % values.dim()]
    low, high = (values.amin(others), values.amax(others)) if others else (values, values)
    zero = (low == 0) & (high == 0)
    constant = (low == high) if values.numel() > units else zero
    zero_share = 1 - int(torch.count_nonzero(values)) / values.numel()
    return UnitShares(units, float(zero.float().mean()), float(constant.float().mean()), zero_share)


def compare_samples(tensor: Tensor, axis: int) -> SampleSpread:
    """How different the samples along `axis` are: cosines, distances and effective rank."""
    values = tensor.detach().movedim(axis, 0)
    if len(values) < 2:
        return SampleSpread(None, None, None)
    rows = pick_numbers(values[:SAMPLE_LIMIT]).double()
    if not rows.numel() or not bool(torch.isfinite(rows).all()):
        return SampleSpread(None, None, None)
    scale = rows.abs().max()
    if not scale:
        return SampleSpread(None, None, 0.0)
    rows = rows / scale
    products = rows @ rows.T
    squares = products.diagonal()
    count = len(rows)
    gaps = squares.unsqueeze(0) + squares.unsqueeze(1) - 2 * products
    distance = math.sqrt(max(float(gaps.sum()), 0.0) / (count * (count - 1)) / 2)
    size = math.sqrt(float(squares.mean()))
    lengths = squares.sqrt()
    similarity = None
    if bool((lengths > 0).all()):
        cosines = products / lengths.unsqueeze(0) / lengths.unsqueeze(1)
        similarity = (float(cosines.sum()) - count) / (count * (count - 1))
    return SampleSpread(_measure_rank(products), similarity, distance / size)


def pick_numbers(values: Tensor) -> Tensor:
    """At most `NUMBER_LIMIT` numbers of each sample, the same places in all: (samples, numbers)."""
    shape = tuple(values.shape[1:])
    if math.prod(shape) <= NUMBER_LIMIT:
        return values.reshape(len(values), -1).to("cpu")
    places = tuple(one.to(values.device) for one in _choose_places(shape))
    return values.movedim(0, -1)[places].T.to("cpu")


def pick_any(tensor: Tensor) -> Tensor:
    """At most `NUMBER_LIMIT` numbers of a tensor, as float32 on the CPU."""
    return pick_numbers(tensor.detach().unsqueeze(0)).flatten().float()


@lru_cache(maxsize=512)
def _choose_places(shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    generator = seeds.make_generator(0, "probe", *shape)
    return tuple(torch.randint(size, (NUMBER_LIMIT,), generator=generator) for size in shape)


def _measure_rank(products: Tensor) -> float:
    """exp(H) of the eigenvalues λ/Σλ of the Gram matrix: the number of directions that the samples
    really use (Roy and Vetterli 2007, of squared singular values).
    """
    values = torch.linalg.eigvalsh(products).clamp(min=0)
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(torch.exp(-(shares * shares.log()).sum()))


def _to_float(tensor: Tensor) -> Tensor:
    found = tensor.detach()
    if found.is_complex():
        found = torch.view_as_real(found)
    return found if found.dtype in (torch.float32, torch.float64) else found.float()
