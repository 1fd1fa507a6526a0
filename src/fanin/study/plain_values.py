"""Studies from plain Python values: dicts, lists, texts and numbers, as a study file has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pydantic

from fanin.errors import StudyError, quote
from fanin.initializers import Initializer
from fanin.study.axes import AxisValue
from fanin.study.learning_rate_tuning import LearningRateTuning
from fanin.study.study_file import StudyDocument, StudyTables, list_mistakes

MAX_NAME = 100


def make_document(name: object, tables: Mapping[str, object]) -> StudyDocument:
    """The document of a study that was written in Python.

    Args:
        name: the study's name, which names its results folder too.
        tables: the keys of a study file and their values. Tuples, ranges and NumPy arrays stand for
            lists, an initializer for its spec.

    Raises `StudyError`, which lists all mistakes, and `UnknownName`.
    """
    checked = check_study_name(name)
    plain = {key: _to_plain(key, value) for key, value in tables.items() if value is not None}
    try:
        return StudyDocument(checked, StudyTables.model_validate(plain))
    except pydantic.ValidationError as error:
        raise StudyError(list_mistakes(checked, error)) from None


def check_study_name(name: object) -> str:
    """`name` if it can name a study and its folder; raises `StudyError` otherwise."""
    if not isinstance(name, str):
        raise StudyError(f"The name of a study is text, not {quote(name)}.")
    fits = 0 < len(name) <= MAX_NAME and name.isprintable() and name.strip(". ")
    if not fits or set(name) & set("/\\"):
        raise StudyError(
            f"{quote(name)} cannot name a study. A name has 1 to {MAX_NAME} printable characters "
            "and no slash, since a folder is named after it."
        )
    return name


def _to_plain(what: str, value: Any) -> Any:
    """A value as a TOML file would give it."""
    if isinstance(value, (AxisValue, str, bool, int, float)) or value is None:
        return value
    if isinstance(value, Initializer):
        return value.spec
    if isinstance(value, LearningRateTuning):
        table = asdict(value)
        return _to_plain(what, {"learning_rate": table.pop("rates"), **table})
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise StudyError(f"The keys of {what} are text, such as 'model'; not {quote(key)}.")
        return {key: _to_plain(f"{what}.{key}", item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_to_plain(what, item) for item in value]
    if isinstance(value, (set, frozenset)):
        raise StudyError(f"{what} is a set, which has no order: {quote(value)}. Give a list.")
    return value
