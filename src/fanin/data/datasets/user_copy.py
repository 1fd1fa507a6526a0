"""User copies: a user's own file ``<name>/<name>.npz`` in the folder of data sets.

`fanin.data.formats.user_arrays` has the rules for its arrays. A copy may have the name of a
registered data set without options, and then takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from fanin.data.dataset import Availability, DataInfo, Dataset
from fanin.data.datasets.dataset_entry import DatasetEntry, PrimaryEntry
from fanin.data.formats import user_arrays
from fanin.data.formats.plausibility import LabelCounts
from fanin.data.sources.file_check import FileCheck, check_file
from fanin.data.sources.published_files import PublishedFiles
from fanin.errors import DataError
from fanin.registry import NoOptions


@dataclass(frozen=True, kw_only=True)
class UserCopyEntry(DatasetEntry):
    """The entry of a user copy; it is found in the folder of data sets, not registered."""

    file: Path
    replaced: PrimaryEntry | None = None
    """The registered data set of that name, if there is one."""

    @classmethod
    def from_file(cls, name: str, file: Path, replaced: PrimaryEntry | None) -> UserCopyEntry:
        """The entry, with the facts of the data set that the copy replaces."""
        if replaced is None:
            return cls(name=name, file=file, title="A user's own data set.", reference="")
        return cls(
            name=name,
            file=file,
            replaced=replaced,
            title=replaced.title,
            reference=replaced.reference,
            units=replaced.units,
        )

    @property
    def published(self) -> PublishedFiles | None:
        """The published files that the copy takes the place of."""
        if self.replaced is None:
            return PublishedFiles(dataset=self.name, files=())
        return self.replaced.published

    def make(self, options: Any) -> UserCopy:
        """The copy."""
        return UserCopy(self)


@dataclass(frozen=True)
class UserCopy:
    """A user copy, which is its own `Origin`."""

    entry: UserCopyEntry

    availability: ClassVar[Availability] = "user copy"
    may_change: ClassVar[bool] = True
    of: ClassVar[str] = ""

    @property
    def spec(self) -> str:
        """Its name."""
        return self.entry.name

    @property
    def origin(self) -> UserCopy:
        """The copy itself."""
        return self

    @property
    def where(self) -> str:
        """The file."""
        return str(self.entry.file)

    @property
    def published(self) -> PublishedFiles | None:
        """The published files that it takes the place of."""
        return self.entry.published

    def describe(self) -> DataInfo:
        """Its description, from the headers of the file."""
        return user_arrays.describe_file(
            self.entry.file, self.entry.name, self._describe_replaced()
        )

    def load(self) -> Dataset:
        """The data set in the file."""
        entry = self.entry
        return user_arrays.read_file(
            entry.file,
            entry.name,
            self._describe_replaced(),
            standardise=entry.replaced is not None and entry.replaced.standardise,
            units=entry.units,
        )

    def count_labels(self) -> LabelCounts | None:
        """The samples of each class; None if it has no classes."""
        return user_arrays.count_labels_of_file(
            self.entry.file, self.entry.name, self._describe_replaced()
        )

    def find_missing(self) -> tuple[str, ...]:
        """Nothing is missing."""
        return ()

    def require(self) -> None:
        """The file exists."""

    def verify(self) -> list[FileCheck]:
        """The file, whose structure is checked."""
        try:
            self.load()
        except DataError as error:
            return [check_file(self.entry.file, problem=str(error))]
        note = "structure checked; a user's own copy, not published"
        return [replace(check_file(self.entry.file), note=note)]

    def _describe_replaced(self) -> DataInfo | None:
        replaced = self.entry.replaced
        return replaced.make(NoOptions()).describe() if replaced else None
