"""Lazy layers: their rules wait, and apply when the first batch has told the shapes.

A parameter of ``nn.LazyLinear`` has no shape before its first forward pass, and a weight without a
shape cannot be drawn. What decides about it is known: its name, its pattern, its role, its stream.
So the rules of each lazy layer are kept with it, as a forward pre-hook that comes after torch's
own, which makes the parameters. The hook fills them, before the layer computes its first output,
and completes the record. Since a stream depends on the name alone, the draw is that of the same
model with its shapes given (tests/test_lazy.py compares them bit by bit).

- What a state dict has loaded before, or the user has put there, stays.
- A deep copy waits on its own; it fills itself, and the record of the original is not changed.
- A second `initialize` replaces the rules of the first.
- Rules that look at more than one layer need all shapes and are refused.
- If a rule does not fit the shape, the forward pass raises, again and again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from fanin import seeds
from fanin.apply.fill import fill
from fanin.apply.loaded_parameters import LOADED
from fanin.apply.model_facts import ModelFacts, list_model_initializers
from fanin.apply.model_parameters import ParameterUse, find_layer_uses
from fanin.apply.parameter_record import ParameterRecord
from fanin.apply.patterns import match_uses
from fanin.apply.previous_values import remember_written
from fanin.apply.record import Record, complete_record
from fanin.apply.rule_resolver import RuleResolver
from fanin.apply.rules import KEEP, Rules
from fanin.apply.told_layouts import apply_layouts
from fanin.errors import FitError
from fanin.fans import Convention
from fanin.fans.lazy_layers import has_lazy_parameters

_SHOWN = 3
_LOADED = f"{LOADED}, before it had a shape"
_REPLACED = "kept: it was replaced before it had a shape"


class WaitingLayer:
    """The rules of one lazy layer, until they can be applied: a hook of the layer."""

    def __init__(
        self,
        uses: Sequence[ParameterUse],
        rules: Rules,
        reasons: Mapping[str, str],
        untouched: Mapping[str, str],
        seed: int,
        shared: bool,
        convention: Convention,
    ) -> None:
        self.module = uses[0].module
        self._rules, self._reasons = rules, dict(reasons)
        self._untouched = dict(untouched)
        self._seed, self._shared, self._convention = seed, shared, convention
        prefixes = ((_cut(use.name, use.local), _cut(use.bare_name, use.local)) for use in uses)
        self._prefixes = tuple(dict.fromkeys(prefixes))
        self._parameters = dict(self.module._parameters)
        self._stays: dict[str, str] = {}
        self._record: Record | None = None
        self._handles: list[Any] = []

    def attach(self, record: Record) -> None:
        """Wait for the layer's first forward pass, and complete `record` then."""
        self._record = record
        self._handles = [
            self.module.register_load_state_dict_pre_hook(self.note_loaded),
            self.module.register_forward_pre_hook(self.note_replaced, prepend=True),
            self.module.register_forward_pre_hook(self),
        ]

    def detach(self) -> None:
        """Wait no longer."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._record = [], None

    def note_loaded(
        self, module: nn.Module, state_dict: Mapping[str, Any], prefix: str, *_: object
    ) -> None:
        """Before a state dict is loaded: what it has stays."""
        for local in self._parameters:
            value = state_dict.get(prefix + local)
            if value is not None and not is_lazy(value):
                self._stays[local] = _LOADED

    def note_replaced(self, module: nn.Module, args: object) -> None:
        """Before torch makes the parameters: what the user has put there stays."""
        for local, parameter in module._parameters.items():
            if parameter is None or is_lazy(parameter):
                continue
            if parameter is not self._parameters.get(local):
                self._stays.setdefault(local, _REPLACED)

    @torch.no_grad()
    def __call__(self, module: nn.Module, args: object) -> None:
        """Fill the layer, if it has its shapes now."""
        record, self._record = self._record, None  # describing a layer may run it
        if record is None:
            return
        try:
            if has_lazy_parameters(module):
                return
            uses = [
                use
                for prefix, bare_prefix in self._prefixes
                for use in find_layer_uses(module, prefix, bare_prefix, self._convention)
            ]
            records = self._fill(uses, record)
        finally:
            self._record = record
        remember_written(use.parameter for use in uses if use.local not in self._stays)
        complete_record(record, records)
        self.detach()

    def _fill(self, uses: Sequence[ParameterUse], record: Record) -> list[ParameterRecord]:
        stays = {use.name: self._stays[use.local] for use in uses if use.local in self._stays}
        try:
            resolver = RuleResolver(
                apply_layouts(self._rules.layouts, uses),
                self._rules,
                ModelFacts(uses[0].module),
                self._untouched | stays,
                {},
            )
            plan = resolver.plan_fills(self._seed, shared=self._shared)
            self._require_distinct_streams([one for each in plan for one in each.records], record)
        except FitError as error:
            raise FitError(
                f"The rules of {uses[0].name.rpartition('.')[0] or 'the model'} waited for its "
                f"first batch, and do not fit its shapes. {error}\nInitialize the model again with "
                "another rule there."
            ) from None
        done = [record for planned in plan for record in fill(planned, self._seed)]
        return [self._tell_reason(one) for one in done]

    def _tell_reason(self, one: ParameterRecord) -> ParameterRecord:
        """The reason with the pattern that the user gave, instead of the parameter's own name."""
        given = self._reasons.get(one.name)
        return (
            one
            if given is None
            else replace(
                one,
                reason=one.reason.replace(f"pattern {one.bare_name!r}", f"pattern {given!r}", 1),
            )
        )

    def _require_distinct_streams(self, new: Sequence[ParameterRecord], record: Record) -> None:
        """No two streams of one model may coincide, also not those that are known late."""
        if self._shared:
            return
        names = {one.name for one in new}
        streams = {
            f"{one.name}[{part.name}]" if part else one.name: (part or one).stream
            for one in (*(old for old in record if old.name not in names), *new)
            for part in (one.parts or (None,))
        }
        seeds.require_distinct({name: one for name, one in streams.items() if one is not None})


