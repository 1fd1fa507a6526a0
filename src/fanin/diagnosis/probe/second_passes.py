"""Passes on changed inputs: what an output depends on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fanin.losses import find_prediction
from fanin.structure.forward_tracing import split_batch
from fanin.structure.model_state import preserve_model


def predict(model: nn.Module, batch: Any) -> Tensor:
    """The output in eval mode, without gradients; the model is left unchanged."""
    args, kwargs = split_batch(batch)
    with torch.inference_mode(False), preserve_model(model):
        model.eval()
        found = find_prediction(model(*args, **kwargs)).detach()
        return torch.view_as_real(found) if found.is_complex() else found


def change_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A batch with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) is dict:
        return {key: change_tensors(item, change) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(change_tensors(item, change) for item in value)
    return value
