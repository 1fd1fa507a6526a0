"""The repeated random stream of the case study's program: all layers begin with the same draw."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fanin import initialize, initializers
from fanin.cell.cell import Cell
from fanin.errors import StudyError
from fanin.study.canonical_cell import make_cell

ELEMENTWISE = (
    "normal(std=0.05)",
    "xavier_uniform",
    "he_normal(truncated=true)",
    "lecun_normal(truncated=true)",
)


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.Conv2d(8, 16, 3),
            nn.Flatten(),
            nn.Linear(64, 12),
            nn.Linear(12, 5),
        )


def to_keras_order(weight: Tensor) -> Tensor:
    """The numbers of a weight as Keras stores them, (*kernel, in, out), flattened and brought to
    one scale.
    """
    moved = weight.permute(*range(2, weight.ndim), 1, 0).flatten()
    return moved / moved.abs().max()


@pytest.mark.parametrize("rule", ELEMENTWISE)
def test_the_shorter_layer_is_the_beginning_of_the_longer_one_up_to_scale(rule: str) -> None:
    model = network()
    initialize(model, rule, seed=3, shared_stream=True)
    flat = [
        weight.detach().permute(*range(2, weight.ndim), 1, 0).flatten()
        for weight in model.parameters()
        if weight.ndim > 1
    ]
    longest = max(flat, key=len)
    for weight in flat:
        torch.testing.assert_close(
            weight / weight[0], longest[: len(weight)] / longest[0], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("rule", ELEMENTWISE)
def test_layers_are_independent_unless_asked_otherwise(rule: str) -> None:
    model = network()
    initialize(model, rule, seed=3)
    short, long = to_keras_order(model[4].weight.detach()), to_keras_order(model[3].weight.detach())
    assert (
        abs(float(torch.corrcoef(torch.stack([short, long[: len(short)]]))[0, 1])) < 0.6
    )  # n = 60: 4.6 standard errors


@pytest.mark.usefixtures("draws_globally")
def test_keras_itself_repeats_the_stream() -> None:
    keras = pytest.importorskip("keras", reason='needs the extra "peers"')
    one = keras.initializers.RandomNormal(stddev=1.0)
    short, long = np.asarray(one((12, 5))).ravel(), np.asarray(one((12, 5))).ravel()
    assert np.array_equal(short, long)


def test_the_distribution_of_a_weight_is_unchanged() -> None:
    model = nn.Sequential(
        nn.Conv2d(16, 96, 3, device="meta"), nn.Linear(300, 500, device="meta")
    ).to_empty(device="cpu")
    record = initialize(model, "he_normal(truncated=true)", seed=0, shared_stream=True)
    for parameter in record:
        if parameter.measured_std is not None and parameter.intended_std is not None:
            # n >= 13,824 numbers: the standard error of the standard deviation is below 0.7 %.
            assert parameter.measured_std == pytest.approx(parameter.intended_std, rel=0.03)


@pytest.mark.parametrize("shape", [(12, 7), (7, 12), (6, 4, 3, 3)])
def test_orthogonal_stays_orthogonal(shape: tuple[int, ...]) -> None:
    layer: nn.Module = (
        nn.Linear(shape[1], shape[0], device="meta")
        if len(shape) == 2
        else nn.Conv2d(4, 6, 3, device="meta")
    )
    layer = layer.to_empty(device="cpu")
    initialize(layer, "orthogonal", seed=1, shared_stream=True)
    matrix = layer.weight.detach().flatten(1).double()
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(small, torch.eye(len(small), dtype=torch.float64), atol=1e-5, rtol=0)


def test_grouped_and_transposed_layers_are_filled_too() -> None:
    model = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=4, device="meta"), nn.ConvTranspose2d(8, 4, 2, device="meta")
    )
    record = initialize(model.to_empty(device="cpu"), "he_normal", seed=0, shared_stream=True)
    assert all(parameter.changed for parameter in record)


def test_it_is_part_of_a_cells_identity_and_off_by_default() -> None:
    cell = Cell(data="digits", model="mlp", initializer="he_normal")
    assert "shared_stream" not in cell.to_json()
    assert dataclasses.replace(cell, shared_stream=True).id != cell.id
    written = {"data": "digits", "model": "mlp", "initializer": "he_normal"}
    assert make_cell({**written, "shared_stream": True}).shared_stream is True
    with pytest.raises(StudyError, match="true or false"):
        make_cell({**written, "shared_stream": "yes"})


def test_deterministic_rules_are_unaffected() -> None:
    model = network()
    initialize(model, initializers.get("zero"), seed=0, shared_stream=True)
    assert all(not parameter.any() for parameter in model.parameters())
