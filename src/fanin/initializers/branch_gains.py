"""Xavier's weights with gains by branch: what DeepNorm, T-Fixup, Magneto and Admin draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fanin.initializers.initializer import Initializer
from fanin.initializers.model_level import Assignment, ModelParameter, Requirement
from fanin.initializers.part_xavier import PartXavier
from fanin.initializers.residual_stacks import Stack, StackMap, is_weight
from fanin.initializers.xavier import XavierNormal, XavierUniform
from fanin.structure import ResidualBranch

Distribution = Literal["normal", "uniform"]
FindGain = Callable[[Stack, ResidualBranch], float]

UNSCALED = ("query", "key", "gate", "router")
"""The roles whose weights do not change the size of a branch."""
_PARTS = {"query": "q", "key": "k", "value": "v", "gate": "gate", "up": "up"}


@dataclass(frozen=True)
class BranchGains:
    """What was chosen for the weights, and what is not known of packed ones."""

    assignments: Mapping[str, Assignment]
    requires: tuple[Requirement, ...]


def assign_gains(
    stacks: StackMap, find_gain: FindGain, why: str, distribution: Distribution
) -> BranchGains:
    """Xavier's distribution for every weight; of those in branches, the ones that are not queries,
    keys, gates or routers get the gain that `find_gain` says. Of a packed weight only the rows of
    such parts do.
    """
    found: dict[str, Assignment] = {}
    unknown: list[str] = []
    for site in filter(is_weight, stacks.view.sites):
        around = stacks.find_branch(site)
        gain = 1.0 if around is None else find_gain(*around)
        choice = _choose(site, gain, why, distribution, inside=around is not None)
        if choice is not None:
            found[site.name] = choice
        elif stacks.view.is_given(site):
            unknown.append(site.bare_name)
    return BranchGains(found, (_require_rows(unknown),) if unknown else ())


def make_xavier(gain: float, distribution: Distribution) -> Initializer:
    """Xavier's rule with a gain."""
    return XavierNormal(gain=gain) if distribution == "normal" else XavierUniform(gain=gain)


def _choose(
    site: ModelParameter, gain: float, why: str, distribution: Distribution, *, inside: bool
) -> Assignment | None:
    """The choice for one weight; None if it packs parts of both kinds, and which rows are which is
    not known.
    """
    roles = site.place.roles if site.place is not None else ()
    if not inside:
        return Assignment(make_xavier(1.0, distribution), "outside branches: gain 1")
    kept = [role for role in roles if role in UNSCALED]
    if not kept or gain == 1.0:
        return Assignment(make_xavier(gain, distribution), f"{_name(roles)}: {why} = {gain:.4g}")
    if len(kept) == len(roles):
        return Assignment(make_xavier(1.0, distribution), f"{_name(roles)}: gain 1")
    parts = [_PARTS.get(role, role) for role in roles if role not in UNSCALED]
    names = {part.name for part in site.layout.parts} or {site.layout.part}
    if not names <= {*_PARTS.values()}:
        return None
    rule = PartXavier(parts="+".join(parts), gain=gain, others=1.0, distribution=distribution)
    return Assignment(rule, f"{_name(roles)}: {why} = {gain:.4g} for {', '.join(parts)}, else 1")


def _name(roles: tuple[str, ...]) -> str:
    return " + ".join(role.replace("_", " ") for role in roles) or "in a branch"


def _require_rows(names: list[str]) -> Requirement:
    return Requirement(
        "which rows of a packed weight are which",
        "give batch=…, a batch that one forward pass shows them on, or the numbers of rows: "
        f"split={{'{names[0]}': {{'q': …, 'k': …, 'v': …}}}}, or gate and up",
        False,
        tuple(names),
    )
