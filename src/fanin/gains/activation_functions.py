"""Activations as users give them: a name or spec, a module, or any elementwise function of tensors.

Names and options are those of torch's modules and functions, and so are defaults: leaky_relu has
slope 0.01 (Keras: 0.3), gelu is the exact form x·Φ(x) (JAX defaults to the tanh approximation). A
module of torch is the same as its spec: ``nn.ELU(0.5)`` is ``elu(alpha=0.5)``.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import specs
from fanin.errors import UnknownName, UsageError, quote
from fanin.gains import closed_form
from fanin.gains.quadrature import ElementwiseFunction, Moments

ActivationLike = str | nn.Module | ElementwiseFunction


@dataclass(frozen=True)
class NamedActivation:
    """An activation of the table with its options; hashable, to compute its moments once."""

    name: str
    options: Any

    def __call__(self, x: Tensor) -> Tensor:
        """f(x)."""
        return _TABLE[self.name].function(x, **vars(self.options))

    def compute_closed_form(self, variance: float) -> Moments | None:
        """The moments in closed form, if there is one."""
        return _TABLE[self.name].formula(variance, **vars(self.options))


@dataclass(frozen=True)
class UnnamedActivation:
    """Any other elementwise function. Nothing of it is kept: what it computes may change."""

    name: str
    function: ElementwiseFunction

    def __call__(self, x: Tensor) -> Tensor:
        """f(x)."""
        return self.function(x)


def resolve_activation(activation: object) -> NamedActivation | UnnamedActivation:
    """The activation that is meant; a module of another kind than torch's is copied, to the CPU and
    in float64.

    Raises `UnknownName` for an unknown name or option, `SpecError` for an option of the wrong type,
    `UsageError` for what is no activation at all.
    """
    if isinstance(activation, str):
        return _resolve_text(activation)
    if isinstance(activation, nn.Module):
        return _resolve_module(activation)
    if callable(activation) and not isinstance(activation, type):
        return UnnamedActivation(getattr(activation, "__name__", quote(activation)), activation)
    raise UsageError(
        "An activation is a name such as gelu, a module such as nn.ReLU(), or an elementwise "
        "function of tensors, "
        f"not {quote(activation)}."
    )


@lru_cache(maxsize=1024)
def _resolve_text(text: str) -> NamedActivation:
    name, options = specs.parse(text)
    name = _ALIASES.get(name, name)
    if name in _MIXING:
        raise UsageError(
            f"{name} is not an elementwise activation: each output depends on several inputs, so "
            "it has no gain of this kind. "
            f"Expected one such as gelu; the layer before {name} may take the gain of linear, "
            "which is 1."
        )
    if name not in _TABLE:
        raise UnknownName.suggest("activation", name, (*_TABLE, *_ALIASES))
    return NamedActivation(name, specs.construct(name, _TABLE[name].options, options))


def _resolve_module(module: nn.Module) -> NamedActivation | UnnamedActivation:
    name = _MODULES.get(type(module))  # of a subclass, only its own forward tells what it computes
    try:
        if name is None:
            with torch.inference_mode(False):
                return UnnamedActivation(
                    type(module).__name__, copy.deepcopy(module).cpu().double()
                )
        values = {
            field.name: getattr(module, field.name)
            for field in dataclasses.fields(_TABLE[name].options)
        }
        options = {
            key: tuple(value.tolist()) if isinstance(value, Tensor) else value
            for key, value in values.items()
        }
    except Exception as error:  # on the meta device, or not to be copied
        raise UsageError(
            f"The parameters of {type(module).__name__} cannot be read: {error} Give them values "
            "first."
        ) from error
    return NamedActivation(name, specs.construct(name, _TABLE[name].options, options))


def _make_options(**fields: tuple[object, object]) -> type:
    """A dataclass of options, each with its type and default."""
    return dataclasses.make_dataclass(
        "Options", [(key, hint, default) for key, (hint, default) in fields.items()], frozen=True
    )


_NO_OPTIONS = _make_options()


@dataclass(frozen=True)
class _ActivationEntry:
    """f(x, **options); torch's module, whose attributes are the options; the options;
    formula(variance, **options).
    """

    function: Callable[..., Tensor]
    module: type[nn.Module] | None = None
    formula: Callable[..., Moments | None] = closed_form.none
    options: type = _NO_OPTIONS


def _prelu(x: Tensor, weight: float | tuple[float, ...]) -> Tensor:
    # Several slopes act on second moments as their root mean square does. Their mean is in the
    # closed form.
    slopes = weight if isinstance(weight, tuple) else (weight,)
    return F.leaky_relu(
        x, slopes[0] if len(slopes) == 1 else math.sqrt(fmean(slope * slope for slope in slopes))
    )


_TABLE = {
    "linear": _ActivationEntry(lambda x: x, nn.Identity, closed_form.linear),
    "relu": _ActivationEntry(F.relu, nn.ReLU, closed_form.rectifier),
    "leaky_relu": _ActivationEntry(
        F.leaky_relu,
        nn.LeakyReLU,
        closed_form.rectifier,
        _make_options(negative_slope=(float, 0.01)),
    ),
    "prelu": _ActivationEntry(
        _prelu,
        nn.PReLU,
        lambda v, weight: closed_form.rectifier(v, weight),
        _make_options(weight=(float | tuple[float, ...], 0.25)),
    ),
    "relu6": _ActivationEntry(F.relu6, nn.ReLU6, closed_form.relu6),
    "relu2": _ActivationEntry(lambda x: F.relu(x).square(), None, closed_form.squared_relu),
    "elu": _ActivationEntry(F.elu, nn.ELU, closed_form.elu, _make_options(alpha=(float, 1.0))),
    "celu": _ActivationEntry(F.celu, nn.CELU, options=_make_options(alpha=(float, 1.0))),
    "selu": _ActivationEntry(F.selu, nn.SELU, closed_form.selu),
    "gelu": _ActivationEntry(
        lambda x, approximate: F.gelu(x, approximate=approximate or "none"),
        nn.GELU,
        closed_form.gelu,
        _make_options(
            approximate=(Literal["none", "tanh"] | None, "none")
        ),  # the word none of a spec is None
    ),
    "silu": _ActivationEntry(F.silu, nn.SiLU),
    "mish": _ActivationEntry(F.mish, nn.Mish),
    "softplus": _ActivationEntry(
        F.softplus, nn.Softplus, options=_make_options(beta=(float, 1.0), threshold=(float, 20.0))
    ),
    "sigmoid": _ActivationEntry(torch.sigmoid, nn.Sigmoid),
    "logsigmoid": _ActivationEntry(F.logsigmoid, nn.LogSigmoid),
    "tanh": _ActivationEntry(torch.tanh, nn.Tanh),
    "softsign": _ActivationEntry(F.softsign, nn.Softsign),
    "sin": _ActivationEntry(
        lambda x, omega: torch.sin(omega * x),
        None,
        closed_form.sin,
        _make_options(omega=(float, 1.0)),
    ),
    "hardtanh": _ActivationEntry(
        F.hardtanh,
        nn.Hardtanh,
        closed_form.hardtanh,
        _make_options(min_val=(float, -1.0), max_val=(float, 1.0)),
    ),
    "hardsigmoid": _ActivationEntry(F.hardsigmoid, nn.Hardsigmoid),
    "hardswish": _ActivationEntry(F.hardswish, nn.Hardswish, closed_form.hardswish),
    "hardshrink": _ActivationEntry(
        F.hardshrink, nn.Hardshrink, options=_make_options(lambd=(float, 0.5))
    ),
    "softshrink": _ActivationEntry(
        F.softshrink, nn.Softshrink, options=_make_options(lambd=(float, 0.5))
    ),
    "tanhshrink": _ActivationEntry(F.tanhshrink, nn.Tanhshrink),
}
_ALIASES = {"identity": "linear", "swish": "silu"}
_MIXING = ("softmax", "log_softmax", "softmin", "glu", "swiglu", "geglu", "reglu", "maxout")
_MODULES = {entry.module: name for name, entry in _TABLE.items() if entry.module is not None}
