"""Readers of published files, and the check of sizes and checksums before them."""

import gzip
import hashlib
import struct

import numpy as np
import pytest
import torch
from dataset_cases import load_entry, make_entry, to_published_files

from fanin import seeds
from fanin.data import DataInfo
from fanin.data.datasets.california_housing import HOUSING_FILE, parse_csv, read_housing
from fanin.data.datasets.images import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    read_idx,
)
from fanin.data.formats import idx
from fanin.errors import DataInvalid, DataUnavailable


def encode_idx(array, *, magic=None, shape=None, extra=b""):
    shape = array.shape if shape is None else shape
    magic = 0x0800 + len(shape) if magic is None else magic
    return gzip.compress(
        struct.pack(f">{1 + len(shape)}I", magic, *shape) + array.tobytes() + extra, mtime=0
    )


def make_files_entry(contents, info, read, **facts):
    return make_entry(info, to_published_files(contents), read, **facts)


@pytest.fixture
def images(root):
    """A set of grey images like MNIST's, written under the data folder: (entry, arrays, folder)."""
    rng = seeds.make_numpy_generator(0, "images")
    arrays = {
        TRAIN_IMAGES: rng.integers(0, 256, (20, 5, 4), dtype=np.uint8),
        TRAIN_LABELS: rng.integers(0, 3, 20, dtype=np.uint8),
        TEST_IMAGES: rng.integers(0, 256, (6, 5, 4), dtype=np.uint8),
        TEST_LABELS: rng.integers(0, 3, 6, dtype=np.uint8),
    }
    contents = {name: encode_idx(array) for name, array in arrays.items()}
    info = DataInfo(
        name="tiny", task="classification", input_shape=(1, 5, 4), outputs=3, n_train=20, n_test=6
    )
    folder = root / "tiny"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return make_files_entry(contents, info, read_idx, divisor=255.0), arrays, folder


def test_canonical_images_come_out_as_written(images):
    entry, arrays, _ = images
    dataset = load_entry(entry)
    assert torch.equal(dataset.x_train, torch.from_numpy(arrays[TRAIN_IMAGES])[:, None])
    assert torch.equal(dataset.y_train, torch.from_numpy(arrays[TRAIN_LABELS]).long())
    assert torch.equal(dataset.x_test, torch.from_numpy(arrays[TEST_IMAGES])[:, None])
    assert torch.equal(dataset.y_test, torch.from_numpy(arrays[TEST_LABELS]).long())
    assert dataset.x_train.dtype == torch.uint8
    assert dataset.x_train.is_contiguous()
    assert (dataset.info, dataset.divisor, dataset.published) == (entry.describe(None), 255.0, True)


def test_a_file_with_another_checksum_is_refused_and_both_are_named(images):
    entry, _, folder = images
    file = folder / TRAIN_LABELS
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    received = hashlib.sha256(changed).hexdigest()
    with pytest.raises(
        DataInvalid,
        match=f"(?s){TRAIN_LABELS}.*{received}.*{entry.published.files[1].sha256}.*Copy the file "
        "again",
    ):
        load_entry(entry)


def test_a_truncated_file_is_called_cut_short(images):
    entry, _, folder = images
    file = folder / TEST_IMAGES
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(
        DataInvalid,
        match=f"{TEST_IMAGES} is cut short: {entry.published.files[2].bytes - 7} bytes; expected",
    ):
        load_entry(entry)


def test_missing_files_are_named_with_folder_variable_and_remedy(images):
    entry, _, folder = images
    (folder / TEST_LABELS).unlink()
    with pytest.raises(DataUnavailable) as caught:
        load_entry(entry)
    for part in (TEST_LABELS, str(folder), "FANIN_DATA_DIR", "fanin data add tiny"):
        assert part in str(caught.value)
    assert TRAIN_IMAGES not in str(caught.value)


def test_a_label_beyond_the_classes_is_refused(images):
    entry, arrays, folder = images
    labels = arrays[TEST_LABELS].copy()
    labels[4] = 9
    contents = {
        name: encode_idx(labels if name == TEST_LABELS else array) for name, array in arrays.items()
    }
    (folder / TEST_LABELS).write_bytes(contents[TEST_LABELS])
    with pytest.raises(DataInvalid, match="y_test of tiny holds the label 9, first in row 4"):
        load_entry(make_files_entry(contents, entry.describe(None), read_idx))


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            encode_idx(IMAGES, magic=2049),
            "begins with the number 2049; expected IDX's magic number 2051",
        ),
        (encode_idx(IMAGES, shape=(2, 4, 3)), r"declares shape \(2, 4, 3\); expected \(2, 3, 4\)"),
        (encode_idx(IMAGES[:1], shape=(2, 3, 4)), "holds 12 values; expected 24"),
        (encode_idx(IMAGES, extra=b"\0"), "holds more than the 24 values"),
        (encode_idx(IMAGES)[:-9], "is not a complete gzip file"),
        (gzip.compress(b"\0\0\x08", mtime=0), "ends within its IDX header"),
        (b"<html>not here</html>", "is not a complete gzip file"),
        (b"", "ends within its IDX header"),
    ],
)
def test_a_malformed_idx_file_is_refused(content, message):
    with pytest.raises(DataInvalid, match=f"images.gz {message}"):
        idx.parse(content, (2, 3, 4), "images.gz")


def test_a_gzip_bomb_is_not_unpacked():
    bomb = gzip.compress(struct.pack(">4I", 2051, 2, 3, 4) + bytes(200_000_000), compresslevel=1)
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(DataInvalid, match="holds more than"):
        idx.parse(bomb, (2, 3, 4), "bomb.gz")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.fixture
def housing(root):
    table = np.arange(50 * 9, dtype=np.float64).reshape(50, 9) / 7
    content = "\n".join(",".join(f"{value:.6f}" for value in row) for row in table).encode()
    info = DataInfo(
        name="houses", task="regression", input_shape=(8,), outputs=1, n_train=40, n_test=10
    )
    (root / "houses").mkdir()
    (root / "houses" / HOUSING_FILE).write_bytes(content)
    return make_files_entry(
        {HOUSING_FILE: content}, info, read_housing, standardise=True, units="US dollars"
    ), table.round(6)


def test_housing_is_shuffled_as_keras_does_and_its_target_is_last(housing):
    entry, table = housing
    dataset = load_entry(entry)
    indices = np.arange(50)
    np.random.RandomState(113).shuffle(indices)
    expected = torch.from_numpy(table[indices]).float()
    assert torch.equal(dataset.x_train, expected[:40, :8])
    assert torch.equal(dataset.y_train, expected[:40, 8])
    assert torch.equal(dataset.x_test, expected[40:, :8])
    assert torch.equal(dataset.y_test, expected[40:, 8])
    assert (dataset.divisor, dataset.standardise, dataset.units) == (1.0, True, "US dollars")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2,3\n4,5,6\n", r"shape \(2, 3\); expected \(2, 2\)"),
        (b"1,2\n", r"shape \(1, 2\); expected \(2, 2\)"),
        (b"1,2\n3,four\n", "not a table of 2 comma-separated numbers"),
        (b"1,2\n3\n", "not a table of 2"),
        (b"longitude,latitude\n1,2\n", "not a table of 2"),
        ("1,2\n3,ä\n".encode(), "not a table of 2"),
    ],
)
def test_a_malformed_table_is_refused(content, message):
    with pytest.raises(DataInvalid, match=message):
        parse_csv(content, (2, 2), "table.data")
