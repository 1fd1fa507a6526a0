"""The defaults of torch's layers, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

from torch import nn
from torch.nn.modules.rnn import RNNBase, RNNCellBase

from fanin.fans import WeightLayout, get_tensor_layout, is_transformers_conv1d
from fanin.initializers.constant import Constant, Zero
from fanin.initializers.fixed_scale import Normal, Uniform
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import Assignment, ModelInitializer, ModelParameter, choose_all
from fanin.initializers.xavier import XavierNormal, XavierUniform


@final
@dataclass(frozen=True)
class TorchDefault(ModelInitializer):
    """What torch's own layers start from, also those that have been trained or filled since.

    Linear, convolution: U(±1/√fan-in) for weight and bias, with the fan-in that torch computes;
    embedding: N(0, 1); recurrent layers: U(±1/√hidden) throughout; attention: Xavier's uniform on
    q, k and v as one map if they are packed, N for bias_k and bias_v, biases 0; bilinear:
    U(±1/√in1); normalization: 1 and 0; PReLU: its own ``init``, 0.25. Inside of ``nn.Transformer``
    every parameter of two dimensions or more is Xavier's uniform. transformers' Conv1D: N(0,
    0.02²), biases 0.
    """

    name: ClassVar[str] = "torch_default"
    by_layer: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """A choice for every parameter whose role is known."""
        return choose_all(sites, _choose_torch)


def _choose_torch(site: ModelParameter) -> Assignment | None:
    module = site.module
    reason = f"torch's default of {type(module).__name__}"
    if len(site.layout.shape) > 1 and _is_inside(site, nn.Transformer):
        layout = get_tensor_layout(site.layout.shape)
        return Assignment(XavierUniform(), "torch's default of all matrices in Transformer", layout)
    if isinstance(module, nn.PReLU):
        return Assignment(Constant(value=float(module.init)), reason)
    if site.role == "unknown":
        return None
    if isinstance(module, nn.MultiheadAttention):
        return _choose_torch_attention(site, reason)
    if isinstance(module, RNNBase | RNNCellBase):
        return Assignment(
            _make_symmetric_uniform(1 / math.sqrt(module.hidden_size)), reason, _unpack(site.layout)
        )
    if isinstance(module, nn.Bilinear):
        return Assignment(_make_symmetric_uniform(1 / math.sqrt(module.in1_features)), reason)
    if is_transformers_conv1d(module):
        return Assignment(
            Normal(std=0.02) if site.role == "weight" else Zero(), "transformers' default of Conv1D"
        )
    match site.role:
        case "weight":
            return Assignment(_make_symmetric_uniform(_torch_bound(module, site.layout)), reason)
        case "bias":
            return Assignment(
                Zero()
                if _is_output_of_attention(site)
                else _make_symmetric_uniform(_torch_bound(module, site.layout)),
                reason,
            )
        case "embedding":
            return Assignment(Normal(), reason)
        case "norm scale":
            return Assignment(Constant(value=1.0), reason)
        case "norm shift":
            return Assignment(Zero(), reason)
    return None


def _choose_torch_attention(site: ModelParameter, reason: str) -> Assignment:
    if site.role == "weight":
        return Assignment(XavierUniform(), reason, _unpack(site.layout))
    if "bias_" in site.name.rpartition(".")[2] and len(site.layout.shape) == 3:
        # bias_k and bias_v are (1, 1, d): torch's Xavier takes d for a kernel, so that both fans
        # are d.
        return Assignment(XavierNormal(), reason, get_tensor_layout(site.layout.shape))
    return Assignment(Zero(), reason)


def _torch_bound(module: nn.Module, layout: WeightLayout) -> float:
    """1/√fan-in with torch's fan-in, which for a transposed convolution is the outputs' side."""
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        fan: float = module.out_channels // module.groups * math.prod(module.kernel_size)
    else:
        fan = layout.fans.fan_in if layout.fans else 0
    return 1 / math.sqrt(fan) if fan else 0.0


def _is_inside(site: ModelParameter, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in site.enclosing)


def _is_output_of_attention(site: ModelParameter) -> bool:
    """Whether a bias is that of an attention layer's output, which torch sets to zero."""
    return site.name.endswith("out_proj.bias") and any(
        isinstance(module, nn.MultiheadAttention) and module.out_proj is site.module
        for module in site.enclosing
    )


def _make_symmetric_uniform(bound: float) -> Initializer:
    return Uniform(low=-bound, high=bound) if bound else Zero()


def _unpack(layout: WeightLayout) -> WeightLayout:
    """A packed layout as one map."""
    return replace(layout, parts=())


REGISTRY.add(
    InitializerEntry(
        component=TorchDefault,
        level="model",
        summary=(
            "The initial distributions of torch's own layers, by name, for comparison or to "
            "restore a model."
        ),
        formula="linear, convolution: w, b ~ U[-1/√fan_in, 1/√fan_in], so Var w = 1/(3·fan_in)",
        paper=Paper(
            authors="Paszke et al.",
            title="PyTorch: an imperative style, high-performance deep learning library",
            year=2019,
            link="https://arxiv.org/abs/1912.01703",
        ),
        suited="As the baseline of a comparison, and to reset a model to the state of a new one.",
        avoid=(
            "Deep networks without normalization: it has a third of LeCun's variance, so the "
            "signal falls by √3 per linear layer. torch keeps it for compatibility only."
        ),
        cost="One draw per weight.",
        differs=(
            "Same distributions as in torch, but drawn from fanin's streams, so the numbers differ."
        ),
        examples=("torch_default",),
    )
)
