"""What a data set is: its description, its arrays and tensors, and its published files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from fanin.errors import UsageError

Task = Literal["classification", "regression", "token_classification", "autoencoding"]
"""What is predicted: a class per sample; one or more numbers per sample; a class per step of a
sequence; the input itself.
"""

InputKind = Literal["image", "table", "sequence", "tokens"]

Availability = Literal["available", "missing", "user copy", "invalid"]
"""`invalid`: a user copy is damaged, or has the name of a data set that it cannot replace."""

SubsetName = Literal["train", "test"]

SUBSETS: tuple[SubsetName, SubsetName] = ("train", "test")


@dataclass(frozen=True)
class InputPart:
    """One of several inputs that each sample has."""

    name: str
    """The parameter of a model's ``forward`` that receives it."""
    shape: tuple[int, ...]
    vocabulary: int | None = None
    """It holds tokens, numbered from 0 to below this; None if it holds numbers."""

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


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
    """Number of classes or of targets: usually 1 for a regression, the size of the input for
    autoencoding.
    """
    n_train: int
    n_test: int
    vocabulary: int | None = None
    """Inputs are tokens, numbered from 0 to below this; None if they are not tokens."""
    parts: tuple[InputPart, ...] = ()
    """Several inputs, packed into one table in this order; empty for one input."""

    @property
    def kind(self) -> InputKind:
        """What one input is."""
        if self.vocabulary is not None:
            return "tokens"
        kinds: dict[int, InputKind] = {1: "table", 2: "sequence", 3: "image"}
        return kinds[len(self.input_shape)]

    @property
    def per_step(self) -> bool:
        """Whether each step of a sequence has a target."""
        return self.task == "token_classification"


class Arrays(NamedTuple):
    """The four arrays of a data set.

    Images (N, C, H, W) and sequences (N, steps, features), uint8 or float; tables (N, features),
    float; tokens (N, steps), integers. Labels or targets (N,); several targets (N, outputs); labels
    per step (N, steps).
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory, or mapped into memory from a file.

    A model sees ``x / divisor``, or standardised inputs if `standardise` is set. Both are applied
    later, by `fanin.data.prepare` and by the training engine, so uint8 images stay uint8 here.
    """

    info: DataInfo
    x_train: Tensor
    """uint8 or float32, (N, *info.input_shape), contiguous unless mapped; tokens are uint8, or
    int64 if the vocabulary has more than 256. float64 if `standardise` is set and float32 cannot
    hold a column: the standardised one is float32.
    """
    y_train: Tensor
    """int64 (N,) class numbers, or (N, steps) for each step; float32 (N,) or (N, outputs) targets
    in their own units, float64 if float32 cannot hold them; for autoencoding the tensor `x_train`
    itself."""
    x_test: Tensor
    y_test: Tensor
    divisor: float
    standardise: bool
    fingerprint: str
    """SHA-256 of names, dtypes, shapes and bytes of the four tensors."""
    published: bool
    """Whether the arrays come from the published bytes; False for user copies and user code."""
    source: str
    """Where the arrays come from, in words; stored with results."""
    units: str
    """Units of a regression target; empty otherwise."""
    mapped: bool = False
    """Whether the inputs stay in a file that is read during training; they are never written to."""


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A file of a data set as its authors published it, known by its size and checksum.

    `sha1` is for files of which no SHA-256 was published.
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
        """The checksum that the file must have: `sha256` if it is known."""
        return self.sha256 or str(self.sha1)

    @property
    def algorithm(self) -> str:
        """Name of that checksum: SHA-256 or SHA-1."""
        return "SHA-256" if self.sha256 else "SHA-1"


Unpack = Callable[[Path, Sequence[PublishedFile]], Iterator[tuple[PublishedFile, bytes]]]
"""Takes an archive and the wanted files; yields each file with its content, and raises
`DataInvalid` if one is not in the archive.
"""


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """An address that published files are downloaded from: a folder of them, or one archive.

    Plain HTTP is safe: a download is kept only if its size and checksum are those of a
    `PublishedFile`.
    """

    url: str
    """A folder, with a slash at the end, that holds the files under their own names; or an archive.
    """
    unpack: Unpack | None = None
    """Reads the files out of the archive; None for a folder."""
    bytes: int | None = None
    sha256: str | None = None
    """Size and checksum of the archive as published, if known."""
    exact: bool = False
    """Open only the archive with this SHA-256. Otherwise any archive is accepted whose members have
    the right checksums.
    """

    def __post_init__(self) -> None:
        if self.exact and not self.sha256:
            raise UsageError(f"The mirror {self.url} accepts one exact archive. Give its SHA-256.")
