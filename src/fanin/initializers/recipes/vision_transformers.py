"""Transformers of images: ViT as in JAX and in timm, DINOv3, DiT, CLIP."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers.constant import Constant, Zero
from fanin.initializers.fixed_scale import Normal, Uniform
from fanin.initializers.lecun import LecunNormal
from fanin.initializers.model_level import Assignment, ModelParameter, ModelView
from fanin.initializers.recipes.parts import (
    count_branches,
    find_part,
    find_token_table,
    get_inputs,
    is_patches,
)
from fanin.initializers.recipes.recipe import REGISTRY, Recipe, RecipeEntry, Source
from fanin.initializers.xavier import XavierUniform

_TIMM = "https://github.com/huggingface/pytorch-image-models"


def _draw_torch_uniform(site: ModelParameter) -> Uniform:
    """What torch's convolutions start from, biases too: U(±1/√fan_in)."""
    bound = 1 / math.sqrt(get_inputs(site))
    return Uniform(low=-bound, high=bound)


@final
@dataclass(frozen=True)
class VitJax(Recipe):
    """Xavier's uniform; patches LeCun's normal; head 0 and a bias; positions N(0, 0.02²), class
    token 0; biases of perceptrons N(0, 1e-12).

    Args:
        head_bias: the bias of the head: -log of the number of classes for sigmoid losses, as the
            papers set it, else 0.
    """

    name: ClassVar[str] = "recipe:vit_jax"
    covers_unknown: ClassVar[bool] = True
    head_bias: float = 0.0

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; packed queries, keys and values each with their own fans, as in Flax."""
        label = "ViT in JAX"
        if site.role == "bias" and site.place is not None:
            if "head" in site.place.roles and site.place.branch is None:
                return Assignment(Constant(value=self.head_bias), f"{label}: bias of the head")
            if not site.place.attends and site.place.branch is not None:
                return Assignment(Normal(std=1e-6), f"{label}: bias of a perceptron")
            return None
        match find_token_table(site, view):
            case "positions":
                return Assignment(Normal(std=0.02), f"{label}: positions")
            case "class token":
                return Assignment(Zero(), f"{label}: class token")
        match find_part(site, view):
            case "other":
                return None
            case "head":
                return Assignment(Zero(), f"{label}: head")
            case "patches":
                return Assignment(LecunNormal(truncated=True), f"{label}: patches")
            case "positions" | "tokens":
                return Assignment(Normal(std=0.02), f"{label}: table")
            case part:
                return Assignment(XavierUniform(), f"{label}: {part}")


@final
@dataclass(frozen=True)
class VitTimm(Recipe):
    """N(0, std²) for linear layers and positions; patches U(±1/√fan_in); class token N(0, 1e-12).

    Args:
        std: of linear layers and positions.
    """

    name: ClassVar[str] = "recipe:vit_timm"
    covers_unknown: ClassVar[bool] = True
    std: float = 0.02

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; biases and norms as usual, 0 and 1."""
        label = "ViT in timm"
        match find_token_table(site, view):
            case "positions":
                return Assignment(Normal(std=self.std), f"{label}: positions")
            case "class token":
                return Assignment(Normal(std=1e-6), f"{label}: class token")
        match find_part(site, view):
            case "other" if site.role == "bias" and is_patches(site):
                return Assignment(_draw_torch_uniform(site), f"{label}: bias of patches")
            case "other":
                return None
            case ("patches" | "convolution") as part:
                return Assignment(_draw_torch_uniform(site), f"{label}: {part}")
            case part:
                return Assignment(Normal(std=self.std), f"{label}: {part}")


