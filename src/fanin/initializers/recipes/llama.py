"""LLaMA and its kind: as transformers starts them, and as torchtitan trains them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers.fixed_scale import Normal
from fanin.initializers.model_level import Assignment, ModelParameter, ModelView
from fanin.initializers.recipes.parts import (
    count_branches,
    find_part,
    get_block,
    get_inputs,
)
from fanin.initializers.recipes.recipe import REGISTRY, Recipe, RecipeEntry, Source
from fanin.initializers.truncated_normal import TruncatedNormal

_TITAN = "https://github.com/pytorch/torchtitan"


@final
@dataclass(frozen=True)
class Llama(Recipe):
    """N(0, std²) for every matrix and table.

    Args:
        std: ``initializer_range``.
    """

    name: ClassVar[str] = "recipe:llama"
    std: float = 0.02

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; biases and norms as usual, 0 and 1."""
        part = find_part(site, view)
        return None if part == "other" else Assignment(Normal(std=self.std), f"LLaMA: {part}")


@final
@dataclass(frozen=True)
class TorchtitanLlama3(Recipe):
    """N(0, std²); of block l = 0, 1, …, attention output, down, up and router std/√(2·(l + 1));
    tokens N(0, 1); head N(0, 1/d), cut at ±3 std.

    Args:
        std: of all other matrices.
        embedding_std: of the table of tokens.
        scale_up: whether up-projections (w3) shrink with depth too, as in the code; they are no
            residual outputs.
    """

    name: ClassVar[str] = "recipe:torchtitan_llama3"
    std: float = 0.02
    embedding_std: float = 1.0
    scale_up: bool = True

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part and block; biases and norms as usual, 0 and 1."""
        label = "torchtitan's Llama 3"
        match find_part(site, view):
            case "other":
                return None
            case "tokens" | "positions":
                return Assignment(Normal(std=self.embedding_std), f"{label}: tokens")
            case "head":
                return Assignment(_cut_head(site), f"{label}: head, 1/√d")
            case ("residual output" | "router") as part:
                return self._scale(site, f"{label}: {part}")
            case "up" if self.scale_up and _is_gated(site, view):
                return self._scale(site, f"{label}: w3, which the code scales too")
            case part:
                return Assignment(Normal(std=self.std), f"{label}: {part}")

    def _scale(self, site: ModelParameter, why: str) -> Assignment:
        blocks = get_block(site) + 1
        return Assignment(
            Normal(std=self.std / math.sqrt(2 * blocks)), f"{why}, {self.std:g}/√(2·{blocks})"
        )


@final
@dataclass(frozen=True)
class TorchtitanQwen3(Recipe):
    """N(0, std²); residual outputs std/√(2·L); tokens N(0, 1); head N(0, 1/d), cut at ±3 std.

    Args:
        std: of all other matrices.
        embedding_std: of the table of tokens, if it is not the head's.
    """

    name: ClassVar[str] = "recipe:torchtitan_qwen3"
    std: float = 0.02
    embedding_std: float = 1.0

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; biases and norms as usual, 0 and 1."""
        label = "torchtitan's Qwen 3"
        match find_part(site, view):
            case "other":
                return None
            case "tokens" if site.tied_layers:
                std = 1 / math.sqrt(site.layout.shape[-1])
                return Assignment(
                    TruncatedNormal(std=std, cut=3.0), f"{label}: tokens are the head, 1/√d"
                )
            case "tokens" | "positions":
                return Assignment(Normal(std=self.embedding_std), f"{label}: tokens")
            case "head":
                return Assignment(_cut_head(site), f"{label}: head, 1/√d")
            case "residual output":
                branches = count_branches(site)
                return Assignment(
                    Normal(std=self.std / math.sqrt(branches)),
                    f"{label}: residual output, {self.std:g}/√{branches}",
                )
            case part:
                return Assignment(Normal(std=self.std), f"{label}: {part}")


