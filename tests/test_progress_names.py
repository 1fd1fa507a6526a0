"""The live view tells cells apart at 80 columns, in a notebook, and when learning rates are
tuned.
"""

from __future__ import annotations

import io
import sys
import types
from dataclasses import dataclass, field
from typing import Any

import pytest
from combinations import for_each
from test_cli_progress import Terminal, story

from fanin.cell.plan import Plan
from fanin.execution.events import CellStarted, RunStarted
from fanin.execution.observer import Stage
from fanin.experiment import make_plan
from fanin.progress.cell_names import fit_names, name_varying_parts
from fanin.progress.progress_display import ProgressDisplay, is_watched

LONG = "mlp(widths=[512, 512, 512, 512], activation=[relu, relu, relu, tanh])"


def plan_of(**axes: list[Any]) -> Plan:
    base = {"model": LONG, "data": "digits", "initializer": "zero"}
    fixed = {key: value for key, value in base.items() if key not in axes}
    return make_plan({"base": fixed, "axes": axes, "replicates": 2})


PLANS: dict[str, dict[str, list[Any]]] = {
    "initializers of one long model": {"initializer": ["zero", "he_normal", "he_normal(a=0.2)"]},
    "options behind a long prefix": {
        "initializer": [
            "he_normal(mode=fan_out, truncated=true, a=0.1)",
            "he_normal(mode=fan_out, truncated=true, a=0.2)",
            "he_normal(mode=fan_in, truncated=true, a=0.1)",
        ],
    },
    "many axes": {
        "initializer": ["he_normal(mode=fan_out, a=0.1)", "he_normal(mode=fan_out, a=0.2)"],
        "learning_rate": [0.001, 0.01],
        "batch_size": [8, 16],
    },
    "models that differ in their middle": {
        "model": [LONG, LONG.replace("relu, relu, relu", "relu, tanh, relu")],
    },
}


@for_each("name", PLANS)
def test_names_of_32_columns_tell_all_cells_of_a_plan_apart(name: str) -> None:
    plan = plan_of(**PLANS[name])
    names = fit_names(name_varying_parts(plan), 32)
    assert len(set(names.values())) == len(plan.cells)
    if name != "many axes":
        assert max(map(len, names.values())) <= 32


def test_what_does_not_vary_is_left_out() -> None:
    names = fit_names(name_varying_parts(plan_of(initializer=["zero", "orthogonal"])), 32)
    assert sorted(names.values()) == [
        "orthogonal · #0",
        "orthogonal · #1",
        "zero · #0",
        "zero · #1",
    ]


def test_wide_letters_count_twice() -> None:
    labels = [
        {"label": "重み" * 20 + end, "use": use} for end, use in (("甲", "zero"), ("乙", "one"))
    ]
    labels[1]["use"] = "he_normal"
    names = fit_names(name_varying_parts(plan_of(initializer=labels)), 32)
    assert len(set(names.values())) == 4


def show(plan: Plan, stream: io.StringIO | None) -> str:
    first = plan.cells[1].cell
    stage = Stage(plan, tuple(planned.cell for planned in plan.cells))
    with ProgressDisplay(stream).watch_training(stage) as handle:
        handle(RunStarted(len(plan.cells), len(plan.cells), 2, {}))
        handle(CellStarted(first, 1))
    return stream.getvalue() if stream else ""


def test_bars_of_80_columns_show_the_initializer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    text = show(
        plan_of(initializer=["zero", "he_normal(mode=fan_out, truncated=true)"]), Terminal()
    )
    assert "he_normal(mo" in text
    assert "ated=true) · #0" in text


def test_the_tuning_stage_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    plan = plan_of(initializer=["zero", "he_normal"], learning_rate=[0.1, 0.2])
    tuning = plan.to_tuning_plan(plan.cells)
    assert "Tuning the learning rate, 2 wor" in show(tuning, Terminal())
    assert "Tuning the learning rate: 8 cells on 2 workers." in show(tuning, io.StringIO())
    assert "Tuning" not in show(plan, Terminal()) + show(plan, io.StringIO())


@dataclass
class Output:
    """The output of a notebook's cell."""

    texts: list[str] = field(default_factory=list)

    def update(self, bundle: dict[str, str], *, raw: bool) -> None:
        assert raw
        assert bundle["text/html"].startswith("<pre>")
        self.texts.append(bundle["text/plain"])


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Output:
    """Stands for IPython, as far as it is used."""
    output = Output()
    ipython, shown = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    shell = types.SimpleNamespace(kernel=object())
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    shown.display = lambda *_, **__: output  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setattr("fanin.progress.notebook.UPDATE_EVERY", 0.0)
    return output


def test_a_notebook_shows_one_text_with_the_running_cells(notebook: Output) -> None:
    assert is_watched()
    show(plan_of(initializer=["zero", "he_normal"]), None)
    assert notebook.texts[-1].splitlines() == [
        "Training 4 cells on 2 workers.",
        "  he_normal · #0: starting",
        "0/4 cells",
    ]


def test_a_notebook_keeps_what_failed(notebook: Output) -> None:
    plan = plan_of(initializer=["zero"])
    with ProgressDisplay().watch_training(Stage(plan, ())) as handle:
        for event in story(outcome="failed"):
            handle(event)
    assert "failed: RuntimeError: it broke" in notebook.texts[-1]
    assert "Something to know." in notebook.texts[-1]
