"""Tables as LaTeX, for papers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fanin.report.latex_text import UNICODE_COMMAND, escape_latex, make_label
from fanin.report.numbers import NOTHING
from fanin.report.tables.table import Column, Table, TableEntry
from fanin.report.typography import set_minus_signs

PACKAGES = r"% needs \usepackage{booktabs,graphicx}"

_MOST_ROWS = 40
"""Rows of one float: about what a page holds. A longer table continues in the next."""

_BEST = r"\textbf{{{}}}{{*}}"
"""A best entry, with the star that the notes explain."""

_NOTE = r"\par\smallskip{{\raggedright\footnotesize {}\par}}"

FIT_WIDTH = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Makes a table narrower that is wider than the text; others keep their size."""

Rows = list[tuple[TableEntry, ...]]


def to_latex(tables: Sequence[Table], name: str) -> str:
    r"""LaTeX floats (booktabs, graphicx) that any engine compiles, as wide as the text at most.

    Each section has a heading row, best entries are bold with the star that the notes explain, and
    the answer and the notes stand below. A table of more than 40 rows becomes several floats.

    Args:
        tables: the tables. One without rows becomes a sentence.
        name: what labels begin with: ``\ref{tab:quick}``, ``\ref{tab:quick-2}`` and so on.
    """
    floats = [part for table in tables for part in (_split(table) if table.rows else [table])]
    texts = [_make_text(part, name, number) for number, part in enumerate(floats, 1)]
    head = [PACKAGES, *[UNICODE_COMMAND] * any(r"\unicodechar{" in text for text in texts)]
    return "\n".join([*head, *texts])


def _split(table: Table) -> Iterator[Table]:
    """The table in parts of at most `_MOST_ROWS` rows; answer and notes stay with the last."""
    count = -(-len(table.rows) // _MOST_ROWS)
    size = -(-len(table.rows) // count)
    for start in range(0, len(table.rows), size):
        is_last = start + size >= len(table.rows)
        yield Table(
            table.title if not start else f"{table.title} (continued)",
            table.columns,
            table.rows[start : start + size],
            notes=table.notes if is_last else (),
            answer=table.answer if is_last else (),
        )


def _make_text(table: Table, name: str, number: int) -> str:
    if not table.rows:
        return f"{escape_latex(table.title)}: {escape_latex(table.empty)}\n"
    shown = [column for column in table.columns if not column.heads_section]
    sections = table.by_section()
    used = [i for i in range(len(shown)) if i == 0 or _is_used(i, sections)]
    titles = " & ".join(escape_latex(shown[i].title) for i in used)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}}}",
        rf"\label{{{make_label(name)}{f'-{number}' * (number > 1)}}}",
        r"\par\smallskip",
        FIT_WIDTH,
        rf"\begin{{tabular}}{{{''.join('r' if shown[i].numeric else 'l' for i in used)}}}",
        r"\toprule",
        rf"{titles} \\",
        *(line for section in sections for line in _format_section(*section, shown, used)),
        r"\bottomrule",
        r"\end{tabular}}",
        *(_NOTE.format(escape_latex(note)) for note in (*table.answer, *table.notes)),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _is_used(column: int, sections: Sequence[tuple[str, Rows]]) -> bool:
    return any(row[column].text not in ("", NOTHING) for _, rows in sections for row in rows)


def _format_section(
    heading: str, rows: Rows, columns: Sequence[Column], used: Sequence[int]
) -> Iterator[str]:
    yield r"\midrule"
    if heading:
        yield rf"\multicolumn{{{len(used)}}}{{l}}{{\emph{{{escape_latex(heading)}}}}} \\"
    for row in rows:
        entries = [_format_entry(row[i], numeric=columns[i].numeric) for i in used]
        yield " & ".join(entries) + r" \\"


def _format_entry(entry: TableEntry, *, numeric: bool) -> str:
    """The entry; in a column of numbers with a minus sign, which a hyphen is not."""
    text = escape_latex(set_minus_signs(entry.text) if numeric else entry.text)
    return _BEST.format(text) if entry.best else text
