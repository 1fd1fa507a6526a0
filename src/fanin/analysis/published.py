"""The published case study's table, and a comparison of our replicates with it.

The published table has one run per cell. A cell agrees if that run lies in the prediction interval
of one more run of ours, mean ± t · s · √(1 + 1/k), with k replicates and s pooled over the five
initializers other than zero of one model and data set. Zero cells have almost no randomness and are
compared exactly.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.errors import UsageError

if TYPE_CHECKING:
    from fanin import seeds

LEVEL = 0.95
ZERO = "zero"
SIMULATIONS = 20_000

# How far our zero cells may be from the published ones: accuracies equal in all four printed
# digits, losses to ±1 in the last printed digit, absolute errors to what fp32 sums of dollars
# allow.
_ACCURACY_DIGITS = 4
_RELATIVE_MAE = 1e-6

_INITIALIZERS = {
    "zero": "zero",
    "random_normal": "normal(std=0.05)",
    "xavier_uniform": "xavier_uniform",
    "he_normal": "he_normal(truncated=true)",
    "lecun_normal": "lecun_normal(truncated=true)",
    "orthogonal": "orthogonal",
}
"""Label → the initializer of the published study, as a cell has it."""

_SETTINGS = {"optimizer": "adam(epsilon=keras)", "protocol": "case-study"}
_FREE = ("model", "data", "initializer", "replicate", "signals")
"""The other settings of its cells, and what the table varies or does not depend on."""

Key = tuple[str, str, str]
"""Model, data set, initializer's label."""


@dataclass(frozen=True)
class PublishedRun:
    """One row of the published table; nan for numbers that it does not give."""

    val_accuracy: float
    test_accuracy: float
    test_mae: float
    test_loss: float
    epochs: float
    loss_digit: float
    """The size of one unit in the last printed digit of the loss."""

    @property
    def verdict(self) -> float:
        """The number that is compared: test accuracy, or test MAE if there is no accuracy."""
        return self.test_mae if math.isnan(self.test_accuracy) else self.test_accuracy


@dataclass(frozen=True)
class Comparison:
    """One cell of the table: our replicates beside the published run."""

    key: Key
    ours: tuple[float, ...]
    """Test accuracy or test MAE of each finished replicate."""
    replicates: tuple[int, ...]
    """Their numbers."""
    published: PublishedRun
    metrics: Mapping[str, float]
    """Our means of val_accuracy, test_accuracy or test_mae, test_loss and epochs."""
    interval: tuple[float, float] | None
    """Prediction interval of one more run at `LEVEL`; None for zero cells or too few replicates."""
    agrees: bool | None
    """None if undecidable: no results, or a single replicate."""
    second_run: float = math.nan
    """The authors' second run; nan if there is none."""


@dataclass(frozen=True)
class Summary:
    """How many published runs missed their interval, and how many would if nothing differed."""

    judged: int
    misses: int
    expected: float
    p_value: float
    """Share of simulated studies with at least as many misses."""
    shared: float
    """Estimated share of our runs' variance that the initializers of a replicate have in common,
    since they see the same batches.
    """
    simulations: int


def load_published_table() -> dict[Key, PublishedRun]:
    """The 54 published rows by (model, data set, initializer)."""
    return {
        (r["model"], r["dataset"], r["initializer"]): _make_run(r) for r in _read_rows("case-study")
    }


def load_second_run() -> dict[Key, float]:
    """Test accuracies of the authors' second, partial run."""
    return {
        (r["model"], r["dataset"], r["initializer"]): float(r["test_accuracy"])
        for r in _read_rows("second-run")
    }


def select_published(plan: Plan) -> Plan:
    """The plan with those of its cells that the published study trained: same model, data,
    initializer and settings, whatever the replicate.
    """
    table = load_published_table()
    cells = tuple(planned for planned in plan.cells if _get_key(planned, table) is not None)
    return replace(plan, cells=cells)


def _get_key(planned: PlannedCell, table: Mapping[Key, PublishedRun]) -> Key | None:
    cell = planned.cell
    label = planned.labels.get("initializer", cell.initializer)
    key = (cell.model, cell.data, label)
    # A cell names only what differs from the defaults.
    settings = {name: value for name, value in cell.to_json().items() if name not in _FREE}
    is_same = settings == _SETTINGS and _INITIALIZERS.get(label) == cell.initializer
    return key if is_same and key in table else None


