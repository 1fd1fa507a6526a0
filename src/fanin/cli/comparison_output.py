"""What results say about compared values, as commands print it: sentences and differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.cli.command_output import CommandOutput, print_lines
from fanin.garbage_collection import pause_garbage_collection

if TYPE_CHECKING:
    from fanin.report.results import Results


def add_comparison(state: CommandOutput, folder: Path, reference: str | None) -> CommandOutput:
    """The state of a results folder, followed by all that its results say so far."""
    results, show_state = _load(folder, reference), state.show

    def show() -> None:
        show_state()
        show_conclusion(results)
        show_differences(results, most=None)

    record = {**state.record, "verdict": results.verdict().to_json()}
    return replace(state, record=record, show=show)


def show_conclusion(results: Results) -> None:
    """Print a sentence for each section, and the one over all."""
    from fanin.report.tables.text_table import wrap_paragraph
    from fanin.screen import count_columns

    for line in str(results.verdict()).splitlines():
        print_lines(["", *wrap_paragraph(line, count_columns())])


def show_differences(results: Results, most: int | None, hint: Callable[[int], str] = str) -> None:
    """Print the table of differences.

    Args:
        results: the results.
        most: how many rows are printed at most; with more, what `hint` says of their number is.
        hint: a line of text in place of so many rows.
    """
    from fanin.report.tables.terminal import print_table

    if results.analysis.seed_variances and (variance := results.variance_table()).rows:
        print_lines("")
        print_table(variance)
    table = results.difference_table()
    if not table.rows:
        return
    print_lines("")
    if most is not None and len(table.rows) > most:
        print_lines(hint(len(table.rows)))
    else:
        print_table(table)


@pause_garbage_collection()
def _load(folder: Path, reference: str | None) -> Results:
    from fanin.report.stored_results import load_results

    return load_results(folder, histories=False).compare_with(reference)
