"""Arms: the numbers of one condition by replicate, from a study or from an observation."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from fanin.cell.result import Result
from fanin.claims.claim_inputs import ClaimInputs, Wanted
from fanin.claims.run_values import Metric, RunValue


class Reading(NamedTuple):
    """A number of one replicate: infinite if the run diverged, nan if it failed."""

    value: float
    origin: Hashable
    """Environment and data. Only readings of one origin are paired."""


Readings = Mapping[int, Reading]
"""Replicate → reading; a replicate that has not run is absent."""


class Arm(Protocol):
    """One condition."""

    def read(self, inputs: ClaimInputs) -> Readings:
        """Its numbers by replicate."""


@dataclass(frozen=True)
class StudyArm:
    """The runs of one condition of a study."""

    study: str
    where: Wanted
    value: RunValue = field(default_factory=Metric)

    def read(self, inputs: ClaimInputs) -> Readings:
        found: dict[int, Reading] = {}
        for planned, result in inputs.select_runs(self.study, self.where):
            replicate = planned.cell.replicate
            assert replicate not in found, f"{self.where} is more than one condition"
            found[replicate] = _read_result(result, self.value)
        return found


@dataclass(frozen=True)
class BestRateArm:
    """The runs of a condition at its best learning rate of a grid.

    For each replicate the rate is chosen on all others, so that no run takes part in the choice of
    its own rate. The best rate has the fewest runs without a finite score, and of those the best
    mean score.
    """

    study: str
    where: Wanted
    value: RunValue = field(default_factory=Metric)
    score: RunValue = field(default_factory=lambda: Metric("val_loss"))
    """Lower is better."""
    axis: str = "learning_rate"

    def read(self, inputs: ClaimInputs) -> Readings:
        runs = self._collect_runs(inputs)
        return {
            replicate: _read_result(runs[rate][replicate], self.value)
            for replicate, rate in self._choose_rates(runs).items()
            if replicate in runs[rate]
        }

    def list_edges(self, inputs: ClaimInputs) -> list[str]:
        """The rates that are chosen for a replicate and are an end of the grid: the best rate may
        lie beyond.
        """
        runs = self._collect_runs(inputs)
        rates = sorted(runs, key=float)
        chosen = set(self._choose_rates(runs).values())
        return [rate for rate in rates if rate in chosen & {rates[0], rates[-1]}]

    def _collect_runs(self, inputs: ClaimInputs) -> dict[str, dict[int, Result]]:
        """The results by rate and replicate."""
        runs: defaultdict[str, dict[int, Result]] = defaultdict(dict)
        for planned, result in inputs.select_runs(self.study, self.where):
            by_replicate = runs[planned.labels[self.axis]]
            assert planned.cell.replicate not in by_replicate, f"{self.where} is no one condition"
            by_replicate[planned.cell.replicate] = result
        return dict(runs)

    def _choose_rates(self, runs: Mapping[str, Mapping[int, Result]]) -> dict[int, str]:
        """The rate of each replicate, chosen on all others."""
        scores = {
            rate: {at: _read_result(result, self.score).value for at, result in found.items()}
            for rate, found in runs.items()
        }
        replicates = sorted(set().union(*runs.values())) if runs else []
        return {
            replicate: min(
                scores,
                key=lambda rate: _rate_scores(scores[rate], set(replicates) - {replicate}),
            )
            for replicate in replicates
        }


@dataclass(frozen=True)
class ObservedArm:
    """Numbers of an observation: its records with these entries."""

    observation: str
    where: Mapping[str, Any]
    key: str
    """The entry that holds the number."""

    def read(self, inputs: ClaimInputs) -> Readings:
        return {
            int(record["replicate"]): Reading(float(record[self.key]), record.get("origin"))
            for record in inputs.select_observations(self.observation, self.where)
        }


def _read_result(result: Result, value: RunValue) -> Reading:
    origin = result.environment_key, result.fingerprint
    if result.outcome == "diverged":
        return Reading(value.worst, origin)
    if result.outcome != "ok":
        return Reading(math.nan, origin)
    return Reading(value.read(result), origin)


def _rate_scores(scores: Mapping[int, float], replicates: Collection[int]) -> tuple[int, float]:
    """How a rate does on these replicates; lower is better. What has not run counts as lost."""
    others = np.array([scores.get(replicate, math.inf) for replicate in replicates])
    finite = others[np.isfinite(others)]
    return len(others) - len(finite), float(finite.mean()) if len(finite) else math.inf
