"""What a run has done, and whether all that it should have done was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import SETTLED, Outcome, Result


@dataclass(frozen=True)
class RunSummary:
    """What a run has done."""

    counts: Mapping[Outcome, int]
    """The plan's cells by outcome."""
    trained: int
    """The number of results that were committed."""
    exit_code: int
    """0; 1 if a cell of the plan has no settled result, because it failed or was killed or for no
    reason that is known; 4 if the data of one was the reason.
    """
    problems: tuple[str, ...] = ()
    """What the outcomes of the plan's cells do not show, a sentence each."""


def sum_up(stages: Sequence[tuple[Plan, RunSummary]], stored: Mapping[str, Result]) -> RunSummary:
    """The summary of a run: that of its last stage, with what went wrong in any.

    Args:
        stages: the plan of each stage, and what became of it; the last one is the evaluation.
        stored: all results that are in the store at the end, by cell id. A cell counts as done if
            it is there, whatever a stage has counted.
    """
    problems = list[str]()
    for plan, _ in stages[:-1]:
        cells = [planned.cell for planned in plan.cells]
        unsettled = [c for c in cells if c.id not in stored or stored[c.id].outcome not in SETTLED]
        if unsettled:
            problems.append(
                f"{len(unsettled)} of {len(cells)} trainings that tune the learning rate have no "
                f"loss, and rates were chosen as if it were infinite: "
                f"{_describe(unsettled[0], stored)}. Repeat the command to train them again."
            )
    plan, last = stages[-1]
    lost = [planned.cell for planned in plan.cells if planned.cell.id not in stored]
    if lost:
        problems.append(
            f"{len(lost)} of {len(plan.cells)} cells have no result, and nothing says why: "
            f"{_describe(lost[0], stored)}. Repeat the command to train them. If that does not "
            "help, this is a bug in fanin; please report it."
        )
    return replace(
        last,
        trained=sum(summary.trained for _, summary in stages),
        exit_code=max(*(summary.exit_code for _, summary in stages), int(bool(problems))),
        problems=tuple(problems),
    )


def _describe(cell: Cell, stored: Mapping[str, Result]) -> str:
    """A cell, and what became of it if that is known."""
    result = stored.get(cell.id)
    reason = f", {result.outcome}: {result.reason.rstrip('.')}" if result else ""
    return (
        f"{cell.workload}, {cell.initializer}, rate {cell.learning_rate}, replicate "
        f"{cell.replicate}{reason}"
    )
