"""Normalizations as theory sees them: numbers of size γ come out, whatever goes in."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from fanin.diagnosis.theory.signal_moments import TINY, SignalMoments
from fanin.fans import describe_parameters
from fanin.structure import Node
from fanin.structure.passages import is_training
from fanin.structure.tensor_moments import Shapes, measure_tensor

_CENTRED = (nn.LayerNorm, nn.GroupNorm, _BatchNorm, _InstanceNorm)
"""Those that subtract the mean; the others are taken for RMSNorm."""


MIN_NUMBERS = 16
"""Numbers of a unit over a batch from which 1/variance is known on average: its expectation is
(n − 1)/(n − 3) times 1/σ².
"""


@dataclass(frozen=True)
class _Scale:
    """Second moment and mean of γ and β."""

    second: float
    shift_second: float
    shift_mean: float


@dataclass(frozen=True)
class NormalizationSlope:
    """What a small difference is multiplied by, squared, and the variance of its logarithm that
    theory leaves open.
    """

    square: float
    drift: float = 0.0
    doubt: float = 0.0
    """What theory may be off by, in its logarithm."""


class NormalizationReader:
    """Reads the normalizations of a model."""

    def __init__(self, model: nn.Module, shapes: Shapes) -> None:
        self._model, self._shapes = model, shapes

    def read(
        self, node: Node, source: SignalMoments, *, even: bool
    ) -> tuple[SignalMoments, NormalizationSlope | None] | str:
        """What comes out, and what a small difference is multiplied by; `even` says whether all
        places of what enters have about the same size.
        """
        module = node.module
        if module is None:
            return f"{node.label}: its scale cannot be seen"
        scale = _read_scale(module)
        if isinstance(scale, str):
            return scale
        if self._uses_running_statistics(module):
            return _apply_running(module, source, scale)
        batch = isinstance(module, _BatchNorm)
        least, most = _get_sizes(source, batch, isinstance(module, _CENTRED))
        if least <= TINY:
            return "what it normalizes is constant"
        size = math.sqrt(least * most)
        slope = scale.second / (size + _get_epsilon(module))
        # Normalization over the batch takes away what all samples share: two samples are then
        # as different as chance makes them, which is measured.
        difference = None if batch or source.difference is None else source.difference * slope
        width = source.width
        return (
            SignalMoments(
                mean=scale.shift_mean,
                second=slope * size + scale.shift_second,
                difference=difference,
                width=width,
                normal=source.normal,
                origins=source.origins,
                start=source.start,
            ),
            self._find_slope(node, source, slope, math.log(most / least) / 2)
            if even or batch
            else None,
        )

    def _find_slope(
        self, node: Node, source: SignalMoments, slope: float, doubt: float
    ) -> NormalizationSlope | None:
        """None if the variance is that of so few numbers that its average says nothing of its
        inverse.
        """
        if isinstance(node.module, _BatchNorm):
            count = math.prod(self._shapes.get(node.index, ())) / max(source.width, 1)
            if count < MIN_NUMBERS:
                return None
            return NormalizationSlope(slope, doubt=doubt)
        # The variance of the variance over the units of one place.
        return NormalizationSlope(slope, 1 / max(source.width, 1))

    def _uses_running_statistics(self, module: nn.Module) -> bool:
        return (
            isinstance(module, _BatchNorm)
            and not is_training(self._model, module)
            and module.running_var is not None
        )


def _get_sizes(source: SignalMoments, batch: bool, centred: bool) -> tuple[float, float]:
    """What is divided by, at least and at most.

    Over a batch it is the variance of each unit over samples and places: how much samples differ at
    one place, and places too, but not what all samples and places share.
    """
    whole = source.variance if centred else source.second
    if batch and source.difference is not None:
        return min(source.difference, whole), whole
    return whole, whole


def _apply_running(
    module: nn.Module, source: SignalMoments, scale: _Scale
) -> tuple[SignalMoments, NormalizationSlope | None] | str:
    """(x − running mean)·γ/√(running variance): a constant scale and shift per channel."""
    mean, variance = module.running_mean, module.running_var
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        return "its running statistics cannot be seen"
    slope = scale.second * measure_tensor((variance.detach() + _get_epsilon(module)).rsqrt())[0]
    offset, average = measure_tensor(mean)
    if not math.isfinite(slope + offset):
        return "its running statistics are not finite"
    moved = source.scale(math.sqrt(slope)).shift(
        scale.shift_mean - average * math.sqrt(slope), offset * slope + scale.shift_second
    )
    return replace(moved, normal=source.normal), NormalizationSlope(slope)


def _read_scale(module: nn.Module) -> _Scale | str:
    held = describe_parameters(module)
    roles = {one.role: name for name, one in held.items()}
    if any(True for _ in module.parameters(recurse=False)) and not roles:
        return f"{type(module).__name__}: its scale cannot be seen"
    second, shift, mean = 1.0, 0.0, 0.0
    if "norm scale" in roles:
        second = measure_tensor(_get(module, roles["norm scale"]))[0]
    if "norm offset" in roles:
        second = measure_tensor(1 + _get(module, roles["norm offset"]).detach())[0]
    if "norm shift" in roles:
        shift, mean = measure_tensor(_get(module, roles["norm shift"]))
    if not math.isfinite(second + shift):
        return "its parameters are not finite"
    return _Scale(second, shift, mean)


def _get(module: nn.Module, name: str) -> Tensor:
    found = getattr(module, name)
    assert isinstance(found, Tensor)
    return found


def _get_epsilon(module: nn.Module) -> float:
    for name in ("eps", "variance_epsilon", "epsilon"):
        value = getattr(module, name, None)
        if isinstance(value, float):
            return value
    return 0.0
