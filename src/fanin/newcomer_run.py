"""The way from an initializer and a study to verdicts: what `fanin.compare` and ``fanin compare``
do.

    comparison = compare("my_init.py:MyInit", against="depth")
    print(comparison)
    comparison.frame()

The study's own initializers are its baselines. Their results are stored: fanin brings those of the
built-in studies along. Only the newcomer is trained, on the cells that have a baseline, with the
same seeds and the same tuning of its learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import Result, describe_key_difference
from fanin.execution.events import Event, Notice
from fanin.execution.observer import CallbackObserver, Observer, Stage
from fanin.execution.planning import Planner
from fanin.execution.run_summary import RunSummary, sum_up
from fanin.execution.runner import run_plan
from fanin.execution.usable_cores import count_usable_cores
from fanin.experiment import Only, StudyLike, choose_observer, fetch_data, load_study
from fanin.newcomer_task import (
    NewcomerTask,
    describe_here,
    list_unfinished,
    make_task,
    plan_stages,
    read_store,
    store_baselines,
)
from fanin.report.standing import Standing
from fanin.report.stored_results import load_results

if TYPE_CHECKING:
    from fanin.initializers import Initializer
    from fanin.study.study import Study


@dataclass(frozen=True)
class NewcomerEstimate:
    """What `compare` would train, and how long that may take."""

    study: str
    newcomer: str
    folder: Path
    source: str
    """Where the baselines are from."""
    newcomer_cells: int
    """Of the newcomer, finished ones included."""
    to_train: int
    """Those without a result."""
    trials: int
    """Trainings that tune its learning rate; a grid may grow and need more."""
    baselines: int
    """Baselines beside them."""
    elsewhere: int
    """Those that were trained in another environment, and are not paired unless they are trained
    again.
    """
    differences: str
    """What differs between that environment and this one: ``engine 2, here 3``."""
    retraining: bool
    """Whether these are trained again."""
    retraining_seconds: float
    """What they took where they were trained, one after the other."""
    workers: int
    seconds_at_most: float
    """If every cell that is trained runs all its epochs."""


def compare(
    initializer: Initializer | str,
    against: StudyLike,
    *,
    only: Only | None = None,
    replicates: int | None = None,
    metric: str | None = None,
    baselines: Path | str | None = None,
    out: Path | str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    retrain: bool = False,
    checkpoint_interval: float = 10.0,
    timeout: float = 1800.0,
    on_event: Callable[[Event], None] | None = None,
    observer: Observer | None = None,
    progress: bool | None = None,
    command: str = "",
) -> Standing:
    """Train an initializer on a study's cells and compare it with the study's own. Call it again to
    continue after a stop.

    Args:
        initializer: the newcomer: a name or spec, ``my_file.py:make``, or an initializer.
        against: a study, as for `fanin.run`. Its initializers are the baselines.
        only: axis → a label or value, or several. An initializer here is a baseline to compare
            with.
        replicates: at most so many; by default all that the baselines have.
        metric: the metric to compare and to tune by; by default the main one of each section.
        baselines: a results folder or a ``.jsonl`` file with the baselines' results; by default
            those that come with a built-in study, else the study's results folder.
        out: the results folder, ``runs/compare-<study>`` by default. It keeps the results of every
            newcomer.
        workers, device, checkpoint_interval, timeout, on_event, observer, progress, command: as for
            `fanin.run`.
        retrain: train the baselines that are from another environment here too, so that all runs
            are paired.

    Raises `UsageError` if there are no baselines, and what `fanin.run` raises.
    """
    from fanin.user_code import look_beside

    observer = observer or choose_observer(CallbackObserver(on_event), progress)
    study = load_study(against)
    extended, label = _add_newcomer(study, initializer, metric)
    with look_beside(study.folder), Planner(extended) as planner:
        task = make_task(planner, label, study, only, replicates, baselines, out, retrain, device)
        store_baselines(task, study.file)
        stages = _train_stages(
            planner,
            task,
            observer,
            command,
            workers=workers,
            device=device,
            checkpoint_interval=checkpoint_interval,
            timeout=timeout,
        )
    results = load_results(task.folder)
    summary = sum_up(stages, results.results)
    return Standing(
        replace(results, run_summary=summary),
        task.label,
        source=task.source,
        budgets=_count_budgets(task, stages),
        alone=task.cells.alone,
    )


def _train_stages(
    planner: Planner,
    task: NewcomerTask,
    observer: Observer,
    command: str,
    *,
    workers: int | None,
    **options: Any,
) -> list[tuple[Plan, RunSummary]]:
    """Tune the newcomer's rates and train its cells, and the baselines that are trained again."""
    stages, fingerprints = list[tuple[Plan, RunSummary]](), dict[str, str]()
    elsewhere = task.list_elsewhere()
    forgotten = {result.cell.id for result in elsewhere} if task.retrain else set()
    notice = _describe_environments(task, elsewhere, workers)
    for plan in plan_stages(task, lambda: read_store(task.folder)):
        plan = replace(plan, command=command)
        stage = _make_stage(plan, task.folder, forgotten)
        with observer.watch_downloads(stage) as tell_download:
            fetch_data(planner, stage.to_train, tell_download, fingerprints)
        planner.end_process()
        with observer.watch_training(stage) as tell_event:
            if notice and not plan.is_tuning:
                tell_event(Notice(notice))
            summary = run_plan(
                plan,
                task.folder,
                workers=workers,
                accept_changed=True,
                fingerprints=fingerprints,
                matmul=task.matmul,
                forgotten=forgotten,
                on_event=tell_event,
                **options,
            )
        stages.append((plan, summary))
    return stages


