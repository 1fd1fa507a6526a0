"""A user's own NPZ copy: what is taken, what is refused, and that nothing in it is ever
executed.
"""

import os
import pickle
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fanin import data, seeds
from fanin.data import DataInfo
from fanin.errors import DataInvalid, DataUnavailable, OutputError, UnknownName, UsageError

RNG = seeds.make_numpy_generator(0, "copies")
COLOUR = RNG.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
TABLE = RNG.standard_normal((12, 4))
LABELS = np.arange(12) % 3
TARGETS = np.linspace(-1, 1, 12)


def make_arrays(x, y, **changes):
    return {"x_train": x[:8], "y_train": y[:8], "x_test": x[8:], "y_test": y[8:]} | changes


def save_copy(root, arrays, name="mine", *, save=np.savez):
    file = root / name / f"{name}.npz"
    file.parent.mkdir(exist_ok=True)
    save(file, **arrays)
    return file


def test_colour_images_become_channels_first_and_stay_bytes(root):
    save_copy(root, make_arrays(COLOUR, LABELS))
    dataset = data.load("mine")
    assert torch.equal(dataset.x_train, torch.from_numpy(COLOUR[:8]).permute(0, 3, 1, 2))
    assert dataset.x_train.is_contiguous()
    assert dataset.info == DataInfo(
        name="mine", task="classification", input_shape=(3, 6, 5), outputs=3, n_train=8, n_test=4
    )
    assert (dataset.divisor, dataset.standardise, dataset.published, dataset.units) == (
        255.0,
        False,
        False,
        "",
    )
    assert dataset.source == "user's copy mine.npz"
    assert dataset.y_train.dtype == torch.int64


def test_grey_images_get_one_channel(root):
    save_copy(root, make_arrays(COLOUR[..., 0], LABELS), save=np.savez_compressed)
    dataset = data.load("mine")
    assert torch.equal(dataset.x_test, torch.from_numpy(COLOUR[8:, None, :, :, 0]))


def test_float_images_are_taken_as_they_are(root):
    save_copy(root, make_arrays(COLOUR / 100.0, LABELS))
    dataset = data.load("mine")
    assert torch.equal(
        dataset.x_train, torch.from_numpy(COLOUR[:8] / 100.0).float().permute(0, 3, 1, 2)
    )
    assert dataset.divisor == 1.0


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8"])
def test_a_float_table_with_float_targets_is_a_regression(root, dtype):
    save_copy(root, make_arrays(TABLE.astype(dtype), TARGETS))
    dataset = data.load("mine")
    assert torch.equal(dataset.x_train, torch.from_numpy(TABLE[:8].astype(dtype).astype("float32")))
    assert torch.equal(dataset.y_test, torch.from_numpy(TARGETS[8:]).float())
    assert (dataset.info.task, dataset.info.outputs, dataset.info.input_shape) == (
        "regression",
        1,
        (4,),
    )
    assert (dataset.divisor, dataset.standardise) == (1.0, False)


def test_several_columns_of_float_targets_are_a_regression_of_several_numbers(root):
    targets = np.stack([TARGETS, TARGETS**2, -TARGETS], axis=1)
    save_copy(root, make_arrays(TABLE, targets))
    dataset = data.load("mine")
    assert (dataset.info.task, dataset.info.outputs, data.describe("mine")) == (
        "regression",
        3,
        dataset.info,
    )
    assert torch.equal(dataset.y_test, torch.from_numpy(targets[8:]).float())


def test_arrays_in_column_order_are_read_as_written(root):
    save_copy(root, make_arrays(np.asfortranarray(COLOUR), LABELS))
    assert torch.equal(data.load("mine").x_test, torch.from_numpy(COLOUR[8:]).permute(0, 3, 1, 2))


def test_labels_in_one_column_are_taken(root):
    save_copy(root, make_arrays(COLOUR, LABELS[:, None].astype(">i2")))
    assert data.load("mine").y_train.tolist() == LABELS[:8].tolist()


def test_an_array_of_class_names_tells_their_number(root):
    save_copy(root, make_arrays(COLOUR, LABELS, classes=np.array(["a", "b", "c", "never seen"])))
    assert data.describe("mine").outputs == data.load("mine").info.outputs == 4


def test_a_class_that_only_the_test_set_has_counts(root):
    save_copy(root, make_arrays(COLOUR, LABELS, y_test=np.array([0, 1, 2, 3])))
    assert data.describe("mine").outputs == 4


@pytest.mark.parametrize(
    "arrays", [make_arrays(COLOUR, LABELS), make_arrays(TABLE, TARGETS), make_arrays(TABLE, LABELS)]
)
def test_the_description_is_that_of_the_loaded_data(root, arrays):
    save_copy(root, arrays)
    assert data.describe("mine") == data.load("mine").info


