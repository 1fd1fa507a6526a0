"""Derived data sets: another data set, which the option `of` names, read in another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fanin import specs
from fanin.data.dataset import DataInfo, Dataset
from fanin.data.datasets.dataset_entry import DatasetEntry, NamedDataset
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.sources.origin import Origin


@dataclass(frozen=True, kw_only=True)
class DerivedEntry(DatasetEntry):
    """A way to read other data sets; its options have a field `of`, the spec of the other one."""

    describe: Callable[[Any, DataInfo], DataInfo]
    """The description, from the options and that of the other data set; raises `SpecError` if they
    do not fit.
    """
    derive: Callable[[Any, Dataset], Dataset]
    """The data set, from the options and the other one."""

    def make(self, options: Any) -> DerivedDataset:
        """The data set with these options."""
        base = REGISTRY.make(options.of)
        return DerivedDataset(self, replace(options, of=base.spec), base)


@dataclass(frozen=True)
class DerivedDataset:
    """A `DerivedEntry` with its options, and the data set that it reads."""

    entry: DerivedEntry
    options: Any
    base: NamedDataset

    @property
    def spec(self) -> str:
        """The canonical spec."""
        return specs.render_canonical(self.entry.name, self.options)

    @property
    def may_change(self) -> bool:
        """As the other data set."""
        return self.base.may_change

    @property
    def of(self) -> str:
        """The spec of the data set whose arrays are read in the end."""
        return self.base.of or self.base.spec

    @property
    def origin(self) -> Origin:
        """The origin of the other data set."""
        return self.base.origin

    def describe(self) -> DataInfo:
        """Its description."""
        return replace(self.entry.describe(self.options, self.base.describe()), name=self.spec)

    def load(self) -> Dataset:
        """The data set; nothing is read if it cannot be described."""
        info = self.describe()
        return replace(self.entry.derive(self.options, self.base.load()), info=info)
