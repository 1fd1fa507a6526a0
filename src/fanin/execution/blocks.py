"""Which planned cells are trained, so that no paired comparison mixes environments.

A block is the cells that are compared with one another: those that differ in the initializer only.
Its results share one environment key (CPU or GPU model, engine, torch, threads, matmul backend,
dtype). A block that is whole may come from any machine; one that is begun is completed here only
with results from this environment, and its others are trained anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fanin.cell.cell import Cell
from fanin.cell.result import SETTLED, Result


@dataclass(frozen=True)
class CellSelection:
    """What one command trains."""

    cells: tuple[Cell, ...]
    """In the order of the plan."""
    retrained: frozenset[str]
    """Ids of those among them that are settled already, but under another environment than this
    one's.
    """


def select_cells(
    cells: Iterable[Cell], results: Mapping[str, Result], key: str, *, accept_changed: bool = False
) -> CellSelection:
    """The cells that lack a settled result, and those whose result would leave their block mixed.

    Args:
        cells: the plan's, each once.
        results: the latest result by cell id.
        key: this environment's key (`Result.environment_key`).
        accept_changed: let blocks stay mixed.
    """
    cells = tuple(cells)
    missing, anew = set[str](), set[str]()
    for block in _group_by_block(cells).values():
        settled, rest = _split(block, results)
        missing.update(rest)
        if not accept_changed and (rest or len(set(settled.values())) > 1):
            anew.update(cell for cell, cell_key in settled.items() if cell_key != key)
    return CellSelection(
        tuple(cell for cell in cells if cell.id in missing | anew), frozenset(anew)
    )


def find_unfinished(
    cells: Iterable[Cell], results: Mapping[str, Result], *, accept_changed: bool = False
) -> tuple[Cell, ...]:
    """The cells that need training whatever this environment is, as far as can be told; none means
    nothing to do.
    """
    cells = tuple(cells)
    found = set[str]()
    for block in _group_by_block(cells).values():
        settled, rest = _split(block, results)
        is_mixed = len(set(settled.values())) > 1 and not accept_changed
        found.update(rest or (settled if is_mixed else ()))
    return tuple(cell for cell in cells if cell.id in found)


def find_mixed_blocks(results: Iterable[Result]) -> dict[str, tuple[str, ...]]:
    """The environment keys of each block, by its id, that holds settled results of more than one
    environment.
    """
    keys: dict[str, set[str]] = {}
    for result in results:
        if result.outcome in SETTLED:
            keys.setdefault(result.cell.block, set()).add(result.environment_key)
    return {block: tuple(sorted(found)) for block, found in keys.items() if len(found) > 1}


def _group_by_block(cells: tuple[Cell, ...]) -> dict[str, list[Cell]]:
    blocks: dict[str, list[Cell]] = {}
    for cell in cells:
        blocks.setdefault(cell.block, []).append(cell)
    return blocks


def _split(block: list[Cell], results: Mapping[str, Result]) -> tuple[dict[str, str], list[str]]:
    """The settled cells' environment keys by id, and the ids of the rest."""
    settled, rest = dict[str, str](), list[str]()
    for cell in block:
        result = results.get(cell.id)
        if result is not None and result.outcome in SETTLED:
            settled[cell.id] = result.environment_key
        else:
            rest.append(cell.id)
    return settled, rest
