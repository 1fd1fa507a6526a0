"""GPT-2 as its authors trained it, and as transformers starts it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers.fixed_scale import Normal
from fanin.initializers.model_level import Assignment, ModelParameter, ModelView
from fanin.initializers.recipes.recipe import REGISTRY, Recipe, RecipeEntry, Source


@final
@dataclass(frozen=True)
class Gpt2(Recipe):
    """N(0, std²) everywhere; what writes to the residual stream is divided by √(2·L).

    Args:
        std: of all matrices and of the table of tokens.
        position_std: of the table of positions; 0.01 in OpenAI's code, std in transformers.
    """

    name: ClassVar[str] = "recipe:gpt2"
    std: float = 0.02
    position_std: float = 0.01

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By role; biases and norms as usual, 0 and 1."""
        place = site.place
        if site.role == "embedding" and site.layer in view.position_tables:
            return Assignment(Normal(std=self.position_std), "GPT-2: table of positions")
        if site.role == "embedding":
            return Assignment(Normal(std=self.std), "GPT-2: table of tokens")
        if site.role != "weight":
            return None
        if place is not None and place.writes and place.branches:
            std = self.std / math.sqrt(place.branches)
            return Assignment(
                Normal(std=std), f"GPT-2: a residual output, {self.std:g}/√{place.branches}"
            )
        return Assignment(Normal(std=self.std), "GPT-2: a matrix")


REGISTRY.add(
    RecipeEntry(
        component=Gpt2,
        summary="GPT-2: N(0, 0.02²), residual outputs divided by √(2·L).",
        source=Source(
            project="openai/gpt-2",
            file="src/model.py",
            year=2019,
            link="https://github.com/openai/gpt-2",
        ),
        scales="What writes to the residual stream, by 1/√(2·L) for L blocks.",
        deviates=(
            "The published code has no factor 1/√(2·L), which the paper describes. transformers "
            "has it, but lost it in some versions, and starts positions at 0.02."
        ),
        models="GPT-2 from 124M to 1.5B; nanoGPT",
        avoid="Other widths than 768 to 1600: 0.02 does not follow the width.",
        examples=("gpt2", "gpt2(position_std=0.02)"),
    )
)
