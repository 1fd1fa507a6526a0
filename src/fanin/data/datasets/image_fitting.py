"""A picture as a function of its coordinates, which a network fits: the first task of SIREN."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from fanin import seeds, specs
from fanin.data.dataset import Arrays, DataInfo, Dataset
from fanin.data.datasets.families import FAMILIES, Family, require_range
from fanin.data.datasets.scikit_learn import import_loader
from fanin.data.formats.tensors import compute_fingerprint, to_tensors
from fanin.data.split import split
from fanin.errors import MissingExtra

_SEED = 0
_TEST_FRACTION = 0.2
_SIDE = 427
"""Pixels of the shorter side of scikit-learn's two photographs, which are 427 × 640."""

# ITU-R BT.601: weights of red, green and blue in thousandths.
_LUMA = np.array([299, 587, 114])


@dataclass(frozen=True)
class ImageFitting:
    """Options of ``image-fitting``."""

    image: Literal["china", "flower"] = "china"
    size: int = 64
    """Side of the square picture in pixels."""

    def __post_init__(self) -> None:
        specs.coerce_fields("image-fitting", self)
        require_range("image-fitting", 4, _SIDE, size=self.size)


def describe_image_fitting(options: ImageFitting) -> DataInfo:
    """One sample for each pixel: two coordinates, one grey value."""
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


def load_image_fitting(options: ImageFitting) -> Dataset:
    """Coordinates (row, column), each from −1 to 1, → grey values in [−1, 1].

    The photograph's middle square, 427 × 427, in grey, averaged over the areas of size × size
    pixels. One pixel in five, drawn once for each size, is the test set: what is between the pixels
    that were seen. Coordinates are not standardised.

    Source: Sitzmann, Martel, Bergman, Lindell, Wetzstein: Implicit neural representations with
    periodic activation functions, 2020, arXiv:2006.09661. Differs from: the paper, which fits all
    pixels of a picture of 256 × 256 and tests on none.

    Raises `MissingExtra` without scikit-learn or pillow.
    """
    info = describe_image_fitting(options)
    grey = crop_grey_square(_load_photograph(options.image), options.size)
    axis = np.linspace(-1, 1, options.size)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    values = grey.reshape(-1) / 127.5 - 1
    generator = seeds.make_generator(_SEED, "test set", "image-fitting", options.size)
    kept, held = split(
        torch.from_numpy(values), fraction=_TEST_FRACTION, stratified=False, generator=generator
    )
    train, test = kept.numpy(), held.numpy()
    parts = to_tensors(
        info, Arrays(places[train], values[train], places[test], values[test]), info.name
    )
    return Dataset(
        info,
        *parts,
        divisor=1.0,
        standardise=False,
        fingerprint=compute_fingerprint(parts),
        published=True,
        source="embedded in scikit-learn",
        units="grey values, of −1 to 1",
    )


def crop_grey_square(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle square of a colour picture (H, W, 3) uint8 as size × size grey values, 0 to 255 in
    float64.

    Pixel i averages the rows from ⌊i·S/size⌋ to below ⌊(i+1)·S/size⌋ of the S there are, and the
    columns likewise. Sums are whole numbers, so that the result is the same everywhere.
    """
    height, width, _ = picture.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    grey = picture[top : top + side, left : left + side].astype(np.int64) @ _LUMA
    edges = np.arange(size + 1) * side // size
    sums = np.add.reduceat(np.add.reduceat(grey, edges[:-1], axis=0), edges[:-1], axis=1)
    counts = np.diff(edges)
    means: np.ndarray = sums / (1000 * np.outer(counts, counts))
    return means


def _load_photograph(image: str) -> np.ndarray:
    load = import_loader("load_sample_image")
    try:
        picture: np.ndarray = load(f"{image}.jpg")
    except ImportError:
        raise MissingExtra("pillow", "study", "This data set") from None
    return picture


FAMILIES.add(
    Family(
        name="image-fitting",
        title="the grey values of a photograph as a function of the place",
        reference="Sitzmann et al.: Implicit neural representations with periodic activation "
        "functions (2020), "
        "arXiv:2006.09661",
        options=ImageFitting,
        describe=describe_image_fitting,
        load=load_image_fitting,
        package="scikit-learn",
    )
)
