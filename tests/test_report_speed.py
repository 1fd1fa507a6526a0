"""What keeps large studies readable in seconds: nothing is drawn or computed twice."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from study_cases import plan_of, result_of, results_of

from fanin import experiment
from fanin.analysis import factors
from fanin.analysis.frames import build_frame
from fanin.cell import cell as cells
from fanin.report.figures import rendering
from fanin.report.figures.curve_panel import MAX_REPLICATES
from fanin.report.results import Results
from fanin.store.outcomes import read_outcomes
from fanin.store.results_store import Store, read, read_summaries

PLAN = plan_of(pairs=[("mlp", "mnist")], initializers=("zero", "he_normal"), replicates=3)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with Store.create_or_open(tmp_path / "out") as store:
        store.set_plan(PLAN)
        store.add_all(results_of(PLAN).values())
    return tmp_path / "out"


def test_page_and_files_show_figures_that_are_drawn_once(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    original = rendering.FigureCanvasAgg
    monkeypatch.setattr(
        rendering, "FigureCanvasAgg", lambda figure: drawn.append("") or original(figure)
    )
    results = experiment.load_results(store)
    results.report()
    results.curves()
    files = results.figures()
    assert len(drawn) == len(files) + 1
    other = Results(results.plan, results.results, results.out)
    other.curves()
    assert len(drawn) == len(files) + 2


def test_an_id_is_computed_once_and_another_cell_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = replace(PLAN.cells[0].cell, replicate=77)
    first = cell.id
    assert replace(cell, replicate=78).id != first
    monkeypatch.setattr(cells, "compute_id", None)
    assert cell.id == first


def test_the_levels_of_a_condition_are_read_once_for_all_its_replicates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = build_frame(PLAN, {})
    read_levels, calls = factors.read_levels, list[object]()

    def count(*arguments: object) -> object:
        calls.append(arguments)
        return read_levels(*arguments)

    monkeypatch.setattr(factors, "read_levels", count)
    monkeypatch.setattr("fanin.analysis.frames.read_levels", count)
    assert build_frame(PLAN, {}).equals(expected)
    assert len(calls) == 4  # two conditions, once for names and once for rows


def test_outcomes_and_summaries_are_those_of_the_whole_results(store: Path) -> None:
    tricky = result_of(PLAN.cells[0].cell, "failed", message='},"metrics":{ ,"history":{"a":[1]}')
    with Store.create_or_open(store) as writer:
        writer.add(tricky)
    whole = read(store).results
    summaries, outcomes = read_summaries(store).results, read_outcomes(store).results
    assert list(whole) == list(summaries) == list(outcomes)
    for cell, result in whole.items():
        assert summaries[cell] == replace(result, history={})
        assert outcomes[cell].outcome == result.outcome
        assert outcomes[cell].message == result.message


def test_a_table_is_the_same_without_histories(store: Path) -> None:
    for kind in ("csv", "csv-cells", "markdown", "latex"):
        whole = experiment.load_results(store).export(kind)
        assert experiment.load_results(store, histories=False).export(kind) == whole


def test_reading_results_imports_no_torch(store: Path) -> None:
    script = (
        "import sys; from fanin import experiment; "
        f"experiment.load_results({str(store)!r}, histories=False).export('csv'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_many_replicates_are_drawn_in_part_and_the_figure_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanin.report.figures.curve_panel.MAX_REPLICATES", 2)
    monkeypatch.setattr("fanin.report.figures.training_curves.MAX_REPLICATES", 2)
    path = Results(PLAN, results_of(PLAN)).curves(tmp_path / "curves.svg")
    assert "<!-- Drawn: the first 2 of 3 replicates, with the mean of all. -->" in path.read_text()
    assert MAX_REPLICATES >= 100
