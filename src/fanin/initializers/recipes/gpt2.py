"""GPT-2 and the models that start like it: Megatron-LM's, OLMo's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from fanin.initializers.fixed_scale import Normal
from fanin.initializers.initializer import Initializer
from fanin.initializers.model_level import Assignment, ModelParameter, ModelView
from fanin.initializers.recipes.parts import count_branches, find_part, get_inputs
from fanin.initializers.recipes.recipe import REGISTRY, Recipe, RecipeEntry, Source
from fanin.initializers.truncated_normal import TruncatedNormal


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
        """By part; biases and norms as usual, 0 and 1."""
        match find_part(site, view):
            case "other":
                return None
            case "positions":
                return Assignment(Normal(std=self.position_std), "GPT-2: table of positions")
            case "residual output":
                branches = count_branches(site)
                return Assignment(
                    Normal(std=self.std / math.sqrt(branches)),
                    f"GPT-2: residual output, {self.std:g}/√{branches}",
                )
            case part:
                return Assignment(Normal(std=self.std), f"GPT-2: {part}")


@final
@dataclass(frozen=True)
class Megatron(Recipe):
    """N(0, std²) everywhere; what writes to the residual stream is divided by √(2·L).

    Args:
        std: ``--init-method-std``.
    """

    name: ClassVar[str] = "recipe:megatron"
    std: float = 0.02

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; biases and norms as usual, 0 and 1."""
        match find_part(site, view):
            case "other":
                return None
            case "residual output":
                branches = count_branches(site)
                return Assignment(
                    Normal(std=self.std / math.sqrt(branches)),
                    f"Megatron-LM: residual output, {self.std:g}/√{branches}",
                )
            case part:
                return Assignment(Normal(std=self.std), f"Megatron-LM: {part}")


@final
@dataclass(frozen=True)
class Olmo2(Recipe):
    """N(0, std²), cut at three standard deviations, for every matrix and table alike.

    Args:
        std: before the cut, which takes 1.3 % off.
        mode: "normal" is OLMo 2's and 3's own. "fan_in": 1/√fan_in instead of std. "normalized":
            1/√fan_in, residual outputs divided by √(2·L), as in OLMo 1 and nGPT.
    """

    name: ClassVar[str] = "recipe:olmo2"
    std: float = 0.02
    mode: Literal["normal", "fan_in", "normalized"] = "normal"

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; biases and norms as usual, 0 and 1."""
        part = find_part(site, view)
        if part == "other":
            return None
        return Assignment(self._cut(self._find_std(site, part)), f"OLMo 2, {self.mode}: {part}")

    def _find_std(self, site: ModelParameter, part: str) -> float:
        if self.mode == "normal":
            return self.std
        if part in ("tokens", "positions"):
            return 1 / math.sqrt(site.layout.shape[-1]) if self.mode == "normalized" else self.std
        std = 1 / math.sqrt(get_inputs(site))
        if self.mode == "normalized" and part == "residual output":
            return std / math.sqrt(count_branches(site))
        return std

    def _cut(self, std: float) -> Initializer:
        return TruncatedNormal(std=std, cut=3.0)


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
        scales="Residual outputs by 1/√(2·L), for L blocks.",
        deviates=(
            "The published code lacks the factor 1/√(2·L) that the paper describes. transformers "
            "has it, lost it in some versions, and starts positions at 0.02."
        ),
        models="GPT-2 from 124M to 1.5B; nanoGPT",
        avoid="Widths far from 768 to 1600: 0.02 does not follow the width.",
        examples=("gpt2", "gpt2(position_std=0.02)"),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=Megatron,
        summary="Megatron-LM: N(0, 0.02²), residual outputs divided by √(2·L).",
        source=Source(
            project="NVIDIA/Megatron-LM",
            file="megatron/core/utils.py",
            year=2019,
            link="https://github.com/NVIDIA/Megatron-LM",
        ),
        scales="Residual outputs by 1/√(2·L), for L blocks.",
        deviates="No; tables of positions get the same standard deviation as tokens.",
        models="Models trained with Megatron-LM without muP",
        avoid="Widths far from 1024 to 4096, unless std follows them.",
        examples=("megatron", "megatron(std=0.01)"),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=Olmo2,
        summary="OLMo 2 and 3: N(0, 0.02²) cut at ±3 std, the same everywhere.",
        source=Source(
            project="allenai/OLMo-core",
            file="src/olmo_core/nn/transformer/init.py",
            year=2025,
            link="https://github.com/allenai/OLMo-core",
        ),
        scales="Nothing; mode=normalized scales residual outputs by 1/√(2·L).",
        deviates=(
            "Not in its own mode. The modes llama and llama_depth of the same code scale the "
            "gate's partner w3 and the router of mixtures too, which are no residual outputs."
        ),
        models="OLMo 2 and OLMo 3, 1B to 32B",
        avoid="Networks without normalization after each branch: nothing follows the depth.",
        examples=("olmo2", "olmo2(mode=normalized)"),
    )
)
