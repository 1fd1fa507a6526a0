"""Data of one's own without a test set: a CSV file, or arrays x and y, divided by a stated seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_session import fanin as run_command
from combinations import for_each

from fanin import data
from fanin.errors import DataInvalid, FaninError, UnknownName, UsageError

FLOWERS = "".join(
    ["length,width,town,species\n"]
    + [
        f"{n}.5,{n % 7},{'Rome' if n % 2 else 'Oslo'},{('ash', 'elm', 'oak')[n % 3]}\n"
        for n in range(60)
    ]
)


@pytest.fixture
def folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add_text(text: str, **options: Any) -> data.Dataset:
    """The data set that a CSV file with this text becomes."""
    Path("mine.csv").write_text(text, encoding="utf-8")
    data.add("mine", Path("mine.csv"), **{"target": "y", "replace": True, **options})
    return data.load("mine")


def list_rows(dataset: data.Dataset) -> list[tuple[float, ...]]:
    """All samples with their targets, training and test, sorted."""
    parts = ((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test))
    return sorted((*x.tolist(), float(t)) for xs, ys in parts for x, t in zip(xs, ys, strict=True))


def test_a_csv_file_becomes_a_data_set_with_its_classes_in_order(folder: Path) -> None:
    dataset = add_text(FLOWERS, target="species", drop=["town"])
    info = dataset.info
    assert (info.task, info.input_shape, info.outputs) == ("classification", (2,), 3)
    assert (info.n_train, info.n_test) == (48, 12)
    assert list_rows(dataset) == sorted((n + 0.5, n % 7, n % 3) for n in range(60))


def test_test_samples_are_drawn_by_class_and_by_the_seed(folder: Path) -> None:
    first = add_text(FLOWERS, target="species", drop=["town"], test=0.25)
    assert [int((first.y_test == label).sum()) for label in range(3)] == [5, 5, 5]
    again = add_text(FLOWERS, target="species", drop=["town"], test=0.25)
    other = add_text(FLOWERS, target="species", drop=["town"], test=0.25, seed=1)
    assert again.fingerprint == first.fingerprint != other.fingerprint
    assert list_rows(other) == list_rows(first)


def test_the_same_file_may_be_added_twice_and_another_one_only_on_request(folder: Path) -> None:
    options = {"target": "species", "drop": ["town"], "replace": False}
    add_text(FLOWERS, **options)
    add_text(FLOWERS, **options)
    with pytest.raises(FaninError, match="exists and differs"):
        add_text(FLOWERS, **options, seed=2)


@for_each(
    "name, column, options, task, outputs",
    [
        ("few whole numbers", [0, 1, 2] * 8, {}, "classification", 3),
        ("whole numbers that begin at 5", [5, 7] * 12, {}, "classification", 2),
        ("many whole numbers", [*range(24)], {}, "regression", 1),
        ("fractions", [0.5, 1.0] * 12, {}, "regression", 1),
        ("few numbers, said", [0, 1] * 12, {"task": "regression"}, "regression", 1),
        ("fractions, said", [0.5, 1.5] * 12, {"task": "classification"}, "classification", 2),
        ("truth values", ["True", "False"] * 12, {}, "classification", 2),
        ("classes given", ["b", "a"] * 12, {"classes": ["b", "a", "c"]}, "classification", 3),
    ],
)
def test_what_is_predicted_follows_from_the_column_or_is_said(
    name: str, column: list[Any], options: dict[str, Any], task: str, outputs: int, folder: Path
) -> None:
    text = "x,y\n" + "".join(f"{n}.0,{value}\n" for n, value in enumerate(column))
    info = add_text(text, **options).info
    assert (info.task, info.outputs) == (task, outputs)


def test_classes_keep_the_order_in_which_they_are_given(folder: Path) -> None:
    text = "x,y\n" + "".join(f"{n}.0,{'ba'[n % 2]}\n" for n in range(20))
    dataset = add_text(text, classes=["b", "a"])
    assert list_rows(dataset) == [(float(n), float(n % 2)) for n in range(20)]


@for_each("separator", [",", ";", "\t", "|"])
def test_columns_may_be_separated_in_several_ways(separator: str, folder: Path) -> None:
    lines = [["a b", "y"], *([f"{n}.25", str(n % 2)] for n in range(10))]
    text = "\ufeff" + "\n".join(separator.join(line) for line in lines)
    assert add_text(text).info.input_shape == (1,)


def test_inputs_are_standardised_on_request_by_the_training_samples(folder: Path) -> None:
    text = "small,large,constant,y\n" + "".join(
        f"{(n * 7) % 11},{1.7e9 + 3 * n},4,{n % 2}\n" for n in range(50)
    )
    dataset = add_text(text, standardise=True)
    x = dataset.x_train.double()
    assert x.mean(0).abs().max() < 1e-6
    assert (x.std(0, correction=0)[:2] - 1).abs().max() < 1e-6
    assert not x[:, 2].any()
    assert dataset.x_test.double().mean(0)[0].abs() > 1e-3  # not by its own


@for_each(
    "text, options, message",
    [
        ("a,y\n1,0\n2,1\n", {"target": "z"}, "No column of mine.csv is called 'z'"),
        ("a,y\n1,0\n2,1\n", {"drop": ["b"]}, "No column of mine.csv is called 'b'"),
        ("a,yy\n1,0\n2,1\n", {}, "Did you mean yy?"),
        ("a,b,y\n1,x,0\n2,,1\n", {}, r"lacks numbers: b in line 3. Expected finite numbers"),
        ("a,y\n1,0\nNaN,1\n-inf,1\n", {}, r"lacks numbers: a in line 3 and 1 more"),
        (
            "a,b,y\n1,Rome,0\n2,3,1\n",
            {},
            r"text where numbers are expected: b \('Rome' in line 2\)",
        ),
        ("a,b,y\n1,Rome,0\n2,3,1\n", {}, "--drop COLUMN"),
        ("a,y\n1,3\n2,3\n", {}, "Column y of mine.csv has one value only, '3'"),
        ("a,y\n1,\n2,3\n", {}, "which is to be predicted, has no value in line 2"),
        ("a,y\n1,u\n2,v\n3,w\n", {}, "3 different values in 3 lines.*--task regression"),
        ("a,y\n1,u\n2,v\n3,v\n4,v\n", {"task": "regression"}, "holds text .'u'.. Expected numbers"),
        ("a,y\n1,u\n2,v\n3,v\n4,v\n", {"classes": ["u", "w"]}, "'v', which classes do not list"),
        ("a,y\n1,0\n", {"task": "regression", "classes": ["0"]}, "Classes belong to a class"),
        ("1,2\n3,4\n5,6\n", {"target": "2"}, "The first line of mine.csv holds numbers"),
        ("y\n0\n1\n", {}, "has no column besides y"),
        ("a,y\n", {}, "has no line below the names of its columns"),
        ("", {}, "is not a CSV table"),
        ("a,y\n1,0,3\n2,1,4\n", {}, "lines with more cells than the first"),
        ("a,y\n1,0\n2,1,4\n", {}, "is not a CSV table"),
        ("a,y\n1,0\n2,1\n", {"target": None}, "Name the column that is predicted: --target"),
        ("a,y\n1,0\n2,1\n3,0\n4,1\n", {"test": 1.5}, "lies between 0 and 1, such as 0.2; received"),
        ("a,y\n1,0\n2,1\n3,0\n4,1\n", {"seed": -1}, "seed must be an integer"),
        ("a,y\n1e40,0\n2,1\n3,0\n4,1\n", {}, "mine.csv holds NaN, infinity or a number too large"),
    ],
)
def test_a_bad_table_is_refused_in_words(
    text: str, options: dict[str, Any], message: str, folder: Path
) -> None:
    with pytest.raises(FaninError, match=message):
        add_text(text, **options)
    assert "mine" not in {listed.name for listed in data.list_datasets()}


def test_a_file_that_is_no_text_is_refused(folder: Path) -> None:
    Path("mine.csv").write_bytes(b"\xff\xfe\x00a,y\n1,2\n")
    with pytest.raises(DataInvalid, match="is not a CSV table"):
        data.add("mine", Path("mine.csv"), target="y")


# Arrays x and y


def add_arrays(options: dict[str, Any] | None = None, **arrays: np.ndarray) -> data.Dataset:
    np.savez("whole.npz", **arrays)
    data.add("mine", Path("whole.npz"), replace=True, **(options or {}))
    return data.load("mine")


X = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
Y = np.arange(50) % 5 % 2


@for_each("x, y", [("x", "y"), ("X", "y"), ("X", "Y")])
def test_arrays_x_and_y_are_divided_by_class(x: str, y: str, folder: Path) -> None:
    dataset = add_arrays(**{x: X, y: Y[:, None]})
    assert (dataset.info.n_train, dataset.info.n_test) == (40, 10)
    assert int(dataset.y_test.sum()) == int(Y.sum()) // 5
    expected = sorted((*map(float, row), float(t)) for row, t in zip(X, Y, strict=True))
    assert list_rows(dataset) == expected


def test_images_tokens_and_several_targets_are_divided_too(folder: Path) -> None:
    images = np.arange(20 * 4 * 4, dtype=np.uint8).reshape(20, 4, 4)
    assert add_arrays(x=images, y=Y[:20]).info.kind == "image"
    tokens = np.arange(60).reshape(20, 3) % 7
    info = add_arrays(x=tokens, y=tokens[:, ::-1], vocabulary=np.array(7)).info
    assert (info.kind, info.task, info.vocabulary) == ("tokens", "token_classification", 7)
    assert add_arrays(x=X, y=X[:, :2]).info.outputs == 2


def test_names_of_classes_may_be_given(folder: Path) -> None:
    assert add_arrays({"classes": ["no", "yes", "perhaps"]}, x=X, y=Y).info.outputs == 3
    with pytest.raises(DataInvalid, match="There are 1 names of classes"):
        add_arrays({"classes": ["no"]}, x=X, y=Y)


@for_each(
    "arrays, options, error, message",
    [
        ({"x": X, "y": Y[:40]}, {}, DataInvalid, r"inputs of shape \(50, 4\) and targets of"),
        ({"x": X, "y": Y - 1}, {}, DataInvalid, "begin at -1. Expected numbers from 0"),
        ({"x": X, "y": Y * 0}, {}, DataInvalid, "one class leaves nothing to learn"),
        ({"x": X * np.nan, "y": Y}, {}, DataInvalid, "whole.npz holds NaN"),
        ({"x": X.astype(int), "y": Y}, {}, DataInvalid, "If they are tokens, add an array voc"),
        ({"x": X}, {}, DataInvalid, "whole.npz lacks x_train"),
        ({"x": X}, {"test": 0.1}, UsageError, "has no arrays x and y to divide"),
        ({"x": X, "y": Y}, {"target": "y"}, UsageError, "target belongs to a CSV file"),
        ({"x": X[:, 0].astype(np.uint8), "y": Y}, {"standardise": True}, UsageError, "Only the"),
    ],
)
def test_bad_arrays_are_refused_in_words(
    arrays: dict[str, np.ndarray],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    folder: Path,
) -> None:
    with pytest.raises(error, match=message):
        add_arrays(options, **arrays)


# The command line


def test_the_command_adds_a_csv_file_and_says_what_it_is(folder: Path) -> None:
    Path("flowers.csv").write_text(FLOWERS)
    told = run_command("data", "add", "flowers", "flowers.csv", "--target", "species")
    assert told.code == 4
    assert "town ('Oslo' in line 2)" in told.err
    options = ("--target", "species", "--drop", "town", "--test", 0.25, "--classes", "oak,elm,ash")
    done = run_command("data", "add", "flowers", "flowers.csv", *options)
    assert done.code == 0, done.err
    assert "classification, 45 + 15 samples; 3 classes of 15 training samples" in done.out
    study = run_command("data", "list").out
    assert "flowers" in study
    wrong = run_command("data", "add", "flowers", "flowers.csv", *options, "--task", "class")
    assert wrong.code == 2
    assert "classification" in wrong.err
    assert "regression" in wrong.err


def test_a_column_that_is_not_there_is_a_usage_error(folder: Path) -> None:
    Path("flowers.csv").write_text(FLOWERS)
    with pytest.raises(UnknownName, match=r"Did you mean species\?"):
        data.add("flowers", Path("flowers.csv"), target="specie")
