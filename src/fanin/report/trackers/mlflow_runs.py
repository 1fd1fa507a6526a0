"""Cells as MLflow's runs, in an experiment that is called as the study."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fanin.cell.result import Result
from fanin.errors import MissingExtra, UsageError
from fanin.report.trackers.cell_record import CellRecord, list_finals
from fanin.report.trackers.tracker import Tracker

_TAG = "fanin.cell"
_MOST_METRICS, _MOST_PARAMETERS = 1000, 100
"""What MLflow takes in one call."""
_LONGEST = 5000
"""Characters of a tag."""

_STATUS = {"ok": "FINISHED", "diverged": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class MlflowRuns(Tracker):
    """Writes to a tracking store: metrics by epoch as the history's columns are called, the final
    ones as results call them, and parameters, outcome and cell id.
    """

    def __init__(self, uri: str | None = None) -> None:
        super().__init__()
        try:
            from mlflow import MlflowClient, entities
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "mlflow", "mlflow", "The tracker for MLflow") from None
        self._entities: Any = entities
        self._client: Any = self._ask(lambda: MlflowClient(tracking_uri=uri))
        self._uri = uri
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, str] = {}

    def start_run(self, record: CellRecord) -> None:
        """Create the cell's run. Runs of the same cell are from an earlier export and are deleted
        (MLflow keeps deleted runs until its garbage is collected).
        """
        experiment = self._find_experiment(record.study)
        query = f"tags.`{_TAG}` = '{record.cell}'"
        for run in self._ask(lambda: self._client.search_runs([experiment], query)):
            self._ask(lambda run=run: self._client.delete_run(run.info.run_id))
        run = self._ask(
            lambda: self._client.create_run(
                experiment, run_name=record.name, tags={_TAG: record.cell}
            )
        )
        self._runs[record.cell] = run.info.run_id
        parameters = [
            self._entities.Param(_clean(name), str(value))
            for name, value in record.parameters.items()
        ]
        for part in _split(parameters, _MOST_PARAMETERS):
            self._log(record, params=part)

    def write_epochs(self, record: CellRecord, rows: Mapping[int, Mapping[str, float]]) -> None:
        """One metric for each column of the history."""
        metrics: list[Any] = []
        for epoch, row in rows.items():
            columns = {name: value for name, value in row.items() if name != "epoch"}
            metrics += self._make_metrics(columns, epoch)
        self._log(record, metrics=metrics)

    def end_run(self, record: CellRecord, result: Result) -> None:
        """Final metrics and the outcome. A name that the history has is that of the best epoch's
        weights now, so it is written as ``final_<name>``.
        """
        finals = {
            f"final_{name}" if name in result.history else name: value
            for name, value in list_finals(result).items()
        }
        metrics = self._make_metrics(finals, int(result.metrics.get("epochs", 0)))
        tags = {"fanin.outcome": result.outcome, "fanin.message": result.message[:_LONGEST]}
        self._log(
            record,
            metrics=metrics,
            tags=[self._entities.RunTag(name, text) for name, text in tags.items() if text],
        )
        run = self._runs.pop(record.cell)
        status = _STATUS[result.outcome]
        self._ask(lambda: self._client.set_terminated(run, status=status))

    def describe_place(self) -> str:
        return f"mlflow ui --backend-store-uri {self._uri}" if self._uri else "mlflow ui"

    def close(self) -> None:
        """End the runs of cells that have not finished."""
        for run in self._runs.values():
            self._ask(lambda run=run: self._client.set_terminated(run, status="KILLED"))
        self._runs.clear()

    def _find_experiment(self, study: str) -> str:
        if study not in self._experiments:
            found = self._ask(lambda: self._client.get_experiment_by_name(study))
            self._experiments[study] = (
                found.experiment_id
                if found is not None
                else self._ask(lambda: self._client.create_experiment(study))
            )
        return self._experiments[study]

    def _make_metrics(self, values: Mapping[str, float], step: int) -> list[Any]:
        now = int(time.time() * 1000)
        return [
            self._entities.Metric(_clean(name), float(value), now, step)
            for name, value in values.items()
        ]

    def _log(self, record: CellRecord, **parts: Sequence[Any]) -> None:
        run = self._runs[record.cell]
        metrics = list(parts.pop("metrics", ()))
        for some in _split(metrics, _MOST_METRICS) if metrics else [[]]:
            self._ask(lambda some=some: self._client.log_batch(run, metrics=some, **parts))

    def _ask(self, call: Any) -> Any:
        """What MLflow answers; its errors as `UsageError`."""
        from mlflow.exceptions import MlflowException

        try:
            return call()
        except MlflowException as error:
            raise UsageError(
                "MLflow does not take the runs. Expected a tracking URI such as "
                f"sqlite:///mlflow.db; it says: {error}"
            ) from None


def _clean(name: str) -> str:
    """A name with the characters that MLflow takes."""
    return "".join(c if c.isalnum() or c in "_-. /:" else "_" for c in name)


def _split(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]
