"""The registry of data sets, the folder they lie in, the catalogue and the check of files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_cases import make_tiny_entry

from fanin import data, registry
from fanin.data.datasets import images
from fanin.data.datasets.dataset_registry import DatasetRegistry
from fanin.errors import DataInvalid, DataUnavailable, MissingExtra, UnknownName
from fanin.registry import NoOptions

PLAIN = [entry for entry in data.REGISTRY if entry.options is NoOptions]
EMBEDDED = [entry.name for entry in PLAIN if entry.published is None]
PUBLISHED = [entry.name for entry in PLAIN if entry.published is not None]


def save_copy(root, name):
    file = root / name / f"{name}.npz"
    file.parent.mkdir(parents=True)
    x, y = np.zeros((6, 3)), np.arange(6) / 2
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    return file


def test_the_case_studys_data_sets_and_the_embedded_ones_are_registered():
    wanted = {
        "digits",
        "diabetes",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "california-housing",
    }
    assert wanted <= set(data.names())


@pytest.mark.parametrize("name", [entry.name for entry in PLAIN])
def test_every_data_set_is_described_without_its_files(root, name):
    info = data.describe(name)
    assert info.name == name
    assert len(info.input_shape) in (1, 3)
    assert (info.outputs == 1) == (info.task == "regression")


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_data_are_as_described(root, name):
    dataset = data.load(name)
    info = data.describe(name)
    assert dataset.info == info
    assert dataset.x_train.shape == (info.n_train, *info.input_shape)
    assert dataset.x_test.shape == (info.n_test, *info.input_shape)
    assert dataset.published
    assert dataset.source == "embedded in scikit-learn"
    assert data.load(name).fingerprint == dataset.fingerprint


def test_digits_are_bytes_from_0_to_16_and_their_split_is_stratified_and_for_ever_the_same(root):
    dataset = data.load("digits")
    assert (dataset.x_train.dtype, int(dataset.x_train.max()), dataset.divisor) == (
        torch.uint8,
        16,
        16.0,
    )
    train, test = dataset.y_train.bincount(), dataset.y_test.bincount()
    assert ((test - 0.2 * (train + test)).abs() < 1).all()
    # A stored result names this fingerprint: a change of the split or of the reading would orphan
    # it.
    assert dataset.fingerprint == "970dfd8777af0a22be02a2aba43cdc271fe83081104fcb93edac9eecb8f23c8f"


def test_digits_and_diabetes_hold_each_sample_of_scikit_learn_once(root):
    from sklearn.datasets import load_diabetes, load_digits

    digits, diabetes = data.load("digits"), data.load("diabetes")
    ours = torch.cat([digits.x_train, digits.x_test]).reshape(-1, 64).double().numpy()
    assert np.array_equal(np.unique(ours, axis=0), np.unique(load_digits().data, axis=0))
    targets = torch.cat([diabetes.y_train, diabetes.y_test]).numpy()
    assert sorted(targets) == sorted(load_diabetes().target)
    assert (len(diabetes.y_test), diabetes.standardise) == (88, True)


def test_embedded_data_without_scikit_learn_name_the_extra(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra, match=r'pip install "\.\[study\]"'):
        data.load("digits")


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_missing_says_where_it_was_looked_for_and_what_to_do(root, name):
    for use in (data.load, data.require):
        with pytest.raises(DataUnavailable) as caught:
            use(name)
        for part in (
            str(root / name),
            "FANIN_DATA_DIR",
            f"fanin data add {name} FILE.npz",
            f"{name}.npz",
        ):
            assert part in str(caught.value)
        for file in data.REGISTRY.get(name).published.files:
            assert file.name in str(caught.value)


def test_require_is_content_with_embedded_data_and_with_a_copy(root):
    data.require("digits")
    save_copy(root, "mine")
    data.require("mine")


def test_an_unknown_name_offers_near_ones_users_own_included(root):
    save_copy(root, "my-prices")
    with pytest.raises(UnknownName, match="fashion-mnist"):
        data.load("fashon-mnist")
    with pytest.raises(UnknownName, match="my-prices"):
        data.describe("my-price")


def test_the_catalogue_lists_everything_with_its_state(root):
    save_copy(root, "mine")
    (root / "broken").mkdir()
    (root / "broken" / "broken.npz").write_bytes(b"PK")
    (root / "diabetes").mkdir()
    (root / "diabetes" / "diabetes.npz").write_bytes(b"PK")
    (root / "Not A Name").mkdir()
    (root / "notes.txt").write_text("no data set")
    listings = {listing.name: listing for listing in data.list_datasets()}
    assert list(listings) == [*data.names(), "broken", "mine"]
    assert (listings["digits"].state, listings["digits"].where) == (
        "available",
        "embedded in scikit-learn",
    )
    assert (listings["mnist"].state, listings["mnist"].where) == ("missing", str(root / "mnist"))
    assert listings["cifar10"].state == "missing"
    assert "data_batch_1.bin" in listings["cifar10"].note
    assert (listings["mine"].state, listings["mine"].info) == ("user copy", data.describe("mine"))
    assert (listings["broken"].state, listings["broken"].info) == ("invalid", None)
    assert listings["diabetes"].state == "invalid"
    assert listings["diabetes"].info.n_train == 354


def test_the_catalogue_says_which_files_are_lacking(root):
    (root / "mnist").mkdir()
    for file in data.REGISTRY.get("mnist").published.files[1:]:
        (root / "mnist" / file.name).touch()
    mnist = next(listing for listing in data.list_datasets() if listing.name == "mnist")
    assert (mnist.state, mnist.note) == ("missing", f"lacks {images.TRAIN_IMAGES}")
    (root / "mnist" / images.TRAIN_IMAGES).touch()
    mnist = next(listing for listing in data.list_datasets() if listing.name == "mnist")
    assert (mnist.state, mnist.note) == ("available", "")


def test_verify_measures_each_file_against_what_was_published(root):
    (root / "mnist").mkdir()
    (root / "mnist" / images.TEST_LABELS).write_bytes(bytes(4542))
    (root / "mnist" / images.TRAIN_LABELS).write_bytes(b"cut short")
    checks = {check.path.name: check for check in data.verify("mnist")}
    assert [
        checks[name].note for name in (images.TEST_LABELS, images.TRAIN_LABELS, images.TEST_IMAGES)
    ] == [
        "another checksum",
        "another size",
        "missing",
    ]
    assert not any(check.ok for check in checks.values())
    assert (
        checks[images.TRAIN_LABELS].actual_bytes,
        checks[images.TRAIN_LABELS].expected_bytes,
    ) == (9, 28_881)
    assert checks[images.TEST_LABELS].expected_sha256.startswith("f7ae60f9")
    assert checks[images.TEST_IMAGES].actual_sha256 is None
    with pytest.raises(DataUnavailable):
        data.load("mnist")


def test_verify_checks_the_structure_of_a_users_copy(root):
    file = save_copy(root, "mine")
    (check,) = data.verify("mine")
    assert check.ok
    assert (check.path, check.actual_bytes, check.expected_bytes) == (
        file,
        file.stat().st_size,
        None,
    )
    assert "not published" in check.note
    file.write_bytes(file.read_bytes()[:-30])
    (check,) = data.verify("mine")
    assert not check.ok
    assert "not a complete NPZ file" in check.note
    with pytest.raises(DataInvalid):
        data.load("mine")


def test_verify_has_nothing_to_check_for_embedded_data_and_reports_absent_files(root):
    assert data.verify("digits") == []
    train, _ = data.verify("cifar100")
    assert (train.path, train.ok, train.note) == (root / "cifar100" / "train.bin", False, "missing")
    assert (train.expected_bytes, train.expected_sha256, len(train.expected_sha1)) == (
        153_700_000,
        None,
        40,
    )


def test_the_folder_is_the_one_that_the_variable_names(tmp_path, monkeypatch):
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path / "Daten für fanin"))
    assert data.resolve_folder() == tmp_path / "Daten für fanin"
    assert data.resolve_folder("mnist") == tmp_path / "Daten für fanin" / "mnist"
    save_copy(tmp_path / "Daten für fanin", "mine")
    assert data.load("mine").info.n_train == 6


def test_a_relative_folder_and_a_tilde_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FANIN_DATA_DIR", "here")
    assert data.resolve_folder() == tmp_path / "here"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FANIN_DATA_DIR", "~/there")
    assert data.resolve_folder() == tmp_path / "home" / "there"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has another cache folder")
def test_the_folder_is_the_users_cache_where_nothing_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv("FANIN_DATA_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data.resolve_folder() == tmp_path / ".cache" / "fanin"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data.resolve_folder() == tmp_path / "cache" / "fanin"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert data.resolve_folder() == tmp_path / ".cache" / "fanin"


def test_without_any_home_embedded_data_load_and_the_others_say_what_to_set(monkeypatch):
    for variable in ("FANIN_DATA_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without a home folder
    assert data.load("digits").info.n_train == 1438
    for use in (data.load, data.require):
        with pytest.raises(DataUnavailable, match="Set FANIN_DATA_DIR to an absolute path"):
            use("mnist")
    states = {listing.name: listing.state for listing in data.list_datasets()}
    assert (states["digits"], states["mnist"]) == ("available", "missing")


def test_a_folder_that_may_not_be_searched_is_a_clear_error(root, monkeypatch):
    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(
        DataUnavailable, match=r"cannot be read: Permission denied\. Check its permissions"
    ):
        data.load("mnist")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read anything")
def test_a_copy_that_may_not_be_read_is_a_clear_error(root):
    save_copy(root, "mine").chmod(0)
    with pytest.raises(DataUnavailable, match="cannot be read: Permission denied"):
        data.load("mine")


def test_importing_the_data_package_imports_no_optional_library():
    heavy = "sklearn, scipy, pandas, pydantic, matplotlib, jinja2, pooch"
    code = f"import sys, fanin.data; print([m for m in '{heavy}'.split(', ') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("group", ["fanin.datasets", "fanin.dataset_families"])
def test_third_parties_register_data_sets_by_entry_points(root, monkeypatch, group):
    class Point:
        name, value, dist = "tiny", "plugin:tiny", None

        def load(self):
            return lambda: make_tiny_entry()[0]

    monkeypatch.setattr(registry, "entry_points", lambda group: {wanted: [Point()]}.get(group, []))
    wanted = group
    datasets = DatasetRegistry("dataset", data.DatasetEntry, groups=data.REGISTRY.groups)
    assert datasets.names() == ("tiny",)
    assert datasets.make("tiny").describe().n_train == 2000
