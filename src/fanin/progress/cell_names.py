"""Short names of cells for a live view: what varies in the plan, in the columns that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from fanin.cell.plan import Plan, PlannedCell
from fanin.report.escaping import escape_invisible

_MAIN = ("model", "data")
_SEPARATOR = " · "
_LEAST = 6
"""Columns that every part of a name keeps."""

Parts = tuple[str, ...]


def name_varying_parts(plan: Plan) -> dict[str, Parts]:
    """Cell id → its labels on the axes that tell the plan's cells apart, and its replicate.

    Model, data and initializer if nothing varies.
    """
    labels: dict[str, dict[str, None]] = {}
    for planned in plan.cells:
        for axis, label in _read_labels(planned).items():
            labels.setdefault(axis, {})[label] = None
    varying = [axis for axis, found in labels.items() if len(found) > 1]
    shown = varying or [*_MAIN, "initializer"]
    replicated = any(planned.cell.replicate for planned in plan.cells)
    return {
        planned.cell.id: (
            *(escape_invisible(_read_labels(planned).get(axis, "")) for axis in shown),
            *([f"#{planned.cell.replicate}"] if replicated else []),
        )
        for planned in plan.cells
    }


def fit_names(names: Mapping[str, Parts], columns: int) -> dict[str, str]:
    """Cell id → its parts joined, at most `columns` wide where that is possible.

    Long parts are cut in the middle. Labels of one axis that would then look alike are cut where
    they differ.
    """
    rows = list(names.values())
    width = max((len(row) for row in rows), default=0)
    axes = [sorted({row[i] for row in rows if i < len(row)}) for i in range(width)]
    limit = _find_limit(axes, columns - len(_SEPARATOR) * max(width - 1, 0))
    short = [_shorten_apart(axis, limit) for axis in axes]
    return {
        cell: _SEPARATOR.join(short[i][part] for i, part in enumerate(parts) if part)
        for cell, parts in names.items()
    }


def _read_labels(planned: PlannedCell) -> dict[str, str]:
    """The labels in reading order: model, data, other axes, the initializer."""
    labels = dict(planned.labels)
    main = {axis: labels.pop(axis, str(getattr(planned.cell, axis))) for axis in _MAIN}
    initializer = labels.pop("initializer", planned.cell.initializer)
    further = {
        axis: label if axis in ("activation", "normalization") else f"{_get_last(axis)} {label}"
        for axis, label in labels.items()
    }
    return {**main, **further, "initializer": initializer}


def _get_last(axis: str) -> str:
    return axis.rpartition(".")[2].replace("_", " ")


def _find_limit(axes: Sequence[Sequence[str]], columns: int) -> int:
    """The most columns of a part with which the longest parts of all axes fit."""
    longest = [max(map(cell_len, axis)) for axis in axes if axis]
    limit = max(longest, default=_LEAST)
    while limit > _LEAST and sum(min(length, limit) for length in longest) > columns:
        limit -= 1
    return limit


def _shorten_apart(labels: Sequence[str], limit: int) -> dict[str, str]:
    short = {label: _cut_middle(label, limit) for label in labels}
    alike: dict[str, list[str]] = {}
    for label, text in short.items():
        alike.setdefault(text, []).append(label)
    for group in (group for group in alike.values() if len(group) > 1):
        columns = enumerate(zip(*group, strict=False))
        start = next((i for i, letters in columns if len(set(letters)) > 1), min(map(len, group)))
        short |= {label: f"…{label[start : start + limit - 1]}" for label in group}
    return short


def _cut_middle(text: str, limit: int) -> str:
    if cell_len(text) <= limit:
        return text
    wide = cell_len(text) > len(text)
    kept = (limit - 1) // (2 if wide else 1)
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
