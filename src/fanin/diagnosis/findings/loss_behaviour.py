"""What a loss expects, found by trying it: probabilities or logits, one number or one per class.

A loss may be any function of the caller's, so nothing is read from its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_INSIDE = (0.2, 0.4, 0.6, 0.8)
_OUTSIDE = (-3.0, -1.0, -0.3, 1.3, 2.0, 4.0)
_SHIFTS = (-2.0, 1.0, 3.0)
_SAME = 1e-5
_NUMBER_LIMIT = 2_000_000


@dataclass(frozen=True)
class LossBehaviour:
    """How a loss reacts to its output."""

    takes_probabilities: bool
    """Outside [0, 1] it fails, is not finite, or has no gradient; inside it has."""
    fails_below_zero: bool
    """It is not finite for negative outputs, but for positive ones."""
    ignores_shift: bool
    """The same number added to all classes changes nothing: it has a softmax of its own."""
    ignores_scale: bool
    """Classes multiplied by one number change nothing: it normalizes."""
    takes_shares: bool
    """It normalizes, and takes positive outputs only: if some are negative, samples get no
    gradient, or it is not finite. So do logarithms of each class's share of the sum.
    """
    is_quadratic: bool
    """Its second derivative is the same everywhere: a squared error."""
    is_squashing: bool
    """Its gradient stays bounded and does not vanish on one side for ever: it has a sigmoid or
    softmax of its own.
    """
    broadcasts: bool
    """It compares each output with a target of fewer numbers, which it repeats."""
    ignores_output: bool
    """No output changes it."""
    picks_target: bool
    """It is linear in the number of each target's class and ignores the others: the negative
    logarithm of a probability, if that number is one.
    """
    takes_signs: bool
    """Of targets 0 and 1: it falls as the output goes beyond them, to −∞ and +∞."""


def try_loss(
    loss: Callable[[Tensor, Tensor], Tensor], output: Tensor, target: Tensor
) -> LossBehaviour | None:
    """Try a loss on made-up outputs; None if the output is too large or the loss fails on it."""
    if not 0 < output.numel() <= _NUMBER_LIMIT or output.is_complex():
        return None
    trial = _Trial(loss, output.detach().float(), target)
    inside = [trial.measure_gradient(value) for value in _INSIDE]
    if all(one is None for one in inside):
        return None
    outside = [trial.measure_gradient(value) for value in _OUTSIDE]
    alive = sum(1 for one in inside if one)
    negative, positive = outside[:3], outside[3:]
    # Past 1 the gradient may stay: a clamp of logarithms only below.
    ignores_scale = trial.ignores(lambda o, c: o.abs().clamp(0.05, 0.9) * c, (0.5, 1.0, 1.1))
    return LossBehaviour(
        takes_probabilities=alive >= 3 and not any(negative) and not any(positive),
        fails_below_zero=all(one is None for one in negative) and all(positive),
        ignores_shift=trial.ignores(lambda o, c: o + c, _SHIFTS),
        ignores_scale=ignores_scale,
        takes_shares=ignores_scale and trial.takes_shares(),
        is_quadratic=trial.is_quadratic(),
        is_squashing=trial.is_squashing(),
        broadcasts=trial.broadcasts(),
        ignores_output=not any(inside) and not any(outside) and not trial.reacts(),
        picks_target=trial.picks_target(),
        takes_signs=trial.takes_signs(),
    )


def is_stationary(loss: Callable[[Tensor, Tensor], Tensor], output: Tensor, target: Tensor) -> bool:
    """Whether no sample's output wants to move: the gradient is small beside that at made-up
    outputs.
    """
    trial = _Trial(loss, output.detach().float(), target)
    here, elsewhere = trial.measure_at(output), trial.measure_at(_draw_like(output))
    return here is not None and elsewhere is not None and here <= 1e-2 * elsewhere


class _Trial:
    def __init__(
        self, loss: Callable[[Tensor, Tensor], Tensor], output: Tensor, target: Tensor
    ) -> None:
        self._loss, self._output, self._target = loss, output, target

    def measure(self, output: Tensor, target: Tensor | None = None) -> float | None:
        try:
            with torch.no_grad():
                value = self._loss(output, self._target if target is None else target).mean()
        except Exception:
            return None
        return float(value) if math.isfinite(float(value)) else None

    def measure_gradient(self, value: float) -> float | None:
        """The rms of the gradient where all outputs are one number; None if the loss fails there
        or is not finite.
        """
        return self._differentiate(torch.full_like(self._output, value))

    def measure_at(self, output: Tensor) -> float | None:
        """The rms of the gradient at an output."""
        return self._differentiate(output.detach().float())

    def _differentiate(self, output: Tensor) -> float | None:
        gradient = self._get_gradient(output)
        if gradient is None:
            return None
        rms = float(gradient.square().mean().sqrt()) * gradient.numel()
        return rms if math.isfinite(rms) else None

    def _get_gradient(self, output: Tensor) -> Tensor | None:
        """None if the loss fails or is not finite."""
        try:
            with torch.enable_grad():
                leaf = output.clone().requires_grad_()
                loss = self._loss(leaf, self._target).mean()
                if not loss.requires_grad:
                    return torch.zeros_like(leaf)
                (gradient,) = torch.autograd.grad(loss, leaf)
        except Exception:
            return None
        return gradient if math.isfinite(float(loss.detach())) else None

    def takes_shares(self) -> bool:
        drawn = _draw_like(self._output)
        return self._count_still(drawn.abs() + 0.05) < 0.05 and self._count_still(drawn) > 0.1

    def _count_still(self, output: Tensor) -> float:
        """The share of samples that get no gradient; 1 if the loss is not finite."""
        gradient = self._get_gradient(output)
        if gradient is None or not bool(torch.isfinite(gradient).all()):
            return 1.0
        return float((gradient.flatten(1) == 0).all(1).float().mean())

    def reacts(self) -> bool:
        return bool(self._differentiate(self._output)) or bool(
            self._differentiate(_draw_like(self._output))
        )

    def ignores(
        self, change: Callable[[Tensor, float], Tensor], numbers: tuple[float, ...]
    ) -> bool:
        drawn = _draw_like(self._output)
        values = [self.measure(change(drawn, number)) for number in numbers]
        if self._output.shape[-1] < 2 or self._output.dim() < 2:
            return False
        return _are_equal(values) and self.reacts()

    def is_quadratic(self) -> bool:
        """f(a) − 2 f(b) + f(c) is the same at different places, and not 0."""
        values = [
            self.measure(torch.full_like(self._output, float(one))) for one in range(-4, 5, 2)
        ]
        if any(one is None for one in values):
            return False
        seconds = [
            values[i] - 2 * values[i + 1] + values[i + 2]  # type: ignore[operator]
            for i in range(len(values) - 2)
        ]
        largest = max(map(abs, seconds))
        scale = max(abs(one) for one in values if one is not None)
        return largest > 1e-4 * scale and max(seconds) - min(seconds) < 1e-3 * largest

    def is_squashing(self) -> bool:
        """Whether the slope far out on both sides is bounded, and one output is right at ±∞."""
        far = [self._differentiate(_draw_like(self._output) * scale) for scale in (10.0, 20.0)]
        near = self._differentiate(_draw_like(self._output) * 0.1)
        if near is None or any(one is None for one in far):
            return False
        return near > 0 and all(0 < one < 3 * near for one in far if one is not None)

    def picks_target(self) -> bool:
        output, target = self._output, self._target
        if target.is_floating_point() or output.dim() < 2 or output.shape[1] < 2:
            return False
        if target.shape != (output.shape[0], *output.shape[2:]):
            return False
        drawn = _draw_like(output)
        own = torch.zeros_like(drawn, dtype=torch.bool)
        try:
            own.scatter_(1, target.long().unsqueeze(1), True)
        except RuntimeError:  # a label that is ignored, or none of the classes
            return False
        start = self.measure(drawn)
        ups = [self.measure(drawn + 10 * own), self.measure(drawn + 20 * own)]
        if start is None or any(one is None for one in ups):
            return False
        first, second = start - ups[0], ups[0] - ups[1]  # type: ignore[operator]
        others = self.measure(torch.where(own, drawn, drawn * 3))
        return first > 0 and _are_equal([first, second], 1e-3) and _are_equal([start, others])

    def takes_signs(self) -> bool:
        target = self._target
        if target.shape != self._output.shape or not target.is_floating_point():
            return False
        if not bool(((target == 0) | (target == 1)).all()):
            return False
        signs = 2 * target - 1
        values = [self.measure(one) for one in (target, 4 * signs, 8 * signs, 8 * signs.relu())]
        if any(one is None for one in values):
            return False
        exact, beyond, far, one_sided = values
        return exact > beyond > far and one_sided > far  # type: ignore[operator]

    def broadcasts(self) -> bool:
        output, target = self._output, self._target
        if output.shape == target.shape or not target.is_floating_point():
            return False
        if _drop_ones(output.shape) == _drop_ones(target.shape):
            fitted = target.reshape(output.shape)
        else:
            try:
                fitted = target.expand(output.shape)
            except RuntimeError:
                return False
            same = self.measure(output, fitted)
            repeated = same is not None and _are_equal([same, self.measure(output)])
            return repeated and self._treats_alike()
        drawn = _draw_like(output).sigmoid()
        return not _are_equal([self.measure(drawn, fitted), self.measure(drawn)])

    def _treats_alike(self) -> bool:
        """Whether the last axis may be turned round: of several quantiles each has a loss of its
        own, and one target for all of them is meant.
        """
        drawn = _draw_like(self._output).sigmoid()
        return _are_equal([self.measure(drawn), self.measure(drawn.flip(-1))])


def _drop_ones(shape: torch.Size) -> list[int]:
    return [size for size in shape if size != 1]


def _are_equal(values: list[float | None], tolerance: float = _SAME) -> bool:
    numbers = [one for one in values if one is not None]
    if len(numbers) < len(values):
        return False
    return max(numbers) - min(numbers) <= tolerance * max(1e-6, *map(abs, numbers))


def _draw_like(output: Tensor) -> Tensor:
    """Numbers about ±1 that are different in each place; the same every time."""
    count = torch.arange(output.numel(), dtype=torch.float64)
    return (2 * torch.sin(count * 12.9898 + 1.3)).float().reshape(output.shape).to(output.device)
