"""Entries of data sets, and the data sets that a spec names before they are read.

An entry has options, or none, and makes a `NamedDataset` from them. There are two kinds of entries:
a `PrimaryEntry` has arrays of its own, a `DerivedEntry` (`fanin.data.datasets.derived_dataset`)
reads another data set in another way. User copies and user components are named data sets too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from fanin import specs
from fanin.data.dataset import Arrays, DataInfo, Dataset
from fanin.data.formats.tensors import compute_fingerprint, to_tensors
from fanin.data.sources.origin import GENERATED, Origin, ReadableOrigin
from fanin.data.sources.published_files import PublishedFiles
from fanin.errors import SpecError, quote
from fanin.registry import NoOptions


class NamedDataset(Protocol):
    """A data set that a spec names; nothing is read before `load`."""

    @property
    def spec(self) -> str:
        """The canonical spec."""

    @property
    def may_change(self) -> bool:
        """Whether the spec may name other arrays tomorrow: a user's file, or a user's function."""

    @property
    def of(self) -> str:
        """The spec of the data set that it reads, if that is another one; else empty."""

    @property
    def origin(self) -> Origin:
        """Where its arrays come from, and whether they can be read on this machine."""

    def describe(self) -> DataInfo:
        """Its description; no image or table is read.

        Raises `SpecError` for options that do not fit the data, and `DataInvalid` for a damaged
        user copy.
        """

    def load(self) -> Dataset:
        """The data set, read or generated, and checked.

        Raises what `describe` raises; `DataUnavailable` if files are missing, `DataInvalid` if they
        are damaged, `MissingExtra` if a package is missing.
        """


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """What the registry holds of a data set, whatever its kind."""

    name: str
    title: str
    reference: str
    options: type = NoOptions
    """A frozen dataclass. Its defaults never change, because a canonical spec leaves them out; its
    ``__post_init__`` checks ranges.
    """
    units: str = ""
    """Units of a regression target."""

    @property
    def published(self) -> PublishedFiles | None:
        """Its published files, if it has any."""
        return None

    def make(self, options: Any) -> NamedDataset:
        """The data set with these options, an instance of `options`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PrimaryEntry(DatasetEntry):
    """A data set with arrays of its own, read from published files or a package, or generated."""

    describe: Callable[[Any], DataInfo]
    """The description for given options; it reads nothing."""
    read: Callable[[Any, Mapping[str, bytes]], Arrays]
    """The arrays, from the options and the contents of the published files, by name. Sizes and
    checksums of the files have been checked.
    """
    origin: ReadableOrigin = GENERATED
    divisor: float = 1.0
    standardise: bool = False

    @property
    def published(self) -> PublishedFiles | None:
        """Its published files, if it has any."""
        return self.origin.published

    def make(self, options: Any) -> PrimaryDataset:
        """The data set with these options."""
        return PrimaryDataset(self, options)


@dataclass(frozen=True)
class PrimaryDataset:
    """A `PrimaryEntry` with its options."""

    entry: PrimaryEntry
    options: Any

    may_change: ClassVar[bool] = False

    @property
    def spec(self) -> str:
        """The canonical spec."""
        return specs.render_canonical(self.entry.name, self.options)

    @property
    def of(self) -> str:
        """Empty: it reads no other data set."""
        return ""

    @property
    def origin(self) -> Origin:
        """The origin of its entry."""
        return self.entry.origin

    def describe(self) -> DataInfo:
        """Its description."""
        return replace(self.entry.describe(self.options), name=self.spec)

    def load(self) -> Dataset:
        """The data set."""
        info, entry = self.describe(), self.entry
        arrays = entry.read(self.options, entry.origin.read())
        tensors = to_tensors(info, arrays, self.spec, standardise=entry.standardise)
        return Dataset(
            info,
            *tensors,
            divisor=entry.divisor,
            standardise=entry.standardise,
            fingerprint=compute_fingerprint(tensors),
            published=True,
            source=entry.origin.source,
            units=entry.units,
        )


def require_range(name: str, low: int, high: int, **options: int) -> None:
    """Raise `SpecError` unless each option of the data set is an integer from `low` to `high`."""
    for option, value in options.items():
        if not low <= value <= high:
            raise SpecError(
                f"{name}({option}=…) must be a whole number from {low:,} to {high:,}, not "
                f"{quote(value)}."
            )
