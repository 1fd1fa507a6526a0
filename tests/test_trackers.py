"""Runs for TensorBoard and MLflow, read back with the packages themselves."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_session import TINY
from cli_session import fanin as run_command
from study_cases import plan_of, result_of

from fanin.cell.result import Result
from fanin.errors import FaninError
from fanin.execution.events import CellFinished, EpochFinished, Event
from fanin.execution.observer import Stage
from fanin.report.results import Results
from fanin.report.trackers import TrackingObserver, export_results, open_tracker
from fanin.report.trackers.cell_record import CellRecord, describe_cell, list_finals
from fanin.report.trackers.tracker import Tracker


def make_results(replicates: int = 1) -> Results:
    plan = plan_of([("mlp", "mnist")], ("zero", "he_normal"), replicates=replicates)
    return Results(plan, {p.cell.id: result_of(p.cell) for p in plan.cells})


class Notebook(Tracker):
    """A tracker that remembers what it was told."""

    def __init__(self, *, breaks: bool = False) -> None:
        super().__init__()
        self.breaks = breaks
        self.rows: dict[str, dict[int, Any]] = {}
        self.ended: list[tuple[str, str]] = []

    def start_run(self, record: CellRecord) -> None:
        if self.breaks:
            raise OSError("the server is gone")
        self.rows[record.cell] = {}

    def write_epochs(self, record: CellRecord, rows: Any) -> None:
        assert not rows.keys() & self.rows[record.cell].keys()
        self.rows[record.cell].update(rows)

    def end_run(self, record: CellRecord, result: Result) -> None:
        self.ended.append((record.cell, result.outcome))

    def describe_place(self) -> str:
        return "here"


class Silence:
    """An observer that only passes on what it hears."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def watch_downloads(self, stage: Stage) -> Any:
        return nullcontext(lambda progress: None)

    @contextmanager
    def watch_training(self, stage: Stage) -> Iterator[Any]:
        yield self.heard.append


def tell_epochs(observer: TrackingObserver, results: Results, epochs: int) -> None:
    planned = results.plan.cells[0]
    result = results.results[planned.cell.id]
    with observer.watch_training(Stage(results.plan, ())) as tell:
        for epoch in range(1, epochs + 1):
            tell(EpochFinished(planned.cell, 1, {"epoch": epoch, "loss": 1.0 / epoch}))
        tell(CellFinished(result, 1))


def test_the_names_of_cells_tell_them_apart_and_are_names_of_folders() -> None:
    plan = make_results(2).plan
    cells = (*plan.cells, replace(plan.cells[0], labels={"initializer": "../../x\n<b>"}))
    records = [describe_cell("s", planned) for planned in cells]
    assert records[0].name == "mlp · mnist · zero · #0"
    assert len({record.name for record in records}) == len(cells)
    folders = [record.folder for record in records]
    assert len(set(folders)) == len(cells)
    for folder in folders:
        assert Path(folder).name == folder
        assert folder.isprintable()
        assert not folder.startswith(".")


def test_epochs_are_written_as_they_end_and_each_once() -> None:
    results, notebook, silence = make_results(), Notebook(), Silence()
    tell_epochs(TrackingObserver(silence, [notebook]), results, 2)
    cell = results.plan.cells[0].cell.id
    assert sorted(notebook.rows[cell]) == list(
        range(1, len(results.results[cell].history["loss"]) + 1)
    )
    assert notebook.rows[cell][2] == {"epoch": 2, "loss": 0.5}
    assert notebook.ended == [(cell, "ok")]
    assert len(silence.heard) == 3


def test_a_tracker_that_fails_does_not_end_the_run_or_other_trackers() -> None:
    broken, notebook, results = Notebook(breaks=True), Notebook(), make_results()
    with pytest.warns(UserWarning, match="the server is gone"):
        tell_epochs(TrackingObserver(Silence(), [broken, notebook]), results, 2)
    assert len(notebook.ended) == 1


def test_trials_of_the_tuning_are_not_tracked() -> None:
    results, notebook = make_results(), Notebook()
    trials = results.plan.to_tuning_plan(results.plan.cells)
    tell_epochs(TrackingObserver(Silence(), [notebook]), replace(results, plan=trials), 2)
    assert not notebook.rows


def test_what_is_no_tracker_is_told() -> None:
    with pytest.raises(FaninError, match=r"tensorboard.*Did you mean|Did you mean.*tensorboard"):
        open_tracker("tensorbord:logs")
    with pytest.raises(FaninError, match="need a folder"):
        open_tracker("tensorboard")
    assert run_command("run", "quick", "--tracker", "wandb:x").code == 2


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for loaded in [key for key in sys.modules if key.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FaninError, match=rf'pip install "\.\[{name}\]"'):
        open_tracker(f"{name}:{tmp_path}")


# What follows reads runs with the packages themselves (`make test-zoo`).


