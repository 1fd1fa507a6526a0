"""Fans: the parameters of each layer, how many inputs feed one output, and which axis is which."""

from fanin.fans import feedforward as feedforward
from fanin.fans import known_classes as known_classes
from fanin.fans import normalization_behaviour as normalization_behaviour
from fanin.fans import packed_attention as packed_attention
from fanin.fans import packed_recurrent as packed_recurrent
from fanin.fans.known_classes import is_transformers_conv1d
from fanin.fans.layer_parameters import (
    WEIGHTS,
    LayerParameter,
    Role,
    calculate_fans,
    describe_parameters,
    get_module_layout,
)
from fanin.fans.layout import (
    Convention,
    EvenCentre,
    Fans,
    Mode,
    PackedPart,
    WeightLayout,
    check_gain,
    get_tensor_layout,
    require_fans,
)
from fanin.fans.packing import pack
from fanin.fans.parameter_axes import Layout
from fanin.fans.registered_layers import register_layer

__all__ = [
    "WEIGHTS",
    "Convention",
    "EvenCentre",
    "Fans",
    "LayerParameter",
    "Layout",
    "Mode",
    "PackedPart",
    "Role",
    "WeightLayout",
    "calculate_fans",
    "check_gain",
    "describe_parameters",
    "get_module_layout",
    "get_tensor_layout",
    "is_transformers_conv1d",
    "pack",
    "register_layer",
    "require_fans",
]
