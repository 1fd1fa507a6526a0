"""The parts of a model that recipes tell apart, by what layers do and not by their names."""

from __future__ import annotations

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
            return role  # type: ignore[return-value]
    if _is_patches(site):
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


def _is_patches(site: ModelParameter) -> bool:
    module = site.module
    return (
        isinstance(module, nn.modules.conv._ConvNd)
        and site.place is not None
        and site.place.branch is None
        and max(module.kernel_size) > 1
        and tuple(module.kernel_size) == tuple(module.stride)
    )
