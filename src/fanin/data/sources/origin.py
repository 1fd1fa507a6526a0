"""Where the arrays of a data set come from: published files, a package, a generator."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from fanin.data.dataset import Availability
from fanin.data.sources.file_check import FileCheck
from fanin.data.sources.published_files import PublishedFiles


class Origin(Protocol):
    """Where the arrays of a data set come from, and whether they can be read on this machine."""

    @property
    def availability(self) -> Availability:
        """What the data set is called in listings if nothing is missing."""

    @property
    def where(self) -> str:
        """A folder, a file, the package that embeds the data, or "generated"."""

    @property
    def published(self) -> PublishedFiles | None:
        """The files that can be downloaded, also if a user copy takes their place."""

    def find_missing(self) -> tuple[str, ...]:
        """Names of the files or of the package that are needed and missing."""

    def require(self) -> None:
        """Raise `DataUnavailable` unless all files exist; none is opened."""

    def verify(self) -> list[FileCheck]:
        """Each file that is read, compared with what it should be."""


class ReadableOrigin(Origin, Protocol):
    """An origin that arrays are read from directly."""

    @property
    def source(self) -> str:
        """Where the arrays come from, as a result records it."""

    def read(self) -> Mapping[str, bytes]:
        """The checked contents of the files, by name; empty if there are no files."""


@dataclass(frozen=True)
class FilelessOrigin:
    """The origin of arrays that no file holds.

    They are embedded in an installed package, or generated from frozen seeds, or returned by user
    code.
    """

    package: str = ""
    """The package that embeds them; empty for the others."""

    availability: ClassVar[Availability] = "available"
    published: ClassVar[None] = None

    @property
    def where(self) -> str:
        """The package, or "generated"."""
        return f"embedded in {self.package}" if self.package else "generated"

    @property
    def source(self) -> str:
        """As `where`."""
        return self.where

    def find_missing(self) -> tuple[str, ...]:
        """The package, if it is not installed."""
        return (f"the package {self.package}",) if self.package and not self._is_installed() else ()

    def require(self) -> None:
        """No file is required; loading raises `MissingExtra` without the package."""

    def verify(self) -> list[FileCheck]:
        """No file can be verified."""
        return []

    def read(self) -> Mapping[str, bytes]:
        """There are no contents."""
        return {}

    def _is_installed(self) -> bool:
        try:
            importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return False
        return True


GENERATED = FilelessOrigin()
"""The origin of arrays from frozen seeds or user code."""