@final
@dataclass(frozen=True)
class TorchtitanGptOss(Recipe):
    """All matrices of block l = 0, 1, … N(0, (std/√(2·(l + 1)))²), those that read too; tokens
    N(0, std²); head N(0, 1/d), cut at ±3 std.

    Args:
        std: before the depth.
    """

    name: ClassVar[str] = "recipe:torchtitan_gpt_oss"
    std: float = 0.02

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part and block; biases and norms as usual, 0 and 1. The biases of the experts, which
        the code draws like their matrices, become 0.
        """
        label = "torchtitan's gpt-oss"
        match find_part(site, view):
            case "other":
                return None
            case "tokens" | "positions":
                return Assignment(Normal(std=self.std), f"{label}: tokens")
            case "head":
                return Assignment(_cut_head(site), f"{label}: head, 1/√d")
            case part:
                blocks = get_block(site) + 1
                return Assignment(
                    Normal(std=self.std / math.sqrt(2 * blocks)),
                    f"{label}: {part}, {self.std:g}/√(2·{blocks})",
                )


def _cut_head(site: ModelParameter) -> TruncatedNormal:
    return TruncatedNormal(std=1 / math.sqrt(get_inputs(site)), cut=3.0)


def _is_gated(site: ModelParameter, view: ModelView) -> bool:
    """Whether an up-projection multiplies a gate: the w3 of SwiGLU."""
    units = view.structure.gated_units if view.structure is not None else ()
    return any(site.layer in unit.up for unit in units)


REGISTRY.add(
    RecipeEntry(
        component=Llama,
        summary="LLaMA, Qwen, Gemma, DeepSeek in transformers: N(0, 0.02²) everywhere.",
        source=Source(
            project="huggingface/transformers",
            file="src/transformers/modeling_utils.py",
            year=2023,
            link="https://github.com/huggingface/transformers",
        ),
        scales="Nothing.",
        deviates="No. The models were not trained from this start: it is what transformers fills.",
        models="LLaMA, Mistral, Qwen, Gemma and DeepSeek, when built from a configuration",
        avoid="Training deep models from scratch: residual outputs do not shrink with depth.",
        examples=("llama", "llama(std=0.006)"),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=TorchtitanLlama3,
        summary="torchtitan's Llama 3: block l scaled by 1/√(2·(l + 1)), tokens N(0, 1).",
        source=Source(
            project="pytorch/torchtitan",
            file="torchtitan/models/common/param_init.py",
            year=2024,
            link=_TITAN,
        ),
        scales="Attention output, down, up (w3) and router by 1/√(2·(l + 1)), for block l.",
        deviates=(
            "w3, the up-projection beside the gate, is scaled although it is no residual output: "
            "the audit reports it as F030. "
            "The bounds ±2 of its truncation are absolute: at 0.02 they cut nothing."
        ),
        models="Llama 3, Llama 4 and DeepSeek-V3 in torchtitan",
        avoid="Tied embeddings: tokens N(0, 1) as the head give a first loss far above ln V.",
        examples=("torchtitan_llama3", "torchtitan_llama3(scale_up=false)"),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=TorchtitanQwen3,
        summary="torchtitan's Qwen 3: residual outputs divided by √(2·L), tokens N(0, 1).",
        source=Source(
            project="pytorch/torchtitan",
            file="torchtitan/models/qwen3/__init__.py",
            year=2025,
            link=_TITAN,
        ),
        scales="Residual outputs by 1/√(2·L), for L blocks.",
        deviates=(
            "Not now. Earlier versions scaled by the block's index and scaled w3 too. The bounds "
            "±2 of its truncation are absolute: at 0.02 they cut nothing."
        ),
        models="Qwen 3 in torchtitan",
        avoid="Models without normalization before each branch.",
        examples=("torchtitan_qwen3",),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=TorchtitanGptOss,
        summary="torchtitan's gpt-oss: every matrix of block l scaled by 1/√(2·(l + 1)).",
        source=Source(
            project="pytorch/torchtitan",
            file="torchtitan/models/gpt_oss/__init__.py",
            year=2025,
            link=_TITAN,
        ),
        scales="Every matrix of block l by 1/√(2·(l + 1)): queries, keys, values, router too.",
        deviates=(
            "Layers that read from the stream shrink with depth like those that write to it. The "
            "sinks of attention do too; here they stay as the model has set them."
        ),
        models="gpt-oss 20B and 120B in torchtitan",
        avoid="Attention without normalized inputs: small queries and keys make it uniform.",
        examples=("torchtitan_gpt_oss",),
    )
)
