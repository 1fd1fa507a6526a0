"""The averaged partial Jacobian norm: how much each layer's output still moves the model's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from fanin import seeds
from fanin.diagnosis.theory.differentiable_pass import open_pass
from fanin.errors import UsageError, quote
from fanin.structure.forward_tracing import Batch
from fanin.structure.layer_names import LayerNames


@dataclass(frozen=True)
class PartialJacobian:
    """J(l₀, l) of one layer l₀ and the model's output l."""

    node: int
    layer: str
    """The bare name."""
    apjn: float
    """(1/N_l) ‖∂h^l/∂h^l₀‖² over the batch, N_l the size of h^l: 1 at criticality at any depth. The
    ratio of two layers that follow one another is χ₁ of the later one."""
    error: float
    """The standard error over the random cotangents."""


def estimate_apjn(
    model: nn.Module, batch: Batch, *, draws: int = 4, seed: int = 0
) -> tuple[PartialJacobian, ...]:
    """The APJN of every layer to the output, in the order of computation, by Hutchinson's
    estimator.

    For v ~ N(0, I) the squared length of vᵀ ∂h^l/∂h^l₀ is ‖∂h^l/∂h^l₀‖² on average, so one backward
    pass gives all layers. `draws` cotangents are averaged. Source: Doshi, He and Gromov 2023
    (https://arxiv.org/abs/2111.12143). The model is left unchanged.

    Raises what the probe raises, and `UsageError` for fewer than one draw.
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise UsageError(f"draws is a whole number of at least 1, not {quote(draws)}.")
    with open_pass(model, batch) as found:
        shape = tuple(found.output.shape)
        lengths: dict[int, list[float]] = {}
        for draw in range(draws):
            generator = seeds.make_generator(seed, "audit-apjn", draw)
            came = found.send_back(seeds.standard_normal(shape, generator))
            for index, length in came.items():
                lengths.setdefault(index, []).append(length / math.prod(shape))
    names = LayerNames(model)
    return tuple(
        PartialJacobian(
            index, names.get_name(found.graph.nodes[index]), _average(values), _get_error(values)
        )
        for index, values in sorted(lengths.items())
    )


def _average(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _get_error(values: list[float]) -> float:
    if len(values) < 2:
        return math.nan
    mean = _average(values)
    square = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(square / len(values))
