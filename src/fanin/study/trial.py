"""One trial step of each condition while a study is planned.

What would fail when it trains is refused now, with the study's line: an initializer that does not
fit the model, a module that comes back, an optimizer that cannot take the model's gradients.
Built-in models, optimizers and metrics are tested with each other, so that for them only the
initializer is tried, on a model without memory. `try_training` is one call without side effects on
the caller, so that planning can run it in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import nn

from fanin import apply, data, initializers, models, registry, seeds, specs, user_code
from fanin.cell.cell import Cell
from fanin.errors import FaninError, FitError
from fanin.initializers import Initializer
from fanin.initializers.model_level import ModelInitializer
from fanin.models import Model
from fanin.training import augmentation, metrics, optimizers, schedules
from fanin.training.cell_model import make_model
from fanin.training.random_samples import draw_samples, make_random_objective
from fanin.training.steps import Trainer, evaluate_batch
from fanin.training.trained_state import TrainedState
from fanin.user_code.callables import describe_error, locate_error

_SAMPLES = 4
"""More than one, for batch normalization."""


_CONDITION = (
    "data",
    "model",
    "activation",
    "normalization",
    "optimizer",
    "schedule",
    "clip_norm",
    "label_smoothing",
    "augmentation",
    "shared_stream",
    "metrics",
    "biases",
    "loss",
    "initializer",
    "sources",
)
"""The fields that make conditions distinct; a rate or a number of epochs tells nothing more."""

_FIT_OF_INITIALIZER = ("data", "model", "activation", "normalization", "biases", "initializer")

_tried: dict[tuple[object, ...], str] = {}
"""The conditions that were tried in this process and can be trained, each with a remark."""


def try_training(cell: Cell) -> str:
    """Try what a cell trains, each condition once in a process.

    Returns what every table must say about it: that its initializer leaves much of the model as it
    is. Empty if there is nothing to say.

    A user's trainer is not called: its signature and its options are checked when the cell is made.

    Raises a `FaninError` that names the fields (`FaninError.about`).
    """
    if cell.trainer is not None:
        return ""
    condition = tuple(getattr(cell, name) for name in _CONDITION)
    if condition not in _tried:
        with apply.collect_unfilled() as collected:
            _try_condition(cell)
        remarks = [f"{cell.model}, {cell.initializer}: {text}" for text in collected]
        _tried[condition] = " ".join("\n".join(remarks).split())
    return _tried[condition]


def _try_condition(cell: Cell) -> None:
    if cell.sources or not _are_builtin(
        cell.data, cell.model, cell.optimizer, cell.schedule, cell.augmentation, cell.metrics
    ):
        _try_step(cell)
    else:
        fit = tuple(getattr(cell, name) for name in _FIT_OF_INITIALIZER)
        if fit not in _tried:
            _try_initializer(cell)
            _tried[fit] = ""


@lru_cache(maxsize=1024)
def _are_builtin(
    dataset: str,
    model: str,
    optimizer: str,
    schedule: str,
    augmentations: tuple[str, ...],
    measured: tuple[str, ...],
) -> bool:
    """Whether all that trains is fanin's own, and not a plug-in's."""
    parts: list[object] = [optimizers.REGISTRY.make(optimizer)]
    parts += [augmentation.REGISTRY.make(spec) for spec in augmentations]
    if schedule != "constant":
        parts.append(schedules.REGISTRY.make(schedule))
    return (
        registry.is_builtin(models.REGISTRY.get(specs.parse(model)[0]).build)
        and all(registry.is_builtin(type(part)) for part in parts)
        and all(
            metric.measure is None
            for metric in metrics.select_metrics(data.describe(dataset), measured)
        )
    )


def _try_initializer(cell: Cell) -> None:
    rule = initializers.get(cell.initializer)
    with _explain(cell, "initializer", "model"), seeds.preserve_torch_state():
        if _needs_batch(rule):
            _preview_on_batch(cell, rule)
            return
        apply.initialize(
            _build_skeleton(make_model(cell), cell.data),
            rule,
            seed=0,
            biases=cell.biases,
            preview=True,
        )


def _needs_batch(rule: Initializer) -> bool:
    """Whether an initializer looks at data, or at what only a forward pass on data shows; a model
    without memory has none.
    """
    return isinstance(rule, ModelInitializer) and (rule.fits or rule.structured)


def _preview_on_batch(cell: Cell, rule: Initializer) -> None:
    """Plan an initializer on random data; nothing is fitted to them."""
    info, model = data.describe(cell.data), make_model(cell)
    samples = draw_samples(info, _SAMPLES)
    objective = make_random_objective(cell, info, samples, model.entry)
    inputs = objective.prepare_inputs(samples.x[:])
    apply.initialize(
        model.build_for(info),
        rule,
        seed=0,
        biases=cell.biases,
        batch=inputs,
        target=objective.prepare_targets(inputs, samples.y[:]),
        loss=objective.compute_training_loss,
        preview=True,
    )


@lru_cache(maxsize=2)
def _build_skeleton(model: Model, dataset: str) -> nn.Module:
    """A model without memory; the last ones are kept, since a study lists one after the other."""
    return model.build_skeleton_for(data.describe(dataset))


def _try_step(cell: Cell) -> None:
    """Build, initialize and train for one step, evaluate, and put the state back."""
    info, model = data.describe(cell.data), make_model(cell)
    samples = draw_samples(info, _SAMPLES)
    with _explain(cell, "metrics", "loss"):
        objective = make_random_objective(cell, info, samples, model.entry)
    with seeds.preserve_global_state(seeds.derive_stream(0, "trial")):
        with _explain(cell, "model"):
            module = model.build_for(info)
        with _explain(cell, "initializer", "model"):
            apply.initialize(
                module,
                initializers.get(cell.initializer),
                seed=0,
                biases=cell.biases,
                shared_stream=cell.shared_stream,
                batch=objective.prepare_inputs(samples.x[:2].clone()),
            )
        with _explain(cell, "optimizer", "model"):
            trainer = Trainer.from_cell(cell, module, objective)
            state = TrainedState(
                module, trainer.optimizer, objective.metrics, is_builtin=trainer.is_builtin
            )
        with _explain(cell, "optimizer", "model", "metrics", "loss", "augmentation"):
            x, index = samples.x[:], torch.arange(_SAMPLES)
            if trainer.augmenter is not None:
                x = trainer.augmenter.apply(x, index, trainer.augmenter.draw_epoch(0, _SAMPLES))
            y = x if samples.y is samples.x else samples.y[:]
            totals = objective.make_totals()
            trainer.step(0, 0, x, y, list(module.parameters()), totals)
            module.eval()
            with torch.no_grad():
                evaluate_batch(
                    module, objective, x, y, torch.zeros((), dtype=torch.float64), totals
                )
        with _explain(cell, "model"):
            kept = {name: tensor.clone() for name, tensor in state.read_tensors().items()}
            memory = state.copy_memory()
            state.write_tensors(kept)
            state.restore_memory(memory)


@contextmanager
def _explain(cell: Cell, *fields: str) -> Iterator[None]:
    """Say which fields an error is about, and where in the user's files it was raised."""
    named = {name: specs for name in fields if (specs := _list_specs(cell, name))}
    own = [name for name, specs in named.items() if any(map(user_code.has_reference, specs))]
    # where an optimizer is concerned, anything may be to blame, but rarely what is built in
    about = own if own and "optimizer" in fields else list(named)
    where = " with ".join(", ".join(named[name]) for name in about)
    try:
        yield
    except FaninError as error:
        raise error.add_context(f"{where} on {cell.data}").mark_fields(*about) from None
    except Exception as error:
        files = [user_code.load(reference).file for reference, _ in cell.sources]
        place = next(filter(None, (locate_error(error, file) for file in files)), "")
        raise FitError(
            f"{where} on {cell.data} cannot be trained: a trial step raised "
            f"{describe_error(error).rstrip('.')}{place}. Change it, or leave it out."
        ).mark_fields(*about) from error


def _list_specs(cell: Cell, field: str) -> tuple[str, ...]:
    value = getattr(cell, field)
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
