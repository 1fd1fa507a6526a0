"""Parameters that no layer class describes, described by how the model uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from fanin import structure
from fanin.apply.bare_model import remove_wrappers
from fanin.apply.fully_sharded import suspend_gathering
from fanin.apply.model_parameters import ParameterUse, is_matrix_like
from fanin.fans import Fans, Layout, WeightLayout
from fanin.structure import WeightUse

Uses = Mapping[str, WeightUse]


def describe_by_use(
    model: nn.Module, uses: Sequence[ParameterUse], batch: Any, untouched: Mapping[str, str]
) -> tuple[ParameterUse, ...]:
    """The uses, with a role and a layout for each parameter of unknown role whose use shows them.

    The model is only traced or observed if there is such a parameter: one of at least two axes,
    which is trained and not excluded. One whose first axis has the length 1, such as a class token
    or a table of positions, is no map.
    """
    asked = [use.bare_name for use in uses if _is_in_question(use) and use.name not in untouched]
    if not asked:
        return tuple(uses)
    beside = [
        use.bare_name
        for use in uses
        if use.role == "unknown"
        and not use.through
        and use.parameter.layout is torch.strided
        and any(use.bare_name.startswith(f"{name.rpartition('.')[0]}.") for name in asked)
    ]
    with suspend_gathering(model, observed=batch is not None), remove_wrappers(model) as bare:
        names = list(dict.fromkeys([*asked, *beside]))
        found = structure.find_weight_uses(bare, names, batch)
    return tuple(_describe(use, found) if use.role == "unknown" else use for use in uses)


def _is_in_question(use: ParameterUse) -> bool:
    return (
        use.role == "unknown"
        and not use.through
        and is_matrix_like(use.layout.shape)
        and use.parameter.requires_grad
        and use.parameter.layout is torch.strided
        and not isinstance(use.module, torch.jit.ScriptModule)
    )


def _describe(use: ParameterUse, found: Uses) -> ParameterUse:
    seen = found.get(use.bare_name)
    if seen is None:
        return use
    kind = type(use.module).__name__
    if seen.kind == "weight":
        layout = Layout(
            in_axis=seen.in_axes, out_axis=seen.out_axes, batch_axis=seen.batch_axes
        ).arrange(use.layout.shape)
        return replace(
            use, role="weight", layout=layout, note=f", as {seen.function} uses it in {kind}"
        )
    weight = _find_weight_beside(use, found)
    if weight is not None:
        return replace(use, role="bias", note=f", added after {weight} in {kind}")
    if seen.kind == "embedding" and len(use.layout.shape) == 2:
        table = WeightLayout(use.layout.shape, Fans(1, use.layout.shape[1]), transposed=True)
        return replace(use, role="embedding", layout=table, note=", whose rows are looked up")
    what = "added to" if seen.kind in ("added", "embedding") else "multiplied with"
    return replace(use, unknown=f"no matrix: it is {what} a signal in {kind}")


def _find_weight_beside(use: ParameterUse, found: Uses) -> str | None:
    """The weight in the same module that has as many outputs (and maps) as this has numbers."""
    if found[use.bare_name].kind not in ("added", "embedding"):
        return None
    owner = use.bare_name.rpartition(".")[0]
    for name, seen in found.items():
        if seen.kind == "weight" and name.rpartition(".")[0] == owner:
            shape = tuple(use.module.get_parameter(name.rpartition(".")[2]).shape)
            axes = sorted((*seen.batch_axes, *seen.out_axes))
            if tuple(shape[axis] for axis in axes) == use.layout.shape:
                return name
    return None
