"""Places: the lines of a study file on which its keys and values stand, so that an error can name
them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_TABLE = re.compile(r"\s*\[\[?\s*([A-Za-z_.]+)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*(?P<key>[A-Za-z_][\w.]*|\"[\w.]+\"|'[\w.]+')\s*=")

Table = tuple[str, int]
"""Name of a table, and its number among those of that name."""


@dataclass(frozen=True)
class LineNumbers:
    """Line numbers by table and key. Empty for a study that was made in Python."""

    lines: tuple[str, ...] = ()
    keys: Mapping[tuple[Table, str], tuple[int, int]] = field(default_factory=dict)
    """(table, key) → first line and last line of its value, from 1."""
    tables: Mapping[Table, int] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> LineNumbers:
        """The places of a TOML text; what TOML forbids is not looked for here."""
        lines = text.splitlines()
        tables: dict[Table, int] = {}
        keys: dict[tuple[Table, str], tuple[int, int]] = {}
        table: Table = ("", 0)
        current: tuple[Table, str] | None = None
        for number, line in enumerate(lines, 1):
            if header := _TABLE.match(line):
                name = header[1]
                table, current = (name, sum(known == name for known, _ in tables)), None
                tables[table] = number
            elif found := _KEY.match(line):
                current = (table, found["key"].strip("\"'"))
                keys[current] = (number, number)
            elif current:
                keys[current] = (keys[current][0], number)
        return cls(tuple(lines), keys, tables)

    def of_key(self, table: str, key: str, number: int = 0) -> str:
        """``, line 7`` for a key of a table, or nothing where that is not known."""
        found = self.keys.get(((table, number), key))
        return f", line {found[0]}" if found else ""

    def of_exclusion(self, number: int) -> str:
        """``, line 7`` for an exclusion, or nothing."""
        line = (
            self.tables.get(("exclude", number)) or self.keys.get((("", 0), "exclude"), (0, 0))[0]
        )
        return f", line {line}" if line else ""

    def of_fields(self, fields: Sequence[str], grid: int, labels: Mapping[str, str]) -> str:
        """``, line 7 (model) and line 9 (data)`` for the fields of a cell of a grid, with the label
        that the cell has there.

        A field stands in the grid's own table, in the shared axes or in the base; the first of
        those that names it counts.
        """
        found = []
        for name in fields:
            line = self._line(name, grid, labels.get(name))
            label = f" = {labels[name]}" if name in labels else ""
            if line:
                found.append(f"line {line} ({name}{label})")
            elif label:
                found.append(f"{name}{label}")
        return f", {' and '.join(found)}" if found else ""

    def _line(self, name: str, grid: int, label: str | None) -> int:
        for table in (("grid", grid), ("axes", 0), ("base", 0)):
            if span := self.keys.get((table, name)):
                return self._line_of(label, *span)
        return 0

    def _line_of(self, label: str | None, first: int, last: int) -> int:
        """The line of a value among those of its key; the key's own where the value is not found."""
        if label is not None:
            whole = re.compile(rf"(?<![\w.]){re.escape(label)}(?![\w.])")
            for number in range(first, last + 1):
                if whole.search(
                    self.lines[number - 1].partition("=")[2]
                    if number == first
                    else self.lines[number - 1]
                ):
                    return number
        return first
