"""The HTML page of a study: question, table, notes, figures, curves, and every cell.

One file, without scripts or network access.
"""

from __future__ import annotations

import base64
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fanin.errors import MissingExtra

try:
    import jinja2
except ModuleNotFoundError:
    raise MissingExtra("jinja2", "study", "The report") from None

from fanin import atomic
from fanin._version import __version__
from fanin.analysis.analysis import Analysis
from fanin.analysis.cell_table import OUTCOMES
from fanin.analysis.own_data import has_published_bytes
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.report.cell_list import list_cells
from fanin.report.escaping import escape_invisible
from fanin.report.figures.study_figures import draw_study_figures
from fanin.report.figures.training_curves import render_curve_grid
from fanin.report.tables.table import Table


def write_page(analysis: Analysis, table: Table, path: str | Path, *, command: str) -> Path:
    """Write the page, whole or not at all.

    The template escapes every name and message, and the page's policy allows neither scripts nor
    anything from outside.

    Args:
        analysis: what to show.
        table: the study's table (`fanin.report.tables.make_study_table`).
        path: of the HTML file.
        command: the command line that continues the study.
    """
    return atomic.write(path, render_page(analysis, table, command=command), create_parent=True)


def render_page(analysis: Analysis, table: Table, *, command: str) -> str:
    """The page's HTML; arguments as for `write_page`."""
    plan, frame, design = analysis.plan, analysis.frame, analysis.design
    factors = [*design.headings, design.compared, *(["learning_rate"] if design.tuned else [])]
    counts = Counter(frame["outcome"])
    return _load_template().render(
        study=escape_invisible(plan.study),
        question=escape_invisible(plan.question),
        protocol=escape_invisible(plan.protocol),
        table=table,
        sections=table.by_section(),
        columns=[column for column in table.columns if not column.heads_section],
        counts=[(name, counts[name]) for name in OUTCOMES if counts[name]],
        planned=len(frame),
        figures=[
            (figure.title, _to_data_uri(figure.image))
            for figure in draw_study_figures(analysis, kind="png")
        ],
        curves=_to_data_uri(render_curve_grid(analysis, "png")) if table.rows else "",
        factors=[(name, design.format_title(name)) for name in factors],
        cells=list_cells(frame, factors),
        environments=_count_environments(analysis.planned_results),
        data=_list_data_sets(analysis.planned_results),
        command=escape_invisible(command),
        unfinished=len(frame) - counts["ok"] - counts["diverged"],
        version=__version__,
    )


def format_command(plan: Plan, out: Path | None) -> str:
    """The command line that trains what is missing: the plan's own, if it has one."""
    if plan.command:
        return plan.command
    place = ["--out", os.fspath(out)] if out is not None else []
    return shlex.join(["fanin", "run", plan.study, *place])


def _load_template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fanin.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = escape_invisible
    return environment.get_template("page.html.j2")


def _to_data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _count_environments(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Each environment of the results with its number of cells, the most frequent first."""
    by_object = Counter(id(result.environment) for result in found)  # results share them
    environments = {id(result.environment): result.environment for result in found}
    counted: Counter[tuple[tuple[str, str], ...]] = Counter()
    for key, environment in environments.items():
        facts = tuple(sorted((str(k), str(v)) for k, v in environment.items()))
        counted[facts] += by_object[key]
    return [
        {
            "cells": count,
            "facts": [(escape_invisible(name), escape_invisible(value)) for name, value in facts],
        }
        for facts, count in counted.most_common()
    ]


def _list_data_sets(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Each data set that the results were trained on."""
    seen = {(r.cell.data, r.fingerprint or "?", r.data.get("canonical")): r.data for r in found}
    return [
        {
            "name": name,
            "fingerprint": fingerprint,
            "canonical": _describe_bytes(name, canonical),
            "classes": _format_classes(seen[name, fingerprint, canonical]),
        }
        for name, fingerprint, canonical in sorted(seen, key=str)
    ]


def _format_classes(facts: Mapping[str, Any]) -> str:
    """The number of classes, their samples, and the accuracy that needs no learning."""
    keys = ("classes", "smallest_class", "largest_class", "baseline")
    numbers = [facts[key] for key in keys if isinstance(facts.get(key), int | float)]
    if len(numbers) < len(keys):
        return "—"
    return "{:,} of {:,} to {:,} training samples; baseline accuracy {:.3g}".format(*numbers)


def _describe_bytes(data: str, canonical: object) -> str:
    """Whether the bytes of a data set were the published ones, if it has any."""
    if canonical is None:
        return "unknown"
    return "yes" if canonical else "no" if has_published_bytes(data) else "own data"
