"""A user's initializer: LeCun's variance with the heavier tails of a Laplace distribution.

In a study, together with the initializers that it is compared with:

    initializer = ["lecun_normal", "examples/my_initializer.py:make(gain=1.5)"]

For one model:

    fanin.initialize(model, "examples/my_initializer.py:make", seed=0)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fanin import seeds


def make(tensor: Tensor, *, gain: float = 1.0, generator: torch.Generator, fan_in: float) -> None:
    """Fill a tensor with w = −b · sign(u) · log(1 − |u|), where b = gain / √(2 · fan_in).

    Then Var w = gain² / fan_in. u = erf(z/√2) is uniform on (−1, 1), and z is the normal draw that
    fanin's own initializers start from under the same seed, so a comparison with them is paired.
    Drawing directly, as in ``tensor.normal_(generator=generator)``, works too, but is not paired.
    """
    z = seeds.standard_normal(tuple(tensor.shape), generator)
    u = torch.erf(z / math.sqrt(2)).clamp(-1 + 1e-7, 1 - 1e-7)
    tensor.copy_(-gain / math.sqrt(2 * fan_in) * u.sign() * torch.log1p(-u.abs()))
