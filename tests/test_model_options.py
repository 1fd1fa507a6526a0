"""Options of the benchmark models: one identity for equal networks, and errors that teach."""

from __future__ import annotations

import pytest
import torch

from fanin import models
from fanin.errors import SpecError, UnknownName
from fanin.models.cnn import CNN, CNNOptions
from fanin.models.mlp import MLP, MLPOptions, RegressionOptions

# Modules made by hand draw from the global generator.
pytestmark = pytest.mark.usefixtures("draws_globally")


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("mlp", "mlp"),
        ("mlp(widths=[256, 128], activation=[sigmoid, tanh])", "mlp"),
        ("mlp(activation=[swish, silu])", "mlp(activation=silu)"),
        ("mlp(activation=swish)", "mlp(activation=silu)"),
        ("mlp(widths=[8], activation=[relu])", "mlp(activation=relu, widths=[8])"),
        ("regression(activation=[relu, relu])", "regression"),
        ("cnn(dropout=0)", "cnn(dropout=0.0)"),
        (
            "cnn(activation=[relu, gelu, relu], channels=(32, 64))",
            "cnn(activation=[relu, gelu, relu])",
        ),
    ],
)
def test_equal_networks_have_one_identity(written: str, canonical: str) -> None:
    model = models.get(written)
    assert model.spec == canonical
    assert models.get(model.spec) == model


@pytest.mark.parametrize(
    "spec",
    [
        "mlp",
        "mlp(widths=[8, 4, 2], activation=relu)",
        "cnn(activation=[relu, gelu, tanh], dropout=0.1)",
        "mlp(norm=batch, bias=false)",
        "resnet20(norm=none)",
        "resnet20",
        "vit(norm=post, activation=relu)",
    ],
)
def test_a_model_splits_into_its_spec_activation_and_normalization_and_back(spec: str) -> None:
    model = models.get(spec)
    plain, activation, normalization = model.split()
    assert "activation" not in plain
    assert "norm" not in plain
    assert models.get(plain, activation, normalization) == model


def test_options_made_by_hand_are_as_canonical_as_parsed_ones() -> None:
    assert MLPOptions(widths=[256, 128], activation=["sigmoid", "tanh"]) == MLPOptions()  # type: ignore[arg-type]
    assert RegressionOptions(activation=("relu", "relu")) == RegressionOptions()


def test_plain_modules_can_be_made_by_hand() -> None:
    assert MLP(MLPOptions(widths=(4,), activation="relu"), (3,), 2)(torch.zeros(5, 3)).shape == (
        5,
        2,
    )
    assert CNN(CNNOptions(), (1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("mpl", UnknownName, "Did you mean mlp"),
        ("mlp(width=[3])", UnknownName, "Did you mean widths"),
        ("mlp(activation=rellu)", UnknownName, "Did you mean .*relu"),
        ("mlp(activation=swsh)", UnknownName, "swish"),
        ("mlp(activation=[relu, nope])", UnknownName, "Known: "),
        ("mlp(widths=[8])", SpecError, "each of the 1 hidden layers; received 2"),
        ("mlp(activation=[relu])", SpecError, "each of the 2 hidden layers; received 1"),
        ("mlp(activation=[])", SpecError, "received 0"),
        ("cnn(activation=[relu, relu])", SpecError, "each of the 3 hidden layers; received 2"),
        ("mlp(activation=3)", SpecError, "a word"),
        ("mlp(widths=[])", SpecError, "at least one whole number"),
        ("mlp(widths=[0, 3])", SpecError, "from 1 to 1,000,000"),
        ("mlp(widths=[-1, 3])", SpecError, "from 1 to 1,000,000"),
        ("mlp(widths=[true, 3])", SpecError, "a whole number"),
        ("mlp(widths=[2.5, 3])", SpecError, "a whole number"),
        ("mlp(widths=[1000000000, 3])", SpecError, "from 1 to 1,000,000"),
        ("cnn(channels=[0, 3])", SpecError, "channels is a list"),
        ("cnn(dropout=1)", SpecError, "below 1"),
        ("cnn(dropout=-0.1)", SpecError, "below 1"),
        ("cnn(dropout=half)", SpecError, "a finite number"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_says_what_was_expected(
    spec: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        models.get(spec)
