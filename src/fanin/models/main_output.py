"""The main output of a model that returns several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fanin.errors import FitError

MAIN_OUTPUTS = ("logits", "output")
"""The names of the main output of a model that returns a mapping."""


def pick_output(outputs: Any) -> Tensor:
    """The output that metrics and the task's loss take, of a model that returns several.

    It is the tensor itself, the entry ``logits`` or ``output`` of a mapping, or the first of
    several.

    Raises `FitError` if that is not a tensor.
    """
    if isinstance(outputs, Tensor):
        return outputs
    first: object = None
    if isinstance(outputs, Mapping):
        named = [outputs[name] for name in MAIN_OUTPUTS if name in outputs]
        first = next(iter((*named, *outputs.values())), None)
    elif isinstance(outputs, (tuple, list)):
        first = next(iter(outputs), None)
    if isinstance(first, Tensor):
        return first
    raise FitError(
        f"The model returned a {type(outputs).__name__}, in which fanin finds no output to measure."
        f" Return a tensor, several with the main one first, or a dict with "
        f"{' or '.join(MAIN_OUTPUTS)}."
    )