def estimate_newcomer(
    initializer: Initializer | str,
    against: StudyLike,
    *,
    only: Only | None = None,
    replicates: int | None = None,
    metric: str | None = None,
    baselines: Path | str | None = None,
    out: Path | str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    retrain: bool = False,
) -> NewcomerEstimate:
    """What `compare` would train, and for how long at most; arguments and errors as for `compare`.

    Nothing is written.
    """
    from fanin.user_code import look_beside

    study = load_study(against)
    extended, label = _add_newcomer(study, initializer, metric)
    with look_beside(study.folder), Planner(extended) as planner:
        task = make_task(planner, label, study, only, replicates, baselines, out, retrain, device)
        elsewhere = task.list_elsewhere()
        forgotten = {result.cell.id for result in elsewhere} if retrain else set()
        stored = {**task.stored, **read_store(task.folder)}
        trials, evaluation = _find_work(task, stored, forgotten)
        own = {planned.cell.id for planned in task.cells.newcomer.cells}
        processes = workers if workers is not None else count_usable_cores()
        seconds = planner.bound_seconds([*trials, *evaluation], processes)
    return NewcomerEstimate(
        study=task.study.name,
        newcomer=task.label,
        folder=task.folder,
        source=task.source,
        newcomer_cells=len(own),
        to_train=sum(cell.id not in forgotten for cell in evaluation),
        trials=len(trials),
        baselines=len(task.cells.baselines.cells),
        elsewhere=len(elsewhere),
        differences=_list_differences(task, elsewhere),
        retraining=retrain,
        retraining_seconds=_sum_seconds(elsewhere),
        workers=processes,
        seconds_at_most=seconds,
    )


def _add_newcomer(
    study: Study, initializer: Initializer | str, metric: str | None
) -> tuple[Study, str]:
    from fanin.study.newcomer_cells import add_newcomer

    return add_newcomer(study.override(metric=metric), initializer)


def _find_work(
    task: NewcomerTask, results: Mapping[str, Result], forgotten: set[str]
) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """The trials and the further cells that need training. Rates that are not tuned yet are those
    of the study.
    """
    trials: tuple[Cell, ...] = ()
    plan = task.cells.newcomer
    for plan in plan_stages(task, lambda: results):
        trials = list_unfinished(plan, results, forgotten)
        if trials and plan.is_tuning:
            return trials, list_unfinished(task.cells.join(task.cells.newcomer), results, forgotten)
    return (), list_unfinished(plan, results, forgotten)


def _make_stage(plan: Plan, folder: Path, forgotten: set[str]) -> Stage:
    return Stage(plan, list_unfinished(plan, read_store(folder), forgotten))


def _describe_environments(task: NewcomerTask, elsewhere: list[Result], workers: int | None) -> str:
    """What another environment of the baselines means, and what it costs to train them again."""
    from fanin.progress.remaining_time import format_duration

    if not elsewhere:
        return ""
    count = f"{len(elsewhere):,} of {len(task.cells.baselines.cells):,} baselines"
    there = _list_differences(task, elsewhere)
    seconds = _sum_seconds(elsewhere) / (workers or count_usable_cores())
    cost = f"about {format_duration(seconds)}, by the times that they took there"
    if task.retrain:
        return f"{count} are trained again here: {cost}."
    return (
        f"{count} were trained in another environment ({there}). They are compared as independent "
        f"groups, without pairs. --retrain trains them here too: {cost}."
    )


def _list_differences(task: NewcomerTask, elsewhere: Iterable[Result]) -> str:
    """What differs between the environments of results and this one."""
    here = describe_here(task.device, task.matmul)
    return describe_key_difference({result.environment_key for result in elsewhere}, here)


def _sum_seconds(results: Iterable[Result]) -> float:
    return sum(result.timings.get("total", 0.0) for result in results)


def _count_budgets(task: NewcomerTask, stages: list[tuple[Plan, RunSummary]]) -> dict[str, int]:
    """The trainings that tuned each initializer's rates; empty if no rate is tuned for each."""
    trials = [plan for plan, _ in stages if plan.is_tuning]
    if not trials:
        return {}
    return {task.label: len(trials[-1].cells), **task.cells.trials}
