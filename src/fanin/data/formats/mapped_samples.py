"""Samples that stay in a file: mapped into memory, and read batch by batch during training.

A mapped array may be unaligned and not contiguous, so it is only ever copied: indexing
`MappedSamples` returns an ordinary, contiguous tensor.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fanin.data.sources.data_folder import to_unreadable_error
from fanin.errors import UsageError, quote

VARIABLE = "FANIN_MAP_FROM"
"""The environment variable: files of at least so many megabytes (10⁶ bytes) are mapped."""

_DEFAULT_MEGABYTES = 1000


@dataclass(frozen=True, eq=False)
class MappedSamples:
    """Samples of a mapped tensor; indexing reads them.

    It replaces a tensor in a `fanin.data.Subset`: it has a length, a shape, a dtype and a device,
    is indexed with a tensor of positions or a slice, and can be moved to another device, on which
    its batches then are.
    """

    whole: Tensor
    rows: Tensor | None = None
    """Positions (int64) of the samples in `whole`; None for all, in order."""
    device: torch.device = field(default=torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.whole if self.rows is None else self.rows)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        if isinstance(index, Tensor):
            index = index.to(self.whole.device)
        if self.rows is not None:
            index = self.rows[index]
        samples = self.whole[index]
        if isinstance(index, slice):  # a view of the file
            samples = samples.clone()
        return samples.contiguous().to(self.device)

    @property
    def shape(self) -> torch.Size:
        """The shape of a tensor with these samples."""
        return torch.Size((len(self), *self.whole.shape[1:]))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of a sample."""
        return self.whole.dtype

    def select(self, positions: Tensor) -> MappedSamples:
        """The samples at these positions; nothing is read."""
        return replace(self, rows=positions if self.rows is None else self.rows[positions])

    def to(self, device: str | torch.device) -> MappedSamples:
        """The same samples, read to that device from now on; nothing is read."""
        torch.empty(0, device=device)  # raises if the device cannot be used, as a tensor would
        return replace(self, device=torch.device(device))


def read_mapping_threshold() -> int:
    """The smallest size in bytes of a file that is mapped.

    Raises `UsageError` if the variable is not a number.
    """
    setting = os.environ.get(VARIABLE, "").strip()
    if not setting:
        return _DEFAULT_MEGABYTES * 10**6
    if not (setting.isascii() and setting.isdecimal()) or len(setting) > 12:
        raise UsageError(
            f"{VARIABLE} must be a whole number of megabytes, not {quote(setting)}. Unset it, or "
            "set it to 1000 for example."
        )
    return int(setting) * 10**6


def map_array(file: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array at an offset of the file; writing to it does not change the file.

    Raises `DataUnavailable` if the file cannot be read.
    """
    try:
        try:
            return np.memmap(file, dtype, "c", offset, shape)
        except OSError:  # copy-on-write needs memory for every page that might be written
            return np.memmap(file, dtype, "r", offset, shape)
    except OSError as error:
        raise to_unreadable_error(file, error) from None


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of a mapped array."""
    with warnings.catch_warnings():
        # Nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)
