"""CompleteP: muP, and branches of a residual stream that shrink as the model gets deeper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

from fanin.initializers import distributions
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.maximal_update import (
    Readout,
    Scaled,
    WidthScaling,
    check_at_least_one,
    measure_width,
    require_attention_scale,
    require_readout_multiplier,
)
from fanin.initializers.model_level import ModelInitializer, ModelPlan, ModelView, Requirement
from fanin.initializers.stream_requirement import require_stream


@final
@dataclass(frozen=True)
class CompleteP(ModelInitializer):
    """muP for the width, and x + f(x)/m_L with m_L = blocks / base_depth for the depth, for Adam
    and AdamW.

    The factor 1/m_L of a branch can lie in the weights that end it: their standard deviation and
    learning rate, and the rate of their bias, are divided by m_L, and nothing else changes. That is
    the default. All other rates are muP's.

    Args:
        base: the width at which the learning rate was tuned.
        base_depth: the number of blocks at which it was tuned.
        std: as in `mup`.
        branch: folded has the factor in the weights; multiplier requires it of the model.
        readout: as in `mup`.
        base_head_dim: as in `mup`.
    """

    name: ClassVar[str] = "complete_p"
    structured: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True
    base: int
    base_depth: int
    std: float | None = None
    branch: Literal["folded", "multiplier"] = "folded"
    readout: Readout = "small"
    base_head_dim: int | None = None

    def check(self) -> None:
        """Widths and depth must be at least 1, and the standard deviation not negative."""
        check_at_least_one(self.base, "complete_p(base=…)")
        check_at_least_one(self.base_depth, "complete_p(base_depth=…)")
        check_at_least_one(self.base_head_dim, "complete_p(base_head_dim=…)")
        distributions.check_std(self.std or 0.0, "complete_p(std=…)")

    def plan(self, view: ModelView) -> ModelPlan:
        """Standard deviations, multipliers of learning rates, and what the model must do."""
        multiple = measure_width(view) / self.base
        scaling = WidthScaling(view, multiple, self.std, "adam", self.readout)
        scaled = tuple(self._scale_depth(one) for one in scaling.scale_all())
        return ModelPlan(
            {one.site.name: one.assignment for one in scaled if one.assignment is not None},
            (
                *require_stream(view),
                *self._require_branches(view),
                *require_readout_multiplier(view, multiple, self.readout),
                *require_attention_scale(view, self.base_head_dim),
            ),
            {one.site.name: one.multiplier for one in scaled if one.factor != 1},
        )

    def _scale_depth(self, scaled: Scaled) -> Scaled:
        """The parameter with the factor of its branch, if it ends one and holds that factor."""
        place = scaled.site.place
        if self.branch != "folded" or place is None or not place.writes or not place.blocks:
            return scaled
        deeper = place.blocks / self.base_depth
        return replace(
            scaled,
            std=None if scaled.std is None else scaled.std / deeper,
            factor=scaled.factor / deeper,
            reason=f"{scaled.reason}; ends a branch, m_L = {deeper:g}: std and rate / {deeper:g}",
        )

    def _require_branches(self, view: ModelView) -> tuple[Requirement, ...]:
        assert view.structure is not None
        blocks = {site.place.blocks for site in view.sites if site.place and site.place.writes}
        deeper = max(blocks, default=0) / self.base_depth
        if self.branch == "multiplier":
            where = view.find_given(view.structure.writers)
            change = f"x + f(x) / {deeper:g} in place of x + f(x) in every branch"
            if not where or deeper == 1:
                return ()
            return (Requirement("branch multiplier", change, None, where),)
        normed = tuple(
            writer
            for branch in view.structure.branches
            if "end" in branch.norms
            for writer in view.find_given(branch.writers)
        )
        if not normed or deeper == 1:
            return ()
        change = (
            "These branches end with a normalization, which undoes the scale of weights. Use "
            f"branch=multiplier, and x + norm(f(x)) / {deeper:g} in the model."
        )
        return (Requirement("branches that end with a layer", change, False, normed),)


REGISTRY.add(
    InitializerEntry(
        component=CompleteP,
        level="model",
        needs=("structure",),
        summary=(
            "muP for the width and a factor 1/depth for residual branches: learning rates that "
            "transfer over width and depth."
        ),
        formula=(
            "mup with m = width/base; and x + f(x)/m_L, m_L = blocks/base_depth: last layers of "
            "branches std/(√m·m_L), rate/(m·m_L), their biases rate/m_L"
        ),
        paper=Paper(
            authors="Dey, Zhang, Noci, Li, Bordelon, Bergsma, Pehlevan, Hanin, Hestness",
            title="Don't be lazy: CompleteP enables compute-efficient deep transformers",
            year=2025,
            link="https://arxiv.org/abs/2505.01618",
        ),
        suited=(
            "Pre-norm transformers, tuned when shallow and narrow and trained when deep and wide, "
            "with Adam or AdamW."
        ),
        avoid=(
            "SGD. Branches that end with a normalization, unless branch=multiplier. A large Adam "
            "ε: the paper scales it by 1/m in all layers and by 1/m_L in branches, which groups of "
            "parameters here do not."
        ),
        cost="A trace or one forward pass, then one draw per weight.",
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' program multiplies branches in "
            "the forward pass: branch=multiplier. Its weight decay of hidden weights grows by m, "
            "as it does here, so that rate · decay stays."
        ),
        examples=(
            "complete_p(base=64, base_depth=2)",
            "complete_p(base=256, base_depth=4, std=0.02, base_head_dim=64)",
            "complete_p(base=64, base_depth=2, branch=multiplier, readout=zero)",
        ),
    )
)
