"""Which numbers float32 cannot hold: a column whose spread is small beside its distance from zero.

Times such as 1.7e9 + 0 … 3600 are one: float32 has steps of 128 there, so that 200 distinct times
become 29. Such a column is centred in float64 before it is cast, or it is refused.
"""

from __future__ import annotations

import numpy as np

from fanin.errors import DataInvalid

TOLERATED = 1e-4
"""The largest error of rounding to float32 that is let pass, in standard deviations."""

_NEGLIGIBLE = 1e-10
"""A column whose range is below this share of its largest number is a constant, with errors of
rounding."""

_BYTES_AT_ONCE = 1 << 22


def find_lost_columns(array: np.ndarray, *, by_column: bool) -> tuple[int, ...]:
    """The columns that float32 cannot hold; column 0 for an array of one.

    Args:
        array: finite numbers, the samples along the first axis.
        by_column: whether each number of a sample is a quantity of its own, as in a table; else all
            of them are one, as in an image.
    """
    if array.dtype.kind != "f" or array.dtype.itemsize <= 4:  # float32 holds them exactly
        return ()
    rows = array.reshape(len(array), -1) if by_column else array.reshape(-1, 1)
    step = max(_BYTES_AT_ONCE // max(rows[:1].nbytes, 1), 1)
    first, n = rows[0].astype(np.float64), len(rows)
    total, squares, error = (np.zeros_like(first) for _ in range(3))
    low, high = first.copy(), first.copy()
    for start in range(0, n, step):
        block = rows[start : start + step].astype(np.float64, copy=False)
        centred = block - first
        total += centred.sum(axis=0)
        squares += (centred**2).sum(axis=0)
        error = np.maximum(error, np.abs(block.astype(np.float32) - block).max(axis=0))
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    deviation = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0.0))
    largest = np.maximum(np.abs(low), np.abs(high))
    lost = (error > TOLERATED * deviation) & (high - low > _NEGLIGIBLE * largest)
    return tuple(int(column) for column in lost.nonzero()[0])


def require_single(array: np.ndarray, what: str, *, by_column: bool) -> None:
    """Raise `DataInvalid` if float32 cannot hold a column of numbers that are taken as they are."""
    lost = find_lost_columns(array, by_column=by_column)
    if not lost:
        return
    numbers = array.reshape(len(array), -1)[:, lost[0]] if by_column else array.reshape(-1)
    low, high = float(numbers.min()), float(numbers.max())
    spacing = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    others = f" and {len(lost) - 1:,} other columns" if len(lost) > 1 else ""
    place = f"column {lost[0]}{others} of {what}" if by_column else what
    raise DataInvalid(
        f"{place} cannot be held in float32: its numbers go from {low:.10g} to {high:.10g}, where "
        f"float32 has steps of {spacing:.3g}. Subtract the mean in float64 before you save it, and "
        "divide by the standard deviation."
    )
