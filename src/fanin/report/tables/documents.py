"""Tables as Markdown and LaTeX; summaries and frames as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fanin.report.escaping import escape_csv, escape_markdown
from fanin.report.latex_text import UNICODE_COMMAND, escape_latex, make_label
from fanin.report.tables.table import Table, TableEntry
from fanin.report.typography import set_minus_signs

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
_BOLD, _TEXTBF = r"**{}** \*", r"\textbf{{{}}}{{*}}"
"""A best entry in Markdown and in LaTeX, with the star that the notes explain."""

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
        rows = [
            _format_markdown_row([_mark_best(entry, escape_markdown, _BOLD) for entry in row])
            for row in table.rows
        ]
        parts.append("\n".join([titles, rule, *rows]))
    else:
        parts.append(escape_markdown(table.empty))
    if table.notes:
        parts.append("\n".join(f"- {escape_markdown(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def to_latex(table: Table) -> str:
    """A LaTeX table (``\\usepackage{booktabs}``) with rules between sections and notes below.

    Best entries are bold and have the star that the notes explain. Every engine compiles it: see
    `fanin.report.latex_text`.
    """
    if not table.rows:
        return _put_head(f"{escape_latex(table.title)}: {escape_latex(table.empty)}\n")
    alignment = "".join("r" if column.numeric else "l" for column in table.columns)
    heads = [i for i, column in enumerate(table.columns) if column.heads_section]
    lines = [" & ".join(escape_latex(column.title) for column in table.columns) + r" \\"]
    before: list[str] | None = None
    for row in table.rows:
        section = [row[i].text for i in heads]
        lines += [r"\midrule"] if section != before else []
        shown = (
            _mark_best(entry, _escape_number if column.numeric else escape_latex, _TEXTBF)
            for entry, column in zip(row, table.columns, strict=True)
        )
        lines.append(" & ".join(shown) + r" \\")
        before = section
    notes = [rf"\par\footnotesize {escape_latex(note)}" for note in (*table.answer, *table.notes)]
    body = "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(table.title)}}}",
            rf"\label{{{make_label(table.title.partition(':')[0])}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            *notes,
            r"\end{table}",
            "",
        ]
    )
    return _put_head(body)


def _escape_number(text: object) -> str:
    return escape_latex(set_minus_signs(str(text)))


def _put_head(body: str) -> str:
    """The LaTeX text, behind what it needs."""
    head = ["% needs \\usepackage{booktabs}"]
    head += [UNICODE_COMMAND] * (r"\unicodechar{" in body)
    return "\n".join([*head, body])


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


def _mark_best(entry: TableEntry, escape: Any, bold: str) -> str:
    return bold.format(escape(entry.text)) if entry.best else escape(entry.text)


def _format_markdown_row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"
