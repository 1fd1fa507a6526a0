"""What was stored of the grids: labels from trainings, quantities and baselines from starts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin.diagnosis.forecast.start_quantities import StartQuantities
from fanin.diagnosis.forecast.trainability import Family, compute_penalties, compute_probability
from forecast_grid.labels import Label, label_rows

RESULTS = Path(__file__).parent.parent.parent / "results"


@dataclass(frozen=True)
class StoredCase:
    """A start, an optimizer and a number of steps, with the label and what was measured."""

    network: str
    start: str
    optimizer: Family
    steps: int
    label: Label
    quantities: StartQuantities
    probe: tuple[float, ...]
    """The loss after 20 steps at each rate, over that of a model that knows nothing."""

    @property
    def penalties(self) -> dict[str, float]:
        """What the forecast weighs."""
        return compute_penalties(self.quantities, self.steps)

    @property
    def probability(self) -> float:
        """What the forecast says."""
        return compute_probability(self.penalties, self.optimizer)

    def score_baselines(self, usual: int) -> dict[str, float]:
        """Depth, gradient ratio and probe as scores: larger is better. `usual` is the place of the
        rate that the probe is run at if it is run once.
        """
        return {
            "depth": -float(self.quantities.layers),
            "gradient ratio": -abs(math.log(self.quantities.gradient)),
            "20-step probe, one rate": -self.probe[usual],
            "20-step probe, best of five rates": -min(self.probe),
        }


def read_cases(grid: str, folder: Path = RESULTS) -> list[StoredCase]:
    """All cases of a grid that were trained and measured, those of the grey zone included."""
    starts = {
        (row["network"], row["start"]): row
        for row in read_rows(folder / f"audit_forecast_{grid}_starts.jsonl")
    }
    labels = label_rows(read_rows(folder / f"audit_forecast_{grid}.jsonl"))
    found = []
    for (group, start, steps), label in labels.items():
        network, optimizer = group.rsplit("/", 1)
        row = starts.get((network, start))
        if row is None:
            continue
        probe = tuple(math.inf if one is None else one for one in row["probe"][optimizer])
        quantities = StartQuantities(**row["quantities"])
        case = (network, start, optimizer, steps, label, quantities, probe)
        found.append(StoredCase(*case))  # type: ignore[arg-type]
    return found


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
