"""Tables of studies with many factors: sections named by what varies, or one row each."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from factor_cases import KINDS, kind_of_study, scored, study_plan
from rich.cells import cell_len

from fanin.analysis.analysis import Analysis
from fanin.report.results import Results
from fanin.report.tables.study_table import make_study_table
from fanin.report.tables.table import Table

MLP = {"model": "mlp", "data": "digits"}


def table_of(kind: str, replicates: int = 10) -> Table:
    return make_study_table(Analysis(*kind_of_study(kind, replicates)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("replicates", [1, 5])
def test_every_kind_of_study_fits_eighty_columns(kind: str, replicates: int):
    assert max(cell_len(line) for line in str(table_of(kind, replicates)).splitlines()) <= 80


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_study_exports_to_every_format(kind: str):
    results = Results(*kind_of_study(kind, 2))
    conditions = len(results.summary())
    assert results.export("csv").count("\n") == conditions + 1
    assert results.export("csv-cells").count("\n") == 2 * conditions + 1
    rows = len(results.table().rows)
    differences = len(results.difference_table().rows)
    shown = rows + 2 + (differences + 2 if differences else 0)
    assert results.export("markdown").count("\n| ") == shown
    latex = results.export("latex")
    headings = latex.count(r"\multicolumn") + latex.count(r"\toprule")
    assert latex.count(" \\\\\n") == rows + differences + headings
    json.dumps(results.table().to_json(), allow_nan=False)


def test_sections_are_named_by_what_varies_with_titles_where_values_say_little():
    assert "plain_cnn · cifar10 · normalization batch" in str(table_of("normalization"))
    assert "mlp · mnist · sgd(momentum=0.9)" in str(table_of("optimizers"))
    assert "\nmlp · fashion-mnist · relu\n" in str(table_of("activations"))


def test_many_sections_of_several_factors_become_rows():
    table = table_of("depth")
    assert [column.title for column in table.columns][:4] == [
        "model",
        "data",
        "metric",
        "depth · activation",
    ]
    assert [column.title for column in table.columns][4:8] == [
        "xavier_uniform",
        "he_normal",
        "lecun_normal",
        "orthogonal",
    ]
    assert len(table.rows) == 12
    assert [row[3].text for row in table.rows[:2]] == ["2 · relu", "2 · tanh"]


def test_a_row_holds_the_means_of_its_own_conditions():
    results = Results(*kind_of_study("depth", 5))
    summary = results.summary().set_index(["model.depth", "activation", "initializer"])[
        "test_accuracy"
    ]
    table = results.table()
    for row in table.rows:
        depth, activation = row[3].text.split(" · ")
        for column, entry in zip(table.columns[4:], row[4:], strict=True):
            if entry.value is not None:
                assert entry.value == summary[int(depth), activation, column.key]


def test_a_row_says_what_diverged_in_place_of_a_mean():
    table = table_of("phase-diagram")
    entries = [entry for row in table.rows for entry in row[4:]]
    diverged = [entry for entry in entries if "div" in entry.text]
    assert diverged
    assert all(entry.value is None for entry in diverged)
    assert any(
        entry.text.startswith("med 0.") and entry.text.endswith("/10 div.)") for entry in diverged
    )
    assert "diverged" in {entry.text for entry in diverged}
    assert "rank" not in " ".join(table.notes).replace("rank or test", "")


def test_a_row_says_how_many_replicates_it_has_where_some_are_missing():
    plan, results = kind_of_study("learning-rate", 6)
    first = plan.cells[0].cell.id
    table = make_study_table(
        Analysis(plan, {key: result for key, result in results.items() if key != first})
    )
    assert "(n 5)" in table.rows[0][4].text


def test_a_study_of_models_and_data_alone_keeps_its_rows():
    assert [column.key for column in table_of("recurrent").columns][:3] == [
        "model",
        "data",
        "initializer",
    ]


def test_a_tuned_learning_rate_is_shown_beside_each_condition():
    plan = study_plan(MLP, {"initializer": ("zero", "he_normal")}, 5)
    rates = {"zero": 0.1, "he_normal": 0.01}
    cells = tuple(
        replace(p, cell=replace(p.cell, learning_rate=rates[p.cell.initializer]))
        for p in plan.cells
    )
    tuned = replace(plan, cells=cells)
    table = make_study_table(Analysis(tuned, {p.cell.id: scored(p.cell) for p in cells}))
    at = [column.key for column in table.columns].index("learning_rate")
    assert [row[at].text for row in table.rows] == ["0.1", "0.01"]
    assert len(table.by_section()) == 1


def test_numbers_are_compared_where_nothing_else_varies():
    plan = study_plan({**MLP, "initializer": "he_normal"}, {"learning_rate": (0.001, 0.01)}, 5)
    table = make_study_table(Analysis(plan, {p.cell.id: scored(p.cell) for p in plan.cells}))
    at = [column.key for column in table.columns].index("learning_rate")
    assert not table.columns[at].heads_section
    assert [row[at].text for row in table.rows] == ["0.001", "0.01"]
