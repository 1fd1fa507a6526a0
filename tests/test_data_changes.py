"""Data that change under one name: between two commands, between runner and worker, in one
table.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from study_cases import plan_of, results_of
from test_blocks import CELLS, HERE, KEY

from fanin import data, experiment
from fanin.analysis.analysis import Analysis
from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.execution.blocks import find_unfinished, select_cells
from fanin.execution.events import Event, Notice
from fanin.execution.planning import Planner
from fanin.report.results import Results
from fanin.report.tables.notes import write_notes
from fanin.study.study import Study
from fanin.training.train import DataCache, TrainingInterrupted, train

BASE = {"model": "mlp(widths=[4], activation=relu)", "epochs": 2}
CELL = Cell(data="mine", initializer="he_normal", epochs=4, model=str(BASE["model"]))


def write_copy(root: Path, seed: int, n: int = 80) -> None:
    """An own data set of the name ``mine``; every seed gives other numbers of the same shape."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n + 10, 3), dtype=np.float32)
    y = (x.sum(axis=1) > 0).astype(np.int64)
    (root / "mine").mkdir(exist_ok=True)
    np.savez(root / "mine" / "mine.npz", x_train=x[:n], y_train=y[:n], x_test=x[n:], y_test=y[n:])


def study_of(spec: str) -> Study:
    axes = f'question = "?"\n[base]\ndata = "{spec}"\nmodel = "{BASE["model"]}"\nepochs = 2\n'
    return Study.from_toml(axes + '[axes]\ninitializer = ["he_normal", "zero"]\n', "mine")


def fingerprints_of(results: Results) -> set[str]:
    return {result.fingerprint for result in results.results.values()}


def test_a_checkpoint_of_other_data_is_not_continued(root: Path) -> None:
    def run(stop: bool) -> Result:
        return train(
            CELL,
            cache=DataCache(),
            environment={"device": "here"},
            checkpoints=root / "checkpoints",
            checkpoint_interval=0,
            stop=lambda: stop,
        )

    write_copy(root, 1)
    with pytest.raises(TrainingInterrupted):
        run(stop=True)
    write_copy(root, 2)
    with pytest.raises(TrainingInterrupted):  # its first epoch again, not the third of the other
        run(stop=True)
    resumed = run(stop=False)
    undisturbed = train(CELL, cache=DataCache(), environment={"device": "here"})
    assert resumed.metrics == undisturbed.metrics
    assert resumed.history["loss"] == undisturbed.history["loss"]


def test_a_replaced_file_is_trained_on_anew_by_the_same_command(
    root: Path, preloaded_workers: None
) -> None:
    out, events = root / "out", list[Event]()
    write_copy(root, 1)
    first = experiment.run(study_of("mine"), out, workers=1)
    write_copy(root, 2)
    kept = experiment.run(study_of("mine"), out, workers=1, accept_changed=True)
    assert fingerprints_of(kept) == fingerprints_of(first)
    assert len(experiment.estimate(study_of("mine"), out).to_train) == 2
    second = experiment.run(study_of("mine"), out, workers=1, on_event=events.append)
    assert fingerprints_of(second) == {data.load("mine").fingerprint} != fingerprints_of(first)
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert any("2 finished cells are trained again" in text and "mine" in text for text in notices)
    again = experiment.run(study_of("mine"), out, workers=1)
    assert again.run_summary is not None
    assert again.run_summary.trained == 0


def test_results_of_a_file_that_is_gone_stand(root: Path, preloaded_workers: None) -> None:
    write_copy(root, 1)
    plan = study_of("mine").plan()
    results = {
        p.cell.id: Result(cell=p.cell, outcome="ok", data={"fingerprint": "f"}) for p in plan.cells
    }
    cells = [planned.cell for planned in plan.cells]
    (root / "mine" / "mine.npz").unlink()
    known: dict[str, str] = {}
    with Planner(study_of("mine")) as planner:
        experiment._read_own_data(planner, cells, known)
    assert known == {}
    assert find_unfinished(cells, results, fingerprints=known) == ()


def test_an_own_data_set_without_a_seed_counts_for_nothing(
    root: Path, preloaded_workers: None
) -> None:
    file = root / "noise.py"
    file.write_text(
        "import numpy as np\n"
        "def make():\n"
        "    x = np.random.default_rng().standard_normal((80, 3), dtype=np.float32)\n"
        "    return x, (x[:, 0] > 0).astype(np.int64), x, (x[:, 0] > 0).astype(np.int64)\n"
    )
    found = experiment.run(study_of(f"{file}:make"), root / "out", workers=2)
    assert found.outcomes == {"failed": 2}
    assert found.run_summary is not None
    assert found.run_summary.exit_code == 4
    for result in found.results.values():
        assert "other data here" in result.message
        assert "generator with a fixed seed" in result.message


# Blocks


def results_with(*fingerprints: str) -> dict[str, Result]:
    return {
        cell.id: Result(
            cell=cell, outcome="ok", environment=HERE, data={"fingerprint": fingerprint}
        )
        for cell, fingerprint in zip(CELLS, fingerprints, strict=False)
        if fingerprint
    }


def test_a_whole_block_of_changed_data_is_trained_again() -> None:
    found, now = results_with("a", "a", "a", "b", "b", "b"), {"mnist": "c", "digits": "b"}
    selection = select_cells(CELLS, found, KEY, fingerprints=now)
    assert selection.cells == CELLS[:3]
    assert selection.changed == {cell.id for cell in CELLS[:3]}
    assert selection.retrained == frozenset()
    assert find_unfinished(CELLS, found, fingerprints=now) == CELLS[:3]
    accepted = select_cells(CELLS, found, KEY, fingerprints=now, accept_changed=True)
    assert accepted.cells == ()


def test_a_block_of_two_data_sets_is_mixed_even_if_the_data_are_not_known() -> None:
    found = results_with("a", "a", "b", "c", "c", "c")
    assert find_unfinished(CELLS, found) == CELLS[:3]
    assert select_cells(CELLS, found, KEY).cells == CELLS[:3]
    now = {"mnist": "a"}
    assert select_cells(CELLS, found, KEY, fingerprints=now).cells == CELLS[2:3]


def test_a_result_that_names_no_data_stands() -> None:
    found = {cell.id: Result(cell=cell, outcome="ok", environment=HERE) for cell in CELLS}
    assert select_cells(CELLS, found, KEY, fingerprints={"mnist": "a"}).cells == ()


# Tables


def test_a_table_of_two_data_sets_says_so_and_pairs_none_of_them() -> None:
    plan = plan_of(pairs=[("mlp", "digits")], initializers=("zero", "he_normal"), replicates=10)
    results = results_of(plan)
    one = Analysis(plan, results)
    assert not any("not one data set" in note.lower() for note in write_notes(one))
    mixed = {
        cell: replace(result, data={**result.data, "fingerprint": "e" * 16})
        if result.cell.initializer == "zero"
        else result
        for cell, result in results.items()
    }
    two = Analysis(plan, mixed)
    notes = " ".join(write_notes(two))
    assert "Not one data set: digits changed between results" in notes
    assert "10 of eeeeeeeeeeee" in notes
    assert [verdict.pairs for verdict in one.comparisons] == [10]
    assert [verdict.pairs for verdict in two.comparisons] == [0]
