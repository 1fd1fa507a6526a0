"""`autoencoder`: mirrored, linear at its code and at its end."""

from __future__ import annotations

import pytest
import torch
from model_cases import CASES, DIGITS, MNIST, count, inputs, kinds, learns_by_heart

import fanin
from fanin import models
from fanin.errors import FitError, SpecError
from fanin.models.autoencoder import Autoencoder, AutoencoderOptions

pytestmark = pytest.mark.usefixtures("draws_globally")

AGAIN = CASES["digits-again"]


def test_it_is_the_formula_of_its_docstring() -> None:
    module = models.get(
        "autoencoder(widths=[7, 5], code=3, activation=[relu, tanh, sigmoid, softplus])"
    ).build_for(AGAIN)
    w, h = module.state_dict(), inputs(AGAIN).flatten(1)

    def linear(name: str) -> torch.Tensor:
        return h @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    h = torch.relu(linear("encoder.0.linear"))
    h = torch.tanh(linear("encoder.1.linear"))
    h = linear("code")
    h = torch.sigmoid(linear("decoder.0.linear"))
    h = torch.nn.functional.softplus(linear("decoder.1.linear"))
    torch.testing.assert_close(module(inputs(AGAIN)), linear("output"))


def test_the_network_of_the_sources_is_784_1000_500_250_30_and_back() -> None:
    module = models.get("autoencoder(widths=[1000, 500, 250], code=30)").build(MNIST, 784)
    sizes = [
        parameter.shape[::-1]
        for name, parameter in module.named_parameters()
        if name.endswith("weight")
    ]
    assert [n for n, _ in sizes] + [sizes[-1][1]] == [784, 1000, 500, 250, 30, 250, 500, 1000, 784]
    assert count(module) == sum((n + 1) * m for n, m in sizes) == 2_837_314


def test_names_of_parameters_are_frozen() -> None:
    layers = [
        f"{half}.{layer}.{part}"
        for half in ("encoder", "decoder")
        for layer in range(3)
        for part in ("linear", "norm")
    ]
    assert kinds(models.get("autoencoder(norm=batch)").build_for(AGAIN)) == [
        *layers[:6],
        "code",
        *layers[6:],
        "output",
    ]


def test_the_code_is_linear_and_as_wide_as_asked_for() -> None:
    module = models.get("autoencoder(code=5)").build_for(AGAIN)
    seen: list[torch.Tensor] = []
    module.get_submodule("code").register_forward_hook(lambda _, __, output: seen.append(output))
    module.get_submodule("decoder.0").register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0])
    )
    module(inputs(AGAIN))
    assert seen[0].shape == (4, 5)
    assert torch.equal(*seen)


def test_dropout_is_keyed_and_stands_behind_every_hidden_activation() -> None:
    module = models.get("autoencoder(widths=[8], dropout=0.5)").build_for(AGAIN)
    assert set(models.DropoutKeys(module, 0).layers) == {"encoder.0.dropout", "decoder.0.dropout"}


@pytest.mark.parametrize(
    "options",
    ["norm=batch", "norm=layer", "norm=group", "norm=ws", "bias=false", "activation=tanh"],
)
def test_every_option_learns_its_inputs_by_heart(options: str) -> None:
    module = models.get(f"autoencoder({options})").build_for(AGAIN)
    fanin.initialize(module, "auto", seed=0)
    assert learns_by_heart(module, AGAIN, lr=3e-3)


def test_bias_is_that_of_the_hidden_layers() -> None:
    assert kinds(models.get("autoencoder(bias=false)").build_for(AGAIN), "bias") == [
        "code",
        "output",
    ]


def test_equal_networks_have_one_identity() -> None:
    assert models.get("autoencoder(widths=[256, 128, 64], code=16, activation=[sigmoid, sigmoid, "
                      "sigmoid, sigmoid, sigmoid, "
                      "sigmoid], norm=none, dropout=0)").spec == "autoencoder"  # fmt: skip


def test_the_plain_module_can_be_made_by_hand() -> None:
    module = Autoencoder(
        AutoencoderOptions(widths=(4,), code=2, norm="layer", dropout=0.5), DIGITS, 64
    )
    assert module(inputs(AGAIN)).shape == (4, 64)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("autoencoder(widths=[])", "at least one whole number"),
        ("autoencoder(code=0)", "code is a whole number from 1"),
        ("autoencoder(activation=[relu, relu, relu])", "each of the 6 hidden layers; received 3"),
        ("autoencoder(dropout=1)", "below 1"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_says_what_was_expected(
    spec: str, says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        models.get(spec)


def test_data_with_targets_of_their_own_do_not_fit() -> None:
    with pytest.raises(
        FitError,
        match="autoencoder is a model for autoencoding; the task of the data is classification",
    ):
        models.get("autoencoder").check(DIGITS, 10, "classification")
