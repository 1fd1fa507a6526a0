"""Pages and figures: every kind of store renders, and says what is missing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.image import imread
from study_cases import of_outcomes, plan_of, result_of, results_of

from fanin.errors import OutputError, UnknownName
from fanin.report.figures import training_curves
from fanin.report.figures.curve_panel import CurvePanel, fit_curve_scales
from fanin.report.figures.gathered_curves import gather_curves
from fanin.report.figures.scales import format_tick
from fanin.report.results import Results
from fanin.report.tables import notes

PAIRS = [("mlp", "mnist"), ("regression", "california-housing")]


def no_cells() -> Results:
    return Results(plan_of([]), {})


def nothing_run() -> Results:
    return Results(plan_of(PAIRS), {})


def partial() -> Results:
    plan = plan_of(PAIRS, replicates=5)
    return Results(plan, of_outcomes(plan, "ok", None, None))


def single() -> Results:
    plan = plan_of(PAIRS)
    return Results(plan, results_of(plan))


def all_diverged() -> Results:
    plan = plan_of(PAIRS, replicates=5)
    return Results(plan, of_outcomes(plan, "diverged"))


def failed_only() -> Results:
    plan = plan_of(PAIRS)
    return Results(plan, of_outcomes(plan, "failed", "killed"))


def tied() -> Results:
    plan = plan_of([("mlp", "mnist")], replicates=10)
    like = result_of(plan.cells[1].cell)
    cells = {
        p.cell.id: result_of(p.cell, history=like.history, metrics=like.metrics) for p in plan.cells
    }
    return Results(plan, cells)


def thousand() -> Results:
    plan = plan_of([("mlp", "mnist")], [f"init{i}" for i in range(5)], replicates=200)
    return Results(plan, results_of(plan))


STORES = [
    (no_cells, "Nothing to show yet: no cells."),
    (nothing_run, "Nothing to show yet: none of the 12 planned cells has run."),
    (partial, "20 of 60 cells trained to their end; 40 missing (not run yet)"),
    (single, "Every cell has a result"),
    (all_diverged, "0 of 60 cells trained to their end; 60 diverged"),
    (failed_only, "0 of 12 cells trained to their end; 6 failed, 6 killed"),
    (tied, "none beats every other of its section"),
    (thousand, "1,000 cells planned"),
]


@pytest.mark.parametrize(("store", "said"), STORES, ids=[store.__name__ for store, _ in STORES])
def test_every_kind_of_store_renders_and_says_what_is_missing(
    store: Callable[[], Results], said: str, tmp_path: Path
):
    results = store()
    assert said in results.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert str(results)
    for kind in ("csv", "csv-cells", "markdown", "latex"):
        assert results.export(kind, tmp_path / "table") == (tmp_path / "table").read_text(
            encoding="utf-8"
        )
    assert len(results.frame()) == sum(results.outcomes.values())
    assert results.history() is not None


def test_a_page_holds_table_curves_messages_environment_and_command(tmp_path: Path):
    plan = plan_of(PAIRS)
    page = Results(plan, of_outcomes(plan, "ok", "failed"), tmp_path / "my runs").report()
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "my runs" / "report.html"
    assert '<figure id="figure-1">' in text
    assert "the run failed" in text
    assert "<dt>torch</dt><dd>2.13.0</dd>" in text
    assert "fanin run case-study --out &#39;" in text


def test_a_given_command_is_shown_instead(tmp_path: Path):
    page = Results(plan_of(PAIRS), {}, command="fanin run quick --max-epochs 3").report(
        tmp_path / "r.html"
    )
    assert "<code>fanin run quick --max-epochs 3</code>" in page.read_text(encoding="utf-8")


def test_without_a_folder_a_path_is_asked_for():
    with pytest.raises(OutputError, match="Give a path"):
        single().report()


def size(path: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def test_the_grid_has_a_row_per_section_and_a_column_per_initializer(tmp_path: Path):
    small, wide, tall = (
        size(Results(plan, results_of(plan)).curves(tmp_path / "c.png"))
        for plan in (
            plan_of(PAIRS[:1]),
            plan_of(PAIRS[:1], [f"i{k}" for k in range(8)]),
            plan_of(PAIRS),
        )
    )
    assert wide[0] > small[0]
    assert wide[1] == small[1]
    assert tall[1] > small[1]


def test_panels_without_results_and_diverged_ones_look_different(tmp_path: Path):
    plan = plan_of([("mlp", "mnist")], ("zero", "he_normal", "orthogonal"))
    images = [
        imread(
            Results(plan, of_outcomes(plan, "ok", outcome, "ok")).curves(tmp_path / "c.png")
        ).tobytes()
        for outcome in ("ok", "diverged", None)
    ]
    assert len(set(images)) == 3


def test_a_grid_too_large_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(training_curves, "MAX_ROWS", 1)
    monkeypatch.setattr(training_curves, "MAX_COLUMNS", 2)
    svg = single().curves(tmp_path / "c.svg").read_text(encoding="utf-8")
    assert "Drawn: the first 1 of 2 rows and the first 2 of 6 initializers." in svg


def test_figures_are_the_same_bytes_each_time_and_leave_settings_alone(tmp_path: Path):
    before = dict(mpl.rcParams)
    first, second = (single().curves(tmp_path / f"{i}.png").read_bytes() for i in range(2))
    assert first == second
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_one_cell_has_a_figure(ending: str, tmp_path: Path):
    plan = plan_of(PAIRS)
    results = Results(plan, of_outcomes(plan, "ok", "diverged", None))
    for planned in plan.cells[:3]:
        path = results.cell_curves(planned.cell.id, tmp_path / f"{planned.cell.id}.{ending}")
        assert path.stat().st_size > 2_000


def test_an_unknown_cell_or_ending_is_an_error(tmp_path: Path):
    with pytest.raises(UnknownName, match="cell of this study"):
        single().cell_curves("nothing", tmp_path / "x.png")
    with pytest.raises(OutputError, match="png, pdf, svg"):
        single().curves(tmp_path / "curves.bmp")


def test_a_row_shares_axes_that_diverged_runs_do_not_stretch():
    plan = plan_of([("mlp", "cifar10")], ("he_normal", "orthogonal"))
    ok = result_of(plan.cells[0].cell)
    wild = result_of(plan.cells[1].cell, "diverged", history={"loss": [1e30], "val_loss": [1e35]})
    row = [gather_curves([ok]), gather_curves([wild])]
    assert fit_curve_scales(row).loss == fit_curve_scales(row[:1]).loss
    assert fit_curve_scales([gather_curves([ok, wild])]).loss == fit_curve_scales(row[:1]).loss
    assert fit_curve_scales(row[1:]).loss.log
    assert fit_curve_scales(row[1:]).loss.high > 1e35
    assert fit_curve_scales([]).loss.low < fit_curve_scales([]).loss.high


def test_a_panel_says_what_is_not_as_planned():
    plan = plan_of([("mlp", "mnist")], ("zero",), replicates=5)
    cells = [planned.cell for planned in plan.cells]
    assert CurvePanel([result_of(cell) for cell in cells], 5).status == ""
    assert CurvePanel([], 5).status == "not run yet"
    assert CurvePanel([], 0).status == "not in this study"
    assert (
        CurvePanel([result_of(cells[0], "diverged"), result_of(cells[1])], 5).status
        == "1 of 5 diverged\n3 of 5 not run yet"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.5, "0.5"), (1500, "1,500"), (50_000, "50k"), (5e9, "5e9"), (2.5e-5, "2.5e-5")],
)
def test_tick_labels_are_short(value: float, text: str):
    assert format_tick(value) == text


def test_of_cells_that_failed_nobody_says_that_they_have_not_run() -> None:
    said = notes.describe_empty(failed_only().analysis.frame)  # what the figure of curves shows
    assert "has run" not in said
    assert said.endswith(
        "none of the 12 planned cells has a result that counts; 6 failed and 6 killed."
    )
