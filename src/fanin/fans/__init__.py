"""Fans: the parameters of each layer, how many inputs feed one output, and which axis is which."""

from fanin.fans import feedforward as feedforward
from fanin.fans import packed_attention as packed_attention
from fanin.fans import packed_recurrent as packed_recurrent
from fanin.fans.layer_parameters import (
    WEIGHTS,
    LayerParameter,
    Role,
    calculate_fans,
    describe_parameters,
    get_module_layout,
    pack,
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

__all__ = [
    "WEIGHTS",
    "Convention",
    "EvenCentre",
    "Fans",
    "LayerParameter",
    "Mode",
    "PackedPart",
    "Role",
    "WeightLayout",
    "calculate_fans",
    "check_gain",
    "describe_parameters",
    "get_module_layout",
    "get_tensor_layout",
    "pack",
    "require_fans",
]
