"""Merging the results of other stores, and of JSON lines, into one store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fanin.cell.plan import Plan
from fanin.cell.record_check import require_plausible
from fanin.cell.result import SETTLED, Result
from fanin.errors import StoreCorrupt, UsageError
from fanin.store import jsonl
from fanin.store.results_folder import check_path
from fanin.store.results_store import Store, read


@dataclass(frozen=True)
class MergeReport:
    """What a merge did."""

    added: int
    """Results that the store did not have, or had as failed or killed only."""
    skipped: int
    """Results that the store had already."""
    conflicts: tuple[str, ...]
    """Cells that have two different results; the store keeps its own."""
    warnings: tuple[str, ...]


def merge(out: Path | str, sources: Iterable[Path | str]) -> MergeReport:
    """Add the results of `sources` (results folders and ``.jsonl`` files) to the store in `out`.

    All sources are read before anything is written, and all results are committed together. A store
    without a plan gets the plan of the first source that has one. Raises `UsageError`,
    `StoreCorrupt`, `StoreLocked` or `StoreFull`.
    """
    gathered = [(str(source), *_read_source(source)) for source in sources]
    with Store.create_or_open(out) as store:
        before = store.read_results()
        known, new, skipped, conflicts = dict(before), dict[str, Result](), 0, list[str]()
        for name, results, _, _ in gathered:
            for result in results:
                mine = known.get(result.cell.id)
                if mine is None or supersedes(result, mine):
                    known[result.cell.id] = new[result.cell.id] = result
                elif result.outcome not in SETTLED or _have_same_numbers(mine, result):
                    skipped += 1
                else:
                    conflicts.append(_describe_conflict(mine, result, name))
        if new:
            store.add_all(new.values())
        plan = next((plan for _, _, plan, _ in gathered if plan is not None), None)
        if plan is not None and store.read_plan() is None:
            store.set_plan(plan)
    warnings = tuple(warning for *_, found in gathered for warning in found)
    return MergeReport(len(new), skipped, tuple(conflicts), warnings)


def supersedes(result: Result, stored: Result) -> bool:
    """Whether a result replaces the stored one of the same cell: only the new one is settled."""
    return result.outcome in SETTLED and stored.outcome not in SETTLED


def merge_latest(sources: Iterable[Mapping[str, Result]]) -> dict[str, Result]:
    """The results of several stores by cell id, of each cell the one that supersedes the others."""
    merged: dict[str, Result] = {}
    for results in sources:
        for cell, result in results.items():
            kept = merged.get(cell)
            if kept is None or supersedes(result, kept):
                merged[cell] = result
    return merged


def _read_source(source: Path | str) -> tuple[list[Result], Plan | None, list[str]]:
    path = Path(source)
    check_path(path)
    if path.is_dir():
        snapshot = read(path)
        for result in snapshot.results.values():
            try:
                require_plausible(result.to_json())
            except StoreCorrupt as error:
                raise StoreCorrupt(f"{source}, cell {result.cell.id}: {error}") from None
        return list(snapshot.results.values()), snapshot.plan, []
    if path.suffix == ".jsonl":
        results, warnings = jsonl.read(path)
        return results, None, warnings
    raise UsageError(f"Cannot merge {source}: expected a results folder or a .jsonl file.")


def _have_same_numbers(a: Result, b: Result) -> bool:
    """Whether the results differ at most in timings and environment."""
    return _extract_numbers(a) == _extract_numbers(b)


def _extract_numbers(result: Result) -> object:
    record = result.to_json()  # in JSON, NaN equals NaN
    history = {name: column for name, column in record["history"].items() if name != "seconds"}
    return result.outcome, history, record["metrics"], result.data.get("fingerprint")


def _describe_conflict(stored: Result, other: Result, name: str) -> str:
    cell = stored.cell
    return (
        f"{cell.id} ({cell.model}, {cell.data}, {cell.initializer}, replicate {cell.replicate}): "
        f"{name} has other numbers ({other.environment_key}) than the store "
        f"({stored.environment_key}), which keeps its own"
    )
