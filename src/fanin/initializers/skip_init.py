"""SkipInit and ReZero: residual branches that end with a learnable number that starts at 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.errors import SpecError
from fanin.initializers.constant import Constant
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper, get
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelPlan,
    ModelView,
    Requirement,
)
from fanin.initializers.residual_stacks import (
    StackMap,
    is_weight,
    name_branch,
    require_of_branches,
)
from fanin.structure import ResidualBranch


@final
@dataclass(frozen=True)
class SkipInit(ModelInitializer):
    """x + α·f(x) with α = 0 at the end of every branch, and any usual rule for the weights.

    At the start every block is the identity, and the network as deep as its shortcuts.

    Requires a learnable number, or a vector such as LayerScale's, that multiplies the end of every
    branch; it is found in the graph. A parameter that is used as ``sigmoid(α)`` is none.

    Args:
        alpha: the start of the scales. The paper has 0, or at most 1/√(number of branches).
        weights: the rule of all weights, a tensor-level initializer.
    """

    name: ClassVar[str] = "skip_init"
    structured: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True
    alpha: float = 0.0
    weights: str = "he_normal"

    def check(self) -> None:
        """The weights' rule must be one of a single tensor."""
        resolve_weights(self.name, self.weights)

    def plan(self, view: ModelView) -> ModelPlan:
        """The scales, the weights, and the requirement."""
        rule = resolve_weights(self.name, self.weights)
        return _plan_scalars(StackMap(view, self.name), self.alpha, rule)


@final
@dataclass(frozen=True)
class ReZero(ModelInitializer):
    """x + α·f(x) with α = 0 at the end of every branch; the weights are Xavier's.

    The same as `skip_init(weights=xavier_uniform)`; it was proposed for transformers without
    LayerNorm and for very deep fully connected networks. Branches of one block may share their α.

    Requires a learnable number, or a vector, that multiplies the end of every branch.

    Args:
        weights: the rule of all weights, a tensor-level initializer.
    """

    name: ClassVar[str] = "rezero"
    structured: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True
    weights: str = "xavier_uniform"

    def check(self) -> None:
        """The weights' rule must be one of a single tensor."""
        resolve_weights(self.name, self.weights)

    def plan(self, view: ModelView) -> ModelPlan:
        """The scales, the weights, and the requirement."""
        rule = resolve_weights(self.name, self.weights)
        return _plan_scalars(StackMap(view, self.name), 0.0, rule)


def resolve_weights(method: str, spec: str) -> Initializer:
    """The tensor-level rule that a method has for weights, or a `SpecError`."""
    rule = get(spec)
    if isinstance(rule, ModelInitializer):
        raise SpecError(
            f"{method}(weights=…) must be an initializer of one tensor, such as he_normal, not "
            f"{rule}, which looks at a whole model."
        )
    return rule


def assign_weights(stacks: StackMap, rule: Initializer) -> Iterator[tuple[str, Assignment]]:
    """The same rule for all weights."""
    for site in filter(is_weight, stacks.view.sites):
        yield site.name, Assignment(rule, f"{site.role} of {type(site.module).__name__}")


def _revive_ends(stacks: StackMap, rule: Initializer) -> Iterator[tuple[str, Assignment]]:
    """What ends a branch is drawn even if the model starts it at 0: of a product of two zeros
    neither factor would ever get a gradient.
    """
    ends = {name for _, branch in stacks.branches for name in branch.norm_layers.end}
    for site in stacks.view.sites:
        if is_weight(site) and site.place is not None and site.place.writes:
            yield site.name, Assignment(rule, "ends a branch that starts at 0", insists=True)
        elif site.role == "norm scale" and site.layer in ends:
            yield site.name, Assignment(Constant(), "ends a branch that starts at 0", insists=True)


def _plan_scalars(stacks: StackMap, alpha: float, rule: Initializer) -> ModelPlan:
    """α for every parameter that ends a branch; of several in one product all but the first are
    1, so that the product is α and one gradient flows.
    """
    assigned = dict(assign_weights(stacks, rule))
    if alpha == 0:
        assigned |= dict(_revive_ends(stacks, rule))
    held = {_get_first_scale(branch) for _, branch in stacks.branches}
    for _, branch in stacks.branches:
        for name in branch.scales:
            site = stacks.find_site(name)
            if site is not None:
                value = alpha if name in held else 1.0
                reason = f"multiplies the branch of {name_branch(branch)}"
                assigned[site.name] = Assignment(Constant(value), reason)
    return ModelPlan(assigned, require_scales(stacks, alpha))


def _get_first_scale(branch: ResidualBranch) -> str | None:
    return branch.scales[0] if branch.scales else None


def require_scales(stacks: StackMap, start: float) -> tuple[Requirement, ...]:
    """A learnable scale at the end of every branch, with the code that adds one."""
    return require_of_branches(
        stacks,
        "a learnable scale at the end of every branch",
        lambda _, branch: not stacks.is_learnable(branch.scales),
        lambda _: (
            f"in __init__: self.alpha = nn.Parameter(torch.tensor({start})); in forward: "
            "x = x + self.alpha * f(x)"
        ),
    )


REGISTRY.add(
    InitializerEntry(
        component=SkipInit,
        level="model",
        needs=("structure",),
        summary="A learnable scale of 0 at the end of every residual branch.",
        formula="x ← x + α·f(x), α = 0; weights: He",
        paper=Paper(
            authors="De, Smith",
            title=(
                "Batch normalization biases residual blocks towards the identity function in deep "
                "networks"
            ),
            year=2020,
            link="https://arxiv.org/abs/2002.10444",
        ),
        suited="Residual networks without normalization, above all convolutional ones.",
        avoid=(
            "Networks without shortcuts. Large learning rates: without normalization the largest "
            "stable one is smaller than with batch normalization."
        ),
        cost="A trace of the model or one forward pass, then one draw per weight.",
        differs="torch, Keras and JAX have no equivalent.",
        examples=("skip_init", "skip_init(alpha=0.1, weights='he_normal(mode=fan_out)')"),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=ReZero,
        level="model",
        needs=("structure",),
        summary="A learnable scale of 0 at the end of every branch; Xavier's weights.",
        formula="x ← x + α·f(x), α = 0; weights: Xavier",
        paper=Paper(
            authors="Bachlechner, Majumder, Mao, Cottrell, McAuley",
            title="ReZero is all you need: fast convergence at large depth",
            year=2021,
            link="https://arxiv.org/abs/2003.04887",
        ),
        suited="Deep transformers without LayerNorm and warm-up; deep fully connected networks.",
        avoid=(
            "Networks without shortcuts. Where a branch must contribute from the first step on, "
            "since only α has a gradient there at first."
        ),
        cost="A trace of the model or one forward pass, then one draw per weight.",
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' package has transformer layers "
            "of its own, whose perceptrons start as torch's do, U(±1/√fan_in)."
        ),
        examples=("rezero", "rezero(weights='orthogonal(gain=1.4142)')"),
    )
)
