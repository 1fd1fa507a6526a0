"""A small MLP-Mixer: `mixer`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fanin.models import normalization
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.model_options import (
    MAX_DEPTH,
    MAX_WIDTH,
    canonicalize_options,
    check_count,
    set_option,
)
from fanin.models.normalization import Norm
from fanin.models.patch_embedding import FeedForward, Patches, count_patches

_EXPANSION = 4
"""Hidden width of the layers over channels, in units of the width of a token, as in the source."""


@dataclass(frozen=True)
class MixerOptions:
    """Side of a patch, width of a token, number of blocks, hidden width of the layers over tokens
    (None: half the width, as in the source), and activation.

    `norm` is whether layer normalization is applied before each pair of layers and before the
    output. Dropout is applied after each layer of the blocks. `bias` is that of all layers of the
    blocks; patches and output always have one.
    """

    patch: int = 4
    width: int = 64
    depth: int = 4
    token_width: int | None = None
    activation: str = "gelu"
    norm: bool = True
    bias: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        canonicalize_options("mixer", self)
        if self.token_width == max(1, self.width // 2):  # equal networks have equal options
            set_option(self, "token_width", None)
        for name, most in (("patch", MAX_WIDTH), ("width", MAX_WIDTH), ("depth", MAX_DEPTH)):
            check_count(getattr(self, name), name, most)
        check_count(self.hidden_token_width, "token_width", MAX_WIDTH)

    @property
    def hidden_token_width(self) -> int:
        """The hidden width of the layers over tokens."""
        return max(1, self.width // 2) if self.token_width is None else self.token_width

    @property
    def norm_name(self) -> Norm | None:
        """The name of the normalization."""
        return "layer" if self.norm else None


class MixerBlock(nn.Module):
    """x + (two layers over tokens)(norm(x)), then x + (two layers over channels)(norm(x))."""

    def __init__(self, options: MixerOptions, tokens: int) -> None:
        super().__init__()
        width, norm = options.width, options.norm_name
        self.norm1 = normalization.make_feature_norm(norm, width)
        self.tokens = _make_feed_forward(options, tokens, options.hidden_token_width)
        self.norm2 = normalization.make_feature_norm(norm, width)
        self.channels = _make_feed_forward(options, width, _EXPANSION * width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) → (N, tokens, width)."""
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = x + self.channels(self.norm2(x))
        return mixed


class Mixer(nn.Module):
    """patches → linear → blocks → norm → mean over tokens → linear.

    Args:
        options: patch, width, depth, width over tokens, activation, normalization, biases and
            dropout rate.
        input_shape: (channels, height, width) of one image.
        outputs: number of outputs.

    Raises: `FitError` for images whose sides are not multiples of the patch.

    Source: Tolstikhin et al., MLP-Mixer: An all-MLP Architecture for Vision, 2021.
    """

    def __init__(self, options: MixerOptions, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        tokens = count_patches("mixer", input_shape, options.patch)
        self.patches = Patches(input_shape[0], options.width, options.patch)
        self.blocks = nn.ModuleList(MixerBlock(options, tokens) for _ in range(options.depth))
        self.norm = normalization.make_feature_norm(options.norm_name, options.width)
        self.dropout = Dropout(options.dropout)
        self.output = nn.Linear(options.width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) → (N, outputs)."""
        x = self.patches(x)
        for block in self.blocks:
            x = block(x)
        output: Tensor = self.output(self.norm(x).mean(1))
        return output


def _make_feed_forward(options: MixerOptions, features: int, hidden: int) -> FeedForward:
    return FeedForward(
        features, hidden, activation=options.activation, bias=options.bias, dropout=options.dropout
    )


REGISTRY.add(
    ModelEntry(
        name="mixer",
        summary="A small MLP-Mixer: patches of 4×4, 4 blocks of width 64 that mix tokens and then "
        "channels, mean, outputs.",
        options=MixerOptions,
        build=Mixer,
        input="image",
        task="any",
        channels_last=False,
        paper="Tolstikhin et al., MLP-Mixer: An all-MLP Architecture for Vision, 2021",
    )
)
