"""Data sets that are tables: California Housing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial

import numpy as np

from fanin import seeds
from fanin.data.base import REGISTRY, Arrays, CanonicalFile, DataInfo, DatasetEntry
from fanin.errors import DataInvalid

HOUSING_FILE = "cal_housing.data"

# The seed of Keras' california_housing loader.
_KERAS_SEED = 113


def read_housing(info: DataInfo, contents: Mapping[str, bytes]) -> Arrays:
    """California Housing as Keras' loader splits it.

    The eight columns in the order of the file (longitude, latitude, median age, rooms, bedrooms, population, households,
    median income) and the median house value in dollars; rows shuffled by NumPy's ``RandomState(113)``, the first part train.

    Differs from: scikit-learn, which divides some columns by others and the target by 100,000, and does not shuffle.
    """
    columns = info.input_shape[0] + 1
    table = parse_csv(contents[HOUSING_FILE], (info.n_train + info.n_test, columns), HOUSING_FILE)
    table = table[seeds.legacy_permutation(_KERAS_SEED, len(table))]
    train, test = table[: info.n_train], table[info.n_train :]
    return Arrays(train[:, :-1], train[:, -1], test[:, :-1], test[:, -1])


def parse_csv(content: bytes, shape: tuple[int, int], name: str) -> np.ndarray:
    """The float64 table of `shape` in a comma-separated file without header; `DataInvalid` where it is another."""
    try:
        table = np.loadtxt(io.BytesIO(content), delimiter=",", dtype=np.float64, ndmin=2, comments=None, encoding="ascii")
    except ValueError as error:
        raise DataInvalid(f"{name} is not a table of {shape[1]} comma-separated numbers: {error}. Copy it again.") from None
    if table.shape != shape:
        raise DataInvalid(f"{name} holds a table of shape {table.shape}; expected {shape}. Copy the file again.")
    return table


_HOUSING = DataInfo(name="california-housing", task="regression", input_shape=(8,), outputs=1, n_train=16_512, n_test=4_128)

REGISTRY.add(
    DatasetEntry(
        info=_HOUSING,
        title="median house value of districts of California, 1990; eight raw columns",
        reference="Pace, Barry: Sparse spatial autoregressions. Statistics & Probability Letters 33 (1997)",
        read=partial(read_housing, _HOUSING),
        standardise=True,
        units="US dollars",
        files=(
            CanonicalFile(
                name=HOUSING_FILE,
                bytes=2_071_484,
                sha256="a2b44dcc7e1c9091b43c4f458b25cbd1f7e8068d08edd26bc4703108d3fa6214",
            ),
        ),
    )
)
