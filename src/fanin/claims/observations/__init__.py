"""Observations: what no study's table holds, such as the weights themselves, or how long they take.

Each is a function from a number of replicates to records, a dict per network or repeat, with the
key ``replicate``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Observation:
    """How often something is observed, and how."""

    replicates: int
    observe: Callable[[int], Records]


def load_observations() -> Mapping[str, Observation]:
    """The observations by name. Imports torch."""
    from fanin.claims.observations.signal_by_depth import observe_signals
    from fanin.claims.observations.sparsity_after_training import observe_sparsity
    from fanin.claims.observations.time_to_compute import observe_times
    from fanin.claims.observations.unit_symmetry import observe_symmetry

    return {
        "symmetry": Observation(10, observe_symmetry),
        "sparsity": Observation(10, observe_sparsity),
        "signal": Observation(20, observe_signals),
        "time": Observation(200, observe_times),
    }


NAMES = ("symmetry", "sparsity", "signal", "time")
