"""Sequences: images read row by row and pixel by pixel; the adding and the copying problem beside
slow twins.
"""

import math

import numpy as np
import pytest
import torch

from fanin import data
from fanin.data.datasets.image_sequences import draw_permutation
from fanin.data.formats.tensors import to_tensors
from fanin.errors import DataInvalid

COLOUR = np.arange(5 * 4 * 6 * 3).reshape(5, 4, 6, 3).astype(np.uint8)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A folder of data with one set of colour images, 4 × 6."""
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path))
    (tmp_path / "mine").mkdir()
    y = np.arange(5)
    np.savez(
        tmp_path / "mine" / "mine.npz",
        x_train=COLOUR,
        y_train=y,
        x_test=COLOUR[::-1],
        y_test=y[::-1],
    )
    return tmp_path


def test_rows_hold_the_pixels_from_left_to_right_with_their_channels_side_by_side():
    dataset = data.load("rows(of=mine)")
    assert dataset.info.input_shape == (4, 18)
    for n, row in ((0, 0), (3, 2)):
        expected = [COLOUR[n, row, column, channel] for column in range(6) for channel in range(3)]
        assert dataset.x_train[n, row].tolist() == expected
    assert (dataset.x_train.dtype, dataset.divisor) == (torch.uint8, 255.0)
    assert dataset.y_test.tolist() == [4, 3, 2, 1, 0]


def test_pixels_come_row_by_row():
    dataset = data.load("pixels(of=mine)")
    assert dataset.info.input_shape == (24, 3)
    assert dataset.x_train[2, 13].tolist() == COLOUR[2, 2, 1].tolist()
    assert torch.equal(dataset.x_test, torch.from_numpy(COLOUR[::-1].reshape(5, 24, 3).copy()))


def test_averaged_pixels_are_means_over_squares_in_the_models_units():
    dataset = data.load("pixels(of=mine, size=2)")
    assert (dataset.info.input_shape, dataset.x_train.dtype, dataset.divisor) == (
        (6, 3),
        torch.float32,
        1.0,
    )
    for n, step, channel in ((0, 0, 0), (1, 4, 2), (4, 5, 1)):
        row, column = divmod(step, 3)
        square = COLOUR[n, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        assert dataset.x_train[n, step, channel].item() == pytest.approx(
            float(square.mean()) / 255, rel=1e-6
        )


@pytest.mark.parametrize("steps", [1, 24, 196, 784])
def test_the_permutation_is_one_and_always_the_same(steps):
    order = draw_permutation(steps)
    assert sorted(order.tolist()) == list(range(steps))
    assert torch.equal(order, draw_permutation(steps))
    assert steps < 10 or (order != torch.arange(steps)).float().mean() > 0.8


def test_all_samples_are_permuted_alike():
    plain, permuted = data.load("pixels(of=mine)"), data.load("pixels(of=mine, permuted=true)")
    order = draw_permutation(24)
    assert torch.equal(permuted.x_train, plain.x_train[:, order])
    assert torch.equal(permuted.x_test, plain.x_test[:, order])
    assert torch.equal(permuted.y_train, plain.y_train)


def test_permuted_pixels_are_averaged_first():
    plain, permuted = (
        data.load("pixels(of=digits, size=4)"),
        data.load("pixels(of=digits, size=4, permuted=true)"),
    )
    assert torch.equal(permuted.x_train, plain.x_train[:, draw_permutation(16)])


@pytest.mark.parametrize("length", [2, 3, 20, 101])
def test_the_target_of_adding_is_the_sum_of_one_marked_value_of_each_half(length):
    dataset = data.load(f"adding(length={length}, n_train=200, n_test=20)")
    for x, y in ((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test)):
        for sequence, target in zip(x, y, strict=True):
            marked = [step for step in range(length) if sequence[step, 1] == 1]
            assert [step for step in range(length) if sequence[step, 1] not in (0, 1)] == []
            assert len(marked) == 2
            assert marked[0] < length // 2 <= marked[1]
            assert target == sequence[marked[0], 0] + sequence[marked[1], 0]


def test_the_values_of_adding_are_uniform_and_to_answer_1_errs_by_a_sixth():
    # 20,000 targets: their squared distance from 1 has mean 1/6 and variance 1/15 − 1/36 = 0.0389,
    # so the mean of n has a standard error of 0.00139; that of 2,000,000 uniform values of 0.0002.
    # Bounds of 5 standard errors err with a chance below 1e-6; values in [−1, 1], or markers that
    # may stand at the same step, miss them by far.
    dataset = data.load("adding")
    values = dataset.x_train[..., 0]
    assert 0 <= values.min() < 1e-4 < 1 - 1e-4 < values.max() < 1
    assert abs(values.double().mean().item() - 0.5) < 5 * 0.0003
    assert abs((dataset.y_train.double() - 1).square().mean().item() - 1 / 6) < 5 * 0.00139
    assert not dataset.standardise


def test_every_step_of_its_half_is_marked_equally_often():
    # 20,000 sequences, 50 steps in each half: each count is binomial(20000, 1/50), mean 400, sd
    # 19.8; 5 sd over 100 steps err with a chance below 6e-5. A half that lacks its last step misses
    # by 400.
    counts = data.load("adding").x_train[..., 1].sum(dim=0)
    assert ((counts - 400).abs() < 5 * 19.8).all()


def test_train_and_test_are_drawn_apart_and_neither_depends_on_the_others_size():
    one, other = (
        data.load("adding(n_train=40, n_test=40)"),
        data.load("adding(n_train=40, n_test=20)"),
    )
    assert torch.equal(one.x_train, other.x_train)
    assert not torch.equal(one.x_train, one.x_test)
    copying = data.load("copying(n_train=40, n_test=40)")
    assert not torch.equal(copying.x_train, copying.x_test)


def copy_slowly(symbols, length, n_symbols):
    """The definition, token by token: input and target of one sequence."""
    blank, delimiter = n_symbols, n_symbols + 1
    inputs = list(symbols) + [blank] * (length - 1) + [delimiter] + [blank] * len(symbols)
    return inputs, [blank] * (length + len(symbols)) + list(symbols)


@pytest.mark.parametrize(
    ("length", "symbols", "memory"), [(20, 8, 10), (1, 2, 1), (7, 3, 4), (2, 254, 5), (2, 255, 5)]
)
def test_copying_follows_its_definition(length, symbols, memory):
    dataset = data.load(
        f"copying(length={length}, symbols={symbols}, memory={memory}, n_train=60, n_test=5)"
    )
    assert dataset.info.input_shape == (length + 2 * memory,)
    assert (dataset.info.vocabulary, dataset.info.outputs) == (symbols + 2, symbols + 1)
    assert dataset.x_train.dtype == (torch.uint8 if symbols + 2 <= 256 else torch.int64)
    assert dataset.y_train.dtype == torch.int64
    for x, y in zip(dataset.x_train.tolist(), dataset.y_train.tolist(), strict=True):
        assert (x, y) == copy_slowly(x[:memory], length, symbols)
        assert max(x[:memory]) < symbols


def test_every_symbol_is_drawn_equally_often_and_without_memory_the_loss_is_the_published_one():
    # 200,000 symbols of 8 kinds: each count is binomial(200000, 1/8), mean 25000, sd 148; 5 sd over
    # 8 kinds err with a chance below 5e-6. A kind left out misses by 25000.
    dataset = data.load("copying")
    assert (
        (dataset.x_train[:, :10].long().flatten().bincount(minlength=10)[:8] - 25000).abs()
        < 5 * 148
    ).all()
    share = (dataset.y_train != 8).double().mean().item()
    assert share * math.log(8) == pytest.approx(10 * math.log(8) / (20 + 20))


def test_a_token_that_is_not_in_the_vocabulary_is_refused():
    info = data.describe("copying(length=1, symbols=2, memory=1, n_train=2, n_test=1)")
    x, y = np.array([[0, 3, 2], [1, 3, 4]]), np.array([[2, 2, 0], [2, 2, 1]])
    with pytest.raises(
        DataInvalid,
        match=r"x_train of a test holds the token 4, first in row 1\. Expected numbers 0 to 3",
    ):
        to_tensors(info, data.Arrays(x, y, x[:1], y[:1]), "a test")
    with pytest.raises(DataInvalid, match=r"y_train of a test has shape \(2,\); expected \(2, 3\)"):
        to_tensors(info, data.Arrays(x % 4, y[:, 0], x[:1], y[:1]), "a test")
