"""An image as a sequence of tokens, and the feed-forward layers of a block.

`fanin.models.vit` and `fanin.models.mixer` share them.
"""

from __future__ import annotations

from torch import Tensor, nn

from fanin.errors import FitError
from fanin.models import activations
from fanin.models.dropout import Dropout
from fanin.models.model_options import format_shape


class Patches(nn.Module):
    """A linear map from each patch of p×p pixels to a token: a convolution of stride p.

    Args:
        channels: channels of the image.
        width: numbers in a token.
        patch: p.
    """

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width of the image) → (N, tokens, width), row by row."""
        return self.conv(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """linear to `hidden` → activation → dropout → linear to `features` → dropout.

    The layers act on the last dimension.
    """

    def __init__(
        self, features: int, hidden: int, *, activation: str, bias: bool, dropout: float
    ) -> None:
        super().__init__()
        self.linear1 = nn.Linear(features, hidden, bias=bias)
        self.activation = activations.get(activation).build()
        self.dropout1 = Dropout(dropout)
        self.linear2 = nn.Linear(hidden, features, bias=bias)
        self.dropout2 = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(…, features) → (…, features)."""
        hidden = self.dropout1(self.activation(self.linear1(x)))
        output: Tensor = self.dropout2(self.linear2(hidden))
        return output


def count_patches(name: str, input_shape: tuple[int, ...], patch: int) -> int:
    """The number of patches of an image (channels, height, width).

    Raises `FitError` if the patches do not cover the image exactly.
    """
    _, height, width = input_shape
    if height % patch or width % patch:
        raise FitError(
            f"{name} with patch={patch} needs images whose sides are multiples of {patch}; the "
            f"data has {format_shape(input_shape)}. Use a patch that divides both sides."
        )
    return (height // patch) * (width // patch)
