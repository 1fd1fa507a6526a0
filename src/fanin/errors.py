"""Every error that fanin raises on purpose.

    FaninError                 exit code
    ├── UsageError             2   something was asked for that cannot be done as given
    │   ├── UnknownName        2   no entry has that name; near names are offered
    │   ├── SpecError          2   a spec is malformed, or an option is out of range
    │   ├── StudyError         2   a study file or grid that cannot be planned
    │   ├── UserCodeError      2   a user component that cannot be loaded or called
    │   ├── FitError           2   a model does not fit its data, or an initializer its tensor
    │   ├── MissingExtra       2   an optional dependency is not installed
    │   └── OutputError        2   a file or folder that cannot be written
    ├── StoreError             3
    │   ├── StoreLocked        3   another runner holds the store
    │   ├── StoreCorrupt       3   the store, or a file merged into it, cannot be read
    │   └── StoreFull          3   the disk is full; what was committed is safe
    └── DataError              4
        ├── DataUnavailable    4   files of a data set are missing
        └── DataInvalid        4   files of a data set are not what they should be

A message says what was expected, what was received, and what to do. The command line prints it and
exits with the code of the class. A user's mistake never shows a traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Self


class FaninError(Exception):
    """Root of the tree; catch it to catch everything that fanin raises on purpose."""

    exit_code = 1

    about: tuple[str, ...] = ()
    """The fields of a cell that the error is about, if any. A study adds their line in its file."""

    def mark_fields(self, *fields: str) -> Self:
        """Say which fields the error is about, unless that was said before; returns the error."""
        self.about = self.about or fields
        return self

    def add_context(self, context: str) -> Self:
        """Put the place of the mistake before the message; returns the error."""
        self.args = (f"{context}: {self}",)
        return self


class UsageError(FaninError):
    """Something was asked for that cannot be done as given."""

    exit_code = 2


class UnknownName(UsageError):
    """No entry has that name."""

    @classmethod
    def suggest(
        cls,
        kind: str,
        name: object,
        known: Iterable[str],
        *,
        also: Iterable[str] = (),
        hint: str = "",
    ) -> Self:
        """The error, with the names nearest to `name`, or the first 30 names if none is near.

        Args:
            kind: what the name would be of.
            name: what was received.
            known: the names that there are.
            also: further names that are offered if they are near, and not listed otherwise.
            hint: a sentence about what else to do.
        """
        names = sorted(known)
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        # Another word is offered only where it is nearer than all names.
        closest = difflib.get_close_matches(str(name), [*near[:1], *sorted(also)], n=1, cutoff=0.7)
        near = [*closest, *(one for one in near if one not in closest)][:3]
        listed = [*names[:30], *([f"… ({len(names)} in all)"] if len(names) > 30 else [])]
        offer = (
            f"Did you mean {' or '.join(near)}?"
            if near
            else f"Known: {join_names(listed) or 'none'}."
        )
        return cls(" ".join([f"No {kind} is called {quote(name)}.", offer, *([hint] * bool(hint))]))


class SpecError(UsageError):
    """A spec such as ``he_normal(mode=fan_out)`` is malformed, or an option is out of range."""


class StudyError(UsageError):
    """A study cannot be planned."""


class UserCodeError(UsageError):
    """A user component, such as ``my_file.py:make``, cannot be loaded or called."""


class FitError(UsageError):
    """A model does not fit the data, or an initializer does not fit a tensor."""


STUDY_EXTRA = frozenset(
    (
        "jinja2",
        "markupsafe",
        "matplotlib",
        "pandas",
        "pooch",
        "pydantic",
        "requests",
        "safetensors",
        "scipy",
        "sklearn",
        "tomli_w",
        "urllib3",
    )
)
"""What the library imports beyond the light core, by the names of the modules. Whoever lacks one is
told how to install it.
"""


class MissingExtra(UsageError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed. Run in a clone of fanin's "
            f'repository: pip install ".[{extra}]"'
        )


class OutputError(UsageError):
    """A file or folder cannot be written."""


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
    """Files of a data set are missing."""


class DataInvalid(DataError):
    """Files of a data set are not what they should be."""


def join_names(names: Iterable[str]) -> str:
    """Names in one line; if one holds a comma, as a spec may, they are separated by semicolons."""
    listed = list(names)
    return ("; " if any("," in name for name in listed) else ", ").join(listed)


def quote(value: object, limit: int = 80) -> str:
    """`repr` of a user's value on one line, shortened to fit a message. Control characters are
    escaped.
    """
    text = re.sub(r"\s*\n\s*", " ", repr(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


class UnfilledWarning(UserWarning):
    """Much of a model stays as it is: fanin does not know what its parameters do, or all of it was
    loaded.
    """
