"""What a coordinate check found: sizes of signals by width, their slopes, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fanin.diagnosis.coordinate_table import format_table

Scaling = Literal["holds", "grows", "vanishes", "learns less", "learns more", "not finite"]
"""holds: neither. grows, vanishes: its size with the width. learns more, less: how much training
changes it."""

SCHEMA = 1
"""Of the record as JSON; it changes if an entry is removed or gets another meaning."""

_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
"""97.5 % quantiles of Student's t for 1 to 20 degrees of freedom."""

_FAULTS: tuple[Scaling, ...] = ("not finite", "grows", "learns more", "learns less")
"""What a check fails by, the worst first. A signal that is smaller in wider models at the start is
none: muP's logits are."""


@dataclass(frozen=True, kw_only=True)
class Slope:
    """By which power of the width a quantity grows: the mean over seeds, and its 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def fit(cls, widths: Sequence[int], sizes: Sequence[Sequence[float]]) -> Slope | None:
        """The least-squares slope of log size over log width, by seed; None if any size is zero or
        not finite.

        Args:
            sizes: by seed, then by width.
        """
        if not all(math.isfinite(one) and one > 0 for row in sizes for one in row):
            return None
        places = [math.log(width) for width in widths]
        middle = sum(places) / len(places)
        spread = sum((place - middle) ** 2 for place in places)
        slopes = [
            sum((place - middle) * math.log(size) for place, size in zip(places, row, strict=True))
            / spread
            for row in sizes
        ]
        mean = sum(slopes) / len(slopes)
        freedom = len(slopes) - 1
        if freedom < 1:
            return cls(mean=mean, low=-math.inf, high=math.inf)
        deviation = math.sqrt(sum((slope - mean) ** 2 for slope in slopes) / freedom)
        quantile = _T95[freedom - 1] if freedom <= len(_T95) else 1.98
        half = quantile * deviation / math.sqrt(len(slopes))
        return cls(mean=mean, low=mean - half, high=mean + half)

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


@dataclass(frozen=True, kw_only=True)
class LayerCoordinates:
    """One layer's outputs over widths."""

    layer: str
    sizes: tuple[tuple[tuple[float, ...], ...], ...]
    """Mean |x| by width, then seed, then step from 0, before the first update."""
    changes: tuple[tuple[tuple[float, ...], ...], ...]
    """Mean |x(step) - x(0)|, alike."""
    first: Slope | None
    """Of the sizes before the first update; None if they are zero or not finite."""
    last: Slope | None
    """Of the sizes after the last one."""
    change: Slope | None
    """Of the changes after the last one."""
    scaling: Scaling


@dataclass(frozen=True, kw_only=True)
class CoordinateCheck:
    """What a coordinate check found."""

    widths: tuple[int, ...]
    initializer: str
    optimizer: str
    lr: float
    steps: int
    seeds: int
    tolerance: float
    layers: tuple[LayerCoordinates, ...]
    """In the order in which they are first called; the model's output last, if no layer's."""

    @property
    def holds(self) -> bool:
        """Whether no layer grows with the width, or learns more or less because of it."""
        return not any(one.scaling in _FAULTS for one in self.layers)

    @property
    def verdict(self) -> str:
        """The verdict in a sentence or two."""
        span = f"width {self.widths[0]} to {self.widths[-1]}"
        faults = {
            kind: [one.layer for one in self.layers if one.scaling == kind] for kind in _FAULTS
        }
        told = [_describe_fault(kind, layers) for kind, layers in faults.items() if layers]
        if told:
            return f"The scaling does not hold from {span}: {'; '.join(told)}."
        smaller = [one.layer for one in self.layers if one.scaling == "vanishes"]
        note = (
            f" {_list_some(smaller)} {'is' if len(smaller) == 1 else 'are'} smaller in wider "
            "models, which is no fault as long as training changes them alike."
            if smaller
            else ""
        )
        return (
            f"The scaling holds from {span}: no layer grows with the width, and training changes "
            f"every layer alike, up to the power {self.tolerance:g} of the width.{note}"
        )

    def __getitem__(self, layer: str) -> LayerCoordinates:
        """The coordinates of one layer."""
        for one in self.layers:
            if one.layer == layer:
                return one
        raise KeyError(layer)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; what is not finite as text."""
        plain: dict[str, Any] = _make_plain(asdict(self))
        return {"schema": SCHEMA, "holds": self.holds, "verdict": self.verdict, **plain}

    def __str__(self) -> str:
        """The verdict, and a row per layer."""
        rows = [
            (one.layer, _format_slope(one.last), _format_slope(one.change), one.scaling)
            for one in self.layers
        ]
        setting = (
            f"{self.initializer}, {self.optimizer} at {self.lr:g}, widths "
            f"{', '.join(map(str, self.widths))}, after {self.steps} steps, {self.seeds} seeds; "
            "slopes with 95 % intervals"
        )
        return format_table(self.verdict, rows, setting)


def judge(last: Slope | None, change: Slope | None, *, finite: bool, tolerance: float) -> Scaling:
    """What the slopes of one layer's size and change after the last step say. A slope counts if its
    whole interval lies beyond the tolerance.
    """
    if not finite:
        return "not finite"
    if last is not None and last.low > tolerance:
        return "grows"
    if change is not None and change.low > tolerance:
        return "learns more"
    if change is not None and change.high < -tolerance:
        return "learns less"
    if last is not None and last.high < -tolerance:
        return "vanishes"
    return "holds"


def _format_slope(slope: Slope | None) -> str:
    return "–" if slope is None else str(slope)


def _describe_fault(kind: Scaling, layers: Sequence[str]) -> str:
    several = len(layers) > 1
    words = {
        "not finite": "have numbers that are not finite"
        if several
        else "has numbers that are not finite",
        "grows": "grow with the width" if several else "grows with the width",
        "learns more": "are changed by training the more the wider the model is"
        if several
        else "is changed by training the more the wider the model is",
        "learns less": "are changed by training the less the wider the model is"
        if several
        else "is changed by training the less the wider the model is",
    }
    return f"{_list_some(layers)} {words[kind]}"


def _list_some(layers: Sequence[str]) -> str:
    more = f" and {len(layers) - 4} more" if len(layers) > 4 else ""
    return ", ".join(layers[:4]) + more


def _make_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _make_plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_make_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
