"""A picture as a function of its coordinates."""

import sys

import numpy as np
import pytest
import torch

from fanin import data, seeds
from fanin.data.datasets.image_fitting import crop_grey_square
from fanin.errors import MissingExtra

PICTURE = seeds.make_numpy_generator(0, "picture").integers(0, 256, (9, 14, 3), dtype=np.uint8)


def crop_slowly(picture, size):
    """Pixel by pixel: the middle square in grey, averaged over areas."""
    height, width, _ = picture.shape
    side = min(height, width)
    middle = picture[(height - side) // 2 :][:side, (width - side) // 2 :][:, :side].astype(float)
    grey = 0.299 * middle[..., 0] + 0.587 * middle[..., 1] + 0.114 * middle[..., 2]
    edges = [i * side // size for i in range(size + 1)]
    return [
        [grey[edges[i] : edges[i + 1], edges[j] : edges[j + 1]].mean() for j in range(size)]
        for i in range(size)
    ]


@pytest.mark.parametrize("size", [1, 3, 4, 9])
@pytest.mark.parametrize("picture", [PICTURE, PICTURE.transpose(1, 0, 2)])
def test_the_middle_square_is_averaged_over_areas(picture, size):
    assert np.allclose(crop_grey_square(picture, size), crop_slowly(picture, size), rtol=1e-12)


def test_every_pixel_is_there_once_with_its_coordinates_and_grey_value():
    from sklearn.datasets import load_sample_image

    dataset = data.load("image-fitting(size=16)")
    x, y = (
        torch.cat([dataset.x_train, dataset.x_test]),
        torch.cat([dataset.y_train, dataset.y_test]),
    )
    places = ((x.double() + 1) / 2 * 15).round().long()
    assert torch.allclose(places.double() * 2 / 15 - 1, x.double(), atol=1e-6)
    seen = torch.full((16, 16), torch.nan)
    seen[places[:, 0], places[:, 1]] = y
    expected = torch.tensor(crop_slowly(load_sample_image("china.jpg"), 16)) / 127.5 - 1
    assert torch.allclose(seen.double(), expected, atol=1e-6)
    assert (dataset.info.task, dataset.info.kind, dataset.standardise) == (
        "regression",
        "table",
        False,
    )


def test_a_fifth_of_the_pixels_is_the_test_set_and_lies_all_over_the_picture():
    dataset = data.load("image-fitting")
    assert (dataset.info.n_train, dataset.info.n_test) == (3277, 819)
    # 819 places drawn from 4096: the mean coordinate has mean 0 and standard error 0.586 / √819 ·
    # √0.8 = 0.018. 5 of those err with a chance below 1e-6; the last fifth of the rows would have a
    # mean of 0.8.
    assert dataset.x_test.mean(dim=0).abs().max() < 5 * 0.018
    assert -1 <= dataset.y_train.min() < -0.5 < 0.5 < dataset.y_train.max() <= 1


def test_without_pillow_the_extra_is_named(monkeypatch):
    for module in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r'needs pillow.*pip install "\.\[study\]"'):
        data.load("image-fitting")
