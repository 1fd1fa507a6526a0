"""Stores side by side: which conditions belong together, how they changed, and what is shown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_session import fanin
from study_cases import plan_of, result_of

from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.errors import UsageError
from fanin.report.compared_stores import compare_results
from fanin.report.results import Results
from fanin.store.results_store import Store

PAIRS = [("mlp", "mnist")]
NAMES = ("zero", "he_normal")


def make_results(
    *,
    replicates: int = 10,
    first: int = 0,
    shift: Callable[[int], float] = lambda replicate: 0.0,
    pairs: list[tuple[str, str]] = PAIRS,
    **fields: Any,
) -> Results:
    """Results whose test accuracy is 0.5 + replicate/100, shifted; cells with these fields."""
    plan = plan_of(pairs, NAMES, replicates=first + replicates, study="mine")
    cells = tuple(
        PlannedCell(replace(planned.cell, **fields), planned.labels)
        for planned in plan.cells
        if planned.cell.replicate >= first
    )
    found: dict[str, Result] = {}
    for planned in cells:
        replicate = planned.cell.replicate
        metrics = {"test_accuracy": 0.5 + replicate / 100 + shift(replicate), "test_loss": 1.0}
        found[planned.cell.id] = replace(result_of(planned.cell), metrics=metrics)
    return Results(replace(plan, cells=cells), found)


def save(results: Results, folder: Path) -> Path:
    with Store.create_or_open(folder) as store:
        store.set_plan(results.plan)
        store.add_all(results.results.values())
    return folder


def test_what_differs_between_stores_is_named_and_their_cells_are_paired() -> None:
    stores = compare_results(
        make_results(), make_results(learning_rate=0.1, shift=lambda r: 0.01), names=("a", "b")
    )
    comparison = stores.comparison
    assert comparison.differing == {"learning_rate": (0.001, 0.1)}
    assert [condition.values for condition in comparison.conditions] == [
        {"initializer": "zero"},
        {"initializer": "he_normal"},
    ]
    assert {condition.changes[0].estimate.n for condition in comparison.conditions} == {10}
    assert "The stores differ in learning rate 0.001 → 0.1." in stores.table().answer


def test_a_change_has_the_numbers_of_the_paired_differences() -> None:
    # differences 0.01, 0.02, …, 0.10: mean 0.055, sd 0.0303; all of one sign
    other = make_results(shift=lambda replicate: (replicate + 1) / 100)
    (change,) = compare_results(make_results(), other).comparison.conditions[0].changes
    assert change.estimate.mean == pytest.approx(0.055)
    assert change.estimate.sd == pytest.approx(math.sqrt(82.5 / 9) / 100)
    assert change.p_value == pytest.approx(2 / 2**10)
    assert change.p_holm == pytest.approx(4 / 2**10)  # of two conditions
    assert change.judgement == "better"


def test_stores_with_the_same_numbers_are_equal_and_say_so() -> None:
    stores = compare_results(make_results(), make_results())
    assert {c.changes[0].judgement for c in stores.comparison.conditions} == {"equal"}
    assert "20 of 20 pairs have the same number" in " ".join(stores.table().answer)
    assert stores.names == ("A", "B")


def test_too_few_pairs_are_not_judged() -> None:
    other = make_results(replicates=4, shift=lambda replicate: 0.1)
    comparison = compare_results(make_results(replicates=4), other).comparison
    assert {c.changes[0].judgement for c in comparison.conditions} == {"too few"}


def test_other_data_are_another_quantity_and_are_not_compared(tmp_path: Path) -> None:
    stores = compare_results(make_results(), make_results(pairs=[("mlp", "cifar10")]))
    assert stores.comparison.conditions == ()
    assert "share no condition" in stores.table().answer[0]
    text = stores.report(tmp_path / "page.html").read_text("utf-8")
    assert text.count('<div class="store">') == 2


def test_runs_on_other_bytes_of_the_same_data_are_no_pairs() -> None:
    other = make_results()
    changed: Mapping[str, Result] = {
        cell: replace(result, data={**result.data, "fingerprint": "other"})
        for cell, result in other.results.items()
    }
    comparison = compare_results(make_results(), Results(other.plan, changed)).comparison
    assert {c.changes[0].judgement for c in comparison.conditions} == {"no pairs"}


def test_a_run_that_diverged_is_shown_and_makes_no_pair() -> None:
    other = make_results()
    cell = other.plan.cells[0].cell
    found = {**other.results, cell.id: result_of(cell, "diverged")}
    stores = compare_results(make_results(), Results(other.plan, found))
    assert stores.comparison.conditions[0].changes[0].estimate.n == 9
    assert "1/10 diverged" in str(stores)


def test_parts_of_one_study_are_one_study() -> None:
    parts = make_results(replicates=3), make_results(replicates=3, first=3)
    assert compare_results(*parts).comparison.is_one_study
    assert not compare_results(parts[0], parts[0]).comparison.is_one_study
    other = make_results(replicates=3, learning_rate=0.1)
    assert not compare_results(parts[0], other).comparison.is_one_study


def test_three_stores_are_compared_with_the_first() -> None:
    stores = compare_results(
        make_results(),
        make_results(shift=lambda r: (r + 1) / 100),
        make_results(shift=lambda r: -(r + 1) / 100),
        names=("a", "b", "c"),
    )
    for condition in stores.comparison.conditions:
        assert [change.judgement for change in condition.changes] == ["better", "worse"]
    titles = [column.title for column in stores.table().columns]
    assert titles[-8:] == ["change, b", "n", "p", "verdict", "change, c", "n", "p", "verdict"]


def test_one_store_or_names_that_are_alike_are_refused() -> None:
    with pytest.raises(UsageError, match="two or more"):
        compare_results(make_results())
    with pytest.raises(UsageError, match="must differ"):
        compare_results(make_results(), make_results(), names=("a", "a"))
    with pytest.raises(UsageError, match="2 names"):
        compare_results(make_results(), make_results(), names=("a",))


def test_the_command_compares_folders_and_writes_one_page(tmp_path: Path) -> None:
    one = save(make_results(), tmp_path / "one")
    two = save(make_results(learning_rate=0.1, shift=lambda r: 0.01), tmp_path / "two")
    assert fanin("report", one, two).code == 2
    done = fanin("report", one, two, "--output", tmp_path / "both")
    assert done.code == 0
    assert "one and two" in done.out
    assert "learning rate 0.001 → 0.1" in done.out
    assert [path.name for path in (tmp_path / "both").iterdir()] == ["report.html"]
    text = (tmp_path / "both" / "report.html").read_text("utf-8")
    assert text.count('<div class="store">') == 2
    assert text.count('id="theme"') == 1
    record = fanin("report", one, two, "--output", tmp_path / "both", "--json").record
    assert record["differing"] == {"learning_rate": ["0.001", "0.1"]}
    assert [store["name"] for store in record["stores"]] == ["one", "two"]


def test_folders_are_shown_as_one_study_if_they_are_parts_or_if_told_so(tmp_path: Path) -> None:
    one = save(make_results(replicates=3), tmp_path / "one")
    two = save(make_results(replicates=3, first=3), tmp_path / "two")
    record = fanin("report", one, two, "--output", tmp_path / "both", "--json").record
    assert record["outcomes"] == {"ok": 12}
    other = save(make_results(replicates=3, learning_rate=0.1), tmp_path / "other")
    words = ["report", one, other, "--output", tmp_path / "both", "--json"]
    assert "outcomes" not in fanin(*words).record
    assert fanin(*words, "--together").record["outcomes"] == {"ok": 12}


def test_ids_of_a_page_are_unique_with_several_stores(tmp_path: Path) -> None:
    stores = compare_results(make_results(), make_results(learning_rate=0.1))
    text = stores.report(tmp_path / "page.html").read_text("utf-8")
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    wanted = re.findall(r'href="#([^"]+)"', text)
    assert set(wanted) <= set(ids)


def test_a_plan_without_cells_is_compared_with_nothing() -> None:
    empty = Results(Plan("mine", "", "sound", ()), {})
    stores = compare_results(make_results(), empty)
    assert stores.comparison.conditions == ()
