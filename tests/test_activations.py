"""Activations by name."""

from __future__ import annotations

import math

import pytest
import torch

from fanin.errors import SpecError, UnknownName
from fanin.models import activations


@pytest.mark.parametrize("entry", tuple(activations.REGISTRY), ids=lambda entry: entry.name)
def test_an_activation_is_marked_monotone_exactly_when_it_never_decreases(
    entry: activations.Activation,
) -> None:
    values = entry.build()(torch.linspace(-8, 8, 4001, dtype=torch.float64))
    assert entry.monotone == bool((values.diff() >= -1e-12).all())


@pytest.mark.parametrize(
    ("name", "at_minus_one", "at_one"),
    [
        ("sigmoid", 1 / (1 + math.e), 1 / (1 + 1 / math.e)),
        ("tanh", math.tanh(-1), math.tanh(1)),
        ("relu", 0.0, 1.0),
        ("leaky_relu", -0.01, 1.0),
        ("elu", math.expm1(-1), 1.0),
        ("selu", 1.0507009873554805 * 1.6732632423543772 * math.expm1(-1), 1.0507009873554805),
        ("gelu", -(1 - math.erf(math.sqrt(0.5))) / 2, (1 + math.erf(math.sqrt(0.5))) / 2),
        ("silu", -1 / (1 + math.e), 1 / (1 + 1 / math.e)),
        ("swish", -1 / (1 + math.e), 1 / (1 + 1 / math.e)),
        ("mish", -math.tanh(math.log1p(1 / math.e)), math.tanh(math.log1p(math.e))),
        ("softplus", math.log1p(1 / math.e), math.log1p(math.e)),
        ("hardtanh", -1.0, 1.0),
        ("sin", math.sin(-1), math.sin(1)),
        ("identity", -1.0, 1.0),
    ],
)
def test_an_activation_has_the_values_of_its_formula(
    name: str, at_minus_one: float, at_one: float
) -> None:
    values = activations.get(name).build()(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(
        values, torch.tensor([at_minus_one, at_one], dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("near", ["rellu", "swsh", "leaky-relu"])
def test_an_unknown_name_offers_near_ones_aliases_included(near: str) -> None:
    offered = {"rellu": "relu", "swsh": "swish", "leaky-relu": "leaky_relu"}[near]
    with pytest.raises(UnknownName, match=f"Did you mean .*{offered}"):
        activations.get(near)


def test_one_name_serves_all_layers_and_a_list_serves_them_in_order() -> None:
    assert [entry.name for entry in activations.get_per_layer("swish", 2)] == ["silu", "silu"]
    assert [entry.name for entry in activations.get_per_layer(("relu", "tanh"), 2)] == [
        "relu",
        "tanh",
    ]


def test_a_list_of_another_length_is_an_error_that_says_how_many_are_needed() -> None:
    with pytest.raises(SpecError, match="each of the 3 hidden layers; received 2"):
        activations.canonicalize(["relu", "tanh"], 3)
