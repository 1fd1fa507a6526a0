"""Which planned cells to train, so that no paired comparison mixes environments.

A block is the cells that are compared with one another: those that differ in the initializer only.
Its results share one environment key (CPU or GPU model, engine, torch, threads, matmul backend,
dtype). A complete block may come from any machine. An incomplete one is completed with results of
this environment; its settled results of other environments are obtained again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fanin.cell.cell import Cell
from fanin.cell.result import SETTLED, Result


@dataclass(frozen=True)
class CellSelection:
    """The cells that one command trains."""

    cells: tuple[Cell, ...]
    """In the order of the plan."""
    retrained: frozenset[str]
    """Ids of those that are settled already, but in another environment."""


def select_cells(
    cells: Iterable[Cell], results: Mapping[str, Result], key: str, *, accept_changed: bool = False
) -> CellSelection:
    """Select the cells that lack a settled result, and those whose result would leave their block
    mixed.

    Args:
        cells: the plan's cells, each once.
        results: the latest result by cell id.
        key: the key of this environment (`Result.environment_key`).
        accept_changed: leave blocks mixed.
    """
    cells = tuple(cells)
    missing, retrained = set[str](), set[str]()
    for block in _group_by_block(cells).values():
        settled, rest = _split(block, results)
        missing.update(rest)
        if not accept_changed and (rest or len(set(settled.values())) > 1):
            retrained.update(cell for cell, cell_key in settled.items() if cell_key != key)
    return CellSelection(
        tuple(cell for cell in cells if cell.id in missing | retrained), frozenset(retrained)
    )


def find_unfinished(
    cells: Iterable[Cell], results: Mapping[str, Result], *, accept_changed: bool = False
) -> tuple[Cell, ...]:
    """The cells that need training, as far as can be told before the environment is known; none if
    nothing is to be done.
    """
    cells = tuple(cells)
    unfinished = set[str]()
    for block in _group_by_block(cells).values():
        settled, rest = _split(block, results)
        is_mixed = len(set(settled.values())) > 1 and not accept_changed
        unfinished.update(rest or (settled if is_mixed else ()))
    return tuple(cell for cell in cells if cell.id in unfinished)


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


def _split(block: list[Cell], results: Mapping[str, Result]) -> tuple[dict[str, str], list[str]]:
    """The environment keys of the settled cells by id, and the ids of the others."""
    settled, rest = dict[str, str](), list[str]()
    for cell in block:
        result = results.get(cell.id)
        if result is not None and result.outcome in SETTLED:
            settled[cell.id] = result.environment_key
        else:
            rest.append(cell.id)
    return settled, rest