def compare(plan: Plan, results: Mapping[str, Result]) -> list[Comparison]:
    """Each published row with our replicates of that cell, in the published order."""
    ours = _collect_replicates(plan, results)
    again = load_second_run()
    table = load_published_table()
    spread = {
        group: _pool_deviations(ours, group) for group in dict.fromkeys(key[:2] for key in table)
    }
    return [
        _compare_cell(key, run, ours.get(key, ()), spread[key[:2]], again.get(key, math.nan))
        for key, run in table.items()
    ]


def summarise(comparisons: Sequence[Comparison]) -> Summary:
    """Count the misses, and simulate how many the same design gives if nothing differs.

    Misses are not binomial, because one small s makes a whole group miss. For each group, the
    simulation draws k replicates that share the estimated part of their variance, and one
    independent published run per initializer, all from one normal distribution. It then applies the
    same comparison.
    """
    from fanin import seeds  # torch, which most reports need not import

    judged = [c for c in comparisons if c.interval is not None]
    if not judged:
        raise UsageError(
            "Nothing to summarise: prediction intervals need at least 2 replicates of a model and "
            "data set."
        )
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in judged:
        groups.setdefault(comparison.key[:2], []).append(comparison)
    shared = _estimate_shared_variance([_pair_replicates(group) for group in groups.values()])
    random = seeds.make_numpy_generator(0, "published comparison")
    simulated = sum(
        (
            _simulate_misses([len(c.ours) for c in group], shared, random)
            for group in groups.values()
        ),
        np.zeros(SIMULATIONS, dtype=np.int64),
    )
    misses = sum(not c.agrees for c in judged)
    at_least = float((simulated >= misses).mean())
    return Summary(len(judged), misses, float(simulated.mean()), at_least, shared, SIMULATIONS)


def compute_prediction_half_width(s: float, k: int, df: int) -> float:
    """t · s · √(1 + 1/k): how far one more run may lie from the mean of k, if s has df degrees of
    freedom.
    """
    return float(special.stdtrit(df, (1 + LEVEL) / 2)) * s * math.sqrt(1 + 1 / k)


def _read_rows(name: str) -> list[dict[str, str]]:
    text = (resources.files("fanin.analysis") / "published" / f"{name}.csv").read_text(
        encoding="utf-8"
    )
    return list(csv.DictReader(text.splitlines()))


def _make_run(row: Mapping[str, str]) -> PublishedRun:
    figures = {
        key: float(row[key] or "nan")
        for key in ("val_accuracy", "test_accuracy", "test_mae", "test_loss", "epochs")
    }
    decimals = len(row["test_loss"].partition(".")[2])
    return PublishedRun(**figures, loss_digit=10.0**-decimals)


def _collect_replicates(plan: Plan, results: Mapping[str, Result]) -> dict[Key, tuple[Result, ...]]:
    """Our finished runs of each cell, ordered by replicate. Other runs are left out and lower k."""
    found: dict[Key, list[Result]] = {}
    for planned in sorted(plan.cells, key=lambda p: p.cell.replicate):
        result = results.get(planned.cell.id)
        if result is not None and result.outcome == "ok":
            label = planned.labels.get("initializer", planned.cell.initializer)
            found.setdefault((planned.cell.model, planned.cell.data, label), []).append(result)
    return {key: tuple(runs) for key, runs in found.items()}


def get_main_metric(result: Result) -> float:
    """A run's test accuracy, or its test MAE if it has no accuracy."""
    return (
        result.metrics["test_accuracy"]
        if "test_accuracy" in result.metrics
        else result.metrics["test_mae"]
    )


def _pool_deviations(
    ours: Mapping[Key, Sequence[Result]], group: tuple[str, str]
) -> tuple[float, int] | None:
    """Pooled standard deviation of the group's random initializers, and its degrees of freedom."""
    samples = [
        [get_main_metric(r) for r in runs]
        for key, runs in ours.items()
        if key[:2] == group and key[2] != ZERO
    ]
    df = sum(len(values) - 1 for values in samples)
    if df < 1:
        return None
    squares = sum(float(np.var(values)) * len(values) for values in samples)
    return math.sqrt(squares / df), df


