"""How good a score is: AUROC with its interval, calibration, verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from fanin import seeds

DRAWS, BINS = 2000, 5

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A number, and the middle 95 % of it over draws of groups."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def measure_auroc(scores: Numbers, trains: NDArray[np.bool_]) -> float:
    """The share of pairs of a start that trains and one that fails that the score puts in order."""
    return float(roc_auc_score(trains, scores))


def bootstrap_aurocs(
    scores: Mapping[str, Numbers], trains: NDArray[np.bool_], groups: Sequence[str]
) -> dict[str, tuple[Interval, Interval]]:
    """The AUROC of each score, and by how much that of the first is larger, with intervals by
    drawing whole networks: their cases are alike.
    """
    generator = seeds.make_numpy_generator(0, "bootstrap")
    names = sorted(set(groups))
    members = {name: np.array([i for i, one in enumerate(groups) if one == name]) for name in names}
    draws: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(DRAWS):
        drawn = generator.choice(len(names), len(names))
        chosen = np.concatenate([members[names[index]] for index in drawn])
        if len(set(trains[chosen].tolist())) == 2:
            for name, values in scores.items():
                draws[name].append(measure_auroc(values[chosen], trains[chosen]))
    whole = {name: measure_auroc(values, trains) for name, values in scores.items()}
    first = next(iter(scores))
    found = {}
    for name in scores:
        more = np.array(draws[first]) - np.array(draws[name])
        gap = Interval(whole[first] - whole[name], *_take_middle(more))
        found[name] = Interval(whole[name], *_take_middle(np.array(draws[name]))), gap
    return found


def _take_middle(values: Numbers) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


@dataclass(frozen=True)
class Bin:
    """Cases of about the same forecast."""

    low: float
    high: float
    count: int
    forecast: float
    trained: float


def bin_forecasts(chances: Numbers, trains: NDArray[np.bool_]) -> list[Bin]:
    """Mean forecast and share that trained, in bins of equal width; empty ones are left out."""
    found = []
    edges = np.linspace(0, 1, BINS + 1)
    for low, high in itertools.pairwise(edges):
        inside = (chances >= low) & ((chances < high) | (high == 1))
        if inside.any():
            found.append(
                Bin(
                    float(low),
                    float(high),
                    int(inside.sum()),
                    float(chances[inside].mean()),
                    float(trains[inside].mean()),
                )
            )
    return found


def measure_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance of forecast and share over the bins, weighted by their counts."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.forecast - one.trained) for one in bins) / total


def measure_brier(chances: Numbers, trains: NDArray[np.bool_]) -> float:
    """The mean squared distance of forecast and outcome."""
    return float(np.mean((chances - trains) ** 2))
