"""Normal, uniform and truncated normal as three views of one standard-normal draw z.

| distribution | value                                             |
|--------------|---------------------------------------------------|
| normal       | mean + std · z                                    |
| uniform      | mid + half · erf(z/√2)                            |
| truncated    | mean + std · √2 · erfinv(erf(z/√2) · erf(cut/√2)) |

erf(z/√2) is uniform on (-1, 1), and the last line is the inverse of the truncated normal's
distribution function. So under one seed an entry that is large under one distribution is large
under each of them (common random numbers), and comparisons of distributions are paired. All work is
done in place, because a model's weights may be large.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fanin.errors import SpecError, quote
from fanin.seeds import standard_normal

MIN_CUT = 0.01

# The largest fp32 number below 1; erfinv(1) would be infinite. It lies at 5.3 standard deviations.
_BELOW_ONE = 1 - 2**-24


def normal(
    shape: tuple[int, ...], generator: torch.Generator, *, mean: float = 0.0, std: float
) -> Tensor:
    """N(mean, std²)."""
    z = standard_normal(shape, generator).mul_(std)
    return z.add_(mean) if mean else z


def uniform(
    shape: tuple[int, ...], generator: torch.Generator, *, low: float, high: float
) -> Tensor:
    """U[low, high]; both ends are possible, after rounding to fp32. Of equal ends nothing is
    drawn.
    """
    if low == high:
        return torch.full(shape, low, dtype=torch.float32, device="cpu")
    u = _draw_signed_uniform(shape, generator).mul_((high - low) / 2)
    middle = (high + low) / 2
    return u.add_(middle).clamp_(low, high) if middle else u


def truncated_normal(
    shape: tuple[int, ...], generator: torch.Generator, *, mean: float = 0.0, std: float, cut: float
) -> Tensor:
    """N(mean, std²) on the condition that the draw lies within `cut` standard deviations of the
    mean.
    """
    inside = min(math.erf(cut / math.sqrt(2)), _BELOW_ONE)
    w = (
        _draw_signed_uniform(shape, generator)
        .mul_(inside)
        .erfinv_()
        .mul_(math.sqrt(2))
        .clamp_(-cut, cut)
        .mul_(std)
    )
    return w.add_(mean) if mean else w


def truncated_std(cut: float) -> float:
    """The standard deviation of N(0, 1) truncated at ±cut: √(1 - 2·cut·φ(cut)/erf(cut/√2));
    0.87962566103424 at cut = 2.

    >>> round(truncated_std(2.0), 6)
    0.879626
    """
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))


def deviation(n: int, total: float, squares: float) -> float:
    """The standard deviation of n numbers of that sum and that sum of squares; 0 if there are
    none.
    """
    return math.sqrt(max(squares / n - (total / n) ** 2, 0.0)) if n else 0.0


def check_std(std: float, what: str) -> None:
    """Raise `SpecError` for a negative standard deviation."""
    if std < 0:
        raise SpecError(f"{what} must be at least 0, not {quote(std)}.")


def _draw_signed_uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return standard_normal(shape, generator).mul_(math.sqrt(0.5)).erf_()