def _compare_cell(
    key: Key,
    run: PublishedRun,
    ours: Sequence[Result],
    spread: tuple[float, int] | None,
    again: float,
) -> Comparison:
    values = tuple(get_main_metric(result) for result in ours)
    replicates = tuple(result.cell.replicate for result in ours)
    interval: tuple[float, float] | None = None
    agrees: bool | None = None
    if key[2] == ZERO:
        agrees = all(_check_zero(result, run) for result in ours) if ours else None
    elif values and spread is not None:
        mean, half = (
            float(np.mean(values)),
            compute_prediction_half_width(spread[0], len(values), spread[1]),
        )
        interval = (mean - half, mean + half)
        agrees = interval[0] <= run.verdict <= interval[1]
    return Comparison(key, values, replicates, run, _compute_means(ours), interval, agrees, again)


def _compute_means(ours: Sequence[Result]) -> dict[str, float]:
    names = ("val_accuracy", "test_accuracy", "test_mae", "test_loss", "epochs")
    return {
        n: float(np.mean([r.metrics[n] for r in ours]))
        for n in names
        if ours and n in ours[0].metrics
    }


def _check_zero(result: Result, run: PublishedRun) -> bool:
    if "test_mae" in result.metrics:
        return math.isclose(result.metrics["test_mae"], run.test_mae, rel_tol=_RELATIVE_MAE)
    same = round(result.metrics["test_accuracy"], _ACCURACY_DIGITS) == run.test_accuracy
    # Half a digit more, because what was printed had been rounded.
    return same and abs(result.metrics["test_loss"] - run.test_loss) <= 1.5 * run.loss_digit


def _pair_replicates(group: Sequence[Comparison]) -> NDArray[np.float64]:
    """The replicates that all initializers of a group have: shape (initializers, replicates)."""
    common = set.intersection(*(set(c.replicates) for c in group))
    return np.array(
        [
            [value for value, r in zip(c.ours, c.replicates, strict=True) if r in common]
            for c in group
        ]
    )


def _estimate_shared_variance(groups: Sequence[NDArray[np.float64]]) -> float:
    """Share of the variance within initializers that a replicate shares: an intraclass correlation
    in [0, 1].

    Each group has shape (initializers, replicates). With rows centred, the variance of the column
    means is σ²(ρ + (1 − ρ)/m).
    """
    common, total = 0.0, 0.0
    for values in groups:
        if values.shape[1] < 2:
            continue
        centred = values - values.mean(axis=1, keepdims=True)
        variance = float((centred**2).sum()) / (values.shape[0] * (values.shape[1] - 1))
        if variance == 0:
            continue
        m = values.shape[0]
        of_means = float((centred.mean(axis=0) ** 2).sum()) / (values.shape[1] - 1)
        common += (of_means / variance - 1 / m) / (1 - 1 / m) if m > 1 else 0.0
        total += 1
    return min(max(common / total, 0.0), 1.0) if total else 0.0


def _simulate_misses(
    counts: Sequence[int], shared: float, random: seeds.NumpyGenerator
) -> NDArray[np.int64]:
    """Misses among one group's initializers, in each of `SIMULATIONS` studies without a difference.

    Args:
        counts: finished replicates of each initializer.
        shared: share of the variance that the initializers of a replicate have in common.
        random: the generator of the draws.
    """
    m, most = len(counts), max(counts)
    common = random.standard_normal((SIMULATIONS, 1, most)) * math.sqrt(shared)
    runs = common + random.standard_normal((SIMULATIONS, m, most)) * math.sqrt(1 - shared)
    published = random.standard_normal((SIMULATIONS, m))
    k = np.array(counts)
    done = np.arange(most) < k[:, None]
    means = (runs * done).sum(axis=2) / k
    df = int((k - 1).sum())
    s = np.sqrt((((runs - means[..., None]) ** 2) * done).sum(axis=(1, 2)) / df)
    half = np.array([compute_prediction_half_width(1.0, count, df) for count in counts])
    return np.asarray((np.abs(published - means) > half * s[:, None]).sum(axis=1), dtype=np.int64)
