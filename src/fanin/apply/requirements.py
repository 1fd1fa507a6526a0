"""What the methods of an initialization require of the model, and of the optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fanin.apply.rule_resolver import RuleResolver
from fanin.errors import FitError
from fanin.initializers.model_level import ModelInitializer, ModelPlan, Multiplier, Requirement

_SHOWN = 6


def collect_requirements(
    plans: Mapping[ModelInitializer, ModelPlan],
) -> tuple[Requirement, ...]:
    """What all methods require, each once.

    Raises `FitError` if the model lacks something, with the change that adds it.
    """
    lacking = [
        (initializer, one)
        for initializer, plan in plans.items()
        for one in plan.requires
        if one.met is False
    ]
    if lacking:
        raise FitError(
            "\n".join(
                [
                    "The model lacks what the method requires, so nothing was changed.",
                    *(
                        f"{initializer}: {describe_requirement(one)}"
                        for initializer, one in lacking
                    ),
                ]
            )
        )
    return tuple(dict.fromkeys(one for plan in plans.values() for one in plan.requires))


def collect_multipliers(resolver: RuleResolver) -> dict[str, Multiplier]:
    """The learning-rate multiplier of each parameter, from the method that has drawn it or, for
    what no method draws, from the one that names it.
    """
    found: dict[str, Multiplier] = {}
    for initializer, plan in resolver.plans.items():
        for name, multiplier in plan.multipliers.items():
            if resolver.sets_rate(initializer, name):
                found.setdefault(name, multiplier)
    return found


def describe_requirement(requirement: Requirement) -> str:
    """In words: what, where, and the change."""
    where = f" ({list_some(requirement.where)})" if requirement.where else ""
    return f"{requirement.what}{where}: {requirement.change}"


def list_some(names: Sequence[str] | Iterable[str]) -> str:
    """Some names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
