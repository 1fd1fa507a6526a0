"""Fixup: residual networks without normalization, trained as stably as with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from fanin.initializers.constant import Constant, Zero
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelParameter,
    ModelPlan,
    ModelView,
    Multiplier,
    Requirement,
)
from fanin.initializers.residual_stacks import (
    StackMap,
    is_head,
    is_weight,
    name_branch,
    require_no_norms,
    require_of_branches,
)
from fanin.initializers.skip_init import require_scales
from fanin.initializers.variance_scaling import VarianceScaling
from fanin.structure import ResidualBranch

_ATTENTION = ("query", "key", "value")
_ATTENTION_CODE = (
    "in __init__: self.b = nn.Parameter(torch.zeros(1)), self.scale = nn.Parameter(torch.ones(1)); "
    "in forward: x = x + self.scale * attend(x + self.b)"
)
_RATE = 0.1


@final
@dataclass(frozen=True)
class Fixup(ModelInitializer):
    """He's weights; in each of L branches times L^(-1/(2m-2)), the last of its m layers 0, and the
    head 0.

    L counts all branches of the model, and m the weights of one branch: of attention query, key,
    value and output, also if they are packed, so 4. Shortcuts with a convolution, and what lies
    outside branches, have He's scale.

    Requires that no branch is normalized, a learnable scale (1) at the end of every branch,
    and learnable scalar biases (0) before its layers and activations. The rates of all these
    scalars are a tenth of the others' (`record.param_groups(lr)`), as in the authors' code.

    Args:
        mode: the fan of He's rule: fan_in as the paper, or fan_out as the authors' code.
        scalars: False asks for no scales and biases: the paper's rules 1 and 2 alone.
    """

    name: ClassVar[str] = "fixup"
    structured: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True
    mode: Literal["fan_in", "fan_out"] = "fan_in"
    scalars: bool = True

    def plan(self, view: ModelView) -> ModelPlan:
        """Weights and scalars, the requirements, and the rates of the scalars."""
        stacks = StackMap(view, self.name)
        scalars = _list_scalars(stacks)
        assigned = {site.name: self._choose(stacks, site) for site in filter(is_weight, view.sites)}
        assigned |= {
            site.name: Assignment(Constant(value), reason)
            for site, value, reason in scalars.values()
        }
        wanted = (*require_scales(stacks, 1.0), *_require_biases(stacks)) if self.scalars else ()
        return ModelPlan(
            assigned,
            (*_require_no_norms(stacks), *wanted),
            {
                site.name: Multiplier(_RATE, "Fixup: a tenth for scalar biases and scales")
                for site, _, _ in scalars.values()
                if all(size == 1 for size in site.layout.shape)
            },
        )

    def _choose(self, stacks: StackMap, site: ModelParameter) -> Assignment:
        found = stacks.find_branch(site)
        if found is None:
            if is_head(site):
                return Assignment(Zero(), "the head starts at 0")
            return Assignment(self._make(2.0), "outside branches: He's scale")
        _, branch = found
        if {site.bare_name, site.layer} & set(branch.writers):
            return Assignment(Zero(), "last layer of its branch: 0")
        number, weights = stacks.structure.branch_count, count_weights(stacks, branch)
        scale = compute_scale(number, weights)
        reason = f"one of {weights} weights in one of {number} branches: He times {scale:.4g}"
        return Assignment(self._make(2 * scale * scale), reason)

    def _make(self, scale: float) -> VarianceScaling:
        return VarianceScaling(scale=scale, mode=self.mode, distribution="normal")


def compute_scale(branches: int, weights: int) -> float:
    """L^(-1/(2m-2)); 1 if the branch has a single weight, which is 0 anyway."""
    return branches ** (-1 / (2 * weights - 2)) if weights > 1 else 1.0


def count_weights(stacks: StackMap, branch: ResidualBranch) -> int:
    """m: the weights of a branch; a layer that makes query, key and value counts three times."""
    roles = {one.layer: one.roles for one in stacks.structure.layers}
    return sum(
        max(1, sum(role in _ATTENTION for role in roles.get(layer, ()))) for layer in branch.layers
    )


def _list_scalars(stacks: StackMap) -> Mapping[str, tuple[ModelParameter, float, str]]:
    """The scales and the biases of their own, with their values, by name."""
    found: dict[str, tuple[ModelParameter, float, str]] = {}
    for name in stacks.structure.shifts:
        site = stacks.find_site(name)
        if site is not None and site.role == "unknown":
            found[name] = site, 0.0, "a bias of its own: 0"
    for _, branch in stacks.branches:
        for name in branch.scales:
            site = stacks.find_site(name)
            if site is not None:
                reason = f"multiplies the branch of {name_branch(branch)}: 1"
                found[name] = site, 1.0, reason
    return found


def _require_no_norms(stacks: StackMap) -> tuple[Requirement, ...]:
    return require_no_norms(
        stacks,
        "remove the normalizations: x = x + self.scale * f(x) + self.bias. With them use "
        "zero_gamma, where they end the branches",
    )


def _require_biases(stacks: StackMap) -> tuple[Requirement, ...]:
    """Scalar biases before every layer and activation of a branch of m layers: 2m - 1. Own biases
    of the layers before the last one stand before activations, and count. Of attention, whose
    layers have no activations between, one before the first layers is enough.
    """
    biased = {site.layer for site in stacks.view.sites if site.role == "bias"}
    attending = {
        layer
        for attention in stacks.structure.attentions
        for layer in (*attention.query, *attention.output)
    }

    def lacks(branch: ResidualBranch) -> bool:
        scalars = sum(map(stacks.is_scalar, branch.shifts))
        if not attending.isdisjoint(branch.layers):
            return scalars < 1
        own = sum(layer in biased for layer in branch.layers if layer not in branch.writers)
        return scalars + own < 2 * len(branch.layers) - 1

    return require_of_branches(
        stacks,
        "scalar biases before the layers and activations of every branch",
        lambda _, branch: lacks(branch),
        lambda branches: (
            _ATTENTION_CODE
            if not attending.isdisjoint(branches[0].layers)
            else _write_block(branches[0])
        ),
    )


def _write_block(branch: ResidualBranch) -> str:
    """The code of a branch of as many layers."""
    layers = [layer.rpartition(".")[2] for layer in branch.layers]
    number = 2 * len(layers)
    steps = "x"
    for position, layer in enumerate(layers):
        steps = f"self.{layer}({steps} + self.b[{2 * position}])"
        if position < len(layers) - 1:
            steps = f"act({steps} + self.b[{2 * position + 1}])"
    return (
        f"in __init__: self.b = nn.ParameterList([torch.zeros(1) for _ in range({number})]), "
        f"self.scale = nn.Parameter(torch.ones(1)); in forward: x = x + self.scale * {steps} + "
        f"self.b[{number - 1}]"
    )


REGISTRY.add(
    InitializerEntry(
        component=Fixup,
        level="model",
        needs=("structure",),
        summary=(
            "Residual networks without normalization: branches scaled down by their number, their "
            "last layers and the head at 0."
        ),
        formula=(
            "w ~ N(0, 2/fan_in · L^(-1/(m-1))) in L branches of m weights; the last of each and "
            "the head: 0"
        ),
        paper=Paper(
            authors="Zhang, Dauphin, Ma",
            title="Fixup initialization: residual learning without normalization",
            year=2019,
            link="https://arxiv.org/abs/1901.09321",
        ),
        suited="Deep ResNets and transformers without normalization, with regularization added.",
        avoid=(
            "Models with normalization, and models without shortcuts. A head that is tied to an "
            "embedding is not set to 0."
        ),
        cost="A trace of the model or one forward pass, then one draw per weight.",
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' code has fan_out "
            "(mode=fan_out), no biases between query, key, value and output, and a tenth of the "
            "rate for the head's bias too."
        ),
        examples=("fixup", "fixup(mode=fan_out)", "fixup(scalars=false)"),
    )
)
