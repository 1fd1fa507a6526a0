"""A table in a CSV file: numbers and a target column, without a test set.

Whatever is no number is named with its column and line; nothing is dropped or filled in silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from fanin.data.formats.unsplit import UnsplitArrays
from fanin.data.sources.data_folder import to_unreadable_error
from fanin.errors import DataInvalid, MissingExtra, UnknownName, UsageError, join_names, quote

if TYPE_CHECKING:
    import pandas as pd

CsvTask = Literal["classification", "regression"]

MOST_INTEGER_CLASSES = 20
"""Whole numbers of at most so many different values are classes, unless the user says otherwise."""

_MISSING = ("", "?", "na", "n/a", "nan", "none", "null", "-", "inf", "-inf", "infinity")
_SEPARATORS = (",", ";", "\t", "|")
_LISTED = 5


def read_csv(
    file: Path,
    target: str,
    *,
    classes: Sequence[str] = (),
    drop: Sequence[str] = (),
    task: CsvTask | None = None,
) -> UnsplitArrays:
    """The samples in a CSV file whose first line names the columns.

    Args:
        file: UTF-8 text; columns are separated by commas, semicolons, tabs or bars.
        target: the column to predict. Texts, and whole numbers of at most
            `MOST_INTEGER_CLASSES` different values, are classes; other numbers a regression.
        classes: the classes in the order of their numbers; sorted by default.
        drop: columns to leave out.
        task: what the target is, where that is not told right.

    Raises `UnknownName` for a column that is not there, and `DataInvalid` for a cell that is empty,
    text among the inputs, or a target with one value.
    """
    table = _read_texts(file)
    for column in (target, *drop):
        if column not in table.columns:
            raise UnknownName.suggest(f"column of {file.name}", column, list(table.columns))
    inputs = table.drop(columns=[target, *drop])
    if not len(inputs.columns):
        raise DataInvalid(f"{file} has no column besides {target}. Expected one input or more.")
    x = _read_inputs(inputs, file)
    _require_filled(table[target], file)
    y, names = _read_target(table[target], file, classes, task)
    return UnsplitArrays(x, y, names)


def _read_texts(file: Path) -> pd.DataFrame:
    """The cells as texts without spaces around them."""
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise MissingExtra("pandas", "study", "A CSV file") from None
    try:
        with file.open(encoding="utf-8-sig") as stream:
            first = stream.readline()
        separator = max(_SEPARATORS, key=first.count)
        table = pd.read_csv(
            file, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except OSError as error:
        raise to_unreadable_error(file, error) from None
    except (UnicodeDecodeError, ValueError) as error:  # pandas' own errors are ValueErrors
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataInvalid(
            f"{file} is not a CSV table ({reason}). Expected UTF-8 text whose first line names the "
            "columns, with as many cells in every line."
        ) from None
    if not isinstance(table.index, pd.RangeIndex):  # lines that are longer than the first
        raise DataInvalid(
            f"{file} has lines with more cells than the first, which names "
            f"{len(table.columns)} columns. Expected as many cells in every line."
        )
    if not len(table):
        raise DataInvalid(f"{file} has no line below the names of its columns.")
    table.columns = table.columns.str.strip()
    if all(_is_number(str(name)) for name in table.columns):
        raise DataInvalid(
            f"The first line of {file} holds numbers ({join_names(map(str, table.columns[:3]))}, "
            "…). Expected the names of the columns."
        )
    stripped: pd.DataFrame = table.apply(lambda column: column.str.strip())
    return stripped


def _read_inputs(inputs: pd.DataFrame, file: Path) -> np.ndarray:
    """The inputs as float64 (N, columns); names every column that is not all numbers."""
    words, gaps, columns = list[str](), list[str](), list[np.ndarray]()
    for name in inputs.columns:
        column = inputs[name].replace({"True": "1", "False": "0", "true": "1", "false": "0"})
        lines = _find_missing(column)
        if lines:
            gaps.append(f"{name} in {_name_lines(lines)}")
            continue
        wrong = [row for row, text in enumerate(column) if not _is_number(text)]
        if wrong:
            words.append(f"{name} ({quote(column.iloc[wrong[0]], 30)} in line {wrong[0] + 2})")
            continue
        columns.append(column.to_numpy(dtype=np.float64))
    if gaps:
        raise DataInvalid(
            f"{file} lacks numbers: {_join(gaps)}. Expected finite numbers: remove such lines or "
            "columns (--drop COLUMN), or fill them in."
        )
    if words:
        raise DataInvalid(
            f"{file} holds text where numbers are expected: {_join(words)}. Leave such columns out "
            "(--drop COLUMN), or write numbers in their place, such as one column of 0 and 1 for "
            "each value."
        )
    return np.stack(columns, axis=1)


def _read_target(
    column: pd.Series[str], file: Path, classes: Sequence[str], task: CsvTask | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers and names, or numbers and no names."""
    texts: list[str] = column.tolist()
    is_numeric = all(map(_is_number, texts))
    if task == "regression" and classes:
        raise UsageError("Classes belong to a classification. Leave out classes or the task.")
    if task == "regression" and not is_numeric:
        word = next(text for text in texts if not _is_number(text))
        raise DataInvalid(
            f"Column {column.name} of {file} holds text ({quote(word, 30)}). Expected numbers for "
            "a regression."
        )
    if is_numeric and not classes:
        texts = [f"{float(text):.15g}" for text in texts]  # 1.0 is the class 1
    values = sorted(set(texts), key=float) if is_numeric else sorted(set(texts))
    if len(values) == 1:
        raise DataInvalid(
            f"Column {column.name} of {file} has one value only, {quote(values[0], 30)}: nothing "
            "is left to learn. Expected two or more."
        )
    are_whole = is_numeric and all(float(text).is_integer() for text in values)
    may_be_classes = not is_numeric or (are_whole and len(values) <= MOST_INTEGER_CLASSES)
    if task == "regression" or not (classes or task or may_be_classes):
        return column.to_numpy(dtype=np.float64), ()
    names = list(classes) or values
    if unknown := [value for value in values if value not in names]:
        raise DataInvalid(
            f"Column {column.name} of {file} holds {_join(map(quote, unknown))}, which classes do "
            f"not list. Expected {_join(names)}."
        )
    if len(values) > len(texts) / 2:
        raise DataInvalid(
            f"Column {column.name} of {file} has {len(values)} different values in {len(texts)} "
            "lines. Expected several samples of each class; for a regression say so: --task "
            "regression."
        )
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[text] for text in texts]), tuple(names)


def _require_filled(column: pd.Series[str], file: Path) -> None:
    if lines := _find_missing(column):
        raise DataInvalid(
            f"Column {column.name} of {file}, which is to be predicted, has no value in "
            f"{_name_lines(lines)}. Remove such lines, or fill them in."
        )


def _find_missing(column: pd.Series[str]) -> list[int]:
    """The lines of the file in which a cell is empty or says that it is."""
    return [row + 2 for row, missing in enumerate(column.str.lower().isin(_MISSING)) if missing]


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _name_lines(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - 1:,} more" if len(lines) > 1 else ""
    return f"line {lines[0]}{more}"


def _join(items: Iterable[object]) -> str:
    listed = [str(item) for item in items]
    more = [f"and {len(listed) - _LISTED:,} more"] if len(listed) > _LISTED else []
    return join_names([*listed[:_LISTED], *more])
