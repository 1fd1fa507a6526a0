"""Large files of the user's own: mapped instead of read, with the same numbers, and bounded
memory.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch

from fanin import data, seeds
from fanin.data import MappedSamples
from fanin.errors import DataInvalid, UsageError

RNG = seeds.make_numpy_generator(0, "mapped")
COLOUR = RNG.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
GREY = COLOUR[..., 0].copy()
TABLE = RNG.standard_normal((30, 7)).astype(np.float32)
LABELS = np.arange(30) % 3
TARGETS = RNG.standard_normal((30, 2))
FLOAT_IMAGES = RNG.standard_normal((30, 4, 3, 2)).astype(np.float32)

CASES = [
    (COLOUR, LABELS),
    (GREY, LABELS),
    (TABLE, LABELS),
    (TABLE, TARGETS),
    (FLOAT_IMAGES, LABELS),
]


def save_copy(root, x, y, save=np.savez, name="mine"):
    file = root / name / f"{name}.npz"
    file.parent.mkdir(exist_ok=True)
    save(file, x_train=x[:24], y_train=y[:24], x_test=x[24:], y_test=y[24:])
    return file


def load_both(monkeypatch, spec="mine"):
    """The data set read, and the same one mapped."""
    read = data.load(spec)
    monkeypatch.setenv("FANIN_MAP_FROM", "0")
    return read, data.load(spec)


@pytest.mark.parametrize(("x", "y"), CASES)
def test_a_mapped_data_set_holds_the_same_numbers(root, monkeypatch, x, y):
    save_copy(root, x, y)
    read, mapped = load_both(monkeypatch)
    assert (read.mapped, mapped.mapped) == (False, True)
    assert (mapped.info, mapped.fingerprint, mapped.divisor) == (
        read.info,
        read.fingerprint,
        read.divisor,
    )
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(mapped, name).clone(), getattr(read, name))


@pytest.mark.parametrize("holdout", [0, 0.25])
@pytest.mark.parametrize(("x", "y"), CASES)
def test_training_gathers_the_same_batches(root, monkeypatch, x, y, holdout):
    save_copy(root, x, y)
    options = {"holdout": holdout, "split_seed": 3, "standardise_target": True}
    read, mapped = (data.prepare(dataset, **options) for dataset in load_both(monkeypatch))
    order = seeds.draw_order(0, 0, len(read.train.y))
    for name in ("train", "validation", "test"):
        expected, received = getattr(read, name), getattr(mapped, name)
        assert isinstance(received.x, MappedSamples)
        assert (received.x.shape, received.x.dtype, len(received.x)) == (
            expected.x.shape,
            expected.x.dtype,
            len(expected.x),
        )
        assert torch.equal(received.y, expected.y)
        chosen = order[order < len(expected.y)]
        for batch in torch.split(chosen, 7):
            assert torch.equal(received.x[batch], expected.x[batch])
            assert received.x[batch].is_contiguous()
        for start in range(0, len(expected.y), 4):
            assert torch.equal(received.x[start : start + 4], expected.x[start : start + 4])
    assert read.target_means == mapped.target_means


def test_a_batch_is_no_part_of_the_mapping_and_the_file_is_never_written_to(root, monkeypatch):
    file = save_copy(root, GREY, LABELS)
    before = file.read_bytes()
    _, mapped = load_both(monkeypatch)
    prepared = data.prepare(mapped, holdout=0, split_seed=0, standardise_target=False)
    batch = prepared.train.x[0:4]
    batch.zero_()
    assert torch.equal(prepared.train.x[0:4], torch.from_numpy(GREY[:4, None]))
    mapped.x_train.zero_()
    assert file.read_bytes() == before


def test_samples_can_be_picked_again_and_sent_to_a_device():
    whole = torch.arange(20).view(10, 2)
    samples = MappedSamples(whole).select(torch.tensor([8, 3, 5])).select(torch.tensor([2, 0]))
    assert torch.equal(samples[:], whole[[5, 8]])
    assert torch.equal(samples.to("cpu")[torch.tensor([1])], whole[[8]])
    assert samples.to("meta")[torch.tensor([1])].device.type == "meta"


def test_a_device_that_is_not_there_is_noticed_at_once():
    with pytest.raises((RuntimeError, AssertionError)):
        MappedSamples(torch.zeros(2, 2)).to("xpu")


@pytest.mark.parametrize(
    ("x", "save"),
    [
        (GREY, np.savez_compressed),
        (TABLE.astype(np.float64), np.savez),
        (TABLE.astype(">f4"), np.savez),
        (TABLE.astype(np.float16), np.savez),
    ],
)
def test_what_cannot_be_mapped_is_read_whole(root, monkeypatch, x, save):
    save_copy(root, x, LABELS, save)
    read, large = load_both(monkeypatch)
    assert not large.mapped
    assert large.fingerprint == read.fingerprint


def test_a_table_in_column_order_is_read_whole(root, monkeypatch):
    monkeypatch.setenv("FANIN_MAP_FROM", "0")
    file = root / "mine" / "mine.npz"
    file.parent.mkdir()
    x = np.asfortranarray(TABLE)
    np.savez(file, x_train=x, y_train=LABELS, x_test=x, y_test=LABELS)
    dataset = data.load("mine")
    assert not dataset.mapped
    assert torch.equal(dataset.x_train, torch.from_numpy(TABLE))


def test_a_table_that_is_standardised_is_read_whole(root, monkeypatch):
    save_copy(
        root,
        RNG.standard_normal((30, 8)).astype(np.float32),
        TARGETS[:, 0],
        name="california-housing",
    )
    monkeypatch.setenv("FANIN_MAP_FROM", "0")
    assert not data.load("california-housing").mapped


def test_small_files_are_read_whole_and_the_variable_counts_megabytes(root, monkeypatch):
    save_copy(root, np.zeros((30, 300_000), np.uint8).reshape(30, 300, 1000), LABELS)  # 9 MB
    assert not data.load("mine").mapped
    for megabytes, mapped in (("8", True), ("10", False), ("", False)):
        monkeypatch.setenv("FANIN_MAP_FROM", megabytes)
        assert data.load("mine").mapped == mapped


@pytest.mark.parametrize("given", ["1e3", "-1", "much", "²", "9" * 13])
def test_a_variable_that_is_no_number_is_refused(root, monkeypatch, given):
    save_copy(root, GREY, LABELS)
    monkeypatch.setenv("FANIN_MAP_FROM", given)
    with pytest.raises(UsageError, match="FANIN_MAP_FROM must be a whole number of megabytes"):
        data.load("mine")


def test_a_file_larger_than_the_memory_is_mapped(root, monkeypatch):
    from fanin.data.formats import npz

    save_copy(root, GREY, LABELS)
    monkeypatch.setattr(npz, "_measure_memory", lambda: 800.0)
    assert data.load("mine").mapped


def test_a_number_that_is_not_finite_is_found_in_a_mapped_table(root, monkeypatch):
    table = TABLE.copy()
    table[11, 3] = np.nan
    save_copy(root, table, LABELS)
    monkeypatch.setenv("FANIN_MAP_FROM", "0")
    with pytest.raises(DataInvalid, match=r"x_train .* first in row 11"):
        data.load("mine")


def test_a_flipped_byte_in_a_mapped_file_never_ends_in_wrong_numbers(root, monkeypatch):
    monkeypatch.setenv("FANIN_MAP_FROM", "0")
    file = save_copy(root, COLOUR[:, :1, :1], LABELS)
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


@pytest.mark.parametrize("part", ["x_train", "x_test"])
def test_the_checksum_of_a_mapped_array_is_compared(root, monkeypatch, part):
    monkeypatch.setenv("FANIN_MAP_FROM", "0")
    x = RNG.integers(
        0, 256, (30, 100, 100), dtype=np.uint8
    )  # far more than is read for the sake of the header
    file = save_copy(root, x, LABELS)
    content = bytearray(file.read_bytes())
    content[content.find({"x_train": x[:24], "x_test": x[24:]}[part].tobytes()) + 40_000] ^= 1
    file.write_bytes(content)
    assert data.describe("mine").n_train == 24
    with pytest.raises(DataInvalid, match="not a complete NPZ file"):
        data.load("mine")


@pytest.mark.parametrize("spec", ["rows(of=mine)", "pixels(of=mine)", "autoencoding(of=mine)"])
def test_what_is_only_looked_at_otherwise_stays_mapped(root, monkeypatch, spec):
    save_copy(root, COLOUR, LABELS)
    read, mapped = load_both(monkeypatch, spec)
    assert mapped.mapped
    assert mapped.fingerprint == read.fingerprint
    parts = [
        data.prepare(d, holdout=0.25, split_seed=0, standardise_target=False)
        for d in (read, mapped)
    ]
    assert torch.equal(parts[1].train.x[:], parts[0].train.x)
    assert (parts[1].train.y is parts[1].train.x) == ("autoencoding" in spec)


def test_permuted_pixels_of_a_mapped_file_are_in_memory(root, monkeypatch):
    save_copy(root, COLOUR, LABELS)
    read, mapped = load_both(monkeypatch, "pixels(of=mine, permuted=true)")
    assert not mapped.mapped
    assert torch.equal(mapped.x_train, read.x_train)


MEASURE = """
import re, tracemalloc
from fanin import data, seeds
import torch

