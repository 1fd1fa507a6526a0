"""The one way from a study to its results: what `fanin.run` and ``fanin run`` do.

    results = run("quick", out="runs/quick")
    print(results)
    results.report()

`run` plans the study, then takes its stages one after the other: it downloads missing data, trains
the cells that have no result, and stores each result the moment it arrives. At the end it loads
what the folder holds.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from fanin import specs
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.errors import FaninError, MissingExtra, UsageError, quote
from fanin.execution.blocks import find_unfinished
from fanin.execution.cells_to_measure import warn_of_cells_to_measure
from fanin.execution.events import Event
from fanin.execution.observer import CallbackObserver, Observer, Stage
from fanin.execution.planning import Planner, names_user_code
from fanin.execution.run_summary import RunSummary, sum_up
from fanin.execution.runner import run_plan
from fanin.execution.usable_cores import count_usable_cores
from fanin.report.results import Results
from fanin.report.stored_results import load_results
from fanin.store import results_store
from fanin.store.results_folder import ResultsFolder, choose_folder, claim_folder, is_claimed
from fanin.study.python_call import format_python_call

if TYPE_CHECKING:
    from fanin.data import DownloadProgress
    from fanin.report.compared_stores import ComparedStores
    from fanin.study.study import Study

__all__ = [
    "Estimate",
    "Results",
    "estimate",
    "load_results",
    "load_study",
    "make_evaluation_plan",
    "make_plan",
    "run",
]

StudyLike: TypeAlias = "Study | str | PathLike[str] | Mapping[str, Any]"
"""A study, or what names or describes one."""

Only = Mapping[str, object]
"""Axis → a label or value, or a list of them."""

Function = TypeVar("Function", bound=Callable[..., Any])


def _look_beside_study(function: Function) -> Function:
    """Let a function find user components beside the file of the study that it is given."""

    @functools.wraps(function)
    def call(study: StudyLike, *args: Any, **options: Any) -> Any:
        from fanin.user_code import look_beside  # torch, which reading results must not import

        with look_beside((loaded := load_study(study)).folder):
            return function(loaded, *args, **options)

    return cast(Function, call)


@dataclass(frozen=True)
class Estimate:
    """What `run` would train, and how long that may take."""

    plan: Plan
    """The evaluation, with its learning rates if they are tuned already."""
    to_train: tuple[Cell, ...]
    """The plan's cells that need training."""
    trials: tuple[Cell, ...]
    """The trainings that tune learning rates before that; a grid may grow and need more."""
    folder: Path
    workers: int
    untimed: int
    """Trainings by users' functions among them, which nobody can time before."""
    seconds_at_most: float
    """If every cell runs all its epochs; without those that users' functions train."""


@_look_beside_study
def run(
    study: StudyLike,
    out: Path | str | None = None,
    *,
    replicates: int | None = None,
    only: Only | None = None,
    max_epochs: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
    save_weights: bool = False,
    signals: bool = False,
    accept_changed: bool = False,
    checkpoint_interval: float = 10.0,
    timeout: float = 1800.0,
    on_event: Callable[[Event], None] | None = None,
    on_download: Callable[[DownloadProgress], None] | None = None,
    observer: Observer | None = None,
    progress: bool | None = None,
    command: str = "",
) -> Results:
    """Train what a study lacks and return its results. Call it again to continue after a stop.

    Missing data sets are downloaded first. A cell that fails does not raise: see
    `Results.outcomes`.

    Args:
        study: a study, the name of a built-in one, the path of a TOML file, or a dict with the keys
            of a study file and ``name``.
        out: the results folder, ``runs/<study>`` by default; created if missing.
        replicates: the number of replicates, instead of the study's own.
        only: axis → a label or value, or several; all other cells are left out.
        max_epochs: the most epochs of every cell. Such cells are other cells.
        workers: the number of processes; by default one per usable core, on a GPU one.
        device: a torch device.
        save_weights: keep initial and best weights in ``<out>/weights``.
        signals: measure each layer too (`Results.signals`). Such cells are other cells.
        accept_changed: complete blocks begun elsewhere or on other data; do not train them again.
        checkpoint_interval: the least seconds between two checkpoints of a cell.
        timeout: seconds without a finished epoch after which a cell is hung, and tried once more.
        on_event: called with every event of the run (`fanin.execution.events`).
        on_download: called with the progress of every download (`fanin.data.DownloadProgress`).
        observer: watches the stages of the run, instead of `on_event` and `on_download`.
        progress: whether to show progress on standard error; by default at a terminal and in a
            notebook, unless the run is watched by one of the three above.
        command: what continues the study, for the page; by default this call.

    Raises:
        UsageError: the study cannot be planned.
        DataError: data are damaged, or cannot be downloaded. Nothing of the stage is trained then.
        StoreError: the store is locked, corrupt, or on a full disk; RunInterrupted: by a signal.
    """
    observer = observer or choose_observer(CallbackObserver(on_event, on_download), progress)
    stages, fingerprints = list[tuple[Plan, RunSummary]](), dict[str, str]()
    with Planner(_load_to_run(study, signals)) as planner:
        plan = _plan(planner, replicates, only, max_epochs)
        folder = choose_folder(out, plan.study, planner.study.file)
        given: dict[str, object] = {"replicates": replicates, "only": only, "workers": workers}
        given |= {"max_epochs": max_epochs, "device": device, "save_weights": save_weights}
        call = format_python_call(load_study(study), folder, given | {"signals": signals})
        plan = replace(plan, command=command or call)
        for stage in _plan_stages(planner, plan, folder, max_epochs, accept_changed, fingerprints):
            with observer.watch_downloads(stage) as tell_download:
                fetch_data(planner, stage.to_train, tell_download, fingerprints)
            planner.end_process()
            _claim_folder(out, folder, planner.study)
            with observer.watch_training(stage) as tell_event:
                summary = run_plan(
                    stage.plan,
                    folder,
                    workers=workers,
                    device=device,
                    save_weights=save_weights,
                    accept_changed=accept_changed,
                    fingerprints=fingerprints,
                    checkpoint_interval=checkpoint_interval,
                    timeout=timeout,
                    on_event=tell_event,
                )
            stages.append((stage.plan, summary))
    return replace(results := load_results(folder), run_summary=sum_up(stages, results.results))


