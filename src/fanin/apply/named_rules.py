"""What the rules name for each parameter, before any method is asked: a pattern, a role's rule, or
the default; and what must stay whatever they name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from fanin.apply.model_parameters import ParameterUse, group_tied
from fanin.apply.patterns import OUTSIDE
from fanin.apply.record_text import Overlap
from fanin.apply.rules import (
    KEEP,
    Match,
    Rules,
    choose_match,
    match_methods,
    match_patterns,
    resolve_rule,
)
from fanin.fans import Role
from fanin.initializers import Initializer
from fanin.initializers.model_level import ModelInitializer

_ROLE_RULES: dict[Role, str] = {
    "bias": "zero",
    "recurrent bias": "zero",
    "norm scale": "constant",
    "norm offset": "zero",
    "norm shift": "zero",
    "embedding": "normal(std=0.02)",
}
"""The rule of a role that no other rule covers."""


class NamedRules:
    """The rules, by parameter."""

    def __init__(
        self, uses: Sequence[ParameterUse], rules: Rules, untouched: Mapping[str, str]
    ) -> None:
        self._rules, self._untouched = rules, untouched
        self.default = resolve_rule(rules.default)
        self.groups = {use.name: group for group in group_tied(uses) for use in group}
        """Of each name, all places of its parameter, the one that is filled first."""
        patterns = match_patterns(rules.patterns, uses)
        methods = match_methods(rules.patterns, uses)
        self._matches: dict[str, Match] = {}
        self._beside: dict[str, Match] = {}
        for name, group in self.groups.items():
            if match := choose_match(patterns, group):
                self._matches[name] = match
            elif match := choose_match(methods, group):
                self._beside[name] = match

    @property
    def overlaps(self) -> tuple[Overlap, ...]:
        """The parameters that several patterns match."""
        found = {id(match.use): match for match in self._matches.values() if match.over}
        return tuple(
            Overlap(name=match.use.name, pattern=match.pattern, over=match.over)
            for match in found.values()
        )

    def get_match(self, name: str) -> Match | None:
        """The pattern that decides about a parameter, if one does."""
        return self._matches.get(name)

    def get_method(self, name: str) -> Match | None:
        """The pattern whose method for whole models has the first word about a parameter that no
        pattern decides about, and no rule for its role.
        """
        match = self._beside.get(name)
        return match if match and self.get_own_rule(match.use.role) is None else None

    def find_rule(self, role: Role) -> Initializer | None:
        """What the rules say about a role; if they say nothing, what a model-level default says,
        or what is usual.
        """
        own = self.get_own_rule(role)
        if own is not None:
            return resolve_rule(own)
        if role not in _ROLE_RULES or isinstance(self.default, ModelInitializer):
            return self.default
        return self.get_usual(role)

    def get_usual(self, role: Role) -> Initializer | None:
        """The rule of a role that no other rule covers."""
        return resolve_rule(_ROLE_RULES.get(role, KEEP))

    def get_own_rule(self, role: Role) -> str | Initializer | None:
        """The rule that was given for the role itself."""
        rules = self._rules
        if role == "norm shift":
            return rules.norms if rules.norms is None or rules.norms == KEEP else "zero"
        given: dict[Role, str | Initializer | None] = {
            "recurrent weight": rules.recurrent,
            "bias": rules.biases,
            "recurrent bias": rules.biases,
            "norm scale": rules.norms,
            "norm offset": rules.norms if rules.norms in (None, KEEP) else "zero",
            "embedding": rules.embeddings,
        }
        return given.get(role)

    def find_first(self, group: Sequence[ParameterUse]) -> Initializer | None:
        """The rule that has the first word about a parameter, whether or not it may be changed."""
        name = group[0].name
        match = self.get_match(name) or self.get_method(name)
        if match is not None:
            return match.initializer
        return self.default if group[0].role == "unknown" else self.find_rule(group[0].role)

    def list_given(self, initializer: Initializer) -> frozenset[str]:
        """The parameters about which an initializer has the first word, and that may be changed."""
        return frozenset(
            name
            for name, group in self.groups.items()
            if self.find_first(group) == initializer and not self.find_reason_to_keep(group)
        )

    def find_reason_to_keep(self, group: Sequence[ParameterUse]) -> str:
        """Why a parameter stays as it is whatever the rules say; empty if it does not."""
        reasons = [self._untouched.get(use.name, "") for use in group]
        if any(_is_frozen(use, one.parameter) for use in group for one in use.carriers):
            return "frozen (requires_grad is False)"
        strong = next((reason for reason in reasons if reason not in ("", OUTSIDE)), "")
        return strong or (OUTSIDE if all(reasons) else "")


def _is_frozen(use: ParameterUse, parameter: Tensor) -> bool:
    """Whether a parameter is not to be trained. Integers never can be: those that are a layer's
    weight are quantized, not frozen.
    """
    quantized = not (parameter.is_floating_point() or parameter.is_complex())
    return not parameter.requires_grad and not (quantized and use.role != "unknown")
