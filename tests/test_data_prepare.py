"""Splits and moments: partitions, strata, what is measured on which part."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin import seeds
from fanin.data import DataInfo, Dataset, prepare
from fanin.data.split import split
from fanin.errors import UsageError


def make_classification(counts=(30, 20, 10), n_test=7):
    y = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    y = y[torch.randperm(len(y), generator=seeds.make_generator(1, "labels"))]
    x = torch.arange(len(y) * 4).remainder(251).to(torch.uint8).view(-1, 1, 2, 2)
    info = DataInfo(
        name="images",
        task="classification",
        input_shape=(1, 2, 2),
        outputs=len(counts),
        n_train=len(y),
        n_test=n_test,
    )
    return Dataset(info, x, y, x[:n_test], y[:n_test], 255.0, False, "", False, "a test", "")


def make_regression(n=50, n_test=9):
    generator = seeds.make_generator(2, "table")
    x = seeds.standard_normal((n + n_test, 3), generator) * torch.tensor(
        [1.0, 100.0, 1e-3]
    ) + torch.tensor([0.0, 1e4, 5.0])
    y = 2e5 + 1e5 * seeds.standard_normal((n + n_test,), generator)
    info = DataInfo(
        name="table", task="regression", input_shape=(3,), outputs=1, n_train=n, n_test=n_test
    )
    return Dataset(info, x[:n], y[:n], x[n:], y[n:], 1.0, True, "", False, "a test", "dollars")


def test_with_nothing_held_out_the_test_set_validates_and_no_image_is_copied():
    dataset = make_classification()
    prepared = prepare(dataset, holdout=0, split_seed=0, standardise_target=False)
    assert prepared.train.x is dataset.x_train
    assert prepared.test.x is dataset.x_test
    assert prepared.validation is prepared.test
    assert prepared.validation_is_test
    assert (prepared.divisor, prepared.target_mean, prepared.target_scale) == (255.0, 0.0, 1.0)


def test_holding_out_leaves_the_test_set_alone():
    dataset = make_classification()
    prepared = prepare(dataset, holdout=0.1, split_seed=0, standardise_target=True)
    assert prepared.test.x is dataset.x_test
    assert not prepared.validation_is_test
    assert (len(prepared.train.y), len(prepared.validation.y)) == (54, 6)
    assert prepared.validation.y.bincount().tolist() == [3, 2, 1]
    assert prepared.train.x.dtype == torch.uint8
    assert prepared.target_scale == 1.0  # class numbers are never standardised


def test_the_split_seed_alone_decides_and_order_is_kept():
    dataset = make_classification()
    dataset = dataclasses.replace(
        dataset, x_train=torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1)
    )

    def kept(seed):
        return (
            prepare(dataset, holdout=0.2, split_seed=seed, standardise_target=False)
            .train.x.flatten()
            .tolist()
        )

    assert kept(3) == kept(3)
    assert kept(3) != kept(4)
    assert kept(3) == sorted(kept(3))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=12),
    st.floats(0.001, 0.999),
    st.integers(0, 2**63 - 1),
)
def test_a_stratified_split_is_a_partition_with_fair_shares(counts, fraction, seed):
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    y = y[torch.randperm(len(y), generator=seeds.make_generator(seed, "labels"))]
    if max(counts) < 2:
        with pytest.raises(UsageError, match="can be held out"):
            split(
                y, fraction=fraction, stratified=True, generator=seeds.make_generator(seed, "split")
            )
        return
    kept, held = split(
        y, fraction=fraction, stratified=True, generator=seeds.make_generator(seed, "split")
    )
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(y)))
    assert kept.tolist() == sorted(kept.tolist())
    assert held.tolist() == sorted(held.tolist())
    received = y[held].bincount(minlength=len(counts)).tolist()
    for count, taken in zip(counts, received, strict=True):
        assert abs(taken - fraction * count) < 1 + 1e-9
        assert taken < count or count == 0
    total = max(1, int(fraction * len(y) + 0.5))
    assert 1 <= len(held) <= total
    if (
        fraction <= 0.5 and 1 not in counts
    ):  # otherwise the sample that each class keeps may be one too many
        assert len(held) == total


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 200), st.floats(0.001, 0.999))
def test_a_plain_split_is_a_partition_of_the_right_size(n, fraction):
    kept, held = split(
        torch.zeros(n),
        fraction=fraction,
        stratified=False,
        generator=seeds.make_generator(0, "split"),
    )
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(n))
    assert len(held) == min(max(1, int(fraction * n + 0.5)), n - 1)


def test_each_sample_is_held_out_about_equally_often():
    # 2000 splits of 20 samples, a fifth held out: each count is binomial(2000, 1/5), mean 400, sd
    # 17.9. The bound of 5 sd errs with a chance below 2e-5 over the 20 samples; taking always the
    # first of each class would miss by 1600.
    y = torch.arange(20) % 2
    counts = torch.zeros(20)
    for seed in range(2000):
        counts[
            split(y, fraction=0.2, stratified=True, generator=seeds.make_generator(seed, "split"))[
                1
            ]
        ] += 1
    assert ((counts - 400).abs() < 5 * 17.9).all()


@pytest.mark.parametrize("holdout", [-0.1, 1.0, 1.5, float("nan"), True, "0.1", None])
def test_an_impossible_fraction_is_refused(holdout):
    with pytest.raises(UsageError, match="holdout must be a fraction from 0"):
        prepare(make_classification(), holdout=holdout, split_seed=0, standardise_target=False)


def test_one_sample_cannot_be_split():
    for stratified in (True, False):
        with pytest.raises(UsageError, match="None of these 1 samples can be held out"):
            split(
                torch.zeros(1, dtype=torch.int64),
                fraction=0.5,
                stratified=stratified,
                generator=seeds.make_generator(0, "split"),
            )


@pytest.mark.parametrize("holdout", [0, 0.3])
def test_a_table_is_standardised_by_the_training_part_alone(holdout):
    dataset = make_regression()
    prepared = prepare(dataset, holdout=holdout, split_seed=0, standardise_target=False)
    exact = prepared.train.x.double()
    assert torch.allclose(exact.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(
        exact.std(dim=0, correction=0), torch.ones(3, dtype=torch.float64), atol=1e-5
    )
    assert prepared.validation.x.double().mean(dim=0).abs().max() > 1e-3
    assert prepared.train.x.dtype == prepared.test.x.dtype == torch.float32


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(-1e5, 1e5))
def test_no_held_out_sample_moves_the_moments(seed, value):
    dataset = make_regression()
    before = prepare(dataset, holdout=0.3, split_seed=seed, standardise_target=True)
    _, held = split(
        dataset.y_train,
        fraction=0.3,
        stratified=False,
        generator=seeds.make_generator(seed, "split"),
    )
    x, y = dataset.x_train.clone(), dataset.y_train.clone()
    x[held], y[held] = value, value
    changed = dataclasses.replace(
        dataset, x_train=x, y_train=y, x_test=dataset.x_test + value, y_test=dataset.y_test + value
    )
    after = prepare(changed, holdout=0.3, split_seed=seed, standardise_target=True)
    assert torch.equal(after.train.x, before.train.x)
    assert torch.equal(after.train.y, before.train.y)
    assert (after.target_mean, after.target_scale) == (before.target_mean, before.target_scale)


def test_standardisation_is_the_population_formula_in_float64():
    dataset = make_regression()
    prepared = prepare(dataset, holdout=0, split_seed=0, standardise_target=True)
    x = dataset.x_train.double().numpy()
    expected = (dataset.x_test.double().numpy() - x.mean(axis=0)) / x.std(axis=0)
    assert torch.allclose(prepared.test.x, torch.from_numpy(expected).float(), rtol=1e-6, atol=0)
    y = dataset.y_train.double().numpy()
    assert prepared.target_mean == pytest.approx(y.mean(), rel=1e-12)
    assert prepared.target_scale == pytest.approx(y.std(), rel=1e-12)


def test_a_standardised_target_goes_back_to_its_units():
    dataset = make_regression()
    prepared = prepare(dataset, holdout=0.2, split_seed=0, standardise_target=True)
    back = prepared.test.y.double() * prepared.target_scale + prepared.target_mean
    assert torch.allclose(back.float(), dataset.y_test, rtol=1e-6)


def make_several_targets():
    dataset = make_regression()
    y = torch.stack([dataset.y_train, dataset.x_train[:, 0], torch.full((50,), 3.0)], dim=1)
    y_test = torch.stack([dataset.y_test, dataset.x_test[:, 0], torch.full((9,), 3.0)], dim=1)
    return dataclasses.replace(
        dataset, info=dataclasses.replace(dataset.info, outputs=3), y_train=y, y_test=y_test
    )


def test_several_targets_are_standardised_column_by_column():
    dataset = make_several_targets()
    prepared = prepare(dataset, holdout=0.2, split_seed=0, standardise_target=True)
    assert torch.allclose(prepared.train.y.mean(dim=0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(
        prepared.train.y.std(dim=0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-5
    )
    back = prepared.test.y.double() * torch.tensor(prepared.target_scales) + torch.tensor(
        prepared.target_means
    )
    assert torch.allclose(back.float(), dataset.y_test, rtol=1e-5, atol=1e-5)


def test_the_errors_of_several_targets_stay_in_standard_deviations():
    prepared = prepare(make_several_targets(), holdout=0, split_seed=0, standardise_target=True)
    assert (prepared.target_mean, prepared.target_scale) == (0.0, 1.0)
    assert len(prepared.target_means) == len(prepared.target_scales) == 3


def test_one_target_has_its_own_mean_and_scale():
    prepared = prepare(make_regression(), holdout=0, split_seed=0, standardise_target=True)
    assert (prepared.target_means, prepared.target_scales) == (
        (prepared.target_mean,),
        (prepared.target_scale,),
    )
    assert prepared.target_scale > 1000


def make_steps(n=40, length=5):
    x = torch.arange(n * length).remainder(7).to(torch.uint8).view(n, length)
    info = DataInfo(
        name="steps",
        task="token_classification",
        input_shape=(length,),
        outputs=7,
        n_train=n,
        n_test=n,
        vocabulary=7,
    )
    return Dataset(info, x, x.long(), x, x.long(), 1.0, False, "", True, "a test", "")


def test_tokens_are_held_out_without_strata_and_stay_bytes():
    dataset = make_steps()
    prepared = prepare(dataset, holdout=0.1, split_seed=0, standardise_target=True)
    assert (prepared.train.x.shape, prepared.train.y.shape, len(prepared.validation.y)) == (
        (36, 5),
        (36, 5),
        4,
    )
    assert torch.equal(prepared.train.x.long(), prepared.train.y)
    assert (prepared.train.x.dtype, prepared.target_scale) == (torch.uint8, 1.0)


def to_autoencoding(dataset):
    info = dataclasses.replace(
        dataset.info, task="autoencoding", outputs=dataset.x_train[0].numel()
    )
    return dataclasses.replace(dataset, info=info, y_train=dataset.x_train, y_test=dataset.x_test)


@pytest.mark.parametrize("holdout", [0, 0.3])
@pytest.mark.parametrize("base", [make_classification, make_regression])
def test_the_target_of_autoencoding_is_the_input_itself_in_every_part(base, holdout):
    prepared = prepare(
        to_autoencoding(base()), holdout=holdout, split_seed=0, standardise_target=True
    )
    plain = prepare(base(), holdout=0, split_seed=0, standardise_target=False)
    for part in (prepared.train, prepared.validation, prepared.test):
        assert part.y is part.x
    assert (prepared.target_mean, prepared.target_scale) == (0.0, 1.0)
    if not holdout:
        assert torch.equal(prepared.train.x, plain.train.x)


def test_a_raw_target_stays_as_it_is():
    dataset = make_regression()
    prepared = prepare(dataset, holdout=0, split_seed=0, standardise_target=False)
    assert prepared.train.y is dataset.y_train
    assert (prepared.target_mean, prepared.target_scale) == (0.0, 1.0)


def test_a_constant_column_becomes_zero_and_a_new_value_in_it_is_not_blown_up():
    # The float64 mean of 0.1 (float32) over 50 rows is off by rounding; a scale computed from that
    # would be 1e-17.
    dataset = make_regression()
    x_train, x_test = dataset.x_train.clone(), dataset.x_test.clone()
    x_train[:, 1], x_test[:, 1] = 0.1, 0.6
    prepared = prepare(
        dataclasses.replace(dataset, x_train=x_train, x_test=x_test),
        holdout=0,
        split_seed=0,
        standardise_target=False,
    )
    assert prepared.train.x[:, 1].abs().max() < 1e-12
    assert torch.allclose(prepared.test.x[:, 1], torch.tensor(0.5))


def test_a_constant_target_is_shifted_and_not_scaled():
    dataset = make_regression()
    prepared = prepare(
        dataclasses.replace(dataset, y_train=torch.full((50,), 7.0)),
        holdout=0,
        split_seed=0,
        standardise_target=True,
    )
    assert (prepared.target_mean, prepared.target_scale) == (7.0, 1.0)


def test_a_table_that_is_taken_as_it_is_stays_as_it_is():
    dataset = dataclasses.replace(make_regression(), standardise=False)
    prepared = prepare(dataset, holdout=0, split_seed=0, standardise_target=False)
    assert prepared.train.x is dataset.x_train
