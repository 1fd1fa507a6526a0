"""The HTML page of a study: the answer, tables, figures, provenance, and every cell.

One file that asks for nothing from outside. Its policy allows the one script and the one style
sheet that it holds, by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fanin.errors import MissingExtra

try:
    import jinja2
    from markupsafe import Markup
except ModuleNotFoundError:
    raise MissingExtra("jinja2", "study", "The report") from None

from fanin import atomic
from fanin._version import __version__
from fanin.analysis.analysis import Analysis
from fanin.cell.plan import Plan
from fanin.report.escaping import escape_invisible, escape_lines
from fanin.report.figures.palette import DARK_COLOURS, LINE_COLOURS
from fanin.report.sections.page_figure import encode_json
from fanin.report.sections.study_part import FigureCounter, StudyPart, make_study_part
from fanin.report.tables.table import Table
from fanin.report.typography import set_minus_signs, tie_units


def write_page(analysis: Analysis, table: Table, path: str | Path, *, command: str) -> Path:
    """Write the page, whole or not at all.

    Names and messages are text for the template, which escapes them, and for the script, which
    makes text nodes of them.

    Args:
        analysis: what to show.
        table: the study's table (`fanin.report.tables.make_study_table`).
        path: of the HTML file.
        command: the command line that continues the study.
    """
    return atomic.write(path, render_page(analysis, table, command=command), create_parent=True)


def render_page(analysis: Analysis, table: Table, *, command: str) -> str:
    """The page's HTML; arguments as for `write_page`."""
    counter, environment = FigureCounter(), make_environment()
    part = make_study_part(analysis, table, counter, environment, command=command)
    return render_parts([part], counter, environment, title=part.name)


def render_parts(
    parts: list[StudyPart],
    counter: FigureCounter,
    environment: jinja2.Environment,
    *,
    title: str,
    side: Mapping[str, Any] | None = None,
) -> str:
    """The page of some studies, one after the other.

    Args:
        parts: the studies.
        counter: the page's figures.
        environment: that rendered the studies' chapters.
        title: of the page.
        side: what the page says of several stores side by side.
    """
    data = {
        "figures": {one.id: one.figure.to_json() for one in counter.found},
        "cells": {f"{part.prefix}cells": part.cells for part in parts},
    }
    return fill_layout(environment, "page.html.j2", data, title=title, parts=parts, side=side)


def fill_layout(
    environment: jinja2.Environment, template: str, data: Mapping[str, Any], **context: Any
) -> str:
    """A page: its template within the layout, with style, script, data and policy.

    Args:
        environment: that of `make_environment`.
        template: a file of `templates` that extends ``layout.html.j2``.
        data: ``figures`` and ``cells`` by the ids of their elements, for the script.
        context: what the template shows; ``title`` among it.
    """
    style = environment.get_template("page.css").render(
        colours=list(zip(LINE_COLOURS, DARK_COLOURS, strict=True))
    )
    return environment.get_template(template).render(
        data=Markup(encode_json(data)),
        style=Markup(style),
        script=Markup(read_script()),
        policy=_write_policy(style, read_script()),
        version=__version__,
        **context,
    )


def format_command(plan: Plan, out: Path | None) -> str:
    """The command line that trains what is missing: the plan's own, if it has one."""
    if plan.command:
        return plan.command
    place = ["--out", os.fspath(out)] if out is not None else []
    return shlex.join(["fanin", "run", plan.study, *place])


@cache
def read_script() -> str:
    """The page's script: the parts in `templates/script`, in the order of their names."""
    parts = files("fanin.report").joinpath("templates", "script").iterdir()
    texts = [
        part.read_text(encoding="utf-8")
        for part in sorted(parts, key=lambda part: part.name)
        if part.name.endswith(".js")
    ]
    return '(function () {\n"use strict";\n' + "\n".join(texts) + "})();\n"


def _write_policy(style: str, script: str) -> str:
    """The content security policy: nothing but this style and this script."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def make_environment() -> jinja2.Environment:
    """What renders templates: everything is escaped, and a name that is not there is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fanin.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = escape_invisible
    environment.filters["visible_lines"] = escape_lines
    environment.filters["tied"] = tie_units
    environment.filters["signed"] = set_minus_signs
    return environment
