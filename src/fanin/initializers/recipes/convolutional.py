"""Convolutional networks: ResNet, EfficientNet, ConvNeXt; wav2vec 2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers.constant import Constant, Zero
from fanin.initializers.fixed_scale import Normal, Uniform
from fanin.initializers.he import HeNormal
from fanin.initializers.model_level import Assignment, ModelParameter, ModelView
from fanin.initializers.recipes.parts import find_part, get_inputs, get_outputs, list_end_norms
from fanin.initializers.recipes.recipe import REGISTRY, Recipe, RecipeEntry, Source


def _draw_uniform(bound: float) -> Uniform:
    return Uniform(low=-bound, high=bound)


@final
@dataclass(frozen=True)
class ResnetTorchvision(Recipe):
    """Convolutions He's normal by fan_out; the head U(±1/√fan_in), its bias too.

    Args:
        zero_init_residual: whether the last norm of each branch starts at 0.
    """

    name: ClassVar[str] = "recipe:resnet_torchvision"
    zero_init_residual: bool = False

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; norms 1 and 0."""
        if self.zero_init_residual and site.name in list_end_norms(view):
            return Assignment(Zero(), "ResNet: last norm of a branch")
        place = site.place
        if site.role == "bias" and place is not None and "head" in place.roles:
            fans = site.layout.fans
            bound = 1 / math.sqrt(fans.fan_in) if fans is not None else 0.0
            return Assignment(_draw_uniform(bound), "ResNet: bias of the head")
        part = find_part(site, view)
        if part == "other":
            return None
        if site.layout.kernel:
            return Assignment(HeNormal(mode="fan_out"), "ResNet: convolution")
        return Assignment(_draw_uniform(1 / math.sqrt(get_inputs(site))), f"ResNet: {part}")


@final
@dataclass(frozen=True)
class ResnetGoyal(Recipe):
    """Convolutions He's normal by fan_out; the last norm of each branch 0; the head N(0, 0.01²).

    Args:
        head_std: of the head.
    """

    name: ClassVar[str] = "recipe:resnet_goyal"
    head_std: float = 0.01

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; other norms 1 and 0, biases 0."""
        if site.name in list_end_norms(view):
            return Assignment(Zero(), "ResNet by Goyal: last norm of a branch")
        part = find_part(site, view)
        if part == "other":
            return None
        if site.layout.kernel:
            return Assignment(HeNormal(mode="fan_out"), "ResNet by Goyal: convolution")
        return Assignment(Normal(std=self.head_std), f"ResNet by Goyal: {part}")


@final
@dataclass(frozen=True)
class Efficientnet(Recipe):
    """Convolutions N(0, 2/fan_out), with the true fan_out of depthwise ones; linear layers
    U(±1/√fan_out); biases 0.
    """

    name: ClassVar[str] = "recipe:efficientnet"

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; norms 1 and 0."""
        part = find_part(site, view)
        if part == "other":
            return None
        if site.layout.kernel:
            return Assignment(HeNormal(mode="fan_out"), "EfficientNet: convolution")
        bound = 1 / math.sqrt(get_outputs(site))
        return Assignment(_draw_uniform(bound), f"EfficientNet: {part}, ±1/√fan_out")


@final
@dataclass(frozen=True)
class Convnext(Recipe):
    """N(0, 0.02²) for convolutions and linear layers; biases 0; LayerScale a constant.

    Args:
        std: of all weights.
        layer_scale: of every branch that has one.
    """

    name: ClassVar[str] = "recipe:convnext"
    covers_unknown: ClassVar[bool] = True
    std: float = 0.02
    layer_scale: float = 1e-6

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; norms 1 and 0."""
        branches = view.structure.branches if view.structure is not None else ()
        if any(site.name in branch.scales for branch in branches):
            return Assignment(Constant(value=self.layer_scale), "ConvNeXt: LayerScale")
        part = find_part(site, view)
        return None if part == "other" else Assignment(Normal(std=self.std), f"ConvNeXt: {part}")


@final
@dataclass(frozen=True)
class Wav2vec2(Recipe):
    """Convolutions of the waveform He's normal; the convolution of positions, which is grouped,
    N(0, 4/(kernel·channels)); linear layers N(0, 0.02²), but U(±1/√fan_in) between the two.

    Args:
        std: of linear layers.
    """

    name: ClassVar[str] = "recipe:wav2vec2"
    std: float = 0.02

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part; norms 1 and 0. A grouped convolution is that of positions."""
        part = find_part(site, view)
        if part == "other":
            return None
        if site.layout.kernel and site.layout.groups > 1:
            channels = getattr(site.module, "in_channels", site.layout.shape[0])
            std = 2 / math.sqrt(site.layout.kernel[0] * channels)
            return Assignment(Normal(std=std), "wav2vec 2: positions, 2/√(kernel·channels)")
        if site.layout.kernel:
            return Assignment(HeNormal(), "wav2vec 2: convolution")
        if part == "matrix" and site.place is not None and site.place.branch is None:
            bound = 1 / math.sqrt(get_inputs(site))
            return Assignment(_draw_uniform(bound), "wav2vec 2: projection of the waveform")
        return Assignment(Normal(std=self.std), f"wav2vec 2: {part}")


