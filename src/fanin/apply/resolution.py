"""What a model's parameters are and held, and the rules that they get: all that is found out before
a plan is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fanin.apply.keras_parameters import describe_keras_layers
from fanin.apply.model_facts import ModelFacts, find_facts
from fanin.apply.model_parameters import ParameterUse
from fanin.apply.observed_layouts import describe_by_use
from fanin.apply.observed_packing import describe_packing
from fanin.apply.patterns import match_uses
from fanin.apply.previous_values import PreviousValues, measure_previous
from fanin.apply.refusals import refuse_unreadable
from fanin.apply.rule_resolver import RuleResolver
from fanin.apply.rules import KEEP, Rules, match_patterns
from fanin.apply.special_values import find_special
from fanin.apply.told_layouts import apply_layouts


@dataclass(frozen=True)
class Resolution:
    """The uses of all parameters, what they held, and what decides about them."""

    uses: tuple[ParameterUse, ...]
    previous: Mapping[str, PreviousValues | None]
    """By name, what each parameter held before."""
    resolver: RuleResolver
    facts: ModelFacts


def resolve_rules(
    model: nn.Module,
    uses: Sequence[ParameterUse],
    rules: Rules,
    untouched: Mapping[str, str],
    batch: Any,
    roles: Mapping[str, str] | None = None,
) -> Resolution:
    """Find out what each parameter is, if the model's layers can be seen."""
    uses = apply_layouts(rules.layouts, describe_keras_layers(model, uses))
    refuse_unreadable(model, uses, {*untouched, *match_patterns(rules.patterns, uses)})
    uses = describe_by_use(model, uses, batch, untouched)
    told = {use.name for pattern in rules.split for use in match_uses(uses, pattern, "split")}
    facts = find_facts(model, batch, rules, roles)
    uses = describe_packing(model, uses, batch, told, facts.structure)
    previous = {use.name: measure_previous(use.parameter) for use in uses if not use.through}
    protected = find_special(uses, previous) if rules.special == KEEP else {}
    resolver = RuleResolver(uses, rules, facts, untouched, protected)
    return Resolution(uses, previous, resolver, facts)
