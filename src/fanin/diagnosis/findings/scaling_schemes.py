"""The named rules for a weight's variance, and which of them a draw follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fanin.diagnosis.findings.weight_draws import Draw, DrawKind
from fanin.fans import Fans

_BELLS_AND_BOXES: tuple[DrawKind, ...] = ("normal", "uniform", "truncated")
_GAINS = (1.0, math.sqrt(2.0), 5 / 3)
"""Of a linear map, of ReLU, and of tanh in torch. Others are so many that some of them would fit
any number.
"""
FIXED = (1e-4, 1e-3, 0.005, 0.006, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Standard deviations that need no fan, as people write them."""


@dataclass(frozen=True)
class Scheme:
    """A rule for the variance, as a function of the fans."""

    name: str
    """For people: ``He (fan-out)``."""
    variance: Callable[[Fans], float]
    kinds: tuple[DrawKind, ...] = _BELLS_AND_BOXES
    spec: str = ""
    """The initializer of fanin that does the same."""

    def compute_std(self, fans: Fans) -> float:
        """The standard deviation; 0 if a fan is."""
        return math.sqrt(self.variance(fans)) if fans.fan_in and fans.fan_out else 0.0


XAVIER = Scheme("Xavier", lambda f: 2 / (f.fan_in + f.fan_out), spec="xavier_normal")
HE_IN = Scheme("He (fan-in)", lambda f: 2 / f.fan_in, spec="he_normal")
HE_OUT = Scheme("He (fan-out)", lambda f: 2 / f.fan_out, spec="he_normal(mode=fan_out)")
LECUN = Scheme("LeCun", lambda f: 1 / f.fan_in, spec="lecun_normal")
TORCH = Scheme("torch's default", lambda f: 1 / (3 * f.fan_in), ("uniform",))

FAN_SCHEMES = (XAVIER, HE_IN, HE_OUT, LECUN, TORCH)
"""The rules that people apply by a name, without a gain of their own."""


def list_followed(draw: Draw, fans: Fans, schemes: tuple[Scheme, ...]) -> list[Scheme]:
    """Those schemes that a draw follows within its sampling error."""
    return [
        scheme
        for scheme in schemes
        if draw.kind in scheme.kinds and draw.equals(scheme.compute_std(fans))
    ]


def is_explained(
    draw: Draw, fans: Fans, *, outward: bool = True, gains: Iterable[float] = ()
) -> bool:
    """Whether any usual rule with these fans and a usual gain, or a fixed standard deviation,
    explains a draw. `outward`: also rules of the fan-out. `gains`: others that suit the layer.
    """
    return any(draw.equals(std) for std in _list_usual_stds(draw, fans, outward, gains))


def _list_usual_stds(
    draw: Draw, fans: Fans, outward: bool, gains: Iterable[float]
) -> Iterator[float]:
    yield from FIXED
    used = [fans.fan_in, (fans.fan_in + fans.fan_out) / 2, *([fans.fan_out] if outward else [])]
    torch_gain = [math.sqrt(1 / 3)] if draw.kind == "uniform" else []
    for gain in (*_GAINS, *gains, *torch_gain):
        yield from (gain / math.sqrt(fan) for fan in used if fan)
