"""The real data sets, where FANIN_DATA_DIR names a folder that holds them."""

import os
import subprocess
import sys

import pytest
import torch

from fanin import data
from fanin.errors import DataUnavailable
from fanin.registry import NoOptions

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(
        not os.environ.get("FANIN_DATA_DIR"),
        reason="FANIN_DATA_DIR names no folder with the real data sets",
    ),
]

REAL = [
    entry.name
    for entry in data.REGISTRY
    if entry.options is NoOptions and entry.published is not None
]


def load_or_skip(name):
    try:
        return data.load(name)
    except DataUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", REAL)
def test_real_data_are_as_described_and_verified(name):
    dataset = load_or_skip(name)
    assert dataset.info == data.describe(name)
    assert all(check.ok for check in data.verify(name))
    if dataset.info.task == "classification":
        assert dataset.y_test.unique().tolist() == list(range(dataset.info.outputs))
        assert (int(dataset.x_train.min()), int(dataset.x_train.max())) == (0, 255)


@pytest.mark.parametrize(
    ("name", "mean", "std"), [("mnist", 0.1307, 0.3081), ("fashion-mnist", 0.2860, 0.3530)]
)
def test_grey_images_have_their_well_known_moments(name, mean, std):
    dataset = load_or_skip(name)
    assert dataset.published
    pixels = dataset.x_train.float() / dataset.divisor
    assert pixels.mean().item() == pytest.approx(mean, abs=5e-5)
    assert pixels.std().item() == pytest.approx(std, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "means"),
    [("cifar10", (0.4914, 0.4822, 0.4465)), ("cifar100", (0.5071, 0.4865, 0.4409))],
)
def test_colour_images_have_their_published_means_by_channel(name, means):
    dataset = load_or_skip(name)
    received = (
        torch.stack([dataset.x_train[:, c].double().mean() for c in range(3)]) / dataset.divisor
    )
    assert received.tolist() == pytest.approx(means, abs=1e-4)
    assert dataset.y_train.bincount().unique().numel() == 1


def test_the_most_frequent_digit_of_mnists_test_set_is_a_share_of_0_1135():
    labels = load_or_skip("mnist").y_test
    assert labels.bincount().max().item() / len(labels) == 0.1135


def test_predicting_12_9_for_california_housing_errs_by_the_published_amount():
    dataset = load_or_skip("california-housing")
    assert dataset.published
    assert (dataset.y_test.double() - 12.9).abs().mean().item() == pytest.approx(
        207_080.44, abs=0.005
    )


@pytest.mark.parametrize(
    ("spec", "fingerprint"),
    [
        ("rows", "d027fbe1abd1b831"),
        ("pixels(permuted=true, size=14)", "76fa591d2a74a324"),
        ("tiny-shakespeare", "3630e494549e047e"),
    ],
)
def test_what_is_made_from_published_files_is_for_ever_the_same(spec, fingerprint):
    dataset = load_or_skip(spec)
    assert (dataset.info, dataset.published) == (data.describe(spec), True)
    assert dataset.fingerprint.startswith(fingerprint)
    assert all(check.ok for check in data.verify(spec))


def test_shakespeare_can_be_read_and_its_test_set_is_the_last_tenth():
    dataset = load_or_skip("tiny-shakespeare(length=63)")
    text = (data.resolve_folder("tinyshakespeare") / "input.txt").read_bytes()
    kinds = sorted(set(text))
    assert len(kinds) == dataset.info.vocabulary == dataset.info.outputs

    def spelt(tokens):
        return bytes(kinds[token] for token in tokens.tolist())

    assert (
        spelt(dataset.x_train[0])
        == text[:63]
        == b"First Citizen:\nBefore we proceed any further, hear me speak.\n\nA"
    )
    assert spelt(dataset.y_train[0]) == text[1:64]
    assert spelt(dataset.x_test[0]) == text[1_003_854:][:63]
    assert dataset.y_train[-1].shape == (63,)


def test_mnist_averaged_to_half_its_size_keeps_its_mean():
    whole, half = load_or_skip("pixels"), load_or_skip("pixels(size=14)")
    assert half.info.input_shape == (196, 1)
    mean = (whole.x_train.double() / whole.divisor).mean().item()
    assert half.x_train.double().mean().item() == pytest.approx(mean, rel=1e-7)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_and_splitting_keeps_within_twice_the_bytes_and_600_mb():
    load_or_skip("cifar10")
    code = (
        # Not getrusage: its peak begins with that of the process that started this one.
        "import re; from fanin import data; d = data.load('cifar10'); n = d.x_train.nbytes + "
        "d.x_test.nbytes;"
        "p = data.prepare(d, holdout=0.1, split_seed=0, standardise_target=True);"
        "print(n, int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) * 1024)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size, peak = map(int, ran.stdout.split())
    assert peak < 2 * size + 600 * 2**20
