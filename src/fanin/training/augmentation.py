"""Augmentation: random changes of the training images, by name.

The changes of an epoch are drawn on the CPU, one row per training sample, as a pure function of
(seed, name of the augmentation, epoch). So a sample gets the same change whatever the batch size
and its place in the order, all initializers of a replicate see the same images, and a checkpoint
holds no state. A whole batch is changed at once, as it is stored in memory, before any conversion.
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
"""The changes of an epoch: a tensor for each augmentation, whose row i is for training sample i."""


class Augmentation(Component, ABC):
    """One kind of random change of images: a frozen dataclass of options."""

    def check_side(self, side: int) -> None:
        """Raise `FitError` if images are too small; `side` is their shorter side in pixels.

        Accepts images of every size by default.
        """

    @abstractmethod
    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """The changes of n samples, on the CPU, of shape (n, …)."""

    @abstractmethod
    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """The images (B, C, H, W), each changed by its row of `drawn` (B, …).

        The result has the dtype and shape of `x`.
        """


@dataclass(frozen=True)
class Shift(Augmentation):
    """Each image moved down and to the right by −`pixels` to `pixels` whole pixels; zeros move in.

    The two numbers are uniform and independent. This equals a random crop of the image padded by
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
        """Raise `FitError` if a shift could move the whole image out of its frame."""
        if self.pixels >= side:
            raise FitError(
                f"shift(pixels={self.pixels}) would empty images that are {side} pixels wide or "
                f"high. Use fewer than {side} pixels."
            )

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """The numbers of pixels down and to the right: int64 of shape (n, 2)."""
        return torch.randint(
            -self.pixels, self.pixels + 1, (n, 2), generator=generator, device="cpu"
        )

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """A window of the padded image: moving the window up moves the image down."""
        height, width = x.shape[2:]
        padded = F.pad(x, (self.pixels,) * 4)
        # A view of shape (B, C, 2·pixels + 1, 2·pixels + 1, H, W).
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        top, left = (self.pixels - drawn).unbind(1)
        return windows[torch.arange(len(x), device=x.device), :, top, left]


@dataclass(frozen=True)
class Flip(Augmentation):
    """Each image mirrored left to right with probability 1/2.

    Not for images with a direction, such as digits.
    """

    name: ClassVar[str] = "flip"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Which samples are mirrored: bool of shape (n,)."""
        return torch.randint(0, 2, (n,), generator=generator, device="cpu").bool()

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """The images, mirrored if their row of `drawn` is true."""
        return torch.where(drawn[:, None, None, None], x.flip(3), x)


REGISTRY: Registry[ComponentEntry, Augmentation] = Registry("augmentation", ComponentEntry)

REGISTRY.add(
    ComponentEntry(
        component=Shift, summary="Each image moved by a random number of pixels; zeros move in."
    )
)
REGISTRY.add(
    ComponentEntry(
        component=Flip, summary="Each image mirrored left to right with probability 1/2."
    )
)


def check_input(spec: str, input_shape: tuple[int, ...], kind: str) -> None:
    """Raise `FitError` unless the augmentation can be applied to such inputs.

    Args:
        spec: the augmentation.
        input_shape: shape of one input.
        kind: kind of input (`fanin.data.DataInfo.kind`).
    """
    if kind != "image":
        raise FitError(
            f"{spec} needs images (channels, height, width); these inputs are of kind {kind}. "
            "Leave "
            "it out."
        )
    REGISTRY.make(spec).check_side(min(input_shape[1:]))


class Augmenter:
    """The augmentations of one cell, in order.

        augmenter = Augmenter(["shift", "flip"], seed)
        draws = augmenter.draw_epoch(epoch, len(x), device=x.device)
        batch = augmenter.apply(x[index], index, draws)

    Args:
        augmentations: specs, each name once.
        seed: the cell's seed of augmentation.
    """

    def __init__(self, augmentations: Sequence[str], seed: int) -> None:
        self._seed = seed
        self._augmentations = [REGISTRY.make(spec) for spec in augmentations]
        names = [augmentation.name for augmentation in self._augmentations]
        if twice := [name for name in names if names.count(name) > 1]:
            raise SpecError(
                f"{twice[0]} is listed twice, and both would draw the same numbers. Leave one out."
            )

    def draw_epoch(self, epoch: int, n: int, *, device: torch.device | str = "cpu") -> Draws:
        """The changes of an epoch to each of n samples.

        They are drawn on the CPU, the same for every device, and then moved to `device`.
        """
        return tuple(
            augmentation.draw(
                n, generator=seeds.make_generator(self._seed, "augment", augmentation.name, epoch)
            ).to(device)
            for augmentation in self._augmentations
        )

    def apply(self, x: Tensor, index: Tensor, draws: Draws) -> Tensor:
        """The changed batch; `x` itself is not changed.

        Args:
            x: images (B, C, H, W), uint8 or float.
            index: the training sample that each image is: int64 of shape (B,), on the device of x.
            draws: the draws of the epoch, on the device of x.
        """
        if x.ndim != 4:
            raise FitError(
                "Augmentation takes images (batch, channels, height, width), not a batch of shape "
                f"{tuple(x.shape)}."
            )
        for augmentation, drawn in zip(self._augmentations, draws, strict=True):
            x = augmentation.apply(x, drawn[index])
        return x
