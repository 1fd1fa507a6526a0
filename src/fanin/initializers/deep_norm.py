"""DeepNorm: post-norm transformers whose shortcuts weigh α > 1, and whose branches start small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers.branch_gains import Distribution, assign_gains
from fanin.initializers.constant import Constant
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelPlan,
    ModelView,
    Requirement,
)
from fanin.initializers.residual_stacks import (
    Stack,
    StackDepths,
    StackMap,
    name_branch,
    require_of_branches,
)
from fanin.structure import ResidualBranch

_TOLERANCE = 1e-3
"""How far a written α may be off, relative to it: 2.213 for 2.2134."""


@final
@dataclass(frozen=True)
class DeepNorm(ModelInitializer):
    """Xavier's weights; in branches the gain β, but for queries and keys, whose gain is 1.

    | stack | α, weight of the shortcut | β |
    |---|---|---|
    | N blocks, encoder or decoder alone | (2N)^¼ | (8N)^-¼ |
    | encoder of N, beside a decoder of M | 0.81·(N⁴M)^(1/16) | 0.87·(N⁴M)^(-1/16) |
    | decoder of M, beside an encoder | (3M)^¼ | (12M)^-¼ |

    Requires x = norm(α·x + f(x)) for every branch f. α is read from the model's graph: a constant,
    or a parameter on the shortcut, which is then set to α. A model with another α, or with its
    normalization elsewhere, is refused with the line to write.

    β holds for all weights of branches but queries, keys, gates and routers. The paper has no gated
    units; a gate is left out because the branch is already of order β² without it.

    Args:
        distribution: normal, as the paper's listing, or uniform, as torchscale.
    """

    name: ClassVar[str] = "deep_norm"
    structured: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True
    distribution: Distribution = "normal"

    def plan(self, view: ModelView) -> ModelPlan:
        """Weights with their gains; α where a parameter holds it; the requirements."""
        stacks = StackMap(view, self.name)
        scales = {stack: compute_scale(stack, stacks.depths) for stack in stacks.stacks}
        gains = assign_gains(
            stacks, lambda stack, _: scales[stack].beta, "DeepNorm's β", self.distribution
        )
        requires = (
            *require_post_norm(stacks, lambda stack: f"{scales[stack].alpha:.4g} * x"),
            *_require_weights(stacks, scales),
            *gains.requires,
        )
        return ModelPlan({**gains.assignments, **dict(_assign_weights(stacks, scales))}, requires)


@dataclass(frozen=True)
class DepthScale:
    """α and β of one stack."""

    alpha: float
    beta: float


def compute_scale(stack: Stack, depths: StackDepths) -> DepthScale:
    """α and β of a stack, by its depth and that of its partner."""
    if depths.both is None:
        return DepthScale((2 * stack.blocks) ** 0.25, (8 * stack.blocks) ** -0.25)
    encoder, decoder = depths.both
    if stack.decodes:
        return DepthScale((3 * stack.blocks) ** 0.25, (12 * stack.blocks) ** -0.25)
    joint = (encoder**4 * decoder) ** (1 / 16)
    return DepthScale(0.81 * joint, 0.87 / joint)


def require_post_norm(
    stacks: StackMap, write_shortcut: Callable[[Stack], str]
) -> tuple[Requirement, ...]:
    """That the stream is normalized after every sum; the line to write is that of the first stack
    that lacks it.
    """
    lacking = [
        stack for stack, branch in stacks.given_branches if _is_wrongly_normalized(stack, branch)
    ]
    shortcut = write_shortcut((lacking or list(stacks.stacks))[0])
    return require_of_branches(
        stacks,
        "normalization after the sum",
        _is_wrongly_normalized,
        lambda _: f"x = norm({shortcut} + f(x)), and no normalization before f or at its end",
    )


def _is_wrongly_normalized(stack: Stack, branch: ResidualBranch) -> bool:
    """Of branches that start from one point only the last one's sum is normalized."""
    last = stack.steps[branch.step][-1]
    return "post" not in last.norms or "pre" in branch.norms or "end" in branch.norms


