"""Data that are well formed and look like a mistake: refused, or shown with what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_session import fanin
from test_data_user_copies import save_copy

from fanin import data
from fanin.analysis.analysis import Analysis
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.errors import DataInvalid, FitError
from fanin.report.page import render_page
from fanin.report.tables.notes import write_notes
from fanin.report.tables.study_table import make_study_table
from fanin.training.train import DataCache, train

GENERATOR = np.random.default_rng(0)
TABLE = GENERATOR.standard_normal((100, 3)).astype(np.float32)


def arrays_of(labels: np.ndarray, x: np.ndarray = TABLE, **more: np.ndarray) -> dict:
    return {
        "x_train": x[:80],
        "y_train": labels[:80],
        "x_test": x[80:],
        "y_test": labels[80:],
        **more,
    }


def names_of(count: int) -> np.ndarray:
    return np.array([f"name {number}" for number in range(count)])


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.arange(100) % 5 + 1, "1 of the class numbers 0 to 5 have no sample, first 0"),
        (np.arange(100) % 2 * 500, "499 of the class numbers 0 to 500 have no sample, first 1"),
        (np.arange(100) % 2 * 2, "1 of the class numbers 0 to 2 have no sample, first 1"),
        (np.zeros(100, np.int64), "one class leaves nothing to learn"),
    ],
)
def test_labels_with_gaps_and_a_single_class_are_refused(
    root: Path, labels: np.ndarray, says: str
) -> None:
    source = save_copy(root, arrays_of(labels), "source")
    with pytest.raises(DataInvalid, match=says) as caught:
        data.add("mine", source)
    assert "array classes with" in str(caught.value)
    named = int(labels.max()) + 1 if labels.any() else 2
    source = save_copy(root, arrays_of(labels, classes=names_of(named)), "source")
    data.add("mine", source)
    assert data.load("mine").info.outputs == named


def test_one_name_for_one_class_is_refused(root: Path) -> None:
    save_copy(root, arrays_of(np.zeros(100, np.int64), classes=names_of(1)))
    with pytest.raises(DataInvalid, match="each of two or more classes"):
        data.load("mine")


def test_a_masked_array_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "masks.py"
    file.write_text(
        "import numpy as np\n"
        "def make():\n"
        "    x = np.ma.masked_less(np.ones((80, 3), np.float32), 0)\n"
        "    return x, np.arange(80) % 2, x.filled(0), np.arange(80) % 2\n"
    )
    with pytest.raises(FitError, match=r"returned x_train as a masked array.*filled"):
        data.load(f"{file}:make")


def test_classes_counts_and_baseline_are_shown(root: Path) -> None:
    labels = np.where(np.arange(100) % 4, 0, 1)
    source = save_copy(root, arrays_of(labels), "source")
    added = fanin("data", "add", "mine", source)
    said = "2 classes of 20 to 60 training samples, baseline accuracy 0.75"
    assert said in " ".join(added.out.split())
    assert added.err == ""
    record = fanin("data", "add", "mine", source, "--json").record
    assert record["class_counts"] == {"train": [60, 20], "test": [15, 5]}
    assert (record["baseline"], record["warnings"]) == (0.75, [])
    assert said in " ".join(fanin("data", "list").out.split())
    listed = {entry["name"]: entry for entry in fanin("data", "list", "--json").record["datasets"]}
    assert listed["mine"]["class_counts"] == record["class_counts"]
    assert listed["mnist"]["class_counts"] is None
    assert "10 classes" in fanin("data", "list").out


DOUBTFUL = {
    "a class of one member": (
        arrays_of(np.where(np.arange(100) == 3, 2, np.arange(100) % 2)),
        "class 2 has one training sample only",
    ),
    "classes without a sample": (
        arrays_of(np.arange(100) % 2, classes=names_of(4)),
        "classes 2, 3 have no training sample",
    ),
    "one class that is nearly all": (
        arrays_of(np.where(np.arange(100) % 20, 0, 1)),
        "95.0% of the test samples are of class 0: an accuracy of 0.95 needs no learning",
    ),
    "a feature that drowns the others": (
        arrays_of(np.arange(100) % 2, TABLE * np.array([1, 1000, 1], np.float32)),
        "the standard deviation of column 1 is",
    ),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_what_looks_like_a_mistake_is_said_when_added_and_below_the_table(
    root: Path, case: str
) -> None:
    arrays, says = DOUBTFUL[case]
    added = fanin("data", "add", "mine", save_copy(root, arrays, "source"))
    assert added.code == 0
    assert says in " ".join(added.err.split())
    cell = Cell(data="mine", initializer="zero", model="mlp(widths=[4], activation=relu)", epochs=1)
    result = train(cell, cache=DataCache(), environment={})
    plan = Plan("s", "?", "sound", (PlannedCell(cell, {}),))
    analysis = Analysis(plan, {cell.id: result})
    (note,) = [note for note in write_notes(analysis) if says in note]
    assert note.startswith("Mine: ")
    page = render_page(analysis, make_study_table(analysis), command="")
    assert "training samples each; baseline accuracy" in page


def test_published_data_are_as_they_are() -> None:
    dataset = data.load("digits")
    one = replace(dataset, y_train=dataset.y_train * 0, y_test=dataset.y_test * 0)
    assert data.list_doubts(one) == []
    assert data.list_doubts(replace(one, published=False)) != []
