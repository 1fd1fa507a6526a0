"""A layer as theory sees it: the moments of its weights, and how many of them meet one number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fanin.diagnosis.theory.tap_counts import count_taps
from fanin.fans import describe_parameters, is_transformers_conv1d
from fanin.structure import Node
from fanin.structure.tensor_moments import Shapes, measure_tensor

_PLAIN_FORWARD: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Embedding,
)
_TABLES = ("embedding", "getitem", "index_select")
_MATRICES = ("linear", "matmul", "mm")


@dataclass(frozen=True, kw_only=True)
class LayerMap:
    """A random linear map: each output is a sum of `fan_in` products, plus a bias."""

    second: float
    """E w²."""
    mean: float
    fan_in: float
    """How many weights meet one output; on average, where zeros of a padding are met."""
    fan_out: float
    """How many weights meet one input."""
    outputs: int
    """Units, or channels."""
    inputs: int
    bias_second: float = 0.0
    bias_mean: float = 0.0
    table: bool = False
    """Whether rows are looked up: then its input does not matter."""

    @property
    def weight_variance(self) -> float:
        """σ_w² = fan_in · E w²."""
        return self.fan_in * self.second


class LayerReader:
    """Reads the layers of a graph whose tensors have these shapes."""

    def __init__(
        self, model: nn.Module, shapes: Shapes, moments: Mapping[int, tuple[float, float]]
    ) -> None:
        self._model, self._shapes = model, shapes
        self._moments = dict(moments)
        """E w² and E w of tensors by their ids: those of parameters were measured before."""

    def read(self, node: Node) -> LayerMap | str:
        """The map of a layer's node, or why theory has none."""
        found = self._read_function(node) if node.used_by is not None else self._read_module(node)
        if isinstance(found, LayerMap) and not math.isfinite(found.second + found.bias_second):
            return "its weights are not finite"
        return found

    def get_key(self, node: Node) -> int:
        """A number that two calls of the same weights share."""
        if node.used_by is not None and node.parameters:
            return hash(node.parameters)
        return id(node.module)

    def _read_module(self, node: Node) -> LayerMap | str:
        module = node.module
        if module is None:
            return "its weights cannot be seen"
        if isinstance(module, nn.MultiheadAttention):
            return "attention: its softmax depends on the data"
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            return "recurrent: the same weights act at every step"
        if not _computes_plainly(module):
            return f"{type(module).__name__} computes more than its weights show"
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        layout = describe_parameters(module)["weight"].layout
        if layout.fans is None or not isinstance(weight, Tensor):
            return "its fans are not known"
        second, mean = self._measure(weight)
        bias_second, bias_mean = self._measure(bias) if isinstance(bias, Tensor) else (0.0, 0.0)
        fans: tuple[float, float] = (layout.fans.fan_in, layout.fans.fan_out)
        inputs, outputs = _count_features(module)
        if isinstance(module, _ConvNd):
            fans = self._count_convolution(node, module)
        return LayerMap(
            second=second,
            mean=mean,
            fan_in=fans[0],
            fan_out=fans[1],
            inputs=inputs,
            outputs=outputs,
            bias_second=bias_second,
            bias_mean=bias_mean,
            table=isinstance(module, nn.Embedding),
        )

    def _count_convolution(self, node: Node, module: _ConvNd) -> tuple[float, float]:
        before = self._shapes.get(node.inputs[0], ()) if node.inputs else ()
        after = self._shapes.get(node.index, ())
        dims = len(module.kernel_size)
        taps = count_taps(module, before[1:][-dims:], after[1:][-dims:])
        return (
            module.in_channels // module.groups * taps.per_output,
            module.out_channels // module.groups * taps.per_input,
        )

    def _read_function(self, node: Node) -> LayerMap | str:
        call = node.call
        if call is None or len(node.parameters) != 1 or not call.direct:
            return "its weights are computed, or not to be seen"
        weight = self._model.get_parameter(node.parameters[0])
        second, mean = self._measure(weight)
        shape = self._shapes.get(node.index, ())
        if node.used_by in _TABLES:
            width = shape[-1] if shape else weight.shape[-1]
            return LayerMap(
                second=second, mean=mean, fan_in=1, fan_out=0, inputs=1, outputs=width, table=True
            )
        before = self._shapes.get(node.inputs[0], ()) if node.inputs else ()
        if node.used_by not in _MATRICES or not shape or not before:
            return f"weights of {node.used_by} are not read"
        inputs, outputs = before[-1], shape[-1]
        if inputs * outputs != weight.numel():
            return "its weight is no single matrix"
        bias = self._find_bias(node, outputs)
        if isinstance(bias, str):
            return bias
        return LayerMap(
            second=second,
            mean=mean,
            fan_in=inputs,
            fan_out=outputs,
            inputs=inputs,
            outputs=outputs,
            bias_second=bias[0],
            bias_mean=bias[1],
        )

    def _find_bias(self, node: Node, outputs: int) -> tuple[float, float] | str:
        """Of ``F.linear(x, weight, bias)``, whose bias the graph does not keep."""
        call = node.call
        given = call is not None and (len(call.args) > 2 or "bias" in call.kwargs)
        if not given or node.module is None:
            return 0.0, 0.0
        vectors = [
            one
            for one in node.module.parameters(recurse=False)
            if one.dim() == 1 and one.numel() == outputs
        ]
        if len(vectors) > 1:
            return "which of several vectors is its bias cannot be seen"
        return self._measure(vectors[0]) if vectors else (0.0, 0.0)

    def _measure(self, tensor: Tensor) -> tuple[float, float]:
        """E w² and E w, once for each tensor."""
        if id(tensor) not in self._moments:
            self._moments[id(tensor)] = measure_tensor(tensor)
        return self._moments[id(tensor)]


def _computes_plainly(module: nn.Module) -> bool:
    """Whether the forward pass is that of torch's own layer."""
    if is_transformers_conv1d(module):
        return True
    return any(
        isinstance(module, one) and type(module).forward is one.forward for one in _PLAIN_FORWARD
    )


def _count_features(module: nn.Module) -> tuple[int, int]:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, _ConvNd):
        return module.in_channels // module.groups, module.out_channels
    weight = module.weight
    assert isinstance(weight, Tensor)
    return int(weight.shape[0]), int(weight.shape[-1])
