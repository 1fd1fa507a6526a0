"""Whether a cell can be trained at all, decided from descriptions before any work."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from torch import nn

from fanin import data
from fanin.cell.cell import Cell
from fanin.cell.protocol import REGISTRY as PROTOCOLS
from fanin.data import DataInfo
from fanin.errors import FaninError, FitError, StudyError
from fanin.training import augmentation, metrics
from fanin.training.cell_model import make_model


def check_fit(cell: Cell) -> None:
    """Check that model, batch size and other factors of a cell fit its data.

    A cell that a user's function trains is not checked. Raises a `FitError` or `StudyError` that
    names the fields (`FaninError.about`).
    """
    if cell.trainer is not None:  # the user's function knows its model and its data
        return
    info = data.describe(cell.data)
    model = make_model(cell)
    with _add_context(f"{cell.model} on {cell.data}", "model", "data"):
        model.check(
            info.input_shape,
            info.outputs,
            info.task,
            vocabulary=info.vocabulary,
            parts=info.parts,
        )
    _check_batches(cell, info)
    if cell.label_smoothing and info.task not in ("classification", "token_classification"):
        raise StudyError(
            f"label_smoothing spreads a label over classes, but the task of {cell.data} is "
            f"{info.task}. Leave it out."
        ).mark_fields("label_smoothing", "data")
    if cell.label_smoothing and cell.loss is not None:
        raise StudyError(
            f"label_smoothing belongs to the loss of the task, which {cell.loss} takes the place "
            "of. Leave it out."
        ).mark_fields("label_smoothing", "loss")
    with _add_context("", "metrics", "data"):
        metrics.select_metrics(info, cell.metrics)
    for spec in cell.augmentation:
        with _add_context(f"{spec} on {cell.data}", "augmentation", "data"):
            augmentation.check_input(spec, info.input_shape, info.kind)


def count_training_samples(cell: Cell, info: DataInfo) -> int:
    """The number of samples that a cell trains on.

    If a class is so small that the held-out share would take all of it, it keeps one sample; the
    cell then trains on one or two more.
    """
    holdout = PROTOCOLS.get(cell.protocol).holdout
    return info.n_train - (max(1, math.floor(holdout * info.n_train + 0.5)) if holdout else 0)


@contextmanager
def _add_context(where: str, *fields: str) -> Iterator[None]:
    """Add to an error where it happened and which fields it is about."""
    try:
        yield
    except FaninError as error:
        located = error.add_context(where) if where else error
        raise located.mark_fields(*fields) from None


def _check_batches(cell: Cell, info: DataInfo) -> None:
    n_train = count_training_samples(cell, info)
    if cell.batch_size > n_train:
        raise StudyError(
            f"{cell.data} trains on {n_train:,} samples, fewer than one batch of "
            f"{cell.batch_size:,}. Use a smaller batch_size."
        ).mark_fields("batch_size", "data")
    leaves_one = n_train % cell.batch_size == 1 or cell.batch_size == 1
    if leaves_one and _has_batch_norm(cell.model, cell.activation, cell.normalization, cell.data):
        raise FitError(
            f"{cell.data} trains on {n_train:,} samples: batch_size = {cell.batch_size} leaves a "
            "batch of one sample, which batch normalization cannot take. Use another batch_size."
        ).mark_fields("batch_size", "normalization", "model")


@lru_cache(maxsize=256)
def _has_batch_norm(
    model: str, activation: str | tuple[str, ...] | None, normalization: str | None, dataset: str
) -> bool:
    cell = Cell(
        data=dataset,
        model=model,
        initializer="zero",
        activation=activation,
        normalization=normalization,
    )
    module = make_model(cell).build_skeleton_for(data.describe(dataset))
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
