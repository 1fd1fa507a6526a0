"""coordinate_check: does the size of signals, or what training does to them, depend on width?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fanin import apply, initializers, losses, seeds
from fanin.diagnosis.coordinate_record import CoordinateCheck, LayerCoordinates, Slope, judge
from fanin.diagnosis.coordinate_trial import OUTPUT, Trial, train_some_steps
from fanin.errors import FitError, UnknownName, UsageError, quote
from fanin.initializers import Initializer

OptimizerName = Literal["adam", "adamw", "sgd"]
_OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def coordinate_check(
    make: Callable[[int], nn.Module],
    widths: Sequence[int],
    *,
    batch: Any,
    target: Any = None,
    loss: losses.LossFunction | None = None,
    initializer: str | Initializer | None = None,
    optimizer: OptimizerName = "adam",
    lr: float = 0.01,
    steps: int = 4,
    replicates: int = 5,
    seed: int = 0,
    tolerance: float = 0.2,
) -> CoordinateCheck:
    """Train the model of each width for some steps, and judge how its signals depend on the width.

    Under muP neither the size of a layer's outputs, mean |x|, nor what training changes of them,
    mean |x(step) - x(0)|, grows or shrinks with the width. Of both a power of the width is fitted
    for each seed, by least squares over log width. A layer is judged where the whole 95 % interval
    over seeds (Student's t) lies beyond `tolerance`.

    Args:
        make: makes the model of a width.
        widths: at least three different ones, such as ``[64, 128, 256, 512]``; over less than a
            factor of four a power is hardly seen.
        batch: the input of every step, or a function of the width that returns it.
        target: labels of the batch: cross-entropy for whole numbers, mean squared error for real
            ones.
        loss: a function of (output, target), or of the output alone without `target`.
        initializer: what `fanin.initialize` gives each model, with its learning rates; none checks
            the model's own start, with one learning rate.
        optimizer: adam, adamw or sgd, without decay and momentum.
        lr: the base learning rate.
        steps: updates on the one batch.
        replicates: seeds; at least two, so that there are intervals.
        seed: the first of the streams that initial weights are drawn from.
        tolerance: the power of the width up to which a slope passes. The random part of a readout
            shrinks with the width under muP too, which shows at small widths in the first steps:
            take more steps, or ``mup(…, readout=zero)``.

    Dropout is off, batch normalization on the batch. Models are trained in memory and dropped; the
    global random state is not moved.

    Raises:
        UsageError: an argument that cannot be, such as two widths.
        FitError: a model that cannot be made, initialized or trained.
    """
    sizes = _check_widths(widths)
    _check_numbers(optimizer=optimizer, lr=lr, steps=steps, replicates=replicates)
    rule = None if initializer is None else initializers.get(initializer)
    trials: dict[tuple[int, int], Trial] = {}
    for width in sizes:
        data = batch(width) if callable(batch) and not isinstance(batch, Tensor) else batch
        for replicate in range(replicates):
            start = seeds.derive_seed(seed, "coordinates", replicate)
            model, groups = _make_model(make, width, rule, start, data, lr)
            trials[width, replicate] = train_some_steps(
                model, _OPTIMIZERS[optimizer](groups), data, target, loss, steps, width
            )
    return CoordinateCheck(
        widths=sizes,
        initializer=str(rule) if rule is not None else "the model's own start",
        optimizer=optimizer,
        lr=lr,
        steps=steps,
        seeds=replicates,
        tolerance=tolerance,
        layers=tuple(
            _summarize(layer, sizes, replicates, trials, tolerance)
            for layer in _find_shared(trials)
        ),
    )


def _check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    good = isinstance(widths, Sequence) and all(
        isinstance(width, int) and not isinstance(width, bool) and width > 0 for width in widths
    )
    if not good or len(set(widths)) < 3:
        raise UsageError(
            f"widths must be at least three different whole numbers, such as [64, 128, 256], not "
            f"{quote(widths)}."
        )
    return tuple(sorted(set(widths)))


def _check_numbers(*, optimizer: str, lr: float, steps: int, replicates: int) -> None:
    if optimizer not in _OPTIMIZERS:
        raise UnknownName.suggest("optimizer", optimizer, tuple(_OPTIMIZERS))
    if not (isinstance(lr, int | float) and 0 < lr < float("inf")):
        raise UsageError(f"lr must be a number above 0, not {quote(lr)}.")
    for what, value, least in (("steps", steps, 1), ("replicates", replicates, 2)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UsageError(f"{what} must be a whole number from {least} on, not {quote(value)}.")


def _make_model(
    make: Callable[[int], nn.Module],
    width: int,
    rule: Initializer | None,
    start: int,
    batch: Any,
    lr: float,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """A model of that width, initialized, and the groups of its parameters."""
    try:
        with seeds.preserve_torch_state(seeds.derive_stream(start, "make")):
            model = make(width)
    except Exception as error:
        raise FitError(
            f"make({width}) failed: {type(error).__name__}: {quote(str(error), 300)}. Expected a "
            "function that takes a width and returns an nn.Module."
        ) from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"make({width}) returned {quote(model)}. Expected an nn.Module.")
    if rule is None:
        return model, [
            {"params": [one for one in model.parameters() if one.requires_grad], "lr": lr}
        ]
    record = apply.initialize(model, rule, seed=start, batch=batch)
    return model, record.param_groups(lr)


def _find_shared(trials: dict[tuple[int, int], Trial]) -> list[str]:
    """The layers that all models have, in the order of the first one's calls; the output only if it
    is not what a layer puts out.
    """
    first, *others = trials.values()
    shared = [layer for layer in first.sizes if all(layer in other.sizes for other in others)]
    last = first.sizes.get(OUTPUT)
    alike = [layer for layer in shared if layer != OUTPUT and first.sizes[layer] == last]
    return [layer for layer in shared if layer != OUTPUT or not alike]


def _summarize(
    layer: str,
    widths: Sequence[int],
    replicates: int,
    trials: dict[tuple[int, int], Trial],
    tolerance: float,
) -> LayerCoordinates:
    runs = [[trials[width, n] for n in range(replicates)] for width in widths]
    sizes = tuple(tuple(tuple(run.sizes[layer]) for run in row) for row in runs)
    changes = tuple(tuple(tuple(run.changes[layer]) for run in row) for row in runs)
    slopes = [
        Slope.fit(
            widths, [[values[w][n][step] for w in range(len(widths))] for n in range(replicates)]
        )
        for values, step in ((sizes, 0), (sizes, -1), (changes, -1))
    ]
    finite = all(trial.finite[layer] for trial in trials.values())
    first, last, change = slopes
    return LayerCoordinates(
        layer=layer,
        sizes=sizes,
        changes=changes,
        first=first,
        last=last,
        change=change,
        scaling=judge(last, change, finite=finite, tolerance=tolerance),
    )
