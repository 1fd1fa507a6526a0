"""Trackers: TensorBoard and MLflow get one run per cell, when a study has ended or while it runs.

    from fanin.report import trackers
    tracker = trackers.open_tracker("tensorboard:logs")
    trackers.export_results(results, tracker)

Neither package is imported before it is used. `fanin.report.trackers.cell_record` says what a run
holds.
"""

from fanin.report.trackers.cell_record import CellRecord as CellRecord
from fanin.report.trackers.tracker import Tracker as Tracker
from fanin.report.trackers.tracker_choice import export_results as export_results
from fanin.report.trackers.tracker_choice import open_tracker as open_tracker
from fanin.report.trackers.tracking_observer import TrackingObserver as TrackingObserver
