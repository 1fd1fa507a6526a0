"""Activations by name: one for all layers of a model, or one per layer.

Parameters are torch's defaults: leaky_relu has slope 0.01 (Keras: 0.3), elu and selu have the
constants of their papers, gelu is the exact form x·Φ(x) (JAX defaults to the tanh approximation),
and hardtanh clips to [−1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import SpecError, quote
from fanin.registry import PlainEntry, Registry


@dataclass(frozen=True)
class Activation(PlainEntry):
    """An activation by name; `build` returns its module, which has no parameters."""

    name: str
    build: Callable[[], nn.Module]
    monotone: bool
    """Whether it never decreases, so that it commutes with max-pooling: max(f(x)) = f(max(x))."""


class Sin(nn.Module):
    """sin(x) for x of any shape.

    Source: Sitzmann et al., Implicit Neural Representations with Periodic Activation Functions,
    2020.
    """

    def forward(self, x: Tensor) -> Tensor:
        """sin(x), elementwise."""
        return torch.sin(x)


REGISTRY: Registry[Activation, Activation] = Registry(
    "activation", Activation, aliases={"swish": "silu"}
)

for _entry in (
    Activation("sigmoid", nn.Sigmoid, monotone=True),
    Activation("tanh", nn.Tanh, monotone=True),
    Activation("relu", nn.ReLU, monotone=True),
    Activation("leaky_relu", nn.LeakyReLU, monotone=True),
    Activation("elu", nn.ELU, monotone=True),
    Activation("selu", nn.SELU, monotone=True),
    Activation("gelu", nn.GELU, monotone=False),
    Activation("silu", nn.SiLU, monotone=False),
    Activation("mish", nn.Mish, monotone=False),
    Activation("softplus", nn.Softplus, monotone=True),
    Activation("hardtanh", nn.Hardtanh, monotone=True),
    Activation("sin", Sin, monotone=False),
    Activation("identity", nn.Identity, monotone=True),
):
    REGISTRY.add(_entry)


def get(name: str) -> Activation:
    """The activation of a name or an alias; raises `UnknownName`."""
    return REGISTRY.get(name)


def canonicalize(activation: str | Iterable[str], layers: int) -> str | tuple[str, ...]:
    """The activations of a model in canonical form, without aliases.

    A list of equal names becomes that name. Raises `UnknownName` for an unknown name and
    `SpecError` for a list of another length.

    Args:
        activation: one name, or one for each layer.
        layers: the number of layers that have an activation.
    """
    if isinstance(activation, str):
        return get(activation).name
    names = tuple(get(name).name for name in activation)
    if len(names) != layers:
        raise SpecError(
            f"Expected one activation for all layers, or a list with one for each of the {layers} "
            f"hidden layers; received {len(names)}: {quote(list(names))}. Write one name, such as "
            f"activation=relu, or a list of {layers}. Without either, the model's default is used."
        )
    return names[0] if names and set(names) == {names[0]} else names


def get_per_layer(activation: str | tuple[str, ...], layers: int) -> tuple[Activation, ...]:
    """The activation of each layer, from what `canonicalize` returned."""
    names = (activation,) * layers if isinstance(activation, str) else activation
    return tuple(get(name) for name in names)