def attach_all(model: nn.Module, layers: Sequence[WaitingLayer], record: Record) -> None:
    """Let lazy layers wait, and forget what a model waited for under earlier rules."""
    for module in model.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WaitingLayer):
                hook.detach()
    for layer in layers:
        layer.attach(record)


def plan_waiting(
    resolver: RuleResolver,
    everything: Sequence[ParameterUse],
    rules: Rules,
    untouched: Mapping[str, str],
    *,
    seed: int,
    shared: bool,
    convention: Convention,
    strict: bool,
) -> tuple[list[WaitingLayer], list[tuple[ParameterRecord, ...]]]:
    """What waits for each lazy layer, and the records of their parameters until then.

    Raises `FitError` for what cannot wait.
    """
    groups = resolver.list_waiting()
    _refuse(groups, untouched, rules, strict=strict)
    layers: dict[int, list[ParameterUse]] = {}
    for group in groups:
        for use in group:
            layers.setdefault(id(use.module), []).append(use)
    waiting = []
    for uses in layers.values():
        matches = {use.bare_name: match for use in uses if (match := resolver.get_match(use.name))}
        methods = {str(one.initializer) for use in uses if (one := resolver.get_method(use.name))}
        own = replace(
            rules,
            default=methods.pop() if methods else rules.default,
            patterns={name: match.initializer or KEEP for name, match in matches.items()},
            layouts=_narrow(rules.layouts, everything, uses, "layouts"),
            split=_narrow(rules.split, everything, uses, "split"),
        )
        reasons = {match.use.name: match.pattern for match in matches.values()}
        left = {use.name: untouched[use.name] for use in uses if use.name in untouched}
        waiting.append(WaitingLayer(uses, own, reasons, left, seed, shared, convention))
    return waiting, [_make_records(group, resolver.describe_waiting(group)) for group in groups]


def refuse_whole_model_rules(uses: Sequence[ParameterUse], rules: Rules) -> None:
    """Raise `FitError` for lazy layers under a rule that looks at more than one layer."""
    names = [use.name for use in uses if use.waits]
    wide = [one for one in list_model_initializers(rules) if not one.by_layer]
    if names and wide:
        raise FitError(
            f"{wide[0]} looks at the whole model, and {_list(names)} no shape yet (lazy), so "
            "nothing was changed. Run one batch through the model first, model(batch), or use a "
            "rule for single weights, such as he_normal, which waits for the shapes."
        )


def _refuse(
    groups: Sequence[Sequence[ParameterUse]],
    untouched: Mapping[str, str],
    rules: Rules,
    *,
    strict: bool,
) -> None:
    """Refuse lazy parameters that are tied across layers, on meta, or of layers nobody knows."""
    tied = [group[0].name for group in groups if len({id(use.module) for use in group}) > 1]
    on_meta = [group[0].name for group in groups if group[0].parameter.is_meta]
    for names, what in (
        (tied, "shared by several layers"),
        (on_meta, "on the device meta, where no batch can give them a shape"),
    ):
        if names:
            raise FitError(
                f"{_list(names)} no shape yet (lazy), and {what}, so nothing was changed. Run one "
                "batch through the model first, on a device that has memory."
            )
    unknown = [
        group[0].name
        for group in groups
        if group[0].role == "unknown" and group[0].name not in untouched
    ]
    if unknown and strict:
        raise FitError(
            f"{_list(unknown)} no shape yet (lazy), and fanin does not know what the layer is. "
            "Nothing was changed, since strict=True. Run one batch through the model first."
        )


def _narrow(
    given: Mapping[str, Any],
    everything: Sequence[ParameterUse],
    uses: Sequence[ParameterUse],
    what: str,
) -> dict[str, Any]:
    """What is given by pattern, for some parameters by their names; the last pattern counts."""
    names = {use.name for use in uses}
    return {
        use.bare_name: value
        for pattern, value in given.items()
        for use in match_uses(everything, pattern, what)
        if use.name in names
    }


def _make_records(group: Sequence[ParameterUse], reason: str) -> tuple[ParameterRecord, ...]:
    head = group[0].name
    return tuple(
        ParameterRecord(
            name=use.name,
            shape=(),
            dtype=str(use.parameter.dtype).removeprefix("torch."),
            role=use.role,
            rule=None,
            reason=reason if use.name == head else f"tied to {head}",
            tied_to=None if use.name == head else head,
            fan_in=None,
            fan_out=None,
            waiting=True,
            bare_name=use.bare_name,
        )
        for use in group
    )


def _cut(name: str, local: str) -> str:
    return name.removesuffix(local)


def _list(names: Sequence[str]) -> str:
    more = f", … ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more + (" has" if len(names) == 1 else " have")
