"""Which rule meets which parameter: by pattern, then by what a model-level rule chooses, then by
role.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fanin.apply.model_facts import ModelFacts
from fanin.apply.model_parameters import ParameterUse, infer_layout
from fanin.apply.model_sites import make_site
from fanin.apply.named_rules import NamedRules
from fanin.apply.parameter_record import SPECIAL
from fanin.apply.planned_fill import Decision, PlannedFill, plan_fill, require_distinct_streams
from fanin.apply.record_text import Overlap
from fanin.apply.rules import KEEP, Match, Rules, resolve_rule
from fanin.apply.told_layouts import split_layouts
from fanin.errors import FitError
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelParameter,
    ModelPlan,
    ModelView,
)


class RuleResolver:
    """Decides by pattern, then by what a model-level rule chooses, then by role."""

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
        self._named, self._special = NamedRules(uses, rules, untouched), special
        self._facts = facts
        self._sites = tuple(
            make_site(use, self._named.groups[use.name], facts) for use in uses if not use.waits
        )
        self._places = {site.name: str(site.place) for site in self._sites if site.place}
        self._plans: dict[ModelInitializer, ModelPlan] = {}
        self._choosers: dict[str, ModelInitializer] = {}

    @property
    def overlaps(self) -> tuple[Overlap, ...]:
        """The parameters that several patterns match."""
        return self._named.overlaps

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
        first = self._named.find_first(self._named.groups[name])
        return initializer in (self._named.default, first)

    def describe_place(self, name: str) -> str:
        """What the layer of a parameter was taken for, in words; empty if nobody looked."""
        return self._places.get(name, "")

    def list_waiting(self) -> list[Sequence[ParameterUse]]:
        """The parameters of lazy layers, each with all of its places."""
        return [
            group
            for name, group in self._named.groups.items()
            if name == group[0].name and group[0].waits
        ]

    def describe_waiting(self, group: Sequence[ParameterUse]) -> str:
        """What a parameter of a lazy layer waits for, or why it will stay."""
        head = group[0]
        kept = self._named.find_reason_to_keep(group)
        decided = self.get_match(head.name) or self.get_method(head.name)
        if decided is None and head.role == "unknown":
            return f"waits for its shape: {kept or head.unknown}"
        return f"waits for its shape: {kept or self._named.find_first(group) or KEEP}"

    def get_match(self, name: str) -> Match | None:
        """The pattern that decides about a parameter, if one does."""
        return self._named.get_match(name)

    def get_method(self, name: str) -> Match | None:
        """The pattern whose method is asked about a parameter that no pattern decides about."""
        return self._named.get_method(name)

    def plan_fills(self, seed: int, *, shared: bool) -> list[PlannedFill]:
        """A planned fill for each parameter; one `FitError` names all that cannot be done."""
        planned_fills: list[PlannedFill] = []
        problems: list[str] = []
        for name, group in self._named.groups.items():
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
        kept = self._named.find_reason_to_keep(group)
        match = self.get_match(head.name)
        if kept:
            return Decision(head, None, kept, head.layout)
        special = self._find_special(group)
        if match is not None:
            decision = self._decide_by_pattern(match)
        elif special and not self._is_insisted_on(head):
            return Decision(head, None, special, head.layout)
        else:
            decision = self._decide_by_role(head)
        return self._avoid_second_gate_bias(decision)

    def _find_special(self, group: Sequence[ParameterUse]) -> str:
        """Why a parameter keeps what the model has set, unless a rule was given for its role."""
        described = next(
            (self._special[use.name] for use in group if use.name in self._special), ""
        )
        if not described or self._named.get_own_rule(group[0].role) is not None:
            return ""
        return f"{SPECIAL}: {described}, set by the model"

    def _is_insisted_on(self, use: ParameterUse) -> bool:
        """Whether a method for whole models fails if the parameter keeps what the model has set."""
        choice = next(self._ask_methods(use), None)
        return choice is not None and choice.insists

    def _decide_by_pattern(self, match: Match) -> Decision:
        use, why = match.use, f"pattern {match.pattern!r}"
        if match.initializer is None:
            return Decision(use, None, f"kept by {why}", use.layout)
        if isinstance(match.initializer, ModelInitializer):
            choice = self._choose(match.initializer, use, why)
            return self._decide_by_role(use) if choice is None else _take(use, choice)
        layout = infer_layout(use) if use.role == "unknown" else use.layout
        return Decision(use, match.initializer, why, layout)

    def _decide_by_role(self, use: ParameterUse) -> Decision:
        """What a method for whole models chooses, or the rule of the role. Of an unknown role that
        is to keep it.
        """
        choice = next(self._ask_methods(use), None)
        if choice is not None:
            return _take(use, choice)
        if use.role == "unknown":
            return Decision(use, None, use.unknown, use.layout)
        initializer = self._named.find_rule(use.role)
        if isinstance(initializer, ModelInitializer):
            initializer = self._named.get_usual(use.role)
        reason = (
            f"{use.role}{use.note or f' of {type(use.module).__name__}'}"
            if initializer
            else f"{use.role} kept on request"
        )
        return Decision(use, initializer, reason, use.layout)

    def _ask_methods(self, use: ParameterUse) -> Iterator[Assignment]:
        """What methods for whole models choose for a parameter: that of a pattern which means its
        layer, then that of its role or the default.
        """
        beside = self.get_method(use.name)
        if beside is not None and isinstance(beside.initializer, ModelInitializer):
            choice = self._choose(beside.initializer, use, f"pattern {beside.pattern!r}")
            if choice is not None:
                yield choice
        named = self._named
        rule = named.default if use.role == "unknown" else named.find_rule(use.role)
        if isinstance(rule, ModelInitializer):
            choice = self._choose(rule, use)
            if choice is not None:
                yield choice

    def _avoid_second_gate_bias(self, decision: Decision) -> Decision:
        """Gates see the sum of two biases: if bias_ih is drawn as the sum, bias_hh is zero."""
        use, groups = decision.use, self._named.groups
        if (
            use.role != "recurrent bias"
            or decision.initializer is None
            or not decision.initializer.gate_bias
        ):
            return decision
        name = use.name.removesuffix(use.local) + use.local.replace("bias_hh", "bias_ih")
        other = self._decide(groups[name]).initializer if name in groups else None
        if other is None or not other.gate_bias:
            return decision
        return replace(
            decision,
            initializer=resolve_rule("zero"),
            reason=f"{decision.reason}: the gates see the sum with bias_ih",
        )

    def _choose(
        self, initializer: ModelInitializer, use: ParameterUse, why: str = ""
    ) -> Assignment | None:
        """What a method chooses for a parameter; `why` says what gave it to the method."""
        if initializer not in self._plans:
            sites = tuple(
                site for site in self._sites if initializer.covers_unknown or site.role != "unknown"
            )
            facts, given = self._facts, self._named.list_given(initializer)
            self._plans[initializer] = initializer.plan(
                ModelView(sites, facts.model, facts.structure, facts.position_tables, given)
            )
        choice = self._plans[initializer].assignments.get(use.name)
        if choice is None:
            return None
        self._choosers[use.name] = initializer
        return replace(choice, reason=f"{why}: {choice.reason}") if why else choice


def _take(use: ParameterUse, choice: Assignment) -> Decision:
    layout = choice.layout or use.layout
    return Decision(use, choice.initializer, choice.reason, layout, choice.stream)
