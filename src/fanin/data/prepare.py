"""From a data set to what a training run uses: parts, standardised tables, a standardised target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fanin import seeds
from fanin.data.dataset import Dataset
from fanin.data.formats.mapped_samples import MappedSamples
from fanin.data.split import split
from fanin.errors import UsageError, quote


@dataclass(frozen=True, eq=False)
class Subset:
    """Inputs and targets as the training engine takes them.

    Both can be indexed with a tensor of positions or a slice, and sent to a device; inputs that lie
    in a file are read then.
    """

    x: Tensor | MappedSamples
    """uint8 or float32, (N, *input_shape); tokens uint8 or int64."""
    y: Tensor | MappedSamples
    """int64 (N,) class numbers, (N, steps) for each step, or float32 (N,) or (N, outputs) in the
    units of the loss. `x` itself for autoencoding."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The three parts of a training run, and how to read them.

    A model sees ``x / divisor``; a regression target in its own units is ``y · target_scales +
    target_means``, by columns.
    """

    train: Subset
    validation: Subset
    test: Subset
    divisor: float
    target_mean: float
    target_scale: float
    """What turns errors into the target's own units: the deviation that one target was divided by,
    otherwise 1. Errors of several targets stay in standard deviations: columns may have different
    units, and then have no mean in any of them."""
    validation_is_test: bool
    """True where nothing was held out: the test set serves for early stopping."""
    target_means: tuple[float, ...] = (0.0,)
    target_scales: tuple[float, ...] = (1.0,)
    """Of each column of a regression's targets."""


Subsets = tuple[Subset, Subset, Subset]


def prepare(
    dataset: Dataset, *, holdout: float, split_seed: int, standardise_target: bool
) -> Prepared:
    """Split and standardise a data set.

    Args:
        dataset: stays as it is; with nothing to change, its very tensors come back.
        holdout: fraction of the training set held out for validation, drawn by `split_seed`, class
            by class where each sample has a class; with 0 the test set itself is the validation
            data, as in the case study.
        split_seed: the seed of that draw.
        standardise_target: subtract the mean of a regression target and divide by its standard
            deviation, column by column.

    Means and (population) variances are those of the part that remains for training, in float64; a
    constant column is shifted to zero and not scaled. Samples keep their order within each part.

    The targets of autoencoding are its inputs, also when these are standardised. Inputs that lie in
    a file are split by position and not copied.

    Raises `UsageError` for a fraction outside [0, 1), or one that cannot be held out.
    """
    if isinstance(holdout, bool) or not isinstance(holdout, (int, float)) or not 0 <= holdout < 1:
        raise UsageError(
            "holdout must be a fraction from 0 (validate on the test set) to below 1, not "
            f"{quote(holdout)}."
        )
    parts = _divide(dataset, holdout, split_seed)
    if dataset.standardise:
        inputs = _measure_moments(_read_whole(parts[0].x))
        parts = _change_each(
            parts, lambda part: _replace_inputs(part, _standardise(_read_whole(part.x), *inputs))
        )
    n_targets = dataset.info.outputs if dataset.info.task == "regression" else 1
    means, scales = (0.0,) * n_targets, (1.0,) * n_targets
    if standardise_target and dataset.info.task == "regression":
        targets = _measure_moments(_read_whole(parts[0].y))
        parts = _change_each(
            parts, lambda part: replace(part, y=_standardise(_read_whole(part.y), *targets))
        )
        means, scales = (tuple(moment.reshape(-1).tolist()) for moment in targets)
    mean, scale = (means[0], scales[0]) if n_targets == 1 else (0.0, 1.0)
    return Prepared(*parts, dataset.divisor, mean, scale, holdout == 0, means, scales)


def _divide(dataset: Dataset, holdout: float, split_seed: int) -> Subsets:
    train = _to_subset(dataset, dataset.x_train, dataset.y_train)
    test = _to_subset(dataset, dataset.x_test, dataset.y_test)
    if holdout == 0:
        return train, test, test
    stratified = dataset.info.task == "classification"
    generator = seeds.make_generator(seeds.check_seed(split_seed, "split_seed"), "split")
    kept, held = split(
        dataset.y_train, fraction=holdout, stratified=stratified, generator=generator
    )
    return _select(train, kept), _select(train, held), test


def _to_subset(dataset: Dataset, x: Tensor, y: Tensor) -> Subset:
    return _replace_inputs(Subset(x, y), MappedSamples(x)) if dataset.mapped else Subset(x, y)


def _select(part: Subset, positions: Tensor) -> Subset:
    def pick(samples: Tensor | MappedSamples) -> Tensor | MappedSamples:
        return (
            samples.select(positions) if isinstance(samples, MappedSamples) else samples[positions]
        )

    x = pick(part.x)
    return Subset(x, x if part.y is part.x else pick(part.y))


def _replace_inputs(part: Subset, x: Tensor | MappedSamples) -> Subset:
    """The part with other inputs, which are its targets too where they were."""
    return Subset(x, x if part.y is part.x else part.y)


def _read_whole(samples: Tensor | MappedSamples) -> Tensor:
    return samples[:] if isinstance(samples, MappedSamples) else samples


def _change_each(parts: Subsets, change: Callable[[Subset], Subset]) -> Subsets:
    train, validation, test = parts
    changed_test = change(test)
    return change(train), changed_test if validation is test else change(validation), changed_test


def _measure_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the samples, float64; the latter 1 for what is constant.

    Constant means minimum equal to maximum: the computed deviation of a constant is rounding error,
    not always zero.
    """
    exact = values.double()
    deviation = exact.std(dim=0, correction=0)
    varies = exact.amax(dim=0) > exact.amin(dim=0)
    return exact.mean(dim=0), torch.where(varies & (deviation > 0), deviation, 1.0)


def _standardise(values: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return ((values.double() - mean) / scale).float()
