"""The defaults of Keras' layers, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

from torch import nn
from torch.nn.modules.rnn import RNNBase, RNNCellBase

from fanin.fans import Fans, WeightLayout
from fanin.fans.keras_layers import calculate_keras_fans, is_keras_layer
from fanin.initializers.constant import Constant, Zero
from fanin.initializers.fixed_scale import Uniform
from fanin.initializers.gate_biases import ForgetGate
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import Assignment, ModelInitializer, ModelParameter, choose_all
from fanin.initializers.orthogonal import Orthogonal
from fanin.initializers.xavier import XavierUniform


@final
@dataclass(frozen=True)
class KerasDefault(ModelInitializer):
    """What Keras' layers of the same kind start from.

    Dense, convolution, attention: Xavier's uniform (glorot_uniform); recurrent layers: that for the
    inputs, with the gates as one map, and orthogonal over all gates at once for the state; biases
    0, an LSTM's forget gate 1; embedding: U(±0.05); normalization: 1 and 0; PReLU: 0. Keras' own
    layers, where it runs on torch, get the same.
    """

    name: ClassVar[str] = "keras_default"
    by_layer: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """A choice for every parameter whose role is known."""
        return choose_all(sites, _choose_keras)


def _choose_keras(site: ModelParameter) -> Assignment | None:
    if site.enclosing and is_keras_layer(site.enclosing[-1]):
        return _choose_own(site, site.enclosing[-1])
    module = site.module
    reason = f"Keras' default of {type(module).__name__}"
    if isinstance(module, nn.PReLU):
        return Assignment(Zero(), reason)
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


def _choose_own(site: ModelParameter, layer: nn.Module) -> Assignment | None:
    """For a layer of Keras itself: Keras' fans of whatever shape the kernel has."""
    kind = type(layer).__name__
    reason = f"Keras' default of {kind}"
    shape = site.layout.shape
    match site.role:
        case "weight":
            # EinsumDense tells Keras which axes count; other kernels are read by their shape.
            told = site.layout.fans if kind == "EinsumDense" else calculate_keras_fans(shape)
            return Assignment(XavierUniform(), reason, WeightLayout(shape, told))
        case "recurrent weight":
            return Assignment(Orthogonal(), reason, _unpack(site.layout))
        case "bias":
            return Assignment(ForgetGate() if kind == "LSTMCell" else Zero(), reason)
        case "norm shift":
            return Assignment(Zero(), reason)
        case "embedding":
            return Assignment(Uniform(low=-0.05, high=0.05), reason)
        case "norm scale":
            return Assignment(Constant(value=1.0), reason)
    return Assignment(Zero(), reason) if kind == "PReLU" else None


def _get_keras_layout(module: nn.Module, layout: WeightLayout) -> WeightLayout | None:
    """Keras' fans of a grouped convolution: the fan-out counts the channels of all groups."""
    if layout.groups == 1 or layout.fans is None:
        return None
    return replace(layout, fans=Fans(layout.fans.fan_in, layout.fans.fan_out * layout.groups))


def _unpack(layout: WeightLayout) -> WeightLayout:
    """A packed layout as one map."""
    return replace(layout, parts=())


REGISTRY.add(
    InitializerEntry(
        component=KerasDefault,
        level="model",
        summary="The initial distributions of Keras' layers of the same kind, by name.",
        formula=(
            "kernels: w ~ U[-b, b], b = √(6/(fan_in + fan_out)); recurrent: orthogonal; biases 0, "
            "LSTM forget gate 1"
        ),
        paper=Paper(
            authors="Chollet et al.",
            title="Keras",
            year=2015,
            link="https://keras.io",
        ),
        suited="Porting a model or a result from Keras, and as the baseline of a comparison.",
        avoid="Deep rectifier networks: Xavier halves the second moment there at every layer.",
        cost="One draw per weight; QR for recurrent matrices.",
        differs=(
            "Earlier versions of Keras 3 compute the fans of attention from three-dimensional "
            "kernels; here q, k and v are matrices, as in later ones. Keras' LSTM has one bias and "
            "torch's has two, whose sum is the same here."
        ),
        examples=("keras_default",),
    )
)
