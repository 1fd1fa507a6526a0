"""A coordinate check as text: the verdict, and a row per layer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from fanin.diagnosis.coordinate_record import CoordinateCheck, LayerCoordinates
from fanin.screen import count_columns

_SLOPE = 21
_SCALING = 11


def format_check(check: CoordinateCheck) -> str:
    """The verdict, and of each layer the mean size at the least and the greatest width after the
    last step, both slopes with their intervals, and what they say.
    """
    columns = count_columns()
    name = columns - 2 * (_SLOPE + 2) - _SCALING - 2
    title = f"{'layer':<{name}}  {'size ~ width^':<{_SLOPE}}  {'change ~ width^':<{_SLOPE}}  says"
    rows = [_format_row(one, name) for one in check.layers]
    setting = (
        f"{check.initializer}, {check.optimizer} at {check.lr:g}, widths "
        f"{', '.join(map(str, check.widths))}, after {check.steps} steps, {check.seeds} seeds; "
        "slopes with 95 % intervals"
    )
    return "\n".join(
        [*_wrap(check.verdict, columns), "", title, *rows, "", *_wrap(setting, columns)]
    )


def _format_row(one: LayerCoordinates, name: int) -> str:
    shown = one.layer if len(one.layer) <= name else "…" + one.layer[-(name - 1) :]
    last, change = (str(slope) if slope is not None else "–" for slope in (one.last, one.change))
    return f"{shown:<{name}}  {last:<{_SLOPE}}  {change:<{_SLOPE}}  {one.scaling}"


def _wrap(text: str, columns: int) -> Sequence[str]:
    return textwrap.wrap(text, columns)
