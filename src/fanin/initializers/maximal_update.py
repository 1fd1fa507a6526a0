"""What the maximal update parametrization does with each parameter: its standard deviation and its
learning rate, by how its dimensions grow with the width of the model.

| kind | fan-in | fan-out | standard deviation | rate, Adam | rate, SGD |
|---|---|---|---|---|---|
| input: first layers, embeddings, depthwise kernels | fixed | width | base | 1 | m |
| hidden | width | width | base/√m | 1/m | 1 |
| output: readouts, routers | width | fixed | base/m | 1/m | 1/m |
| vector: biases, normalization | – | width | – | 1 | m |
| fixed: biases of outputs | – | fixed | – | 1 | 1 |

m is width / base width. This is the form without multipliers in the forward pass (table 3 of Tensor
Programs V). An output with a multiplier 1/m has the constant standard deviation base instead, and
the rates 1 and m.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fanin.errors import FitError, SpecError, quote
from fanin.initializers.constant import Zero
from fanin.initializers.fixed_scale import Normal
from fanin.initializers.initializer_entry import Paper
from fanin.initializers.model_level import (
    Assignment,
    ModelParameter,
    ModelView,
    Multiplier,
    Requirement,
)
from fanin.structure.structure_records import Role

Kind = Literal["input", "hidden", "output", "vector", "fixed"]
Optimizer = Literal["adam", "sgd"]
Readout = Literal["small", "zero", "multiplier"]

TENSOR_PROGRAMS_V = Paper(
    authors="Yang, Hu, Babuschkin, Sidor, Liu, Farhi, Ryder, Pachocki, Chen, Gao",
    title="Tensor programs V: tuning large neural networks via zero-shot hyperparameter transfer",
    year=2022,
    link="https://arxiv.org/abs/2203.03466",
)

_OUTPUTS: tuple[Role, ...] = ("head", "router")


@dataclass(frozen=True)
class Scaled:
    """What is done with one parameter."""

    site: ModelParameter
    kind: Kind
    std: float | None
    """None for what is not drawn."""
    factor: float
    """Of the learning rate."""
    reason: str

    @property
    def assignment(self) -> Assignment | None:
        """What fills it; None if its role's own rule does."""
        if self.std is not None:
            return Assignment(Normal(std=self.std) if self.std else Zero(), self.reason)
        if self.site.role in ("bias", "recurrent bias"):
            return Assignment(Zero(), self.reason)
        return None

    @property
    def multiplier(self) -> Multiplier:
        """Its learning rate; the weight decay is scaled so that its product with it is not."""
        return Multiplier(self.factor, self.reason, 1 / self.factor)


@dataclass(frozen=True)
class WidthScaling:
    """The rules for one model, whose width is `multiple` times that of the base model."""

    view: ModelView
    multiple: float
    std: float | None
    optimizer: Optimizer
    readout: Readout

    def scale_all(self) -> Iterator[Scaled]:
        """What is done with each parameter, once if it has several names; those that the method
        does not get have a rate all the same, as far as they are parameters.
        """
        seen: set[int] = set()
        for site in self.view.sites:
            parameter = site.module._parameters.get(site.local)
            if parameter is None and not self.view.is_given(site):
                continue
            if parameter is None:
                raise FitError(
                    f"{site.name} is set through a parametrization, whose parameters would need "
                    "learning rates of their own. Apply it after the initialization, or leave the "
                    "layer out."
                )
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield self._scale(site)

    def _scale(self, site: ModelParameter) -> Scaled:
        kind = self._classify(site)
        multiplied = kind == "output" and self.readout == "multiplier"
        factor = self.multiple ** _RATES[self.optimizer]["vector" if multiplied else kind]
        drawn = site.role in ("weight", "recurrent weight", "embedding")
        std = self._choose_std(site, kind) if drawn else None
        reason = f"{kind}, m = {self.multiple:g}: rate × {factor:g}"
        return Scaled(site, kind, std, factor, reason)

    def _classify(self, site: ModelParameter) -> Kind:
        place = site.place
        is_output = place is not None and any(role in place.roles for role in _OUTPUTS)
        if site.role == "embedding":
            return "input"
        if site.role not in ("weight", "recurrent weight"):
            return "fixed" if is_output else "vector"
        if is_output:
            return "output"
        assert self.view.structure is not None
        reads = place is not None and place.reads
        is_first = site.layer in self.view.structure.first_layers and not reads
        depthwise = site.layout.groups > 1 and site.layout.tap_shape[2] == 1
        return "input" if is_first or depthwise else "hidden"

    def _choose_std(self, site: ModelParameter, kind: Kind) -> float | None:
        """The base model's standard deviation: `std`, or 1/√fan-in; and what width makes of it."""
        layout = site.layout.parts[0].layout if site.layout.parts else site.layout
        if layout.fans is None and not self.view.is_given(site):
            return None
        if layout.fans is None:
            raise FitError(f"{site.name} has no fans, by which muP scales. Exclude it.")
        fan_in = max(layout.fans.fan_in, 1.0)
        grows = kind in ("hidden", "output")
        base = self.std
        if base is None:
            base = 1 / math.sqrt(fan_in / self.multiple if grows else fan_in)
        if kind == "hidden":
            return base / math.sqrt(self.multiple)
        if kind == "output":
            return {"small": base / self.multiple, "zero": 0.0, "multiplier": base}[self.readout]
        return base


