"""A data set prepared for training: split into subsets, inputs and targets standardised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fanin import seeds
from fanin.data.dataset import SUBSETS, Dataset
from fanin.data.formats.mapped_samples import MappedSamples
from fanin.data.formats.precision import require_single
from fanin.data.split import split
from fanin.errors import UsageError, quote

Samples = Tensor | MappedSamples


@dataclass(frozen=True, eq=False)
class Subset:
    """The inputs and targets of the training, validation or test samples.

    Both can be indexed with a tensor of positions or a slice, and moved to a device. Inputs in a
    file are read when they are indexed.
    """

    x: Samples
    """uint8 or float32, (N, *input_shape); tokens uint8 or int64."""
    y: Samples
    """int64 (N,) class numbers, or (N, steps) for each step; float32 (N,) or (N, outputs) in the
    units of the loss; `x` itself for autoencoding."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The three subsets of a training run, and how to convert them.

    A model sees ``x / divisor``. A regression target in its own units is ``y · target_scales +
    target_means``, column by column.
    """

    train: Subset
    validation: Subset
    test: Subset
    divisor: float
    target_mean: float
    target_scale: float
    """The factor that converts errors to the target's own units: the standard deviation that a
    single target was divided by, otherwise 1. Errors of several targets stay in standard
    deviations, since columns may have different units."""
    validation_is_test: bool
    """Whether nothing was held out, so that the test set is used for early stopping."""
    target_means: tuple[float, ...] = (0.0,)
    target_scales: tuple[float, ...] = (1.0,)
    """Mean and scale of each column of a regression's targets."""


Subsets = tuple[Subset, Subset, Subset]


def prepare(
    dataset: Dataset, *, holdout: float, split_seed: int, standardise_target: bool
) -> Prepared:
    """Split and standardise a data set.

    Means and (population) variances are those of the remaining training samples, in float64; a
    constant column is shifted to zero and not scaled. Samples keep their order within each subset.

    The targets of autoencoding are its inputs, also after standardisation. Inputs in a file are
    split by position and not copied.

    Args:
        dataset: not changed; its tensors are returned as they are if nothing changes.
        holdout: fraction of the training set held out for validation, stratified by class if each
            sample has one; with 0 the test set is also the validation set, as in the case study.
        split_seed: the seed that draws the held-out samples.
        standardise_target: subtract the mean of a regression target and divide by its standard
            deviation, column by column.

    Raises `UsageError` for a fraction outside [0, 1), or one that cannot be held out, and
    `DataInvalid` for targets that are not standardised and that float32 cannot hold.
    """
    if isinstance(holdout, bool) or not isinstance(holdout, (int, float)) or not 0 <= holdout < 1:
        raise UsageError(
            "holdout must be a fraction from 0 (validate on the test set) to below 1, not "
            f"{quote(holdout)}."
        )
    subsets = _divide(dataset, holdout, split_seed)
    if dataset.standardise:
        inputs = _measure_moments(_read_whole(subsets[0].x))
        subsets = _change_each(
            subsets, lambda subset: _replace_inputs(subset, _standardise(subset.x, *inputs))
        )
    n_targets = dataset.info.outputs if dataset.info.task == "regression" else 1
    means, scales = (0.0,) * n_targets, (1.0,) * n_targets
    if standardise_target and dataset.info.task == "regression":
        targets = _measure_moments(_read_whole(subsets[0].y))
        subsets = _change_each(
            subsets, lambda subset: replace(subset, y=_standardise(subset.y, *targets))
        )
        means, scales = (tuple(moment.reshape(-1).tolist()) for moment in targets)
    elif dataset.info.task == "regression":
        for name in SUBSETS:
            y = getattr(dataset, f"y_{name}").numpy()
            require_single(y, f"y_{name} of {dataset.info.name}", by_column=True)
    mean, scale = (means[0], scales[0]) if n_targets == 1 else (0.0, 1.0)
    return Prepared(*subsets, dataset.divisor, mean, scale, holdout == 0, means, scales)


def _divide(dataset: Dataset, holdout: float, split_seed: int) -> Subsets:
    train = _make_subset(dataset, dataset.x_train, dataset.y_train)
    test = _make_subset(dataset, dataset.x_test, dataset.y_test)
    if holdout == 0:
        return train, test, test
    stratified = dataset.info.task == "classification"
    generator = seeds.make_generator(seeds.check_seed(split_seed, "split_seed"), "split")
    kept, held_out = split(
        dataset.y_train, fraction=holdout, stratified=stratified, generator=generator
    )
    return _select(train, kept), _select(train, held_out), test


def _make_subset(dataset: Dataset, x: Tensor, y: Tensor) -> Subset:
    return _replace_inputs(Subset(x, y), MappedSamples(x)) if dataset.mapped else Subset(x, y)


def _select(subset: Subset, positions: Tensor) -> Subset:
    def select(samples: Samples) -> Samples:
        if isinstance(samples, MappedSamples):
            return samples.select(positions)
        return samples[positions]

    x = select(subset.x)
    return Subset(x, x if subset.y is subset.x else select(subset.y))


def _replace_inputs(subset: Subset, x: Samples) -> Subset:
    """The subset with other inputs, which are also its targets if the old ones were."""
    return Subset(x, x if subset.y is subset.x else subset.y)


def _read_whole(samples: Samples) -> Tensor:
    return samples[:] if isinstance(samples, MappedSamples) else samples


def _change_each(subsets: Subsets, change: Callable[[Subset], Subset]) -> Subsets:
    """Each subset changed; a validation set that is the test set stays the test set."""
    train, validation, test = subsets
    changed_test = change(test)
    return change(train), changed_test if validation is test else change(validation), changed_test


def _measure_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the samples, float64; the latter is 1 for a constant.

    A column is constant if its minimum equals its maximum: the computed deviation of a constant may
    be a rounding error instead of zero.
    """
    exact = values.double()
    deviation = exact.std(dim=0, correction=0)
    varies = exact.amax(dim=0) > exact.amin(dim=0)
    return exact.mean(dim=0), torch.where(varies & (deviation > 0), deviation, 1.0)


def _standardise(samples: Samples, mean: Tensor, scale: Tensor) -> Tensor:
    return ((_read_whole(samples).double() - mean) / scale).float()
