"""Which planned cells to train, so that no paired comparison mixes environments.

A block is the cells that are compared with one another: those that differ in the initializer only.
Its results share one environment key (CPU or GPU model, engine, torch, threads, matmul backend,
dtype) and the fingerprint of their data. A complete block may come from any machine. An incomplete
one is completed with results of this environment; its settled results of other environments are
obtained again.

A result of data that have changed since is a result of another question, whole block or not: it is
obtained again whenever the data of today are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fanin.cell.cell import Cell
from fanin.cell.result import SETTLED, Result

NO_FINGERPRINTS: Mapping[str, str] = MappingProxyType({})

_Key = tuple[str, str]
"""Environment key and fingerprint of the data: what the results of a block share."""


@dataclass(frozen=True)
class CellSelection:
    """The cells that one command trains."""

    cells: tuple[Cell, ...]
    """In the order of the plan."""
    retrained: frozenset[str]
    """Ids of those that are settled already, but in another environment."""
    changed: frozenset[str] = frozenset()
    """Ids of those that are settled already, but with data that have changed since."""


def select_cells(
    cells: Iterable[Cell],
    results: Mapping[str, Result],
    key: str,
    *,
    fingerprints: Mapping[str, str] = NO_FINGERPRINTS,
    accept_changed: bool = False,
) -> CellSelection:
    """Select the cells that lack a settled result, those whose data have changed, and those whose
    result would leave their block mixed.

    Args:
        cells: the plan's cells, each once.
        results: the latest result by cell id.
        key: the key of this environment (`Result.environment_key`).
        fingerprints: spec of a data set → the fingerprint that its data have now. Those of data
            sets that are not in it are not known.
        accept_changed: leave blocks mixed, and results of changed data as they are.
    """
    cells = tuple(cells)
    changed = set[str]() if accept_changed else _find_changed(cells, results, fingerprints)
    missing, retrained = set[str](), set[str]()
    for block in _group_by_block(cells).values():
        settled, rest = _split(block, results, changed)
        missing.update(rest)
        if accept_changed or not (rest or len(set(settled.values())) > 1):
            continue
        # Which of several data sets is that of today cannot be told: none of their results stands.
        is_told = len({fingerprint for _, fingerprint in settled.values()}) == 1
        retrained.update(
            cell for cell, (cell_key, _) in settled.items() if cell_key != key or not is_told
        )
    selected = missing | retrained
    return CellSelection(
        tuple(cell for cell in cells if cell.id in selected),
        frozenset(retrained),
        frozenset(changed),
    )


def find_unfinished(
    cells: Iterable[Cell],
    results: Mapping[str, Result],
    *,
    fingerprints: Mapping[str, str] = NO_FINGERPRINTS,
    accept_changed: bool = False,
) -> tuple[Cell, ...]:
    """The cells that need training, as far as can be told before the environment is known; none if
    nothing is to be done.
    """
    cells = tuple(cells)
    changed = set[str]() if accept_changed else _find_changed(cells, results, fingerprints)
    unfinished = set[str]()
    for block in _group_by_block(cells).values():
        settled, rest = _split(block, results, changed)
        is_mixed = len(set(settled.values())) > 1 and not accept_changed
        unfinished.update(rest or (settled if is_mixed else ()))
    return tuple(cell for cell in cells if cell.id in unfinished)


def find_started_matmul(cells: Iterable[Cell], results: Mapping[str, Result]) -> str | None:
    """The matmul backend of all blocks that are half done; None if none is, or they have several.

    With another one they would be trained anew, although which is the faster one changes from time
    to time.
    """
    found = set[str | None]()
    for block in _group_by_block(tuple(cells)).values():
        settled, rest = _split(block, results, set())
        if rest:
            found.update(results[cell].environment.get("matmul") for cell in settled)
    return found.pop() if len(found) == 1 else None


def find_mixed_blocks(results: Iterable[Result]) -> dict[str, tuple[str, ...]]:
    """Block id → its environment keys, for each block with settled results of several."""
    keys: dict[str, set[str]] = {}
    for result in results:
        if result.outcome in SETTLED:
            keys.setdefault(result.cell.block, set()).add(result.environment_key)
    return {block: tuple(sorted(several)) for block, several in keys.items() if len(several) > 1}


def _group_by_block(cells: tuple[Cell, ...]) -> dict[str, list[Cell]]:
    blocks: dict[str, list[Cell]] = {}
    for cell in cells:
        blocks.setdefault(cell.block, []).append(cell)
    return blocks


def _find_changed(
    cells: tuple[Cell, ...], results: Mapping[str, Result], fingerprints: Mapping[str, str]
) -> set[str]:
    """Ids of the cells whose settled result was obtained with other data than those of now."""
    changed = set[str]()
    for cell in cells:
        result, now = results.get(cell.id), fingerprints.get(cell.data)
        if now and result is not None and result.outcome in SETTLED:
            then = result.fingerprint
            changed.update([cell.id] if then and then != now else ())
    return changed


def _split(
    block: list[Cell], results: Mapping[str, Result], changed: set[str]
) -> tuple[dict[str, _Key], list[str]]:
    """The keys of the settled cells by id, and the ids of the others and of the changed ones."""
    settled, rest = dict[str, _Key](), list[str]()
    for cell in block:
        result = results.get(cell.id)
        if result is not None and result.outcome in SETTLED and cell.id not in changed:
            settled[cell.id] = (result.environment_key, result.fingerprint)
        else:
            rest.append(cell.id)
    return settled, rest
