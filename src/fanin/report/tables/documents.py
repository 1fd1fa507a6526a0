"""Tables as Markdown; summaries and frames as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fanin.report.escaping import escape_csv, escape_markdown
from fanin.report.tables.table import Table, TableEntry

if TYPE_CHECKING:
    import pandas as pd

    from fanin.analysis.summary import Summary

_PUBLISHED = (
    "model",
    "data",
    "initializer",
    "val_accuracy",
    "test_accuracy",
    "test_mae",
    "test_loss",
    "epochs",
)
_RENAMED = {"data": "dataset"}
_BOLD = r"**{}** \*"
"""A best entry, with the star that the notes explain."""

_WHOLE = ("epochs", "best_epoch")


def to_markdown(table: Table) -> str:
    """A Markdown table with its title above and its notes below.

    Best entries are bold and have the star that the notes explain.
    """
    parts = [f"**{escape_markdown(table.title.strip())}**"]
    parts += [escape_markdown(sentence) for sentence in table.answer]
    if table.rows:
        titles = _format_markdown_row([escape_markdown(column.title) for column in table.columns])
        rule = _format_markdown_row(
            ["---:" if column.numeric else "---" for column in table.columns]
        )
        rows = [_format_markdown_row([_mark_best(entry) for entry in row]) for row in table.rows]
        parts.append("\n".join([titles, rule, *rows]))
    else:
        parts.append(escape_markdown(table.empty))
    if table.notes:
        parts.append("\n".join(f"- {escape_markdown(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def summary_to_csv(summary: Summary) -> str:
    """One row per condition at full precision, the published case study's columns first."""
    names = [*_PUBLISHED, *(name for name in summary.columns if name not in _PUBLISHED)]
    return _to_csv(names, ([row.get(name) for name in names] for row in summary.rows))


def frame_to_csv(frame: pd.DataFrame) -> str:
    """One row per planned cell at full precision; published columns and outcome first."""
    first = [*_PUBLISHED[:3], "replicate", "outcome", *_PUBLISHED[3:]]
    names = [*first, *(str(name) for name in frame.columns if name not in first)]
    return _to_csv(names, frame.reindex(columns=names).itertuples(index=False, name=None))


def differences_to_csv(frame: pd.DataFrame) -> str:
    """One row per section and compared value at full precision (`Results.differences`)."""
    names = [str(name) for name in frame.columns]
    return _to_csv(names, frame.itertuples(index=False, name=None))


def _to_csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([escape_csv(_RENAMED.get(name, name)) for name in names])
    for row in rows:
        writer.writerow(
            [
                escape_csv(_to_whole_number(name, value))
                for name, value in zip(names, row, strict=True)
            ]
        )
    return text.getvalue()


def _to_whole_number(name: str, value: Any) -> Any:
    return (
        int(value) if name in _WHOLE and isinstance(value, float) and value.is_integer() else value
    )


def _mark_best(entry: TableEntry) -> str:
    text = escape_markdown(entry.text)
    return _BOLD.format(text) if entry.best else text


def _format_markdown_row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"
