"""The units of a metric on a data set."""

from __future__ import annotations

from fanin import specs
from fanin.analysis.own_data import BUILT_IN
from fanin.errors import FaninError

_SYMBOLS = {"US dollars": "$"}
"""Units that have a symbol; others are written out."""

_SQUARED = ("loss", "squared_error")


def find_unit(dataset: str, metric: str) -> str:
    """The unit of a metric, such as ``$`` for errors of California Housing; empty if it has none.

    Errors and losses of a regression are in the target's own units, whatever the training saw.

    Args:
        dataset: the spec of the data set.
        metric: its name, with or without ``val_`` or ``test_``.
    """
    units = _find_target_units(dataset)
    base = metric.removeprefix("test_").removeprefix("val_")
    if base == "mae":
        return units
    return f"{units}²" if base in _SQUARED and len(units) == 1 else ""


def _find_target_units(dataset: str) -> str:
    try:
        name, options = specs.parse(dataset)
    except FaninError:
        return ""
    inner = options.get("of")
    if isinstance(inner, str):
        return ""  # another task, of which nothing is known
    units = BUILT_IN.get(name)
    if units is None:
        from fanin import data  # imports torch

        units = data.REGISTRY.get(name).units if name in data.REGISTRY else ""
    return _SYMBOLS.get(units, units)
