"""Specs of data sets: canonical form, options, derived data sets, what is refused."""

import dataclasses

import numpy as np
import pytest

from fanin import data
from fanin.errors import DataUnavailable, SpecError, UnknownName, UsageError
from fanin.registry import NoOptions

WAYS = (
    data.describe,
    data.load,
    data.require,
    data.ensure,
    data.fetch,
    data.verify,
    data.canonicalize_spec,
    data.get_status,
)


def save_copy(root, name, x=None, y=None):
    file = root / name / f"{name}.npz"
    file.parent.mkdir(parents=True)
    x = np.arange(6 * 4 * 6, dtype=np.uint8).reshape(6, 4, 6) if x is None else x
    y = np.arange(6) % 3 if y is None else y
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    return file


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("digits", "digits"),
        ("digits()", "digits"),
        ("rows", "rows"),
        ("rows()", "rows"),
        ("rows(of=mnist)", "rows"),
        (" rows( of = digits ) ", "rows(of=digits)"),
        ('rows(of="digits")', "rows(of=digits)"),
        ("rows(of='fashion-mnist')", "rows(of='fashion-mnist')"),
        ("pixels(size=none, permuted=false)", "pixels"),
        ("pixels(size=14, permuted=true, of=mnist)", "pixels(permuted=true, size=14)"),
        ("adding(length=100)", "adding"),
        ("adding(n_train=50, length=10)", "adding(length=10, n_train=50)"),
        ("tiny-shakespeare(length=64)", "tiny-shakespeare"),
        ("autoencoding(of='image-fitting(size=64)')", "autoencoding(of='image-fitting')"),
    ],
)
def test_a_data_set_has_one_canonical_spec(root, spec, canonical):
    assert data.canonicalize_spec(spec) == canonical
    assert data.canonicalize_spec(canonical) == canonical
    assert data.describe(spec).name == canonical


def test_the_canonical_spec_of_a_users_own_data_set_is_its_name(root):
    save_copy(root, "mine")
    assert data.canonicalize_spec("mine") == "mine"
    assert data.canonicalize_spec("rows(of=mine)") == "rows(of=mine)"


WITH_OPTIONS = [entry for entry in data.REGISTRY if entry.options is not NoOptions]


@pytest.mark.parametrize("name", [entry.name for entry in WITH_OPTIONS])
def test_a_data_set_with_options_is_described_by_default_without_files(root, name):
    info = data.describe(name)
    assert (info.name, data.canonicalize_spec(name)) == (name, name)
    assert info.n_train > info.n_test > 0


