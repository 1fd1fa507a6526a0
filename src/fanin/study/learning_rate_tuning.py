"""Tuning: a learning rate for each condition, chosen on seeds that the evaluation does not use.

Every rate group tries the same grid of rates with a few replicates each. It takes the rate with the
lowest validation loss, or the best of another metric that the study names (mean over the
replicates; a run that diverged or failed counts as infinitely bad).
If a group trains in several settings, the ranks of the rates are averaged over them. If the best
rate is at an edge of the grid, the grid is extended there by its own ratio and the group tries
again; with equal budgets, so do all initializers that it is compared with. All of this follows from
the results in the store, so the same command continues where it stopped.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from fanin import seeds
from fanin.cell.cell import FIELDS, Cell
from fanin.cell.directions import Direction, find_direction, strip_subset
from fanin.cell.plan import FIXED, TUNED, Plan, PlannedCell
from fanin.cell.result import Result
from fanin.errors import StudyError, join_names

MAX_EXTENSIONS = 4
"""How many rates may be added to the grid of a group."""

_MAX_LISTED = 12
"""How many chosen rates a note lists."""

RateGroup = tuple[str, ...]
"""The labels that cells with one tuned learning rate have in common."""

Rates = Mapping[RateGroup, tuple[float, ...]]
"""Rate group → its grid, ascending."""


@dataclass(frozen=True)
class LearningRateTuning:
    """How the learning rate is tuned.

    Args:
        rates: the grid, ascending.
        replicates: trainings of each rate.
        per: the axes whose values get a rate of their own; all axes of the study if empty.
        at: axis → the values to tune on; all values of an axis that is not named.
        metric: what chooses.
        better: ``max`` or ``min``; None if the metric's name or the user's trainer says it.
        beside: whether the evaluation also trains every cell with the rate that the study gives, so
            that both can be compared.
        equal_budgets: whether all initializers of a condition try the same rates: if the grid of
            one is extended, so are those of the others.
    """

    rates: tuple[float, ...]
    replicates: int = 2
    per: tuple[str, ...] = ()
    at: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metric: str = "val_loss"
    better: Direction | None = None
    beside: bool = False
    equal_budgets: bool = False

    def __post_init__(self) -> None:
        ascending = tuple(sorted(set(self.rates)))
        if len(ascending) < 2 or not all(0 < rate < math.inf for rate in self.rates):
            raise StudyError(
                "[tune] learning_rate takes at least two different positive numbers, such as "
                f"[0.001, 0.01, 0.1]; received {list(self.rates)}."
            )
        if self.metric.startswith("test_"):
            raise StudyError(
                f"[tune] metric = {self.metric} would choose learning rates on the test set. Name "
                "a metric of the validation set, such as val_loss."
            )
        object.__setattr__(self, "rates", ascending)

    def find_group(self, planned: PlannedCell) -> RateGroup:
        """The rate group of a cell: its labels on the axes `per`."""
        axes = self.per or (axis for axis in planned.labels if axis != "learning_rate")
        return tuple(planned.labels.get(axis, "") for axis in axes)

    def find_rivals(self, planned: PlannedCell) -> RateGroup:
        """What the rate groups of all initializers of a condition have in common."""
        labels = {axis: label for axis, label in planned.labels.items() if axis != "initializer"}
        return self.find_group(replace(planned, labels={**labels, "initializer": ""}))


def plan_stages(
    tuning: LearningRateTuning,
    plan: Plan,
    results: Callable[[], Mapping[str, Result]],
    *,
    whole: Plan | None = None,
) -> Iterator[Plan]:
    """The plans that try rates, as long as grids grow, and then `plan` with the chosen rates.

    Args:
        tuning: how to tune.
        plan: the evaluation.
        results: called for the results so far after each plan has run.
        whole: the plan of the whole study if `plan` is a part of it. Rates are then tuned on the
            cells of the whole, so that the part gets the rates that the whole would get.
    """
    whole = whole or plan
    rates: Rates | None = list_first_rates(tuning, plan)
    best: Mapping[RateGroup, float] = {}
    while rates is not None:
        trials = plan_trials(tuning, whole, rates)
        yield trials
        best = choose_rates(tuning, whole, rates, results())
        rates = extend_grids(tuning, rates, best, find_failed_groups(tuning, trials, results()))
        if rates is not None and tuning.equal_budgets:
            rates = share_grids(tuning, plan, rates)
    yield plan_evaluation(tuning, plan, best, count_trials(trials))


def list_first_rates(tuning: LearningRateTuning, plan: Plan) -> Rates:
    """The grid of every rate group of an evaluation, before any extension."""
    return {tuning.find_group(planned): tuning.rates for planned in plan.cells}


def plan_trials(tuning: LearningRateTuning, plan: Plan, rates: Rates) -> Plan:
    """The cells that try `rates` for the evaluation `plan`.

    Raises `StudyError` if `at` leaves a rate group without cells.
    """
    candidates = [
        planned
        for planned in plan.cells
        if planned.cell.replicate == 0
        and planned.is_selected_by(tuning.at)
        and tuning.find_group(planned) in rates
    ]
    if missing := rates.keys() - {tuning.find_group(planned) for planned in candidates}:
        raise StudyError(
            f"[tune] at leaves {', '.join(filter(None, min(missing))) or 'the study'} without a "
            "training to tune on. Name values that every condition has."
        )
    return plan.to_tuning_plan(
        PlannedCell(
            _make_trial(planned.cell, rate, replicate),
            {**planned.labels, "learning_rate": f"{rate:g}"},
        )
        for replicate in range(tuning.replicates)
        for planned in candidates
        for rate in rates[tuning.find_group(planned)]
    )


def choose_rates(
    tuning: LearningRateTuning, plan: Plan, rates: Rates, results: Mapping[str, Result]
) -> dict[RateGroup, float]:
    """The best rate of each group, from the results of `plan_trials`."""
    losses: defaultdict[RateGroup, defaultdict[str, defaultdict[float, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for planned in plan_trials(tuning, plan, rates).cells:
        cell, result = planned.cell, results.get(planned.cell.id)
        setting = replace(cell, learning_rate=1.0, replicate=0).id
        loss = _read_loss(tuning, result)
        losses[tuning.find_group(planned)][setting][cell.learning_rate].append(loss)
    return {group: _choose_rate(list(settings.values())) for group, settings in losses.items()}


def _read_loss(tuning: LearningRateTuning, result: Result | None) -> float:
    """What a trial counts, less being better: the metric that chooses, with its sign.

    Raises `StudyError` if the training has not measured it, or nothing says which way is better.
    """
    if result is None or result.outcome != "ok":
        return math.inf
    metric = tuning.metric
    if metric not in result.metrics:
        is_gone = strip_subset(metric) in result.data.get("missing_metrics", ()) or (
            metric in result.data.get("missing_metrics", ())
        )
        if is_gone:  # it was not finite
            return math.inf
        raise StudyError(
            f"[tune] chooses the learning rate by {metric}, which the trainings have not measured. "
            f"They have {join_names(sorted(result.metrics))}. Write one of these: metric = "
            '"…" in [tune].'
        )
    declared = result.data.get("metrics", {}).get(strip_subset(metric))
    better = tuning.better or declared or find_direction(metric)
    if better is None:
        raise StudyError(
            f'Nothing says which way {metric} is better. Write better = "max" or better = "min" in '
            "[tune]."
        )
    return -result.metrics[metric] if better == "max" else result.metrics[metric]


def find_failed_groups(
    tuning: LearningRateTuning, trials: Plan, results: Mapping[str, Result]
) -> set[RateGroup]:
    """The groups with a trial that failed or was killed, which another rate would not mend."""
    return {
        tuning.find_group(planned)
        for planned in trials.cells
        if (result := results.get(planned.cell.id)) is not None
        and result.outcome in ("failed", "killed")
    }


def extend_grids(
    tuning: LearningRateTuning,
    rates: Rates,
    best: Mapping[RateGroup, float],
    failed: Collection[RateGroup] = (),
) -> Rates | None:
    """The grids with one more rate wherever the best rate is at the edge; None if no grid grows.

    The grids of groups that `failed` stay as they are.
    """
    low, high = tuning.rates[1] / tuning.rates[0], tuning.rates[-1] / tuning.rates[-2]
    extended = dict(rates)
    for group, grid in rates.items():
        if group in failed or len(grid) >= len(tuning.rates) + MAX_EXTENSIONS:
            continue
        if best[group] == grid[0]:
            extended[group] = (_round(grid[0] / low), *grid)
        elif best[group] == grid[-1]:
            extended[group] = (*grid, _round(grid[-1] * high))
    return extended if extended != rates else None


def share_grids(tuning: LearningRateTuning, plan: Plan, rates: Rates) -> Rates:
    """The grids with all rates that any initializer of the same condition tries."""
    shared: defaultdict[RateGroup, set[float]] = defaultdict(set)
    rivals = {tuning.find_group(planned): tuning.find_rivals(planned) for planned in plan.cells}
    for group, grid in rates.items():
        shared[rivals[group]].update(grid)
    return {group: tuple(sorted(shared[rivals[group]])) for group in rates}


def count_trials(trials: Plan) -> dict[str, int]:
    """Initializer → the trainings that tune its rates, of the last of the tuning plans, which holds
    those of the others.
    """
    return dict(Counter(p.labels.get("initializer", p.cell.initializer) for p in trials.cells))


def plan_evaluation(
    tuning: LearningRateTuning,
    plan: Plan,
    best: Mapping[RateGroup, float],
    budgets: Mapping[str, int] | None = None,
) -> Plan:
    """The evaluation `plan` with the chosen rates, and beside them with its own, if both are asked
    for.

    Args:
        tuning: how the rates were tuned.
        plan: the evaluation.
        best: rate group → the chosen rate.
        budgets: from `count_trials`, for a note.
    """
    cells = tuple(
        each
        for planned in plan.cells
        for each in _evaluate_cell(tuning, planned, best[tuning.find_group(planned)])
    )
    chosen = [
        f"{' · '.join(filter(None, group)) or 'all'} {rate:g}" for group, rate in best.items()
    ]
    more = f"; and {len(chosen) - _MAX_LISTED} more" if len(chosen) > _MAX_LISTED else ""
    chosen_by = "" if tuning.metric == "val_loss" else f", by {tuning.metric}"
    replicates = f"{tuning.replicates} replicate{'' if tuning.replicates == 1 else 's'}"
    note = (
        f"learning rate tuned on {replicates} of other seeds over "
        f"{', '.join(f'{rate:g}' for rate in tuning.rates)} and beyond where the best lay at the "
        f"edge{chosen_by}: {'; '.join(chosen[:_MAX_LISTED])}{more}"
    )
    notes = (note, *_note_budgets(tuning, plan, budgets or {}))
    return replace(plan, cells=cells, notes=(*plan.notes, *notes))


def _evaluate_cell(
    tuning: LearningRateTuning, planned: PlannedCell, rate: float
) -> Iterator[PlannedCell]:
    cell = replace(planned.cell, learning_rate=rate, tuned=True)
    if not tuning.beside:
        yield PlannedCell(cell, planned.labels)
        return
    yield PlannedCell(planned.cell, {**planned.labels, "tuned": FIXED})
    yield PlannedCell(cell, {**planned.labels, "tuned": TUNED})


def _note_budgets(
    tuning: LearningRateTuning, plan: Plan, budgets: Mapping[str, int]
) -> Iterator[str]:
    """How many trainings tuned each initializer, if the study asks for fairness."""
    if not (tuning.beside or tuning.equal_budgets) or not budgets:
        return
    counts = sorted(set(budgets.values()))
    if len(counts) == 1:
        yield f"equal budgets: {counts[0]:,} trial trainings tuned the rates of each initializer"
    else:
        listed = [f"{name} {count:,}" for name, count in budgets.items()]
        more = f"; and {len(listed) - _MAX_LISTED} more" if len(listed) > _MAX_LISTED else ""
        yield (
            "unequal budgets: the trial trainings that tuned each initializer's rates are "
            f"{'; '.join(listed[:_MAX_LISTED])}{more}"
        )
    if tuning.beside:
        fixed = sorted({planned.cell.learning_rate for planned in plan.cells})
        rates = ", ".join(f"{rate:g}" for rate in fixed)
        yield f"{FIXED}: {rates} for all, not tuned; {TUNED}: each initializer's own"


def _make_trial(cell: Cell, rate: float, replicate: int) -> Cell:
    """The cell with that rate and with other seeds, even if the study sets the seeds."""
    given = {
        name: getattr(cell, name) for name, described in FIELDS.items() if described.form == "seed"
    }
    changed: dict[str, Any] = {
        name: seeds.derive_seed(seed, "tuning", replicate)
        for name, seed in given.items()
        if seed is not None
    }
    root = seeds.derive_seed(cell.seed, "tuning")
    # Nobody looks at the signals of a trial; so trials are the same with and without.
    changed["signals"] = False
    return replace(cell, learning_rate=rate, replicate=replicate, seed=root, **changed)


def _choose_rate(settings: list[defaultdict[float, list[float]]]) -> float:
    """The rate with the lowest mean rank over the settings (rate → losses of its replicates).

    If several rates share it, the middle one. If all share it, nothing has learnt or all have
    diverged; then the lowest, so that the grid grows towards lower rates.
    """
    ranks: defaultdict[float, list[float]] = defaultdict(list)
    for losses in settings:
        means = {rate: fmean(values) for rate, values in losses.items()}
        for rate, mean in means.items():
            below = sum(other < mean for other in means.values())
            equal = sum(other == mean for other in means.values())
            ranks[rate].append(below + (equal + 1) / 2)
    mean_ranks = {rate: fmean(values) for rate, values in ranks.items()}
    lowest = min(mean_ranks.values())
    best = sorted(rate for rate, rank in mean_ranks.items() if rank <= lowest + 1e-9)
    return best[0] if len(best) == len(mean_ranks) else best[(len(best) - 1) // 2]


def _round(rate: float) -> float:
    """Three significant digits, as a person would write a rate."""
    return float(f"{rate:.3g}")
