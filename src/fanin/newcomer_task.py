"""What one comparison of a newcomer does: its baselines, its cells, its stages and its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import SETTLED, Result, make_environment_key
from fanin.errors import UsageError
from fanin.execution.blocks import find_unfinished
from fanin.execution.planning import Planner
from fanin.experiment import Only, to_labels
from fanin.store import results_store
from fanin.store.results_folder import ResultsFolder, choose_folder, claim_folder

if TYPE_CHECKING:
    from fanin.study.newcomer_cells import NewcomerCells
    from fanin.study.study import Study


@dataclass(frozen=True)
class NewcomerTask:
    """What one call compares."""

    study: Study
    label: str
    cells: NewcomerCells
    own_whole: Plan
    """One replicate of the newcomer in the whole study, on which its rates are tuned."""
    stored: Mapping[str, Result]
    """The baselines' results, those of their tuning included."""
    source: str
    folder: Path
    retrain: bool
    device: str

    @property
    def matmul(self) -> str | None:
        """The matmul backend to train with, if it is exact here: that of the baselines, unless they
        are trained again or have several. None if workers choose.
        """
        if self.device != "cpu":
            return None
        if self.retrain:
            return "default"
        found = {
            result.environment.get("matmul")
            for planned in self.cells.baselines.cells
            if (result := self.stored.get(planned.cell.id)) is not None
        }
        return found.pop() if len(found) == 1 else None

    def list_elsewhere(self) -> list[Result]:
        """The latest results of baselines that were trained in another environment than that of
        the newcomer's runs; if they are trained again, also the newcomer's own.
        """
        here = describe_here(self.device, self.matmul)
        latest = {**self.stored, **read_store(self.folder)}
        own = self._list_own(latest)
        found = (latest.get(planned.cell.id) for planned in self.cells.baselines.cells)
        theirs = [result for result in found if result and not _is_from(result, here)]
        if self.retrain:
            return [*theirs, *(result for result in own if not _is_from(result, here))]
        keys = {result.environment_key for result in (*theirs, *own)}
        is_done = len(own) >= len(self.cells.newcomer.cells)
        return [] if is_done and len(keys) == 1 else theirs

    def _list_own(self, results: Mapping[str, Result]) -> list[Result]:
        """The newcomer's results that are no trials, in the replicates and sections that are
        compared or in others.
        """
        specs = {planned.cell.initializer for planned in self.cells.newcomer.cells}
        return [
            result
            for result in results.values()
            if result.cell.initializer in specs
            and result.outcome in SETTLED
            and (self.study.tuning is None or result.cell.tuned or self.study.tuning.beside)
        ]


def make_task(
    planner: Planner,
    label: str,
    study: Study,
    only: Only | None,
    replicates: int | None,
    baselines: Path | str | None,
    out: Path | str | None,
    retrain: bool,
    device: str,
) -> NewcomerTask:
    from fanin.study.newcomer_cells import AXIS, select_cells

    stored, source = _read_baselines(study, baselines)
    selected = {axis: to_labels(values) for axis, values in (only or {}).items()}
    if AXIS in selected and label not in selected[AXIS]:
        selected[AXIS].append(label)
    there = 1 + max((result.cell.replicate for result in stored.values()), default=0)
    if replicates is not None and replicates > there and not retrain:
        raise UsageError(
            f"The baselines of {study.name} have {there} replicates; {replicates} were asked for. "
            "--retrain trains the further ones of the baselines here."
        )
    plan = planner.plan(replicates=replicates or there, only=selected, max_epochs=None)
    whole = planner.plan(replicates=1, max_epochs=None) if planner.study.tuning else plan
    cells = select_cells(planner.study, label, plan, whole, stored, retrained=retrain)
    own = tuple(p for p in whole.cells if p.labels.get(AXIS) == label)
    folder = choose_folder(out, f"compare-{study.name}", study.file)
    return NewcomerTask(
        planner.study,
        label,
        cells,
        replace(whole, cells=own),
        stored,
        source,
        folder,
        retrain,
        device,
    )


def _read_baselines(study: Study, given: Path | str | None) -> tuple[dict[str, Result], str]:
    """The baselines' results, and where they are from."""
    from fanin.study import baseline_results

    if given is not None:
        return baseline_results.read_results(given), str(given)
    if study.file is None and study.name in baseline_results.list_baselines():
        return baseline_results.read_baselines(study.name), "the results that come with fanin"
    folder = choose_folder(None, study.name, study.file)
    if ResultsFolder.from_path(folder).database.is_file():
        return baseline_results.read_results(folder), str(folder)
    time = f" ({study.time})" if study.time else ""
    raise UsageError(
        f"There are no baselines of study {study.name}: none come with fanin, and there are no "
        f"results in {folder}. Train them first{time}: fanin run {study.file or study.name}. Or "
        "name results: --baselines FILE (a .jsonl file or a results folder)."
    )


def plan_stages(task: NewcomerTask, results: Callable[[], Mapping[str, Result]]) -> Iterator[Plan]:
    """The newcomer's tuning, as long as its grids grow, and then its cells and the baselines'."""
    from fanin.study import learning_rate_tuning
    from fanin.study.newcomer_cells import give_shared_rates, has_own_rates

    study, cells = task.study, task.cells
    plans: Iterable[Plan] = [cells.newcomer]
    if study.tuning is not None and has_own_rates(study):
        plans = learning_rate_tuning.plan_stages(
            study.tuning, cells.newcomer, results, whole=task.own_whole
        )
    elif study.tuning is not None:
        plans = [give_shared_rates(study, cells)]
    for plan in plans:
        yield plan if plan.is_tuning else cells.join(plan)


def list_unfinished(
    plan: Plan, results: Mapping[str, Result], forgotten: set[str]
) -> tuple[Cell, ...]:
    known = {cell: result for cell, result in results.items() if cell not in forgotten}
    return find_unfinished((p.cell for p in plan.cells), known, accept_changed=True)


def read_store(folder: Path) -> Mapping[str, Result]:
    has_store = ResultsFolder.from_path(folder).database.is_file()
    return results_store.read_lazily(folder).results if has_store else {}


def store_baselines(task: NewcomerTask, file: Path | None) -> None:
    """Put the baselines beside which the newcomer is trained into the results folder, and what is
    stored of the newcomer itself. Results that are there stay.
    """
    from fanin.store.results_store import Store

    ids = {planned.cell.id for planned in task.cells.baselines.cells}
    specs = {planned.cell.initializer for planned in task.cells.newcomer.cells}
    with Store.create_or_open(task.folder) as store:
        known = store.read_results()
        store.add_all(
            result
            for cell, result in task.stored.items()
            if cell not in known and (cell in ids or result.cell.initializer in specs)
        )
    claim_folder(task.folder, file)


def describe_here(device: str, matmul: str | None) -> str:
    """The environment key that a worker here has, if it trains with that matmul backend."""
    from fanin.execution.process_settings import describe_environment

    environment = describe_environment(device, "default")
    return make_environment_key({**environment, "threads": 1, "matmul": matmul or "?"})


def _is_from(result: Result, here: str) -> bool:
    """Whether a result is from the environment with that key, as far as that is known."""
    environment = result.environment
    if " | ? | " in here:
        environment = {**environment, "matmul": "?"}
    return make_environment_key(environment) == here
