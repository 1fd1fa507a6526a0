"""A patch: one change of a model's parameters that a program can apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Operation = Literal["initialize", "set", "scale", "train"]


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One change of parameters, named as in the bare model.

    ``initialize``
        Draw the parameters anew by the initializer's spec.
    ``set``
        Write a number, or one number per entry of a vector, into each.
    ``scale``
        Multiply each by a number.
    ``train``
        Let the optimizer change it: ``requires_grad`` becomes true. No number changes.
    """

    operation: Operation
    parameters: tuple[str, ...]
    initializer: str = ""
    """The spec of an initializer, for ``initialize``."""
    value: float | tuple[float, ...] = 0.0
    """For ``set`` and ``scale``."""
    rows: tuple[int, int] | None = None
    """The range of the first axis that changes; None: all of it."""

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and dicts."""
        found: dict[str, Any] = {"operation": self.operation, "parameters": list(self.parameters)}
        if self.operation == "initialize":
            found["initializer"] = self.initializer
        elif self.operation != "train":
            found["value"] = list(self.value) if isinstance(self.value, tuple) else self.value
        if self.rows is not None:
            found["rows"] = list(self.rows)
        return found
