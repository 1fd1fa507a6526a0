"""The formats that tables and results are exported in, by the names that people give them."""

from __future__ import annotations

from collections.abc import Iterable

from fanin.errors import UnknownName, quote

FORMATS = ("csv", "csv-cells", "differences", "jsonl", "latex", "markdown")

TRACKERS = ("tensorboard", "mlflow")
"""What is not written as one text (`fanin.report.trackers`)."""

_OTHER_NAMES = {
    **dict.fromkeys(("tb", "tfevents", "events"), "tensorboard"),
    **dict.fromkeys(("xlsx", "xls", "excel", "ods", "spreadsheet"), "csv, which spreadsheets open"),
    **dict.fromkeys(("tsv", "table", "dataframe", "pandas"), "csv"),
    **dict.fromkeys(("parquet", "feather", "cells"), "csv-cells, a row per cell"),
    **dict.fromkeys(("tests", "comparisons", "verdict", "p"), "differences, a row per difference"),
    **dict.fromkeys(("tex",), "latex"),
    **dict.fromkeys(("md", "rst", "text", "txt"), "markdown"),
    **dict.fromkeys(("json", "ndjson", "jsonlines"), "jsonl, complete results"),
    **dict.fromkeys(("html", "page"), "the page, which fanin report writes"),
    **dict.fromkeys(("pdf", "png", "svg", "figure"), "figures, which fanin report writes"),
}
"""What people ask for, and what they mean."""


def check_format(name: object, formats: Iterable[str] = FORMATS) -> str:
    """`name` if it is a format; raises `UnknownName`, which leads to what was meant."""
    known = tuple(formats)
    if isinstance(name, str) and name in known:
        return name
    meant = _OTHER_NAMES.get(str(name).lower().lstrip("."))
    if meant is None:
        raise UnknownName.suggest("table format", name, known)
    raise UnknownName(
        f"No table format is called {quote(name)}. Did you mean {meant}? Formats: "
        f"{', '.join(known)}."
    )
