"""TrackingObserver: tells trackers of a run while it goes on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from fanin.execution.events import CellFinished, EpochFinished, Event
from fanin.execution.observer import Observer, OnDownload, OnEvent, Stage
from fanin.report.trackers.cell_record import describe_cell
from fanin.report.trackers.tracker import Tracker


@dataclass(frozen=True)
class TrackingObserver:
    """Passes all events on, and tells trackers of epochs and results of the evaluation. Trials that
    tune learning rates are not tracked.

    A tracker that fails is given up with a warning: it must not end a training.
    """

    observer: Observer
    trackers: Sequence[Tracker]

    def watch_downloads(self, stage: Stage) -> AbstractContextManager[OnDownload]:
        """Watch missing data sets being downloaded."""
        return self.observer.watch_downloads(stage)

    @contextmanager
    def watch_training(self, stage: Stage) -> Iterator[OnEvent]:
        """Watch cells being trained."""
        with self.observer.watch_training(stage) as tell:
            if stage.plan.is_tuning:
                yield tell
                return
            records = {
                planned.cell.id: describe_cell(stage.plan.study, planned)
                for planned in stage.plan.cells
            }
            working = list(self.trackers)

            def attempt(act: Callable[[Tracker], None]) -> None:
                for tracker in list(working):
                    try:
                        act(tracker)
                    except Exception as error:
                        working.remove(tracker)
                        warnings.warn(
                            f"Tracking ends here: {error} Training goes on; fanin export writes "
                            "the runs later.",
                            stacklevel=2,
                        )

            def tell_all(event: Event) -> None:
                tell(event)
                if isinstance(event, EpochFinished):
                    record, row = records[event.cell.id], event.row
                    attempt(lambda tracker: tracker.log_epoch(record, int(row["epoch"]), row))
                elif isinstance(event, CellFinished):
                    done, result = records[event.result.cell.id], event.result
                    attempt(lambda tracker: tracker.log_result(done, result))

            try:
                yield tell_all
            finally:
                attempt(lambda tracker: tracker.close())
