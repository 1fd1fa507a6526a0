"""A table as lines of plain text that fit a width, without cutting anything off."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from rich.cells import cell_len  # columns on the screen, of which wide characters take two

from fanin.report.numbers import NOTHING

_GAP = 2
_MIN_STUB = 12


@dataclass(frozen=True)
class Section:
    """Rows under one heading; the first text of a row is its name, the stub."""

    heading: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Line:
    text: str
    kind: Literal["titles", "heading", "answer", "row", "blank"]


def lay_out_table(
    titles: Sequence[str], numeric: Sequence[bool], sections: Sequence[Section], width: int
) -> list[Line]:
    """The lines of a table.

    Consecutive sections with the same columns share their titles; empty columns are left out.
    Columns that do not fit are folded below the others under the same names; long names wrap.
    """
    lines: list[Line] = []
    for used, together in groupby(
        sections, key=lambda section: _find_used_columns(section, len(titles))
    ):
        for part in _lay_out_group(titles, numeric, list(together), used, width):
            lines += [Line("", "blank"), *part] if lines else part
    return lines


def wrap_paragraph(text: str, width: int, bullet: str = "") -> list[str]:
    """Text wrapped to a width, lines after the first indented below a bullet."""
    return textwrap.wrap(
        text, width, initial_indent=bullet, subsequent_indent=" " * len(bullet)
    ) or [bullet]


def _find_used_columns(section: Section, columns: int) -> tuple[int, ...]:
    return tuple(
        i for i in range(1, columns) if any(row[i] not in ("", NOTHING) for row in section.rows)
    )


def _lay_out_group(
    titles: Sequence[str],
    numeric: Sequence[bool],
    sections: Sequence[Section],
    used: Sequence[int],
    width: int,
) -> Iterator[list[Line]]:
    rows = [row for section in sections for row in section.rows]
    widths = [
        max(cell_len(text) for text in (title, *(row[i] for row in rows)))
        for i, title in enumerate(titles)
    ]
    stub = min(widths[0], max(_MIN_STUB, width // 3))
    for fold in _fold_columns(used, widths, width - stub):
        yield _lay_out_fold(titles, numeric, sections, [stub, *(widths[i] for i in fold)], fold)


def _fold_columns(used: Sequence[int], widths: Sequence[int], room: int) -> list[list[int]]:
    """The used columns, in as few groups as fit beside the stub."""
    folds: list[list[int]] = [[]]
    taken = 0
    for i in used:
        if folds[-1] and taken + _GAP + widths[i] > room:
            folds.append([])
            taken = 0
        folds[-1].append(i)
        taken += _GAP + widths[i]
    return folds


def _lay_out_fold(
    titles: Sequence[str],
    numeric: Sequence[bool],
    sections: Sequence[Section],
    widths: Sequence[int],
    fold: Sequence[int],
) -> list[Line]:
    right = [False, *(numeric[i] for i in fold)]
    lines = [Line(_join_row([titles[0], *(titles[i] for i in fold)], widths, right), "titles")]
    for section in sections:
        lines += [
            Line(text, "heading")
            for text in wrap_paragraph(section.heading, max(sum(widths), 40))
            if section.heading
        ]
        for row in section.rows:
            first, *rest = _wrap(row[0], widths[0])
            lines.append(Line(_join_row([first, *(row[i] for i in fold)], widths, right), "row"))
            lines += [Line(f"  {text}", "row") for text in rest]
    return lines


def _join_row(texts: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    pairs = zip(texts, widths, right, strict=True)
    return (
        (" " * _GAP).join(_pad(text, width, to_right) for text, width, to_right in pairs).rstrip()
    )


def _pad(text: str, width: int, to_right: bool) -> str:
    padding = " " * (width - cell_len(text))
    return padding + text if to_right else text + padding


def _wrap(text: str, width: int) -> list[str]:
    if cell_len(text) <= width:
        return [text]
    halved = width if cell_len(text) == len(text) else width // 2  # wide letters take two columns
    return textwrap.wrap(text, max(halved - 2, 4), break_on_hyphens=False) or [text]
