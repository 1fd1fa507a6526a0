"""Layers that learn their shapes from the first batch (``nn.LazyLinear`` and the like): what their
parameters will be.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from fanin.fans.layer_parameters import Role

_ROLES: tuple[tuple[type[nn.Module], Mapping[str, Role]], ...] = (
    (nn.Linear, {"weight": "weight", "bias": "bias"}),
    (_ConvNd, {"weight": "weight", "bias": "bias"}),
    (_NormBase, {"weight": "norm scale", "bias": "norm shift"}),
)


def has_lazy_parameters(module: nn.Module) -> bool:
    """Whether a parameter of the module itself has no shape yet."""
    return any(is_lazy(one) for one in module._parameters.values() if one is not None)


def get_lazy_roles(module: nn.Module) -> Mapping[str, Role]:
    """The roles of a lazy layer's parameters, by name; empty for a class of which nothing is known.

    >>> get_lazy_roles(nn.LazyLinear(3))["weight"]
    'weight'
    """
    kind = getattr(module, "cls_to_become", None) or type(module)
    return next((roles for base, roles in _ROLES if issubclass(kind, base)), {})
