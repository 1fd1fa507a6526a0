"""The parameters of Keras' own layers, where Keras runs on torch.

Keras keeps the parameters of a layer, or of a whole model, in one ``ParameterDict``, so that they
are told by the layer's variables. Kernels are (*kernel, in, out), a transposed convolution's
(*kernel, out, in), a depthwise one's (*kernel, in, multiplier); the gates of an LSTM are i, f, c, o
and those of a GRU z, r, h along the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from fanin.fans.layer_parameters import LayerParameter, Role
from fanin.fans.layout import Fans, WeightLayout
from fanin.fans.packing import pack, split_evenly
from fanin.fans.parameter_axes import Layout

_ROLES: dict[str, Role] = {
    "bias": "bias",
    "embeddings": "embedding",
    "gamma": "norm scale",
    "beta": "norm shift",
    "scale": "norm scale",
    "recurrent_kernel": "recurrent weight",
}
_NORMS = ("BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization")
_GATES = {"LSTMCell": ("i", "f", "g", "o"), "GRUCell": ("z", "r", "n")}

Arrange = Callable[[nn.Module, tuple[int, ...]], WeightLayout]


def is_keras_layer(module: object) -> bool:
    """Whether a module is a layer, or a model, of Keras."""
    return _is_kind(module, "Layer")


def list_keras_variables(model: nn.Module) -> Iterator[tuple[Any, str, Tensor]]:
    """Every layer of Keras in a model, with the name and the tensor of each of its variables."""
    outermost: list[Any] = []
    for module in model.modules():
        if is_keras_layer(module) and not any(module in held for held in outermost):
            outermost.append(list(module._flatten_layers()))  # type: ignore[operator]
    for layers in outermost:
        for layer in layers:
            for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
                yield layer, str(variable.name), variable.value


def describe_keras_variable(
    layer: nn.Module, name: str, shape: tuple[int, ...]
) -> LayerParameter | None:
    """The role and the layout of a variable by its name in a layer of Keras; None if unknown."""
    arrange = next(
        (
            function
            for (kind, variable), function in _KERNELS.items()
            if variable == name and _is_kind(layer, kind)
        ),
        None,
    )
    if arrange is not None:
        return LayerParameter(_ROLES.get(name, "weight"), arrange(layer, shape))
    role = _ROLES.get(name)
    if role is None or (role.startswith("norm") and not any(_is_kind(layer, k) for k in _NORMS)):
        return None
    if role == "embedding":
        table = WeightLayout(shape, Fans(1, shape[-1]), transposed=True)
        return LayerParameter(role, table) if len(shape) == 2 else None
    return LayerParameter(role, _arrange_bias(layer, shape))


def calculate_keras_fans(shape: tuple[int, ...]) -> Fans:
    """The fans that Keras itself takes of any kernel: (*kernel, in, out), whatever the layer does.

    >>> calculate_keras_fans((3, 3, 16, 64))
    Fans(fan_in=144, fan_out=576)
    """
    taps = math.prod(shape[:-2])
    return Fans(shape[-2] * taps, shape[-1] * taps)


def _is_kind(module: object, kind: str) -> bool:
    return any(
        base.__name__ == kind and base.__module__.partition(".")[0] == "keras"
        for base in type(module).__mro__
    )


def _arrange_dense(layer: nn.Module, shape: tuple[int, ...]) -> WeightLayout:
    return Layout(in_axis=0, out_axis=1).arrange(shape)


def _arrange_einsum(layer: Any, shape: tuple[int, ...]) -> WeightLayout:
    """An axis that the result lacks counts inputs; one that the input lacks, outputs; the others,
    maps.
    """
    terms, result = str(layer.equation).replace(".", "").split("->")
    given, kernel = terms.split(",")
    ins = tuple(axis for axis, letter in enumerate(kernel) if letter not in result)
    outs = tuple(axis for axis, letter in enumerate(kernel) if letter not in given)
    batch = tuple(axis for axis in range(len(kernel)) if axis not in (*ins, *outs))
    return Layout(in_axis=ins, out_axis=outs, batch_axis=batch).arrange(shape)


def _arrange_convolution(layer: Any, shape: tuple[int, ...]) -> WeightLayout:
    layout = Layout(in_axis=-2, out_axis=-1).arrange(shape)
    groups = int(getattr(layer, "groups", 1))
    if groups == 1:
        return layout
    return pack(layout, split_evenly(tuple(map(str, range(groups))), shape[-1]))


def _arrange_transposed(layer: nn.Module, shape: tuple[int, ...]) -> WeightLayout:
    return Layout(in_axis=-1, out_axis=-2).arrange(shape)


def _arrange_pointwise(layer: nn.Module, shape: tuple[int, ...]) -> WeightLayout:
    return Layout(in_axis=-2, out_axis=-1).arrange(shape)


def _arrange_depthwise(layer: nn.Module, shape: tuple[int, ...]) -> WeightLayout:
    """A map from the kernel to the multiplier for each channel."""
    taps = tuple(range(len(shape) - 2))
    layout = Layout(in_axis=taps, out_axis=-1, batch_axis=-2).arrange(shape)
    fans = Fans(math.prod(shape[:-2]), math.prod(shape[:-2]) * shape[-1])
    parts = tuple(replace(part, layout=replace(part.layout, fans=fans)) for part in layout.parts)
    return replace(layout, fans=fans, parts=parts)


def _arrange_gates(layer: nn.Module, shape: tuple[int, ...]) -> WeightLayout:
    return _pack_gates(layer, WeightLayout(shape, Fans(*shape), transposed=True))


def _arrange_bias(layer: nn.Module, shape: tuple[int, ...]) -> WeightLayout:
    return (
        _pack_gates(layer, WeightLayout(shape, None))
        if len(shape) == 1
        else WeightLayout(shape, None)
    )


def _pack_gates(layer: nn.Module, layout: WeightLayout) -> WeightLayout:
    for kind, gates in _GATES.items():
        if _is_kind(layer, kind):
            return pack(layout, split_evenly(gates, layout.shape[-1]))
    return layout


_KERNELS: dict[tuple[str, str], Arrange] = {
    ("Dense", "kernel"): _arrange_dense,
    ("EinsumDense", "kernel"): _arrange_einsum,
    ("BaseConv", "kernel"): _arrange_convolution,
    ("BaseConvTranspose", "kernel"): _arrange_transposed,
    ("BaseDepthwiseConv", "kernel"): _arrange_depthwise,
    ("BaseSeparableConv", "depthwise_kernel"): _arrange_depthwise,
    ("BaseSeparableConv", "pointwise_kernel"): _arrange_pointwise,
    **{
        (kind, name): _arrange_gates
        for kind in (*_GATES, "SimpleRNNCell")
        for name in ("kernel", "recurrent_kernel")
    },
}
"""By class and variable, how a kernel's axes count."""
