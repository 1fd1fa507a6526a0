"""Which tracker a spec names, and all results of a study for it."""

from __future__ import annotations

from fanin.errors import UnknownName, UsageError, quote
from fanin.report.export_formats import TRACKERS
from fanin.report.results import Results
from fanin.report.trackers.cell_record import describe_cell
from fanin.report.trackers.tracker import Tracker


def open_tracker(spec: str) -> Tracker:
    """The tracker that ``tensorboard:FOLDER``, ``mlflow:URI`` or ``mlflow`` names.

    Raises `UsageError` for another spec, and `MissingExtra` if its package is not installed.
    """
    name, _, place = spec.partition(":")
    if name not in TRACKERS:
        raise UnknownName.suggest("tracker", name, TRACKERS)
    if name == "mlflow":
        from fanin.report.trackers.mlflow_runs import MlflowRuns

        return MlflowRuns(place or None)
    if not place:
        raise UsageError(
            "Runs for TensorBoard need a folder: --tracker tensorboard:logs, or --output logs with "
            f"fanin export; received {quote(spec)}."
        )
    from fanin.report.trackers.tensorboard_runs import TensorboardRuns

    return TensorboardRuns(place)


def export_results(results: Results, tracker: Tracker) -> int:
    """Write every planned cell that has a result; returns their number."""
    written = 0
    for planned in results.plan.cells:
        result = results.results.get(planned.cell.id)
        if result is not None:
            tracker.log_result(describe_cell(results.plan.study, planned), result)
            written += 1
    tracker.close()
    return written
