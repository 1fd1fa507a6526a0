"""Signals of cells: measured without a trace, resumed, stored, shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cli_session
import pytest
import torch
from test_train import CNN, ENVIRONMENT, MLP, TABLE, _images, _table, without_time

import fanin
from fanin.analysis.cell_table import CellTable
from fanin.analysis.design import infer_design
from fanin.analysis.impact import measure_impact
from fanin.analysis.layer_signals import COLUMNS, read_series
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.record_check import require_plausible
from fanin.cell.result import Result
from fanin.cell.signal_columns import append_signals, is_signal_column, parse_column
from fanin.report.figures.signal_figure import draw_signals
from fanin.report.figures.signal_panels import collect_signal_panels
from fanin.report.results import Results
from fanin.report.tables.impact_table import make_impact_table
from fanin.store import jsonl, results_store
from fanin.store.merge import merge
from fanin.store.results_store import Store
from fanin.store.salvage import salvage
from fanin.store.verify import verify
from fanin.study.learning_rate_tuning import LearningRateTuning, plan_trials
from fanin.study.study import Study
from fanin.training import steps
from fanin.training.train import DataCache, TrainingInterrupted, train
from fanin.watching.layer_reading import ALL

CELLS = {
    "mlp": MLP,
    "cnn with dropout": CNN,
    "batch normalization": dataclasses.replace(MLP, normalization="batch"),
    "dropout": dataclasses.replace(MLP, model="mlp(dropout=0.4, widths=[16, 8])"),
    "regression": TABLE,
    "clipped, with momentum": dataclasses.replace(
        MLP, optimizer="sgd(momentum=0.9)", clip_norm=0.5
    ),
}


@pytest.fixture(autouse=True)
def _measure_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "STEPS_PER_READING", 1)


def run(cell: Cell, **options: Any) -> Result:
    dataset = _table() if cell.data == "plane" else _images()
    return train(cell, cache=DataCache(dataset), environment=ENVIRONMENT, **options)


def measured(cell: Cell) -> Cell:
    return dataclasses.replace(cell, signals=True)


def without_signals(history: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {
        name: column
        for name, column in history.items()
        if not is_signal_column(name) and name != "seconds"
    }


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_trains_the_same_bit_for_bit_with_and_without(name: str) -> None:
    plain, watched = run(CELLS[name]), run(measured(CELLS[name]))
    assert without_signals(watched.history) == without_signals(plain.history)
    assert watched.metrics == plain.metrics
    assert any(map(is_signal_column, watched.history))
    assert not any(map(is_signal_column, plain.history))


def test_signals_are_one_value_per_epoch_of_every_layer() -> None:
    series = read_series(run(measured(CNN)).history)
    assert series is not None
    assert series.times == (0, 1, 2, 3)
    assert series.layers == (
        "conv.0",
        "conv.0:relu",
        "conv.1",
        "conv.1:relu",
        "hidden.0",
        "hidden.0:relu",
        "output",
    )
    assert series.weighted == ("conv.0", "conv.1", "hidden.0", "output")
    for layer in series.weighted:
        assert all(value > 0 for value in series.get("gradient_rms", layer))
        assert all(0 < value < 1 for value in series.get("update_ratio", layer))
    assert all(0 <= share <= 1 for share in series.get("zero_units", ALL))


def test_signals_are_the_same_in_each_run() -> None:
    assert without_time(run(measured(CNN))) == without_time(run(measured(CNN)))


def _interrupt_everywhere(cell: Cell, folder: Path) -> Result:
    for _ in range(cell.epochs + 1):
        try:
            return run(cell, checkpoints=folder, checkpoint_interval=0.0, stop=lambda: True)
        except TrainingInterrupted:
            pass
    raise AssertionError


@pytest.mark.parametrize("name", ["cnn with dropout", "batch normalization"])
def test_a_cell_that_is_resumed_at_every_epoch_has_the_same_signals(
    name: str, tmp_path: Path
) -> None:
    cell = measured(CELLS[name])
    assert without_time(_interrupt_everywhere(cell, tmp_path)) == without_time(run(cell))


def test_epochs_of_few_steps_are_not_all_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "STEPS_PER_READING", 10)
    result = run(measured(MLP))  # 5 steps per epoch
    assert {len(column) for column in result.history.values()} == {4}
    series = read_series(result.history)
    assert series is not None
    assert series.times == (0, 2)
    assert all(map(math.isfinite, series.get("gradient_rms", "output")))


def test_a_cell_without_signals_has_the_id_that_it_always_had() -> None:
    assert "signals" not in MLP.to_json()
    assert measured(MLP).to_json()["signals"] is True
    assert measured(MLP).id != MLP.id


def test_the_time_to_compute_the_weights_is_a_part_of_the_set_up() -> None:
    timings = run(MLP).timings
    assert 0 < timings["initialize"] <= timings["setup"]


def test_trials_of_learning_rates_are_the_same_with_and_without() -> None:
    tuning = LearningRateTuning((0.001, 0.01))
    found = []
    for cell in (MLP, measured(MLP)):
        plan = Plan("s", "?", "sound", (PlannedCell(cell, {}),))
        found.append([one.cell.id for one in plan_trials(tuning, plan, {(): (0.001,)}).cells])
    assert found[0] == found[1]


def make_history(*epochs: dict[str, dict[str, float]]) -> dict[str, list[float]]:
    history: dict[str, list[float]] = {"loss": [], "val_loss": [], "seconds": []}
    for layers in epochs:
        for column in ("loss", "val_loss", "seconds"):
            history[column].append(1.0)
        append_signals(history, list(layers.items()))
    return history


def test_layers_that_come_and_go_leave_gaps_of_nan() -> None:
    history = make_history(
        {"a.b": {"rms": 1.0}}, {"c": {"rms": 2.0, "std": 5.0}}, {"a.b": {"rms": 3.0}}
    )
    assert {len(column) for column in history.values()} == {3}
    series = read_series(history)
    assert series is not None
    assert series.layers == ("a.b", "c")
    assert [math.isnan(value) for value in series.get("rms", "a.b")] == [False, True, False]
    assert [math.isnan(value) for value in series.get("std", "c")] == [True, False, True]


@pytest.mark.parametrize("layer", ["fc", "a.b.c", "0", "signal.rms.3.x", "ü <b>", "(all)"])
def test_the_name_of_a_column_holds_any_name_of_a_layer(layer: str) -> None:
    (name,) = [one for one in make_history({layer: {"gradient_rms": 1.0}}) if "." in one]
    column = parse_column(name)
    assert column is not None
    assert (column.statistic, column.place, column.layer) == ("gradient_rms", 0, layer)
    assert parse_column("loss") is None


def make_results(tmp_path: Path) -> tuple[Results, list[Result]]:
    """Two cells and a third that measured nothing, one of them with numbers that are not finite."""
    cells = [
        dataclasses.replace(measured(MLP), initializer=name, epochs=3)
        for name in ("zero", "he_normal")
    ]
    found = [run(cell) for cell in cells]
    plan = Plan(
        "two",
        "?",
        "sound",
        tuple(PlannedCell(cell, {"initializer": cell.initializer}) for cell in cells),
    )
    results = {result.cell.id: result for result in found}
    return Results(plan, results, tmp_path), found


def test_a_store_keeps_signals_exactly_through_every_way_of_copying(tmp_path: Path) -> None:
    _, found = make_results(tmp_path)
    zero = found[0]
    assert any(math.inf in column for column in zero.history.values())
    assert any(map(math.isnan, zero.history["signal.rms.0.hidden.0"])) is False
    spoilt = dataclasses.replace(
        zero, history={**zero.history, "signal.rms.0.hidden.0": [math.nan, -math.inf, 1e-300]}
    )
    expected = [spoilt.to_json(), found[1].to_json()]
    for record in expected:
        require_plausible(record)
    with Store.create_or_open(tmp_path / "a") as store:
        store.add_all([spoilt, found[1]])
    jsonl.write(results_store.read(tmp_path / "a").results.values(), tmp_path / "a.jsonl")
    merge(tmp_path / "b", [tmp_path / "a.jsonl"])
    salvage(tmp_path / "b", tmp_path / "c")
    for folder in "abc":
        assert verify(tmp_path / folder) == []
        for read in (results_store.read, results_store.read_lazily):
            stored = read(tmp_path / folder).results
            assert [stored[record["id"]].to_json() for record in expected] == expected
            for result in (spoilt, found[1]):
                one, other = (
                    read_series(stored[result.cell.id].history),
                    read_series(result.history),
                )
                assert repr(one) == repr(other)  # nan equals itself as text


def test_the_frame_has_a_row_per_cell_epoch_and_layer(tmp_path: Path) -> None:
    results, found = make_results(tmp_path)
    frame = results.signals()
    assert tuple(frame.columns[-len(COLUMNS) :]) == COLUMNS
    series = read_series(found[1].history)
    assert series is not None
    assert len(frame) == 2 * 3 * (len(series.layers) + 1)
    he = frame[(frame["initializer"] == "he_normal") & (frame["epoch"] == 2)]
    assert list(he["layer"]) == [*series.layers, ALL]
    assert list(he["depth"]) == [*range(len(series.layers)), -1]
    assert list(he["weight_norm"].dropna()) == [
        *(series.get("weight_norm", layer)[2] for layer in series.weighted),
        series.get("weight_norm")[2],
    ]


def test_the_history_of_results_has_no_columns_of_signals(tmp_path: Path) -> None:
    results, _ = make_results(tmp_path)
    assert not any(map(is_signal_column, results.history().columns))
    assert len(results.history()) == 6


def test_results_without_signals_have_an_empty_frame_of_the_same_columns(tmp_path: Path) -> None:
    result = run(MLP)
    plan = Plan("one", "?", "sound", (PlannedCell(MLP, {}),))
    results = Results(plan, {MLP.id: result}, tmp_path)
    frame = results.signals()
    assert len(frame) == 0
    assert tuple(frame.columns[-len(COLUMNS) :]) == COLUMNS
    assert results.impact()["measured"].tolist() == [0]
    assert results.impact()["initialize_seconds"].iloc[0] > 0


def test_the_impact_tells_gradient_flow_stability_and_cost(tmp_path: Path) -> None:
    results, found = make_results(tmp_path)
    zero, he = results.impact().to_dict("records")
    assert (zero["initializer"], he["initializer"]) == ("zero", "he_normal")
    assert zero["gradient_ratio"] == 0.0
    assert zero["largest_update"] == math.inf
    series = read_series(found[1].history)
    assert series is not None
    first, last = series.get("gradient_rms", "hidden.0"), series.get("gradient_rms", "output")
    assert he["gradient_ratio"] == first[0] / last[0]
    assert he["largest_update"] == max(series.get("update_ratio"))
    assert he["diverged"] == 0.0
    assert he["initialize_seconds"] == found[1].timings["initialize"]


def test_the_table_of_impacts_shows_what_was_measured(tmp_path: Path) -> None:
    results, _ = make_results(tmp_path)
    table = make_impact_table(results.analysis)
    zero, he = ([entry.text for entry in row] for row in table.rows)
    assert zero[2:5] == ["zero", "1", "1"]
    assert zero[5] == "0"
    assert zero[8] == "∞"
    assert he[2] == "he_normal"
    assert max(map(len, str(table).split("\n"))) <= 100
    plain = dataclasses.replace(MLP, epochs=1)
    plan = Plan("one", "?", "sound", (PlannedCell(plain, {}),))
    text = str(make_impact_table(Results(plan, {plain.id: run(plain)}).analysis))
    assert "— was not measured" in text


def test_a_condition_that_diverged_counts_in_its_share(tmp_path: Path) -> None:
    results, found = make_results(tmp_path)
    diverged = dataclasses.replace(found[1], outcome="diverged", metrics={"epochs": 3.0})
    table = CellTable(results.plan, {**results.results, diverged.cell.id: diverged})
    rows = measure_impact(table, infer_design(table))
    assert [row.diverged for row in rows] == [0.0, 1.0]


def test_a_figure_shows_every_condition_and_statistic(tmp_path: Path) -> None:
    results, found = make_results(tmp_path)
    panels = collect_signal_panels(results.analysis)
    assert [panel.title for panel in panels] == ["zero", "he_normal"]
    series = read_series(found[1].history)
    assert series is not None
    rms = dict(panels[1].list_layers("rms"))["hidden.0"]
    assert tuple(rms) == series.get("rms", "hidden.0")
    figure = draw_signals(panels, "Two starts")
    *panels_of_rows, key = figure.axes
    titles = [axes.get_ylabel() for axes in panels_of_rows[::2]]
    assert titles == ["output, rms", "gradient, rms", "update ratio", "dead units", "layer"]
    assert key.get_xlabel() == "gradient, rms"
    texts = [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text()]
    assert "2 layers exactly 0" in texts
    lines = figure.axes[1].get_lines()
    assert len(lines) == 3  # the layers with weights
    paths = results.figures(tmp_path)
    assert any("signals-through-training" in path.name for path in paths)


def test_a_figure_takes_the_median_over_replicates_and_says_what_it_leaves_out() -> None:
    cells = [
        dataclasses.replace(measured(MLP), initializer=f"normal(std=0.{n})", replicate=replicate)
        for n in range(1, 10)
        for replicate in range(3)
    ]
    results = {
        cell.id: Result(
            cell=cell,
            outcome="ok",
            history=make_history(
                {"fc": {"rms": 10.0**cell.replicate, "weight_norm": 1.0}, ALL: {"weight_norm": 1.0}}
            ),
            metrics={"val_loss": 1.0},
        )
        for cell in cells
    }
    plan = Plan("s", "?", "sound", tuple(PlannedCell(cell, {}) for cell in cells))
    panels = collect_signal_panels(Results(plan, results).analysis)
    assert len(panels) == 9
    assert {panel.replicates for panel in panels} == {3}
    assert dict(panels[0].list_layers("rms"))["fc"].tolist() == [10.0]
    figure = draw_signals(panels, "many")
    assert "Drawn: the first 8 of 9 conditions." in [text.get_text() for text in figure.texts]


STUDY = {
    "name": "small",
    "base": {"model": "mlp(widths=[4], activation=relu)", "data": "digits", "epochs": 1},
    "axes": {"initializer": ["zero"]},
}


def test_a_study_asks_for_signals_in_its_file_or_when_it_is_run(tmp_path: Path) -> None:
    written = Study.from_tables({**STUDY, "base": {**STUDY["base"], "signals": True}})  # type: ignore[dict-item]
    asked = Study.from_tables(STUDY).override(signals=True)
    assert [one.cell.id for one in written.plan().cells] == [
        one.cell.id for one in asked.plan().cells
    ]
    assert all(planned.cell.signals for planned in asked.plan().cells)
    assert "signals = true" in asked.to_toml()
    back = asked.override(signals=False).plan().cells
    assert [one.cell.id for one in back] == [
        one.cell.id for one in Study.from_tables(STUDY).plan().cells
    ]


def test_a_study_that_was_run_without_is_trained_again_and_says_so(
    tmp_path: Path, preloaded_workers: None
) -> None:
    before = fanin.run(STUDY, out=tmp_path, workers=1, progress=False)
    with pytest.warns(UserWarning, match="1 cell has a result without signals in this folder"):
        after = fanin.run(STUDY, out=tmp_path, workers=1, progress=False, signals=True)
    (one,), (other,) = (
        before.results.values(),
        [result for result in after.results.values() if result.cell.signals],
    )
    assert without_signals(other.history) == without_signals(one.history)
    assert other.metrics == one.metrics
    assert len(after.signals())


def test_the_command_line_asks_for_signals(tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(cli_session.TINY)
    for words, expected in (((), False), (("--signals",), True)):
        record = cli_session.fanin("run", file, "--dry-run", "--json", *words).record
        assert [one["cell"].get("signals", False) for one in record["cells"]] == [expected] * 2


def test_no_copy_of_a_cells_signals_shares_memory_with_its_model() -> None:
    result = run(measured(MLP))
    values = [value for column in result.history.values() for value in column]
    assert not any(isinstance(value, torch.Tensor) for value in values)
    assert {type(value) for value in values} == {float}
