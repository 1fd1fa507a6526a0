"""Image fitting: a photograph as a function of its coordinates, the first task of SIREN."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from fanin import seeds, specs
from fanin.data.dataset import Arrays, DataInfo
from fanin.data.datasets.dataset_entry import PrimaryEntry, require_range
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.datasets.scikit_learn import SCIKIT_LEARN, import_loader
from fanin.data.split import split
from fanin.errors import MissingExtra

_SEED = 0
_TEST_FRACTION = 0.2
_SIDE = 427
"""Shorter side of scikit-learn's two photographs, 427 × 640 pixels."""

# ITU-R BT.601: weights of red, green and blue in thousandths.
_LUMA = np.array([299, 587, 114])


@dataclass(frozen=True)
class ImageFitting:
    """Options of ``image-fitting``."""

    image: Literal["china", "flower"] = "china"
    size: int = 64
    """Side of the square image in pixels."""

    def __post_init__(self) -> None:
        specs.coerce_fields("image-fitting", self)
        require_range("image-fitting", 4, _SIDE, size=self.size)


def describe_image_fitting(options: ImageFitting) -> DataInfo:
    """One sample per pixel: two coordinates and one grey value."""
    pixels = options.size**2
    n_test = math.floor(_TEST_FRACTION * pixels + 0.5)
    return DataInfo(
        name="image-fitting",
        task="regression",
        input_shape=(2,),
        outputs=1,
        n_train=pixels - n_test,
        n_test=n_test,
    )


def read_image_fitting(options: ImageFitting) -> Arrays:
    """Coordinates (row, column), each from −1 to 1, → grey values in [−1, 1].

    The image is the middle square of the photograph, 427 × 427, in grey, averaged over areas to
    size × size pixels. One pixel in five, drawn once per size, belongs to the test set, which
    measures interpolation between the training pixels. Coordinates are not standardised.

    Source: Sitzmann, Martel, Bergman, Lindell, Wetzstein: Implicit neural representations with
    periodic activation functions, 2020, arXiv:2006.09661. Differs from: the paper, which fits all
    pixels of a 256 × 256 image and has no test set.

    Raises `MissingExtra` without scikit-learn or pillow.
    """
    grey = crop_grey_square(_load_photograph(options.image), options.size)
    axis = np.linspace(-1, 1, options.size)
    coordinates = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    values = grey.reshape(-1) / 127.5 - 1
    generator = seeds.make_generator(_SEED, "test set", "image-fitting", options.size)
    kept, held_out = split(
        torch.from_numpy(values), fraction=_TEST_FRACTION, stratified=False, generator=generator
    )
    train, test = kept.numpy(), held_out.numpy()
    return Arrays(coordinates[train], values[train], coordinates[test], values[test])


def crop_grey_square(image: np.ndarray, size: int) -> np.ndarray:
    """The middle square of a colour image (H, W, 3) uint8 as size × size grey values.

    Values are float64 from 0 to 255. Pixel i averages the rows from ⌊i·S/size⌋ to below
    ⌊(i+1)·S/size⌋ of S rows, and likewise the columns. Sums are integers, so the result is the same
    on every machine.
    """
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    grey = image[top : top + side, left : left + side].astype(np.int64) @ _LUMA
    edges = np.arange(size + 1) * side // size
    sums = np.add.reduceat(np.add.reduceat(grey, edges[:-1], axis=0), edges[:-1], axis=1)
    counts = np.diff(edges)
    means: np.ndarray = sums / (1000 * np.outer(counts, counts))
    return means


def _load_photograph(name: str) -> np.ndarray:
    load_sample_image = import_loader("load_sample_image")
    try:
        photograph: np.ndarray = load_sample_image(f"{name}.jpg")
    except ImportError as error:
        if "PIL" not in str(error):  # such as a library that finds no memory
            raise
        raise MissingExtra("pillow", "study", "This data set") from None
    return photograph


REGISTRY.add(
    PrimaryEntry(
        name="image-fitting",
        title="the grey values of a photograph as a function of the place",
        reference="Sitzmann et al.: Implicit neural representations with periodic activation "
        "functions (2020), arXiv:2006.09661",
        options=ImageFitting,
        units="grey values, of −1 to 1",
        describe=describe_image_fitting,
        read=lambda options, _: read_image_fitting(options),
        origin=SCIKIT_LEARN,
    )
)
