"""The arguments of initialize, checked and collected before anything is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from torch import nn

from fanin import seeds
from fanin.apply.refusals import refuse_exported_program
from fanin.apply.rules import Rule, Rules
from fanin.errors import UnknownName, UsageError, quote
from fanin.fans import Convention

_OTHER_RULES = ("recurrent", "biases", "norms", "embeddings", "split", "layouts", "special")
_NEEDS_DEFAULT = (
    "Rules by pattern need a default for the weights that no pattern matches: default='auto', "
    "another rule, or default='keep'."
)


def check_arguments(model: object, convention: object, seed: object) -> int:
    """The seed, checked; raises `UsageError` for what is no module, no convention, or no seed."""
    refuse_exported_program(model)
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"initialize takes a torch.nn.Module, not {quote(model)}. "
            f"One tensor is filled by fanin.get('he_normal')(tensor, generator=…)."
        )
    if convention not in get_args(Convention):
        raise UnknownName.suggest("fan convention", convention, get_args(Convention))
    return seeds.check_seed(seed)


def collect_rules(rules: object, default: Rule | None, other: Sequence[Any]) -> Rules:
    """All rules as one object; `other` are the values of `_OTHER_RULES`, None where not given."""
    given = {
        name: value for name, value in zip(_OTHER_RULES, other, strict=True) if value is not None
    }
    if isinstance(rules, Rules):
        if default is not None or given:
            extra = ", ".join(["default"] * (default is not None) + list(given))
            raise UsageError(
                f"Rules have everything in them; {extra} cannot be given besides. Use "
                "dataclasses.replace(rules, …)."
            )
        return rules
    if isinstance(rules, Mapping):
        if default is None:
            raise UsageError(_NEEDS_DEFAULT)
        return Rules(default=default, patterns=rules, **given)
    if default is not None:
        raise UsageError(
            f"default belongs to rules by pattern, such as {{'*.attn.*': 'xavier_uniform'}}; the "
            f"rules are {quote(rules)}."
        )
    return Rules(default=rules, **given)  # type: ignore[arg-type]
