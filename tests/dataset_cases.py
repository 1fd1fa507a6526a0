"""Small published data sets for tests: entries, their files and the contents of these."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fanin import data, seeds
from fanin.registry import NoOptions

ReadArrays = Callable[[data.DataInfo, Mapping[str, bytes]], data.Arrays]


def to_published_files(
    contents: Mapping[str, bytes], algorithm: str = "sha256"
) -> tuple[data.PublishedFile, ...]:
    """The contents as published files, with checksums of that algorithm."""
    return tuple(
        data.PublishedFile(
            name=name,
            bytes=len(content),
            **{algorithm: hashlib.new(algorithm, content).hexdigest()},
        )
        for name, content in contents.items()
    )


def make_entry(
    info: data.DataInfo,
    files: Sequence[data.PublishedFile],
    read: ReadArrays,
    *,
    mirrors: Sequence[data.Mirror] = (),
    **facts: Any,
) -> data.PrimaryEntry:
    """An entry without options that reads published files."""
    origin = data.PublishedFiles(dataset=info.name, files=tuple(files), mirrors=tuple(mirrors))
    return data.PrimaryEntry(
        name=info.name,
        title="a test",
        reference="none",
        describe=lambda _: info,
        read=lambda _, contents: read(info, contents),
        origin=origin,
        **facts,
    )


def load_entry(entry: data.PrimaryEntry) -> data.Dataset:
    """The data set of an entry without options, which need not be registered."""
    return entry.make(NoOptions()).load()


def make_tiny_entry(
    name: str = "tiny", mirrors: Sequence[data.Mirror] = ()
) -> tuple[data.PrimaryEntry, dict[str, bytes]]:
    """A data set of two files that hold bytes, and the contents of these."""
    rng = seeds.make_numpy_generator(0, "tiny")
    arrays = {
        "train.raw": rng.integers(1, 256, (2000, 30), dtype=np.uint8),
        "test.raw": rng.integers(1, 256, (500, 30), dtype=np.uint8),
    }
    contents = {file: array.tobytes() for file, array in arrays.items()}
    info = data.DataInfo(
        name=name, task="regression", input_shape=(30,), outputs=1, n_train=2000, n_test=500
    )
    return make_entry(info, to_published_files(contents), _read_raw, mirrors=mirrors), contents


def _read_raw(_: data.DataInfo, contents: Mapping[str, bytes]) -> data.Arrays:
    train, test = (
        np.frombuffer(contents[f"{subset}.raw"], np.uint8).reshape(-1, 30).astype(np.float32)
        for subset in ("train", "test")
    )
    return data.Arrays(train, train[:, 0], test, test[:, 0])
