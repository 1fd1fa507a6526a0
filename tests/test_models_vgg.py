"""VGG for small images: published sizes, pooling that keeps odd rows, one width that scales all."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from model_cases import CIFAR, DIGITS, MNIST, count, images, initialized, kinds, overfits

from fanin import models
from fanin.errors import FitError, SpecError
from fanin.models.vgg import VGG, VGG16Options

pytestmark = pytest.mark.usefixtures("draws_globally")


@pytest.mark.parametrize(("spec", "convolutions"), [("vgg11", 9_220_480), ("vgg16", 14_714_688)])
def test_the_published_number_of_parameters_is_met(spec: str, convolutions: int) -> None:
    module = models.get(spec).build(CIFAR, 10)
    assert count(module.get_submodule("conv")) == convolutions
    assert count(module) == convolutions + (512 + 1) * 10


def test_names_of_parameters_are_frozen() -> None:
    module = models.get("vgg11(norm=batch, width=4)").build(CIFAR, 10)
    assert kinds(module) == [
        f"{kind}.{layer}" for kind in ("conv", "norm") for layer in range(8)
    ] + ["output"]


@pytest.mark.parametrize(
    ("shape", "sides"),
    [(CIFAR, [32, 16, 8, 8, 4, 4, 2, 2]), (MNIST, [28, 14, 7, 7, 4, 4, 2, 2])],
    ids=["cifar", "mnist"],
)
def test_each_block_sees_half_the_side_of_the_one_before_rounded_up(
    shape: tuple[int, ...], sides: list[int]
) -> None:
    module = models.get("vgg11(width=4)").build(shape, 10)
    seen: list[int] = []
    for convolution in module.get_submodule("conv").children():
        convolution.register_forward_hook(lambda _, __, output: seen.append(output.shape[2]))
    module(images(shape))
    assert seen == sides


def test_vgg16_is_convolutions_in_blocks_of_2_2_3_3_3_with_pooling_behind_each() -> None:
    module = models.get("vgg16(width=8, activation=tanh)").build(CIFAR, 10)
    w, x = module.state_dict(), images(CIFAR)
    layers = iter(range(13))
    maps = x
    for number in (2, 2, 3, 3, 3):
        for layer in (next(layers) for _ in range(number)):
            maps = torch.tanh(
                F.conv2d(maps, w[f"conv.{layer}.weight"], w[f"conv.{layer}.bias"], padding=1)
            )
        maps = F.max_pool2d(maps, 2)
    torch.testing.assert_close(module(x), maps.flatten(1) @ w["output.weight"].T + w["output.bias"])


def test_width_is_the_number_of_channels_that_all_others_are_multiples_of() -> None:
    module = models.get("vgg11(width=16)").build(CIFAR, 10)
    widths = [convolution.out_channels for convolution in module.get_submodule("conv").children()]
    assert widths == [16, 32, 64, 64, 128, 128, 128, 128]


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group"])
def test_a_narrow_one_learns_random_labels_by_heart_with_every_norm(norm: str) -> None:
    assert overfits(initialized(f"vgg11(width=16, norm={norm})", MNIST), MNIST)


def test_the_plain_module_can_be_made_by_hand() -> None:
    assert VGG(VGG16Options(width=6, norm="group", dropout=0.5), MNIST, 3)(images(MNIST)).shape == (
        4,
        3,
    )


def test_equal_networks_have_one_identity() -> None:
    assert models.get("vgg16(width=64, norm=none, bias=true)").spec == "vgg16"
    assert models.get("vgg16").spec != models.get("vgg11").spec


def test_a_width_out_of_range_is_an_error_that_says_what_was_expected() -> None:
    with pytest.raises(SpecError, match="width is a whole number from 1 to 1,000,000; received 0"):
        models.get("vgg11(width=0)")
    with pytest.raises(SpecError, match=r"must be a whole number, not 0\.5"):
        models.get("vgg11(width=0.5)")


def test_images_below_seventeen_pixels_do_not_fit() -> None:
    with pytest.raises(FitError, match="vgg11 needs images of at least 17×17; the data has 1×8×8"):
        models.get("vgg11").build(DIGITS, 10)
    assert models.get("vgg11(width=4)").build((1, 17, 18), 2)(torch.zeros(2, 1, 17, 18)).shape == (
        2,
        2,
    )
