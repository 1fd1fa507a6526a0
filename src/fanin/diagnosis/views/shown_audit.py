"""What a view needs of an audit."""

from __future__ import annotations

from typing import Any, Protocol

from fanin.diagnosis.finding import Finding
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.structure import ModelStructure


class ShownAudit(Protocol):
    """An audit as views read it: `fanin.diagnosis.Audit` is one."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The worst first."""

    @property
    def layers(self) -> tuple[Signal, ...]:
        """What each layer put out, in the order of computation."""

    @property
    def measurement(self) -> Measurement | None:
        """None if the model could not be run."""

    @property
    def structure(self) -> ModelStructure | None:
        """None if it could not be read."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be looked at, and why."""

    @property
    def level(self) -> Any:
        """``fast`` or ``full``."""

    @property
    def model_name(self) -> str:
        """The class of the model."""
