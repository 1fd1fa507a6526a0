"""Fans: what a layer holds, how many inputs feed one output, and which part of a parameter is which
map.
"""

from fanin.fans import feedforward as feedforward
from fanin.fans import packed_attention as packed_attention
from fanin.fans import packed_recurrent as packed_recurrent
from fanin.fans.layer_parameters import (
    WEIGHTS,
    LayerParameter,
    Role,
    describe_parameters,
    fans,
    module_layout,
    packed,
)
from fanin.fans.layout import (
    Convention,
    Fans,
    Layout,
    Mode,
    PackedPart,
    check_gain,
    require_fans,
    tensor_layout,
)

__all__ = [
    "WEIGHTS",
    "Convention",
    "Fans",
    "LayerParameter",
    "Layout",
    "Mode",
    "PackedPart",
    "Role",
    "check_gain",
    "describe_parameters",
    "fans",
    "module_layout",
    "packed",
    "require_fans",
    "tensor_layout",
]