@final
@dataclass(frozen=True)
class Dinov3(Recipe):
    """N(0, 0.02²) for linear layers, class and storage tokens; patches U(±1/√fan_in); LayerScale a
    constant.

    Args:
        std: of linear layers and tokens.
        layer_scale: of every branch that has one.
        mask: pattern over parameters; the token that replaces masked patches, which stays as the
            model has set it.
    """

    name: ClassVar[str] = "recipe:dinov3"
    covers_unknown: ClassVar[bool] = True
    std: float = 0.02
    layer_scale: float = 1e-5
    mask: str = "*mask_token"

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; biases and norms as usual, 0 and 1. The mask of key biases is no parameter."""
        if fnmatch.fnmatchcase(site.name, self.mask):
            return None
        if site.name in _list_branch_scales(view):
            return Assignment(Constant(value=self.layer_scale), "DINOv3: LayerScale")
        if find_token_table(site, view) is not None:
            return Assignment(Normal(std=self.std), "DINOv3: tokens")
        match find_part(site, view):
            case "other" if site.role == "bias" and is_patches(site):
                return Assignment(_draw_torch_uniform(site), "DINOv3: bias of patches")
            case "other":
                return None
            case ("patches" | "convolution") as part:
                return Assignment(_draw_torch_uniform(site), f"DINOv3: {part}")
            case part:
                return Assignment(Normal(std=self.std), f"DINOv3: {part}")


@final
@dataclass(frozen=True)
class Dit(Recipe):
    """Xavier's uniform; patches as if they were a linear layer; tables of labels and the layers of
    the time N(0, 0.02²); modulation of branches (adaLN) and the final layer 0.

    Args:
        std: of labels and of the time's layers.
        modulation: pattern over layers; the last layers of adaLN, which no graph tells for sure.
        time: pattern over layers; the perceptron of the time.
    """

    name: ClassVar[str] = "recipe:dit"
    std: float = 0.02
    modulation: str = "*adaLN_modulation*"
    time: str = "*t_embedder*"

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; biases and norms as usual, 0 and 1. Fixed tables of sines stay."""
        if fnmatch.fnmatchcase(site.layer, self.modulation):
            return Assignment(Zero(), "DiT: modulation, zero")
        part = find_part(site, view)
        if part == "other":
            return None
        if fnmatch.fnmatchcase(site.layer, self.time) or part in ("tokens", "positions"):
            return Assignment(Normal(std=self.std), "DiT: labels and time")
        if part == "head":
            return Assignment(Zero(), "DiT: final layer, zero")
        return Assignment(XavierUniform(), f"DiT: {part}")