def test_a_description_reads_no_image(root):
    images = COLOUR.repeat(10, axis=1).repeat(10, axis=2)
    file = save_copy(root, make_arrays(images, LABELS))
    content = bytearray(file.read_bytes())
    end = content.find(images[:8].tobytes()) + images[:8].nbytes
    content[end - 1] ^= 1  # breaks the checksum of x_train, which only reading all of it can notice
    file.write_bytes(content)
    assert data.describe("mine").n_train == 8
    with pytest.raises(DataInvalid, match="not a complete NPZ file"):
        data.load("mine")


def test_a_copy_wins_over_embedded_data(root):
    images = RNG.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    save_copy(root, make_arrays(images, LABELS), name="digits")
    dataset = data.load("digits")
    assert (dataset.info.n_train, dataset.info.outputs, dataset.published) == (8, 10, False)


def test_a_copy_of_a_registered_table_is_still_standardised_and_keeps_its_units(root):
    table = RNG.standard_normal((12, 8)).astype("float32")
    save_copy(root, make_arrays(table, TARGETS), name="california-housing")
    dataset = data.load("california-housing")
    assert torch.equal(dataset.x_train, torch.from_numpy(table[:8]))
    assert (dataset.standardise, dataset.units) == (True, "US dollars")


def test_a_copy_that_does_not_fit_its_registered_name_is_refused(root):
    save_copy(root, make_arrays(COLOUR, TARGETS), name="cifar10")
    with pytest.raises(DataInvalid) as caught:
        data.load("cifar10")
    for part in (
        "task regression",
        "input shape (3, 6, 5)",
        "expected task classification",
        "(3, 32, 32)",
        "name of its own",
    ):
        assert part in str(caught.value)


def _row(array, row, value):
    changed = np.array(array, dtype=float)
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": COLOUR, "y_train": LABELS}, "lacks x_test, y_test: it holds x_train, y_train"),
        ({}, "lacks x_train, y_train, x_test, y_test: it holds no arrays"),
        (
            make_arrays(TABLE, TARGETS, x_train=_row(TABLE[:8], 5, np.nan)),
            "x_train .* first in row 5",
        ),
        (
            make_arrays(TABLE, TARGETS, x_test=_row(TABLE[8:], (2, 1), -np.inf)),
            "x_test .* first in row 2",
        ),
        (
            make_arrays(TABLE, TARGETS, y_test=_row(TARGETS[8:], 3, np.nan)),
            "y_test .* first in row 3",
        ),
        (
            make_arrays(TABLE, TARGETS, x_test=_row(TABLE[8:], 0, 1e39)),
            "too large for float32, first in row 0",
        ),
        (
            make_arrays(TABLE, TARGETS, y_train=TARGETS[:7]),
            r"y_train of .* has shape \(7,\). Expected \(8,\)",
        ),
        (
            make_arrays(TABLE, TARGETS, y_train=np.zeros((8, 2))),
            "y_train of .* has 2 targets for each row, y_test 1",
        ),
        (
            make_arrays(TABLE, np.zeros((12, 2, 2))),
            r"y_train of .* has shape \(8, 2, 2\). Expected \(8,\)",
        ),
        (
            make_arrays(TABLE, np.zeros((12, 0))),
            r"y_train of .* has shape \(8, 0\). Expected \(8,\)",
        ),
        (
            make_arrays(TABLE, LABELS[:, None].repeat(2, 1)),
            r"y_train of .* has shape \(8, 2\). Expected \(8,\), one label for each",
        ),
        (
            make_arrays(TABLE, TARGETS, x_test=TABLE[:0], y_test=TARGETS[:0]),
            "x_test of .* is empty",
        ),
        (make_arrays(TABLE[:, :0], TARGETS), r"x_train of .* has shape \(8, 0\)"),
        (make_arrays(TABLE[:, 0], TARGETS), r"x_train of .* has shape \(8,\)"),
        (make_arrays(COLOUR[..., None], LABELS), r"x_train of .* has shape \(8, 6, 5, 3, 1\)"),
        (make_arrays(COLOUR[:, 0, 0], LABELS), r"x_train of .* has shape \(8, 3\) \(uint8\)"),
        (
            make_arrays(COLOUR, LABELS, x_test=COLOUR[8:, :5]),
            r"rows of shape \(6, 5, 3\) uint8 and \(5, 5, 3\)",
        ),
        (make_arrays(COLOUR, LABELS, x_test=COLOUR[8:] / 255), "differ: .* uint8 and .* float64"),
        (
            make_arrays(COLOUR.astype(np.int64), LABELS),
            "x_train of .* is int64. Expected uint8 images, or float",
        ),
        (make_arrays(COLOUR.transpose(0, 3, 1, 2), LABELS), r"looks like \(N, C, H, W\)"),
        (make_arrays(COLOUR, LABELS, y_test=LABELS[8:] - 1), "begin at -1"),
        (
            make_arrays(COLOUR, LABELS, y_test=LABELS[8:] / 2),
            "are int64 and float64. Expected integer labels or float",
        ),
        (make_arrays(COLOUR, LABELS > 1), "are bool and bool"),
        (
            make_arrays(COLOUR, LABELS * 250_000),
            "up to 500000, more classes than rows. For a regression save y as float",
        ),
        (
            make_arrays(COLOUR, LABELS, classes=np.array(["a", "b"])),
            "holds the label 2, first in row 2. Expected class numbers 0 to 1",
        ),
        (make_arrays(COLOUR, LABELS, classes=np.array("a")), r"classes of .* has shape \(\)"),
    ],
)
def test_arrays_that_cannot_be_a_data_set_are_refused(root, arrays, message):
    file = save_copy(root, arrays)
    with pytest.raises(DataInvalid, match=message) as caught:
        data.load("mine")
    assert str(file) in str(caught.value)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("where", ["x_train", "y_train", "y_test", "classes"])
