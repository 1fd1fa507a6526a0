"""muP: weights and learning rates by which the best learning rate does not depend on the width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers import distributions
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry
from fanin.initializers.maximal_update import (
    TENSOR_PROGRAMS_V,
    Optimizer,
    Readout,
    WidthScaling,
    check_at_least_one,
    measure_width,
    require_attention_scale,
    require_readout_multiplier,
)
from fanin.initializers.model_level import ModelInitializer, ModelPlan, ModelView


@final
@dataclass(frozen=True)
class MuP(ModelInitializer):
    """The maximal update parametrization, on a model as it is: standard deviations here, learning
    rates by ``record.param_groups(lr)``.

    `fanin.initializers.maximal_update` has the table of both. The width is the number of inputs of
    the readout; all widths of the model are taken to grow with it.

    Args:
        base: the width at which the learning rate was tuned. At it this is an ordinary start.
        std: the standard deviation of all matrices and embeddings at the base width; none takes
            1/√fan-in there, and 1 for embeddings.
        optimizer: whose learning rates are scaled: adam, or another that normalizes gradients entry
            by entry; or sgd.
        readout: small scales its weights and rate by 1/m; zero starts it at zero; multiplier keeps
            both constant and requires that the model divides its input by m.
        base_head_dim: the width of a head in the base model. Where heads are wider, attention must
            be scaled otherwise, which is required.
    """

    name: ClassVar[str] = "mup"
    structured: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True
    base: int
    std: float | None = None
    optimizer: Optimizer = "adam"
    readout: Readout = "small"
    base_head_dim: int | None = None

    def check(self) -> None:
        """Widths must be at least 1, and the standard deviation not negative."""
        check_at_least_one(self.base, "mup(base=…)")
        check_at_least_one(self.base_head_dim, "mup(base_head_dim=…)")
        distributions.check_std(self.std or 0.0, "mup(std=…)")

    def plan(self, view: ModelView) -> ModelPlan:
        """Standard deviations, multipliers of learning rates, and what the model must do."""
        multiple = measure_width(view) / self.base
        scaling = WidthScaling(view, multiple, self.std, self.optimizer, self.readout)
        scaled = tuple(scaling.scale_all())
        return ModelPlan(
            {one.site.name: one.assignment for one in scaled if one.assignment is not None},
            (
                *require_readout_multiplier(view, multiple, self.readout),
                *require_attention_scale(view, self.base_head_dim),
            ),
            {one.site.name: one.multiplier for one in scaled if one.factor != 1},
        )


REGISTRY.add(
    InitializerEntry(
        component=MuP,
        level="model",
        needs=("structure",),
        summary=(
            "The maximal update parametrization: standard deviations and learning rates that "
            "transfer from a narrow model to a wide one."
        ),
        formula=(
            "m = width/base; hidden: std/√m, rate/m; readout: std/m, rate/m; input, embedding: "
            "std, rate; vectors: rate (adam). sgd: hidden rate; readout rate/m; input, embedding, "
            "vectors rate·m"
        ),
        paper=TENSOR_PROGRAMS_V,
        suited=(
            "Tuning a narrow model and training a wide one of the same depth: MLPs, convolutional "
            "networks, transformers. fanin.coordinate_check shows whether it holds on your model."
        ),
        avoid=(
            "Depth that varies too: complete_p. Optimizers that are neither like Adam nor like "
            "SGD: spectral. Widths that do not grow together."
        ),
        cost="A trace or one forward pass, then one draw per weight.",
        differs=(
            "torch, Keras and JAX have no equivalent. microsoft/mup compares shapes with a base "
            "model's and divides by m inside of MuReadout: readout=multiplier is that form, the "
            "default the equal one without it. Biases start at zero here."
        ),
        examples=(
            "mup(base=64)",
            "mup(base=256, std=0.02, base_head_dim=64)",
            "mup(base=64, optimizer=sgd, readout=zero)",
        ),
    )
)
