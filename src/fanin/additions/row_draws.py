"""New rows of a table, drawn like the rows that are there: their mean, and their covariance."""

from __future__ import annotations

import torch
from torch import Tensor

from fanin import seeds

_CHUNK = 2**24
"""So many random numbers are held at once."""


def draw_like_rows(rows: Tensor, count: int, scale: float, seed: int, name: str) -> Tensor:
    """`count` new rows from N(μ, scale·Σ), with μ and Σ of `rows` (n, d): fp32 on the CPU.

    A row is μ + √(scale/n)·zᵀ(rows − μ) with z ~ N(0, I_n): a random mixture of how the old rows
    deviate from their mean. It has exactly that distribution, also where Σ is singular, and costs
    n·d per row, where a factorization of Σ costs n·d² + d³. Row i has its own stream, so that it
    does not depend on `count`.
    """
    old = rows.detach().to("cpu", torch.float32)
    mean = old.double().mean(0).float()
    made = mean.repeat(count, 1)
    if not scale:
        return made
    deviations = old - mean
    factor = (scale / len(old)) ** 0.5
    step = max(1, _CHUNK // len(old))
    for start in range(0, count, step):
        stop = min(start + step, count)
        z = torch.stack([_draw(len(old), seed, name, index) for index in range(start, stop)])
        made[start:stop].addmm_(z, deviations, alpha=factor)
    return made


def _draw(size: int, seed: int, name: str, index: int) -> Tensor:
    return seeds.standard_normal((size,), seeds.make_generator(seed, "added row", name, index))
