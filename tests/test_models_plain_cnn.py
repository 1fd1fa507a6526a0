"""`plain_cnn`: a chain of convolutions of any depth."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from model_cases import CIFAR, DIGITS, MNIST, count, images, initialized, kinds
from torch import Tensor, nn

from fanin import models
from fanin.errors import FitError, SpecError, UnknownName
from fanin.models.plain_cnn import PlainCNN, PlainCNNOptions

pytestmark = pytest.mark.usefixtures("draws_globally")


def sizes_of_maps(module: nn.Module, x: Tensor) -> list[tuple[int, ...]]:
    seen: list[tuple[int, ...]] = []
    for convolution in module.get_submodule("conv").children():
        convolution.register_forward_hook(
            lambda _, __, output: seen.append(tuple(output.shape[2:]))
        )
    module(x)
    return seen


def test_parameters_number_what_the_layers_add_up_to() -> None:
    assert (
        count(models.get("plain_cnn").build(CIFAR, 10))
        == (27 + 1) * 32 + 7 * (9 * 32 + 1) * 32 + (32 + 1) * 10
    )
    assert (
        count(models.get("plain_cnn(bias=false, depth=3, kernel=5, channels=4)").build(MNIST, 2))
        == 100 + 2 * 400 + 10
    )


def test_names_of_parameters_are_frozen() -> None:
    module = models.get("plain_cnn(depth=2, norm=batch)").build(CIFAR, 10)
    assert kinds(module) == ["conv.0", "conv.1", "norm.0", "norm.1", "output"]


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        (CIFAR, [(32, 32), (16, 16), (8, 8), (8, 8)]),
        (MNIST, [(28, 28), (14, 14), (7, 7), (7, 7)]),
        (DIGITS, [(8, 8), (8, 8), (8, 8), (8, 8)]),
        ((2, 20, 9), [(20, 9), (10, 5), (10, 5), (10, 5)]),
    ],
)
def test_strides_of_two_bring_the_smaller_side_to_eight_or_less_at_once(
    shape: tuple[int, ...], sizes: list[tuple[int, ...]]
) -> None:
    assert sizes_of_maps(models.get("plain_cnn(depth=4)").build(shape, 10), images(shape)) == sizes


def test_it_is_convolution_activation_and_so_on_then_the_mean_and_a_linear_layer() -> None:
    module = models.get("plain_cnn(depth=2, channels=4, activation=tanh)").build(DIGITS, 3)
    w, x = module.state_dict(), images(DIGITS)
    maps = torch.tanh(F.conv2d(x, w["conv.0.weight"], w["conv.0.bias"], padding=1))
    maps = torch.tanh(F.conv2d(maps, w["conv.1.weight"], w["conv.1.bias"], padding=1))
    torch.testing.assert_close(
        module(x), maps.mean((2, 3)) @ w["output.weight"].T + w["output.bias"]
    )


def test_circular_padding_makes_the_outputs_blind_to_shifts_of_the_image() -> None:
    x = images(DIGITS)
    for padding, blind in (("circular", True), ("zeros", False)):
        module = models.get(f"plain_cnn(padding={padding})").build(DIGITS, 10)
        assert (
            torch.allclose(module(x), module(x.roll((3, 5), (2, 3))), rtol=1e-4, atol=1e-6) == blind
        )


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
def test_normalization_makes_the_scale_of_a_layers_weights_matter_no_more(norm: str) -> None:
    module = models.get(f"plain_cnn(depth=3, bias=false, norm={norm})").build(DIGITS, 10)
    expected = module(images(DIGITS))
    with torch.no_grad():
        module.get_parameter("conv.1.weight").mul_(3)
    torch.testing.assert_close(module(images(DIGITS)), expected, rtol=1e-3, atol=1e-3)


def test_dropout_is_between_the_mean_and_the_output() -> None:
    module = models.get("plain_cnn(dropout=0.5)").build(DIGITS, 10)
    seen: list[Tensor] = []
    module.get_submodule("output").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    module(images(DIGITS, 64))
    module.eval()(images(DIGITS, 64))
    kept = seen[0] != 0
    torch.testing.assert_close(seen[0][kept], 2 * seen[1][kept])
    assert not kept.all()


def test_a_chain_of_a_thousand_linear_layers_keeps_its_signal_when_each_is_delta_orthogonal() -> (
    None
):
    spec = "plain_cnn(depth=1000, channels=8, activation=identity)"
    module = initialized(spec, DIGITS, "delta_orthogonal")
    seen: list[Tensor] = []
    for layer in (0, 999):
        module.get_submodule(f"conv.{layer}").register_forward_hook(
            lambda _, __, output: seen.append(output.detach())
        )
    module(images(DIGITS))
    torch.testing.assert_close(seen[1].norm(), seen[0].norm(), rtol=1e-3, atol=0)


def test_the_plain_module_can_be_made_by_hand() -> None:
    module = PlainCNN(PlainCNNOptions(depth=3, kernel=5, norm="group"), (2, 9, 12), 4)
    assert module(torch.zeros(2, 2, 9, 12)).shape == (2, 4)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("plain_cnn(depth=0)", SpecError, "depth is a whole number from 1 to 10,000; received 0"),
        ("plain_cnn(depth=10001)", SpecError, "received 10001"),
        ("plain_cnn(channels=0)", SpecError, "channels is a whole number"),
        ("plain_cnn(kernel=4)", SpecError, "odd number .* received 4"),
        ("plain_cnn(padding=same)", SpecError, "one of zeros, circular"),
        ("plain_cnn(norm=bach)", SpecError, "batch or layer or group or none"),
        ("plain_cnn(dropout=1)", SpecError, "below 1"),
        ("plain_cnn(activation=rellu)", UnknownName, "Did you mean .*relu"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_says_what_was_expected(
    spec: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        models.get(spec)


def test_the_default_options_written_out_are_the_default_identity() -> None:
    spec = (
        "plain_cnn(depth=8, channels=32, kernel=3, padding=zeros, activation=relu, norm=none, "
        "bias=true, dropout=0)"
    )
    assert models.get(spec).spec == "plain_cnn"
    assert models.get("plain_cnn(activation=swish)").spec == "plain_cnn(activation=silu)"


def test_an_image_smaller_than_the_kernel_does_not_fit() -> None:
    with pytest.raises(FitError, match=r"at least 5×5; the data has 1×4×9\. Use a smaller kernel"):
        models.get("plain_cnn(kernel=5)").build((1, 4, 9), 2)
    assert models.get("plain_cnn(kernel=5)").build((1, 5, 9), 2)(torch.zeros(2, 1, 5, 9)).shape == (
        2,
        2,
    )
