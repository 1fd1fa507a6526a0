"""The table of results as the page shows it: sections that can be sorted and filtered."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fanin.report.escaping import escape_invisible
from fanin.report.tables.table import Column, Table, TableEntry

MAX_ROWS = 2_000
"""Rows on the page; the export csv has all."""

_FILTERED = ("verdict", "agrees")
"""Titles of columns of a few words, which filters look at as well."""

_MAX_CHOICES = 60
"""Values of a column from which a list to choose from is no help."""


@dataclass(frozen=True)
class PageEntry:
    """One entry: its text, and the number it is sorted by if its column holds numbers."""

    text: str
    value: str | None
    best: bool = False


@dataclass(frozen=True)
class PageRow:
    """A row, and the values that filters look at as a JSON object."""

    entries: tuple[PageEntry, ...]
    facts: str


@dataclass(frozen=True)
class RowSection:
    """Rows that are compared with one another."""

    heading: str
    facts: str
    rows: tuple[PageRow, ...]


@dataclass(frozen=True)
class RowFilter:
    """A list to choose one value of a column from."""

    factor: str
    title: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class ResultRows:
    """The table of results."""

    columns: tuple[Column, ...]
    sections: tuple[RowSection, ...]
    filters: tuple[RowFilter, ...]
    total: int
    """Rows before they were cut to `MAX_ROWS`."""

    @property
    def shown(self) -> int:
        """Rows on the page."""
        return sum(len(section.rows) for section in self.sections)


def arrange_rows(
    table: Table, added: Sequence[tuple[Column, Sequence[TableEntry]]] = ()
) -> ResultRows:
    """The table in sections.

    Args:
        table: the study's table.
        added: further columns, with an entry for each row.
    """
    columns = tuple(column for column in table.columns if not column.heads_section)
    columns += tuple(column for column, _ in added)
    rows = [
        (*row, *(entries[number] for _, entries in added)) for number, row in enumerate(table.rows)
    ][:MAX_ROWS]
    heads = [i for i, column in enumerate(table.columns) if column.heads_section]
    sections = tuple(_split(table, rows, heads, columns))
    filters = (*_list_filters(table, heads), *_list_word_filters(columns, sections))
    return ResultRows(columns, sections, filters, len(table.rows))


def _split(
    table: Table,
    rows: Sequence[tuple[TableEntry, ...]],
    heads: Sequence[int],
    columns: Sequence[Column],
) -> Iterator[RowSection]:
    first = next((i for i in range(len(table.columns)) if i not in heads), 0)
    together: list[PageRow] = []
    before: tuple[str, ...] | None = None
    for row in rows:
        key = tuple(row[i].text for i in heads)
        if before is not None and key != before:
            yield _make_section(table, before, heads, together)
            together = []
        before = key
        entries = [entry for i, entry in enumerate(row) if i not in heads]
        facts = {table.columns[first].key: escape_invisible(entries[0].text)}
        facts |= {
            column.key: escape_invisible(entry.text)
            for entry, column in zip(entries, columns, strict=True)
            if column.title in _FILTERED
        }
        shown = (_make_entry(entry, column) for entry, column in zip(entries, columns, strict=True))
        together.append(PageRow(tuple(shown), json.dumps(facts)))
    if before is not None:
        yield _make_section(table, before, heads, together)


def _make_section(
    table: Table, key: Sequence[str], heads: Sequence[int], rows: Sequence[PageRow]
) -> RowSection:
    columns = [table.columns[i] for i in heads]
    named = (
        f"{column.title} {text}" if column.named else text
        for column, text in zip(columns, key, strict=True)
    )
    facts = {column.key: escape_invisible(text) for column, text in zip(columns, key, strict=True)}
    return RowSection(escape_invisible(" · ".join(named)), json.dumps(facts), tuple(rows))


def _make_entry(entry: TableEntry, column: Column) -> PageEntry:
    value = "" if column.numeric else None
    if isinstance(entry.value, int | float):  # also of a p, which is shown as a word
        value = f"{entry.value:.10g}" if math.isfinite(entry.value) else ""
    return PageEntry(escape_invisible(entry.text), value, entry.best)


def _list_filters(table: Table, heads: Sequence[int]) -> Iterator[RowFilter]:
    """Heading columns and the one that names rows, if they have some values to choose from."""
    naming = [i for i, column in enumerate(table.columns) if i not in heads][:1]
    for i in (*heads, *naming):
        values = list(dict.fromkeys(escape_invisible(row[i].text) for row in table.rows[:MAX_ROWS]))
        if 2 <= len(values) <= _MAX_CHOICES:
            column = table.columns[i]
            yield RowFilter(column.key, escape_invisible(column.title), tuple(values))


def _list_word_filters(
    columns: Sequence[Column], sections: Sequence[RowSection]
) -> Iterator[RowFilter]:
    """Columns of a few words, such as verdicts, if there are several different ones."""
    rows = [row for section in sections for row in section.rows]
    for i, column in enumerate(columns):
        if column.title in _FILTERED:
            values = tuple(dict.fromkeys(row.entries[i].text for row in rows))
            if len(values) > 1:
                yield RowFilter(column.key, escape_invisible(column.title), values)
