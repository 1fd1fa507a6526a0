"""Every cell of a study as columns, from which the page's script builds rows when asked to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fanin.analysis.factors import format_title, format_value
from fanin.analysis.summary import list_metrics
from fanin.report.escaping import escape_invisible
from fanin.report.sections.page_figure import round_number

MAX_NUMBERS = 1_200_000
"""Values of all columns. If there are more, the first cells are listed."""

_MESSAGE = 2000
"""Characters of a message."""

_MAX_TEXTS = 1_000_000
"""Characters of all messages together."""


def list_cell_columns(frame: pd.DataFrame, factors: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The first cells of a frame, as many as fit: factors, replicate, outcome, metrics, id.

    Args:
        frame: one row per planned cell.
        factors: (name, title) of the factors to list.
    """
    named = list(factors)
    metrics = [name for name in list_metrics(frame) if name.startswith("test_")]
    width = len(named) + len(metrics) + 4
    shown = frame.head(max(MAX_NUMBERS // width, 1))
    columns = [
        *(_make_words(name, title, shown[name].tolist()) for name, title in named),
        _make_numbers("replicate", "replicate", shown["replicate"]),
        _make_words("outcome", "outcome", shown["outcome"].tolist()),
        *(_make_numbers(name, format_title(name), shown[name]) for name in metrics),
        _make_numbers("seconds", "seconds", shown["seconds"].round(2)),
        {"key": "cell", "title": "cell", "values": shown["cell"].tolist()},
    ]
    messages, texts = _collect_messages(shown["message"].tolist())
    return {"count": len(shown), "columns": columns, "messages": messages, "texts": texts}


def _make_words(key: str, title: str, values: Sequence[Any]) -> dict[str, Any]:
    """A column of few different words, each written once."""
    numbers: dict[tuple[type, Any], int] = {}
    places = [numbers.setdefault((type(value), value), len(numbers)) for value in values]
    words = [escape_invisible(format_value(value)) for _, value in numbers]
    return {"key": key, "title": escape_invisible(title), "values": places, "words": words}


def _make_numbers(key: str, title: str, values: pd.Series[Any]) -> dict[str, Any]:
    column = [round_number(value) for value in np.asarray(values, np.float64).tolist()]
    return {"key": key, "title": escape_invisible(title), "values": column, "number": True}


def _collect_messages(messages: Iterable[str]) -> tuple[dict[int, int], list[str]]:
    """Row → place of its message, and the messages, each once."""
    texts: dict[str, int] = {}
    found: dict[int, int] = {}
    length = 0
    for row, message in _iterate_messages(messages):
        if message not in texts:
            length += len(message)
            if length > _MAX_TEXTS:
                break
            texts[message] = len(texts)
        found[row] = texts[message]
    return found, list(texts)


def _iterate_messages(messages: Iterable[str]) -> Iterator[tuple[int, str]]:
    for row, message in enumerate(messages):
        if message:
            shown = "\n".join(escape_invisible(line) for line in str(message).splitlines())
            yield row, shown if len(shown) <= _MESSAGE else shown[: _MESSAGE - 1] + "…"
