"""From a study to its results: what `fanin.run` and ``fanin run`` do.

results = run("quick", out="runs/quick")
print(results)
results.report()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fanin import specs
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import SETTLED, Result
from fanin.errors import MissingExtra, UsageError, quote
from fanin.execution.blocks import find_unfinished
from fanin.execution.events import Event
from fanin.execution.runner import run_plan
from fanin.report.results import Results
from fanin.store import results_store
from fanin.store.results_folder import ResultsFolder
from fanin.study import learning_rate_tuning

if TYPE_CHECKING:
    from fanin.data import DownloadProgress
    from fanin.study.study import Study

__all__ = [
    "Results",
    "evaluation",
    "fetch_data",
    "load_results",
    "load_study",
    "make_plan",
    "pending",
    "run",
    "stages",
]

Only = Mapping[str, object]
"""Axis → a label or value, or a list of them."""


def run(
    study: Study | str,
    out: Path | str | None = None,
    *,
    replicates: int | None = None,
    only: Only | None = None,
    max_epochs: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
    save_weights: bool = False,
    accept_changed: bool = False,
    checkpoint_interval: float = 10.0,
    timeout: float = 1800.0,
    on_event: Callable[[Event], None] | None = None,
    on_download: Callable[[DownloadProgress], None] | None = None,
) -> Results:
    """Train what a study lacks and return its results; calling again continues where it stopped.

    Args:
        study: a study, the name of a built-in one, or the path of a TOML file.
        out: results folder, ``runs/<study>`` by default; made if missing.
        replicates: instead of the study's own number.
        only: axis → a label or value, or several; the other cells are left out.
        max_epochs: instead of the cells' own; such cells are other cells.
        workers: processes; default one per usable core, on a GPU one.
        device: a torch device.
        save_weights: keep initial and best weights in ``<out>/weights``.
        accept_changed: complete blocks that were begun in another environment instead of training
            them anew.
        checkpoint_interval: seconds at least between two checkpoints of a cell.
        timeout: seconds without a finished epoch after which a cell counts as hung.
        on_event: told of everything that happens (`fanin.execution.events`).
        on_download: told of the progress of downloads (`fanin.data.DownloadProgress`), where data have to
            be fetched.

    Data sets that are not there are downloaded first. Cells that failed do not raise: see
    `Results.outcomes`. Raises `UsageError` for a study that cannot be planned, `DataError` for data
    that is damaged or can be had nowhere (before anything is trained), `StoreError`, and
    `RunInterrupted` after a signal.
    """
    loaded = load_study(study)
    plan = make_plan(loaded, replicates=replicates, only=only, max_epochs=max_epochs)
    folder = Path("runs") / plan.study if out is None else Path(out)
    for stage in stages(loaded, plan, folder, max_epochs=max_epochs):
        fetch_data(pending(stage, folder, accept_changed=accept_changed), on_download=on_download)
        run_plan(
            stage,
            folder,
            workers=workers,
            device=device,
            save_weights=save_weights,
            accept_changed=accept_changed,
            checkpoint_interval=checkpoint_interval,
            timeout=timeout,
            on_event=on_event or (lambda event: None),
        )
    return load_results(folder)


def stages(
    study: Study, plan: Plan, folder: Path, *, max_epochs: int | None = None
) -> Iterator[Plan]:
    """The plans to run one after the other: those that tune the learning rate, if the study tunes
    it, then the evaluation.

    Each is made when it is asked for, from the results that `folder` holds by then, so the one
    before must have run. `plan` is the study's or a part of it, `max_epochs` what it was made with.
    """
    if study.tuning is None:
        yield plan
        return
    whole = study.plan(replicates=1, max_epochs=max_epochs)
    yield from learning_rate_tuning.plan_stages(
        study.tuning, plan, lambda: results_store.read(folder).results, whole=whole
    )


def evaluation(study: Study, results: Mapping[str, Result]) -> Plan:
    """The plan whose cells answer the study, given all of its results: with the learning rates that
    these choose.
    """
    plan = study.plan()
    if study.tuning is None:
        return plan
    *_, last = learning_rate_tuning.plan_stages(study.tuning, plan, lambda: results)
    return last


def make_plan(
    study: Study | str,
    *,
    replicates: int | None = None,
    only: Only | None = None,
    max_epochs: int | None = None,
) -> Plan:
    """The cells of a study, or of one given by name or file; arguments and errors as for `run`."""
    loaded = load_study(study)
    if only is not None and not isinstance(only, Mapping):
        raise UsageError(
            f"only maps an axis to a value or several, such as {{'data': 'digits'}}; received "
            f"{quote(only)}."
        )
    chosen = {axis: _texts(wanted) for axis, wanted in (only or {}).items()}
    return loaded.plan(replicates=replicates, only=chosen, max_epochs=max_epochs)


def _texts(wanted: object) -> list[str]:
    """One value or several, as labels are written."""
    values = list(wanted) if isinstance(wanted, (list, tuple, set)) else [wanted]
    return [value if isinstance(value, str) else specs.render_value(value) for value in values]


def pending(plan: Plan, out: Path | str, *, accept_changed: bool = False) -> tuple[Cell, ...]:
    """The plan's cells that need training, as far as can be told before it is known on what
    machine.
    """
    results = results_store.read(out).results if ResultsFolder.from_path(out).database.is_file() else {}
    return find_unfinished(
        (planned.cell for planned in plan.cells), results, accept_changed=accept_changed
    )


def fetch_data(
    cells: Iterable[Cell], *, on_download: Callable[[DownloadProgress], None] | None = None
) -> None:
    """Download the cells' data sets where they are not there, and read each once, so that damage is
    found before any work.

    Workers never download. Raises `DataUnavailable`, which says what was tried and what to do, or
    `DataInvalid`.
    """
    from fanin import data

    for name in sorted({cell.data for cell in cells}):
        data.ensure(name, on_progress=on_download)
        data.load(name)


def load_results(*folders: Path | str) -> Results:
    """The results in a folder; those of several folders together, as one study.

    Where two folders have a result for the same cell, one that finished counts more, then that of
    the folder named first. Raises `UsageError` where a folder holds no store, or no plan to show
    results by, and `StoreCorrupt`.
    """
    snapshots = [results_store.read(folder) for folder in folders]
    plans = [snapshot.plan for snapshot in snapshots if snapshot.plan is not None]
    if not plans:
        raise UsageError(
            f"{folders[0]} holds results and no plan to show them by. Run the study that they "
            "belong to with --out."
        )
    results = _united(snapshot.results for snapshot in snapshots)
    if len(snapshots) == 1:
        return Results(plans[0], results, snapshots[0].path)
    return Results(_joined(plans), results)


def load_study(study: Study | str) -> Study:
    """A study, or the one that a name or a file means."""
    if not isinstance(study, str):
        return study
    try:
        from fanin.study.study import Study
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "a package", "study", "A study") from None
    return Study.load(study)


def _united(sources: Iterable[Mapping[str, Result]]) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for results in sources:
        for cell, result in results.items():
            mine = found.get(cell)
            if mine is None or (mine.outcome not in SETTLED and result.outcome in SETTLED):
                found[cell] = result
    return found


def _joined(plans: Sequence[Plan]) -> Plan:
    """One plan that holds the cells of all."""
    cells = {planned.cell.id: planned for plan in reversed(plans) for planned in plan.cells}
    order = dict.fromkeys(planned.cell.id for plan in plans for planned in plan.cells)
    return Plan(
        study=" + ".join(dict.fromkeys(plan.study for plan in plans)),
        question=" ".join(dict.fromkeys(plan.question for plan in plans)),
        protocol=" + ".join(dict.fromkeys(plan.protocol for plan in plans)),
        cells=tuple(cells[cell] for cell in order),
        notes=tuple(dict.fromkeys(note for plan in plans for note in plan.notes)),
    )
