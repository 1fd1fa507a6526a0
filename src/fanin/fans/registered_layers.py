"""Layer classes that a user teaches fanin once: the role and the axes of each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

from torch import nn

from fanin.errors import FitError, UnknownName, UsageError, quote
from fanin.fans.layer_parameters import LayerParameter, LayerParameters, Role, describe_layer
from fanin.fans.layout import Convention, WeightLayout
from fanin.fans.parameter_axes import Layout

Description = Layout | Role | Mapping[str, object]


def register_layer(cls: type[nn.Module], /, **parameters: Description) -> None:
    """Teach fanin a class of layers: the role of each parameter, and the axes of its weights.

    Args:
        cls: the class; its subclasses are known with it. Registering it again replaces what was
            said before.
        parameters: for each parameter by its name in the layer, a `fanin.Layout` (it is a weight
            then) or a role: "bias", "norm scale", "norm offset" (a scale that the layer stores as
            its distance from 1), "norm shift", "recurrent bias".

    A parameter that is left out stays of unknown role and is kept by every rule that does not name
    it.

    >>> class Graph(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.theta = nn.Parameter(torch.randn(3, 16, 32))
    >>> fanin.register_layer(Graph, theta=fanin.Layout(in_axis=1, out_axis=2, batch_axis=0))
    >>> fanin.initialize(Graph(), "he_normal", seed=0)["theta"].fan_in
    16

    Raises:
        UsageError: not a class of modules, or a class of torch's own, which fanin knows.
    """
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise UsageError(f"register_layer takes a subclass of torch.nn.Module, not {quote(cls)}.")
    if cls.__module__.partition(".")[0] == "torch":
        raise UsageError(
            f"{cls.__name__} is torch's own; register a subclass, or tell one model's axes by "
            "layouts={…}."
        )
    read = {name: _read(cls, name, value) for name, value in parameters.items()}
    if not read:
        raise UsageError(
            f"Say what the parameters of {cls.__name__} are, such as "
            "weight=fanin.Layout(in_axis=0, out_axis=1), bias='bias'."
        )
    describe_layer.register(cls)(lambda module, convention: describe_as(module, read, convention))


def describe_as(
    module: nn.Module, described: Mapping[str, Layout | Role], convention: Convention
) -> LayerParameters:
    """The parameters of a module of which each is described by a layout or a role."""
    own = dict(module.named_parameters(recurse=False))
    found = {
        name: _describe(module, name, tuple(own[name].shape), value)
        for name, value in described.items()
        if name in own
    }
    weights = [one for one in found.values() if one.role == "weight"]
    if len(weights) == 1:  # a bias has the fans of its weight
        found |= {
            name: replace(one, layout=replace(one.layout, fans=weights[0].layout.fans))
            for name, one in found.items()
            if one.role == "bias"
        }
    return found


def _describe(
    module: nn.Module, name: str, shape: tuple[int, ...], value: Layout | Role
) -> LayerParameter:
    if not isinstance(value, Layout):
        return LayerParameter(value, WeightLayout(shape, None))
    try:
        return LayerParameter("weight", value.arrange(shape))
    except FitError as error:
        raise FitError(
            f"{name} of {type(module).__name__}, as it was registered: {error}"
        ) from None


def _read(cls: type, name: str, value: object) -> Layout | Role:
    roles = [role for role in get_args(Role) if role not in ("weight", "unknown")]
    if isinstance(value, str):
        if value not in roles:
            raise UnknownName.suggest(f"role for {name} of {cls.__name__}", value, roles)
        return value  # type: ignore[return-value]
    try:
        return Layout.parse(value)
    except UsageError as error:
        raise type(error)(f"{name} of {cls.__name__}: {error}") from None
