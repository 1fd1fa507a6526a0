"""Schedules: what multiplies a cell's learning rate, from step to step.

A schedule is a pure function of the step, so a resumed cell needs no state of it. Its time is
measured in epochs and laid over the most epochs that the cell may run; one that stops early has
seen the beginning of it.

Warm-up: during the first W = round(warmup · steps per epoch) steps the rate rises linearly, step t
being multiplied by s + (1 − s)·t/W with s = `warmup_start`: torch's ``LinearLR(start_factor=s,
total_iters=W)`` (Goyal et al., Accurate, Large Minibatch SGD, 2017). Epochs of the warm-up count: a
`step` schedule drops in the epochs that it names.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from fanin.errors import SpecError, quote
from fanin.registry import Component, ComponentEntry, Registry

WARMUP_START = 0.01
"""Of the learning rate, in the first step. Not 0: such a step would learn nothing."""


class Schedule(Component, ABC):
    """A frozen dataclass of options, and the factor of every step that follows from them."""

    @abstractmethod
    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """What multiplies the cell's learning rate in step number `step`, counted from 0 over all
        epochs.
        """


@dataclass(frozen=True)
class ConstantSchedule(Schedule):
    """Always 1, after the warm-up."""

    name: ClassVar[str] = "constant"
    warmup: float = 0.0
    warmup_start: float = WARMUP_START

    def check(self) -> None:
        """Raise `SpecError` for an option out of range."""
        _check_warmup("constant", self.warmup, self.warmup_start)

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """1, or the warm-up's."""
        return _rise(step, _steps(self.warmup, steps_per_epoch), self.warmup_start)


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Half a wave from 1 down to `final`: final + (1 − final)·(1 + cos(π·t/T)) / 2, one step at a
    time.

    t counts from the end of the warm-up, and T is the number of steps from there to the cell's last
    epoch's end; so `final` itself would come one step after the last. torch's
    ``CosineAnnealingLR(T_max=T)`` stepped after every batch. Keras' ``CosineDecay`` is the same,
    with warm-up steps that are not part of T.

    Source: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017; without
    restarts.
    """

    name: ClassVar[str] = "cosine"
    final: float = 0.0
    warmup: float = 0.0
    warmup_start: float = WARMUP_START

    def check(self) -> None:
        """Raise `SpecError` for an option out of range."""
        if not 0 <= self.final < 1:
            raise SpecError(
                "cosine(final=…), a share of the learning rate, must be at least 0 and below 1, "
                f"not {self.final}."
            )
        _check_warmup("cosine", self.warmup, self.warmup_start)

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The warm-up's, then the wave's."""
        warm = _steps(self.warmup, steps_per_epoch)
        if step < warm:
            return _rise(step, warm, self.warmup_start)
        return _wave(1.0, self.final, (step - warm) / (epochs * steps_per_epoch - warm))


@dataclass(frozen=True)
class StepSchedule(Schedule):
    """gamma^⌊epoch / every⌋: a drop after each `every` epochs. torch's ``StepLR(step_size=every)``
    stepped after every epoch.

    The warm-up multiplies it, as in torch's ``ChainedScheduler``.
    """

    name: ClassVar[str] = "step"
    every: int
    gamma: float = 0.1
    warmup: float = 0.0
    warmup_start: float = WARMUP_START

    def check(self) -> None:
        """Raise `SpecError` for an option out of range."""
        if self.every < 1:
            raise SpecError(f"step(every=…), in epochs, must be at least 1, not {self.every}.")
        _check_gamma("step", self.gamma)
        _check_warmup("step", self.warmup, self.warmup_start)

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The drops so far, times the warm-up's."""
        drops = step // steps_per_epoch // self.every
        return self.gamma**drops * _rise(
            step, _steps(self.warmup, steps_per_epoch), self.warmup_start
        )


