"""Every error that fanin raises on purpose.

    FaninError                          exit code ├── UsageError                      2   a name,
    spec, option, study or model that cannot be used as given │   ├── UnknownName                 2
    no such entry; near names are offered │   ├── SpecError                   2   a spec string or
    hyperparameter that is malformed or out of range │   ├── StudyError                  2   a study
    file or grid that cannot be planned │   ├── TargetError                 2   a part of the user's
    own (my_file.py:make) that cannot be loaded or used │   ├── FitError                    2   a
    model that does not fit the data, an initializer that does not fit a tensor │   ├── MissingExtra
    2   an optional dependency is not installed │   └── OutputError                 2   a folder or
    file that cannot be written ├── StoreError                      3 │   ├── StoreLocked
    3   another runner holds the store │   ├── StoreCorrupt                3   the store, or a file
    merged into it, cannot be read │   └── StoreFull                   3   the disk is full; what
    was committed is safe └── DataError                       4
        ├── DataUnavailable             4   a data set's files are not there
        └── DataInvalid                 4   a data set's files are not what they should be

Texts say what was expected, what was received and what to do. The command line prints the text and
exits with the class's code; a user's mistake never shows a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self


class FaninError(Exception):
    """Root of the tree; catch it to catch everything that fanin raises on purpose."""

    exit_code = 1

    about: tuple[str, ...] = ()
    """The fields of a cell that the mistake is in, where it is about a cell: a study adds the line
    of its file to the text.
    """

    def mark_fields(self, *fields: str) -> Self:
        """The same error, known to be about these fields unless it is known to be about others
        already.
        """
        self.about = self.about or fields
        return self

    def add_context(self, where: str) -> Self:
        """The same error, its text preceded by where the mistake is."""
        self.args = (f"{where}: {self}",)
        return self


class UsageError(FaninError):
    """Something was asked for that cannot be done as given."""

    exit_code = 2


class UnknownName(UsageError):
    """No entry of that name."""

    @classmethod
    def suggest(cls, kind: str, name: object, known: Iterable[str]) -> Self:
        """The error, with the names nearest to `name`, or with the first 30 names if none is near."""
        names = sorted(known)
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        listed = [*names[:30], *([f"… ({len(names)} in all)"] if len(names) > 30 else [])]
        offer = (
            f"Did you mean {' or '.join(near)}?"
            if near
            else f"Known: {', '.join(listed) or 'none'}."
        )
        return cls(f"No {kind} is called {quote(name)}. {offer}")


class SpecError(UsageError):
    """A spec string such as ``he_normal(mode=fan_out)`` is malformed, or a hyperparameter is out of
    range.
    """


class StudyError(UsageError):
    """A study cannot be planned."""


class UserCodeError(UsageError):
    """A target such as ``my_file.py:make`` cannot be loaded, or what it names is not called as
    fanin calls it.
    """


class FitError(UsageError):
    """A model does not fit the data, or an initializer does not fit a tensor."""


class MissingExtra(UsageError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f'{purpose} needs {package}, which is not installed. Run: pip install "fanin[{extra}]"'
        )


class OutputError(UsageError):
    """A folder or file cannot be written."""


class StoreError(FaninError):
    """The results store cannot be used."""

    exit_code = 3


class StoreLocked(StoreError):
    """Another runner holds the store."""


class StoreCorrupt(StoreError):
    """The store, or a file merged into it, cannot be read."""


class StoreFull(StoreError):
    """The disk is full."""


class DataError(FaninError):
    """A data set cannot be used."""

    exit_code = 4


class DataUnavailable(DataError):
    """A data set's files are not there."""


class DataInvalid(DataError):
    """A data set's files are not what they should be."""


def quote(value: object, limit: int = 80) -> str:
    """`repr` of a user's value, cut to a length that fits a message; control characters come out
    escaped.
    """
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
