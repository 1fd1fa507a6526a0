"""Registering a user copy of a data set: an NPZ file, or a CSV file that becomes one."""

from __future__ import annotations

import filecmp
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fanin import atomic
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.formats.csv_table import CsvTask, read_csv
from fanin.data.formats.unsplit import TEST_SHARE, UnsplitArrays, divide, read_unsplit, write_npz
from fanin.data.sources import data_folder
from fanin.errors import DataError, DataInvalid, DataUnavailable, OutputError, UsageError
from fanin.registry import NoOptions

TABLES = (".csv", ".tsv", ".txt")
"""Endings of files that are read as CSV."""


@dataclass(frozen=True)
class _Division:
    """How a file without test samples is read and divided; None for what was not said."""

    target: str | None
    drop: tuple[str, ...]
    task: CsvTask | None
    classes: tuple[str, ...]
    test: float | None
    seed: int | None
    standardise: bool

    def list_given(self, *, of_columns: bool = False) -> list[str]:
        """The options that were given; those alone that name columns on request."""
        columns = {"target": self.target, "drop": self.drop, "task": self.task}
        others = {"classes": self.classes, "test": self.test, "standardise": self.standardise}
        named = columns if of_columns else columns | others
        seed = [] if self.seed is None or of_columns else ["seed"]
        return [name for name, value in named.items() if value] + seed


def add(
    name: str,
    file: Path,
    *,
    replace: bool = False,
    target: str | None = None,
    drop: Sequence[str] = (),
    task: CsvTask | None = None,
    classes: Sequence[str] = (),
    test: float | None = None,
    seed: int | None = None,
    standardise: bool = False,
) -> Path:
    """Check a file and put it where `load` finds it under `name`; returns the new path.

    An NPZ file with x_train, y_train, x_test and y_test is copied as it is. One with x and y, or a
    CSV file, is divided into training and test samples first, stratified by class. The copy appears
    whole or not at all.

    Args:
        name: the name of the copy, a new one or that of a registered data set without options.
        file: the file.
        replace: overwrite another copy of that name.
        target: the column of a CSV file that is predicted.
        drop: columns of a CSV file to leave out.
        task: what the target of a CSV file is, where that is not told right.
        classes: the classes in the order of their numbers; sorted by default.
        test: the share of test samples; 0.2 by default.
        seed: draws the test samples; 0 by default.
        standardise: subtract the mean of each input column and divide by its standard deviation,
            both of the training samples.

    Raises `UsageError` for an impossible name or option, `DataUnavailable` if `file` does not
    exist, `DataInvalid` if it does not hold a data set, `OutputError` if the copy cannot be
    written, or if there is another one and `replace` is not set.
    """
    source = Path(file)
    data_folder.require_name(name)
    division = _Division(target, tuple(drop), task, tuple(classes), test, seed, standardise)
    if not data_folder.is_file(source):
        raise DataUnavailable(
            f"{source} is not a file. Expected an NPZ file with x_train, y_train, x_test, y_test, "
            "or with x and y; or a CSV file."
        )
    goal = data_folder.resolve_folder(name) / f"{name}.npz"
    with _provide_npz(source, division) as npz:
        _check(name, npz, source)
        return _copy(npz, goal, replace)


def _check(name: str, npz: Path, source: Path) -> None:
    """Load the copy; errors name the file that the user gave."""
    try:
        REGISTRY.make_copy_entry(name, npz).make(NoOptions()).load()
    except DataError as error:
        error.args = (str(error).replace(str(npz), str(source)),)
        raise


def _copy(npz: Path, target: Path, replace: bool) -> Path:
    try:
        if target.exists() and filecmp.cmp(npz, target, shallow=False):
            return target
        if target.exists() and not replace:
            raise OutputError(
                f"{target} exists and differs. To overwrite it, use --replace (replace=True)."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        # A private mode would hide the data from other users of a shared folder.
        atomic.copy(npz, target, mode=0o644)
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror or error}. Check {data_folder.VARIABLE}."
        ) from None
    return target


@contextmanager
def _provide_npz(source: Path, division: _Division) -> Iterator[Path]:
    """The file itself if it is divided already, or a temporary one with its samples divided."""
    unsplit = _read_unsplit(source, division)
    if unsplit is None:
        yield source
        return
    arrays = divide(
        unsplit,
        str(source),
        test=TEST_SHARE if division.test is None else division.test,
        seed=0 if division.seed is None else division.seed,
        standardise=division.standardise,
    )
    with tempfile.TemporaryDirectory(prefix="fanin-") as folder:
        file = Path(folder) / f"{source.stem}.npz"
        file.write_bytes(write_npz(arrays))
        yield file


def _read_unsplit(source: Path, division: _Division) -> UnsplitArrays | None:
    """The samples of a file without test samples; None for an NPZ file that is divided."""
    if source.suffix.lower() in TABLES:
        if division.target is None:
            raise UsageError(
                f"{source} is read as CSV. Name the column that is predicted: --target COLUMN."
            )
        return read_csv(
            source,
            division.target,
            classes=division.classes,
            drop=division.drop,
            task=division.task,
        )
    if given := division.list_given(of_columns=True):
        raise UsageError(
            f"{' and '.join(given)} belong{'s' * (len(given) == 1)} to a CSV file; {source} is "
            "none. Leave out what does not apply."
        )
    unsplit = read_unsplit(source)
    if unsplit is None:
        if given := division.list_given():
            raise UsageError(
                f"{' and '.join(given)} divide{'s' * (len(given) == 1)} samples, but {source} has "
                "no arrays x and y to divide. Leave out what does not apply."
            )
        return None
    if division.classes:
        unsplit = _name_classes(unsplit, division.classes)
    return unsplit


def _name_classes(unsplit: UnsplitArrays, classes: tuple[str, ...]) -> UnsplitArrays:
    """The samples with these names of classes instead of the file's.

    Raises `DataInvalid` if there are fewer names than labels.
    """
    if unsplit.y.dtype.kind not in "iu" or int(unsplit.y.max()) >= len(classes):
        raise DataInvalid(
            f"There are {len(classes)} names of classes, and the targets are {unsplit.y.dtype} up "
            f"to {unsplit.y.max()}. Expected a name for each number from 0."
        )
    marks = tuple(mark for mark in unsplit.marks if mark[0] != "classes")
    return replace(unsplit, classes=classes, marks=marks)