def test_a_pickle_inside_an_npz_is_never_executed(root, tmp_path, where):
    marker = tmp_path / "executed"
    poison = np.array([Payload(marker)] * 8, dtype=object)
    save_copy(root, make_arrays(COLOUR, LABELS, **{where: poison}))
    for use in (data.load, data.describe, data.verify):
        if use is data.verify:
            assert not use("mine")[0].ok
        else:
            with pytest.raises(DataInvalid, match=f"{where} of .* holds Python objects"):
                use("mine")
    assert data.list_datasets()[-1].state == "invalid"
    assert not marker.exists()


def test_a_pickle_in_place_of_the_npz_is_never_executed(root, tmp_path):
    marker = tmp_path / "executed"
    file = save_copy(root, make_arrays(COLOUR, LABELS))
    file.write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(DataInvalid, match="not a complete NPZ file"):
        data.load("mine")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x_train.npy", pickle.dumps(Payload(marker)))
    with pytest.raises(DataInvalid, match=r"x_train of .* is not an array in NumPy's format"):
        data.load("mine")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()  # the payload works where it is unpickled


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_truncated_npz_is_refused_wherever_it_is_cut(root, save):
    file = save_copy(root, make_arrays(COLOUR, LABELS), save=save)
    content = file.read_bytes()
    for length in range(0, len(content), 97):
        file.write_bytes(content[:length])
        with pytest.raises(DataInvalid, match="not a complete NPZ file"):
            data.load("mine")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_byte_never_ends_in_a_traceback_or_wrong_numbers(root, save):
    file = save_copy(root, make_arrays(COLOUR[:, :2, :2], LABELS), save=save)
    right, content = data.load("mine").fingerprint, file.read_bytes()
    for position in range(0, len(content), 3):
        file.write_bytes(
            content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]
        )
        try:
            received = data.load("mine").fingerprint
        except DataInvalid:
            continue
        assert received == right, position


def test_a_header_that_claims_more_than_the_file_holds_is_refused(root):
    file = save_copy(root, make_arrays(COLOUR, LABELS))
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["x_train.npy"] = members["x_train.npy"].replace(b"(8, 6, 5, 3)", b"(8000000, 6)")
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(
        DataInvalid, match=r"x_train of .* declares shape .* 48,000,\d+ bytes; the file holds"
    ):
        data.load("mine")


def test_a_zip_bomb_is_not_unpacked(root):
    file = root / "mine" / "mine.npz"
    file.parent.mkdir()
    header = {"descr": "|u1", "fortran_order": False, "shape": (300, 1000, 1000)}
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x_train.npy", "w") as stream,
    ):
        np.lib.format.write_array_header_1_0(stream, header)
        for _ in range(300):
            stream.write(bytes(1_000_000))
    with pytest.raises(
        DataInvalid, match=r"x_train.npy of .* claims to unpack from .* more than 200 to 1"
    ):
        data.describe("mine")


