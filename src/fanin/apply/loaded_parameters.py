"""Which parameters hold trained values, and therefore stay.

Two sources say so. A state dict that the caller gives: its keys are the parameters that were
loaded. Without one, the flags of transformers: ``from_pretrained`` sets ``_is_hf_initialized`` on
every parameter that it loads or ties, and not on those that were missing in the checkpoint (5.23;
tests/test_loaded.py loads one). The flags of modules are not read: transformers sets them on every
module that its constructor has initialized at random, so they do not tell loaded from random.
``copy.deepcopy`` loses the flags of parameters.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fanin.apply.model_parameters import ParameterUse
from fanin.apply.planned_fill import PlannedFill
from fanin.apply.previous_values import is_written
from fanin.apply.unfilled import report_unfilled
from fanin.errors import FitError, UnknownName, UsageError, quote
from fanin.structure import unwrap_name

LOADED = "loaded"
"""How the reason of a parameter begins that stays because it was loaded."""
FLAG = "_is_hf_initialized"

_BY_TRANSFORMERS = f"{LOADED} by transformers ({FLAG})"
_SHOWN = 5


def find_loaded(
    model: nn.Module, uses: Sequence[ParameterUse], loaded: Mapping[str, Any] | None
) -> dict[str, str]:
    """The names of the parameters that were loaded, each with the reason to keep it.

    Raises `UsageError` or `FitError` if `loaded` is no state dict of this model, or was not loaded
    into it.
    """
    if loaded is None:
        return {
            use.name: _BY_TRANSFORMERS
            for use in uses
            if all(is_flagged(one.parameter) for one in use.carriers)
        }
    if not isinstance(loaded, Mapping) or not all(isinstance(key, str) for key in loaded):
        raise UsageError(
            "loaded takes a state dict, such as the one that model.load_state_dict(…) took, not "
            f"{quote(loaded)}."
        )
    own = {name: one.parameter for use in uses for name, one in _list_tensors(model, use)}
    _require_keys(model, own, loaded)
    _require_shapes(own, loaded)
    _require_values(own, loaded)
    return {
        use.name: LOADED
        for use in uses
        if any(name in loaded for name, _ in _list_tensors(model, use))
    }


def warn_if_all_loaded(plan: Sequence[PlannedFill]) -> None:
    """Warn if nothing is filled, since transformers has loaded all that a rule could fill."""
    flagged = [one for one in plan if one.records[0].reason == _BY_TRANSFORMERS]
    if flagged and not any(one.initializer is not None for one in plan):
        report_unfilled(
            f"Nothing is filled: transformers has loaded {len(flagged)} parameters, and what is "
            "loaded stays. loaded={} fills them; a model of random weights is made from its config."
        )


def is_flagged(parameter: Tensor) -> bool:
    """Whether transformers has loaded a parameter, and fanin has not filled it since."""
    return getattr(parameter, FLAG, False) is True and not is_written(parameter)


def _list_tensors(model: nn.Module, use: ParameterUse) -> list[tuple[str, Any]]:
    """The names that a state dict may have for a parameter, or for those behind it."""
    own = [(use.name, use.carriers[0]), (use.bare_name, use.carriers[0])] if not use.through else []
    names = (
        (name, one) for one in use.carriers for name in (one.name, unwrap_name(model, one.name))
    )
    return [*own, *names]


def _require_keys(model: nn.Module, own: Mapping[str, Tensor], loaded: Mapping[str, Any]) -> None:
    """Every key must be in the model: a state dict of another model is no mistake to pass over."""
    others = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    others |= {key for key in model.state_dict() if key not in own}
    others |= {unwrap_name(model, name) for name in others}
    unknown = [key for key in loaded if key not in own and key not in others]
    if unknown:
        more = f" ({len(unknown)} of {len(loaded)} keys match nothing)" if len(unknown) > 1 else ""
        raise UnknownName.suggest(
            "parameter or buffer that loaded could mean",
            unknown[0],
            own,
            hint=f"loaded takes a state dict of this model{more}.",
        )


def _require_shapes(own: Mapping[str, Tensor], loaded: Mapping[str, Any]) -> None:
    wrong = []
    for name in own.keys() & loaded.keys():
        value, parameter = loaded[name], own[name]
        if not isinstance(value, Tensor):
            raise UsageError(f"loaded[{name!r}] is no tensor: {quote(value)}.")
        if is_lazy(parameter) or is_lazy(value):
            continue
        if value.shape != parameter.shape:
            shapes = ("×".join(map(str, one.shape)) or "scalar" for one in (value, parameter))
            wrong.append("{}: {} in loaded, {} in the model".format(name, *shapes))
    if wrong:
        raise FitError(
            "The shapes of loaded are not those of the model, so nothing was changed. Leave out "
            "of loaded what is to be initialized.\n" + "\n".join(sorted(wrong)[:_SHOWN])
        )


@torch.no_grad()
def _require_values(own: Mapping[str, Tensor], loaded: Mapping[str, Any]) -> None:
    """What stays must be what was loaded: somebody may have forgotten to load it."""
    names = sorted(own.keys() & loaded.keys())
    absent = [name for name in names if is_lazy(own[name]) or own[name].is_meta]
    other = [name for name in names if name not in absent and not _holds(own[name], loaded[name])]
    if absent or other:
        one = len(absent or other) == 1
        what = f"{'has' if one else 'have'} no memory or shape yet"
        if not absent:
            what = f"{'holds' if one else 'hold'} other numbers than loaded has"
        call = "model.load_state_dict(loaded, strict=False" + (
            ", assign=True)" * bool(absent) or ")"
        )
        raise FitError(
            f"{_list(absent or other)} {what}, so nothing was changed. loaded says what stays and "
            f"loads nothing; call {call} first."
        )


def _holds(parameter: Tensor, value: Tensor) -> bool:
    """Whether a parameter holds the numbers of a state dict; True where that cannot be seen."""
    if _is_elsewhere(parameter) or _is_elsewhere(value):
        return True
    expected = value.detach().to(parameter.device, parameter.dtype)
    same = parameter.detach() == expected
    return bool((same | (expected != expected)).all())


def _is_elsewhere(tensor: Tensor) -> bool:
    """Whether this process does not hold all of the numbers, or they are packed."""
    distributed = sys.modules.get("torch.distributed.tensor")
    sharded = distributed is not None and isinstance(tensor, distributed.DTensor)
    return sharded or tensor.is_meta or is_lazy(tensor) or tensor.is_quantized


def _list(names: Sequence[str]) -> str:
    more = f", … ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
