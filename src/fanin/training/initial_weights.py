"""The initial weights of a cell's model."""

from __future__ import annotations

from typing import Any

from torch import nn

from fanin import apply, initializers, seeds
from fanin.apply import Record
from fanin.cell.cell import Cell
from fanin.data import Subset
from fanin.initializers.model_level import ModelInitializer
from fanin.training.objective import Objective

_SHOWN = 2
"""Samples that suffice to find out what follows each layer."""


def initialize_model(cell: Cell, model: nn.Module, objective: Objective, subset: Subset) -> Record:
    """Fill a cell's model in place, before it is moved to its device.

    An initializer that looks at data gets the first batch of the training, without augmentation,
    and the loss of the training. So its weights are a function of the cell alone.
    """
    rule = initializers.get(cell.initializer)
    fits = isinstance(rule, ModelInitializer) and rule.fits
    if fits:
        order = seeds.draw_order(cell.derive_seed("order"), 0, len(subset.y))[: cell.batch_size]
        x, target = subset.x[order], subset.x[order] if subset.y is subset.x else subset.y[order]
        inputs = objective.prepare_inputs(x)
        given: dict[str, Any] = {
            "target": objective.prepare_targets(inputs, target),
            "loss": objective.compute_training_loss,
        }
    else:
        inputs, given = objective.prepare_inputs(subset.x[:_SHOWN].clone()), {}
    with apply.collect_unfilled():  # said while the study was planned
        return apply.initialize(
            model,
            rule,
            seed=cell.derive_seed("init"),
            biases=cell.biases,
            shared_stream=cell.shared_stream,
            batch=inputs,
            **given,
        )


def describe_fit(record: Record) -> dict[str, str]:
    """What an initializer that looks at data did with each parameter; empty for any other."""
    return {one.name: one.fitted for one in record.parameters if one.fitted}
