"""select_weights: a small model starts from a larger one's state dict in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fanin.apply.model_parameters import find_uses
from fanin.apply.patterns import Patterns, find_untouched
from fanin.errors import FitError, UnknownName, UsageError, quote
from fanin.initializers.selected_entries import (
    LayerChoice,
    check_sizes,
    match_names,
    select_entries,
)
from fanin.structure import unwrap_name

_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class SelectedParameter:
    """Where the numbers of one parameter, or running statistic, come from."""

    name: str
    source: str | None
    """Its name in the state dict; None if it was left as it was."""
    shape: tuple[int, ...]
    source_shape: tuple[int, ...] | None

    def __str__(self) -> str:
        if self.source is None:
            return f"{self.name}: left as it was"
        return f"{self.name} {self.shape} from {self.source} {self.source_shape}"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What `select_weights` did, parameter by parameter."""

    layers: LayerChoice
    parameters: tuple[SelectedParameter, ...]

    def __getitem__(self, name: str) -> SelectedParameter:
        """What was done with one parameter."""
        for one in self.parameters:
            if one.name == name:
                return one
        raise UnknownName.suggest("parameter", name, [one.name for one in self.parameters])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and dicts."""
        return asdict(self)

    def __str__(self) -> str:
        """A line per parameter."""
        return "\n".join(map(str, self.parameters))


def select_weights(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    layers: LayerChoice = "first",
    exclude: Patterns | None = None,
) -> Selection:
    """Fill a model with evenly placed weights of a larger model of the same family.

    As `weight_selection` does from a file; the running statistics of batch normalization are
    selected too. All else that the model holds, such as masks and other buffers, stays.

    Args:
        model: the smaller model, in memory; it is changed in place.
        state_dict: of the larger model, with the same names.
        layers: where the larger model has more layers: its "first" ones, or "uniform": every
            N/n-th.
        exclude: pattern or patterns of parameters to leave as they are, such as ``"head.*"``; all
            of a layer whose weight is left stays.

    Raises:
        UsageError: not a module, not a state dict, or a pattern without a match.
        FitError: parameters that the state dict does not have, or in a smaller size; names them
            all, and nothing is changed.

    Source: Xu et al., Initializing models with larger ones, 2024.

    >>> fanin.select_weights(small, large.state_dict(), exclude="head.*")  # doctest: +SKIP
    """
    _check_arguments(model, state_dict, layers)
    left = find_untouched(find_uses(model, "kernel"), None, exclude)
    own = {
        name: one
        for name, one in _list_tensors(model)
        if name not in left and f"{name.rpartition('.')[0]}.weight".lstrip(".") not in left
    }
    sources = _match_state(
        {unwrap_name(model, name): one for name, one in own.items()}, state_dict, layers
    )
    chosen = {
        name: select_entries(state_dict[sources[unwrap_name(model, name)]], one.shape)
        for name, one in own.items()
    }
    with torch.no_grad():
        for name, one in own.items():
            one.copy_(chosen[name])
    return Selection(
        layers=layers,
        parameters=tuple(
            SelectedParameter(
                name=name,
                source=key,
                shape=tuple(one.shape),
                source_shape=None if key is None else tuple(state_dict[key].shape),
            )
            for name, one in _list_tensors(model)
            for key in [sources[unwrap_name(model, name)] if name in own else None]
        ),
    )


def _check_arguments(model: object, state_dict: object, layers: object) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(f"select_weights takes a torch.nn.Module, not {quote(model)}.")
    if not isinstance(state_dict, Mapping) or not all(
        isinstance(one, Tensor) for one in state_dict.values()
    ):
        raise UsageError(
            "select_weights takes the state dict of the larger model, names and tensors, not "
            f"{quote(state_dict)}. Use larger.state_dict()."
        )
    if layers not in get_args(LayerChoice):
        raise UnknownName.suggest("choice of layers", layers, get_args(LayerChoice))


def _list_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, each once, and running statistics of batch and instance normalization."""
    yield from model.named_parameters()
    for path, module in model.named_modules():
        if isinstance(module, _NormBase):
            prefix = f"{path}." if path else ""
            for local, buffer in module.named_buffers(prefix="", recurse=False):
                yield f"{prefix}{local}", buffer


def _match_state(
    own: Mapping[str, Tensor], source: Mapping[str, Tensor], layers: LayerChoice
) -> dict[str, str]:
    """The name in a state dict for each name of the smaller model; one error for all problems."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for name, key in match_names(own, source, layers).items():
        try:
            if own[name].is_meta:
                raise FitError(f"{name} has no memory (device meta).")
            if key is None:
                raise FitError(f"{name}: the state dict has nothing of that name.")
            check_sizes(name, own[name].shape, key, source[key].shape)
            found[name] = key
        except FitError as error:
            problems.append(str(error))
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise FitError(
            "\n".join(
                [
                    "Some parameters cannot be selected, so nothing was changed. exclude= leaves "
                    "parameters as they are.",
                    *problems[:_SHOWN],
                    *more,
                ]
            )
        )
    return found