@pytest.mark.parametrize("entry", WITH_OPTIONS, ids=lambda entry: entry.name)
def test_options_are_frozen_and_have_defaults(entry):
    assert entry.options.__dataclass_params__.frozen
    assert entry.options() == entry.options()
    assert all(
        field.default is not dataclasses.MISSING for field in dataclasses.fields(entry.options)
    )


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("pixels(siez=14)", UnknownName, "No option of pixels is called 'siez'. Did you mean size"),
        ("digits(size=4)", SpecError, "digits takes no options; received size"),
        ("nothing(size=4)", UnknownName, "No dataset is called 'nothing'"),
        ("pixel(size=4)", UnknownName, "Did you mean pixels"),
        ("rows(of=mnst)", UnknownName, "No dataset is called 'mnst'. Did you mean .*mnist"),
        ("rows(of='../../etc')", UnknownName, "is a path, not the name of a data set"),
        ("rows(of=3)", SpecError, r"rows\(of=…\) must be a word, not 3"),
        ("rows(digits)", SpecError, "options are written key=value"),
        ("rows(of=digits", SpecError, "malformed"),
        ("pixels(size=2.5)", SpecError, "must be a whole number or none"),
        (
            "adding(length=1)",
            SpecError,
            r"adding\(length=…\) must be a whole number from 2 to 10,000, not 1",
        ),
        ("adding(n_test=0)", SpecError, "from 1 to 10,000,000, not 0"),
        ("adding(length=10000, n_train=10000000)", SpecError, "would hold 200,040,000,000 numbers"),
        ("copying(symbols=1)", SpecError, "from 2 to 10,000, not 1"),
        ("copying(memory=0)", SpecError, "from 1 to 10,000, not 0"),
        ("image-fitting(image=moon)", SpecError, "must be one of china, flower"),
        ("image-fitting(size=428)", SpecError, "from 4 to 427, not 428"),
        ("tiny-shakespeare(length=0)", SpecError, "from 1 to 111,539, .* not 0"),
        ("tiny-shakespeare(length=111540)", SpecError, "a window fits into the 111,540 characters"),
    ],
)
def test_what_cannot_be_is_refused_however_it_is_asked_for(root, spec, error, message):
    for way in WAYS:
        with pytest.raises(error, match=message):
            way(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "rows(of=diabetes)",
            "rows reads images .* diabetes is a data set for regression whose inputs are of kind "
            "table",
        ),
        (
            "pixels(of=adding)",
            "adding is a data set for regression whose inputs are of kind sequence",
        ),
        ("pixels(of='autoencoding')", "autoencoding is a data set for autoencoding"),
        (
            "rows(of=rows)",
            "rows is a data set for classification whose inputs are of kind sequence",
        ),
        ("autoencoding(of=copying)", "of kind tokens"),
        ("autoencoding(of=autoencoding)", "takes images or tables with a label or target"),
        (
            "pixels(of=digits, size=3)",
            r"size=3\) must divide the 8 × 8 pixels of digits .* Use 1, 2, 4, 8 or none",
        ),
        (
            "pixels(size=0)",
            r"size=0\) must divide the 28 × 28 pixels of mnist .* Use 1, 2, 4, 7, 14, 28 or none",
        ),
        ("pixels(of=digits, size=16)", r"size=16\) must divide"),
    ],
)
def test_what_does_not_fit_the_data_set_it_is_made_from_is_refused(root, spec, message):
    for way in (data.describe, data.load, data.get_status):
        with pytest.raises(SpecError, match=message):
            way(spec)


def test_the_files_are_those_of_the_data_set_it_is_made_from(root):
    for use in (data.load, data.require, data.ensure, data.fetch):
        with pytest.raises(DataUnavailable, match="mnist"):
            use("pixels(size=14)")
    assert [check.path.parent for check in data.verify("rows")] == [root / "mnist"] * 4
    data.require("rows(of=digits)")
    data.ensure("autoencoding(of=diabetes)")
    assert data.verify("rows(of=digits)") == []


def test_what_is_generated_needs_no_files(root):
    for spec in ("adding", "copying(length=5)", "image-fitting"):
        data.require(spec)
        data.ensure(spec)
        data.fetch(spec)
        assert data.verify(spec) == []
    assert list(root.iterdir()) == []


def test_a_derived_data_set_reads_a_user_copy(root):
    file = save_copy(root, "mine")
    dataset = data.load("rows(of=mine)")
    assert (dataset.info.input_shape, dataset.published, dataset.source) == (
        (4, 6),
        False,
        "user's copy mine.npz",
    )
    (check,) = data.verify("rows(of=mine)")
    assert (check.path, check.ok) == (file, True)
    assert data.fetch("rows(of=mine)") == file.parent


def test_source_canonical_and_divisor_follow_the_base_set(root):
    dataset = data.load("pixels(of=digits)")
    assert (dataset.source, dataset.published, dataset.divisor) == (
        "embedded in scikit-learn",
        True,
        16.0,
    )
    assert (
        dataset.fingerprint
        != data.load("rows(of=digits)").fingerprint
        != data.load("digits").fingerprint
    )


