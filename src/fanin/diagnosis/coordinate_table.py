"""A coordinate check as text: the verdict, and a row per layer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from fanin.screen import count_columns

_SLOPE = 21
_SCALING = 11


def format_table(verdict: str, rows: Iterable[tuple[str, str, str, str]], setting: str) -> str:
    """The verdict, the rows (layer, slope of its size, slope of its change, what they say), and
    what was done.
    """
    columns = count_columns()
    name = columns - 2 * (_SLOPE + 2) - _SCALING - 2
    heading = ("layer", "size ~ width^", "change ~ width^", "says")
    return "\n".join(
        [
            *textwrap.wrap(verdict, columns),
            "",
            *(_format_row(row, name) for row in (heading, *rows)),
            "",
            *textwrap.wrap(setting, columns),
        ]
    )


def _format_row(row: tuple[str, str, str, str], name: int) -> str:
    layer, size, change, scaling = row
    shown = layer if len(layer) <= name else "…" + layer[-(name - 1) :]
    return f"{shown:<{name}}  {size:<{_SLOPE}}  {change:<{_SLOPE}}  {scaling}"
