"""Shares: how often something happens, and facts that must always hold."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fanin.analysis import statistics
from fanin.claims.arms import Arm
from fanin.claims.claim_inputs import ClaimInputs
from fanin.claims.contrast import NOTHING, ContrastResult, Effect
from fanin.claims.decision_rule import Form, Verdict, decide


@dataclass(frozen=True)
class ShareContrast:
    """The share of the runs of some conditions that are lost (a reading of 1, infinite or nan); its
    interval is Clopper and Pearson's.
    """

    label: str
    arms: tuple[Arm, ...]
    smallest: float
    form: Form = "more"
    unit: str = "share"

    def list_arms(self) -> tuple[Arm, ...]:
        return self.arms

    def judge(self, inputs: ClaimInputs, alpha: float) -> ContrastResult:
        values = [reading.value for arm in self.arms for reading in arm.read(inputs).values()]
        if not values:
            return ContrastResult(self, NOTHING, "no results yet")
        count = sum(value == 1 or not math.isfinite(value) for value in values)
        found = statistics.bound_proportion(count, len(values), 1 - alpha)
        effect = Effect("share", found.n, found.share, found.low, found.high)
        verdict: Verdict = "inconclusive"
        if found.n >= statistics.MIN_FOR_TEST:
            verdict = decide(self.form, found.share, found.low, found.high, self.smallest)
        return ContrastResult(self, effect, verdict)


@dataclass(frozen=True)
class ExactFact:
    """A fact that must hold in every network (readings of 1): one counterexample refutes it.

    It follows from the arithmetic, so it is supported if it holds in all of at least
    `statistics.MIN_FOR_TEST` networks.
    """

    label: str
    arm: Arm
    smallest: float = 1.0
    form: Form = "same"
    unit: str = "share"

    def list_arms(self) -> tuple[Arm, ...]:
        return (self.arm,)

    def judge(self, inputs: ClaimInputs, alpha: float) -> ContrastResult:
        values = [reading.value for reading in self.arm.read(inputs).values()]
        if not values:
            return ContrastResult(self, NOTHING, "no results yet")
        holds = sum(value == 1 for value in values)
        share = holds / len(values)
        verdict: Verdict = "refuted" if holds < len(values) else "inconclusive"
        if holds == len(values) >= statistics.MIN_FOR_TEST:
            verdict = "supported"
        return ContrastResult(self, Effect("fact", len(values), share, share, share), verdict)
