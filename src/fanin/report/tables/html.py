"""A table as HTML, for notebooks: without styles or scripts of its own, every name escaped."""

from __future__ import annotations

from html import escape

from fanin.report.escaping import escape_invisible
from fanin.report.tables.table import Table, TableEntry


def to_html(table: Table) -> str:
    """A title, the table in sections, and the notes. Best entries are bold."""
    parts = [f"<p><strong>{_escape(table.title)}</strong></p>"]
    parts += [f"<p>{_escape(sentence)}</p>" for sentence in table.answer]
    parts.append(_format_rows(table) if table.rows else f"<p>{_escape(table.empty)}</p>")
    if table.notes:
        parts.append(f"<ul>{''.join(f'<li>{_escape(note)}</li>' for note in table.notes)}</ul>")
    return "\n".join(parts)


def _format_rows(table: Table) -> str:
    columns = [column for column in table.columns if not column.heads_section]
    titles = "".join(f"<th>{_escape(column.title)}</th>" for column in columns)
    lines = [f"<table><thead><tr>{titles}</tr></thead>"]
    for heading, rows in table.by_section():
        lines.append("<tbody>")
        if heading:
            span = f'<th colspan="{len(columns)}" style="text-align: left">'
            lines.append(f"<tr>{span}{_escape(heading)}</th></tr>")
        lines += [f"<tr>{''.join(map(_format_entry, row))}</tr>" for row in rows]
        lines.append("</tbody>")
    return "\n".join([*lines, "</table>"])


def _format_entry(entry: TableEntry) -> str:
    text = _escape(entry.text)
    return f"<td><strong>{text} *</strong></td>" if entry.best else f"<td>{text}</td>"


def _escape(text: object) -> str:
    return escape(escape_invisible(text))
