"""What a data set is: its description, its tensors, and the entry that the registry holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from fanin.errors import UsageError
from fanin.registry import NoOptions, Registry

Task = Literal["classification", "regression", "token_classification", "autoencoding"]
"""A class, or one number or several, for each sample; a class for each step of a sequence; the
input itself.
"""

InputKind = Literal["image", "table", "sequence", "tokens"]


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """What is known of a data set before its arrays are read."""

    name: str
    task: Task
    input_shape: tuple[int, ...]
    """(C, H, W) for images, (features,) for tables, (steps, features) for sequences, (steps,) for
    sequences of tokens.
    """
    outputs: int
    """Number of classes, or of targets: 1 for most regressions, the size of the input for
    autoencoding.
    """
    n_train: int
    n_test: int
    vocabulary: int | None = None
    """Inputs are tokens, numbers from 0 to below this; None where they are not."""

    @property
    def kind(self) -> InputKind:
        """What one input is."""
        if self.vocabulary is not None:
            return "tokens"
        kinds: dict[int, InputKind] = {1: "table", 2: "sequence", 3: "image"}
        return kinds[len(self.input_shape)]

    @property
    def per_step(self) -> bool:
        """Whether there is a target for each step of a sequence."""
        return self.task == "token_classification"


class Arrays(NamedTuple):
    """The four arrays of a data set.

    Images (N, C, H, W) and sequences (N, steps, features), uint8 or float; tables (N, features)
    float; tokens (N, steps) of whole numbers. Labels or targets (N,), targets (N, outputs) where
    there are several, labels (N, steps) where each step has one.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory, or mapped into it from a file.

    ``x / divisor`` is what a model sees of an image; a table is standardised instead where
    `standardise` says so. Both happen in `fanin.data.prepare` and in the training engine, so uint8
    images stay uint8 here.
    """

    info: DataInfo
    x_train: Tensor
    """uint8 or float32, (N, *info.input_shape), contiguous unless mapped; tokens uint8, or int64
    where there are too many.
    """
    y_train: Tensor
    """int64 (N,) class numbers, or (N, steps) of each step; float32 (N,) or (N, outputs) targets in
    their own units; for autoencoding the very tensor `x_train`."""
    x_test: Tensor
    y_test: Tensor
    divisor: float
    standardise: bool
    fingerprint: str
    """SHA-256 over names, dtypes, shapes and bytes of the four tensors."""
    published: bool
    """True where the bytes read were the published ones; False for a user's own copy."""
    source: str
    units: str
    """Units of a regression target; empty for all else."""
    mapped: bool = False
    """The inputs lie in a file that is read while training; they are never written to."""


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A published file, recognised by its size and its SHA-256, or by its SHA-1 where nobody
    published another checksum.
    """

    name: str
    bytes: int
    sha256: str | None = None
    sha1: str | None = None

    def __post_init__(self) -> None:
        if not (self.sha256 or self.sha1):
            raise UsageError(
                f"{self.name} has no checksum. Give its SHA-256, or the SHA-1 that was published."
            )

    @property
    def checksum(self) -> str:
        """The checksum that the file must have: `sha256` where it is known."""
        return self.sha256 or str(self.sha1)

    @property
    def algorithm(self) -> str:
        """Name of that checksum: SHA-256 or SHA-1."""
        return "SHA-256" if self.sha256 else "SHA-1"


Unpack = Callable[[Path, Sequence[PublishedFile]], Iterator[tuple[PublishedFile, bytes]]]
"""Takes an archive and the files wanted of it; yields each with its content, raises `DataInvalid`
where one is not in it.
"""


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A place that published files are downloaded from: a folder of them, or one archive.

    Plain HTTP will do: nothing is kept before its size and checksum are those of a `PublishedFile`.
    """

    url: str
    """Of a folder, with a slash at the end, the files lying in it under their own names; or of an
    archive.
    """
    unpack: Unpack | None = None
    """How the files come out of the archive; None for a folder."""
    bytes: int | None = None
    sha256: str | None = None
    """Size and checksum of the archive as published, where they are known."""
    exact: bool = False
    """Open nothing but the archive with this SHA-256. Otherwise any archive will do whose members
    have the right checksums.
    """

    def __post_init__(self) -> None:
        if self.exact and not self.sha256:
            raise UsageError(f"The mirror {self.url} asks for one very archive. Give its SHA-256.")


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """A registered data set: how its arrays come out of its published files.

    `read` gets the contents of `files` by name, size and checksum matched, and returns the arrays.
    Where it is None the data set is read from the user's own NPZ copy only; where `package` is
    given it comes out of that installed package. `mirrors` are where the files are downloaded from,
    best first.
    """

    info: DataInfo
    title: str
    reference: str
    files: tuple[PublishedFile, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    read: Callable[[Mapping[str, bytes]], Arrays] | None = None
    package: str = ""
    divisor: float = 1.0
    standardise: bool = False
    units: str = ""
    stored_in: str = ""
    """The folder of its files, where that has not its name."""

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def folder(self) -> str:
        """The name of the folder that its files are looked for in."""
        return self.stored_in or self.name

    @property
    def options(self) -> type:
        """It has none."""
        return NoOptions

    def make(self, options: NoOptions) -> DatasetEntry:
        """The entry itself."""
        return self


REGISTRY: Registry[DatasetEntry, DatasetEntry] = Registry("dataset", DatasetEntry)
