"""A model on the device "meta" whose values a function of the caller makes: what only the model's
constructor, or its library's own function, knows how to fill.

Everything on meta gets memory, the function runs under random streams of its own, and what it did
not write goes back to meta, so that the rules, and the reset methods of modules, see it as before
(`fanin.apply.meta`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fanin.apply.meta import allocate
from fanin.apply.model_parameters import ParameterUse
from fanin.apply.module_function import Materialize, read_call, run_function
from fanin.apply.parameter_record import ParameterRecord
from fanin.apply.planned_fill import PlannedFill
from fanin.apply.rules import KEEP, Rules, match_patterns
from fanin.errors import UsageError

_TABLES = ("_parameters", "_buffers", "_modules")


@dataclass(frozen=True)
class _Place:
    """A parameter or buffer that had no memory, and what it was given."""

    table: dict[str, Any]
    local: str
    old: Tensor
    new: Tensor
    version: int

    @property
    def current(self) -> Tensor:
        """What is there now; the function may have put another tensor there."""
        found: Tensor | None = self.table.get(self.local)
        return self.old if found is None else found


@contextmanager
def materialize_model(
    model: nn.Module,
    function: Materialize | None,
    device: torch.device | None,
    seed: int,
    *,
    kept: Collection[int],
    undo: bool,
) -> Iterator[frozenset[int]]:
    """Inside, what `function` makes of a model on meta has memory; the ids of these parameters.

    Parameters that have memory may be the constructor's own, which has no notion of meta
    (``torch.FloatTensor``), and then hold nothing: the function fills them too, but for those whose
    ids are in `kept`. Everything is put back if the body fails, and at the end if `undo` is asked
    for. Raises `FitError` if the function fails.
    """
    if function is None or not _is_on_meta(model):
        yield frozenset()
        return
    call = read_call(function)
    if device is None:
        raise UsageError("materialize=… needs the device that the model is to have: device='cpu'.")
    restore = _remember(model)
    values = _Values(model)
    try:
        places = list(_give_memory(model, device))
        run_function(model, call, function, device, seed)
        filled = values.restore(kept)
        written = {id(place.new) for place in places if _is_written(place)}
        for place in places:
            if place.current is place.new and id(place.new) not in written:
                place.table[place.local] = place.old
        yield frozenset(id(place.current) for place in places if not place.current.is_meta) | filled
    except BaseException:
        restore()
        values.restore()
        raise
    if undo:
        restore()
        values.restore()


def _is_on_meta(model: nn.Module) -> bool:
    return any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def _give_memory(model: nn.Module, device: torch.device) -> Iterator[_Place]:
    """Replace what is on meta by memory on the device, once for all places that share it."""
    made: dict[int, tuple[Tensor, Tensor]] = {}
    for module in model.modules():
        tables: tuple[Any, ...] = (module._parameters, module._buffers)
        for table in tables:
            for local, old in list(table.items()):
                if old is not None and old.is_meta:
                    _, new = made.setdefault(id(old), (old, allocate(old, device)))
                    if _is_float(new):
                        new.detach().fill_(math.nan)
                    table[local] = new
                    yield _Place(table, local, old, new, new._version)


def _is_written(place: _Place) -> bool:
    """Whether every number of a tensor was written. Those of a float are told by their values,
    since ``tensor.data`` is written without a trace.
    """
    new = place.new.detach()
    local = new.to_local() if hasattr(new, "to_local") else new
    if not _is_float(new):
        return new.numel() == 0 or new._version != place.version
    return not bool(local.isnan().any())


def _is_float(tensor: Tensor) -> bool:
    return tensor.dtype.itemsize > 1 and (tensor.is_floating_point() or tensor.is_complex())


class _Values:
    """The values of what has memory before the function runs."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = {id(parameter) for parameter in model.parameters()}
        self._saved = [
            (tensor, tensor.detach().clone())
            for tensor in (*model.parameters(), *model.buffers())
            if not (tensor.is_meta or is_lazy(tensor))
        ]

    @torch.no_grad()
    def restore(self, kept: Collection[int] | None = None) -> frozenset[int]:
        """Put back the values of buffers and of the parameters whose ids are in `kept`, or of all;
        the ids of the other parameters that have changed.
        """
        left = set()
        for tensor, values in self._saved:
            if kept is None or id(tensor) in kept or id(tensor) not in self._parameters:
                tensor.copy_(values)
            elif not torch.equal(tensor, values):
                left.add(id(tensor))
        return frozenset(left)


def _remember(model: nn.Module) -> Callable[[], None]:
    """What puts back every attribute, parameter, buffer and child of every module."""
    own = [vars(module) for module in model.modules()]
    tables = [names[table] for names in own for table in _TABLES]
    held = [(names, dict(names)) for names in (*own, *tables)]

    def restore() -> None:
        for names, before in held:
            names.clear()
            names.update(before)

    return restore


def list_kept(uses: Sequence[ParameterUse], rules: Rules, untouched: Mapping[str, str]) -> set[int]:
    """The ids of the parameters whose values stay whatever they are: frozen, left out, "keep"."""
    kept = {
        name
        for name, match in match_patterns(rules.patterns, uses).items()
        if match.initializer is None
    } | untouched.keys()
    return {
        id(one.parameter)
        for use in uses
        for one in use.carriers
        if use.name in kept or not one.parameter.requires_grad or rules.default == KEEP
    }


def mark_made(planned_fills: Sequence[PlannedFill], made: Collection[int]) -> list[PlannedFill]:
    """The plan, whose records say which parameters that no rule fills the caller's function has
    filled.
    """
    return [
        replace(planned, records=mark_change(planned.records, "materialize filled it"))
        if planned.initializer is None
        and any(id(one.parameter) in made for one in planned.uses[0].carriers)
        else planned
        for planned in planned_fills
    ]


def mark_change(records: tuple[ParameterRecord, ...], how: str) -> tuple[ParameterRecord, ...]:
    """The records of a parameter that no rule fills and something else has filled."""
    head, *others = (replace(record, changed=True) for record in records)
    return replace(head, reason=f"{head.reason}; {how}"), *others