def _require_weights(stacks: StackMap, scales: Mapping[Stack, DepthScale]) -> Iterator[Requirement]:
    """One requirement for each stack that the method gets branches of: its α, with what was found
    instead.
    """
    for stack in dict.fromkeys(stack for stack, _ in stacks.given_branches):
        alpha = scales[stack].alpha
        branches = [branch for around, branch in stacks.given_branches if around is stack]
        states = {branch: _compare(stacks, stack, branch, alpha) for branch in branches}
        wrong = [branch for branch, met in states.items() if met is False]
        hidden = [branch for branch, met in states.items() if met is None]
        shown = wrong or hidden or branches
        yield Requirement(
            "skip weight",
            f"x = norm({alpha:.4g} * x + f(x)): {_explain(stack, stacks.depths)}"
            + (f"; the model has {_describe(wrong[0])}" if wrong else ""),
            False if wrong else None if hidden else True,
            tuple(map(name_branch, shown)),
        )


def _compare(stacks: StackMap, stack: Stack, branch: ResidualBranch, alpha: float) -> bool | None:
    """Whether a branch's shortcut has the weight α; None if that cannot be seen.

    As the sum is normalized, α is the shortcut's factor over the branch's: x + f(x)/α is the same.
    Of branches that are added one after the other to the same signal the first sum has it.
    """
    if branch.shortcut_factor is None or not branch.factor:
        return None
    factor = branch.shortcut_factor / branch.factor
    first = stack.steps[branch.step][0] is branch
    if branch.shortcut_scales:
        alone = abs(factor - 1) <= _TOLERANCE
        return alone if stacks.is_learnable(branch.shortcut_scales[:1]) else None
    if not first and abs(factor - 1) <= _TOLERANCE:
        return True
    return abs(factor - alpha) <= _TOLERANCE * alpha


def _describe(branch: ResidualBranch) -> str:
    """The sum as the model has it."""
    shortcut, factor = branch.shortcut_factor or 0.0, branch.factor or 0.0
    words = "".join(f"{name} * " for name in branch.shortcut_scales)
    return f"{_write_factor(shortcut)}{words}x + {_write_factor(factor)}f(x)"


def _write_factor(factor: float) -> str:
    return "" if factor == 1 else f"{factor:.4g} * "


def _explain(stack: Stack, depths: StackDepths) -> str:
    if depths.both is None:
        return f"α = (2·{stack.blocks})^¼ for {stack.blocks} blocks"
    encoder, decoder = depths.both
    if stack.decodes:
        return f"α = (3·{stack.blocks})^¼ for a decoder of {stack.blocks} blocks"
    return (
        f"α = 0.81·({encoder}⁴·{decoder})^(1/16) for an encoder of {encoder} blocks beside a "
        f"decoder of {decoder}"
    )


def _assign_weights(
    stacks: StackMap, scales: Mapping[Stack, DepthScale]
) -> Iterator[tuple[str, Assignment]]:
    """α for the parameters on shortcuts; of several in one product the first holds it."""
    for stack, branch in stacks.branches:
        alpha = scales[stack].alpha
        for position, name in enumerate(branch.shortcut_scales):
            site = stacks.find_site(name)
            if site is not None:
                value = alpha if position == 0 else 1.0
                reason = f"weight of the shortcut beside {name_branch(branch)}: α = {value:.4g}"
                yield site.name, Assignment(Constant(value), reason)


REGISTRY.add(
    InitializerEntry(
        component=DeepNorm,
        level="model",
        needs=("structure",),
        summary=(
            "Post-norm transformers of any depth: shortcuts that weigh more than 1, and branches "
            "that start smaller, both by the number of blocks."
        ),
        formula="x ← norm(α·x + f(x)), α = (2N)^¼; v, output, up, down: Xavier with gain (8N)^-¼",
        paper=Paper(
            authors="Wang, Ma, Dong, Huang, Zhang, Wei",
            title="DeepNet: scaling transformers to 1,000 layers",
            year=2022,
            link="https://arxiv.org/abs/2203.00555",
        ),
        suited="Deep post-norm transformers: encoders, decoders, and both, from some 12 blocks on.",
        avoid=(
            "Pre-norm transformers, which have no skip weight: use gpt2's scaling or t_fixup. "
            "Embeddings and the head are not scaled by it, and should not be."
        ),
        cost="A trace of the model or one forward pass, then one draw per weight.",
        differs=(
            "torch, Keras and JAX have no equivalent. torchscale scales whatever its layers drew, "
            "by names (fc1, fc2, out_proj, v_proj), and draws q and k with the gain 1/√2; here "
            "their gain is 1, as in the paper. In an encoder beside a decoder it multiplies by "
            "1.15·(N⁴M)^(-1/16) (torchscale/architecture/encoder.py), where the paper, and this, "
            "have 0.87, the inverse of 1.15."
        ),
        examples=("deep_norm", "deep_norm(distribution=uniform)"),
    )
)
