"""Mitchell: OLMo's start, by the fan-in of each matrix and the depth of each block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from fanin.errors import FitError, SpecError, quote
from fanin.initializers.constant import Zero
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelParameter,
    ModelPlan,
    ModelView,
    choose_all,
)
from fanin.initializers.stream_requirement import require_stream
from fanin.initializers.truncated_normal import TruncatedNormal

_CUT = 3.0


@final
@dataclass(frozen=True)
class Mitchell(ModelInitializer):
    """N(0, gain²/fan_in), truncated at three standard deviations; divided by √(2(l + 1)) where a
    matrix of block l writes to the residual stream; embeddings N(0, gain²/width); biases 0.

    Args:
        gain: the factor on all standard deviations. Above 0.
        depth: what a writing matrix is divided by: block, √(2(l + 1)) with its own block l from 0,
            or total, √(2L) with all L blocks alike.
    """

    name: ClassVar[str] = "mitchell"
    structured: ClassVar[bool] = True
    gain: float = 1.0
    depth: Literal["block", "total"] = "block"

    def check(self) -> None:
        """The gain must be positive."""
        if self.gain <= 0:
            raise SpecError(f"mitchell(gain=…) must be above 0, not {quote(self.gain)}.")

    def plan(self, view: ModelView) -> ModelPlan:
        """A choice for matrices, embeddings and biases; the model must have a residual stream."""
        given = tuple(filter(view.is_given, view.sites))
        return ModelPlan(choose_all(given, self._choose), require_stream(view))

    def _choose(self, site: ModelParameter) -> Assignment | None:
        if site.role in ("bias", "recurrent bias"):
            return Assignment(Zero(), f"Mitchell: {site.role}")
        if site.role not in ("weight", "recurrent weight", "embedding"):
            return None
        layout = site.layout.parts[0].layout if site.layout.parts else site.layout
        if layout.fans is None:
            raise FitError(f"{site.name} has no fans, by which mitchell scales. Exclude it.")
        size = layout.fans.fan_out if site.role == "embedding" else layout.fans.fan_in
        std = self.gain / math.sqrt(max(size, 1))
        reason = f"Mitchell: {site.role}, 1/√{size:g}"
        place = site.place
        if site.role == "weight" and place is not None and place.writes and place.block is not None:
            count = 2 * (place.block + 1) if self.depth == "block" else place.branches
            std /= math.sqrt(count)
            reason += (
                f", / √{count}: writes to residual stream {place.stream} in block {place.block}"
            )
        return Assignment(TruncatedNormal(std=std, cut=_CUT), reason)


REGISTRY.add(
    InitializerEntry(
        component=Mitchell,
        level="model",
        needs=("structure",),
        summary=(
            "Truncated normal scaled by fan-in; smaller in later blocks where a layer writes to "
            "the residual stream."
        ),
        formula=(
            "w ~ N(0, gain²/fan_in) given |w| ≤ 3σ; layers of block l = 0, 1, … that end a "
            "residual branch: σ/√(2(l + 1)); embeddings: gain²/width; biases 0"
        ),
        paper=Paper(
            authors="Groeneveld, Beltagy, Walsh et al.",
            title="OLMo: accelerating the science of language models",
            year=2024,
            link="https://arxiv.org/abs/2402.00838",
        ),
        suited=(
            "Pre-norm decoders of any width, since it scales by fan-in; depth=total scales all "
            "blocks alike."
        ),
        avoid=(
            "Models without a residual stream (refused), and post-norm models. Readouts that must "
            "start near zero: theirs has the scale 1/√width."
        ),
        cost="A trace or one forward pass, then per weight one draw, one erf and one inverse erf.",
        differs=(
            "torch, Keras and JAX have no equivalent. Same distributions as init_fn=mitchell in "
            "OLMo, which counts the standard deviation before the cut too; its option scale_logits "
            "is left out."
        ),
        examples=("mitchell", "mitchell(depth=total)", "mitchell(gain=0.5)"),
    )
)
