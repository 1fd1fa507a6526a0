"""Zero-gamma: the last normalization of every residual branch starts with the scale 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers.constant import Zero
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelParameter,
    ModelPlan,
    ModelView,
    Requirement,
)
from fanin.initializers.residual_stacks import (
    StackMap,
    name_branch,
    require_of_branches,
)
from fanin.initializers.skip_init import assign_weights, resolve_weights
from fanin.structure import ResidualBranch


@final
@dataclass(frozen=True)
class ZeroGamma(ModelInitializer):
    """γ = 0 in the normalization that ends each residual branch, 1 in all others; any usual rule
    for the weights.

    Requires a normalization with a learnable scale between the last layer of every branch and the
    sum. A post-norm model normalizes the stream, and a pre-norm one the branch's input: both are
    refused.

    Args:
        weights: the rule of all weights, a tensor-level initializer. He's with fan_out is
            torchvision's and that of the paper's ResNets.
    """

    name: ClassVar[str] = "zero_gamma"
    structured: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True
    weights: str = "he_normal(mode=fan_out)"

    def check(self) -> None:
        """The weights' rule must be one of a single tensor."""
        resolve_weights(self.name, self.weights)

    def plan(self, view: ModelView) -> ModelPlan:
        """The scales, the weights, and the requirement."""
        stacks = StackMap(view, self.name)
        scales = _index_scales(view)
        assigned = dict(assign_weights(stacks, resolve_weights(self.name, self.weights)))
        for _, branch in stacks.branches:
            site = _find_last_scale(branch, scales)
            if site is not None:
                reason = f"last normalization of the branch of {name_branch(branch)}"
                assigned[site.name] = Assignment(Zero(), reason)
        return ModelPlan(assigned, _require_scales(stacks, scales))


def _index_scales(view: ModelView) -> Mapping[str, ModelParameter]:
    """The scales of normalizations by module, and every other parameter by its name."""
    found = {site.bare_name: site for site in view.sites}
    return found | {site.layer: site for site in view.sites if site.role == "norm scale"}


def _find_last_scale(
    branch: ResidualBranch, scales: Mapping[str, ModelParameter]
) -> ModelParameter | None:
    return scales.get(branch.norm_layers.end[-1]) if branch.norm_layers.end else None


def _require_scales(
    stacks: StackMap, scales: Mapping[str, ModelParameter]
) -> tuple[Requirement, ...]:
    def lacks(branch: ResidualBranch) -> bool:
        return _find_last_scale(branch, scales) is None

    def explain(lacking: list[ResidualBranch]) -> str:
        first = lacking[0]
        if first.norm_layers.end:
            return f"give {first.norm_layers.end[-1]} a learnable scale (affine=True)"
        place = (
            "the model normalizes the stream after the sum"
            if "post" in first.norms
            else "the model normalizes the branch's input"
            if "pre" in first.norms
            else "the branch is not normalized"
        )
        return (
            f"x = x + norm(f(x)): {place}. Or use skip_init, with a scale at the end of the branch"
        )

    return require_of_branches(
        stacks,
        "a normalization with a scale at the end of every branch",
        lambda _, branch: lacks(branch),
        lambda branches: explain(list(branches)),
    )


REGISTRY.add(
    InitializerEntry(
        component=ZeroGamma,
        level="model",
        needs=("structure",),
        summary="The scale of the last normalization in every residual branch starts at 0.",
        formula="γ = 0 in the last normalization of each branch, 1 elsewhere; weights: He, fan_out",
        paper=Paper(
            authors="Goyal, Dollár, Girshick, Noordhuis, Wesolowski, Kyrola, Tulloch, Jia, He",
            title="Accurate, large minibatch SGD: training ImageNet in 1 hour",
            year=2017,
            link="https://arxiv.org/abs/1706.02677",
        ),
        suited="ResNets with batch normalization, above all with large batches and rates.",
        avoid="Models whose branches do not end with a normalization: there use skip_init.",
        cost="A trace of the model or one forward pass, then one draw per weight.",
        differs=(
            "torchvision's zero_init_residual and timm's zero_init_last do it for their own "
            "classes, by name. Keras and JAX have no equivalent. The paper draws the head from "
            "N(0, 0.01²), which is not part of it here."
        ),
        examples=("zero_gamma", "zero_gamma(weights=he_normal)"),
    )
)