_RATES: dict[Optimizer, dict[Kind, int]] = {
    "adam": {"input": 0, "hidden": -1, "output": -1, "vector": 0, "fixed": 0},
    "sgd": {"input": 1, "hidden": 0, "output": -1, "vector": 1, "fixed": 0},
}
"""The power of m by which learning rates are multiplied."""


def measure_width(view: ModelView) -> int:
    """The width of a model: the inputs of its readout, or else the outputs of the layers that write
    to its residual stream.

    Raises `FitError` if it has neither.
    """
    assert view.structure is not None
    roles = {one.layer: one for one in view.structure.layers}
    for wanted in ("head", "writes"):
        for site in view.sites:
            role = roles.get(site.layer)
            if site.role not in ("weight", "embedding") or role is None:
                continue
            if wanted == "head" and site.role == "weight" and "head" in role.roles:
                return site.layout.tap_shape[2] * site.layout.groups
            if wanted == "writes" and role.writes:
                return site.layout.tap_shape[1] * site.layout.groups
    raise FitError(
        "The model has no readout and no residual stream, by which its width could be told. Give "
        "batch=, a batch as in training, or name the readout by roles={'*.my_head': 'head'}."
    )


def find_tied_readouts(view: ModelView) -> tuple[str, ...]:
    """The readouts whose weight is that of an embedding."""
    assert view.structure is not None
    tied = {
        layer
        for site in view.sites
        if site.role == "embedding"
        for layer in (site.layer, *site.tied_layers)
        if site.tied_layers
    }
    return tuple(layer for layer in view.structure.list_layers("head") if layer in tied)


def require_readout_multiplier(
    view: ModelView, multiple: float, readout: Readout
) -> tuple[Requirement, ...]:
    """That logits are divided by the multiple of the base width, where weights alone cannot."""
    assert view.structure is not None
    tied = find_tied_readouts(view)
    where = view.find_given(view.structure.list_layers("head") if readout == "multiplier" else tied)
    if not where or multiple == 1:
        return ()
    return (
        Requirement(
            what="readout multiplier",
            change=(
                f"{where[0]}(x / {multiple:g}) in place of {where[0]}(x), where {multiple:g} is "
                "the width relative to the base model"
                + (": its weight is that of the embedding, which must not shrink" if tied else "")
            ),
            met=None,
            where=where,
        ),
    )


def require_attention_scale(view: ModelView, base_head_dim: int | None) -> tuple[Requirement, ...]:
    """That the logits of attention are divided by the width of a head, not by its root."""
    assert view.structure is not None
    found: dict[int | None, list[str]] = {}
    for attention in view.structure.attentions:
        if attention.head_dim is None or attention.head_dim != base_head_dim:
            found.setdefault(attention.head_dim, []).extend(view.find_given(attention.query))
    return tuple(
        Requirement(
            what="attention scale",
            change=_describe_scale(width, base_head_dim),
            met=None,
            where=tuple(dict.fromkeys(layers)),
        )
        for width, layers in found.items()
        if layers
    )


def _describe_scale(width: int | None, base: int | None) -> str:
    if width is not None and base is not None:
        scale = math.sqrt(base) / width
        return (
            f"scaled_dot_product_attention(q, k, v, scale={scale:.6g}), √{base}/{width}, in place "
            f"of 1/√{width}"
        )
    return (
        "attention logits q·k · √(base head width)/(head width), in place of q·k/√(head width); "
        "nothing changes if heads are as wide as in the base model (say so by base_head_dim=)"
    )


def check_at_least_one(value: float | None, what: str) -> None:
    """Raise `SpecError` for less than 1."""
    if value is not None and value < 1:
        raise SpecError(f"{what} must be at least 1, not {quote(value)}.")
