"""Whole recipes by name: the defaults of torch and of Keras, and IRNN."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

from torch import nn
from torch.nn.modules.rnn import RNNBase, RNNCellBase

from fanin.fans import Fans, WeightLayout, check_gain, get_tensor_layout
from fanin.initializers import distributions
from fanin.initializers.constant import Constant, Zero
from fanin.initializers.fixed_scale import Normal, Uniform
from fanin.initializers.gate_biases import ForgetGate
from fanin.initializers.identity import Identity
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import Assignment, ModelInitializer, ModelParameter
from fanin.initializers.orthogonal import Orthogonal
from fanin.initializers.xavier import XavierNormal, XavierUniform

Recipe = Callable[[ModelParameter], Assignment | None]


@final
@dataclass(frozen=True)
class TorchDefault(ModelInitializer):
    """What torch's own layers start from, also those that have been trained or filled since.

    Linear, convolution: U(±1/√fan-in) for weight and bias, with the fan-in that torch computes;
    embedding: N(0, 1); recurrent layers: U(±1/√hidden) throughout; attention: Xavier's uniform on
    q, k and v as one map if they are packed, N for bias_k and bias_v, biases 0; bilinear:
    U(±1/√in1); normalization: 1 and 0; transformers' Conv1D: N(0, 0.02²), biases 0.
    """

    name: ClassVar[str] = "torch_default"

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """A choice for every parameter whose role is known."""
        return _choose_all(sites, lambda site: _choose_torch(site, _is_in_attention(site, sites)))


@final
@dataclass(frozen=True)
class KerasDefault(ModelInitializer):
    """What Keras' layers of the same kind start from.

    Dense, convolution, attention: Xavier's uniform (glorot_uniform); recurrent layers: that for the
    inputs, with the gates as one map, and orthogonal over all gates at once for the state; biases
    0, an LSTM's forget gate 1; embedding: U(±0.05); normalization: 1 and 0.
    """

    name: ClassVar[str] = "keras_default"

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """A choice for every parameter whose role is known."""
        return _choose_all(sites, _choose_keras)


@final
@dataclass(frozen=True)
class IRNN(ModelInitializer):
    """A recurrent network of rectifiers that starts as an integrator: the state's matrix is gain ·
    I, all else is small.

    Args:
        gain: of the identity; 1 remembers for ever, less forgets (0.01 to 0.9 in the paper's speech
            task).
        std: of all other weights.
    """

    name: ClassVar[str] = "irnn"
    gain: float = 1.0
    std: float = 0.001

    def check(self) -> None:
        """Gain and standard deviation must not be negative."""
        check_gain(self.gain, "irnn(gain=…)")
        distributions.check_std(self.std, "irnn(std=…)")

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """Identity for hidden-to-hidden weights, small normal numbers for the other weights, zero
        for biases.
        """
        rules: dict[str, Initializer] = {
            "recurrent weight": Identity(gain=self.gain),
            "weight": Normal(std=self.std),
            "bias": Zero(),
            "recurrent bias": Zero(),
        }
        return {
            site.name: Assignment(rules[site.role], f"IRNN: {site.role}")
            for site in sites
            if site.role in rules
        }


def _choose_all(sites: Sequence[ModelParameter], recipe: Recipe) -> dict[str, Assignment]:
    return {site.name: choice for site in sites if (choice := recipe(site)) is not None}


def _choose_torch(site: ModelParameter, in_attention: bool) -> Assignment | None:
    module = site.module
    reason = f"torch's default of {type(module).__name__}"
    if isinstance(module, nn.MultiheadAttention):
        return _choose_torch_attention(site, reason)
    if isinstance(module, RNNBase | RNNCellBase):
        return Assignment(
            _make_symmetric_uniform(1 / math.sqrt(module.hidden_size)), reason, _unpack(site.layout)
        )
    if isinstance(module, nn.Bilinear):
        return Assignment(_make_symmetric_uniform(1 / math.sqrt(module.in1_features)), reason)
    if type(module).__name__ == "Conv1D":
        return Assignment(
            Normal(std=0.02) if site.role == "weight" else Zero(), "transformers' default of Conv1D"
        )
    match site.role:
        case "weight":
            return Assignment(_make_symmetric_uniform(_torch_bound(module, site.layout)), reason)
        case "bias":
            return Assignment(
                Zero()
                if in_attention
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


def _make_symmetric_uniform(bound: float) -> Initializer:
    return Uniform(low=-bound, high=bound) if bound else Zero()


def _unpack(layout: WeightLayout) -> WeightLayout:
    """A packed layout as one map."""
    return replace(layout, parts=())


def _is_in_attention(site: ModelParameter, sites: Sequence[ModelParameter]) -> bool:
    """Whether a bias is that of an attention layer's output, which torch sets to zero."""
    path = site.name.rpartition(".")[0]
    parent, _, last = path.rpartition(".")
    prefix = f"{parent}." if parent else ""
    return last == "out_proj" and any(
        other.name.startswith(prefix)
        and isinstance(other.module, nn.MultiheadAttention)
        and other.name.rpartition(".")[0] == parent
        for other in sites
    )


