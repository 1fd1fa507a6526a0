"""Tuning: a learning rate for each condition, chosen on seeds that the evaluation does not use.

The same grid of rates is tried for every condition, a few replicates each. The rate with the lowest
validation loss (mean over the replicates; a run that diverged or failed counts as infinite) is
taken; over several settings of a condition their ranks are averaged. Where the best rate lies at
the grid's edge the grid grows there by its own ratio, and the condition is tried again. All of it
follows from the results in the store, so that the same command continues where it stopped.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from fanin import seeds
from fanin.cell.cell import Cell
from fanin.cell.plan import TUNING, Plan, PlannedCell
from fanin.cell.result import Result
from fanin.errors import StudyError

MAX_EXTENSIONS = 4
"""How many rates may be added to a condition's grid."""

_MOST_LISTED = 12

RateGroup = tuple[str, ...]
Rates = Mapping[RateGroup, tuple[float, ...]]


@dataclass(frozen=True)
class LearningRateTuning:
    """How the learning rate is tuned.

    Args:
        rates: the grid, ascending.
        replicates: trainings of each rate.
        per: the axes whose values get a rate of their own; none for all of the study's axes.
        at: the values of other axes on which the rate is tuned; all of them where an axis is not
            named.
    """

    rates: tuple[float, ...]
    replicates: int = 2
    per: tuple[str, ...] = ()
    at: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ascending = tuple(sorted(set(self.rates)))
        if len(ascending) < 2 or not all(0 < rate < math.inf for rate in self.rates):
            raise StudyError(
                "[tune] learning_rate takes at least two different positive numbers, such as "
                "[0.001, 0.01, 0.1]; received "
                f"{list(self.rates)}."
            )
        object.__setattr__(self, "rates", ascending)

    def condition(self, planned: PlannedCell) -> RateGroup:
        """What a cell's learning rate is tuned for: its labels on the axes `per`."""
        return tuple(planned.labels.get(axis, "") for axis in self.per or planned.labels)


def plan_stages(
    tuning: LearningRateTuning,
    plan: Plan,
    results: Callable[[], Mapping[str, Result]],
    *,
    whole: Plan | None = None,
) -> Iterator[Plan]:
    """The plans that try rates, as long as grids grow, and then the evaluation `plan` with the
    rates chosen.

    `results` is asked for what there is each time that a plan has run. `whole` is the study's plan
    where `plan` is a part of it: rates are tuned on whatever the study tunes them on, so that a
    part gets the rates that the whole would get.
    """
    whole = whole or plan
    rates: Rates | None = list_first_rates(tuning, plan)
    best: Mapping[RateGroup, float] = {}
    while rates is not None:
        trials = plan_trials(tuning, whole, rates)
        yield trials
        best = choose_rates(tuning, whole, rates, results())
        rates = extend_grids(tuning, rates, best, find_failed_groups(tuning, trials, results()))
    yield plan_evaluation(tuning, plan, best)


def list_first_rates(tuning: LearningRateTuning, plan: Plan) -> Rates:
    """The grid of every condition of an evaluation, before any extension."""
    return {tuning.condition(planned): tuning.rates for planned in plan.cells}


def plan_trials(tuning: LearningRateTuning, plan: Plan, rates: Rates) -> Plan:
    """The cells that try the rates, for the evaluation `plan`.

    Raises `StudyError` where `at` leaves a condition without cells.
    """
    tried = [
        p
        for p in plan.cells
        if p.cell.replicate == 0 and p.is_selected_by(tuning.at) and tuning.condition(p) in rates
    ]
    if lacking := rates.keys() - {tuning.condition(planned) for planned in tried}:
        raise StudyError(
            f"[tune] at leaves {', '.join(filter(None, min(lacking))) or 'the study'} without a "
            "training to tune on. Name "
            f"values that every condition has."
        )
    cells = tuple(
        PlannedCell(
            _trial(planned.cell, rate, replicate), {**planned.labels, "learning_rate": f"{rate:g}"}
        )
        for replicate in range(tuning.replicates)
        for planned in tried
        for rate in rates[tuning.condition(planned)]
    )
    note = f"{TUNING} of {plan.study}: these trainings choose it, and are not evaluated"
    return replace(plan, cells=cells, notes=(*plan.notes, note))


