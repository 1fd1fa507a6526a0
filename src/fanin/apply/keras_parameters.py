"""The parameters of Keras' layers in a model: described by the layer that has them as variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from fanin.apply.model_parameters import ParameterUse
from fanin.fans.keras_layers import (
    describe_keras_variable,
    is_keras_layer,
    list_keras_variables,
)


def describe_keras_layers(
    model: nn.Module, uses: Sequence[ParameterUse]
) -> tuple[ParameterUse, ...]:
    """The uses, with roles and layouts of what layers of Keras have; without Keras as they are."""
    if not any(is_keras_layer(module) for module in model.modules()):
        return tuple(uses)
    held = {id(value): (layer, name) for layer, name, value in list_keras_variables(model)}
    return tuple(
        _describe(use, *held[id(use.parameter)]) if id(use.parameter) in held else use
        for use in uses
    )


def _describe(use: ParameterUse, layer: nn.Module, name: str) -> ParameterUse:
    """The layer comes last in `enclosing`: the parameter's own module is a mere holder."""
    kind = type(layer).__name__
    found = describe_keras_variable(layer, name, tuple(use.parameter.shape))
    around = (*use.enclosing, layer)
    if found is None:
        return replace(
            use, enclosing=around, unknown=f"{kind} of Keras: no rule is about its {name}"
        )
    return replace(
        use,
        enclosing=around,
        role=found.role,
        layout=found.layout,
        note=f" of Keras' {kind}",
        unknown="",
    )
