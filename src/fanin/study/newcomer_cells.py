"""A newcomer among a study's cells: which are its own, and which baselines stand beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from fanin import initializers
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import SETTLED, Result
from fanin.errors import FaninError, StudyError, UsageError, quote
from fanin.initializers import Initializer
from fanin.study import learning_rate_tuning
from fanin.study.axes import AxisValue

if TYPE_CHECKING:
    from fanin.study.study import Study

AXIS = "initializer"


@dataclass(frozen=True)
class NewcomerCells:
    """The cells of a comparison, before the newcomer's learning rates are tuned."""

    newcomer: Plan
    """The newcomer's cells, beside which there is a baseline."""
    baselines: Plan
    """The baselines' cells, with their learning rates."""
    trials: Mapping[str, int]
    """Baseline → the trainings that tuned its rates in these sections; empty without tuning."""
    alone: int
    """How many cells of the newcomer are left out, because no baseline stands beside them."""

    def join(self, evaluation: Plan) -> Plan:
        """The baselines and the newcomer's evaluation as one plan, replicate by replicate."""
        cells = (*self.baselines.cells, *evaluation.cells)
        return replace(
            evaluation,
            cells=tuple(sorted(cells, key=lambda planned: planned.cell.replicate)),
            notes=tuple(dict.fromkeys((*self.baselines.notes, *evaluation.notes))),
        )


def add_newcomer(study: Study, initializer: Initializer | str) -> tuple[Study, str]:
    """The study with an initializer in all of its grids, and its label there.

    One that a grid has already, by its label or its meaning, keeps the label that it has. User code
    is called by its file, without the folder.

    Raises `UsageError` for what is no initializer, and what `Study.add` raises.
    """
    spec = _read_spec(initializer)
    if AXIS in study.base:
        newcomer = AxisValue(spec, _name(spec, [str(study.base[AXIS])]))
        return study.add({AXIS: [newcomer]}), newcomer.label
    values = [value for grid in study.grids for value in grid.get(AXIS, ())]
    if not values:
        raise StudyError(
            f"Study {study.name} sets no initializer, so there is none to compare with."
        )
    newcomer = AxisValue(spec, _name(spec, [value.label for value in values]))
    known = next((value for value in values if _is_same(value, spec)), newcomer)
    grids = tuple(
        {**grid, AXIS: (*grid[AXIS], known)}
        if AXIS in grid and known.label not in {value.label for value in grid[AXIS]}
        else grid
        for grid in study.grids
    )
    return replace(study, grids=grids), known.label


def select_cells(
    study: Study,
    label: str,
    plan: Plan,
    whole: Plan,
    results: Mapping[str, Result],
    *,
    retrained: bool = False,
) -> NewcomerCells:
    """The newcomer's cells and those of the baselines beside them.

    A baseline counts if it has a result that is settled. With `retrained` it counts in every
    replicate of a condition that has such a result in one.

    Args:
        study: the study, the newcomer included.
        label: the newcomer's label.
        plan: the cells to compare.
        whole: one replicate of the whole study, on which rates are tuned.
        results: the baselines' results by cell id, those of the tuning included.
        retrained: whether baselines are trained again.

    Raises `UsageError` if no baseline counts.
    """
    rivals, trials = _plan_baselines(study, label, plan, whole, results)
    settled = [
        planned
        for planned in rivals.cells
        if planned.cell.id in results and results[planned.cell.id].outcome in SETTLED
    ]
    if retrained:
        conditions = {replace(planned.cell, replicate=0) for planned in settled}
        settled = [p for p in rivals.cells if replace(p.cell, replicate=0) in conditions]
    is_tuned = study.tuning is not None
    places = {_find_place(planned.cell, is_tuned) for planned in settled}
    own = [planned for planned in plan.cells if planned.labels.get(AXIS) == label]
    beside = tuple(p for p in own if _find_place(p.cell, is_tuned) in places)
    if not beside:
        raise UsageError(
            f"None of the {len(rivals.cells):,} cells of study {study.name} that {label} would be "
            f"compared with has a result among the {len(results):,} stored ones. Train them first: "
            f"fanin run {study.file or study.name}. Then name its results folder: --baselines DIR."
        )
    taken = {_find_place(planned.cell, is_tuned) for planned in beside}
    kept = tuple(p for p in settled if _find_place(p.cell, is_tuned) in taken)
    return NewcomerCells(
        replace(plan, cells=beside),
        replace(rivals, cells=kept),
        Counter(planned.labels[AXIS] for planned in trials.cells) if trials else {},
        len(own) - len(beside),
    )


def has_own_rates(study: Study) -> bool:
    """Whether each initializer of a study has learning rates of its own, which are tuned."""
    return study.tuning is not None and (not study.tuning.per or AXIS in study.tuning.per)


def give_shared_rates(study: Study, cells: NewcomerCells) -> Plan:
    """The newcomer's cells with the rates that were tuned for all initializers together."""
    assert study.tuning is not None
    tuned = [planned for planned in cells.baselines.cells if planned.cell.tuned]
    best = {study.tuning.find_group(planned): planned.cell.learning_rate for planned in tuned}
    return learning_rate_tuning.plan_evaluation(study.tuning, cells.newcomer, best)


def _plan_baselines(
    study: Study, label: str, plan: Plan, whole: Plan, results: Mapping[str, Result]
) -> tuple[Plan, Plan | None]:
    """The cells of all other initializers, with the rates that their results choose, and the trials
    that did so.
    """
    part, rest = _leave_out(plan, label), _leave_out(whole, label)
    if study.tuning is None:
        return part, None
    *_, trials, evaluation = learning_rate_tuning.plan_stages(
        study.tuning, part, lambda: results, whole=rest
    )
    return evaluation, trials


def _leave_out(plan: Plan, label: str) -> Plan:
    return replace(plan, cells=tuple(p for p in plan.cells if p.labels.get(AXIS) != label))


def _find_place(cell: Cell, is_tuned: bool) -> Cell:
    """What a newcomer's cell shares with the baselines beside it: all but the initializer, the
    sources of user code, and a rate that is tuned.
    """
    place = replace(cell, initializer="", sources=(), tuned=False)
    return replace(place, learning_rate=1.0) if is_tuned else place


def _read_spec(initializer: object) -> str:
    if isinstance(initializer, Initializer):
        return initializer.spec
    if isinstance(initializer, str) and initializer.strip():
        return initializer.strip()
    raise UsageError(
        "A newcomer is a name such as 'lecun_normal', a reference such as 'my_init.py:make', or an "
        f"initializer such as fanin.get('he_normal', a=0.1); received {quote(initializer)}."
    )


def _name(spec: str, taken: Collection[str]) -> str:
    """`my_init.py:MyInit` for `folder/my_init.py:MyInit`, unless an initializer is called so."""
    file, colon, function = spec.partition(":")
    short = PurePath(file).name + colon + function
    return spec if short in taken else short


def _is_same(value: AxisValue, spec: str) -> bool:
    """Whether a value is what a spec means. User code is known by its text only."""
    if spec in (value.label, value.value):
        return True
    if ":" in spec or ":" in str(value.value):
        return False
    try:
        return initializers.get(spec).spec == initializers.get(str(value.value)).spec
    except FaninError:
        return False  # planning says what is wrong with it
