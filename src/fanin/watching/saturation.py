"""Where bounded activations are flat, told by what they put out.

The input may be gone: an activation that works in place has written over it. The slope f′ follows
from the output y = f(x) of each of these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fanin.diagnosis.probe.signal_recorder import FLAT

Mask = Callable[[Tensor, Sequence[Any], Mapping[str, Any]], Tensor]


def _read_bounds(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[float, float]:
    low = arguments[0] if arguments else keywords.get("min_val", -1.0)
    high = arguments[1] if len(arguments) > 1 else keywords.get("max_val", 1.0)
    return float(low), float(high)


def _find_clipped(y: Tensor, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Tensor:
    low, high = _read_bounds(arguments, keywords)
    return (y <= low) | (y >= high)


_FLAT: dict[str, Mask] = {
    "sigmoid": lambda y, arguments, keywords: y * (1 - y) < FLAT / 4,
    "tanh": lambda y, arguments, keywords: 1 - y.square() < FLAT,
    "softsign": lambda y, arguments, keywords: (1 - y.abs()).square() < FLAT,
    "hardtanh": _find_clipped,
    "hardsigmoid": lambda y, arguments, keywords: (y <= 0) | (y >= 1),
    "relu6": lambda y, arguments, keywords: y >= 6,
}
"""By name, where the slope is less than `FLAT` of its largest. ReLU6 is flat above only, since like
every ReLU it is off for half of its inputs.
"""


def find_flat(
    name: str, output: Tensor, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> Tensor | None:
    """Where an activation is flat, as a mask of its output; None if it is not bounded.

    Args:
        name: of the function, as `fanin.structure.function_kinds.normalize_name` gives it.
        output: what it put out.
        arguments: those of the call after the input.
        keywords: those of the call.
    """
    if name not in _FLAT:
        return None
    with torch.no_grad():
        return _FLAT[name](output.detach(), arguments, keywords)
