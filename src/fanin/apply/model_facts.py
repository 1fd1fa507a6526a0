"""What model-level rules must know of a model: what follows each layer, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from fanin import structure
from fanin.apply.bare_model import remove_wrappers
from fanin.apply.fully_sharded import suspend_gathering
from fanin.apply.rules import Rules, resolve_rule
from fanin.errors import UsageError
from fanin.initializers.model_level import ModelInitializer
from fanin.structure import Follower, LayerPlace, ModelStructure
from fanin.structure.position_tables import find_position_tables


@dataclass(frozen=True)
class ModelFacts:
    """What was found out about a model; what no rule asked for is empty."""

    model: nn.Module
    """Without its wrappers."""
    followers: Mapping[str, Follower] = field(default_factory=dict)
    structure: ModelStructure | None = None
    places: Mapping[str, LayerPlace] = field(default_factory=dict)
    position_tables: frozenset[str] = frozenset()


def list_model_initializers(rules: Rules) -> tuple[ModelInitializer, ...]:
    """The model-level initializers among all rules."""
    return tuple(dict.fromkeys(_iterate_model_initializers(rules)))


def _iterate_model_initializers(rules: Rules) -> Iterator[ModelInitializer]:
    by_role = (rules.recurrent, rules.biases, rules.norms, rules.embeddings)
    for rule in (rules.default, *rules.patterns.values(), *by_role):
        made = None if rule is None else resolve_rule(rule)
        if isinstance(made, ModelInitializer):
            yield made


def find_facts(
    model: nn.Module, batch: Any, rules: Rules, roles: Mapping[str, str] | None
) -> ModelFacts:
    """What the rules must know, from a trace or from a forward pass on a batch.

    Raises `FitError` if the model cannot be traced and there is no batch, and `UsageError` for
    roles that no rule asks for.
    """
    asking = list_model_initializers(rules)
    structured = any(one.structured for one in asking)
    if roles is not None and not structured:
        raise UsageError(
            "roles say what layers do for rules that look at that, such as 'gpt2'; no rule here "
            f"does: {rules.default}."
        )
    bare = structure.unwrap_model(model)
    if not structured and not any(one.follows for one in asking):
        return ModelFacts(bare)
    with (
        suspend_gathering(model, observed=batch is not None),
        remove_wrappers(model) as inner,
    ):
        followers = (
            structure.find_followers(inner, batch) if any(one.follows for one in asking) else {}
        )
        if not structured:
            return ModelFacts(bare, followers)
        described = structure.describe_structure(inner, batch, roles)
        tables = frozenset[str]() if batch is None else find_position_tables(inner, batch)
    return ModelFacts(bare, followers, described, structure.place_layers(described), tables)
