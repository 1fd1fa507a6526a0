"""The HTML page of some stores: side by side, then one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from fanin.analysis.store_comparison import StoreComparison
from fanin.report.escaping import escape_invisible
from fanin.report.page import format_command, make_environment, render_parts
from fanin.report.results import Results
from fanin.report.sections.result_rows import arrange_rows
from fanin.report.sections.store_figure import make_store_figure
from fanin.report.sections.study_part import FigureCounter, make_study_part
from fanin.report.tables.table import Table


def render_stores(comparison: StoreComparison, table: Table, members: Sequence[Results]) -> str:
    """The page's HTML.

    Args:
        comparison: of the stores.
        table: the stores side by side (`fanin.report.tables.store_table`).
        members: the results of each.
    """
    counter, environment = FigureCounter(), make_environment()
    side = {
        "answer": [escape_invisible(sentence) for sentence in table.answer],
        "table": table,
        "rows": arrange_rows(table),
        "figures": counter.add(make_store_figure(comparison)),
    }
    parts = [
        make_study_part(
            member.analysis,
            member.table(),
            counter,
            environment,
            command=member.command or format_command(member.plan, member.out),
            prefix=f"store-{number}-",
            store=name,
        )
        for number, (name, member) in enumerate(zip(comparison.names, members, strict=True), 1)
    ]
    title = escape_invisible(" and ".join(comparison.names))
    return render_parts(parts, counter, environment, title=title, side=side)
