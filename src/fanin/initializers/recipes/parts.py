"""The parts of a model that recipes tell apart, by what layers do and not by their names."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from fanin.initializers.model_level import ModelParameter, ModelView

Part = Literal[
    "tokens",
    "positions",
    "patches",
    "head",
    "router",
    "residual output",
    "query",
    "key",
    "value",
    "gate",
    "up",
    "convolution",
    "matrix",
    "other",
]
"""residual output: a last layer of a residual branch. patches: a convolution outside branches whose
windows do not overlap. matrix: any other linear map. other: a bias, a norm, what is unknown."""


def find_part(site: ModelParameter, view: ModelView) -> Part:
    """Which part of the model a parameter is; of a packed layer, the first that it packs.

    An embedding that no batch showed to be looked up by position counts as one of tokens. A head
    that is tied to an embedding is that embedding.
    """
    if site.role == "embedding":
        return "positions" if site.layer in view.position_tables else "tokens"
    if site.role not in ("weight", "recurrent weight") or site.place is None:
        return "other"
    place = site.place
    if "router" in place.roles:
        return "router"
    if "head" in place.roles and place.branch is None:
        return "head"
    if place.writes:
        return "residual output"
    for role in ("query", "key", "value", "gate", "up"):
        if role in place.roles:
            return role
    if is_patches(site):
        return "patches"
    return "convolution" if _is_convolution(site.module) else "matrix"


def count_blocks(site: ModelParameter) -> int:
    """L, the number of blocks of the stream that the layer of a parameter lies at; at least 1."""
    return max(site.place.blocks if site.place is not None else 0, 1)


def count_branches(site: ModelParameter) -> int:
    """The number of residual branches of its stream, 2·L in a transformer; at least 1."""
    return max(site.place.branches if site.place is not None else 0, 1)


def get_block(site: ModelParameter) -> int:
    """l, the index of its block, from 0."""
    return (site.place.block if site.place is not None else None) or 0


def get_inputs(site: ModelParameter) -> float:
    """The fan-in of a weight."""
    return site.layout.fans.fan_in if site.layout.fans is not None else 1.0


def get_outputs(site: ModelParameter) -> float:
    """The fan-out of a weight; of a packed one, that of one of its parts."""
    layout = site.layout.parts[0].layout if site.layout.parts else site.layout
    return layout.fans.fan_out if layout.fans is not None else 1.0


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd)


def is_patches(site: ModelParameter) -> bool:
    """Whether a parameter is of a convolution outside branches whose windows do not overlap."""
    module = site.module
    return (
        isinstance(module, nn.modules.conv._ConvNd)
        and site.place is not None
        and site.place.branch is None
        and max(module.kernel_size) > 1
        and tuple(module.kernel_size) == tuple(module.stride)
    )


def find_token_table(
    site: ModelParameter, view: ModelView
) -> Literal["positions", "class token"] | None:
    """What a parameter of unknown role is that is as wide as the stream and lies outside branches:
    of shape (1, n, d) or (n, d) a table of positions, of shape (1, 1, d) or (1, d) a class token.
    """
    shape = tuple(site.layout.shape)
    outside = site.place is None or site.place.branch is None
    if site.role != "unknown" or not outside or not 2 <= len(shape) <= 3:
        return None
    if shape[-1] not in _list_widths(view) or (len(shape) == 3 and shape[0] != 1):
        return None
    return "class token" if math.prod(shape[:-1]) == 1 else "positions"


def list_end_norms(view: ModelView) -> frozenset[str]:
    """The scales of the normalizations at the ends of residual branches, by name."""
    branches = view.structure.branches if view.structure is not None else ()
    ends = {name for branch in branches for name in branch.norm_layers.end}
    return frozenset(
        site.name for site in view.sites if site.role == "norm scale" and site.layer in ends
    )


def _list_widths(view: ModelView) -> frozenset[int]:
    """The numbers of outputs of the layers that write to residual streams."""
    return frozenset(
        int(get_outputs(site))
        for site in view.sites
        if site.role == "weight" and site.place is not None and site.place.writes
    )
