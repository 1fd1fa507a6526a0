"""Splitting samples into two parts by a random stream, class by class where there are classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fanin.errors import UsageError


def split(
    y: Tensor, *, fraction: float, stratified: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Indices (kept, held out), each sorted and int64: a partition of range(len(y)).

    ``fraction · n`` samples are held out, rounded, at least 1. Stratified by the class numbers `y`,
    class c gives ``fraction · n_c`` of its n_c samples, rounded by largest remainder so that the
    total is right (of equal remainders the lower class number first), and keeps at least one, even
    where the total then falls short. Raises `UsageError` where nothing can be held out.
    """
    if not 0 < fraction < 1:
        raise UsageError(
            f"The fraction of samples to hold out must lie between 0 and 1, not {fraction}."
        )
    n = len(y)
    total = max(1, math.floor(fraction * n + 0.5))
    shuffled = torch.randperm(n, generator=generator)
    held = (
        _take_by_class(shuffled, y, total, fraction)
        if stratified
        else shuffled[: min(total, n - 1)]
    )
    if not len(held):
        raise UsageError(
            f"None of these {n} samples can be held out: each class must keep at least one for "
            "training."
        )
    mask = torch.zeros(n, dtype=torch.bool)
    mask[held] = True
    return (~mask).nonzero().flatten(), mask.nonzero().flatten()


def _take_by_class(shuffled: Tensor, y: Tensor, total: int, fraction: float) -> Tensor:
    counts = torch.bincount(y)
    quotas = torch.tensor(_allot(counts.tolist(), total, fraction))
    by_class = shuffled[y[shuffled].argsort(stable=True)]
    starts = counts.cumsum(0) - counts
    labels = y[by_class]
    rank = torch.arange(len(y)) - starts[labels]
    return by_class[rank < quotas[labels]]


def _allot(counts: list[int], total: int, fraction: float) -> list[int]:
    shares = [fraction * count for count in counts]
    quotas = [
        min(math.floor(share), max(count - 1, 0))
        for share, count in zip(shares, counts, strict=True)
    ]
    lacking = total - sum(quotas)
    for c in sorted(
        range(len(counts)), key=lambda c: quotas[c] - shares[c]
    ):  # largest remainder first
        if lacking > 0 and quotas[c] < counts[c] - 1:
            quotas[c] += 1
            lacking -= 1
    return quotas
