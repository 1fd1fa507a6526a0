"""From the moments of an activation to gains: forward, centred, backward, critical, and torch's."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from fanin.errors import SpecError, UnknownName, UsageError, quote
from fanin.gains.activation_functions import (
    ActivationLike,
    NamedActivation,
    UnnamedActivation,
    resolve_activation,
)
from fanin.gains.quadrature import Moments, find_slope_of_odd, integrate_moments

Direction = Literal["forward", "backward"]

MAX_DEPTH = 1000
"""`critical_gain` follows the second moment through this many layers."""


@dataclass(frozen=True)
class CriticalGain:
    """A gain at which signals neither explode nor die, the rule that it follows, and for how many
    layers it holds.
    """

    gain: float
    rule: str
    depth: int | None
    """Layers over which the second moment stays within [1/2, 2]; None: at any depth (see
    `critical_gain`).
    """


def moments(activation: ActivationLike, *, variance: float = 1.0) -> Moments:
    """E f(x), E f(x)² and E f'(x)² for x ~ N(0, variance), a number above 0; for a PReLU of several
    slopes, their average.

    Closed forms, or Gauss–Legendre quadrature in float64 over ±12 standard deviations (±36 if the
    ends matter), with edges of panels at every eighth of one and at x = 0, ±1, ±3, and panels cut
    again around other kinks. Accuracy 1e-10 relative to E |f|, E f² and E f'²; for functions that
    are computed in float32 or have a great many kinks, 1e-6. Derivatives are autograd's.

    The caller's module, its mode, torch's default dtype and random state stay as they are. What is
    named, or a module of torch, is computed once; other modules and functions each time.

    >>> moments("relu").second
    0.5

    Raises `UnknownName` for an unknown name or option, `SpecError` for an option or variance out of
    range, and `UsageError` for what is not elementwise (softmax, GLU, dropout), not differentiable,
    not finite, or has no finite moments. torch, Keras and JAX have no such function.
    """
    if (
        isinstance(variance, bool)
        or not isinstance(variance, (int, float))
        or not 0 < variance <= sys.float_info.max
    ):
        raise SpecError(f"variance must be a finite number above 0, not {quote(variance)}.")
    return _compute_moments(resolve_activation(activation), float(variance))


def gain(
    activation: ActivationLike, *, direction: Direction = "forward", center: bool = False
) -> float:
    """The factor on a weight's standard deviation 1/√fan that keeps a signal of unit variance
    through the activation.

    ``forward``
        1/√E f², with fan-in: keeps the second moment of pre-activations. √2 for ReLU, He et al.
        2015 (https://arxiv.org/abs/1502.01852).
    ``forward`` with `center`
        1/√(E f² − (E f)²), with fan-in, for weights whose mean over the inputs of each output is 0,
        so that the mean of f is not passed on. The γ of NF-nets, Brock et al. 2021
        (https://arxiv.org/abs/2101.08692): 1.7129 for ReLU.
    ``backward``
        1/√E f'², with fan-out: keeps the second moment of gradients. He et al. 2015, Schoenholz et
        al. 2017.

    Forward and backward agree for the identity and for (leaky, parametric) ReLU; they differ for
    every smooth activation. The table of values is in `fanin.gains`. That unit variance is kept
    does not say that a network returns to it: for gelu, silu, mish and hardswish a small excess
    grows from layer to layer, and a stack of 50 explodes without normalization.

    Differs from ``torch.nn.init.calculate_gain`` for tanh (there 5/3), sigmoid (1) and selu (3/4).
    Keras' and JAX' ``variance_scaling`` take scale = gain².

    >>> round(gain("relu"), 4), round(gain("tanh"), 4)
    (1.4142, 1.5925)
    >>> round(gain("relu", center=True), 4)
    1.7129

    Raises what `moments` does, `UsageError` for `center` with backward, and `SpecError` if the
    moment is 0, as that of a constant.
    """
    if direction not in get_args(Direction):
        raise UnknownName.suggest("direction", direction, get_args(Direction))
    if center and direction == "backward":
        raise UsageError(
            "center=True with direction=backward: centred weights drop the mean of f, and "
            "gradients do not meet f, only f'. "
            "Leave center out, or use direction=forward."
        )
    found = resolve_activation(activation)
    values = _compute_moments(found, 1.0)
    if direction == "backward":
        return _invert_root(values.slope2, "E f'²", found.name)
    if center:
        # A constant's variance is not exactly 0 after rounding.
        return _invert_root(
            values.variance if values.variance > 1e-12 * values.second else 0.0, "Var f", found.name
        )
    return _invert_root(values.second, "E f²", found.name)


def critical_gain(activation: ActivationLike) -> CriticalGain:
    """The gain for deep plain networks with zero biases, at the edge between signals that die and
    signals that explode.

    f odd, f'(0) ≠ 0 and |f(x)| ≤ |f'(0)·x| (tanh, softsign, hardtanh, sin, identity)
        1/|f'(0)|. The second moment falls towards its fixed point 0, where gradients are kept
        exactly. It falls algebraically in depth (as 1/(2·layer) for tanh, and not at all for the
        identity), not exponentially. Valid at any depth, so `depth` is None. For tanh this is 1,
        where the forward gain is 1.5925 and torch's 5/3: both are chaotic, so that gradients
        explode.
    otherwise
        1/√E f'(z)² at unit variance, which keeps gradients there. `depth` is the number of layers
        over which q ← gain² · E f(√q·z)² stays within [1/2, 2] from q = 1; None if it does for
        1000. ReLU maps q to q exactly: √2, at any depth. elu and selu settle at q = 0.73, where
        gradients grow by 3 % and 6 % a layer. If `depth` is small (sigmoid: 0, gelu: 6), no gain
        is enough for a deep plain network: normalize, or choose another activation.

    >>> critical_gain("tanh").gain
    1.0
    >>> critical_gain("gelu").depth
    6

    Sources: Poole et al. 2016 (https://arxiv.org/abs/1606.05340), Schoenholz et al. 2017
    (https://arxiv.org/abs/1611.01232), Hayou et al. 2019 (https://arxiv.org/abs/1902.06853). torch,
    Keras and JAX have no such function. Raises what `gain` does with direction=backward.
    """
    found = resolve_activation(activation)
    return (
        _find_cached_critical_gain(found)
        if isinstance(found, NamedActivation)
        else _find_critical_gain(found)
    )


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Exactly the values of ``torch.nn.init.calculate_gain``, for weights that must agree with
    torch's.

    linear, conv1d to conv3d, conv_transpose1d to conv_transpose3d and sigmoid: 1. tanh: 5/3. relu:
    √2. selu: 3/4. leaky_relu: √(2/(1 + param²)), `param` 0.01 unless given; the others ignore it,
    as in torch.

    >>> calculate_gain("tanh")
    1.6666666666666667

    The values for tanh and selu are empirical. Use instead ``gain("tanh")`` = 1.5925 to keep unit
    variance or ``critical_gain("tanh")`` = 1 for depth, ``gain("selu")`` = 1 for self-normalizing
    networks, ``gain("sigmoid")`` = 1.8462.

    Raises `UnknownName` for a name that torch does not know, and `SpecError` for a slope that is
    not a finite number (torch: ``ValueError``; it lets nan and inf pass).
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if (
            isinstance(slope, bool)
            or not isinstance(slope, (int, float))
            or not abs(slope) <= sys.float_info.max
        ):
            raise SpecError(
                "param of leaky_relu is its negative slope, a finite number such as 0.01, not "
                f"{quote(param)}."
            )
        return math.sqrt(2.0 / (1 + slope * slope))
    if not isinstance(nonlinearity, str) or nonlinearity not in _TORCH:
        raise UnknownName(
            f"torch.nn.init.calculate_gain does not know {quote(nonlinearity)}. It knows "
            f"{', '.join(_TORCH)} and leaky_relu. "
            f"Use fanin.gains.gain, which computes the gain of any activation."
        )
    return _TORCH[nonlinearity]


_LINEAR = (
    "linear",
    *(f"conv{kind}{dimensions}d" for kind in ("", "_transpose") for dimensions in (1, 2, 3)),
)
_TORCH = {
    **dict.fromkeys(_LINEAR, 1.0),
    "sigmoid": 1.0,
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,
}


def _compute_moments(found: NamedActivation | UnnamedActivation, variance: float) -> Moments:
    return (
        _compute_cached_moments(found, variance)
        if isinstance(found, NamedActivation)
        else _require_finite(integrate_moments(found, found.name, variance), found)
    )


@lru_cache(maxsize=4096)
def _compute_cached_moments(found: NamedActivation, variance: float) -> Moments:
    return _require_finite(
        found.compute_closed_form(variance) or integrate_moments(found, found.name, variance), found
    )


def _require_finite(values: Moments, found: NamedActivation | UnnamedActivation) -> Moments:
    if not all(map(math.isfinite, (values.mean, values.second, values.slope2))):
        raise SpecError(
            f"The moments of {found.name} are too large for float64: {values}. Use smaller options "
            "or variance."
        )
    return values


def _invert_root(moment: float, what: str, name: str) -> float:
    if moment <= 0:
        raise SpecError(
            f"{what} of {name} is 0, so no gain keeps the signal. Expected an activation that is "
            "not constant."
        )
    return 1 / math.sqrt(moment)


def _find_critical_gain(found: NamedActivation | UnnamedActivation) -> CriticalGain:
    slope = find_slope_of_odd(found, found.name)
    if slope is not None:
        return CriticalGain(
            1 / slope,
            "1/|f'(0)|: f is odd, and gradients are kept at the fixed point 0 of the second moment",
            None,
        )
    found_gain = _invert_root(_compute_moments(found, 1.0).slope2, "E f'²", found.name)
    return CriticalGain(
        found_gain,
        "1/√E f'(z)²: gradients are kept where pre-activations have variance 1",
        _count_layers(found, found_gain),
    )


_find_cached_critical_gain = lru_cache(maxsize=1024)(_find_critical_gain)


def _count_layers(found: NamedActivation | UnnamedActivation, gain: float) -> int | None:
    """Layers until the second moment leaves [1/2, 2] on its way from 1; None if it does not in
    `MAX_DEPTH`.
    """
    q = 1.0
    for layer in range(MAX_DEPTH):
        before, q = q, gain * gain * _compute_moments(found, q).second
        if not 0.5 <= q <= 2:
            return layer
        if abs(q - before) <= 1e-13 * before:
            return None  # a fixed point, up to rounding
    return None
