"""Random splits of samples into two parts, stratified by class on request."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fanin.errors import UsageError


def split(
    y: Tensor, *, fraction: float, stratified: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Indices (kept, held out), each sorted and int64: a partition of range(len(y)).

    ``fraction · n`` samples are held out, rounded, at least 1. If stratified by the class numbers
    `y`, class c gives ``fraction · n_c`` of its n_c samples. These are rounded by largest remainder
    so that the total is right; of equal remainders the lower class number comes first. Each class
    keeps at least one sample, even if fewer are then held out in all.

    Raises `UsageError` if nothing can be held out.
    """
    if not 0 < fraction < 1:
        raise UsageError(
            f"The fraction of samples to hold out must lie between 0 and 1, not {fraction}."
        )
    n = len(y)
    total = max(1, math.floor(fraction * n + 0.5))
    shuffled = torch.randperm(n, generator=generator)
    if stratified:
        held_out = _take_by_class(shuffled, y, total, fraction)
    else:
        held_out = shuffled[: min(total, n - 1)]
    if not len(held_out):
        raise UsageError(
            f"None of these {n} samples can be held out: each class must keep at least one for "
            "training."
        )
    mask = torch.zeros(n, dtype=torch.bool)
    mask[held_out] = True
    return (~mask).nonzero().flatten(), mask.nonzero().flatten()


def _take_by_class(shuffled: Tensor, y: Tensor, total: int, fraction: float) -> Tensor:
    """The first samples of each class in a shuffled order, as many as are allotted to it."""
    counts = torch.bincount(y)
    quotas = torch.tensor(_allot(counts.tolist(), total, fraction))
    by_class = shuffled[y[shuffled].argsort(stable=True)]
    starts = counts.cumsum(0) - counts
    labels = y[by_class]
    rank = torch.arange(len(y)) - starts[labels]
    return by_class[rank < quotas[labels]]


def _allot(counts: list[int], total: int, fraction: float) -> list[int]:
    """How many samples each class gives; see `split`."""
    shares = [fraction * count for count in counts]
    quotas = [
        min(math.floor(share), max(count - 1, 0))
        for share, count in zip(shares, counts, strict=True)
    ]
    lacking = total - sum(quotas)
    by_remainder = sorted(range(len(counts)), key=lambda c: quotas[c] - shares[c])
    for c in by_remainder:  # largest first
        if lacking > 0 and quotas[c] < counts[c] - 1:
            quotas[c] += 1
            lacking -= 1
    return quotas
