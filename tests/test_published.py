"""The comparison with the published table: intervals, zero cells, and the distribution of
misses.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from fanin.analysis import published
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.errors import UsageError
from fanin.study.study import Study

TABLE = published.load_published_table()


def _plan(replicates: int) -> Plan:
    return Study.load("case-study").plan(replicates=replicates)


def _results(
    plan: Plan, noise: float = 0.001, seed: int = 0, shift: float = 0.0
) -> dict[str, Result]:
    """Runs that scatter around the published figures; zero cells reproduce them."""
    random = np.random.Generator(np.random.PCG64(seed))
    found = {}
    for planned in plan.cells:
        cell = planned.cell
        run = TABLE[cell.model, cell.data, planned.labels["initializer"]]
        name, value = (
            ("mae", run.test_mae) if cell.model == "regression" else ("accuracy", run.test_accuracy)
        )
        if planned.labels["initializer"] != "zero":
            value *= 1 + shift + noise * random.standard_normal()
        metrics = {
            f"test_{name}": value,
            f"val_{name}": value,
            "test_loss": run.test_loss,
            "epochs": run.epochs,
        }
        found[cell.id] = Result(cell=cell, outcome="ok", metrics=metrics)
    return found


def test_the_published_table_has_54_rows_and_the_second_run_six() -> None:
    assert len(TABLE) == 54
    assert TABLE["mlp", "mnist", "xavier_uniform"].test_accuracy == 0.981
    assert TABLE["regression", "california-housing", "zero"].test_mae == 207080.5312
    assert published.load_second_run()["mlp", "mnist", "he_normal"] == 0.9772


def test_every_cell_of_the_study_finds_its_published_row() -> None:
    plan = _plan(1)
    keys = {(p.cell.model, p.cell.data, p.labels["initializer"]) for p in plan.cells}
    assert keys == set(TABLE)


def test_one_replicate_allows_no_verdict_but_on_zero_cells() -> None:
    plan = _plan(1)
    compared = published.compare(plan, _results(plan))
    assert {c.agrees for c in compared if c.key[2] == "zero"} == {True}
    assert {c.agrees for c in compared if c.key[2] != "zero"} == {None}
    with pytest.raises(UsageError, match="at least 2 replicates"):
        published.summarise(compared)


def test_no_results_allow_no_verdict_at_all() -> None:
    assert {c.agrees for c in published.compare(_plan(1), {})} == {None}


def test_the_interval_is_the_textbook_one() -> None:
    stats = pytest.importorskip("scipy.stats", reason='needs the extra "study"')
    plan = _plan(3)
    compared = {c.key: c for c in published.compare(plan, _results(plan))}
    group = [c for c in compared.values() if c.key[:2] == ("cnn", "cifar10") and c.key[2] != "zero"]
    s = math.sqrt(np.mean([np.var(c.ours, ddof=1) for c in group]))
    half = stats.t.ppf(0.975, 10) * s * math.sqrt(1 + 1 / 3)
    for c in group:
        assert c.interval == pytest.approx((np.mean(c.ours) - half, np.mean(c.ours) + half))


def test_diverged_and_failed_runs_are_left_out() -> None:
    plan = _plan(3)
    results = _results(plan)
    first = plan.cells[1].cell
    results[first.id] = Result(cell=first, outcome="diverged")
    compared = {c.key: c for c in published.compare(plan, results)}
    assert len(compared["mlp", "mnist", "random_normal"].ours) == 2


@pytest.mark.parametrize(
    ("metric", "change", "agrees"),
    [
        ("test_accuracy", 0.00004, True),
        ("test_accuracy", 0.0001, False),
        ("test_loss", 0.0011, True),
        ("test_loss", 0.0016, False),
        ("epochs", 17, True),
    ],
)
def test_zero_cells_are_compared_exactly_but_for_their_epochs(
    metric: str, change: float, agrees: bool
) -> None:
    plan = _plan(1)
    results = _results(plan)
    cell = plan.cells[0].cell
    metrics = {**results[cell.id].metrics}
    metrics[metric] += change
    results[cell.id] = dataclasses.replace(results[cell.id], metrics=metrics)
    assert published.compare(plan, results)[0].agrees is agrees


@pytest.mark.parametrize(("relative", "agrees"), [(9e-7, True), (2e-6, False)])
def test_the_zero_cell_of_housing_is_compared_to_a_relative_millionth(
    relative: float, agrees: bool
) -> None:
    plan = _plan(1)
    results = _results(plan)
    cell = next(
        p.cell
        for p in plan.cells
        if p.cell.model == "regression" and p.labels["initializer"] == "zero"
    )
    results[cell.id] = dataclasses.replace(
        results[cell.id],
        metrics={**results[cell.id].metrics, "test_mae": 207080.5312 * (1 + relative)},
    )
    compared = {c.key: c for c in published.compare(plan, results)}
    assert compared["regression", "california-housing", "zero"].agrees is agrees


def test_a_study_that_equals_the_published_one_is_not_called_different() -> None:
    """The published figures are the centre of our runs here, so misses are rarer than when they are
    draws themselves.
    """
    plan = _plan(3)
    summary = published.summarise(published.compare(plan, _results(plan)))
    assert summary.judged == 45
    assert summary.misses <= 2
    assert summary.p_value > 0.5


def test_a_planted_shift_of_five_spreads_is_noticed() -> None:
    plan = _plan(3)
    summary = published.summarise(published.compare(plan, _results(plan, shift=0.005)))
    assert summary.misses > 30
    assert summary.p_value < 0.001


def test_an_independent_design_misses_five_percent() -> None:
    """With independent runs the interval is exact: 45 cells × 5 % = 2.25 expected, here simulated
    20,000 times.
    """
    random = np.random.Generator(np.random.PCG64(1))
    misses = published._simulate_misses([3] * 5, 0.0, random)
    # One group: 0.25 misses expected; the standard error of the mean of 20,000 counts is below
    # 0.006.
    assert misses.mean() == pytest.approx(0.25, abs=0.02)


def test_shared_batches_make_misses_cluster() -> None:
    random = np.random.Generator(np.random.PCG64(2))
    alone = published._simulate_misses([2] * 5, 0.0, random)
    together = published._simulate_misses([2] * 5, 0.95, random)
    assert together.var() > 2 * alone.var()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_the_share_in_common_is_estimated(share: float) -> None:
    """200 groups of 5 initializers × 4 replicates; the standard error of the estimate is below 0.03
    (measured).
    """
    random = np.random.Generator(np.random.PCG64(3))
    groups = [
        random.standard_normal((1, 4)) * math.sqrt(share)
        + random.standard_normal((5, 4)) * math.sqrt(1 - share)
        for _ in range(200)
    ]
    assert published._estimate_shared_variance(groups) == pytest.approx(share, abs=0.12)


def test_initializers_with_unequally_many_replicates_are_summarised_too() -> None:
    plan = _plan(3)
    results = _results(plan)
    for planned in plan.cells:
        if planned.cell.replicate == 2 and planned.labels["initializer"] in (
            "he_normal",
            "orthogonal",
        ):
            del results[planned.cell.id]
    compared = published.compare(plan, results)
    assert {len(c.ours) for c in compared} == {2, 3}
    summary = published.summarise(compared)
    assert summary.judged == 45
    assert 0 <= summary.shared <= 1


def test_with_unequal_counts_an_independent_design_still_misses_five_percent() -> None:
    random = np.random.Generator(np.random.PCG64(4))
    misses = published._simulate_misses([1, 2, 3, 3, 2], 0.0, random)
    assert misses.mean() == pytest.approx(0.25, abs=0.02)
