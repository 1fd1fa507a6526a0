"""Embeddings that are looked up by position, told from those of tokens by their indices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fanin.structure import model_state
from fanin.structure.forward_tracing import Batch, split_batch


def find_position_tables(model: nn.Module, batch: Batch) -> frozenset[str]:
    """The embeddings whose indices count up by one along the last axis, alike in every sample.

    One forward pass on the batch, in eval mode; the model is left unchanged. A sequence of one
    token tells nothing, and neither does a pass that fails.
    """
    tables = {
        path: module for path, module in model.named_modules() if isinstance(module, nn.Embedding)
    }
    counts: dict[str, bool] = {}
    handles = [
        module.register_forward_pre_hook(_make_hook(path, counts))
        for path, module in tables.items()
    ]
    args, kwargs = split_batch(batch)
    try:
        with model_state.preserve_model(model):
            model.eval()
            model(*args, **kwargs)
    except Exception:  # what is known so far is known
        return frozenset()
    finally:
        for handle in handles:
            handle.remove()
    return frozenset(path for path, found in counts.items() if found)


def _make_hook(path: str, counts: dict[str, bool]) -> Any:
    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            counts[path] = counts.get(path, True) and _is_counting(args[0])

    return note


def _is_counting(indices: Tensor) -> bool:
    if indices.dim() == 0 or indices.shape[-1] < 2 or indices.is_floating_point():
        return False
    steps = indices.diff(dim=-1)
    alike = indices.reshape(-1, indices.shape[-1])
    return bool((steps == 1).all()) and bool(torch.equal(alike, alike[:1].expand_as(alike)))
