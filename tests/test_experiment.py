"""The one driver: stages in order, each watched, and what it returns. Training itself is
replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fanin import data, experiment
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.execution.events import Event, Notice
from fanin.execution.observer import Stage
from fanin.execution.run_summary import RunSummary
from fanin.store.results_store import Store
from fanin.study.study import Study

STUDY = Study.from_toml(
    """
question = "Which?"
[base]
data = "digits"
model = "mlp(widths=[8], activation=relu)"
epochs = 2
[axes]
initializer = ["he_normal", "zero"]
[tune]
learning_rate = [0.01, 0.1, 1.0]
replicates = 1
""",
    "mine",
)


@pytest.fixture(autouse=True)
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[Cell]]:
    """The cells of each stage; a rate of 0.1 is the best."""
    stages: list[list[Cell]] = []

    def run_plan(
        plan: Plan, out: Path, *, on_event: Callable[[Event], None], **options: Any
    ) -> RunSummary:
        on_event(Notice(plan.study))
        with Store.create_or_open(out) as store:
            store.set_plan(plan)
            known = store.read_results()
            new = [p.cell for p in plan.cells if p.cell.id not in known]
            store.add_all(
                Result(cell=cell, outcome="ok", metrics={"val_loss": abs(cell.learning_rate - 0.1)})
                for cell in new
            )
        stages.append(new)
        return RunSummary({"ok": len(plan.cells)}, trained=len(new), exit_code=0)

    monkeypatch.setattr(experiment, "run_plan", run_plan)
    return stages


class Diary:
    """An observer that writes down what it watches."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def _watch(self, what: str, stage: Stage) -> Iterator[Callable[[object], None]]:
        name = "tuning" if stage.plan.is_tuning else "evaluation"
        self.lines.append(f"{what} of the {name} begins, {len(stage.to_train)} cells")
        try:
            yield lambda event: self.lines.append(type(event).__name__)
        finally:
            self.lines.append(f"{what} ends")

    def watch_downloads(self, stage: Stage) -> Any:
        return self._watch("download", stage)

    def watch_training(self, stage: Stage) -> Any:
        return self._watch("training", stage)


def test_each_stage_is_watched_while_its_data_are_fetched_and_while_it_is_trained(
    tmp_path: Path,
) -> None:
    diary = Diary()
    results = experiment.run(STUDY, tmp_path, observer=diary)
    assert diary.lines == [
        "download of the tuning begins, 6 cells",
        "download ends",
        "training of the tuning begins, 6 cells",
        "Notice",
        "training ends",
        "download of the evaluation begins, 2 cells",
        "download ends",
        "training of the evaluation begins, 2 cells",
        "Notice",
        "training ends",
    ]
    assert {p.cell.learning_rate for p in results.plan.cells} == {0.1}


def test_an_observer_is_left_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise RuntimeError

    monkeypatch.setattr(data, "load", fail)
    diary = Diary()
    with pytest.raises(RuntimeError):
        experiment.run(STUDY, tmp_path, observer=diary)
    assert diary.lines == ["download of the tuning begins, 6 cells", "download ends"]


def test_functions_may_be_called_instead_of_an_observer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ensure(name: str, *, on_progress: Callable[[data.DownloadProgress], None]) -> None:
        on_progress(data.DownloadProgress(dataset=name, state="waiting"))

    monkeypatch.setattr(data, "ensure", ensure)
    events, downloads = list[Event](), list[data.DownloadProgress]()
    experiment.run(STUDY, tmp_path, on_event=events.append, on_download=downloads.append)
    assert events == [Notice("mine")] * 2
    assert [download.dataset for download in downloads] == ["digits"] * 2


def test_the_results_say_what_the_call_did(tmp_path: Path, trained: list[list[Cell]]) -> None:
    first = experiment.run(STUDY, tmp_path)
    assert first.run_summary == RunSummary({"ok": 2}, trained=8, exit_code=0)
    again = experiment.run(STUDY, tmp_path)
    assert again.run_summary == RunSummary({"ok": 2}, trained=0, exit_code=0)
    assert experiment.load_results(tmp_path).run_summary is None
    assert list(map(len, trained)) == [6, 2, 0, 0]


def test_an_estimate_prices_the_first_stage_with_anything_to_do_and_the_evaluation(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    before = experiment.estimate(STUDY, out, workers=2)
    assert (len(before.to_train), len(before.trials), before.workers) == (2, 6, 2)
    assert before.seconds_at_most > 0
    assert not out.exists()
    experiment.run(STUDY, out)
    after = experiment.estimate(STUDY, out)
    assert (after.to_train, after.trials, after.seconds_at_most) == ((), (), 0)
    assert {p.cell.learning_rate for p in after.plan.cells} == {0.1}


def test_results_are_in_runs_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert experiment.run(STUDY).out == tmp_path / "runs" / "mine"
