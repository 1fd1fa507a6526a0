"""Small GPTs that are trained fast, with Muon: nanochat, modded-nanogpt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers.constant import Zero
from fanin.initializers.fixed_scale import Normal, Uniform
from fanin.initializers.model_level import Assignment, ModelParameter, ModelView
from fanin.initializers.recipes.parts import find_part, get_inputs
from fanin.initializers.recipes.recipe import REGISTRY, Recipe, RecipeEntry, Source


def _draw_uniform(std: float) -> Uniform:
    """Of a standard deviation; uniform, so that no weight is an outlier."""
    return Uniform(low=-math.sqrt(3) * std, high=math.sqrt(3) * std)


@final
@dataclass(frozen=True)
class Nanochat(Recipe):
    """Tokens N(0, 0.8²), head N(0, 0.001²), residual outputs 0, what reads from the stream uniform
    of standard deviation 1/√fan_in; the first layers of perceptrons 0.4 of that.

    Args:
        embedding_std: of the table of tokens.
        head_std: of the head.
        up_scale: of the first layer of a perceptron, relative to 1/√fan_in.
    """

    name: ClassVar[str] = "recipe:nanochat"
    embedding_std: float = 0.8
    head_std: float = 0.001
    up_scale: float = 0.4

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part. The scalars that multiply the stream stay as the model has set them."""
        std = 1 / math.sqrt(get_inputs(site))
        match find_part(site, view):
            case "other":
                return None
            case "tokens" | "positions":
                return Assignment(Normal(std=self.embedding_std), "nanochat: tokens")
            case "head":
                return Assignment(Normal(std=self.head_std), "nanochat: head")
            case "residual output":
                return Assignment(Zero(), "nanochat: residual output, zero")
            case ("up" | "gate") as part:
                return Assignment(
                    _draw_uniform(self.up_scale * std), f"nanochat: {part}, {self.up_scale:g}/√d"
                )
            case part:
                return Assignment(_draw_uniform(std), f"nanochat: {part}, 1/√d")


@final
@dataclass(frozen=True)
class ModdedNanogpt(Recipe):
    """Head N(0, 0.005²), residual outputs of perceptrons 0, all else uniform of standard deviation
    0.5/√fan_in.

    Args:
        head_std: of the head and of the table of tokens, which starts as its copy in the code.
        scale: of what reads from the stream, relative to 1/√fan_in.
    """

    name: ClassVar[str] = "recipe:modded_nanogpt"
    head_std: float = 0.005
    scale: float = 0.5

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part. Values and attention outputs, which the code starts as near inverses, are drawn
        and zero here: for the other start there is ``mimetic``.
        """
        std = self.scale / math.sqrt(get_inputs(site))
        match find_part(site, view):
            case "other":
                return None
            case ("tokens" | "positions" | "head") as part:
                return Assignment(Normal(std=self.head_std), f"modded-nanogpt: {part}")
            case "residual output":
                return Assignment(Zero(), "modded-nanogpt: residual output, zero")
            case part:
                return Assignment(_draw_uniform(std), f"modded-nanogpt: {part}, {self.scale:g}/√d")


REGISTRY.add(
    RecipeEntry(
        component=Nanochat,
        summary="nanochat: residual outputs 0, readers uniform 1/√d, tokens 0.8, head 0.001.",
        source=Source(
            project="karpathy/nanochat",
            file="nanochat/gpt.py",
            year=2025,
            link="https://github.com/karpathy/nanochat",
        ),
        scales="Readers by 1/√d; residual outputs are 0, so nothing depends on the depth.",
        deviates=(
            "Its own summary of the start says 1.0 for tokens and 1/√d for the first layer of "
            "perceptrons; the code has 0.8 and 0.4/√d. Two scalars per block (1.15 to 1.05, 0.20 "
            "to 0.05) belong to the model."
        ),
        models="nanochat",
        avoid="Tied embeddings: 0.8 is for a table that is no head.",
        examples=("nanochat",),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=ModdedNanogpt,
        summary="modded-nanogpt: residual outputs 0, readers uniform 0.5/√d, head 0.005.",
        source=Source(
            project="KellerJordan/modded-nanogpt",
            file="train_gpt.py",
            year=2025,
            link="https://github.com/KellerJordan/modded-nanogpt",
        ),
        scales="Readers by 0.5/√d; residual outputs are 0.",
        deviates=(
            "Since 2026 values and attention outputs start as near inverses of one another (pull "
            "request 214), and the table of tokens as a copy of the head."
        ),
        models="modded-nanogpt's speed runs, trained with Muon",
        avoid="Optimizers that keep the size of updates proportional to gradients.",
        examples=("modded_nanogpt",),
    )
)
