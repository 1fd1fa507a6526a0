"""Samples that stay in a file: mapped into memory, and read batch by batch while training.

A mapped array need not lie at a multiple of its item size and may not be contiguous, so no
computation is done on it but copying: whatever comes out of `MappedSamples` is an ordinary,
contiguous tensor.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fanin.data.sources.data_folder import make_unreadable_error
from fanin.errors import UsageError, quote

VARIABLE = "FANIN_MAP_FROM"
"""The variable that sets from how many megabytes (10⁶ bytes) on a file is mapped."""

_DEFAULT_MEGABYTES = 1000


@dataclass(frozen=True, eq=False)
class MappedSamples:
    """Samples of a mapped tensor, in the order of `rows` (int64) or all as they lie; indexing reads
    them.

    Takes the place of a tensor in a `fanin.data.Subset`: it is indexed with a tensor of positions or
    a slice, has a length, a shape, a dtype and a device, and can be sent to another device, to
    which the batches then go.
    """

    whole: Tensor
    rows: Tensor | None = None
    device: torch.device = field(default=torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.whole if self.rows is None else self.rows)

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        if isinstance(chosen, Tensor):
            chosen = chosen.to(self.whole.device)
        if self.rows is not None:
            taken = self.whole[self.rows[chosen]]
        else:
            taken = self.whole[chosen].clone() if isinstance(chosen, slice) else self.whole[chosen]
        return taken.contiguous().to(self.device)

    @property
    def shape(self) -> torch.Size:
        """As of a tensor."""
        return torch.Size((len(self), *self.whole.shape[1:]))

    @property
    def dtype(self) -> torch.dtype:
        """As of a tensor."""
        return self.whole.dtype

    def select(self, positions: Tensor) -> MappedSamples:
        """The samples at these positions; nothing is read."""
        return replace(self, rows=positions if self.rows is None else self.rows[positions])

    def to(self, device: str | torch.device) -> MappedSamples:
        """The same samples, which now come out on that device; nothing is read."""
        torch.empty(0, device=device)  # a device that cannot be used is found now, as with a tensor
        return replace(self, device=torch.device(device))


def read_mapping_threshold() -> int:
    """The size in bytes from which on a file is mapped; raises `UsageError` where the variable is
    no number.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        return _DEFAULT_MEGABYTES * 10**6
    if not (given.isascii() and given.isdecimal()) or len(given) > 12:
        raise UsageError(
            f"{VARIABLE} must be a whole number of megabytes, not {quote(given)}. Set it to 1000, "
            "say, or unset it."
        )
    return int(given) * 10**6


def map_array(file: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array at that offset of the file; writing to it changes no file. Raises
    `DataUnavailable`.
    """
    try:
        try:
            return np.memmap(file, dtype, "c", offset, shape)
        except OSError:  # memory for what might be written is promised for private pages only as far as there is any
            return np.memmap(file, dtype, "r", offset, shape)
    except OSError as error:
        raise make_unreadable_error(file, error) from None


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor of the very memory of a mapped array."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="The given NumPy array is not writ"
        )  # nothing here writes to it
        return torch.from_numpy(array)
