"""The published files of a data set on this machine: found, required, checked, read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fanin.data.dataset import Availability, Mirror, PublishedFile
from fanin.data.sources.data_folder import VARIABLE, is_file, resolve_folder, to_unreadable_error
from fanin.data.sources.file_check import FileCheck, check_file, describe_difference
from fanin.errors import DataInvalid, DataUnavailable


@dataclass(frozen=True, kw_only=True)
class PublishedFiles:
    """The published files of a data set: an `Origin` of arrays."""

    dataset: str
    """The data set's name, for messages."""
    files: tuple[PublishedFile, ...]
    mirrors: tuple[Mirror, ...] = ()
    """Where the files are downloaded from, best first."""
    folder: str = ""
    """The name of their folder; the data set's name by default."""
    replaceable: bool = True
    """Whether a user copy ``<dataset>/<dataset>.npz`` can take the place of the files."""

    availability: ClassVar[Availability] = "available"

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder or self.dataset)

    @property
    def published(self) -> PublishedFiles:
        """The files themselves."""
        return self

    @property
    def path(self) -> Path:
        """The folder of the files; it need not exist."""
        return resolve_folder(self.folder)

    @property
    def where(self) -> str:
        """The folder, as text."""
        return str(self.path)

    @property
    def source(self) -> str:
        """What a result records: the data set and its files."""
        if len(self.files) == 1:
            return f"{self.dataset}: published {self.files[0].name}"
        return f"{self.dataset}: {len(self.files)} published files"

    def find_missing(self) -> tuple[str, ...]:
        """Names of the files that are not in the folder."""
        return tuple(file.name for file in self._find_missing_files())

    def require(self) -> None:
        """Raise `DataUnavailable` unless all files exist; none is opened."""
        missing = self._find_missing_files()
        if missing:
            raise self._make_unavailable_error(missing)

    def verify(self) -> list[FileCheck]:
        """Each file, compared with what was published."""
        return [check_file(self.path / file.name, file) for file in self.files]

    def read(self) -> dict[str, bytes]:
        """The contents of the files by name.

        Raises `DataUnavailable` if files are missing, and `DataInvalid` if a size or a checksum is
        wrong.
        """
        self.require()
        return {file.name: _read_checked(self.path / file.name, file) for file in self.files}

    def advise(self) -> str:
        """The end of a sentence on what to do instead of a download; empty if nothing helps."""
        if not self.replaceable:
            return ""
        return f", or register a copy: fanin data add {self.dataset} FILE.npz"

    def _find_missing_files(self) -> list[PublishedFile]:
        return [file for file in self.files if not is_file(self.path / file.name)]

    def _make_unavailable_error(self, missing: Sequence[PublishedFile]) -> DataUnavailable:
        expected = ", ".join(f"{file.name} ({file.bytes:,} bytes)" for file in missing)
        if self.replaceable:
            expected += f" or {self.dataset}.npz (your own copy: x_train, y_train, x_test, y_test)"
        download = (
            f"Download it: fanin data fetch {self.dataset}. Or put" if self.mirrors else "Put"
        )
        return DataUnavailable(
            f"{self.dataset} is missing. Looked in {self.path} for {expected}. {download} the "
            f"files there, or set {VARIABLE} to the folder that holds {self.folder}/{self.advise()}"
        )


def _read_checked(file: Path, expected: PublishedFile) -> bytes:
    try:
        size = file.stat().st_size
        # The size comes first: a file that is far too large is not read at all.
        content = file.read_bytes() if size == expected.bytes else b""
    except OSError as error:
        raise to_unreadable_error(file, error) from None
    difference = describe_difference(expected, size, content)
    if difference:
        raise DataInvalid(
            f"{file} is {difference}. Copy the file again, or register another version under your "
            "own name: fanin data add NAME FILE.npz"
        )
    return content