@_look_beside_study
def estimate(
    study: StudyLike,
    out: Path | str | None = None,
    *,
    replicates: int | None = None,
    only: Only | None = None,
    max_epochs: int | None = None,
    workers: int | None = None,
    signals: bool = False,
    accept_changed: bool = False,
) -> Estimate:
    """What `run` would train, and for how long at most; arguments and errors as for `run`.

    Some training steps of each kind are timed in this process, on random data and one thread.
    Nothing is written.
    """
    fingerprints: dict[str, str] = {}
    with Planner(_load_to_run(study, signals)) as planner:
        plan = _plan(planner, replicates, only, max_epochs)
        folder = choose_folder(out, plan.study, planner.study.file)
        for stage in _plan_stages(planner, plan, folder, max_epochs, accept_changed, fingerprints):
            if stage.to_train:  # later stages follow from the results of this one
                break
        trials: tuple[Cell, ...] = ()
        if stage.plan.is_tuning:
            trials = stage.to_train
            stage = _make_stage(planner, plan, folder, accept_changed, fingerprints)
        cells = (*stage.to_train, *trials)
        processes = workers if workers is not None else count_usable_cores()
        seconds = planner.bound_seconds(cells, processes)
    untimed = sum(cell.trainer is not None for cell in cells)
    return Estimate(stage.plan, stage.to_train, trials, folder, processes, untimed, seconds)


def compare_stores(*folders: Path | str, names: Sequence[str] = ()) -> ComparedStores:
    """Results folders side by side (`fanin.report.compared_stores.compare_stores`)."""
    from fanin.report import compared_stores  # statistics, which need an extra

    return compared_stores.compare_stores(*folders, names=names)


def load_study(study: StudyLike) -> Study:
    """The study itself, or the one that a name, a file or a dict means."""
    try:
        from fanin.study.study import Study
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "a package", "study", "A study") from None
    if isinstance(study, Study):
        return study
    if isinstance(study, Mapping):
        return Study.from_tables(study)
    if isinstance(study, (str, PathLike)):
        return Study.load(study)
    raise UsageError(
        "A study is a name such as 'quick', the path of a TOML file, a dict such as {'base': "
        "{'model': 'mlp', 'data': 'digits'}, 'axes': {'initializer': ['zero', 'he_normal']}}, or a "
        f"fanin.Study; received {quote(study)}."
    )


def _load_to_run(study: StudyLike, signals: bool) -> Study:
    loaded = load_study(study)
    return loaded.override(signals=True) if signals else loaded


@_look_beside_study
def make_plan(
    study: StudyLike,
    *,
    replicates: int | None = None,
    only: Only | None = None,
    max_epochs: int | None = None,
) -> Plan:
    """The cells that answer a study; arguments and errors as for `run`."""
    with Planner(load_study(study)) as planner:
        return _plan(planner, replicates, only, max_epochs)


def _plan(
    planner: Planner, replicates: int | None, only: Only | None, max_epochs: int | None
) -> Plan:
    if only is not None and not isinstance(only, Mapping):
        raise UsageError(
            f"only maps an axis to a value or several, such as {{'data': 'digits'}}; received "
            f"{quote(only)}."
        )
    selected = {axis: to_labels(values) for axis, values in (only or {}).items()}
    return planner.plan(replicates=replicates, only=selected, max_epochs=max_epochs)