def choose_rates(
    tuning: LearningRateTuning, plan: Plan, rates: Rates, results: Mapping[str, Result]
) -> dict[RateGroup, float]:
    """The best rate of each condition, from the results of `plan_trials`."""
    losses: defaultdict[RateGroup, defaultdict[str, defaultdict[float, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for planned in plan_trials(tuning, plan, rates).cells:
        cell, result = planned.cell, results.get(planned.cell.id)
        setting = replace(cell, learning_rate=1.0, replicate=0).id
        loss = (
            result.metrics["val_loss"]
            if result is not None and result.outcome == "ok"
            else math.inf
        )
        losses[_without_rate(tuning, planned)][setting][cell.learning_rate].append(loss)
    return {condition: _best(list(settings.values())) for condition, settings in losses.items()}


def find_failed_groups(
    tuning: LearningRateTuning, trials: Plan, results: Mapping[str, Result]
) -> set[RateGroup]:
    """The conditions of which a trial failed or was killed: another rate would not mend that."""
    wrong = ("failed", "killed")
    return {
        _without_rate(tuning, planned)
        for planned in trials.cells
        if (result := results.get(planned.cell.id)) is not None and result.outcome in wrong
    }


def extend_grids(
    tuning: LearningRateTuning,
    rates: Rates,
    best: Mapping[RateGroup, float],
    failed: Collection[RateGroup] = (),
) -> Rates | None:
    """The grids, grown by one rate where the best lies at the edge; None where nothing is left to
    grow.

    Those of conditions that `failed` stay as they are.
    """
    low, high = tuning.rates[1] / tuning.rates[0], tuning.rates[-1] / tuning.rates[-2]
    grown = dict(rates)
    for condition, grid in rates.items():
        if condition in failed or len(grid) >= len(tuning.rates) + MAX_EXTENSIONS:
            continue
        if best[condition] == grid[0]:
            grown[condition] = (_rounded(grid[0] / low), *grid)
        elif best[condition] == grid[-1]:
            grown[condition] = (*grid, _rounded(grid[-1] * high))
    return grown if grown != rates else None


def plan_evaluation(
    tuning: LearningRateTuning, plan: Plan, best: Mapping[RateGroup, float]
) -> Plan:
    """The evaluation with the chosen rates."""
    cells = tuple(
        PlannedCell(replace(p.cell, learning_rate=best[tuning.condition(p)], tuned=True), p.labels)
        for p in plan.cells
    )
    chosen = [
        f"{' · '.join(filter(None, condition)) or 'all'} {rate:g}"
        for condition, rate in best.items()
    ]
    more = f"; and {len(chosen) - _MOST_LISTED} more" if len(chosen) > _MOST_LISTED else ""
    grid = ", ".join(f"{rate:g}" for rate in tuning.rates)
    trials = f"{tuning.replicates} {_plural(tuning.replicates)} of other seeds"
    note = (
        f"learning rate tuned on {trials} over {grid} and beyond where the best lay at the edge: "
        f"{'; '.join(chosen[:_MOST_LISTED])}{more}"
    )
    return replace(plan, cells=cells, notes=(*plan.notes, note))


def _plural(count: int) -> str:
    return "replicate" if count == 1 else "replicates"


def _trial(cell: Cell, rate: float, replicate: int) -> Cell:
    """The cell on seeds of its own, also where the study names them."""
    named = {
        name: getattr(cell, name)
        for name in ("init_seed", "order_seed", "dropout_seed", "split_seed", "augment_seed")
    }
    others: dict[str, Any] = {
        name: seeds.derive_seed(seed, "tuning", replicate)
        for name, seed in named.items()
        if seed is not None
    }
    root = seeds.derive_seed(cell.seed, "tuning")
    return replace(cell, learning_rate=rate, replicate=replicate, seed=root, **others)


def _without_rate(tuning: LearningRateTuning, trial: PlannedCell) -> RateGroup:
    labels = {axis: label for axis, label in trial.labels.items() if axis != "learning_rate"}
    return tuning.condition(PlannedCell(trial.cell, labels))


def _best(settings: list[defaultdict[float, list[float]]]) -> float:
    """The rate of the lowest mean rank over the settings; the middle one of those that share it.

    Where all share it, nothing has learnt, or all have diverged: then the lowest, so that the grid
    grows towards less.
    """
    ranks: defaultdict[float, list[float]] = defaultdict(list)
    for by_rate in settings:
        means = {rate: fmean(values) for rate, values in by_rate.items()}
        for rate, mean in means.items():
            below, equal = (
                sum(m < mean for m in means.values()),
                sum(m == mean for m in means.values()),
            )
            ranks[rate].append(below + (equal + 1) / 2)
    mean_ranks = {rate: fmean(values) for rate, values in ranks.items()}
    lowest = min(mean_ranks.values())
    best = sorted(rate for rate, rank in mean_ranks.items() if rank <= lowest + 1e-9)
    return best[0] if len(best) == len(mean_ranks) else best[(len(best) - 1) // 2]


def _rounded(rate: float) -> float:
    """Three significant digits, so that a grid grown twice holds the numbers that a person would
    write.
    """
    return float(f"{rate:.3g}")
