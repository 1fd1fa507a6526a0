"""The metrics that a user's trainer gives: checked, and as plain numbers by name."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from fanin import user_code
from fanin.cell.cell import FIELDS
from fanin.errors import FitError, quote
from fanin.registry import is_name

_RESERVED = {
    *("epochs", "best_epoch", "seconds", "outcome", "planned", "ok", "diverged", "failed"),
    *("killed", "missing", "divergence_rate", "mean_rank", "cell", "block", "environment"),
    *("fingerprint", "message", "max_epochs", "loss_function", *FIELDS),
} - {"loss"}
"""Names of other columns of frames and tables."""

_ENDINGS = ("_sd", "_half_width", "_median")
"""What summaries put behind a metric's name."""


def read_metrics(
    component: user_code.UserComponent,
    given: object,
    description: str = "",
    verb: str = "returned",
) -> dict[str, float]:
    """The numbers of a mapping that a trainer has returned or yielded, by name.

    A number may be Python's, NumPy's or a tensor of one element. An entry ``epoch`` is left out,
    since fanin counts itself.

    Args:
        component: the trainer, for errors.
        given: what it gave.
        description: `given` in words, for errors.
        verb: ``returned``, ``yielded`` or ``reported``, for errors.

    Raises `FitError` if it is no mapping, is empty, or has a name or a value that is none.
    """
    if not isinstance(given, Mapping):
        raise component.make_return_error(given, description, verb)
    metrics = {
        _check_name(component, name): _to_number(component, name, value)
        for name, value in given.items()
        if name != "epoch"
    }
    if not metrics:
        raise component.make_return_error(given, "a mapping without any metric", verb)
    return metrics


def _check_name(component: user_code.UserComponent, name: Any) -> str:
    if not is_name(name) or "-" in name:
        raise FitError(
            f"{component.name} gives a metric called {quote(name)}. Use lower-case letters, digits "
            "and _, beginning with val_ or test_ if it was measured there: val_loss, test_accuracy."
        )
    if name in _RESERVED or name.endswith(_ENDINGS):
        raise FitError(
            f"{component.name} gives a metric called {name}, which is the name of another column "
            "of results. Call it something else."
        )
    return str(name)


def _to_number(component: user_code.UserComponent, name: str, value: Any) -> float:
    with contextlib.suppress(TypeError, ValueError, RuntimeError, OverflowError):
        number = value.item() if hasattr(value, "item") else value  # of a tensor or an array
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return float(number)
    shape = getattr(value, "shape", None)
    described = f"an array of shape {tuple(shape)}" if shape else quote(value)
    raise FitError(
        f"{component.name} gives {name} = {described}. Expected one number for each metric, such "
        "as loss.item()."
    )