def test_the_list_says_where_the_files_of_derived_data_sets_are(root):
    listings = {listing.name: listing for listing in data.list_datasets()}
    assert (listings["rows"].state, listings["rows"].where, listings["rows"].of) == (
        "missing",
        str(root / "mnist"),
        "mnist",
    )
    assert (listings["adding"].state, listings["adding"].where, listings["adding"].of) == (
        "available",
        "generated",
        "",
    )
    assert (listings["image-fitting"].state, listings["image-fitting"].where) == (
        "available",
        "embedded in scikit-learn",
    )
    shakespeare = listings["tiny-shakespeare"]
    assert (shakespeare.state, shakespeare.where) == ("missing", str(root / "tinyshakespeare"))
    assert shakespeare.note == "lacks input.txt"
    assert all(listing.info == data.describe(name) for name, listing in listings.items())


def test_one_data_set_can_be_listed_by_its_spec(root):
    assert data.get_status("digits") in data.list_datasets()
    listing = data.get_status("rows(of='digits')")
    assert (listing.name, listing.state, listing.of) == ("rows(of=digits)", "available", "digits")


def test_a_user_copy_cannot_replace_a_data_set_with_options(root, tmp_path):
    file = save_copy(root, "mine")
    with pytest.raises(UsageError, match="adding is a registered data set with options"):
        data.add("adding", file)
    save_copy(root, "copying")
    with pytest.raises(
        UsageError, match=r"copying is a registered data set with options.* another name"
    ):
        data.load("copying(length=5)")
    (listing,) = [listing for listing in data.list_datasets() if listing.name == "copying"]
    assert (listing.state, listing.info) == ("invalid", None)


def test_a_damaged_base_set_does_not_break_the_catalogue(root):
    (root / "mnist").mkdir()
    (root / "mnist" / "mnist.npz").write_bytes(b"PK")
    listings = {listing.name: listing for listing in data.list_datasets()}
    assert listings["rows"].state == "invalid"


def test_a_missing_text_says_where_and_how(root):
    with pytest.raises(
        DataUnavailable, match=r"input\.txt \(1,115,394 bytes\).*fanin data fetch tiny-shakespeare"
    ) as caught:
        data.load("tiny-shakespeare(length=10)")
    assert str(root / "tinyshakespeare") in str(caught.value)
    assert "fanin data add" not in str(caught.value)
    assert "tiny-shakespeare" in data.list_fetchable()


PINNED = [
    ("rows(of=digits)", "bb1a846fcf951c21"),
    ("pixels(of=digits)", "f138e102aa6e79f8"),
    ("pixels(of=digits, size=4)", "d6529adbc3f51054"),
    ("pixels(of=digits, permuted=true)", "81e6a6f772665730"),
    ("adding(length=20, n_test=10, n_train=50)", "f6f026932b4468e1"),
    ("adding(length=21, n_test=10, n_train=50)", "70e0e8832eddc43d"),
    ("copying(n_test=10, n_train=50)", "2d3f6429908d81c3"),
    ("copying(length=1, memory=3, n_test=10, n_train=50, symbols=300)", "261d6bf4c0e4cd11"),
    ("image-fitting(size=16)", "674670cee6664753"),
    ("image-fitting(image=flower)", "ff1d8961371061b4"),
    ("autoencoding(of=diabetes)", "d26867e17194f0ec"),
    ("autoencoding(of=digits)", "b12c8f7f8d5324de"),
]


@pytest.mark.parametrize(("spec", "fingerprint"), PINNED)
def test_a_data_set_is_as_described_and_for_ever_the_same(root, spec, fingerprint):
    # A stored result names this fingerprint: a change of a draw or of the reading would orphan it.
    dataset, info = data.load(spec), data.describe(spec)
    assert dataset.info == info
    assert dataset.fingerprint.startswith(fingerprint)
    for x, y, n in (
        (dataset.x_train, dataset.y_train, info.n_train),
        (dataset.x_test, dataset.y_test, info.n_test),
    ):
        assert x.shape == (n, *info.input_shape)
        assert x.is_contiguous()
        assert len(y) == n
