"""Families of data sets: those that have options, and each choice of options is a data set of its
own.

``pixels(of=mnist, size=14)`` names a family and options. A family either reads another data set in
its own way, which its option `of` names, or reads published files of its own, or is generated from
frozen seeds, the same for everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fanin import specs
from fanin.data.dataset import DataInfo, Dataset, DatasetEntry
from fanin.errors import SpecError, quote
from fanin.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Family:
    """A registered family.

    `options` is a frozen dataclass whose defaults never change, because an identity leaves them
    out; its ``__post_init__`` checks ranges. An option called `of` is the spec of the data set that
    is read. `describe` and `load` take the options; what they answer is then given the data set's
    canonical spec for a name. `describe` reads no arrays.
    """

    name: str
    title: str
    reference: str
    options: type
    describe: Callable[[Any], DataInfo]
    load: Callable[[Any], Dataset]
    source: DatasetEntry | None = None
    """Whose published files are read, where there is no option `of`; it need not be registered
    itself.
    """
    package: str = ""
    """The installed package whose data are read."""

    def make(self, options: Any) -> Member:
        """The data set with these options."""
        return Member(self, options)


FAMILIES: Registry[Family, Member] = Registry(
    "dataset_family", Family, groups=("fanin.dataset_families",)
)


@dataclass(frozen=True)
class Member:
    """A family with its options: one data set."""

    family: Family
    options: Any

    @property
    def spec(self) -> str:
        """The canonical spec string: options that equal their default left out."""
        return specs.render_canonical(self.family.name, self.options)

    @property
    def of(self) -> str:
        """The spec of the data set that it is made from; empty where there is none."""
        return str(getattr(self.options, "of", ""))

    def describe(self) -> DataInfo:
        """What is known of it before anything is read."""
        return replace(self.family.describe(self.options), name=self.spec)

    def load(self) -> Dataset:
        """Its tensors; what cannot be described is not read."""
        info = self.describe()
        return replace(self.family.load(self.options), info=info)


def require_range(family: str, low: int, high: int, **options: int) -> None:
    """Raise `SpecError` unless each option is a whole number from `low` to `high`."""
    for option, value in options.items():
        if not low <= value <= high:
            raise SpecError(
                f"{family}({option}=…) must be a whole number from {low:,} to {high:,}, not "
                f"{quote(value)}."
            )
