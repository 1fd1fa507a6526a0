"""BERT and T5: encoders, and encoders with decoders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers.fixed_scale import Normal
from fanin.initializers.model_level import Assignment, ModelParameter, ModelView
from fanin.initializers.recipes.parts import find_part, get_inputs
from fanin.initializers.recipes.recipe import REGISTRY, Recipe, RecipeEntry, Source
from fanin.initializers.truncated_normal import TruncatedNormal


@final
@dataclass(frozen=True)
class Bert(Recipe):
    """N(0, std²) for every matrix and table, cut at ±2 std.

    Args:
        std: before the cut, which leaves 0.88 of it.
        truncated: false for transformers, which cuts nothing.
    """

    name: ClassVar[str] = "recipe:bert"
    std: float = 0.02
    truncated: bool = True

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; biases and norms as usual, 0 and 1."""
        part = find_part(site, view)
        if part == "other":
            return None
        draw = TruncatedNormal(std=self.std) if self.truncated else Normal(std=self.std)
        return Assignment(draw, f"BERT: {part}")


@final
@dataclass(frozen=True)
class T5(Recipe):
    """N(0, 1/fan_in), but queries N(0, 1/(fan_in·d_head)), since the attention divides by nothing;
    tokens and a head of its own N(0, factor²).

    Args:
        factor: ``initializer_factor``, which multiplies every standard deviation.
    """

    name: ClassVar[str] = "recipe:t5"
    factor: float = 1.0

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; norms as usual, 1. A table with one column per head is the bias of attention by
        distance.
        """
        part = find_part(site, view)
        std = self.factor / math.sqrt(get_inputs(site))
        match part:
            case "other":
                return None
            case "tokens" | "positions" if site.layout.shape[-1] < _find_width(view):
                std = self.factor / math.sqrt(_find_width(view))
                return Assignment(Normal(std=std), "T5: bias of attention by distance, 1/√d")
            case "tokens" | "positions" | "head":
                return Assignment(Normal(std=self.factor), f"T5: {part}")
            case "query":
                head_dim = _find_head_dim(site, view)
                return Assignment(
                    Normal(std=std / math.sqrt(head_dim)), f"T5: query, 1/√(fan_in·{head_dim})"
                )
            case _:
                return Assignment(Normal(std=std), f"T5: {part}, 1/√fan_in")


def _find_width(view: ModelView) -> int:
    """The widest table's."""
    return max(
        (site.layout.shape[-1] for site in view.sites if site.role == "embedding"), default=1
    )


def _find_head_dim(site: ModelParameter, view: ModelView) -> int:
    """The width of a head of the attention whose query a layer computes; 64 if no batch showed
    it.
    """
    attentions = view.structure.attentions if view.structure is not None else ()
    return next(
        (one.head_dim for one in attentions if site.layer in one.query and one.head_dim), 64
    )


REGISTRY.add(
    RecipeEntry(
        component=Bert,
        summary="BERT: N(0, 0.02²) cut at ±2 std, the same everywhere.",
        source=Source(
            project="google-research/bert",
            file="modeling.py",
            year=2018,
            link="https://github.com/google-research/bert",
        ),
        scales="Nothing.",
        deviates="The cut leaves 0.0176 of 0.02. transformers cuts nothing.",
        models="BERT, RoBERTa, ALBERT, ELECTRA",
        avoid="Deep post-norm encoders without warm-up.",
        examples=("bert", "bert(truncated=false)"),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=T5,
        summary="T5: N(0, 1/fan_in), queries smaller by √d_head, tokens N(0, 1).",
        source=Source(
            project="huggingface/transformers",
            file="src/transformers/models/t5/modeling_t5.py",
            year=2020,
            link="https://github.com/huggingface/transformers",
        ),
        scales="Matrices by 1/√fan_in, queries by 1/√d_head more; nothing by depth.",
        deviates=(
            "A head of its own (T5 1.1) starts at N(0, 1): the first loss is far above ln V, where "
            "Mesh TensorFlow's is near it."
        ),
        models="T5, mT5, UL2",
        avoid="Attention that divides its scores by √d_head: queries would be too small.",
        examples=("t5", "t5(factor=0.05)"),
    )
)
