"""`lenet5`: the modern form of LeNet-5."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from model_cases import CIFAR, DIGITS, MNIST, count, images, kinds

from fanin import models
from fanin.errors import FitError, SpecError
from fanin.models.lenet import LeNet5, LeNet5Options

pytestmark = pytest.mark.usefixtures("draws_globally")


def test_the_published_number_of_parameters_is_met() -> None:
    assert count(models.get("lenet5").build(MNIST, 10)) == 61_706
    assert (
        count(models.get("lenet5").build(CIFAR, 10)) == 456 + 2_416 + (576 + 1) * 120 + 10_164 + 850
    )


def test_names_of_parameters_are_frozen() -> None:
    assert kinds(models.get("lenet5").build(MNIST, 10)) == [
        "conv.0",
        "conv.1",
        "hidden.0",
        "hidden.1",
        "output",
    ]


@pytest.mark.parametrize("pool", ["average", "max"])
def test_it_is_two_convolutions_with_pooling_and_three_linear_layers(pool: str) -> None:
    module = models.get(f"lenet5(pool={pool})").build(MNIST, 10)
    w, x = module.state_dict(), images(MNIST)
    pooled = F.avg_pool2d if pool == "average" else F.max_pool2d
    maps = pooled(torch.tanh(F.conv2d(x, w["conv.0.weight"], w["conv.0.bias"], padding=2)), 2)
    maps = pooled(torch.tanh(F.conv2d(maps, w["conv.1.weight"], w["conv.1.bias"])), 2)
    hidden = torch.tanh(maps.flatten(1) @ w["hidden.0.weight"].T + w["hidden.0.bias"])
    hidden = torch.tanh(hidden @ w["hidden.1.weight"].T + w["hidden.1.bias"])
    torch.testing.assert_close(module(x), hidden @ w["output.weight"].T + w["output.bias"])


def test_the_plain_module_can_be_made_by_hand() -> None:
    assert LeNet5(LeNet5Options(activation="relu", pool="max", dropout=0.5), CIFAR, 4)(
        images(CIFAR)
    ).shape == (4, 4)


def test_images_below_twelve_pixels_do_not_fit() -> None:
    with pytest.raises(
        FitError, match=r"lenet5 needs images of at least 12×12; the data has 1×8×8\. Use mlp"
    ):
        models.get("lenet5").build(DIGITS, 10)
    with pytest.raises(FitError, match="the data has 1×40×11"):
        models.get("lenet5").build((1, 40, 11), 10)
    assert models.get("lenet5").build((1, 12, 13), 10)(torch.zeros(2, 1, 12, 13)).shape == (2, 10)


def test_an_unknown_pooling_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(SpecError, match="one of average, max, not 'sum'"):
        models.get("lenet5(pool=sum)")
