"""Admin: post-norm transformers whose shortcuts weigh as much as all branches before them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch

from fanin.errors import FitError
from fanin.initializers.branch_gains import Distribution, assign_gains
from fanin.initializers.constant import Constant
from fanin.initializers.deep_norm import require_post_norm
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import (
    Assignment,
    FitSession,
    ModelInitializer,
    ModelParameter,
    ModelPlan,
    ModelView,
    Requirement,
)
from fanin.initializers.residual_stacks import (
    Stack,
    StackMap,
    name_branch,
    require_of_branches,
)
from fanin.structure import ResidualBranch, ResidualStream, measure_branches


@final
@dataclass(frozen=True)
class Admin(ModelInitializer):
    """x ← norm(ω_i·x + f_i(x)) with ω_1 = 1 and ω²_{i+1} = ω²_i·Var x + Var f_i, measured on a
    batch after Xavier's weights were drawn.

    x has the variance 1 after a normalization, so that ω²_i is 1 plus the variances of the branches
    before. One forward pass per branch: each with all weights before it set. Branches that start
    from one point count together. Every stack starts anew, an encoder as a decoder. Dropout is off;
    the authors profile with it on.

    Requires x = norm(self.omega * x + f(x)) with a learnable ω, a number or a vector, for every
    branch f.

    Args:
        distribution: of the weights, uniform as in the authors' code, or normal.
    """

    name: ClassVar[str] = "admin"
    structured: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True
    fits: ClassVar[bool] = True
    distribution: Distribution = "uniform"

    def plan(self, view: ModelView) -> ModelPlan:
        """Xavier's weights, ω = 1 until they are measured, and the requirements."""
        stacks = StackMap(view, self.name)
        gains = assign_gains(stacks, lambda _, __: 1.0, "Xavier's gain", self.distribution)
        weights = {
            site.name: Assignment(
                Constant(1.0), f"weight of the shortcut beside {name_branch(one)}"
            )
            for _, one in stacks.branches
            for name in one.shortcut_scales
            if (site := stacks.find_site(name)) is not None
        }
        requires = (
            *require_post_norm(stacks, lambda _: "self.omega * x"),
            *_require_weights(stacks),
            *gains.requires,
        )
        return ModelPlan({**gains.assignments, **weights}, requires)

    def fit(self, session: FitSession) -> Mapping[str, str]:
        """Set the weights of the shortcuts, first to last."""
        sites = {site.bare_name: site for site in session.sites}
        done: dict[str, str] = {}
        for stream in _measure(session):
            reason, weight = "nothing was added before", 1.0
            for step, branches in Stack(stream, stream.depth).steps.items():
                site = _find_weight(branches[0], sites)
                if site is not None:
                    with torch.no_grad():
                        session.read(site).fill_(weight)
                    done[site.name] = f"ω = {weight:.4g}: {reason}"
                weight = _sum_variances(session, stream.index, step)
                reason = "√ of the variance of what was added up before, on the batch"
        return done


def _measure(session: FitSession) -> tuple[ResidualStream, ...]:
    args, kwargs = session.inputs
    batch: Any = dict(kwargs) if kwargs else args
    return measure_branches(session.model, batch)


def _sum_variances(session: FitSession, stream: int, step: int) -> float:
    """The weight of the next shortcut: √(variance of this one, weighted, plus those of the branches
    that start from the same point).
    """
    found = _measure(session)[stream]
    branches = Stack(found, found.depth).steps[step]
    known = [one.variances for one in branches if one.variances is not None]
    total = math.nan if len(known) < len(branches) else known[0][0] + sum(f for _, f in known)
    if not math.isfinite(total) or total <= 0:
        raise FitError(
            f"admin: the sum that {name_branch(branches[0])} writes to has the variance "
            f"{total:.4g} on this batch, so the next shortcut has no weight. Expected a batch as "
            "in training, of inputs that differ."
        )
    return math.sqrt(total)


def _find_weight(
    branch: ResidualBranch, sites: Mapping[str, ModelParameter]
) -> ModelParameter | None:
    return sites.get(branch.shortcut_scales[0]) if branch.shortcut_scales else None


def _require_weights(stacks: StackMap) -> tuple[Requirement, ...]:
    """A parameter of its own on every shortcut; of branches that are added one after the other to
    the same signal, on the first's.
    """
    places = {
        (name, stack.stream.index, one.step)
        for stack, one in stacks.branches
        for name in one.shortcut_scales[:1]
    }
    uses = Counter(name for name, _, _ in places)

    def lacks(stack: Stack, branch: ResidualBranch) -> bool:
        first = stack.steps[branch.step][0] is branch
        weights = branch.shortcut_scales[:1]
        alone = all(uses[name] == 1 for name in weights)
        return first and not (alone and stacks.is_learnable(weights))

    return require_of_branches(
        stacks,
        "a learnable weight of its own for every shortcut",
        lacks,
        lambda _: (
            "in __init__: self.omega = nn.Parameter(torch.ones(width)); in forward: "
            "x = norm(self.omega * x + f(x))"
        ),
    )


REGISTRY.add(
    InitializerEntry(
        component=Admin,
        level="model",
        needs=("structure", "data"),
        summary=(
            "Post-norm transformers: learnable weights of the shortcuts start at the size of all "
            "branches before, as one batch shows it."
        ),
        formula="x ← norm(ω_i·x + f_i(x)), ω_1 = 1, ω²_{i+1} = ω²_i·Var x + Var f_i",
        paper=Paper(
            authors="Liu, Liu, Gao, Chen, Han",
            title="Understanding the difficulty of training transformers",
            year=2020,
            link="https://arxiv.org/abs/2004.08249",
        ),
        suited="Deep post-norm transformers, encoders and decoders.",
        avoid="Pre-norm transformers, whose shortcuts need no weight.",
        cost="One forward pass for each branch on one batch, and one draw per weight.",
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' fork of fairseq profiles in a "
            "training run of its own, with dropout, and draws q, k and v with the gain 1/√2."
        ),
        examples=("admin", "admin(distribution=normal)"),
    )
)