@dataclass(frozen=True)
class MilestonesSchedule(Schedule):
    """gamma^(how many of the epochs `at` are over): drops where one likes. torch's
    ``MultiStepLR(milestones=at)``.

    ``at=[30, 60]`` drops before the epochs that would be number 30 and 60 if the first were number
    0. The residual networks of He et al. (2015) on CIFAR drop at a half and three quarters of their
    training, by 10. The warm-up multiplies it.
    """

    name: ClassVar[str] = "milestones"
    at: tuple[int, ...]
    gamma: float = 0.1
    warmup: float = 0.0
    warmup_start: float = WARMUP_START

    def check(self) -> None:
        """Raise `SpecError` for an option out of range."""
        if not self.at or self.at[0] < 1 or list(self.at) != sorted(set(self.at)):
            raise SpecError(
                "milestones(at=…) must be a list of epochs such as [30, 60], each at least 1 and "
                "above the one before it, not "
                f"{quote(list(self.at))}."
            )
        _check_gamma("milestones", self.gamma)
        _check_warmup("milestones", self.warmup, self.warmup_start)

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The drops so far, times the warm-up's."""
        drops = sum(step // steps_per_epoch >= epoch for epoch in self.at)
        return self.gamma**drops * _rise(
            step, _steps(self.warmup, steps_per_epoch), self.warmup_start
        )


@dataclass(frozen=True)
class OneCycleSchedule(Schedule):
    """From 1/div_factor up to 1, and down to 1/(div_factor · final_div_factor): torch's
    ``OneCycleLR`` of two phases.

    The first phase ends in step pct_start·T − 1 of T, the second in step T − 1; within a phase the
    factor follows half a wave (``anneal=cos``) or a line. The cell's learning rate is the highest
    of the cycle, torch's `max_lr`. The rise is its warm-up.

    Differs from torch's default, which moves momentum, or Adam's β₁, between 0.85 and 0.95 in the
    opposite direction: here they stay as the optimizer has them (``cycle_momentum=False``).

    Source: Smith & Topin, Super-Convergence: Very Fast Training of Neural Networks Using Large
    Learning Rates, 2018.
    """

    name: ClassVar[str] = "one_cycle"
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal: Literal["cos", "linear"] = "cos"

    def check(self) -> None:
        """Raise `SpecError` for an option out of range."""
        if not 0 <= self.pct_start <= 1:
            raise SpecError(
                "one_cycle(pct_start=…), the share of steps that rise, must be from 0 to 1, not "
                f"{self.pct_start}."
            )
        for name, divisor in (
            ("div_factor", self.div_factor),
            ("final_div_factor", self.final_div_factor),
        ):
            if not divisor >= 1:
                raise SpecError(f"one_cycle({name}=…) must be at least 1, not {divisor}.")

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The cycle's, over all epochs."""
        between = _wave if self.anneal == "cos" else _line
        lowest, last = 1 / self.div_factor, epochs * steps_per_epoch - 1
        top = self.pct_start * (last + 1) - 1
        if step <= top:
            return between(lowest, 1.0, step / top if top > 0 else 1.0)
        return between(1.0, lowest / self.final_div_factor, (step - top) / (last - top))


REGISTRY: Registry[ComponentEntry, Schedule] = Registry("schedule", ComponentEntry)

for _entry in (
    ComponentEntry(
        component=ConstantSchedule,
        summary="the learning rate as it is, after a warm-up where one is wanted",
    ),
    ComponentEntry(
        component=CosineSchedule,
        summary="half a cosine wave down to 0, or to a share of the learning rate",
    ),
    ComponentEntry(component=StepSchedule, summary="a drop by 10 after every so many epochs"),
    ComponentEntry(
        component=MilestonesSchedule, summary="a drop by 10 at each of the epochs named"
    ),
    ComponentEntry(
        component=OneCycleSchedule, summary="up to the learning rate, and down to almost nothing"
    ),
):
    REGISTRY.add(_entry)


def _steps(epochs: float, steps_per_epoch: int) -> int:
    return math.floor(epochs * steps_per_epoch + 0.5)


def _rise(step: int, steps: int, start: float) -> float:
    return _line(start, 1.0, step / steps) if step < steps else 1.0


def _line(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _wave(start: float, end: float, share: float) -> float:
    """Half a cosine wave: slow at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _check_gamma(name: str, gamma: float) -> None:
    if not 0 < gamma < 1:
        raise SpecError(
            f"{name}(gamma=…), the factor of one drop, must be above 0 and below 1, not {gamma}."
        )


def _check_warmup(name: str, warmup: float, start: float) -> None:
    if not warmup >= 0:
        raise SpecError(f"{name}(warmup=…), in epochs, must be at least 0, not {warmup}.")
    if not 0 < start < 1:
        raise SpecError(
            f"{name}(warmup_start=…), a share of the learning rate, must be above 0 and below 1, "
            f"not {start}."
        )
    if warmup == 0 and start != WARMUP_START:
        raise SpecError(
            f"{name}(warmup_start=…) changes nothing without a warm-up. Give warmup, or leave it "
            "out."
        )