def make_evaluation_plan(study: Study, results: Mapping[str, Result]) -> Plan:
    """The cells that answer a study, with the learning rates that its results choose.

    Args:
        study: the study.
        results: all of its results by cell id, those of the tuning stages included.
    """
    from fanin.study import learning_rate_tuning

    plan = make_plan(study)
    if study.tuning is None:
        return plan
    *_, evaluation = learning_rate_tuning.plan_stages(study.tuning, plan, lambda: results)
    return evaluation


def _plan_stages(
    planner: Planner,
    plan: Plan,
    folder: Path,
    max_epochs: int | None,
    accept_changed: bool,
    fingerprints: dict[str, str],
) -> Iterator[Stage]:
    """The stages of a run: those that tune learning rates if the study tunes them, then the
    evaluation.

    Each stage is planned when it is asked for, from the results that `folder` holds by then: the
    stage before must have run. `plan` is the study's plan or a part of it, made with `max_epochs`.
    """
    from fanin.study import learning_rate_tuning  # imports torch, which reading results must not

    plans: Iterable[Plan] = [plan]
    if planner.study.tuning is not None:
        plans = learning_rate_tuning.plan_stages(
            planner.study.tuning,
            plan,
            lambda: results_store.read(folder).results,
            whole=planner.plan(replicates=1, max_epochs=max_epochs),
        )
    for stage_plan in plans:
        yield _make_stage(planner, stage_plan, folder, accept_changed, fingerprints)


def _make_stage(
    planner: Planner,
    plan: Plan,
    folder: Path,
    accept_changed: bool,
    fingerprints: dict[str, str],
) -> Stage:
    """The stage that trains what `folder` lacks of the plan."""
    has_store = ResultsFolder.from_path(folder).database.is_file()
    results = results_store.read(folder).results if has_store else {}
    cells = [planned.cell for planned in plan.cells]
    if not accept_changed:
        _read_own_data(planner, (cell for cell in cells if cell.id in results), fingerprints)
    to_train = find_unfinished(
        cells, results, fingerprints=fingerprints, accept_changed=accept_changed
    )
    warn_of_cells_to_measure(to_train, results)
    return Stage(plan, to_train)


def _read_own_data(planner: Planner, cells: Iterable[Cell], fingerprints: dict[str, str]) -> None:
    """Add the fingerprints of the user's own data, which may have changed since the cells were
    trained. Results of data that are gone stand.
    """
    from fanin import data

    names = {cell.data for cell in cells if cell.trainer is None}
    for name in sorted(names - fingerprints.keys()):
        with contextlib.suppress(FaninError):
            if names_user_code(name) or data.may_change(name):
                fingerprints[name] = planner.read_fingerprint(name)


def fetch_data(
    planner: Planner,
    cells: Iterable[Cell],
    on_download: Callable[[DownloadProgress], None],
    fingerprints: dict[str, str],
) -> None:
    """Download the data sets that are missing, and load each once: damage is found before any cell
    is trained, and workers are told the fingerprints. Workers never download. What a user's
    function trains on is its own affair.
    """
    from fanin import data

    for name in sorted({cell.data for cell in cells if cell.trainer is None}):
        if not names_user_code(name):
            data.ensure(name, on_progress=on_download)
        if name not in fingerprints:
            fingerprints[name] = planner.read_fingerprint(name)


def _claim_folder(out: Path | str | None, folder: Path, study: Study) -> None:
    """Create a folder chosen for a study; the first time it is said if it is not the usual one."""
    if out is not None or is_claimed(folder, study.file):
        return
    ResultsFolder.from_path(folder).create()
    claim_folder(folder, study.file)
    if folder.name != study.name:
        warnings.warn(
            f"{folder.with_name(study.name)} holds the results of another study of this name. "
            f"Those of {study.file or study.name} are written to {folder}; --out names another "
            "folder.",
            stacklevel=4,
        )


def choose_observer(callbacks: CallbackObserver, progress: bool | None) -> Observer:
    """The callbacks if there are any, or else a display if it is asked for or somebody watches."""
    from fanin.progress import progress_display

    has_callbacks = callbacks != CallbackObserver()
    if progress and has_callbacks:
        raise UsageError("progress=True shows the events itself. Leave out on_event, on_download.")
    shows = progress_display.is_watched() and not has_callbacks if progress is None else progress
    return progress_display.ProgressDisplay() if shows else callbacks


def to_labels(values: object) -> list[str]:
    """One value or several, written as labels are."""
    items = values if isinstance(values, (list, tuple, set)) else [values]
    return [item if isinstance(item, str) else specs.render_value(item) for item in items]
