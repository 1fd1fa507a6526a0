"""norm=ws: a weight's rows are used centred and scaled; what that leaves of an initializer."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from model_cases import CIFAR, CLASSES, DIGITS, images, initialized, kinds, overfits
from torch import Tensor, nn

import fanin
from fanin import models, seeds
from fanin.errors import FitError
from fanin.fans import calculate_fans, describe_parameters
from fanin.models.weight_standardization import (
    StandardizedConv2d,
    StandardizedLinear,
    standardize,
    standardize_weight,
)

pytestmark = pytest.mark.usefixtures("draws_globally")

CASES = {
    "mlp(norm=ws)": DIGITS,
    "plain_cnn(norm=ws, depth=3, channels=16)": DIGITS,
    "vgg11(norm=ws, width=4)": CIFAR,
    "resnet(norm=ws, shortcut=conv)": DIGITS,
    "resnet(norm=ws, residual=scalar)": DIGITS,
    "autoencoder(norm=ws)": DIGITS,
}
every_model = pytest.mark.parametrize(("spec", "shape"), CASES.items(), ids=CASES.keys())


def built(spec: str, shape: tuple[int, ...]) -> nn.Module:
    return models.get(spec).build(shape, CLASSES)


def layers(module: nn.Module) -> dict[str, StandardizedLinear | StandardizedConv2d]:
    kept = (StandardizedLinear, StandardizedConv2d)
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, kept)}


def drawn(*shape: int, std: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=seeds.make_generator(0, "w")) * std


def slow(weight: Tensor, gain: Tensor) -> Tensor:
    """The formula, row by row."""
    rows = [
        (w - w.mean()) / (math.sqrt(w.numel()) * w.std(correction=0)) * g
        for w, g in zip(weight, gain, strict=True)
    ]
    return torch.stack(rows)


# The layers


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3), (6, 8, 1, 1)])
def test_the_weight_that_is_used_is_the_formula_row_by_row(shape: tuple[int, ...]) -> None:
    weight, gain = drawn(*shape) + 0.3, torch.linspace(0.5, 2, shape[0])
    torch.testing.assert_close(standardize_weight(weight, gain), slow(weight, gain))


def test_the_layers_are_torchs_with_that_weight() -> None:
    linear, x = StandardizedLinear(7, 5), drawn(3, 7)
    linear.gain.data.copy_(torch.linspace(0.5, 2, 5))
    torch.testing.assert_close(
        linear(x), F.linear(x, slow(linear.weight, linear.gain), linear.bias)
    )
    convolution, maps = (
        StandardizedConv2d(3, 4, (3, 3), (2, 2), (1, 1), padding_mode="circular"),
        drawn(2, 3, 8, 8),
    )
    padded = F.pad(maps, (1, 1, 1, 1), mode="circular")
    expected = F.conv2d(padded, slow(convolution.weight, convolution.gain), convolution.bias, 2)
    torch.testing.assert_close(convolution(maps), expected)


@every_model
def test_neither_the_scale_nor_the_mean_of_a_row_reaches_the_outputs(
    spec: str, shape: tuple[int, ...]
) -> None:
    module, x = built(spec, shape).double().eval(), images(shape).double()
    before = module(x)
    found = layers(module)
    assert found
    for layer in found.values():
        rows = (len(layer.weight),) + (1,) * (layer.weight.ndim - 1)
        layer.weight.data.mul_(torch.linspace(0.5, 20, rows[0]).view(rows)).add_(
            torch.linspace(-3, 3, rows[0]).view(rows)
        )
    torch.testing.assert_close(module(x), before)


def test_the_gradient_of_a_row_is_orthogonal_to_it_to_ones_and_inverse_to_its_scale() -> None:
    x = drawn(6, 7)

    def gradient(factor: float) -> tuple[Tensor, Tensor]:
        layer = StandardizedLinear(7, 5, bias=False)
        layer.weight.data.copy_(drawn(5, 7) * factor)
        layer(x).square().sum().backward()
        assert layer.weight.grad is not None
        return layer.weight.detach(), layer.weight.grad

    weight, one = gradient(1)
    torch.testing.assert_close((weight * one).sum(1), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(one.sum(1), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(gradient(10)[1], one / 10)


def test_zero_rows_stay_zero_and_their_gradient_is_finite_and_not_zero() -> None:
    layer = StandardizedLinear(7, 5)
    fanin.initialize(layer, "zero", seed=0)
    x = drawn(6, 7)
    output = layer(x)
    assert not output.any()
    F.mse_loss(output, drawn(6, 5)).backward()
    assert layer.weight.grad is not None
    assert bool(layer.weight.grad.isfinite().all())
    assert bool(layer.weight.grad.any())


@every_model
@pytest.mark.parametrize("rule", ["zero", "constant(value=0.3)"])
def test_constant_weights_give_finite_outputs_and_gradients(
    spec: str, shape: tuple[int, ...], rule: str
) -> None:
    module = built(spec, shape)
    fanin.initialize(module, rule, seed=0)
    module(images(shape)).square().sum().backward()
    assert all(
        bool(parameter.grad.isfinite().all())
        for parameter in module.parameters()
        if parameter.grad is not None
    )


# Where the layers stand


@every_model
def test_hidden_layers_are_standardised_and_code_and_output_are_not(
    spec: str, shape: tuple[int, ...]
) -> None:
    module = built(spec, shape)
    plain = [
        name for name, layer in module.named_modules() if type(layer) in (nn.Linear, nn.Conv2d)
    ]
    assert plain == (["code", "output"] if "autoencoder" in spec else ["output"])
    assert kinds(module, "gain") == list(layers(module))


@every_model
def test_parameters_have_the_names_of_the_plain_model_and_a_gain_for_each_layer(
    spec: str, shape: tuple[int, ...]
) -> None:
    def names(spec: str) -> set[str]:
        return {name for name, _ in built(spec, shape).named_parameters()}

    assert names(spec) - {f"{name}.gain" for name in layers(built(spec, shape))} == names(
        spec.replace("=ws", "=none")
    )


def test_a_plain_layer_is_taken_over_with_its_parameters() -> None:
    plain = nn.Conv2d(
        3, 4, (3, 5), stride=(1, 2), padding=(1, 2), bias=False, padding_mode="circular"
    )
    layer = standardize(plain)
    assert isinstance(layer, StandardizedConv2d)
    assert layer.weight is plain.weight
    assert layer.bias is None
    expected = nn.Conv2d.forward(plain, drawn(2, 3, 8, 8)).shape
    assert layer(drawn(2, 3, 8, 8)).shape == expected
    for name in ("kernel_size", "stride", "padding", "padding_mode"):
        assert getattr(layer, name) == getattr(plain, name)


def test_one_input_to_an_output_does_not_fit() -> None:
    with pytest.raises(FitError, match=r"norm=ws.* with one input nothing is left\. Use"):
        models.get("mlp(norm=ws)").build((1,), 2)
    with pytest.raises(FitError, match="one channel and one tap"):
        models.get("plain_cnn(norm=ws, kernel=1)").build(DIGITS, 2)


# Initializers


def test_fans_are_those_of_the_plain_layers_and_the_gain_is_a_norms_scale() -> None:
    assert calculate_fans(StandardizedConv2d(3, 4, (3, 3))) == calculate_fans(nn.Conv2d(3, 4, 3))
    assert calculate_fans(StandardizedLinear(7, 5)) == calculate_fans(nn.Linear(7, 5))
    roles = {
        name: held.role for name, held in describe_parameters(StandardizedLinear(7, 5)).items()
    }
    assert roles == {"weight": "weight", "bias": "bias", "gain": "norm scale"}


@every_model
def test_an_initializer_knows_every_parameter_and_auto_what_follows(
    spec: str, shape: tuple[int, ...]
) -> None:
    module = built(spec, shape)
    record = fanin.initialize(module, "auto", seed=0)
    assert [one.name for one in record if one.role == "unknown" and "alpha" not in one.name] == []
    assert [one.name for one in record if "not known" in one.reason] == []
    assert all(bool((layer.gain == 1).all()) for layer in layers(module).values())


def test_the_rules_that_differ_in_scale_only_give_the_same_network() -> None:
    outputs = []
    for rule in ("he_normal", "lecun_normal(truncated=false)", "normal(std=0.05)"):
        module = built("plain_cnn(norm=ws)", DIGITS)
        fanin.initialize(module, {"output.weight": "xavier_normal"}, default=rule, seed=0)
        outputs.append(module(images(DIGITS)).detach())
    for other in outputs[1:]:
        torch.testing.assert_close(other, outputs[0], rtol=1e-3, atol=1e-6)


def test_a_gain_of_one_over_the_deviation_behind_relu_keeps_signals_in_a_deep_chain() -> None:
    """256 units, 20 layers, 64 samples: within a factor of 2 of the first layer, against 0.34^19 of
    the variance without.
    """

    def last_over_first(**rules: str) -> float:
        module = models.get("mlp(widths=[256], depth=20, activation=relu, norm=ws)").build(
            (256,), 2
        )
        fanin.initialize(module, "he_normal", seed=0, **rules)
        seen: list[Tensor] = []
        for layer in module.get_submodule("hidden").children():
            layer.register_forward_hook(lambda _, __, output: seen.append(output))
        module(images((256,), 64))
        return float(seen[-1].detach().std() / seen[0].detach().std())

    assert last_over_first() < 1e-3
    assert 0.5 < last_over_first(norms="constant(value=1.7129)") < 2


def test_the_variance_of_uncorrelated_inputs_passes() -> None:
    """512 outputs of 100 samples of 512 inputs: their mean square has a standard error of
    √(2/(100·512)) = 0.6 %; 4 % are 6 of them. Rows of norm √2, as he_normal draws them, would be
    100 % off."""
    layer = StandardizedLinear(512, 512)
    fanin.initialize(layer, "he_normal", seed=0)
    assert float(layer(drawn(100, 512)).detach().var()) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize(
    "spec", [spec for spec in CASES if not spec.startswith(("mlp", "autoencoder"))]
)
def test_a_model_learns_random_labels_by_heart(spec: str) -> None:
    assert overfits(initialized(spec, CASES[spec]), CASES[spec])
