"""Moments of an elementwise function and of its derivative under a normal distribution, by adaptive
Gauss–Legendre quadrature.

The range of ±12 standard deviations, which leaves out a mass of 4e-33, is divided into panels of an
eighth of a standard deviation, with further edges at the kinks that activations usually have. A
panel is halved again if its two halves do not add up to the whole. Kinks at other places and fast
oscillations therefore cost time, not accuracy.

If an integrand is not negligible at ±12, the range is ±36 instead. This happens for functions that
grow fast, and for functions that are zero almost everywhere, such as max(x − 3, 0) under a variance
of 0.1. All computation is in float64 on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from fanin import seeds
from fanin.errors import UsageError, quote

ElementwiseFunction = Callable[[Tensor], Tensor]

_RANGE, _WIDE_RANGE = 12, 36  # the density at 36 is 1e-282 of its peak: float64 still holds it
_KINKS = (-3.0, -1.0, 0.0, 1.0, 3.0)

# Gauss's points on [-1, 1], and two next to the ends, where a jump would be missed between the end
# and the first point: there the function is compared with the polynomial through the 16 others.
# What that hides is at most _GAP of half the panel.
_GAUSS, _WEIGHTS = legendre.leggauss(16)
_ENDS = np.array([1e-9 - 1, 1 - 1e-9])
_AT_ENDS = torch.from_numpy(
    np.linalg.solve(legendre.legvander(_GAUSS, 15).T, legendre.legvander(_ENDS, 15).T)
)
_POINTS = torch.from_numpy(np.concatenate([_GAUSS, _ENDS]))
_GAP = float(1 + _GAUSS[0])

# Relative to the whole integral: what a panel may be wrong by, and what all may be wrong by when
# the cutting has to end.
_PANEL_ERROR, _ALLOWED_ERROR = 1e-14, 1e-6
_MAX_CUTS, _MAX_PANELS = 44, 8192


@dataclass(frozen=True)
class Moments:
    """Of f(x) for x ~ N(0, variance): mean = E f, second = E f², slope2 = E f'² (of the
    derivative).
    """

    mean: float
    second: float
    slope2: float

    @property
    def variance(self) -> float:
        """Var f = E f² − (E f)²."""
        return self.second - self.mean * self.mean


def integrate_moments(function: ElementwiseFunction, name: str, variance: float) -> Moments:
    """Compute the moments of `function` under N(0, variance); errors call the function `name`.

    Raises `UsageError` if the function is not elementwise, not differentiable or not finite, or
    has no finite moments.
    """
    scale = math.sqrt(variance)

    def integrand(x: Tensor) -> Tensor:
        return _weigh_by_density(function, name, x, scale)

    with _isolate():
        edges = _make_edges(_RANGE, scale)
        _check_elementwise(function, name, edges)
        if not _vanishes_at_ends(integrand, edges):
            edges = _make_edges(_WIDE_RANGE, scale)
            _require_vanishing_ends(integrand, name, edges)
        mean, second, slope2 = _integrate(integrand, name, edges).tolist()
    return Moments(mean, second, slope2)


def find_slope_of_odd(function: ElementwiseFunction, name: str) -> float | None:
    """f'(0) of an odd function that is nowhere further from 0 than its tangent, |f(x)| ≤ |f'(0)·x|;
    None for any other.
    """
    x = torch.arange(1, 1201, dtype=torch.float64, device="cpu") / 100
    with _isolate():
        right, left = _evaluate(function, name, x)[0], _evaluate(function, name, -x)[0]
        # Not at 0 itself, where relu(x) − relu(−x) has the derivative 0 in autograd.
        slope = (
            _evaluate(function, name, torch.full((1,), 1e-20, dtype=torch.float64, device="cpu"))[1]
            .abs()
            .item()
        )
    tolerance = 1e-9 * right.abs().max()
    odd = (right + left).abs().max() <= tolerance
    below_tangent = (right.abs() - slope * x <= tolerance).all()
    return slope if slope > 0 and odd and below_tangent else None


@contextmanager
def _isolate() -> Iterator[None]:
    """Enable autograd whatever mode the caller is in, and preserve torch's global random state."""
    with torch.inference_mode(False), torch.enable_grad(), seeds.preserve_torch_state():
        yield


def _make_edges(reach: int, scale: float) -> Tensor:
    """The edges of the first panels: every eighth of a standard deviation, and common kinks."""
    edges = torch.arange(-8 * reach, 8 * reach + 1, dtype=torch.float64, device="cpu") / 8 * scale
    kinks = torch.tensor(
        [kink for kink in _KINKS if abs(kink) < reach * scale], dtype=torch.float64, device="cpu"
    )
    panels: Tensor = torch.unique(torch.cat([edges, kinks]))
    return panels


def _vanishes_at_ends(integrand: Callable[[Tensor], Tensor], edges: Tensor) -> bool:
    """Whether the first and the last panel are negligible in each of the three integrals."""
    whole, _ = _integrate_panels(integrand, edges[:-1], edges[1:])
    size = whole.abs().sum(1, keepdim=True)
    return not (whole[:, [0, -1]].abs() > 1e-9 * size).any()