def read_scalars(folder: Path) -> dict[str, dict[int, float]]:
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs the extra tensorboard",
    )
    accumulator = event_accumulator.EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: {event.step: event.value for event in accumulator.Scalars(tag)}
        for tag in accumulator.Tags()["scalars"]
    }


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    return tmp_path / "logs"


def test_tensorboard_reads_every_epoch_and_the_final_metrics(logs: Path) -> None:
    results = make_results(2)
    assert export_results(results, open_tracker(f"tensorboard:{logs}")) == 4
    for planned in results.plan.cells:
        result = results.results[planned.cell.id]
        (folder,) = logs.glob(f"*-{planned.cell.id[:8]}")
        scalars = read_scalars(folder)
        column = result.history["val_loss"]
        assert scalars["epoch/val_loss"] == pytest.approx(dict(enumerate(column, 1)), rel=1e-6)
        (final,) = scalars["final/test_accuracy"].values()
        assert final == pytest.approx(result.metrics["test_accuracy"], rel=1e-6)
        assert set(list_finals(result)) == {
            tag.removeprefix("final/") for tag in scalars if tag.startswith("final/")
        }


def test_tensorboard_has_the_parameters_of_each_cell(logs: Path) -> None:
    results = make_results()
    export_results(results, open_tracker(f"tensorboard:{logs}"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = set()
    for folder in logs.iterdir():
        accumulator = EventAccumulator(str(folder))
        accumulator.Reload()
        content = accumulator.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        start = HParamsPluginData.FromString(content).session_start_info
        found.add(start.hparams["initializer"].string_value)
        assert start.hparams["learning_rate"].number_value == 0.001
        assert start.hparams["outcome"].string_value == "ok"
    assert found == {"zero", "he_normal"}


def test_tensorboard_gets_no_run_twice(logs: Path) -> None:
    results = make_results()
    for _ in range(2):
        export_results(results, open_tracker(f"tensorboard:{logs}"))
    assert [len(list(folder.iterdir())) for folder in logs.iterdir()] == [1, 1]


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mlflow", reason="needs the extra mlflow")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        yield (tmp_path / "runs").as_uri()


def list_runs(uri: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("case-study")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_mlflow_reads_every_epoch_and_the_final_metrics(uri: str) -> None:
    from mlflow import MlflowClient

    results = make_results()
    assert export_results(results, open_tracker(f"mlflow:{uri}")) == 2
    client = MlflowClient(tracking_uri=uri)
    runs = list_runs(uri)
    assert {run.info.run_name for run in runs} == {
        "mlp · mnist · zero · #0",
        "mlp · mnist · he_normal · #0",
    }
    for run in runs:
        result = results.results[run.data.tags["fanin.cell"]]
        column = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")]
        assert sorted(column) == list(enumerate(result.history["loss"], 1))
        assert run.data.metrics["test_accuracy"] == result.metrics["test_accuracy"]
        assert run.data.metrics["final_val_loss"] == result.metrics["val_loss"]
        assert run.data.params["initializer"] in ("zero", "he_normal")
        assert run.data.tags["fanin.outcome"] == "ok"
        assert run.info.status == "FINISHED"


def test_mlflow_gets_no_run_twice_and_failures_as_such(uri: str) -> None:
    results = make_results()
    first, second = results.plan.cells
    found = {
        **results.results,
        first.cell.id: result_of(first.cell, "failed", message="Traceback\nValueError: no"),
        second.cell.id: result_of(second.cell, "diverged"),
    }
    for _ in range(2):
        export_results(replace(results, results=found), open_tracker(f"mlflow:{uri}"))
    runs = {run.data.tags["fanin.cell"]: run for run in list_runs(uri)}
    assert len(list_runs(uri)) == 2
    assert runs[first.cell.id].info.status == "FAILED"
    assert "ValueError" in runs[first.cell.id].data.tags["fanin.message"]
    assert runs[second.cell.id].data.tags["fanin.outcome"] == "diverged"
    assert math.isnan(runs[second.cell.id].data.metrics["loss"])


def test_a_run_is_tracked_while_it_trains(logs: Path, preloaded_workers: None) -> None:
    study = logs.with_name("tiny.toml")
    study.write_text(TINY)
    out = logs.with_name("out")
    done = run_command(
        "run", study, "--out", out, "--workers", 1, "--tracker", f"tensorboard:{logs}", "--json"
    )
    assert done.code == 0, done.err
    for folder in logs.iterdir():
        assert sorted(read_scalars(folder)["epoch/loss"]) == [1, 2]
    assert len(list(logs.iterdir())) == 2


def test_the_command_exports_runs(logs: Path, preloaded_workers: None) -> None:
    study, out = logs.with_name("tiny.toml"), logs.with_name("out")
    study.write_text(TINY)
    assert run_command("run", study, "--out", out, "--workers", 1).code == 0
    done = run_command("export", out, "--to", "tensorboard", "--output", logs, "--json")
    assert (done.code, done.record["runs"]) == (0, 2)
    assert str(logs) in done.record["show"]
