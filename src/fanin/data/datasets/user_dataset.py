"""User components that make data sets: ``my_data.py:make(n=100)`` (`fanin.user_code`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from fanin import specs, user_code
from fanin.data.dataset import Arrays, DataInfo, Dataset
from fanin.data.datasets.dataset_entry import DatasetEntry
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.formats import user_arrays
from fanin.data.formats.input_kinds import MARKS
from fanin.data.formats.input_parts import flatten_parts
from fanin.data.sources.origin import GENERATED, FilelessOrigin


@dataclass(frozen=True)
class UserDataset:
    """A user component with its options.

    Its arrays follow the rules for a user's NPZ file (`fanin.data.formats.user_arrays`).
    """

    component: user_code.UserComponent
    options: Any

    may_change: ClassVar[bool] = True
    of: ClassVar[str] = ""
    origin: ClassVar[FilelessOrigin] = GENERATED

    @property
    def spec(self) -> str:
        """The canonical spec."""
        return specs.render_canonical(self.component.name, self.options)

    def describe(self) -> DataInfo:
        """Its description; the user's function is called."""
        return replace(_call(self.component, self.options).info, name=self.spec)

    def load(self) -> Dataset:
        """The data set; the user's function is called, unless it was the last one called."""
        return replace(_call(self.component, self.options), info=self.describe())


@dataclass(frozen=True, kw_only=True)
class UserDatasetEntry(DatasetEntry):
    """The entry of a user component, whose name is its reference."""

    component: user_code.UserComponent

    def make(self, options: Any) -> UserDataset:
        """The data set with these options."""
        return UserDataset(self.component, options)


def load_entry(reference: str) -> UserDatasetEntry:
    """The entry of a reference; raises what `fanin.user_code.load_component` raises."""
    component = user_code.load_component(reference, user_code.DATASET)
    return UserDatasetEntry(
        name=component.name,
        title=f"made by {component.name}",
        reference="",
        options=component.options,
        component=component,
    )


@lru_cache(maxsize=1)
def _call(component: user_code.UserComponent, options: Any) -> Dataset:
    returned = component.call(options)
    arrays = returned
    if isinstance(returned, tuple) and len(returned) == len(Arrays._fields):
        arrays = dict(zip(Arrays._fields, returned, strict=True))
    if isinstance(arrays, dict):  # a number or a word that describes them need not be an array
        arrays = flatten_parts(arrays)
        marks = [name for name in arrays if name.partition(".")[0] in MARKS]
        arrays |= {name: np.asarray(arrays[name]) for name in marks}
    if not isinstance(arrays, dict) or not all(
        isinstance(array, np.ndarray) for array in arrays.values()
    ):
        raise component.make_return_error(returned)
    masked = [name for name, array in arrays.items() if isinstance(array, np.ma.MaskedArray)]
    if masked:
        raise component.make_return_error(
            returned,
            f"{', '.join(masked)} as a masked array, whose mask would be lost (fill it in with "
            "array.filled(…), or leave such rows out)",
        )
    source = f"made by {component.name}, SHA-256 {component.loaded.sha256[:12]}"
    return _copy_shared(user_arrays.read_arrays(arrays, component.name, source), arrays)


def _copy_shared(dataset: Dataset, arrays: Mapping[str, np.ndarray]) -> Dataset:
    """The data set in memory of its own: the user's code may keep its arrays, and change them.

    A file that is mapped to be read only stays where it is.
    """
    changeable = [
        array
        for array in arrays.values()
        if array.flags.writeable or not isinstance(array, np.memmap)
    ]

    def own(tensor: Tensor) -> Tensor:
        values = tensor.numpy()
        is_shared = any(np.may_share_memory(values, array) for array in changeable)
        return tensor.clone() if is_shared else tensor

    return replace(
        dataset,
        x_train=own(dataset.x_train),
        y_train=own(dataset.y_train),
        x_test=own(dataset.x_test),
        y_test=own(dataset.y_test),
    )


REGISTRY.load_user_entries_with(load_entry)
