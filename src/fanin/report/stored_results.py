"""From results folders to `Results`; imports nothing that trains."""

from __future__ import annotations

from pathlib import Path

from fanin.cell.plan import merge_plans
from fanin.errors import UsageError
from fanin.report.results import Results
from fanin.store import results_store
from fanin.store.merge import merge_latest


def load_results(*folders: Path | str, histories: bool = True) -> Results:
    """The results in a folder, or those of several folders as one study.

    If two folders have a result for the same cell, a settled one counts more than one that failed
    or was killed, then that of the folder named first. Raises `UsageError` if a folder holds no
    store, or none holds a plan to show results by, and `StoreCorrupt`. Histories stay in the file
    until they are looked at; without them loading takes less time.
    """
    read = results_store.read_lazily if histories else results_store.read_summaries
    snapshots = [read(folder) for folder in folders]
    plans = [snapshot.plan for snapshot in snapshots if snapshot.plan is not None]
    if not plans:
        raise UsageError(
            f"{folders[0]} holds results and no plan to show them by. Run the study that they "
            "belong to with --out."
        )
    results = merge_latest(snapshot.results for snapshot in snapshots)
    if len(snapshots) == 1:
        return Results(plans[0], results, snapshots[0].path)
    return Results(merge_plans(plans), results)
