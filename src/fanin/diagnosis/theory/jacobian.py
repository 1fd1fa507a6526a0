"""The singular values of the whole model's Jacobian, from its input to its output."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.theory.differentiable_pass import (
    DifferentiablePass,
    differentiate,
    open_pass,
)
from fanin.errors import FitError, UsageError, quote
from fanin.structure.forward_tracing import Batch

MAX_ROWS = 256
"""Rows, or columns, of a Jacobian that is computed whole: a backward pass each."""
MAX_NUMBERS = 20_000_000
"""Numbers of a Jacobian that is computed whole: 160 MB."""
_STEPS = 24
"""Steps of the bidiagonalization: enough for the largest singular value to 1 %."""


@dataclass(frozen=True, kw_only=True)
class JacobianSpectrum:
    """Of ∂output/∂input over some samples. All near 1: dynamical isometry."""

    count: int
    """Singular values: the smaller of the numbers of inputs and outputs."""
    rms: float
    """√(Σσ²/count)."""
    largest: float | None
    mean: float | None
    """None, as `smallest` and `condition`, if the Jacobian is too large to be computed whole."""
    smallest: float | None
    condition: float | None
    """largest / smallest; infinite if the smallest is 0."""
    exact: bool
    """Whether the whole Jacobian was computed."""
    error: float
    """The standard error of `rms` over random cotangents; 0 if exact."""
    samples: int


def measure_jacobian(
    model: nn.Module, batch: Batch, *, samples: int = 4, draws: int = 4, seed: int = 0
) -> JacobianSpectrum:
    """The singular values of the Jacobian of all outputs by all inputs of the first `samples`.

    A model that takes indices is differentiated by what they look up. Small Jacobians are computed
    whole. Of larger ones the root mean square comes from Hutchinson's estimator with `draws` random
    cotangents, and the largest from a Golub–Kahan bidiagonalization. The model is left unchanged,
    and runs in train mode, so that samples may act on one another through batch normalization.

    Source: Pennington, Schoenholz and Ganguli 2017 (https://arxiv.org/abs/1711.04735).

    Raises `FitError` if the pass fails, and `UsageError` for numbers below 1.
    """
    for name, value in (("samples", samples), ("draws", draws)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} is a whole number of at least 1, not {quote(value)}.")
    with open_pass(model, batch, samples) as found:
        if not found.inputs or not sum(one.numel() for one in found.inputs):
            raise FitError(
                "The model has no floating-point input, and looks nothing up in an nn.Embedding: "
                "there is nothing to differentiate its output by."
            )
        linear = _LinearMap(found)
        rows, columns = linear.shape
        if min(rows, columns) <= MAX_ROWS and rows * columns <= MAX_NUMBERS:
            return _describe_exactly(linear.compute(), found.samples)
        return _estimate(linear, found.samples, draws, seed)


class _LinearMap:
    """A Jacobian J that is known by its products Jᵀv and Ju."""

    def __init__(self, found: DifferentiablePass) -> None:
        self._output, self._inputs = found.output, found.inputs
        self.shape = found.output.numel(), sum(one.numel() for one in found.inputs)
        self._dual: tuple[Tensor, Tensor] | None = None

    def pull(self, vector: Tensor) -> Tensor:
        """Jᵀv, by one backward pass."""
        found = differentiate(self._output, self._inputs, vector.reshape(self._output.shape))
        return _join(found).detach()

    def push(self, vector: Tensor) -> Tensor:
        """Ju: the derivative by v of uᵀJᵀv, which is linear in v."""
        if self._dual is None:
            dummy = torch.zeros_like(self._output, requires_grad=True)
            pulled = differentiate(self._output, self._inputs, dummy, create_graph=True)
            self._dual = dummy, _join(pulled)
        dummy, pulled_back = self._dual
        if not pulled_back.requires_grad:  # nothing came back
            return torch.zeros(self.shape[0], dtype=torch.float64)
        (found,) = differentiate(pulled_back, (dummy,), vector)
        return found.detach().flatten().double().cpu()

    def compute(self) -> Tensor:
        """J itself, row by row or column by column."""
        rows, columns = self.shape
        if rows <= columns:
            return self._stack(self.pull, rows)
        return self._stack(self.push, columns).T

    def _stack(self, product: Callable[[Tensor], Tensor], count: int) -> Tensor:
        units = (torch.zeros(count, dtype=torch.float64) for _ in range(count))
        found = []
        for position, unit in enumerate(units):
            unit[position] = 1
            found.append(product(unit))
        return torch.stack(found)


def _join(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([one.flatten().double().cpu() for one in tensors])


def _describe_exactly(matrix: Tensor, samples: int) -> JacobianSpectrum:
    values = torch.linalg.svdvals(matrix)
    largest, smallest = float(values[0]), float(values[-1])
    if smallest <= largest * 1e-12:
        smallest = 0.0
    return JacobianSpectrum(
        count=len(values),
        rms=float(values.square().mean().sqrt()),
        largest=largest,
        mean=float(values.mean()),
        smallest=smallest,
        condition=largest / smallest if smallest else math.inf,
        exact=True,
        error=0.0,
        samples=samples,
    )


def _estimate(linear: _LinearMap, samples: int, draws: int, seed: int) -> JacobianSpectrum:
    rows, columns = linear.shape
    count = min(rows, columns)
    squares = []
    for draw in range(draws):
        generator = seeds.make_generator(seed, "audit-jacobian", draw)
        pulled = linear.pull(seeds.standard_normal((rows,), generator).double())
        squares.append(float(pulled.square().sum()) / count)
    mean = math.fsum(squares) / draws
    rms = math.sqrt(mean)
    error = math.nan
    if draws > 1 and rms:
        variance = math.fsum((one - mean) ** 2 for one in squares) / (draws - 1) / draws
        error = math.sqrt(variance) / (2 * rms)
    start = seeds.standard_normal((columns,), seeds.make_generator(seed, "audit-lanczos"))
    try:
        largest: float | None = _find_largest(linear, start.double())
    except FitError:
        largest = None  # an operation that cannot be differentiated twice
    return JacobianSpectrum(
        count=count,
        rms=rms,
        largest=largest,
        mean=None,
        smallest=None,
        condition=None,
        exact=False,
        error=error,
        samples=samples,
    )


def _find_largest(linear: _LinearMap, start: Tensor) -> float:
    """The largest singular value, by Golub–Kahan bidiagonalization with full reorthogonalization:
    J V = U B with B bidiagonal.
    """
    right = [start / start.norm()]
    left: list[Tensor] = []
    diagonal: list[float] = []
    above: list[float] = []
    for _ in range(min(_STEPS, *linear.shape)):
        pushed = _orthogonalize(linear.push(right[-1]), left)
        diagonal.append(float(pushed.norm()))
        if not diagonal[-1]:
            break
        left.append(pushed / diagonal[-1])
        pulled = _orthogonalize(linear.pull(left[-1]), right)
        above.append(float(pulled.norm()))
        if above[-1] <= 1e-12 * diagonal[0]:
            break
        right.append(pulled / above[-1])
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for step, value in enumerate(above[: len(diagonal) - 1]):
        matrix[step, step + 1] = value
    return float(torch.linalg.svdvals(matrix)[0])


def _orthogonalize(vector: Tensor, basis: list[Tensor]) -> Tensor:
    for _ in range(2):  # twice is enough (Kahan and Parlett)
        for one in basis:
            vector = vector - one * (one @ vector)
    return vector
