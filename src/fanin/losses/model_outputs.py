"""What a model returned: the tensor that a loss takes, and a loss that the model computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fanin.errors import FitError
from fanin.structure.forward_tracing import collect_tensors

_PREDICTIONS = ("logits", "prediction", "predictions", "pred", "sample", "last_hidden_state", "out")
"""Names of what a loss takes, in the order of preference, in records and mappings."""


def find_model_loss(result: Any) -> Tensor | None:
    """The ``.loss`` of a record or mapping, if it is one number."""
    loss = _get(result, "loss")
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point():
        return loss
    return None


def find_prediction(result: Any) -> Tensor:
    """The tensor that a loss takes: the output itself, what a record calls logits, or else the
    first floating-point tensor of at least one axis.

    Raises `FitError` if there is none.
    """
    if isinstance(result, Tensor) and _is_number(result):
        return result
    for name in _PREDICTIONS:
        found = _get(result, name)
        if isinstance(found, Tensor) and _is_number(found):
            return found
    for found in collect_tensors(result):
        if _is_number(found) and found.dim():
            return found
    what = str(result.dtype) if isinstance(result, Tensor) else type(result).__name__
    raise FitError(
        f"The model returned {what}, with no floating-point tensor in it. Expected "
        "an output that gradients can start from. Audit the part of the model before rounding or "
        "argmax, or give loss=, a function of the output."
    )


def _is_number(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _get(result: Any, name: str) -> Any:
    if isinstance(result, Tensor):
        return None
    if isinstance(result, Mapping):
        return result.get(name)
    return getattr(result, name, None)
