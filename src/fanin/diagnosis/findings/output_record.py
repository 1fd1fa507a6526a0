"""What the judges of a model's output look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.final_activation import FinalActivation
from fanin.diagnosis.findings.loss_behaviour import LossBehaviour
from fanin.diagnosis.measurement import Measurement
from fanin.diagnosis.probe.constant_predictions import fit_outputs


@dataclass(frozen=True)
class OutputFit:
    """What the judges of the output look at."""

    measurement: Measurement
    output: Tensor
    target: Tensor
    final: FinalActivation
    behaviour: LossBehaviour
    loss: Callable[..., Tensor]

    @property
    def is_elementwise(self) -> bool:
        """Whether every output has a target of its own."""
        return self.output.numel() == self.target.numel() and self.target.is_floating_point()

    def measure_gap(self) -> tuple[float, float, float, float] | None:
        """The share of the loss that the activation keeps a model from gaining; the best losses
        with and without it, and of a constant.
        """
        loss = self.loss
        reached = fit_outputs(loss, self.output, self.target, through=self.final.apply)
        free = fit_outputs(loss, self.output, self.target)
        constant = fit_outputs(
            loss, self.output, self.target, through=self.final.apply, constant=True
        )
        if reached is None or free is None or constant is None:
            return None
        most = constant[1] - free[1]
        if not most > 1e-6 * max(1e-6, abs(constant[1])):
            return None
        return (reached[1] - free[1]) / most, reached[1], free[1], constant[1]

    def report_mismatch(self, severity: Severity, summary: str, remedy: str) -> Finding:
        """F039 of the activation."""
        return Finding(
            code="F039",
            severity=severity,
            where=self.final.place,
            summary=summary,
            remedy=remedy,
            evidence={"activation": self.final.label, "loss": self.measurement.loss.name},
        )
