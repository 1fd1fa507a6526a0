"""Fans: what a layer holds, how many inputs feed one output, and which part of a parameter is which map."""

from fanin.fans import attention, feedforward, recurrent
from fanin.fans.holdings import WEIGHTS, Holding, Role, fans, holdings, module_layout, packed
from fanin.fans.layout import Convention, Fans, Layout, Mode, Part, check_gain, require_fans, tensor_layout

__all__ = [
    "WEIGHTS",
    "Convention",
    "Fans",
    "Holding",
    "Layout",
    "Mode",
    "Part",
    "Role",
    "attention",
    "check_gain",
    "fans",
    "feedforward",
    "holdings",
    "module_layout",
    "packed",
    "recurrent",
    "require_fans",
    "tensor_layout",
]