def anonymous():
    return int(re.search(r"RssAnon:\\s*(\\d+)", open("/proc/self/status").read())[1]) * 1024

tracemalloc.start()
before = anonymous()
peak = 0
dataset = data.load("mine")
peak = max(peak, anonymous() - before)
prepared = data.prepare(dataset, holdout=0.1, split_seed=0, standardise_target=True)
for batch in torch.split(seeds.draw_order(0, 0, len(prepared.train.y)), 64):
    prepared.train.x[batch]
    peak = max(peak, anonymous() - before)
print(dataset.mapped, peak, tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("mapped", [True, False])
def test_a_mapped_file_takes_little_memory_of_its_own(root, monkeypatch, mapped):
    x = RNG.integers(0, 256, (1000, 256, 256), dtype=np.uint8)  # 66 MB
    file = root / "mine" / "mine.npz"
    file.parent.mkdir()
    np.savez(file, x_train=x, y_train=np.arange(1000) % 3, x_test=x[:10], y_test=np.arange(10) % 3)
    monkeypatch.setenv("FANIN_MAP_FROM", "50" if mapped else "500")
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    was_mapped, resident, traced = ran.stdout.split()
    assert was_mapped == str(mapped)
    assert (int(resident) < 25e6, int(traced) < 25e6) == (mapped, mapped)
