"""Norms of tensors, also of those that several processes hold together (DTensor)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def compute_norms(tensors: Sequence[Tensor]) -> list[float]:
    """The Euclidean norm of each tensor, fetched from each device at once.

    The norm of a sharded tensor is that of the whole: its processes add up their parts, so all of
    them have to call this with the same tensors in the same order.
    """
    norms = [0.0] * len(tensors)
    by_device: dict[torch.device, list[int]] = {}
    for place, tensor in enumerate(tensors):
        by_device.setdefault(tensor.device, []).append(place)
    for places in by_device.values():
        found = torch.stack([_compute_norm(tensors[place]) for place in places]).tolist()
        for place, norm in zip(places, found, strict=True):
            norms[place] = float(norm)
    return norms


def gather_shards(tensor: Any) -> Tensor:
    """The whole tensor of which each process holds a part; any other as it is."""
    whole: Tensor = tensor.full_tensor() if is_shard(tensor) else tensor
    return whole


def is_shard(tensor: Tensor) -> bool:
    """Whether a tensor is one of ``torch.distributed.tensor``, as `fully_shard` makes them."""
    return "DTensor" in (type(tensor).__name__, type(tensor.data).__name__)


def _compute_norm(tensor: Tensor) -> Tensor:
    """In float32 at least: the squares of half precision would overflow."""
    values = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    if is_shard(values):
        return gather_shards(torch.linalg.vector_norm(values.float())).float()
    is_double = values.dtype == torch.float64  # which torch does not narrow by itself
    norm: Tensor = torch.linalg.vector_norm(values, dtype=None if is_double else torch.float32)
    return norm.float()
