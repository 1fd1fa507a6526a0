"""Theory curves: what mean-field theory predicts for a study, as overlays of its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from fanin import specs
from fanin.cell.plan import Plan, PlannedCell
from fanin.report.figures.heat_map import Curve

_GAUSSIAN_IN_THE_LIMIT = ("lecun_normal", "lecun_uniform", "orthogonal")
"""Initializers whose option `gain` is σ_w: their moments in wide layers are those of
N(0, gain²/fan_in).
"""

_PLAIN = ("mlp", "plain_cnn")
_POINTS = 61

_CRITICAL = 0.01
"""|ln χ₁| up to which a point is left out: the depth scale has no bound at criticality."""


def compute_depth_scales(plan: Plan, x: str, y: str) -> Mapping[str, Sequence[Curve]]:
    """Activation → the depth up to which plain networks can be trained, as curves over σ_w.

    For figures of ``initializer.gain`` by ``model.depth``. Empty for other factors, and if a cell
    has normalization, biases that are not zero, or activations that differ from layer to layer.
    """
    if (x, y) != ("initializer.gain", "model.depth") or not all(map(_is_plain, plan.cells)):
        return {}
    gain = [_read_gain(planned) for planned in plan.cells]
    activations = {str(planned.cell.activation) for planned in plan.cells}
    low, high = min(gain), max(gain)
    return {name: _compute_curves(name, low, high, _POINTS) for name in sorted(activations)}


@lru_cache(maxsize=64)
def _compute_curves(activation: str, low: float, high: float, points: int) -> tuple[Curve, ...]:
    """Up to two curves, one on each side of criticality.

    Cached, because a fixed point near criticality takes hundreds of integrals.
    """
    from fanin import gains  # imports torch
    from fanin.gains.mean_field import TRAINABLE

    grid = [float(sigma) for sigma in np.linspace(low, high, points)]
    states = [gains.mean_field(activation, sigma) for sigma in grid]
    curves: list[Curve] = []
    for phase in ("ordered", "chaotic"):
        curve = [
            (sigma, TRAINABLE * state.depth_scale)
            for sigma, state in zip(grid, states, strict=True)
            if state.phase == phase and abs(math.log(max(state.chi, 1e-12))) > _CRITICAL
        ]
        if curve:
            x, y = zip(*curve, strict=True)
            curves.append((list(x), list(y), f"{TRAINABLE:g} ξ, mean-field depth scales"))
    return tuple(curves)


def _is_plain(planned: PlannedCell) -> bool:
    cell = planned.cell
    return (
        specs.parse(cell.model)[0] in _PLAIN
        and specs.parse(cell.initializer)[0] in _GAUSSIAN_IN_THE_LIMIT
        and isinstance(cell.activation, str)
        and cell.normalization is None
        and cell.biases is None
    )


def _read_gain(planned: PlannedCell) -> float:
    return float(specs.parse(planned.cell.initializer)[1].get("gain", 1.0))  # type: ignore[arg-type]
