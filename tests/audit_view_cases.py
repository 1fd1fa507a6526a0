"""Audits for the tests of how they look: a real one, and one with planted findings and texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fanin import seeds
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.patch import Patch
from fanin.diagnosis.probe import measure_start
from fanin.structure import ModelStructure, describe_structure

HOSTILE = "<b>&\"'\x1b[31m\u202e\n</script>"
"""Markup, quotes, an escape sequence, a mark of direction, a line end."""


@dataclass(frozen=True)
class PlantedAudit:
    """An audit with the fields that views read."""

    findings: tuple[Finding, ...] = ()
    measurement: Measurement | None = None
    structure: ModelStructure | None = None
    notes: tuple[str, ...] = ()
    level: str = "fast"
    model_name: str = "Net"
    theory: Any = field(default=None, compare=False)

    @property
    def layers(self) -> tuple[Signal, ...]:
        """As of an audit."""
        return self.measurement.layers if self.measurement else ()


class Block(nn.Module):
    """A residual branch."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 16) → (N, 16)."""
        output: torch.Tensor = x + self.down(torch.tanh(self.up(x)))
        return output


def make_model(blocks: int = 12) -> nn.Module:
    """A residual network whose layers are called 0, 1.up, 1.down, …, and the head."""
    with seeds.preserve_torch_state(0):
        inner = [Block() for _ in range(blocks)]
        return nn.Sequential(nn.Linear(16, 16), *inner, nn.Linear(16, 3))


def plant_audit(*findings: Finding, model: nn.Module | None = None, **changes: Any) -> PlantedAudit:
    """A real measurement with these findings."""
    module = make_model() if model is None else model
    batch, target = torch.linspace(-1, 1, 128).view(8, 16), torch.arange(8) % 3
    measured = measure_start(module, batch, target, None)
    structure = describe_structure(module, batch)
    facts: dict[str, Any] = {"measurement": measured, "structure": structure} | changes
    return PlantedAudit(findings=findings, **facts)


ERROR = Finding(
    code="F005",
    severity="error",
    where="12.up",
    summary="The signal grows from 1 to 900 over 12 layers.",
    remedy="Draw the weights with he_normal.",
    evidence={"growth": 1.76, "rms": float("inf"), "layers": 12},
    also=tuple(f"{number}.up" for number in range(1, 12)),
    patches=(
        Patch(operation="initialize", parameters=("12.up.weight",), initializer="he_normal"),
        Patch(operation="set", parameters=("13.bias",), value=(0.5, -0.5, float("nan"))),
    ),
)
WARNING = Finding(
    code="F042",
    severity="warning",
    where="input",
    summary="The input has a mean of 128.",
    remedy="Standardize it.",
)
NOTE = Finding(
    code="F036", severity="note", where="", summary="All defaults.", remedy="Nothing to do."
)
STRANGE = Finding(
    code="F013",
    severity="error",
    where=f"a.{HOSTILE}",
    summary=HOSTILE,
    remedy=HOSTILE,
    evidence={HOSTILE: HOSTILE},
    also=("0.weight",),
)
