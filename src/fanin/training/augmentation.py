"""Augmentation: random changes of the training images, by name.

What is changed how is drawn once per epoch on the CPU, one row per sample of the training part, as
a pure function of (seed, name of the change, epoch). So a sample meets the same change whatever the
batch size and its place in the order, all initializers of a replicate see the same images, and a
checkpoint holds no state of it. Changes are made to a whole batch at once, to the bytes as they lie
in memory, before any conversion.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fanin import seeds
from fanin.errors import FitError, SpecError
from fanin.registry import Component, ComponentEntry, Registry

Draws = tuple[Tensor, ...]
"""What an epoch's changes are, one tensor for each change; its row i is for sample i of the
training part.
"""


class Augmentation(Component, ABC):
    """A frozen dataclass of options: one kind of random change of images."""

    def check_side(self, side: int) -> None:
        """Raise `FitError` if images are too small; `side` is their shorter side in pixels.

        Accepts images of every size by default.
        """

    @abstractmethod
    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """The changes of n samples, on the CPU: shape (n, …)."""

    @abstractmethod
    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """The images (B, C, H, W), each changed by its row of `drawn` (B, …); dtype and shape stay."""


@dataclass(frozen=True)
class Shift(Augmentation):
    """Each image moved by whole pixels, as many as from −`pixels` to `pixels`, down and to the
    right; zeros move in.

    Both numbers are uniform and independent. The same as a random crop of the image padded by
    `pixels` zeros on every side (He et al., Deep Residual Learning for Image Recognition, 2015,
    with 4). Zeros are black, as in torchvision's ``RandomCrop``; Keras' ``RandomTranslation``
    reflects the image instead, and moves by fractions of pixels.
    """

    name: ClassVar[str] = "shift"
    pixels: int = 4

    def check(self) -> None:
        """Raise `SpecError` for a shift of less than one pixel."""
        if self.pixels < 1:
            raise SpecError(f"shift(pixels=…) must be at least 1, not {self.pixels}.")

    def check_side(self, side: int) -> None:
        """An image must not leave its frame altogether."""
        if self.pixels >= side:
            raise FitError(
                f"shift(pixels={self.pixels}) would empty images of {side} pixels. Use fewer than "
                f"{side}."
            )

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """How far down and how far to the right: int64, shape (n, 2)."""
        return torch.randint(
            -self.pixels, self.pixels + 1, (n, 2), generator=generator, device="cpu"
        )

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """A window of the padded image: moving it up moves what it shows down."""
        height, width = x.shape[2:]
        padded = F.pad(x, (self.pixels,) * 4)
        windows = padded.unfold(2, height, 1).unfold(
            3, width, 1
        )  # (B, C, 2·pixels + 1, 2·pixels + 1, H, W): a view
        top, left = (self.pixels - drawn).unbind(1)
        return windows[torch.arange(len(x), device=x.device), :, top, left]


@dataclass(frozen=True)
class Flip(Augmentation):
    """Each image mirrored left to right with probability 1/2. Not for what has a direction, such as
    digits.
    """

    name: ClassVar[str] = "flip"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Which ones: bool, shape (n,)."""
        return torch.randint(0, 2, (n,), generator=generator, device="cpu").bool()

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Mirrored where `drawn` is true."""
        return torch.where(drawn[:, None, None, None], x.flip(3), x)


REGISTRY: Registry[ComponentEntry, Augmentation] = Registry("augmentation", ComponentEntry)

REGISTRY.add(
    ComponentEntry(
        component=Shift, summary="each image moved by up to so many pixels, zeros moving in"
    )
)
REGISTRY.add(
    ComponentEntry(component=Flip, summary="each image mirrored left to right with probability 1/2")
)


def check_input(spec: str, input_shape: tuple[int, ...], kind: str) -> None:
    """Raise a `FitError` unless inputs of that shape and kind (`fanin.data.DataInfo`) can be
    changed as the spec says.
    """
    if kind != "image":
        raise FitError(
            f"{spec} changes images (channels, height, width); these inputs are of kind {kind}. "
            "Leave it out."
        )
    REGISTRY.make(spec).check_side(min(input_shape[1:]))


class Augmenter:
    """The changes of one cell, in their order.

        augmenter = Augmenter(["shift", "flip"], seed)
        draws = augmenter.draws(epoch, len(x), device=x.device)
        batch = augmenter.apply(x[index], index, draws)

    Args:
        augmentations: specs, each name once.
        seed: the cell's seed of augmentation.
    """

    def __init__(self, augmentations: Sequence[str], seed: int) -> None:
        self._seed = seed
        self._changes = [REGISTRY.make(spec) for spec in augmentations]
        names = [change.name for change in self._changes]
        if twice := [name for name in names if names.count(name) > 1]:
            raise SpecError(
                f"{twice[0]} is named twice, and both would draw the same numbers. Leave one out."
            )

    def draws(self, epoch: int, n: int, *, device: torch.device | str = "cpu") -> Draws:
        """What an epoch does to each of n samples: drawn on the CPU, the same on every device, and
        moved there at once.
        """
        return tuple(
            change.draw(
                n, generator=seeds.make_generator(self._seed, "augment", change.name, epoch)
            ).to(device)
            for change in self._changes
        )

    def apply(self, x: Tensor, index: Tensor, draws: Draws) -> Tensor:
        """The batch, changed; the one given stays as it is.

        Args:
            x: images (B, C, H, W), uint8 or float.
            index: which sample of the training part each image is: int64, shape (B,), on the device
                of x.
            draws: the epoch's, on the device of x.
        """
        if x.ndim != 4:
            raise FitError(
                "Augmentation takes images (batch, channels, height, width), not a batch of shape "
                f"{tuple(x.shape)}."
            )
        for change, drawn in zip(self._changes, draws, strict=True):
            x = change.apply(x, drawn[index])
        return x