def test_data_larger_than_the_machines_memory_are_refused_before_reading(root, monkeypatch):
    from fanin.data.formats import npz

    save_copy(root, make_arrays(COLOUR, LABELS), save=np.savez_compressed)
    monkeypatch.setattr(npz, "_measure_memory", lambda: 1000.0)
    with pytest.raises(
        DataInvalid,
        match=r"needs .* bytes of memory; this machine has 1,000.*uncompressed: then they are read",
    ):
        data.load("mine")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_stands_twice_is_refused(root):
    file = save_copy(root, make_arrays(COLOUR, LABELS))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("y_test.npy", archive.read("y_test.npy"))
    with pytest.raises(DataInvalid, match="holds y_test twice"):
        data.load("mine")


def test_the_fingerprint_is_of_the_arrays_not_of_the_file(root):
    save_copy(root, make_arrays(COLOUR, LABELS))
    first = data.load("mine").fingerprint
    save_copy(
        root, make_arrays(COLOUR, LABELS.astype(np.uint8), extra=TABLE), save=np.savez_compressed
    )
    assert data.load("mine").fingerprint == first
    assert len(first) == 64


def test_the_fingerprint_notices_every_change(root):
    changed = COLOUR.copy()
    changed[11, 0, 0, 0] ^= 1
    other_labels = LABELS.copy()
    other_labels[:2] = other_labels[1::-1]
    versions = [
        make_arrays(COLOUR, LABELS),
        make_arrays(changed, LABELS),
        make_arrays(COLOUR, other_labels),
        make_arrays(COLOUR, LABELS.astype(float)),
        make_arrays(COLOUR.astype(float), LABELS),
        make_arrays(COLOUR.reshape(12, 5, 6, 3), LABELS),
        {"x_train": COLOUR[:7], "y_train": LABELS[:7], "x_test": COLOUR[7:], "y_test": LABELS[7:]},
    ]
    seen = set()
    for arrays in versions:
        save_copy(root, arrays)
        seen.add(data.load("mine").fingerprint)
    assert len(seen) == len(versions)


@pytest.fixture
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("somewhere else") / "dätä set.npz"
    np.savez(file, **make_arrays(COLOUR, LABELS))
    return file


def test_an_added_copy_is_found(root, file):
    target = data.add("mine", file)
    assert target == root / "mine" / "mine.npz"
    assert target.read_bytes() == file.read_bytes()
    assert data.load("mine").info.n_train == 8
    assert [entry.name for entry in data.list_datasets() if entry.state == "user copy"] == ["mine"]


def test_adding_the_same_file_again_changes_nothing(root, file):
    before = data.add("mine", file).stat()
    assert data.add("mine", file).stat() == before
    assert data.add("mine", root / "mine" / "mine.npz").stat() == before


def test_adding_never_overwrites_another_file_unless_told_to(root, file, tmp_path):
    target = data.add("mine", file)
    other = tmp_path / "other.npz"
    np.savez(other, **make_arrays(TABLE, TARGETS))
    with pytest.raises(OutputError, match="exists and differs"):
        data.add("mine", other)
    assert target.read_bytes() == file.read_bytes()
    data.add("mine", other, replace=True)
    assert target.read_bytes() == other.read_bytes()


def test_what_cannot_be_loaded_cannot_be_added(root, tmp_path):
    bad = tmp_path / "bad.npz"
    np.savez(bad, **make_arrays(TABLE, TARGETS, y_test=TARGETS[:2]))
    with pytest.raises(DataInvalid, match="y_test"):
        data.add("mine", bad)
    with pytest.raises(DataUnavailable, match="is not a file"):
        data.add("mine", tmp_path / "absent.npz")
    np.savez(bad, **make_arrays(TABLE, TARGETS))
    with pytest.raises(DataInvalid, match="does not fit mnist"):
        data.add("mnist", bad)
    assert not (root / "mine").exists()


@pytest.mark.parametrize(
    "name",
    ["../../x", "/etc/passwd", "", "Mine", "a b", "a" * 61, "nul\0", "x/y", "..", None, "😀", "~"],
)
def test_a_name_never_becomes_a_path(root, file, name):
    with pytest.raises(UsageError, match="cannot name a dataset"):
        data.add(name, file)
    for use in (data.load, data.describe, data.verify, data.require):
        with pytest.raises(UnknownName):
            use(name)
    assert list(root.iterdir()) == []


def test_a_full_disk_leaves_no_partial_copy(root, file, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        data.add("mine", file)
    assert list((root / "mine").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_clear_error(file, tmp_path, monkeypatch):
    (tmp_path / "in the way").write_text("a file, not a folder")
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path / "in the way"))
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        data.add("mine", file)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_a_clear_error_and_can_still_be_read(root, file):
    data.add("mine", file)
    root.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OutputError, match="Permission denied"):
        data.add("other", file)
    assert data.load("mine").info.n_train == 8
    root.chmod(stat.S_IRWXU)
