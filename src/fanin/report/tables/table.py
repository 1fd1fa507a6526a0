"""Table: the content of a table, independent of where it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fanin.report.escaping import escape_invisible
from fanin.report.numbers import NOTHING
from fanin.report.tables.text_table import Line, Section, lay_out_table, wrap_paragraph

SCHEMA = 1
BEST = " *"

_NUMBER = re.compile(r"\(?(med )?[-\d.,]+")


@dataclass(frozen=True)
class Column:
    key: str
    title: str
    numeric: bool = True
    """Whether entries are numbers, which are right-aligned."""
    heads_section: bool = False
    """Whether it is part of a section's heading, if a table is shown in sections."""
    named: bool = False
    """Whether a heading shows its title before its text: ``depth 16``."""


@dataclass(frozen=True)
class TableEntry:
    """One entry of a table: its text, and its value at full precision."""

    text: str = NOTHING
    value: float | str | None = None
    spread: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A title, an answer, columns, rows with an entry per column, and notes. ``str`` is 80 columns
    wide.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableEntry, ...], ...]
    notes: tuple[str, ...] = ()
    empty: str = "Nothing to show yet."
    """The text of a table without rows."""
    answer: tuple[str, ...] = ()
    """What the numbers say, in sentences; it stands on top."""

    def __str__(self) -> str:
        return "\n".join(line.text for line in self.lines(80))

    def lines(self, width: int) -> list[Line]:
        """Lines of plain text, at most `width` wide unless a word is longer."""
        lines = [
            Line(text, "heading") for text in wrap_paragraph(escape_invisible(self.title), width)
        ] + [Line("", "blank")]
        for sentence in self.answer:
            lines += [
                Line(text, "answer") for text in wrap_paragraph(escape_invisible(sentence), width)
            ]
        lines += [Line("", "blank")] if self.answer else []
        if self.rows:
            loose, tight = (self._body(width, plus_minus) for plus_minus in (" ± ", "±"))
            lines += tight if len(tight) < len(loose) else loose
        else:
            lines += [
                Line(text, "row") for text in wrap_paragraph(escape_invisible(self.empty), width)
            ]
        notes = [
            Line(text, "row")
            for note in self.notes
            for text in wrap_paragraph(escape_invisible(note), width, "- ")
        ]
        return lines + ([Line("", "blank"), *notes] if notes else [])

    def to_json(self) -> dict[str, Any]:
        """A JSON object: values at full precision, and the texts shown."""
        keys = [column.key for column in self.columns]
        return {
            "schema": SCHEMA,
            "title": self.title,
            "answer": list(self.answer),
            "columns": [{"key": column.key, "title": column.title} for column in self.columns],
            "rows": [
                {key: _entry_to_json(entry) for key, entry in zip(keys, row, strict=True)}
                for row in self.rows
            ],
            "notes": list(self.notes),
            "empty": "" if self.rows else self.empty,
        }

    def by_section(self) -> list[tuple[str, list[tuple[TableEntry, ...]]]]:
        """(heading, rows) of consecutive rows with equal heading columns, without those columns."""
        heads = [i for i, column in enumerate(self.columns) if column.heads_section]
        found: list[tuple[str, list[tuple[TableEntry, ...]]]] = []
        for row in self.rows:
            heading = " · ".join(
                f"{self.columns[i].title} {row[i].text}" if self.columns[i].named else row[i].text
                for i in heads
            )
            if not found or found[-1][0] != heading:
                found.append((heading, []))
            found[-1][1].append(tuple(entry for i, entry in enumerate(row) if i not in heads))
        return found

    @property
    def _shown(self) -> list[Column]:
        return [column for column in self.columns if not column.heads_section]

    def _body(self, width: int, plus_minus: str) -> list[Line]:
        titles = [escape_invisible(column.title) for column in self._shown]
        numeric = [column.numeric for column in self._shown]
        sections = [
            Section(escape_invisible(heading), _to_texts(rows, numeric, plus_minus))
            for heading, rows in self.by_section()
        ]
        return lay_out_table(titles, numeric, sections, width)


def _to_texts(
    rows: list[tuple[TableEntry, ...]], numeric: list[bool], plus_minus: str
) -> list[list[str]]:
    """The rows as text, with decimals aligned in columns of numbers."""
    columns = [
        [
            (escape_invisible(entry.text) + BEST * entry.best).replace(" ± ", plus_minus)
            for entry in column
        ]
        for column in zip(*rows, strict=True)
    ]
    aligned = (
        _align_decimals(column) if right else column
        for column, right in zip(columns, numeric, strict=True)
    )
    return [list(row) for row in zip(*aligned, strict=True)]


def _align_decimals(texts: list[str]) -> list[str]:
    """Texts of numbers with equally many decimals, padded so that their first numbers align."""
    tails = [len(text) - match.end() if (match := _NUMBER.match(text)) else None for text in texts]
    longest = max((tail for tail in tails if tail is not None), default=0)
    return [
        text if tail is None else text + " " * (longest - tail)
        for text, tail in zip(texts, tails, strict=True)
    ]


def _entry_to_json(entry: TableEntry) -> dict[str, Any]:
    fields = {
        "text": entry.text,
        "value": entry.value,
        "spread": entry.spread,
        "best": entry.best or None,
    }
    return {key: value for key, value in fields.items() if value is not None}
