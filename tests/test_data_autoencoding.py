"""Autoencoding: targets that are the inputs, without a copy."""

import math

import pytest

from fanin import data


@pytest.mark.parametrize("base", ["digits", "diabetes"])
def test_targets_are_the_very_tensors_of_the_inputs(base):
    dataset, plain = data.load(f"autoencoding(of={base})"), data.load(base)
    assert dataset.y_train is dataset.x_train
    assert dataset.y_test is dataset.x_test
    assert dataset.x_train.equal(plain.x_train)
    assert dataset.info.outputs == math.prod(plain.info.input_shape)
    assert (dataset.info.task, dataset.units) == ("autoencoding", "")
    assert (dataset.divisor, dataset.standardise, dataset.source) == (
        plain.divisor,
        plain.standardise,
        plain.source,
    )


def test_prepared_parts_share_inputs_and_targets_also_where_some_are_held_out():
    prepared = data.prepare(
        data.load("autoencoding(of=diabetes)"), holdout=0.1, split_seed=0, standardise_target=True
    )
    for part in (prepared.train, prepared.validation, prepared.test):
        assert part.y is part.x
    assert prepared.train.x.mean().abs() < 1e-5
