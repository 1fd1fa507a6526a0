"""Which rule meets which parameter: by pattern, then by a model-level default, then by role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from fanin.apply.model_facts import ModelFacts
from fanin.apply.model_parameters import ParameterUse, group_tied, infer_layout
from fanin.apply.parameter_record import SPECIAL
from fanin.apply.patterns import OUTSIDE
from fanin.apply.planned_fill import Decision, PlannedFill, plan_fill, require_distinct_streams
from fanin.apply.record import Overlap
from fanin.apply.rules import (
    KEEP,
    Match,
    Rules,
    choose_match,
    match_patterns,
    resolve_rule,
)
from fanin.apply.told_layouts import split_layouts
from fanin.errors import FitError
from fanin.fans import Role
from fanin.initializers import Initializer
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelParameter,
    ModelPlan,
    ModelView,
)
from fanin.structure import LayerPlace

_ROLE_RULES: dict[Role, str] = {
    "bias": "zero",
    "recurrent bias": "zero",
    "norm scale": "constant",
    "norm offset": "zero",
    "norm shift": "zero",
    "embedding": "normal(std=0.02)",
}
"""The rule of a role that no other rule covers."""


class RuleResolver:
    """Decides by pattern, then by what a model-level default chooses, then by role."""

    def __init__(
        self,
        uses: Sequence[ParameterUse],
        rules: Rules,
        facts: ModelFacts,
        untouched: Mapping[str, str],
        special: Mapping[str, str],
    ) -> None:
        layouts = split_layouts(rules.split, uses)
        uses = tuple(replace(use, layout=layouts.get(use.name, use.layout)) for use in uses)
        self._rules, self._untouched, self._special = rules, untouched, special
        self._groups = {use.name: group for group in group_tied(uses) for use in group}
        """Of each name, all places of its parameter, the one that is filled first."""
        patterns = match_patterns(rules.patterns, uses)
        self._matches = {
            name: match
            for name, group in self._groups.items()
            if (match := choose_match(patterns, group))
        }
        self._facts = facts
        self._sites = tuple(
            _make_site(use, self._groups[use.name], facts) for use in uses if not use.waits
        )
        self._places = {site.name: str(site.place) for site in self._sites if site.place}
        self._plans: dict[ModelInitializer, ModelPlan] = {}
        self._choosers: dict[str, ModelInitializer] = {}

    @property
    def overlaps(self) -> tuple[Overlap, ...]:
        """The parameters that several patterns match."""
        found = {id(match.use): match for match in self._matches.values() if match.over}
        return tuple(
            Overlap(name=match.use.name, pattern=match.pattern, over=match.over)
            for match in found.values()
        )

    @property
    def sites(self) -> tuple[ModelParameter, ...]:
        """All parameters, as model-level initializers see them."""
        return self._sites

    @property
    def plans(self) -> Mapping[ModelInitializer, ModelPlan]:
        """What each model-level initializer that was asked does and requires."""
        return self._plans

    @property
    def choosers(self) -> Mapping[str, ModelInitializer]:
        """Of each parameter that a model-level initializer chose for, that initializer."""
        return self._choosers

    def sets_rate(self, initializer: ModelInitializer, name: str) -> bool:
        """Whether a method's learning rate of a parameter counts: of the method that has drawn it,
        and of what no method draws, of the default or the one that a pattern or role names.
        """
        if name in self._choosers:
            return self._choosers[name] == initializer
        return initializer == resolve_rule(self._rules.default) or (
            self._name_rule(self._groups[name]) == initializer
        )

    def describe_place(self, name: str) -> str:
        """What the layer of a parameter was taken for, in words; empty if nobody looked."""
        return self._places.get(name, "")

    def list_waiting(self) -> list[Sequence[ParameterUse]]:
        """The parameters of lazy layers, each with all of its places."""
        return [
            group
            for name, group in self._groups.items()
            if name == group[0].name and group[0].waits
        ]

    def describe_waiting(self, group: Sequence[ParameterUse]) -> str:
        """What a parameter of a lazy layer waits for, or why it will stay."""
        head, match = group[0], self._matches.get(group[0].name)
        kept = self._find_reason_to_keep(group)
        if match is not None:
            rule = match.initializer
        elif head.role == "unknown":
            rule, kept = None, kept or head.unknown
        else:
            rule = self._find_rule(head.role, resolve_rule(_ROLE_RULES.get(head.role, KEEP)))
        return f"waits for its shape: {kept or rule or KEEP}"

    def get_match(self, name: str) -> Match | None:
        """The pattern that decides about a parameter, if one does."""
        return self._matches.get(name)

    def plan_fills(self, seed: int, *, shared: bool) -> list[PlannedFill]:
        """A planned fill for each parameter; one `FitError` names all that cannot be done."""
        planned_fills: list[PlannedFill] = []
        problems: list[str] = []
        for name, group in self._groups.items():
            if name != group[0].name or group[0].waits:
                continue
            decision = self._decide(group)
            try:
                planned_fills.append(plan_fill(group, decision, seed, shared=shared))
            except FitError as error:
                problems.append(
                    f"{group[0].name} ({decision.use.role}, {decision.initializer}): {error}"
                )
        if problems:
            raise FitError(
                "\n".join(["Some parameters cannot be filled, so nothing was changed.", *problems])
            )
        require_distinct_streams(planned_fills)
        return planned_fills

    def _decide(self, group: Sequence[ParameterUse]) -> Decision:
        head = group[0]
        kept = self._find_reason_to_keep(group)
        match = self._matches.get(head.name)
        if kept:
            return Decision(head, None, kept, head.layout)
        special = self._find_special(group)
        if match is not None:
            decision = self._decide_by_pattern(match)
        elif special and not self._is_insisted_on(head):
            return Decision(head, None, special, head.layout)
        elif head.role == "unknown":
            decision = self._decide_unknown(head)
        else:
            decision = self._decide_by_role(head)
        return self._avoid_second_gate_bias(decision)

    def _find_reason_to_keep(self, group: Sequence[ParameterUse]) -> str:
        """Why a parameter stays as it is whatever the rules say; empty if it does not."""
        reasons = [self._untouched.get(use.name, "") for use in group]
        if any(_is_frozen(use, one.parameter) for use in group for one in use.carriers):
            return "frozen (requires_grad is False)"
        strong = next((reason for reason in reasons if reason not in ("", OUTSIDE)), "")
        return strong or (OUTSIDE if all(reasons) else "")

    def _find_special(self, group: Sequence[ParameterUse]) -> str:
        """Why a parameter keeps what the model has set, unless a rule was given for its role."""
        described = next(
            (self._special[use.name] for use in group if use.name in self._special), ""
        )
        if not described or self._get_own_rule(group[0].role) is not None:
            return ""
        return f"{SPECIAL}: {described}, set by the model"

    def _is_insisted_on(self, use: ParameterUse) -> bool:
        """Whether the default method fails if the parameter keeps what the model has set."""
        default = resolve_rule(self._rules.default)
        if not isinstance(default, ModelInitializer):
            return False
        choice = self._choose(default, use)
        return choice is not None and choice.insists

    def _decide_by_pattern(self, match: Match) -> Decision:
        use, why = match.use, f"pattern {match.pattern!r}"
        if match.initializer is None:
            return Decision(use, None, f"kept by {why}", use.layout)
        if not isinstance(match.initializer, ModelInitializer):
            return Decision(
                use,
                match.initializer,
                why,
                infer_layout(use) if use.role == "unknown" else use.layout,
            )
        choice = self._choose(match.initializer, use)
        if choice is None:
            return self._decide_by_role(use)
        return Decision(
            use,
            choice.initializer,
            f"{why}: {choice.reason}",
            choice.layout or use.layout,
            choice.stream,
        )

    def _decide_by_role(self, use: ParameterUse) -> Decision:
        usual = resolve_rule(_ROLE_RULES.get(use.role, KEEP))
        initializer = self._find_rule(use.role, usual)
        if isinstance(initializer, ModelInitializer):
            choice = self._choose(initializer, use)
            if choice is not None:
                return _take(use, choice)
            initializer = usual
        reason = (
            f"{use.role}{use.note or f' of {type(use.module).__name__}'}"
            if initializer
            else f"{use.role} kept on request"
        )
        return Decision(use, initializer, reason, use.layout)

    def _decide_unknown(self, use: ParameterUse) -> Decision:
        """A parameter of unknown role is kept, unless a model-level default knows its layer."""
        default = resolve_rule(self._rules.default)
        if isinstance(default, ModelInitializer):
            choice = self._choose(default, use)
            if choice is not None:
                return _take(use, choice)
        return Decision(use, None, use.unknown, use.layout)

    def _list_given(self, initializer: Initializer) -> frozenset[str]:
        """The parameters whose rule is an initializer, and that may be changed."""
        return frozenset(
            name
            for name, group in self._groups.items()
            if self._name_rule(group) == initializer and not self._find_reason_to_keep(group)
        )

    def _name_rule(self, group: Sequence[ParameterUse]) -> Initializer | None:
        """What the rules name for a parameter, whether or not it may be changed."""
        match, role = self._matches.get(group[0].name), group[0].role
        if match is not None:
            return match.initializer
        if role == "unknown":
            return resolve_rule(self._rules.default)
        return self._find_rule(role, resolve_rule(_ROLE_RULES.get(role, KEEP)))

    def _find_rule(self, role: Role, usual: Initializer | None) -> Initializer | None:
        """What the rules say about a role; if they say nothing, what a model-level default says,
        or what is usual.
        """
        own, default = self._get_own_rule(role), resolve_rule(self._rules.default)
        if own is not None:
            return resolve_rule(own)
        return (
            default if role not in _ROLE_RULES or isinstance(default, ModelInitializer) else usual
        )

    def _get_own_rule(self, role: Role) -> str | Initializer | None:
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

    def _avoid_second_gate_bias(self, decision: Decision) -> Decision:
        """Gates see the sum of two biases: if bias_ih is drawn as the sum, bias_hh is zero."""
        use = decision.use
        if (
            use.role != "recurrent bias"
            or decision.initializer is None
            or not decision.initializer.gate_bias
        ):
            return decision
        name = use.name.removesuffix(use.local) + use.local.replace("bias_hh", "bias_ih")
        other = self._decide(self._groups[name]).initializer if name in self._groups else None
        if other is None or not other.gate_bias:
            return decision
        return replace(
            decision,
            initializer=resolve_rule("zero"),
            reason=f"{decision.reason}: the gates see the sum with bias_ih",
        )

    def _choose(self, initializer: ModelInitializer, use: ParameterUse) -> Assignment | None:
        if initializer not in self._plans:
            sites = tuple(
                site for site in self._sites if initializer.covers_unknown or site.role != "unknown"
            )
            facts = self._facts
            given = self._list_given(initializer)
            self._plans[initializer] = initializer.plan(
                ModelView(sites, facts.model, facts.structure, facts.position_tables, given)
            )
        choice = self._plans[initializer].assignments.get(use.name)
        if choice is not None:
            self._choosers[use.name] = initializer
        return choice


def _take(use: ParameterUse, choice: Assignment) -> Decision:
    layout = choice.layout or use.layout
    return Decision(use, choice.initializer, choice.reason, layout, choice.stream)


def _is_frozen(use: ParameterUse, parameter: Tensor) -> bool:
    """Whether a parameter is not to be trained. Integers never can be: those that are a layer's
    weight are quantized, not frozen.
    """
    quantized = not (parameter.is_floating_point() or parameter.is_complex())
    return not parameter.requires_grad and not (quantized and use.role != "unknown")


def _make_site(
    use: ParameterUse, group: Sequence[ParameterUse], facts: ModelFacts
) -> ModelParameter:
    path = use.bare_name.rpartition(".")[0]
    return ModelParameter(
        name=use.name,
        module=use.module,
        role=use.role,
        layout=use.layout,
        effective=use.get_effective_layout(),
        follower=facts.followers.get(path),
        enclosing=use.enclosing,
        layer=path,
        local=use.local,
        place=_find_place(path, facts.places),
        tied_layers=tuple(
            other.bare_name.rpartition(".")[0] for other in group if other.name != use.name
        ),
    )


def _find_place(path: str, places: Mapping[str, LayerPlace]) -> LayerPlace | None:
    """The place of a layer, or of the nearest layer around what has none of its own."""
    if not places:
        return None
    while path and path not in places:
        path = path.rpartition(".")[0]
    return places.get(path, LayerPlace())
