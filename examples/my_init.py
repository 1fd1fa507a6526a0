"""A newcomer: He's variance on a random share of the connections, the others start at zero.

Compare it with the six initializers of the built-in study `quick`, whose results come with fanin,
so that only the newcomer is trained:

    fanin compare examples/my_init.py:MyInit --against quick
    fanin compare "examples/my_init.py:MyInit(keep=0.1)" --against quick --only data=digits

In Python:

    comparison = fanin.compare("examples/my_init.py:MyInit", against="quick")
    print(comparison)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fanin import seeds


def MyInit(  # noqa: N802
    tensor: Tensor, *, keep: float = 0.5, generator: torch.Generator, fan_in: float
) -> None:
    """Fill a tensor with w = m · z · √(2 / (keep · fan_in)), m = 1 with probability keep, else 0.

    Var w = 2 / fan_in, as He's. z is the normal draw that fanin's own initializers start from under
    the same seed, so that differences from them are paired as closely as possible.
    """
    z = seeds.standard_normal(tuple(tensor.shape), generator)
    mask = torch.rand(tensor.shape, generator=generator) < keep
    tensor.copy_(mask * z * math.sqrt(2 / (keep * fan_in)))
