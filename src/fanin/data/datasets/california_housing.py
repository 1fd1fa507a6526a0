"""California Housing, a table."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fanin import seeds
from fanin.data.dataset import Arrays, DataInfo, Mirror, PublishedFile
from fanin.data.datasets.dataset_entry import PrimaryEntry
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.formats.npz import open_npz
from fanin.data.sources import archives
from fanin.data.sources.published_files import PublishedFiles
from fanin.errors import DataInvalid

HOUSING_FILE = "cal_housing.data"

# The seed of Keras' california_housing loader.
_KERAS_SEED = 113


def read_housing(info: DataInfo, contents: Mapping[str, bytes]) -> Arrays:
    """California Housing, split as in Keras' loader.

    The inputs are the eight columns in the order of the file: longitude, latitude, median age,
    rooms, bedrooms, population, households, median income. The target is the median house value in
    dollars. Rows are shuffled by NumPy's ``RandomState(113)``; the first ones are for training.

    Differs from: scikit-learn, which divides some columns by others and the target by 100,000, and
    does not shuffle.
    """
    columns = info.input_shape[0] + 1
    table = parse_csv(contents[HOUSING_FILE], (info.n_train + info.n_test, columns), HOUSING_FILE)
    table = table[seeds.draw_legacy_permutation(_KERAS_SEED, len(table))]
    train, test = table[: info.n_train], table[info.n_train :]
    return Arrays(train[:, :-1], train[:, -1], test[:, :-1], test[:, -1])


def parse_csv(content: bytes, shape: tuple[int, int], name: str) -> np.ndarray:
    """The float64 table in a comma-separated file without header.

    Raises `DataInvalid` unless it has the given shape; `name` is the file's name in messages.
    """
    try:
        table = np.loadtxt(
            io.BytesIO(content),
            delimiter=",",
            dtype=np.float64,
            ndmin=2,
            comments=None,
            encoding="ascii",
        )
    except ValueError as error:
        raise DataInvalid(
            f"{name} is not a table of {shape[1]} comma-separated numbers: {error}. Copy it again."
        ) from None
    if table.shape != shape:
        raise DataInvalid(
            f"{name} holds a table of shape {table.shape}; expected {shape}. Copy the file again."
        )
    return table


def unpack_keras_copy(
    archive: Path, files: Sequence[PublishedFile]
) -> Iterator[tuple[PublishedFile, bytes]]:
    """The published table, written from the arrays x and y of Keras' NPZ file.

    Rows are in the same order and have six decimals. The checksum of the published file confirms
    that the result is the same byte for byte.
    """
    with open_npz(archive, archive.name) as npz:
        if not {"x", "y"} <= npz.headers.keys():
            raise DataInvalid(f"{archive.name} lacks the arrays x and y.")
        x, y = npz.read("x"), npz.read("y")
    if x.ndim != 2 or y.size != len(x) or {x.dtype.kind, y.dtype.kind} != {"f"}:
        raise DataInvalid(
            f"{archive.name} holds x {x.dtype} {x.shape} and y {y.dtype} {y.shape}; expected a "
            "float table."
        )
    table = io.BytesIO()
    # Through text: -122.23 in float32 becomes -122.23, not -122.230003.
    np.savetxt(
        table,
        np.column_stack([x.astype(str), y.reshape(-1).astype(str)]).astype(np.float64),
        fmt="%.6f",
        delimiter=",",
    )
    yield files[0], table.getvalue()


_tgz = partial(
    Mirror,
    unpack=partial(archives.unpack, folders=("CaliforniaHousing",)),
    bytes=441_963,
    sha256="aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681",
)

_HOUSING = DataInfo(
    name="california-housing",
    task="regression",
    input_shape=(8,),
    outputs=1,
    n_train=16_512,
    n_test=4_128,
)

REGISTRY.add(
    PrimaryEntry(
        name="california-housing",
        title="median house value of districts of California, 1990; eight raw columns",
        reference="Pace, Barry: Sparse spatial autoregressions. Statistics & Probability Letters "
        "33 (1997)",
        describe=lambda _: _HOUSING,
        read=lambda _, contents: read_housing(_HOUSING, contents),
        standardise=True,
        units="US dollars",
        origin=PublishedFiles(
            dataset="california-housing",
            mirrors=(
                _tgz(url="https://ndownloader.figshare.com/files/5976036"),
                _tgz(url="https://api.figshare.com/v2/file/download/5976036"),
                _tgz(url="https://www.dcc.fc.up.pt/~ltorgo/Regression/cal_housing.tgz"),
                Mirror(
                    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/california_housing.npz",
                    unpack=unpack_keras_copy,
                    sha256="1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f",
                    exact=True,
                ),
            ),
            files=(
                PublishedFile(
                    name=HOUSING_FILE,
                    bytes=2_071_484,
                    sha256="a2b44dcc7e1c9091b43c4f458b25cbd1f7e8068d08edd26bc4703108d3fa6214",
                ),
            ),
        ),
    )
)
