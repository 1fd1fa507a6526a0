"""User metrics: functions that make a function of (outputs, targets), named by a reference."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from fanin import registry, specs, user_code
from fanin.errors import FitError, quote
from fanin.registry import UserEntry
from fanin.training.metrics.metric import REGISTRY, Better, Metric

_RESERVED = ("loss", "epoch", "epochs", "best_epoch", "seconds")
"""Names of columns of results."""


def load_entry(reference: str) -> UserEntry:
    """The entry of a user's metric."""
    component = user_code.load_component(reference, user_code.METRIC)
    return UserEntry(component.name, component.options, partial(_make, component))


def _make(component: user_code.UserComponent, options: Any) -> Metric:
    """The metric that a user's function returns.

    Its name is the function's attribute `name`, or the name of the file (of ``my_file.py:make``) or
    of the callable. Higher is better unless the function's attribute `better` is "min".
    """
    measure = component.call(options)
    if not callable(measure):
        raise component.make_return_error(measure)
    better: Any = getattr(measure, "better", "max")
    if better not in get_args(Better):
        raise component.make_return_error(
            measure, f"one whose attribute better is {quote(better)} instead of max or min"
        )
    return Metric(
        _find_name(component, measure),
        f"{component.name}.",
        better,
        tasks=(),
        score=_make_score(component, measure),
        measure=measure,
        user_spec=specs.render_canonical(component.name, options),
    )


def _find_name(component: user_code.UserComponent, measure: Any) -> str:
    name = getattr(measure, "name", None) or _derive_name(component.name)
    if not registry.is_name(name):
        raise FitError(
            f"The metric of {component.name} is called {quote(name)}, which cannot name a metric: "
            "use lower-case letters, digits and _."
        )
    if name in _RESERVED or name in REGISTRY or name.startswith(("val_", "test_")):
        raise FitError(
            f"The metric of {component.name} is called {name}, which is the name of a column or of "
            "a built-in metric. Rename the function, or give it an attribute name."
        )
    return str(name)


def _derive_name(reference: str) -> str:
    origin, _, callable_name = reference.rpartition(":")
    return Path(origin).stem if callable_name == "make" else callable_name.lower()


def _make_score(
    component: user_code.UserComponent, measure: Callable[[Tensor, Tensor], Any]
) -> Callable[[Tensor, Tensor], Tensor]:
    def score(outputs: Tensor, y: Tensor) -> Tensor:
        try:
            with component.guard(component.name):
                values = measure(outputs, y)
        except FitError as error:
            print(error, file=sys.stderr)  # to the worker's log; what is only observed ends no cell
            return torch.tensor(math.nan, dtype=torch.float64, device=outputs.device)
        if isinstance(values, Tensor) and values.shape == (len(y),):
            return values.sum(dtype=torch.float64)
        returned = (
            f"a tensor of shape {tuple(values.shape)}"
            if isinstance(values, Tensor)
            else quote(values)
        )
        raise component.make_return_error(
            measure, f"a function that returned {returned} for a batch of {len(y)}"
        )

    return score


REGISTRY.load_user_entries_with(load_entry)
