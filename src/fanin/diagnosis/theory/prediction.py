"""What theory predicts of one model: plain records of numbers, with how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fanin.gains.mean_field import TRAINABLE

Phase = Literal["ordered", "critical", "chaotic"]


@dataclass(frozen=True, kw_only=True)
class PredictedSignal:
    """What theory predicts of one node, from the measured weights and what was measured before.

    A prediction starts where something was measured: at the input, and after every step that
    theory has no rule for. What is not predicted is None, and `reason` says why.
    """

    node: int
    predicted_rms: float | None
    spread: float | None = None
    """The standard deviation of ln rms over draws of the weights that finite width allows, counted
    from `start`; an upper bound where samples or places differ."""
    start: int | None = None
    """The node whose measured numbers the prediction starts from."""
    predicted_similarity: float | None = None
    """The mean cosine between the signals of different samples, 1 − d² of the next."""
    predicted_distance: float | None = None
    """How different samples are, as `Signal.input_distance`."""
    predicted_gradient_rms: float | None = None
    gradient_spread: float | None = None
    gradient_start: int | None = None
    """The node whose measured gradient the prediction of the gradient starts from."""
    predicted_gradient_growth: float | None = None
    """χ₁ of a layer: what the squared length of a gradient is multiplied by on its way back through
    the layer and what precedes it, to the layer before; and a small difference of two inputs on its
    way forward. None for the first layer, and where the way meets a sum."""
    reason: str = ""
    """Why there is no prediction of the signal."""
    gradient_reason: str = ""

    @property
    def low(self) -> float | None:
        """Two standard deviations below the predicted rms."""
        return self._shift(-2)

    @property
    def high(self) -> float | None:
        """Two standard deviations above the predicted rms."""
        return self._shift(2)

    def _shift(self, count: float) -> float | None:
        if self.predicted_rms is None or self.spread is None:
            return None
        return self.predicted_rms * math.exp(count * self.spread)


@dataclass(frozen=True, kw_only=True)
class PathPhase:
    """The phase of a plain path: of layers one after another, without normalization and without
    sums. There the weights alone must keep the signal, the gradient and the differences between
    inputs: what mean-field theory is about.
    """

    nodes: tuple[int, ...]
    """The nodes of its layers, in order."""
    activation: str
    """The one that follows most of its layers."""
    weight_std: float
    """σ_w: the geometric mean of √(fan_in · E w²) over its layers."""
    bias_std: float
    """σ_b: the root mean square of its biases."""
    phase: Phase
    chi: float
    """The geometric mean of χ₁ at the measured variances, over the layers after the first."""
    second_moment: float | None
    """q*, where second moments settle; None if they vanish, explode or keep any size (ReLU)."""
    correlation: float | None
    """c*, where the correlation of two inputs settles; None as for q*."""
    depth_scale: float
    """ξ in layers: −1/ln χ₁ in the ordered phase, −1/ln χ(c*) in the chaotic one, 1/ln χ₁ if q* is
    infinite; infinite at criticality.
    """
    gradient_ratio: float
    """The predicted length of the gradient at the first layer over that at the last."""

    @property
    def depth(self) -> int:
        """The number of its layers."""
        return len(self.nodes)

    @property
    def depth_scales(self) -> float:
        """How many depth scales fit into the layers after the first; 0 at criticality."""
        return 0.0 if not self.depth_scale else (self.depth - 1) / self.depth_scale

    @property
    def gradient_scales(self) -> float:
        """By how many factors of e the squared length of a gradient falls or grows on its way; as
        `depth_scales` in the ordered phase. In the chaotic phase correlations may settle slowly,
        or not at all, while gradients explode.
        """
        return 2 * abs(math.log(self.gradient_ratio)) if self.gradient_ratio else math.inf

    @property
    def is_trainable(self) -> bool:
        """Whether it is no longer than the six depth scales that Schoenholz et al. 2017 found."""
        return max(self.depth_scales, self.gradient_scales) <= TRAINABLE


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Everything that theory predicts of one model."""

    signals: Mapping[int, PredictedSignal]
    """By node, of every node of the graph."""
    phases: tuple[PathPhase, ...] = ()
    """Of the plain paths of at least `phases.MIN_LAYERS` layers, the longest first."""
    notes: tuple[str, ...] = ()
    """What theory does not cover here."""

    @property
    def phase(self) -> PathPhase | None:
        """That of the plain path whose gradients change most; None if there is none."""
        return max(self.phases, key=lambda one: one.gradient_scales, default=None)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and dicts."""
        return {
            "signals": [asdict(one) for one in self.signals.values()],
            "phases": [asdict(one) for one in self.phases],
            "notes": list(self.notes),
        }