def _require_vanishing_ends(
    integrand: Callable[[Tensor], Tensor], name: str, edges: Tensor
) -> None:
    with suppress(UsageError):  # a function that overflows in the wide range
        if _vanishes_at_ends(integrand, edges):
            return
    raise UsageError(
        f"{name} grows too fast for finite moments under this variance. Expected f(x)² to grow "
        "slower than exp(x²/2)."
    )


def _integrate(integrand: Callable[[Tensor], Tensor], name: str, edges: Tensor) -> Tensor:
    """The three integrals, shape (3,), from panels that are halved until they no longer change."""
    left, right = edges[:-1], edges[1:]
    whole, _ = _integrate_panels(integrand, left, right)
    size = whole.abs().sum(1, keepdim=True)
    total = torch.zeros(3, dtype=torch.float64, device="cpu")
    for _ in range(_MAX_CUTS):
        middle = (left + right) / 2
        halves, missed = _integrate_panels(
            integrand, torch.cat([left, middle]), torch.cat([middle, right])
        )
        (lower, upper), (missed_below, missed_above) = (
            halves.chunk(2, dim=1),
            missed.chunk(2, dim=1),
        )
        wrong = (lower + upper - whole).abs() + missed_below + missed_above
        again = (wrong > _PANEL_ERROR * size).any(0)
        total += (lower + upper)[:, ~again].sum(1)
        left, right = (
            torch.cat([left[again], middle[again]]),
            torch.cat([middle[again], right[again]]),
        )
        whole = torch.cat([lower[:, again], upper[:, again]], dim=1)
        if not 0 < len(left) <= _MAX_PANELS:
            break
    if (wrong[:, again].sum(1) > _ALLOWED_ERROR * size[:, 0]).any():
        raise UsageError(
            f"The moments of {name} do not converge. Expected a function with few jumps and finite "
            "E f² and E f'²."
        )
    return total + whole.sum(1)


def _integrate_panels(
    integrand: Callable[[Tensor], Tensor], left: Tensor, right: Tensor
) -> tuple[Tensor, Tensor]:
    """The integrals over each panel, shape (3, panels), and what jumps at its ends may hide."""
    half = (right - left) / 2
    values = integrand(((left + right) / 2).unsqueeze(-1) + half.unsqueeze(-1) * _POINTS)
    inside, ends = values[..., :-2], values[..., -2:]
    missed = (ends - inside @ _AT_ENDS).abs().sum(-1) * (_GAP * half)
    return inside @ torch.from_numpy(_WEIGHTS) * half, missed


def _weigh_by_density(function: ElementwiseFunction, name: str, x: Tensor, scale: float) -> Tensor:
    """f, f² and f'² times the density at x, shape (3, *x.shape)."""
    y, slope = (values.view_as(x) for values in _evaluate(function, name, x.flatten()))
    density = torch.exp((x / scale).square() / -2) / (scale * math.sqrt(math.tau))
    return torch.stack([y, y * y, slope * slope]) * density


def _evaluate(function: ElementwiseFunction, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) and f'(x) at a float64 x of shape (n,), in float64."""
    leaf = x.detach().clone().requires_grad_()
    try:
        y = function(leaf.clone())  # a copy, for functions that work in place
    except Exception as error:  # of a function that users wrote
        raise UsageError(
            f"{name} cannot be computed for a float64 tensor of shape (n,): {error}"
        ) from error
    if not isinstance(y, Tensor) or y.shape != x.shape or not y.is_floating_point():
        got = f"{y.dtype} of shape {tuple(y.shape)}" if isinstance(y, Tensor) else quote(y)
        raise UsageError(
            f"{name} is not an elementwise activation: expected as many numbers as it is given, "
            f"received {got}."
        )
    slope = _differentiate(y.double(), name, leaf)
    y = y.detach().double()
    if not (y.isfinite().all() and slope.isfinite().all()):
        raise UsageError(
            f"{name} or its derivative is not finite everywhere. Expected a function that is "
            "defined for every number."
        )
    return y, slope


def _differentiate(y: Tensor, name: str, leaf: Tensor) -> Tensor:
    slope: Tensor | None = None
    if y.requires_grad:
        try:
            (slope,) = torch.autograd.grad(y.sum(), leaf, allow_unused=True)
        except RuntimeError as error:
            raise UsageError(
                f"{name} cannot be differentiated: {error}. Write it in operations of torch."
            ) from error
    if slope is None and (y != y[0]).any():
        raise UsageError(
            f"{name} cannot be differentiated: autograd finds no way back from f(x) to x. Write it "
            "in operations of torch."
        )
    return torch.zeros_like(leaf) if slope is None else slope


def _check_elementwise(function: ElementwiseFunction, name: str, edges: Tensor) -> None:
    """Raise unless f gives a number the same value in other company; so softmax, normalization and
    dropout are found.
    """
    x = (edges[:-1] + edges[1:]) / 2
    third = len(x) // 3
    y, again = (
        _evaluate(function, name, x)[0][:third],
        _evaluate(function, name, x[:third].flip(0))[0].flip(0),
    )
    if not torch.allclose(y, again, rtol=1e-5, atol=1e-7 * y.abs().max().item()):
        raise UsageError(
            f"{name} is not an elementwise activation: its value depends on other elements, on "
            "their order or on chance. "
            f"Expected f(x) of each number alone; put dropout into eval mode."
        )
