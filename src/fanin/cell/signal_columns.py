"""Columns of a history that hold signals: ``signal.<statistic>.<place>.<layer>``.

One value per epoch, measured in the epoch's first step. Statistics are those of
`fanin.watching.layer_reading`; the place is the layer's in the order of computation, from 0, since
a JSON object has no order that every tool keeps. A layer's name may hold dots, and comes last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from typing import NamedTuple

_PREFIX = "signal."


class SignalColumn(NamedTuple):
    """What a column holds."""

    statistic: str
    place: int
    layer: str

    def __str__(self) -> str:
        return f"{_PREFIX}{self.statistic}.{self.place}.{self.layer}"


def is_signal_column(name: str) -> bool:
    """Whether a column of a history holds a signal."""
    return name.startswith(_PREFIX)


def parse_column(name: str) -> SignalColumn | None:
    """What a column of signals holds; None for any other column."""
    if not is_signal_column(name):
        return None
    statistic, _, rest = name.removeprefix(_PREFIX).partition(".")
    place, _, layer = rest.partition(".")
    return SignalColumn(statistic, int(place), layer) if place.isdecimal() else None


def append_signals(
    history: MutableMapping[str, list[float]], layers: Sequence[tuple[str, Mapping[str, float]]]
) -> None:
    """Append what an epoch's first step showed to a history that has the epoch's other columns.

    What was not measured in this epoch, or in earlier ones, is nan.

    Args:
        history: its signals are one epoch shorter than its other columns.
        layers: name and statistics of each layer, in the order of computation.
    """
    known = [column for column in map(parse_column, history) if column is not None]
    places = {column.layer: column.place for column in known}
    epochs = max(len(column) for name, column in history.items() if not is_signal_column(name))
    for name, statistics in layers:
        place = places.setdefault(name, len(places))
        for statistic, value in statistics.items():
            column = history.setdefault(str(SignalColumn(statistic, place, name)), [])
            column += [math.nan] * (epochs - 1 - len(column))
            column.append(value)
    for old in known:
        values = history[str(old)]
        values += [math.nan] * (epochs - len(values))
