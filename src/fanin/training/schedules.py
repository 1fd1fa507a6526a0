"""Schedules: the factor of a cell's learning rate in every step.

A schedule is a pure function of the step, so that a resumed cell needs no state of it. It spans the
largest number of epochs that the cell may run; a cell that stops early sees its beginning only.

Warm-up: during the first W = round(warmup · steps per epoch) steps, the rate rises linearly. The
factor of step t is s + (1 − s)·t/W with s = `warmup_start`, as in torch's
``LinearLR(start_factor=s, total_iters=W)`` (Goyal et al., Accurate, Large Minibatch SGD, 2017).
Epochs of the warm-up count: a `step` schedule drops in the epochs that it names.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from fanin.errors import SpecError, quote
from fanin.registry import Component, ComponentEntry, Registry

WARMUP_START = 0.01
"""The factor of the first step. Not 0, because such a step would learn nothing."""


class Schedule(Component, ABC):
    """A frozen dataclass of options, from which the factor of every step follows."""

    @abstractmethod
    def compute_factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The factor of the cell's learning rate in a step.

        Args:
            step: counted from 0 over all epochs.
            steps_per_epoch: number of steps in one epoch.
            epochs: the largest number of epochs that the cell may run.
        """


@dataclass(frozen=True)
class ConstantSchedule(Schedule):
    """1 after the warm-up."""

    name: ClassVar[str] = "constant"
    warmup: float = 0.0
    warmup_start: float = WARMUP_START

    def check(self) -> None:
        """Raise `SpecError` for an option out of range."""
        _check_warmup("constant", self.warmup, self.warmup_start)

    def compute_factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The factor of the warm-up, then 1."""
        return _warm_up(step, steps_per_epoch, self.warmup, self.warmup_start)


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """final + (1 − final)·(1 + cos(π·t/T)) / 2: half a cosine wave from 1 down to `final`.

    t counts steps from the end of the warm-up, and T is the number of steps from there to the end
    of the cell's last epoch, so that `final` itself would follow one step after the last. This is
    torch's ``CosineAnnealingLR(T_max=T)``, stepped after every batch. Keras' ``CosineDecay`` is the
    same, but its warm-up steps are not part of T.

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

    def compute_factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The factor of the warm-up, then that of the wave."""
        warm = _count_warmup_steps(self.warmup, steps_per_epoch)
        if step < warm:
            return _warm_up(step, steps_per_epoch, self.warmup, self.warmup_start)
        return _cosine(1.0, self.final, (step - warm) / (epochs * steps_per_epoch - warm))


@dataclass(frozen=True)
class StepSchedule(Schedule):
    """gamma^⌊epoch / every⌋: a drop by the factor gamma every `every` epochs.

    This is torch's ``StepLR(step_size=every)``, stepped after every epoch. The warm-up multiplies
    it, as in torch's ``ChainedScheduler``.
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

    def compute_factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The drops so far, times the factor of the warm-up."""
        drops = step // steps_per_epoch // self.every
        warmup = _warm_up(step, steps_per_epoch, self.warmup, self.warmup_start)
        return self.gamma**drops * warmup


@dataclass(frozen=True)
class MilestonesSchedule(Schedule):
    """gamma^(number of epochs in `at` that are over): a drop by the factor gamma at each of them.

    This is torch's ``MultiStepLR(milestones=at)``: ``at=[30, 60]`` drops before epochs 30 and 60,
    counted from 0. The residual networks of He et al. (2015) on CIFAR drop by 10 after half and
    three quarters of their training. The warm-up multiplies it.
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
                "milestones(at=…) must be an increasing list of epochs from 1 on, such as [30, "
                "60], "
                f"not {quote(list(self.at))}."
            )
        _check_gamma("milestones", self.gamma)
        _check_warmup("milestones", self.warmup, self.warmup_start)

    def compute_factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The drops so far, times the factor of the warm-up."""
        drops = sum(step // steps_per_epoch >= epoch for epoch in self.at)
        warmup = _warm_up(step, steps_per_epoch, self.warmup, self.warmup_start)
        return self.gamma**drops * warmup


@dataclass(frozen=True)
class OneCycleSchedule(Schedule):
    """From 1/div_factor up to 1, then down to 1/(div_factor · final_div_factor).

    This is torch's ``OneCycleLR`` with two phases. The first phase ends in step pct_start·T − 1 of
    T, the second in step T − 1; within a phase the factor follows half a cosine wave
    (``anneal=cos``) or a line. The cell's learning rate is the highest of the cycle, torch's
    `max_lr`. The first phase is the warm-up.

    Differs from torch's default, which moves momentum, or Adam's β₁, between 0.85 and 0.95 in the
    opposite direction: here they keep the optimizer's value (``cycle_momentum=False``).

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
                "one_cycle(pct_start=…), the share of steps in which the rate rises, must be from "
                "0 "
                f"to 1, not {self.pct_start}."
            )
        for name, divisor in (
            ("div_factor", self.div_factor),
            ("final_div_factor", self.final_div_factor),
        ):
            if not divisor >= 1:
                raise SpecError(f"one_cycle({name}=…) must be at least 1, not {divisor}.")

    def compute_factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The factor of the cycle, which spans all epochs."""
        interpolate = _cosine if self.anneal == "cos" else _linear
        lowest, last = 1 / self.div_factor, epochs * steps_per_epoch - 1
        top = self.pct_start * (last + 1) - 1
        if step <= top:
            return interpolate(lowest, 1.0, step / top if top > 0 else 1.0)
        return interpolate(1.0, lowest / self.final_div_factor, (step - top) / (last - top))


REGISTRY: Registry[ComponentEntry, Schedule] = Registry("schedule", ComponentEntry)

for _entry in (
    ComponentEntry(
        component=ConstantSchedule,
        summary="The learning rate itself, after an optional warm-up.",
    ),
    ComponentEntry(
        component=CosineSchedule,
        summary="Half a cosine wave down to 0, or to a share of the learning rate.",
    ),
    ComponentEntry(
        component=StepSchedule, summary="A drop by 10 after a fixed number of epochs, repeatedly."
    ),
    ComponentEntry(
        component=MilestonesSchedule, summary="A drop by 10 at each of the given epochs."
    ),
    ComponentEntry(
        component=OneCycleSchedule, summary="Up to the learning rate, then down to almost 0."
    ),
):
    REGISTRY.add(_entry)


def _count_warmup_steps(warmup: float, steps_per_epoch: int) -> int:
    """The number of warm-up steps, rounded; `warmup` is in epochs."""
    return math.floor(warmup * steps_per_epoch + 0.5)


def _warm_up(step: int, steps_per_epoch: int, warmup: float, start: float) -> float:
    """The factor of a warm-up of `warmup` epochs: it rises from `start` to 1, and stays there."""
    steps = _count_warmup_steps(warmup, steps_per_epoch)
    return _linear(start, 1.0, step / steps) if step < steps else 1.0


def _linear(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _cosine(start: float, end: float, share: float) -> float:
    """Half a cosine wave, slow at both ends."""
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
