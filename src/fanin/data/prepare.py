"""From a data set to what a training run uses: parts, standardised tables, a standardised target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fanin import seeds
from fanin.data.base import Dataset
from fanin.data.split import split
from fanin.errors import UsageError, shown


@dataclass(frozen=True, eq=False)
class Part:
    """Inputs and targets as the training engine takes them."""

    x: Tensor
    """uint8 or float32 (N, C, H, W), or float32 (N, features)."""
    y: Tensor
    """int64 (N,) class numbers, or float32 (N,) in the units of the loss."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The three parts of a training run, and how to read them.

    A model sees ``x / divisor``; a regression target in its own units is ``y · target_scale + target_mean``.
    """

    train: Part
    validation: Part
    test: Part
    divisor: float
    target_mean: float
    target_scale: float
    validation_is_test: bool
    """True where nothing was held out: the test set serves for early stopping."""


Parts = tuple[Part, Part, Part]


def prepare(dataset: Dataset, *, holdout: float, split_seed: int, standardise_target: bool) -> Prepared:
    """Split and standardise a data set.

    Args:
        dataset: stays as it is; with nothing to change, its very tensors come back.
        holdout: fraction of the training set held out for validation, class by class, drawn by `split_seed`; with 0 the test
            set itself is the validation data, as in the case study.
        split_seed: the seed of that draw.
        standardise_target: subtract the mean of a regression target and divide by its standard deviation.

    Means and (population) variances are those of the part that remains for training, in float64; a constant column is
    shifted to zero and not scaled. Samples keep their order within each part.

    Raises `UsageError` for a fraction outside [0, 1), or one that cannot be held out.
    """
    if isinstance(holdout, bool) or not isinstance(holdout, (int, float)) or not 0 <= holdout < 1:
        raise UsageError(f"holdout must be a fraction from 0 (validate on the test set) to below 1, not {shown(holdout)}.")
    parts = _parts(dataset, holdout, split_seed)
    if dataset.standardise:
        inputs = _moments(parts[0].x)
        parts = _each(parts, lambda part: replace(part, x=_scaled(part.x, *inputs)))
    mean, scale = 0.0, 1.0
    if standardise_target and dataset.info.task == "regression":
        targets = _moments(parts[0].y)
        parts = _each(parts, lambda part: replace(part, y=_scaled(part.y, *targets)))
        mean, scale = (moment.item() for moment in targets)
    return Prepared(*parts, dataset.divisor, mean, scale, validation_is_test=holdout == 0)


def _parts(dataset: Dataset, holdout: float, split_seed: int) -> Parts:
    train, test = Part(dataset.x_train, dataset.y_train), Part(dataset.x_test, dataset.y_test)
    if holdout == 0:
        return train, test, test
    stratified = dataset.info.task == "classification"
    generator = seeds.generator(seeds.check_seed(split_seed, "split_seed"), "split")
    kept, held = split(train.y, fraction=holdout, stratified=stratified, generator=generator)
    return Part(train.x[kept], train.y[kept]), Part(train.x[held], train.y[held]), test


def _each(parts: Parts, change: Callable[[Part], Part]) -> Parts:
    train, validation, test = parts
    changed_test = change(test)
    return change(train), changed_test if validation is test else change(validation), changed_test


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the samples, float64; the latter 1 for what is constant.

    Constant means minimum equal to maximum: the computed deviation of a constant is rounding error, not always zero.
    """
    exact = values.double()
    deviation = exact.std(dim=0, correction=0)
    varies = exact.amax(dim=0) > exact.amin(dim=0)
    return exact.mean(dim=0), torch.where(varies & (deviation > 0), deviation, 1.0)


def _scaled(values: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return ((values.double() - mean) / scale).float()