def _choose_keras(site: ModelParameter) -> Assignment | None:
    module = site.module
    reason = f"Keras' default of {type(module).__name__}"
    recurrent = isinstance(module, RNNBase | RNNCellBase)
    match site.role:
        case "weight" if recurrent:
            return Assignment(XavierUniform(), reason, _unpack(site.layout))
        case "weight":
            return Assignment(XavierUniform(), reason, _get_keras_layout(module, site.layout))
        case "recurrent weight":
            return Assignment(Orthogonal(), reason, _unpack(site.layout))
        case "bias":
            return Assignment(
                ForgetGate() if isinstance(module, nn.LSTM | nn.LSTMCell) else Zero(), reason
            )
        case "recurrent bias" | "norm shift":
            return Assignment(Zero(), reason)
        case "embedding":
            return Assignment(Uniform(low=-0.05, high=0.05), reason)
        case "norm scale":
            return Assignment(Constant(value=1.0), reason)
    return None


def _get_keras_layout(module: nn.Module, layout: WeightLayout) -> WeightLayout | None:
    """Keras' fans of a grouped convolution: the fan-out counts the channels of all groups."""
    if layout.groups == 1 or layout.fans is None:
        return None
    return replace(layout, fans=Fans(layout.fans.fan_in, layout.fans.fan_out * layout.groups))


_TORCH = Paper(
    authors="Paszke et al.",
    title="PyTorch: an imperative style, high-performance deep learning library",
    year=2019,
    link="https://arxiv.org/abs/1912.01703",
)
_KERAS = Paper(
    authors="Chollet et al.",
    title="Keras",
    year=2015,
    link="https://keras.io",
)

REGISTRY.add(
    InitializerEntry(
        component=TorchDefault,
        level="model",
        summary=(
            "The initial distributions of torch's own layers, by name, for comparison or to "
            "restore a model."
        ),
        formula="linear, convolution: w, b ~ U[-1/√fan_in, 1/√fan_in], so Var w = 1/(3·fan_in)",
        paper=_TORCH,
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

REGISTRY.add(
    InitializerEntry(
        component=KerasDefault,
        level="model",
        summary="The initial distributions of Keras' layers of the same kind, by name.",
        formula=(
            "kernels: w ~ U[-b, b], b = √(6/(fan_in + fan_out)); recurrent: orthogonal; biases 0, "
            "LSTM forget gate 1"
        ),
        paper=_KERAS,
        suited="Porting a model or a result from Keras, and as the baseline of a comparison.",
        avoid="Deep rectifier networks: Xavier halves the second moment there at every layer.",
        cost="One draw per weight; QR for recurrent matrices.",
        differs=(
            "Keras' attention layers compute fans from three-dimensional kernels; here q, k and v "
            "are matrices. Keras' LSTM has one bias and torch's has two, whose sum is the same "
            "here."
        ),
        examples=("keras_default",),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=IRNN,
        level="model",
        summary=(
            "Recurrent networks of rectifiers whose hidden-to-hidden matrix starts as the identity."
        ),
        formula="W_hh = gain·I, other weights N(0, std²), b = 0",
        paper=Paper(
            authors="Le, Jaitly, Hinton",
            title="A simple way to initialize recurrent networks of rectified linear units",
            year=2015,
            link="https://arxiv.org/abs/1504.00941",
        ),
        suited="nn.RNN(nonlinearity='relu') over long sequences.",
        avoid=(
            "LSTM and GRU, whose gates provide the memory; feed-forward layers, where the small "
            "weights vanish."
        ),
        cost="One draw per weight that is not recurrent.",
        differs="torch, Keras and JAX have no such recipe; Keras' Identity is its recurrent part.",
        examples=("irnn", "irnn(gain=0.5, std=0.01)"),
    )
)
