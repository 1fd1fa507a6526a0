"""What is known in theory of the numbers that one node puts out, and of the gradient at them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

NORMAL_SHARE = 0.25
"""How much of a sum's variance must be normal for E f² to be known: a rectified stream to which
three branches of its size were added is off by 3 % at most."""
TINY = 1e-300
"""Second moments below it count as 0: their logarithm has no meaning in float64."""


@dataclass(frozen=True, kw_only=True)
class SignalMoments:
    """The numbers of a node over units, places and samples."""

    mean: float
    second: float
    """q, the second moment."""
    difference: float | None
    """E (x₁ − x₂)²/2 of the same number for two samples: q·(1 − c). None if not known."""
    drift: float = 0.0
    """The variance of ln q over draws of the weights, up to this node's own units."""
    own: float = 0.0
    """The variance of ln of a mean of squares over this node's own units."""
    width: int = 1
    """Over how many units the mean is taken."""
    normal: bool = False
    """Whether the numbers of one sample are about normal."""
    origins: int = 0
    """The layers and inputs that it was made by, as bits: what shares none is independent."""
    start: int = 0
    """The node that the prediction starts from, where the numbers were measured."""

    @property
    def variance(self) -> float:
        """Over the units of one sample, without their mean."""
        return max(self.second - self.mean * self.mean, 0.0)

    @property
    def spread(self) -> float:
        """The variance of ln q that finite width allows."""
        return self.drift + self.own

    def scale(self, factor: float) -> SignalMoments:
        """Every number multiplied by `factor`."""
        square = factor * factor
        return replace(
            self,
            mean=self.mean * factor,
            second=self.second * square,
            difference=None if self.difference is None else self.difference * square,
        )

    def thin(self, share: float) -> SignalMoments:
        """Second moments multiplied by `share`, as by dropout, whose masks differ by sample."""
        gap = self.difference
        return replace(
            self,
            second=self.second * share,
            difference=None if gap is None else gap + (share - 1) * self.second,
        )

    def shift(self, mean: float, second: float, independent: int = 0) -> SignalMoments:
        """A constant tensor added, of this mean and second moment."""
        return replace(
            self,
            mean=self.mean + mean,
            second=self.second + 2 * self.mean * mean + second,
            origins=self.origins | independent,
        )


def add_moments(parts: Sequence[SignalMoments]) -> SignalMoments | None:
    """The sum of independent signals; None if two share an origin."""
    total = parts[0]
    for part in parts[1:]:
        if total.origins & part.origins:
            return None
        second = total.second + part.second + 2 * total.mean * part.mean
        shares = [one.second / second if second > TINY else 0.0 for one in (total, part)]
        total = SignalMoments(
            mean=total.mean + part.mean,
            second=second,
            difference=None
            if total.difference is None or part.difference is None
            else total.difference + part.difference,
            drift=shares[0] ** 2 * total.drift + shares[1] ** 2 * part.drift,
            own=shares[0] ** 2 * total.own + shares[1] ** 2 * part.own,
            width=max(total.width, part.width),
            normal=_is_normal(total, part),
            origins=total.origins | part.origins,
            start=max(total.start, part.start),
        )
    return total


def _is_normal(first: SignalMoments, second: SignalMoments) -> bool:
    if first.normal and second.normal:
        return True
    normal = sum(one.variance for one in (first, second) if one.normal)
    return normal > NORMAL_SHARE * (first.variance + second.variance)


def multiply_moments(first: SignalMoments, second: SignalMoments) -> SignalMoments | None:
    """The product of two independent signals; None if they share an origin."""
    if first.origins & second.origins:
        return None
    q = first.second * second.second
    difference = None
    if first.difference is not None and second.difference is not None:
        met = (first.second - first.difference) * (second.second - second.difference)
        difference = max(q - met, 0.0)
    return SignalMoments(
        mean=first.mean * second.mean,
        second=q,
        difference=difference,
        drift=first.drift + second.drift,
        own=first.own + second.own,
        width=min(first.width, second.width),
        origins=first.origins | second.origins,
        start=max(first.start, second.start),
    )


def mix_moments(parts: Sequence[SignalMoments], sizes: Sequence[int]) -> SignalMoments:
    """Signals beside one another in one tensor, as ``cat`` puts them."""
    total = max(sum(sizes), 1)
    shares = [size / total for size in sizes]
    second = _average([one.second for one in parts], shares)
    weights = [
        share * one.second / second if second > TINY else 0.0
        for one, share in zip(parts, shares, strict=True)
    ]
    gaps = [one.difference for one in parts]
    known = [gap for gap in gaps if gap is not None]
    origins = 0
    for one in parts:
        origins |= one.origins
    return SignalMoments(
        mean=_average([one.mean for one in parts], shares),
        second=second,
        difference=_average(known, shares) if len(known) == len(gaps) else None,
        drift=_average([one.drift for one in parts], [weight**2 for weight in weights]),
        own=_average([one.own for one in parts], [weight**2 for weight in weights]),
        width=max(one.width for one in parts),
        normal=are_alike(parts) and all(one.normal for one in parts),
        origins=origins,
        start=max(one.start for one in parts),
    )


def are_alike(parts: Sequence[SignalMoments]) -> bool:
    """Whether signals have about the same size."""
    return max(one.second for one in parts) <= 1.5 * min(one.second for one in parts)


def _average(values: Sequence[float], shares: Sequence[float]) -> float:
    return sum(value * share for value, share in zip(values, shares, strict=True))


@dataclass(frozen=True, kw_only=True)
class GradientMoments:
    """The gradient at the numbers of a node."""

    second: float
    drift: float = 0.0
    own: float = 0.0
    doubt: float = 0.0
    """What theory may be off by, in ln of `second`: alike in every layer, so that it adds up."""
    start: int = 0
    """The node that the prediction starts from, on the way back."""

    @property
    def spread(self) -> float:
        """The variance of the logarithm of `second` that finite width allows."""
        return self.drift + self.own

    @property
    def uncertainty(self) -> float:
        """The same with what theory may be off by."""
        return self.spread + self.doubt**2

    def scale(self, square: float) -> GradientMoments:
        """The second moment multiplied."""
        return replace(self, second=self.second * square)


def add_gradients(parts: Sequence[GradientMoments]) -> GradientMoments:
    """The gradients that come back from several users add up, and are independent in theory."""
    second = sum(one.second for one in parts)
    shares = [(one.second / second if second > TINY else 0.0) ** 2 for one in parts]
    return GradientMoments(
        second=second,
        drift=_average([one.drift for one in parts], shares),
        own=_average([one.own for one in parts], shares),
        doubt=max(one.doubt for one in parts),
        start=min(one.start for one in parts),
    )


def take_log(second: float) -> float:
    """ln of a second moment; that of `TINY` for 0."""
    return math.log(max(second, TINY))
