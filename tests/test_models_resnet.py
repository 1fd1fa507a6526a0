"""Residual networks: published sizes, the three kinds of residual sum, and scalars that start
neutral.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from model_cases import CIFAR, CLASSES, DIGITS, MNIST, count, images, initialized, kinds, overfits

import fanin
from fanin import models
from fanin.errors import FitError, SpecError
from fanin.models.residual_blocks import ConvShortcut, PadShortcut
from fanin.models.resnet import ResNet, ResNet20Options, ResNetOptions

pytestmark = pytest.mark.usefixtures("draws_globally")

FIXUP = "resnet(norm=none, residual=fixup)"
SCALAR = "resnet(norm=none, residual=scalar)"


@pytest.mark.parametrize(
    ("spec", "published", "parameters"),
    [("resnet20", "0.27", 269_722), ("resnet56", "0.85", 853_018), ("resnet110", "1.7", 1_727_962)],
)
def test_the_published_number_of_parameters_is_met(
    spec: str, published: str, parameters: int
) -> None:
    found = count(models.get(spec).build(CIFAR, 10))
    assert found == parameters
    assert f"{found / 1e6:.{len(published) - 2}f}" == published


def test_depth_counts_the_convolutions_of_branches_and_stem_and_the_output() -> None:
    module = models.get("resnet(depth=14)").build(CIFAR, 10)
    assert len([name for name in kinds(module) if "norm" not in name]) == 14


def test_names_of_parameters_are_frozen() -> None:
    names = [name for name, _ in models.get(FIXUP).build(CIFAR, 10).named_parameters()]
    assert names[:3] == ["bias1", "bias2", "stem.weight"]
    assert [name.removeprefix("blocks.0.") for name in names if name.startswith("blocks.0.")] == [
        *("bias1a", "bias1b", "bias2a", "scale", "bias2b", "conv1.weight", "conv2.weight")
    ]
    names = [
        name
        for name, _ in models.get("resnet(residual=scalar, shortcut=conv)")
        .build(CIFAR, 10)
        .named_parameters()
    ]
    assert {name.removeprefix("blocks.1.") for name in names if name.startswith("blocks.1.")} == {
        *("alpha", "conv1.weight", "conv2.weight", "shortcut.conv.weight"),
        *(
            f"{norm}.{kind}"
            for norm in ("norm1", "norm2", "shortcut.norm")
            for kind in ("weight", "bias")
        ),
    }


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group"])
@pytest.mark.parametrize("residual", ["plain", "scalar"])
@pytest.mark.parametrize("shape", [CIFAR, MNIST, DIGITS, (2, 5, 7)], ids=str)
def test_every_norm_goes_with_every_sum_on_every_image(
    norm: str, residual: str, shape: tuple[int, ...]
) -> None:
    module = models.get(f"resnet(norm={norm}, residual={residual}, shortcut=conv, width=4)").build(
        shape, 3
    )
    assert module(images(shape)).shape == (4, 3)


def test_stages_double_the_channels_and_halve_the_sides() -> None:
    module = models.get("resnet(depth=14)").build(CIFAR, 10)
    seen: list[tuple[int, ...]] = []
    for block in module.get_submodule("blocks").children():
        block.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape[1:])))
    module(images(CIFAR))
    assert seen == [(16, 32, 32)] * 2 + [(32, 16, 16)] * 2 + [(64, 8, 8)] * 2


def test_a_plain_block_is_the_activation_of_shortcut_and_branch() -> None:
    block = (
        models.get("resnet(norm=none, activation=tanh)").build(CIFAR, 10).get_submodule("blocks.1")
    )
    w, x = block.state_dict(), images((16, 8, 8))
    branch = F.conv2d(
        torch.tanh(F.conv2d(x, w["conv1.weight"], stride=2, padding=1)),
        w["conv2.weight"],
        padding=1,
    )
    shortcut = torch.cat([x[:, :, ::2, ::2], torch.zeros(4, 16, 4, 4)], 1)
    torch.testing.assert_close(block(x), torch.tanh(shortcut + branch))


def test_a_fixup_block_is_the_formula_of_its_docstring() -> None:
    block = (
        models.get("resnet(norm=none, residual=fixup, activation=tanh)")
        .build(CIFAR, 10)
        .get_submodule("blocks.0")
    )
    for index, name in enumerate(("bias1a", "bias1b", "bias2a", "bias2b", "scale")):
        block.get_parameter(name).data.fill_(0.1 * (index + 1))
    w, x = block.state_dict(), images((16, 8, 8))
    inner = torch.tanh(F.conv2d(x + 0.1, w["conv1.weight"], padding=1) + 0.2)
    branch = 0.5 * F.conv2d(inner + 0.3, w["conv2.weight"], padding=1) + 0.4
    torch.testing.assert_close(block(x), torch.tanh(x + branch))


def test_a_network_with_scalars_is_blind_to_its_branches_at_first() -> None:
    module = initialized(SCALAR, DIGITS)
    expected = module(images(DIGITS))
    with torch.no_grad():
        for name in kinds(module):
            if ".conv" in name:
                module.get_parameter(f"{name}.weight").mul_(100)
    assert torch.equal(module(images(DIGITS)), expected)


@pytest.mark.parametrize(("spec", "scalars"), [(FIXUP, 3 * 5 + 2), (SCALAR, 3)])
@pytest.mark.parametrize("rule", ["auto", "he_normal", "orthogonal"])
def test_no_initializer_moves_the_scalars_and_they_are_all_that_none_knows(
    spec: str, scalars: int, rule: str
) -> None:
    module = models.get(spec).build(DIGITS, CLASSES)
    record = fanin.initialize(module, rule, seed=0, batch=images(DIGITS, 2))
    unknown = [one.name for one in record if one.role == "unknown"]
    assert len(unknown) == scalars
    assert {name: float(module.get_parameter(name).detach()) for name in unknown} == {
        name: 1.0 if name.endswith("scale") else 0.0 for name in unknown
    }


def test_the_pad_shortcut_takes_every_second_pixel_and_appends_channels_of_zeros() -> None:
    x = images((2, 5, 4))
    padded = PadShortcut(2, 3)(x)
    assert padded.shape == (4, 5, 3, 2)
    assert torch.equal(padded[:, :2], x[:, :, ::2, ::2])
    assert not padded[:, 2:].any()


def test_the_convolutional_shortcut_stands_only_where_the_shape_changes() -> None:
    module = models.get("resnet(depth=14, shortcut=conv)").build(CIFAR, 10)
    kind = [
        isinstance(block.shortcut, ConvShortcut)
        for block in module.get_submodule("blocks").children()
    ]
    assert kind == [False, False, True, False, True, False]


@pytest.mark.parametrize(
    "spec", [FIXUP, SCALAR, "resnet(norm=group)", "resnet(norm=layer)", "resnet(norm=none)"]
)
def test_a_small_one_learns_random_labels_by_heart(spec: str) -> None:
    assert overfits(initialized(spec, DIGITS), DIGITS)


def test_the_plain_module_can_be_made_by_hand() -> None:
    options = ResNetOptions(depth=14, width=4, norm="layer", residual="scalar", dropout=0.5)
    assert ResNet(options, CIFAR, 3)(images(CIFAR)).shape == (4, 3)
    assert ResNet20Options() == ResNet20Options(norm="batch")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("resnet(depth=9)", r"6n \+ 2.* received 9"),
        ("resnet(depth=2)", r"6n \+ 2.* received 2"),
        ("resnet(depth=20)", "has its own name. Write resnet20"),
        ("resnet(depth=100004)", "from 1 to 10,000"),
        ("resnet20(width=0)", "width is a whole number"),
        (
            "resnet20(residual=fixup)",
            r"received norm=batch, bias=false. Write resnet20\(norm=none, residual=fixup\)",
        ),
        ("resnet(norm=none, residual=fixup, bias=true)", r"bias=true. Write resnet\("),
        ("resnet20(residual=rezero)", "one of plain, scalar, fixup"),
        ("resnet20(shortcut=b)", "one of pad, conv"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_says_what_was_expected(
    spec: str, says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        models.get(spec)


def test_equal_networks_have_one_identity() -> None:
    assert models.get("resnet20(norm=batch, residual=plain, width=16)").spec == "resnet20"
    assert (
        models.get("resnet56(residual=fixup, norm=none)").spec
        == "resnet56(norm=none, residual=fixup)"
    )


def test_images_below_five_pixels_do_not_fit() -> None:
    with pytest.raises(FitError, match="resnet20 needs images of at least 5×5; the data has 3×4×9"):
        models.get("resnet20").build((3, 4, 9), 2)
