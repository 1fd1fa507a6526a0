"""Numbers that float32 cannot hold: centred before they are cast, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_data_user_copies import save_copy

from fanin import data
from fanin.cell.cell import Cell
from fanin.data.dataset import Arrays, DataInfo
from fanin.data.formats.precision import find_lost_columns
from fanin.data.formats.tensors import to_tensors
from fanin.errors import DataInvalid
from fanin.training.train import DataCache, train

SECONDS = np.arange(200.0) * 18  # 0 … 3582
TIMES = 1.7e9 + SECONDS
TABLE = np.stack([SECONDS, np.sin(SECONDS)], axis=1)


def arrays_of(x: np.ndarray, y: np.ndarray, n_test: int = 40) -> dict[str, np.ndarray]:
    return {
        "x_train": x[:-n_test],
        "y_train": y[:-n_test],
        "x_test": x[-n_test:],
        "y_test": y[-n_test:],
    }


@pytest.mark.parametrize("n_test", [40, 1])
def test_targets_are_centred_before_they_are_cast(root: Path, n_test: int) -> None:
    save_copy(root, arrays_of(TABLE, TIMES, n_test))
    prepared = data.prepare(data.load("mine"), holdout=0.1, split_seed=0, standardise_target=True)
    for subset in (prepared.train, prepared.validation, prepared.test):
        assert isinstance(subset.y, torch.Tensor)
        assert subset.y.dtype == torch.float32
        restored = subset.y.double() * prepared.target_scales[0] + prepared.target_means[0]
        seconds = restored.numpy() - 1.7e9
        assert np.abs(seconds - np.rint(seconds / 18) * 18).max() < 1e-3
    assert isinstance(prepared.train.y, torch.Tensor)
    assert len(prepared.train.y.unique()) == len(prepared.train.y)


def test_such_a_target_is_learnt_in_its_own_units(root: Path) -> None:
    save_copy(root, arrays_of(TABLE / 3600, TIMES))
    cell = Cell(data="mine", initializer="zero", model="mlp(widths=[4], activation=relu)", epochs=1)
    result = train(cell, cache=DataCache(), environment={})
    # a network of zeros predicts the mean
    assert 800 < result.metrics["test_mae"] < 3600


def test_one_column_of_several_targets_is_enough(root: Path) -> None:
    save_copy(root, arrays_of(TABLE, np.stack([SECONDS, TIMES], axis=1)))
    prepared = data.prepare(data.load("mine"), holdout=0, split_seed=0, standardise_target=True)
    assert isinstance(prepared.train.y, torch.Tensor)
    assert prepared.train.y.dtype == torch.float32
    assert torch.allclose(prepared.train.y[:, 0], prepared.train.y[:, 1], atol=1e-5)


def test_targets_that_stay_in_their_own_units_are_refused(root: Path) -> None:
    save_copy(root, arrays_of(TABLE, TIMES))
    with pytest.raises(DataInvalid, match=r"column 0 of y_train of mine.*steps of 128.*Subtract"):
        data.prepare(data.load("mine"), holdout=0, split_seed=0, standardise_target=False)


def test_a_feature_that_is_taken_as_it_is_is_refused_by_its_column(root: Path) -> None:
    file = save_copy(root, arrays_of(np.stack([SECONDS, TIMES], axis=1), SECONDS), "source")
    with pytest.raises(DataInvalid, match=r"column 1 of x_train.*1700000000 to 1700002862"):
        data.add("mine", file)


def test_a_feature_that_is_standardised_is_centred_before_it_is_cast() -> None:
    info = DataInfo(
        name="t", task="regression", input_shape=(2,), outputs=1, n_train=160, n_test=40
    )
    x = np.stack([SECONDS, TIMES], axis=1)
    named = arrays_of(x, SECONDS)
    tensors = to_tensors(info, Arrays(**named), "t", standardise=True)
    dataset = data.Dataset(
        info,
        *tensors,
        divisor=1.0,
        standardise=True,
        fingerprint="",
        published=False,
        source="",
        units="",
    )
    prepared = data.prepare(dataset, holdout=0, split_seed=0, standardise_target=True)
    assert isinstance(prepared.train.x, torch.Tensor)
    assert prepared.train.x.dtype == torch.float32
    assert torch.allclose(prepared.train.x[:, 0], prepared.train.x[:, 1], atol=1e-5)


GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("column", "lost"),
    [
        (GENERATOR.standard_normal(500), False),
        (GENERATOR.standard_normal(500) * 1e30, False),
        (1000 + GENERATOR.standard_normal(500), False),
        (np.full(500, 0.1), False),
        (np.where(np.arange(500) % 2, 0.1 + 0.2, 0.3), False),  # a constant, with rounding errors
        (np.where(np.arange(500) == 7, 1e6, 0.1), False),
        (TIMES, True),
        (TIMES.astype(np.float32), False),  # float32 holds what is left of them
        (TIMES * 1e9, True),  # nanoseconds
        (-TIMES, True),
        (1.0 + 1e-9 * np.arange(500), True),
    ],
)
def test_a_column_is_lost_if_rounding_is_seen_beside_its_spread(
    column: np.ndarray, lost: bool
) -> None:
    assert bool(find_lost_columns(column, by_column=True)) is lost


def test_what_is_measured_in_blocks_is_as_measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.stack([TIMES, SECONDS, -TIMES, np.ones(200)], axis=1)
    whole = find_lost_columns(table, by_column=True)
    monkeypatch.setattr("fanin.data.formats.precision._BYTES_AT_ONCE", 100)
    assert find_lost_columns(table, by_column=True) == whole == (0, 2)


def test_the_pixels_of_an_image_are_one_quantity() -> None:
    images = GENERATOR.random((50, 4, 4))
    images[:, 0, 0] = 0.5 + 1e-9 * np.arange(50)
    assert find_lost_columns(images, by_column=True) == (0,)
    assert find_lost_columns(images, by_column=False) == ()
