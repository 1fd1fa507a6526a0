"""Whether a cell can be trained at all, decided from descriptions before any work."""

from __future__ import annotations

import math
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
    """Raise a `FitError` or `StudyError` that names what does not fit the data: model, batch size,
    smoothing, augmentation.
    """
    info = data.describe(cell.data)
    try:
        make_model(cell).check(
            info.input_shape, info.outputs, info.task, vocabulary=info.vocabulary
        )
    except FaninError as error:
        raise error.add_context(f"{cell.model} on {cell.data}").mark_fields(
            "model", "data"
        ) from None
    _check_batches(cell, info)
    if cell.label_smoothing and info.task not in ("classification", "token_classification"):
        raise StudyError(
            f"label_smoothing spreads a label over classes; the task of {cell.data} is "
            f"{info.task}. Leave it out."
        ).mark_fields("label_smoothing", "data")
    try:
        metrics.select_metrics(info, cell.metrics)
    except FaninError as error:
        raise error.mark_fields("metrics", "data") from None
    for spec in cell.augmentation:
        try:
            augmentation.check_input(spec, info.input_shape, info.kind)
        except FaninError as error:
            raise error.add_context(f"{spec} on {cell.data}").mark_fields(
                "augmentation", "data"
            ) from None


def count_training_samples(cell: Cell, info: DataInfo) -> int:
    """How many samples a cell trains on; with very small classes one or two more, since each keeps
    at least one.
    """
    holdout = PROTOCOLS.get(cell.protocol).holdout
    return info.n_train - (max(1, math.floor(holdout * info.n_train + 0.5)) if holdout else 0)


def _check_batches(cell: Cell, info: DataInfo) -> None:
    n_train = count_training_samples(cell, info)
    if cell.batch_size > n_train:
        raise StudyError(
            f"{cell.data} trains on {n_train:,} samples, fewer than one batch of "
            f"{cell.batch_size:,}. Use a smaller batch_size."
        ).mark_fields("batch_size", "data")
    alone = n_train % cell.batch_size == 1 or cell.batch_size == 1
    if alone and _has_batch_norm(cell.model, cell.activation, cell.normalization, cell.data):
        raise FitError(
            f"{cell.data} trains on {n_train:,} samples: with batch_size = {cell.batch_size} a "
            "batch of one sample is left, "
            f"which batch normalization cannot take. Use another batch_size."
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
