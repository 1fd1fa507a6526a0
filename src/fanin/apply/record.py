"""The record of an initialization: what was done with each parameter, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fanin.apply.parameters import Role
from fanin.errors import unknown
from fanin.fans import Convention

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class ParameterRecord:
    """What was done with one parameter, and why."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role
    rule: str | None
    """Spec of the initializer that fills it; None where it stays as it is."""
    reason: str
    """Why it got this rule, or none."""
    tied_to: str | None = None
    """The name under which a parameter that occurs more than once is filled."""
    fan_in: float | None
    fan_out: float | None
    intended_std: float | None = None
    measured_std: float | None = None
    """None where nothing was drawn. A padding row is not yet zero when this is measured."""
    stream: int | None = None
    """The 32-bit number of its random stream; None where nothing is drawn."""
    changed: bool = False
    """Whether it was written."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What `initialize` did, parameter by parameter, in the model's order; a sequence that takes names as well."""

    rule: str
    seed: int
    convention: Convention
    preview: bool
    parameters: tuple[ParameterRecord, ...]

    def __iter__(self) -> Iterator[ParameterRecord]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, key: str | int) -> ParameterRecord:
        if isinstance(key, int):
            return self.parameters[key]
        for parameter in self.parameters:
            if parameter.name == key:
                return parameter
        raise unknown("parameter", key, (parameter.name for parameter in self.parameters))

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return {"schema": SCHEMA, **asdict(self)}

    def __str__(self) -> str:
        """A table of at most 80 columns."""
        distinct = [parameter for parameter in self.parameters if parameter.tied_to is None]
        filled = sum(parameter.rule is not None for parameter in distinct)
        done = "to fill" if self.preview else "filled"
        return "\n".join(
            [
                _row("parameter", "shape", "rule", "fans in/out", "intended", "measured"),
                *(_parameter_row(parameter) for parameter in self.parameters),
                f"{filled} of {len(distinct)} parameters {done}; seed {self.seed}; {self.convention} fans",
                *(["Preview: nothing was changed."] if self.preview else []),
            ]
        )


# Columns of the printed record; with the spaces between them they make 80.
_WIDTHS = (20, 12, 16, 11, 8, 8)


def _row(*cells: str) -> str:
    name, shape, rule, *numbers = (_cut(cell, width) for cell, width in zip(cells, _WIDTHS, strict=True))
    left = f"{name:<{_WIDTHS[0]}} {shape:<{_WIDTHS[1]}} {rule:<{_WIDTHS[2]}}"
    return " ".join([left, *(f"{text:>{width}}" for text, width in zip(numbers, _WIDTHS[3:], strict=True))])


def _parameter_row(record: ParameterRecord) -> str:
    name = record.name if len(record.name) <= _WIDTHS[0] else "…" + record.name[1 - _WIDTHS[0] :]
    shape = "×".join(map(str, record.shape)) or "scalar"
    if record.rule is None:
        remark = record.reason if record.tied_to else f"kept: {record.reason}"
        start = f"{name:<{_WIDTHS[0]}} {_cut(shape, _WIDTHS[1]):<{_WIDTHS[1]}} "
        return start + _cut(remark, 80 - len(start))
    fans = "–" if record.fan_in is None or record.fan_out is None else f"{record.fan_in:g}/{record.fan_out:g}"
    return _row(name, shape, record.rule, fans, _number(record.intended_std), _number(record.measured_std))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
