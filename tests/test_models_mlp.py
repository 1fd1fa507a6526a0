"""Options of `mlp` and `regression`: depth, normalization, biases and dropout, none of which
changes what was there before.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from model_cases import DIGITS, count, images, initialized, kinds, overfits
from torch import Tensor, nn

from fanin import models
from fanin.errors import SpecError
from fanin.models.mlp import MLPOptions

pytestmark = pytest.mark.usefixtures("draws_globally")

DEEP = "mlp(activation=relu, depth=50, widths=[64])"


def test_depth_repeats_the_list_of_widths() -> None:
    module = models.get("mlp(widths=[5, 3], depth=6, activation=tanh)").build((4,), 2)
    assert [layer.out_features for layer in module.get_submodule("hidden").children()] == [5, 3] * 6
    assert count(models.get(DEEP).build(DIGITS, 10)) == 65 * 64 * 50 + 65 * 10


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("mlp(depth=1)", "mlp"),
        ("mlp(widths=[64], depth=50, activation=relu)", DEEP),
        (f"mlp(widths={[64] * 50}, activation=relu)", DEEP),
        ("mlp(widths=[64, 64], depth=25, activation=relu)", DEEP),
        (
            f"mlp(widths={[64, 32] * 9}, activation=relu)",
            "mlp(activation=relu, depth=9, widths=[64, 32])",
        ),
        ("mlp(widths=[8, 8, 8], activation=relu)", "mlp(activation=relu, depth=3, widths=[8])"),
        (
            "mlp(widths=[8, 4, 8, 4], activation=relu)",
            "mlp(activation=relu, depth=2, widths=[8, 4])",
        ),
        ("mlp(widths=[8, 8, 4], activation=relu)", "mlp(activation=relu, widths=[8, 8, 4])"),
        (
            f"mlp(widths={[*range(1, 13)]}, activation=relu)",
            f"mlp(activation=relu, widths={[*range(1, 13)]})",
        ),
        ("mlp(norm=none, bias=true, dropout=0)", "mlp"),
        ("regression(norm=layer, dropout=0.1)", "regression(dropout=0.1, norm=layer)"),
    ],
)
def test_equal_networks_have_one_identity_however_they_are_written(
    written: str, canonical: str
) -> None:
    model = models.get(written)
    assert model.spec == canonical
    assert models.get(canonical) == model


def test_the_deepest_chain_fits_a_spec() -> None:
    assert len(models.get("mlp(widths=[7], depth=10000, activation=relu)").spec) < 60


def test_names_of_parameters_are_frozen() -> None:
    module = models.get("mlp(norm=batch)").build((4,), 2)
    assert kinds(module) == ["hidden.0", "hidden.1", "norm.0", "norm.1", "output"]


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_normalization_stands_between_layer_and_activation(norm: str) -> None:
    module = models.get(f"mlp(widths=[6], activation=tanh, norm={norm})").build((4,), 2)
    w, x = module.state_dict(), images((4,), 8)
    hidden = x @ w["hidden.0.weight"].T + w["hidden.0.bias"]
    normal = (
        F.layer_norm(hidden, (6,))
        if norm == "layer"
        else F.batch_norm(hidden, None, None, training=True)
    )
    torch.testing.assert_close(
        module(x), torch.tanh(normal) @ w["output.weight"].T + w["output.bias"]
    )


def test_without_biases_only_the_output_has_one() -> None:
    module = models.get("mlp(bias=false)").build((4,), 2)
    assert kinds(module, "bias") == ["output"]


def test_dropout_drops_a_share_of_every_hidden_layers_activations_in_training_only() -> None:
    module = models.get("mlp(widths=[100, 100], activation=sigmoid, dropout=0.25)").build((4,), 2)
    seen: list[Tensor] = []
    for name in ("hidden.1", "output"):
        module.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0])
        )
    module(images((4,), 50))
    assert all(0.2 < float((x == 0).float().mean()) < 0.3 for x in seen)  # of 5,000, 3.6 σ is 0.022
    module.eval()(images((4,), 50))
    assert all((x != 0).all() for x in seen[2:])


def test_two_layers_of_one_width_drop_different_elements() -> None:
    module = models.get("mlp(widths=[100, 100], activation=sigmoid, dropout=0.5)").build((4,), 2)
    models.DropoutKeys(module, 0)
    seen: list[Tensor] = []
    for name in ("hidden.1", "output"):
        module.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0] == 0)
        )
    module(images((4,), 50))
    assert not torch.equal(*seen)


def test_the_defaults_have_no_more_modules_than_the_case_studys_network() -> None:
    module = models.get("mlp").build((4,), 2)
    leaves = [
        type(one)
        for one in module.modules()
        if not list(one.children()) and not isinstance(one, nn.ModuleList)
    ]
    assert leaves == [nn.Linear, nn.Linear, nn.Sigmoid, nn.Tanh, nn.Linear]
    assert list(module.buffers()) == []


@pytest.mark.parametrize(
    "options", ["norm=batch", "norm=layer", "norm=group", "bias=false", "dropout=0.1"]
)
def test_every_option_learns_random_labels_by_heart(options: str) -> None:
    spec = f"mlp(widths=[64], depth=3, activation=relu, {options})"
    assert overfits(initialized(spec, DIGITS), DIGITS)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mlp(depth=0)", "depth is a whole number from 1 to 10,000; received 0"),
        ("mlp(depth=10000)", "2 widths, repeated 10,000 times. Use a smaller depth"),
        ("mlp(widths=[64], depth=3)", "each of the 3 hidden layers; received 2"),
        ("mlp(norm=bach)", "batch or layer or group or none"),
        ("mlp(dropout=1)", "below 1"),
        ("mlp(bias=1)", "true or false"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_says_what_was_expected(
    spec: str, says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        models.get(spec)


def test_options_made_by_hand_are_as_canonical_as_parsed_ones() -> None:
    assert MLPOptions(widths=(64,) * 50, activation="relu") == MLPOptions(
        widths=(64,), depth=50, activation="relu"
    )
    assert MLPOptions(dropout=0) == MLPOptions()
