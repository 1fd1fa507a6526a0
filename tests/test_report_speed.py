"""What keeps large studies readable in seconds: nothing is drawn or computed twice."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_session import fanin
from study_cases import plan_of, result_of, results_of

from fanin import experiment
from fanin.analysis import factors
from fanin.analysis.analysis import Analysis
from fanin.analysis.own_data import BUILT_IN
from fanin.cell import cell as cells
from fanin.errors import StoreCorrupt
from fanin.report.figures import rendering
from fanin.report.figures.gathered_curves import MAX_REPLICATES, gather_curves
from fanin.report.results import Results
from fanin.store.outcomes import read_outcomes
from fanin.store.results_store import Store, read, read_lazily, read_summaries
from fanin.store.stored_histories import StoredHistory, iterate_histories
from fanin.store.stored_rows import compute_checksum, compute_digest

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
    expected = Analysis(PLAN, {}).frame
    read_levels, calls = factors.read_levels, list[object]()

    def count(*arguments: object) -> object:
        calls.append(arguments)
        return read_levels(*arguments)

    monkeypatch.setattr(factors, "read_levels", count)
    assert Analysis(PLAN, {}).frame.equals(expected)
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
    monkeypatch.setattr("fanin.report.figures.gathered_curves.MAX_REPLICATES", 2)
    monkeypatch.setattr("fanin.report.figures.training_curves.MAX_REPLICATES", 2)
    path = Results(PLAN, results_of(PLAN)).curves(tmp_path / "curves.svg")
    assert "<!-- Drawn: the first 2 of 3 replicates, with the mean of all. -->" in path.read_text()
    assert MAX_REPLICATES >= 100


def test_histories_stay_in_the_file_until_they_are_looked_at(store: Path) -> None:
    whole, lazy = read(store).results, read_lazily(store).results
    histories = [result.history for result in lazy.values()]
    assert all(isinstance(history, StoredHistory) for history in histories)
    assert lazy == whole
    assert [*iterate_histories(histories)] == [result.history for result in whole.values()]
    assert [*iterate_histories([{}, histories[0], {"loss": [1.0]}])] == [
        {},
        whole[next(iter(whole))].history,
        {"loss": [1.0]},
    ]
    copy = pickle.loads(pickle.dumps(next(iter(lazy.values()))))
    assert copy == next(iter(whole.values()))
    assert type(copy.history) is dict


def test_a_result_without_history_keeps_none_in_the_file(store: Path) -> None:
    with Store.create_or_open(store) as writer:
        writer.add(result_of(PLAN.cells[0].cell, "failed"))
    assert read_lazily(store).results[PLAN.cells[0].cell.id].history == {}


def test_histories_are_read_from_a_folder_that_is_gone(store: Path, tmp_path: Path) -> None:
    results = experiment.load_results(store)
    store.rename(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere")
    assert len(results.history()) > len(PLAN.cells)
    assert results.curves(tmp_path / "curves.png").stat().st_size > 2_000


def test_a_history_that_is_damaged_after_loading_is_refused(store: Path, tmp_path: Path) -> None:
    results = experiment.load_results(store)
    with contextlib.closing(sqlite3.connect(store / "results.sqlite")) as connection:
        connection.execute("UPDATE result SET record = replace(record, '1', '2') WHERE number = 2")
        connection.commit()
    with pytest.raises(StoreCorrupt, match="its bytes have changed"):
        results.curves(tmp_path / "curves.png")


def test_curves_that_are_gathered_one_by_one_are_those_of_all_at_once() -> None:
    results = [result_of(replace(PLAN.cells[1].cell, replicate=i)) for i in range(130)]
    columns = [result.history["val_loss"] for result in results]
    gathered = gather_curves(results)
    lines = gathered.lines["val_loss"]
    common = min(map(len, columns))
    expected = [sum(column[epoch] for column in columns) / 130 for epoch in range(common)]
    assert (lines.total / lines.count).tolist() == pytest.approx(expected, rel=1e-15)
    assert [column.tolist() for column in lines.shown] == columns[:MAX_REPLICATES]
    assert gathered.extents["val_loss"].low == min(map(min, columns))
    assert gathered.extents["val_loss"].high == max(map(max, columns))
    assert gathered.epochs == max(map(len, columns))


def test_a_row_that_is_written_otherwise_is_read_whole(store: Path) -> None:
    whole = read(store).results
    with contextlib.closing(sqlite3.connect(store / "results.sqlite")) as connection:
        for number, cell, attempt, outcome, text in connection.execute(
            "SELECT number, cell, attempt, outcome, record FROM result WHERE number <= 3"
        ).fetchall():
            text = json.dumps(json.loads(text), sort_keys=True, indent=number)
            digest = compute_digest(text)
            checksum = compute_checksum(cell, attempt, outcome, text.encode(), digest)
            connection.execute(
                "UPDATE result SET record = ?, digest = ?, checksum = ? WHERE number = ?",
                (text, digest, checksum, number),
            )
        connection.commit()
    assert read(store).results == read_lazily(store).results == whole
    summaries = read_summaries(store).results
    assert summaries == {cell: replace(result, history={}) for cell, result in whole.items()}


def test_the_page_lists_as_many_cells_as_fit_and_says_so(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanin.report.sections.cell_columns.MAX_NUMBERS", 30)
    page = experiment.load_results(store).report().read_text(encoding="utf-8")
    (shown,) = re.findall(r'"count":(\d+)', page)
    assert 0 < int(shown) < len(PLAN.cells)
    assert f"The first {shown}." in page


def test_built_in_data_sets_are_known_without_torch() -> None:
    from fanin import data

    assert {entry.name: getattr(entry, "units", "") for entry in data.REGISTRY} == BUILT_IN


def test_a_report_imports_no_torch(store: Path) -> None:
    script = (
        "import sys; from fanin.cli import main; "
        f"main(['report', {str(store)!r}]); print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "False", done.stderr


@pytest.mark.parametrize("words", [[], ["--json"]], ids=["text", "json"])
def test_status_says_the_same_without_typer(words: list[str], store: Path) -> None:
    short = fanin("status", store, *words)
    long = fanin("status", *words, "--", store)
    assert (short.code, short.out, short.err) == (long.code, long.out, long.err)
    assert short.code == 0
    missing = fanin("status", store / "nothing", *words)
    assert missing.code == fanin("status", *words, "--", store / "nothing").code == 2


def test_status_imports_little(store: Path) -> None:
    script = (
        "import sys; from fanin.cli import main; "
        f"main(['status', {str(store)!r}]); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    imported = set(done.stderr.split())
    assert imported & {"numpy", "typer", "pydantic", "pandas", "rich.console", "torch"} == set()
