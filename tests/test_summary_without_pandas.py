"""The summary and its CSV file are computed without pandas, and are what pandas gives."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from combinations import for_each
from factor_cases import KINDS, kind_of_study, study_plan
from study_cases import of_outcomes, plan_of, result_of, results_of
from summary_twin import summarise_frame, write_csv
from test_report_escaping import hostile_results

from fanin.analysis.analysis import Analysis
from fanin.cell.plan import Plan
from fanin.garbage_collection import pause_garbage_collection
from fanin.report.results import Results
from fanin.report.stored_results import load_results
from fanin.store.results_store import Store

MLP = {"model": "mlp(widths=[8])", "data": "digits"}
PAIRS = [("mlp", "digits"), ("regression", "diabetes")]
COMMITTED = Path(__file__).parents[1] / "results"


def list_studies() -> Iterator[tuple[str, Results]]:
    """Studies of every kind, and what makes rows differ in what they have."""
    for kind in KINDS:
        yield kind, Results(*kind_of_study(kind, 10))
        yield f"{kind}, 3 replicates", Results(*kind_of_study(kind, 3))
    mixed = plan_of(PAIRS, replicates=12)
    yield "all ok", Results(mixed, results_of(mixed))
    for few in (("ok", None, "diverged", "failed"), ("ok", "ok", "killed"), ("diverged",), (None,)):
        yield str(few), Results(mixed, of_outcomes(mixed, *few))
    yield "hostile names", hostile_results()
    empty = plan_of([])
    yield "no cells", Results(empty, {})
    for name, axes in {
        "seeds": {"init_seed": (1, 2, None), "initializer": ("zero", "he_normal")},
        "whole and other numbers": {"clip_norm": (None, 1.0, 0.5), "learning_rate": (1, 0.5)},
        "flags": {"shared_stream": (True, False), "batch_size": (16, 32)},
        "one label, two values": {"initializer": ("zero",), "label_smoothing": (0.0, 0.1)},
    }.items():
        plan = study_plan({**MLP, "initializer": "zero"}, axes, 6)
        yield name, Results(plan, results_of(plan))
        yield f"{name}, unlabelled", Results(drop_labels(plan), results_of(plan))
    yield "unmeasured", leave_out_metrics(mixed)


def drop_labels(plan: Plan) -> Plan:
    return replace(plan, cells=tuple(replace(planned, labels={}) for planned in plan.cells))


def leave_out_metrics(plan: Plan) -> Results:
    """Each fifth result lacks its test metric, and each seventh is of another environment."""
    results = {}
    for number, planned in enumerate(plan.cells):
        result = result_of(planned.cell)
        if number % 5 == 0:
            kept = {k: v for k, v in result.metrics.items() if not k.startswith("test_a")}
            result = replace(result, metrics=kept)
        if number % 7 == 0:
            result = replace(result, data={"metrics": {"accuracy": "min"}})
        results[planned.cell.id] = result
    return Results(plan, results)


STUDIES = dict(list_studies())


@for_each("results", STUDIES.values(), ids=list(STUDIES))
def test_the_csv_file_and_the_summary_are_those_of_pandas_to_the_last_digit(
    results: Results,
) -> None:
    analysis = results.analysis
    assert results.export("csv") == write_csv(Analysis(analysis.plan, analysis.results))
    if analysis.plan.cells:
        expected = summarise_frame(analysis).astype({"mean_rank": "float64"})
        assert list(analysis.summary.columns) == list(expected.columns)
        assert analysis.summary.dtypes.tolist() == expected.dtypes.tolist()


def test_a_csv_file_is_written_without_pandas(tmp_path: Path) -> None:
    plan = plan_of(PAIRS, replicates=2)
    with Store.create_or_open(tmp_path) as store:
        store.set_plan(plan)
        store.add_all(results_of(plan).values())
    script = (
        "import sys; from fanin.cli import main\n"
        f"main(['export', {str(tmp_path)!r}, '--to', 'csv', '-o', {str(tmp_path / 'x.csv')!r}])\n"
        "print([name for name in ('pandas', 'torch', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    assert (tmp_path / "x.csv").read_text() == load_results(tmp_path).export("csv")


@pytest.mark.parametrize("was_enabled", [True, False])
def test_a_pause_of_garbage_collection_ends_as_it_began(was_enabled: bool) -> None:
    try:
        if not was_enabled:
            gc.disable()
        with contextlib.suppress(ValueError), pause_garbage_collection():
            was_paused = not gc.isenabled()
            raise ValueError
        assert was_paused
        assert gc.isenabled() == was_enabled
    finally:
        gc.enable()
