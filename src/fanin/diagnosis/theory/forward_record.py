"""What the walk from the input to the output found."""

from __future__ import annotations

from dataclasses import dataclass, field

from fanin.diagnosis.theory.layer_maps import LayerMap
from fanin.diagnosis.theory.normalizations import NormalizationSlope
from fanin.diagnosis.theory.signal_moments import SignalMoments
from fanin.gains.normal_response import Activation
from fanin.structure.passages import Passage


@dataclass
class ForwardMoments:
    """What theory says of each node, and what the way back needs again."""

    signals: dict[int, SignalMoments] = field(default_factory=dict)
    """Where theory knows nothing, what was measured there."""
    reasons: dict[int, str] = field(default_factory=dict)
    """Why theory knows nothing of a node."""
    maps: dict[int, LayerMap] = field(default_factory=dict)
    passages: dict[int, Passage] = field(default_factory=dict)
    activations: dict[int, tuple[int, Activation]] = field(default_factory=dict)
    """By the node that ends an activation: the node of its argument, and itself."""
    slopes: dict[int, NormalizationSlope] = field(default_factory=dict)
    """Of normalizations."""
    activation_slopes: dict[int, float] = field(default_factory=dict)
    """E f'² of activations at the measured variances, by the node that ends each."""
    uneven: set[int] = field(default_factory=set)
    """Nodes whose places may differ much in size, such as a token of zeros beside others."""
    inside: dict[int, int] = field(default_factory=dict)
    """Nodes inside an activation that is written out, and the node of its argument."""