REGISTRY.add(
    RecipeEntry(
        component=ResnetTorchvision,
        summary="ResNet in torchvision: He's normal by fan_out, head as torch's default.",
        source=Source(
            project="pytorch/vision",
            file="torchvision/models/resnet.py",
            year=2016,
            link="https://github.com/pytorch/vision",
        ),
        scales="Convolutions by √(2/fan_out); branches by nothing, or 0.",
        deviates=(
            "Its fan_out ignores groups, so ResNeXt's grouped convolutions start smaller by "
            "√groups; here the true one counts."
        ),
        models="ResNet, Wide ResNet, ResNeXt",
        avoid="Networks without normalization.",
        examples=("resnet_torchvision", "resnet_torchvision(zero_init_residual=true)"),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=ResnetGoyal,
        summary="ResNet for large batches: He's normal, last norm of each branch 0, head 0.01.",
        source=Source(
            project="facebookarchive/caffe2",
            file="caffe2/python/models/resnet.py (Goyal et al., section 5.1)",
            year=2017,
            link="https://arxiv.org/abs/1706.02677",
        ),
        scales="Branches by 0, through the scale of their last norm.",
        deviates="No.",
        models="ResNet-50 with batches up to 8192",
        avoid="Branches that end in a convolution without a norm.",
        examples=("resnet_goyal",),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=Efficientnet,
        summary="EfficientNet: N(0, 2/fan_out) with true fans, linear layers U(±1/√fan_out).",
        source=Source(
            project="tensorflow/tpu",
            file="models/official/efficientnet/efficientnet_model.py",
            year=2019,
            link="https://github.com/tensorflow/tpu",
        ),
        scales="Convolutions by √(2/fan_out).",
        deviates="ReLU's gain stands before SiLU. Older copies in torch ignored groups.",
        models="EfficientNet, MnasNet, MobileNetV3, MixNet",
        avoid="Networks without normalization.",
        examples=("efficientnet",),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=Convnext,
        summary="ConvNeXt: N(0, 0.02²), LayerScale 1e-6.",
        source=Source(
            project="facebookresearch/ConvNeXt",
            file="models/convnext.py",
            year=2022,
            link="https://github.com/facebookresearch/ConvNeXt",
        ),
        scales="Branches by LayerScale, the same at every depth.",
        deviates="The bounds ±2 of its truncation are absolute: at 0.02 they cut nothing.",
        models="ConvNeXt",
        avoid="Depthwise convolutions without a norm behind: fan_in 49 at 0.02 is a gain of 0.14.",
        examples=("convnext", "convnext(layer_scale=1.0)"),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=Wav2vec2,
        summary="wav2vec 2: He's normal for the waveform, N(0, 0.02²) for the transformer.",
        source=Source(
            project="facebookresearch/fairseq",
            file="fairseq/models/wav2vec/wav2vec2.py",
            year=2020,
            link="https://github.com/facebookresearch/fairseq",
        ),
        scales="Convolutions by √(2/fan_in); nothing by depth.",
        deviates=(
            "The gain of He stands before GELU. Biases of convolutions and of the "
            "projection behind them are uniform in the code; here they are 0."
        ),
        models="wav2vec 2.0, HuBERT, WavLM",
        avoid="Raw inputs that are not normalized.",
        examples=("wav2vec2",),
    )
)
