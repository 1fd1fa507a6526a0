"""Layer classes of other packages, known by where they are defined, so that nothing is imported.

The layouts are those of the packages' own forward passes; the tests compare them where the package
can be installed.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from fanin.fans.layer_parameters import LayerParameters, Role, add_description
from fanin.fans.layout import Convention
from fanin.fans.parameter_axes import Layout
from fanin.fans.registered_layers import describe_as

_LINEAR = Layout(in_axis=1, out_axis=0)
_TRANSPOSED = Layout(in_axis=0, out_axis=1)
_PER_TYPE = Layout(in_axis=1, out_axis=2, batch_axis=0)
_PER_HEAD = Layout(in_axis=2, out_axis=0, batch_axis=1)
"""Attention of graphs: (1, heads, size), a scalar product of `size` numbers per head."""

_CONV1D = "transformers.pytorch_utils.Conv1D"
_GEOMETRIC = "torch_geometric.nn."
_ATTENTION: dict[str, Layout | Role] = {
    "att_src": _PER_HEAD,
    "att_dst": _PER_HEAD,
    "att_edge": _PER_HEAD,
    "att": _PER_HEAD,
    "bias": "bias",
}

KNOWN_CLASSES: Mapping[str, Mapping[str, Layout | Role]] = {
    _CONV1D: {"weight": _TRANSPOSED, "bias": "bias"},
    _GEOMETRIC + "dense.linear.Linear": {"weight": _LINEAR, "bias": "bias"},
    _GEOMETRIC + "dense.linear.HeteroLinear": {"weight": _PER_TYPE, "bias": "bias"},
    _GEOMETRIC + "conv.gat_conv.GATConv": _ATTENTION,
    _GEOMETRIC + "conv.gatv2_conv.GATv2Conv": _ATTENTION,
    _GEOMETRIC + "conv.gcn_conv.GCNConv": {"bias": "bias"},
    _GEOMETRIC + "conv.cheb_conv.ChebConv": {"bias": "bias"},
    _GEOMETRIC + "conv.rgcn_conv.RGCNConv": {
        "weight": _PER_TYPE,
        "root": _TRANSPOSED,
        "bias": "bias",
    },
    _GEOMETRIC + "conv.gated_graph_conv.GatedGraphConv": {"weight": _PER_TYPE},
}
"""By the qualified name of the class; subclasses are known with it."""


@add_description
def describe_by_class_name(module: nn.Module, convention: Convention) -> LayerParameters:
    """The parameters of a layer that another package defines; nothing if none is known."""
    for base in type(module).__mro__:
        described = KNOWN_CLASSES.get(f"{base.__module__}.{base.__name__}")
        if described is not None:
            return describe_as(module, described, convention)
    return {}


def is_transformers_conv1d(module: nn.Module) -> bool:
    """Whether a module is transformers' Conv1D. Another class of that name is not."""
    return any(f"{base.__module__}.{base.__name__}" == _CONV1D for base in type(module).__mro__)
