"""Magneto: sub-LayerNorm transformers, whose branches grow a little with depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn

from fanin.initializers.branch_gains import Distribution, assign_gains
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import ModelInitializer, ModelPlan, ModelView, Requirement
from fanin.initializers.residual_stacks import Stack, StackDepths, StackMap, require_of_branches
from fanin.structure import ResidualBranch

_SECOND = (
    "one more normalization before the last layer of the branch: out(norm(attended)) and "
    "down(norm(act(up(x))))"
)
_NO_PLACE = "; nn.MultiheadAttention has no place for it, so write the attention out"


@final
@dataclass(frozen=True)
class Magneto(ModelInitializer):
    """Xavier's weights; in branches the gain γ, but for queries and keys, whose gain is 1.

    | stack | γ |
    |---|---|
    | N blocks, encoder or decoder alone | √log(2N) |
    | encoder of N, beside a decoder of M | √(log(3M)·log(2N)/3) |
    | decoder of M, beside an encoder | √log(3M) |

    Requires sub-LayerNorm: every branch is normalized before its first layers and again before its
    last one. Attention to an encoder needs no second normalization and has the gain 1, as in
    torchscale. Gates of gated units and routers have the gain 1 too.

    Args:
        distribution: normal or uniform.
    """

    name: ClassVar[str] = "magneto"
    structured: ClassVar[bool] = True
    distribution: Distribution = "normal"

    def plan(self, view: ModelView) -> ModelPlan:
        """Weights with their gains, and the two normalizations."""
        stacks = StackMap(view, self.name)

        def find_gain(stack: Stack, branch: ResidualBranch) -> float:
            return 1.0 if branch.crosses else compute_gain(stack, stacks.depths)

        gains = assign_gains(stacks, find_gain, "Magneto's γ", self.distribution)
        return ModelPlan(gains.assignments, (*_require_norms(stacks), *gains.requires))


def compute_gain(stack: Stack, depths: StackDepths) -> float:
    """γ of a stack, by its depth and that of its partner."""
    if depths.both is None:
        return math.sqrt(math.log(2 * stack.blocks))
    if stack.decodes:
        return math.sqrt(math.log(3 * stack.blocks))
    encoder, decoder = depths.both
    return math.sqrt(math.log(3 * decoder) * math.log(2 * encoder) / 3)


def _require_norms(stacks: StackMap) -> tuple[Requirement, ...]:
    return (
        *require_of_branches(
            stacks,
            "normalization before the branch",
            lambda _, branch: "pre" not in branch.norms,
            lambda _: "x = x + f(norm(x))",
        ),
        *require_of_branches(
            stacks,
            "sub-LayerNorm",
            lambda _, branch: not branch.crosses and not branch.norm_layers.last,
            lambda _: _SECOND + (_NO_PLACE if _has_torch_attention(stacks) else ""),
        ),
    )


def _has_torch_attention(stacks: StackMap) -> bool:
    sites = filter(stacks.view.is_given, stacks.view.sites)
    return any(isinstance(site.module, nn.MultiheadAttention) for site in sites)


REGISTRY.add(
    InitializerEntry(
        component=Magneto,
        level="model",
        needs=("structure",),
        summary=(
            "Sub-LayerNorm transformers: gains of √log(2N) in branches that are normalized twice."
        ),
        formula=(
            "v, output, up, down: Xavier with gain √log(2N); decoder beside an encoder: √log(3M)"
        ),
        paper=Paper(
            authors="Wang, Ma, Huang, Dong, Wang, Peng, Wu, Bajaj, Singhal, Benhaim and others",
            title="Magneto: a foundation transformer",
            year=2023,
            link="https://arxiv.org/abs/2210.06423",
        ),
        suited="Transformers with sub-LayerNorm: a second normalization inside every branch.",
        avoid=(
            "Pre-norm transformers without that second normalization, where it makes branches "
            "larger than Xavier does."
        ),
        cost="A trace of the model or one forward pass, then one draw per weight.",
        differs=(
            "torch, Keras and JAX have no equivalent. torchscale multiplies whatever its layers "
            "drew, by names (fc1, fc2, out_proj, v_proj), and draws q and k with the gain 1/√2."
        ),
        examples=("magneto", "magneto(distribution=uniform)"),
    )
)