@final
@dataclass(frozen=True)
class Clip(Recipe):
    """d^-½ for queries, keys and values; d^-½·(2·L)^-½ for residual outputs, where d is the
    width; (2·d)^-½ for the first layer of perceptrons; tokens N(0, 0.02²), positions N(0, 0.01²);
    projections into the common space d^-½.

    Args:
        swapped: attention as in transformers, which scales queries, keys and values by depth and
            not the output.
        position_std: of the table of positions; 0.02 in transformers.
    """

    name: ClassVar[str] = "recipe:clip"
    covers_unknown: ClassVar[bool] = True
    swapped: bool = False
    position_std: float = 0.01

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part and stream; biases and norms as usual, 0 and 1. Patches U(±1/√fan_in)."""
        if find_token_table(site, view) is not None:
            std = 1 / math.sqrt(site.layout.shape[-1])
            return Assignment(Normal(std=std), "CLIP: class token or positions, 1/√d")
        part = find_part(site, view)
        place = site.place
        if part == "other" or place is None:
            return None
        if part in ("tokens", "positions"):
            std = 0.02 if part == "tokens" else self.position_std
            return Assignment(Normal(std=std), f"CLIP: {part}")
        if part in ("patches", "convolution"):
            return Assignment(_draw_torch_uniform(site), f"CLIP: {part}")
        inputs, deep = get_inputs(site), 1 / math.sqrt(count_branches(site))
        std = 1 / math.sqrt(inputs)
        if part == "residual output" and not place.attends:
            # the width of the stream, not that of the perceptron
            std = deep / math.sqrt(site.layout.fans.fan_out if site.layout.fans else inputs)
        elif part == "residual output":
            std *= 1.0 if self.swapped else deep
        elif place.attends:
            std *= deep if self.swapped else 1.0
        elif place.branch is not None:
            std /= math.sqrt(2)
        return Assignment(Normal(std=std), f"CLIP: {part}")


def _list_branch_scales(view: ModelView) -> frozenset[str]:
    branches = view.structure.branches if view.structure is not None else ()
    return frozenset(name for branch in branches for name in branch.scales)


REGISTRY.add(
    RecipeEntry(
        component=VitJax,
        summary="ViT in JAX: Xavier's uniform, head 0, patches LeCun's normal.",
        source=Source(
            project="google-research/vision_transformer",
            file="vit_jax/models_vit.py",
            year=2020,
            link="https://github.com/google-research/vision_transformer",
        ),
        scales="Matrices by their fans; nothing by depth.",
        deviates=(
            "timm's copy of this start takes packed queries, keys and values as one map, whose "
            "standard deviation is smaller by √2; here each has its own fans, as in Flax."
        ),
        models="ViT, MLP-Mixer, SigLIP (with a head bias)",
        avoid="Small data sets without long training: mimetic starts help there.",
        examples=("vit_jax", "vit_jax(head_bias=-6.9)"),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=VitTimm,
        summary="ViT in timm: N(0, 0.02²) for linear layers, patches as torch's default.",
        source=Source(
            project="huggingface/pytorch-image-models",
            file="timm/models/vision_transformer.py",
            year=2020,
            link=_TIMM,
        ),
        scales="Nothing.",
        deviates="The bounds ±2 of its truncation are absolute: at 0.02 they cut nothing.",
        models="ViT, DeiT and most transformers in timm",
        avoid="Widths far from 192 to 1280: 0.02 does not follow the width.",
        examples=("vit_timm",),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=Dinov3,
        summary="DINOv3: N(0, 0.02²), LayerScale 1e-5, patches as torch's default.",
        source=Source(
            project="facebookresearch/dinov3",
            file="dinov3/models/vision_transformer.py",
            year=2025,
            link="https://github.com/facebookresearch/dinov3",
        ),
        scales="Branches by LayerScale, the same at every depth.",
        deviates=(
            "transformers draws patches and tokens like linear layers. The bounds ±2 of the "
            "truncation are absolute: at 0.02 they cut nothing."
        ),
        models="DINOv2, DINOv3",
        avoid="Models without LayerScale, for which nothing shrinks the branches.",
        examples=("dinov3", "dinov3(layer_scale=1.0)"),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=Dit,
        summary="DiT: Xavier's uniform; adaLN and the final layer 0, time and labels N(0, 0.02²).",
        source=Source(
            project="facebookresearch/DiT",
            file="models.py",
            year=2022,
            link="https://github.com/facebookresearch/DiT",
        ),
        scales="Matrices by their fans; branches are 0 through their gates.",
        deviates=(
            "Packed queries, keys and values count as one map there, whose standard deviation is "
            "smaller by √2; here each has its own fans."
        ),
        models="DiT, SiT, PixArt",
        avoid="Models without adaLN: the final layer alone would be 0.",
        examples=("dit",),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=Clip,
        summary="CLIP: by width, residual outputs divided by √(2·L).",
        source=Source(
            project="openai/CLIP",
            file="clip/model.py",
            year=2021,
            link="https://github.com/openai/CLIP",
        ),
        scales="Every matrix by 1/√d, residual outputs by 1/√(2·L), per tower.",
        deviates=(
            "transformers gives the factor of depth to queries, keys and values, and none to "
            "attention outputs (swapped). OpenAI's image tower keeps torch's default."
        ),
        models="CLIP's text tower; both towers in transformers",
        avoid="Reproducing OpenAI's image tower.",
        examples=("clip", "clip(swapped=true, position_std=0.02)"),
    )
)
