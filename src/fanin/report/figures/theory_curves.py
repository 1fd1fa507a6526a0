"""What theory says of a study, as curves for its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fanin import gains, specs
from fanin.cell.plan import Plan, PlannedCell
from fanin.gains.mean_field import TRAINABLE
from fanin.report.figures.heat_map import Curve

_GAUSSIAN_IN_THE_LIMIT = ("lecun_normal", "lecun_uniform", "orthogonal")
"""Initializers whose option `gain` is σ_w: in wide layers their moments are those of N(0,
gain²/fan_in).
"""

_PLAIN = ("mlp", "plain_cnn")
_POINTS = 61
_NEAR = 0.01
"""Part of σ_w that is left out around criticality, where the depth scale has no bound."""


def depth_scales(plan: Plan, x: str, y: str) -> Mapping[str, Sequence[Curve]]:
    """Activation → the depth up to which mean-field theory has plain networks trainable, over σ_w.

    For figures of ``initializer.gain`` by ``model.depth``; nothing for any other, nor for networks
    that are not plain: with normalization, biases that are not zero, or activations that differ
    from layer to layer.
    """
    if (x, y) != ("initializer.gain", "model.depth") or not all(map(_is_plain, plan.cells)):
        return {}
    gain = [_gain(planned) for planned in plan.cells]
    grid = np.linspace(min(gain), max(gain), _POINTS)
    activations = {str(planned.cell.activation) for planned in plan.cells}
    return {activation: _curves(activation, grid) for activation in sorted(activations)}


def _curves(activation: str, grid: np.ndarray) -> list[Curve]:
    """Up to two curves, one on each side of criticality."""
    found = [gains.mean_field(activation, float(sigma)) for sigma in grid]
    sides: list[Curve] = []
    for phase in ("ordered", "chaotic"):
        points = [
            (float(sigma), TRAINABLE * state.depth_scale)
            for sigma, state in zip(grid, found, strict=True)
            if state.phase == phase and abs(math.log(max(state.chi, 1e-12))) > _NEAR
        ]
        if points:
            x, y = zip(*points, strict=True)
            sides.append((list(x), list(y), f"{TRAINABLE:g} ξ, mean-field depth scales"))
    return sides


def _is_plain(planned: PlannedCell) -> bool:
    cell = planned.cell
    return (
        specs.parse(cell.model)[0] in _PLAIN
        and specs.parse(cell.initializer)[0] in _GAUSSIAN_IN_THE_LIMIT
        and isinstance(cell.activation, str)
        and cell.normalization is None
        and cell.biases is None
    )


def _gain(planned: PlannedCell) -> float:
    return float(specs.parse(planned.cell.initializer)[1].get("gain", 1.0))  # type: ignore[arg-type]
