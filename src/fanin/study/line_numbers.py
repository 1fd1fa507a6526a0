"""The line numbers of a study file, so that an error can name the line of a key or a value."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_TABLE = re.compile(r"\s*\[\[?\s*([A-Za-z_.]+)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*(?P<key>[A-Za-z_][\w.]*|\"[\w.]+\"|'[\w.]+')\s*=")

Table = tuple[str, int]
"""Name of a table, and its number among those of that name, from 0."""


@dataclass(frozen=True)
class LineNumbers:
    """Line numbers by table and key, from 1. Empty for a study that was made in Python.

    The methods return text to append to the name of a study, such as ``, line 7``. It is empty if
    the line is unknown.
    """

    text: tuple[str, ...] = ()
    """The lines of the file."""
    keys: Mapping[tuple[Table, str], tuple[int, int]] = field(default_factory=dict)
    """(table, key) → first line and last line of its value."""
    tables: Mapping[Table, int] = field(default_factory=dict)
    """Table → the line of its header."""

    @classmethod
    def from_toml(cls, text: str) -> LineNumbers:
        """The line numbers of a TOML text, which need not be valid."""
        lines = text.splitlines()
        tables: dict[Table, int] = {}
        keys: dict[tuple[Table, str], tuple[int, int]] = {}
        counts = Counter[str]()
        table: Table = ("", 0)
        key: tuple[Table, str] | None = None
        for number, line in enumerate(lines, 1):
            if header := _TABLE.match(line):
                name = header[1]
                table, key = (name, counts[name]), None
                counts[name] += 1
                tables[table] = number
            elif start := _KEY.match(line):
                key = (table, start["key"].strip("\"'"))
                keys[key] = (number, number)
            elif key:
                keys[key] = (keys[key][0], number)
        return cls(tuple(lines), keys, tables)

    def locate_key(self, table: str, key: str, number: int = 0) -> str:
        """``, line 7`` for a key of a table."""
        span = self.keys.get(((table, number), key))
        return f", line {span[0]}" if span else ""

    def locate_exclusion(self, number: int) -> str:
        """``, line 7`` for a block [[exclude]], or for the key of an array of exclusions."""
        array, _ = self.keys.get((("", 0), "exclude"), (0, 0))
        line = self.tables.get(("exclude", number)) or array
        return f", line {line}" if line else ""

    def locate_fields(self, fields: Sequence[str], grid: int, labels: Mapping[str, str]) -> str:
        """``, line 7 (model = mlp) and line 9 (data)`` for fields of a cell.

        Args:
            fields: fields of a cell, or options such as ``model.depth``.
            grid: the number of the cell's grid.
            labels: axis → the cell's label.
        """
        places = []
        for name in fields:
            line = self._find_line(name, grid, labels.get(name))
            shown = f"{name} = {labels[name]}" if name in labels else name
            if line:
                places.append(f"line {line} ({shown})")
            elif name in labels:
                places.append(shown)
        return f", {' and '.join(places)}" if places else ""

    def _find_line(self, name: str, grid: int, label: str | None) -> int:
        """The line of a field's value: in the grid's own table, the shared axes or the base."""
        for table in (("grid", grid), ("axes", 0), ("base", 0)):
            if span := self.keys.get((table, name)):
                return self._find_label(label, *span)
        return 0

    def _find_label(self, label: str | None, first: int, last: int) -> int:
        """The line of a label among those of its key; the first line if the label is not found."""
        if label is None:
            return first
        pattern = re.compile(rf"(?<![\w.]){re.escape(label)}(?![\w.])")
        for number in range(first, last + 1):
            line = self.text[number - 1]
            if pattern.search(line.partition("=")[2] if number == first else line):
                return number
        return first
