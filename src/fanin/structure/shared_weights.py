"""Parameters that several layers share, and distinct ones that hold equal values."""

from __future__ import annotations

import hashlib
from collections.abc import Set

import torch
from torch import Tensor, nn

from fanin.structure.layer_names import find_owner
from fanin.structure.wrappers import unwrap_name

_PREFIX = 256
"""Only weights that begin with the same numbers are compared as a whole."""


def find_ties(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """The bare names of each parameter that several names mean."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(unwrap_name(model, name))
    return tuple(
        unique for group in names.values() if len(unique := tuple(dict.fromkeys(group))) > 1
    )


def find_clones(model: nn.Module, layers: Set[str]) -> tuple[tuple[str, ...], ...]:
    """The bare names of distinct weights of these modules that hold the same numbers, such as those
    of layers that were copied. Constant weights are none, nor are parameters of one axis.
    """
    alike: dict[tuple[object, ...], list[tuple[str, Tensor]]] = {}
    for name, parameter in model.named_parameters():
        if find_owner(name) not in layers:
            continue
        values = parameter.detach()
        if type(values) is Tensor and values.dim() >= 2 and not values.is_meta and _vary(values):
            key = values.shape, values.dtype, _hash_values(values.flatten()[:_PREFIX])
            alike.setdefault(key, []).append((unwrap_name(model, name), values))
    return tuple(group for same in alike.values() if len(same) > 1 for group in _group(same))


def _group(weights: list[tuple[str, Tensor]]) -> list[tuple[str, ...]]:
    names: dict[bytes, list[str]] = {}
    for name, values in weights:
        names.setdefault(_hash_values(values), []).append(name)
    return [tuple(group) for group in names.values() if len(group) > 1]


def _vary(values: Tensor) -> bool:
    flat = values.flatten()
    return flat.numel() > 1 and bool((flat != flat[0]).any())


def _hash_values(values: Tensor) -> bytes:
    raw = values.cpu().contiguous().view(-1).view(torch.uint8)
    return hashlib.blake2b(raw.numpy().data, digest_size=16).digest()
