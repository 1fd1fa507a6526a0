"""GPT-2 and BERT: one small standard deviation for all matrices; GPT-2's account of depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers import distributions
from fanin.initializers.constant import Zero
from fanin.initializers.fixed_scale import Normal
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


@final
@dataclass(frozen=True)
class GPT2(ModelInitializer):
    """N(0, std²) for matrices and embeddings; divided by √(2L) where a matrix writes to the
    residual stream, so that the sum of the 2L branches has the size of one; biases 0.

    Which matrices write, and how many branches there are, is read off the model's graph and not
    off names. An attention and a perceptron side by side are two branches too.

    Args:
        std: of all matrices and embeddings.
    """

    name: ClassVar[str] = "gpt2"
    structured: ClassVar[bool] = True
    std: float = 0.02

    def check(self) -> None:
        """The standard deviation must not be negative."""
        distributions.check_std(self.std, "gpt2(std=…)")

    def plan(self, view: ModelView) -> ModelPlan:
        """A choice for matrices, embeddings and biases; the model must have a residual stream."""
        return ModelPlan(choose_all(view.sites, self._choose), require_stream(view))

    def _choose(self, site: ModelParameter) -> Assignment | None:
        if site.role in ("bias", "recurrent bias"):
            return Assignment(Zero(), f"GPT-2: {site.role}")
        if site.role not in ("weight", "recurrent weight", "embedding"):
            return None
        place = site.place
        if site.role == "weight" and place is not None and place.writes and place.branches:
            return Assignment(
                Normal(std=self.std / math.sqrt(place.branches)),
                f"GPT-2: writes to residual stream {place.stream}: std/√{place.branches} branches",
            )
        return Assignment(Normal(std=self.std), f"GPT-2: {site.role}")


@final
@dataclass(frozen=True)
class BERT(ModelInitializer):
    """N(0, std²), truncated at two standard deviations, for matrices and embeddings; biases 0.

    std is that of the normal before the cut: the weights' own is 0.88 · std.

    Args:
        std: of the normal before it is truncated.
    """

    name: ClassVar[str] = "bert"
    std: float = 0.02

    def check(self) -> None:
        """The standard deviation must not be negative."""
        distributions.check_std(self.std, "bert(std=…)")

    def plan(self, view: ModelView) -> ModelPlan:
        """A choice for matrices, embeddings and biases."""
        return ModelPlan(choose_all(view.sites, self._choose))

    def _choose(self, site: ModelParameter) -> Assignment | None:
        if site.role in ("bias", "recurrent bias"):
            return Assignment(Zero(), f"BERT: {site.role}")
        if site.role in ("weight", "recurrent weight", "embedding"):
            return Assignment(TruncatedNormal(std=self.std), f"BERT: {site.role}")
        return None


REGISTRY.add(
    InitializerEntry(
        component=GPT2,
        level="model",
        needs=("structure",),
        summary=(
            "Normal with one standard deviation; smaller by √(2L) where a layer writes to the "
            "residual stream."
        ),
        formula=(
            "w ~ N(0, std²); layers that end a residual branch: N(0, std²/(2L)), 2L the number of "
            "branches; biases 0"
        ),
        paper=Paper(
            authors="Radford, Wu, Child, Luan, Amodei, Sutskever",
            title="Language models are unsupervised multitask learners",
            year=2019,
            link="https://openai.com/index/better-language-models/",
        ),
        suited=(
            "Pre-norm transformers of some 10 to 100 blocks and a width of about 768 to 4096, "
            "where 0.02 is near 1/√width."
        ),
        avoid=(
            "Other widths, unless std is chosen for them; post-norm transformers, where the norm "
            "undoes the scale of the sum but not that of the branch (admin, deepnorm); models "
            "without a residual stream (refused)."
        ),
        cost="A trace or one forward pass, then one draw per weight.",
        differs=(
            "torch, Keras and JAX have no equivalent. OpenAI's program draws positions with a "
            "standard deviation of 0.01. Programs that match names have scaled nothing "
            "(transformers before 5.13), or the gate as well (w3 in several LLaMA ports)."
        ),
        examples=("gpt2", "gpt2(std=0.01)"),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=BERT,
        level="model",
        summary="Truncated normal with one standard deviation for all matrices and embeddings.",
        formula="w ~ N(0, std²) given |w| ≤ 2·std, for matrices and embeddings; biases 0",
        paper=Paper(
            authors="Devlin, Chang, Lee, Toutanova",
            title="BERT: pre-training of deep bidirectional transformers for language "
            "understanding",
            year=2018,
            link="https://arxiv.org/abs/1810.04805",
        ),
        suited="Post-norm and pre-norm encoders of the size of BERT and ViT, trained with warm-up.",
        avoid=(
            "Deep pre-norm decoders, whose residual stream grows with depth: gpt2. Widths far from "
            "768, unless std is chosen for them."
        ),
        cost="Per weight one draw, one erf and one inverse erf.",
        differs=(
            "Same distribution as in Google's program. transformers draws a normal without a cut, "
            "whose standard deviation is 14 % larger."
        ),
        examples=("bert", "bert(std=0.01)"),
    )
)
