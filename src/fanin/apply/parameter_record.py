"""The record of one parameter: what was done with it, and why."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from fanin.apply.previous_values import PreviousValues
from fanin.apply.record_table import (
    RecordColumns,
    format_fans,
    format_number,
    format_shape,
    shorten,
    shorten_name,
)
from fanin.fans import Role, WeightLayout
from fanin.screen import count_columns

Treatment = Literal["touched", "kept", "waiting", "tied"]
"""What became of a parameter: touched is what was written, or would be after a preview."""

SPECIAL = "special"
"""How the reason of a parameter begins that keeps what its model has set."""


@dataclass(frozen=True, kw_only=True)
class PartRecord:
    """What was done with one of the maps that a parameter packs, such as q, or one gate."""

    name: str
    shape: tuple[int, ...]
    rule: str | None
    fan_in: float | None
    fan_out: float | None
    gain: float | None
    intended_std: float | None
    measured_std: float | None = None
    stream: int | None = None


@dataclass(frozen=True, kw_only=True)
class ParameterRecord:
    """What was done with one parameter, and why."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role
    rule: str | None
    """Spec of the initializer that fills it; None if it stays as it is."""
    reason: str
    """Why it got this rule, or none."""
    tied_to: str | None = None
    """The name under which a parameter that occurs more than once is filled, or the weight that it
    is set through.
    """
    fan_in: float | None
    fan_out: float | None
    """Of a packed parameter those of its parts, if they agree."""
    gain: float | None = None
    """intended std · √fan-in: 1 keeps the variance of a linear layer, √2 the second moment through
    ReLU.
    """
    intended_std: float | None = None
    measured_std: float | None = None
    """Of the weight that the layer uses; None if nothing was drawn. A padding row is not yet
    zero when this is measured.
    """
    stream: int | None = None
    """The 32-bit number of its random stream; None if nothing is drawn, or each part has one."""
    changed: bool = False
    """Whether it was written."""
    parts: tuple[PartRecord, ...] = ()
    """One per map that it packs."""
    before: PreviousValues | None = None
    """What it held before; None if that was not measured, as on the device meta."""
    place: str = ""
    """What its layer was taken for, if a rule looked at that: ``attention output, writes to stream
    0, branch 1 of 24``.
    """
    fitted: str = ""
    """What was done with it after the draw, by a method that looks at data."""
    waiting: bool = False
    """Whether it is a lazy parameter that is filled when its shape is known."""
    bare_name: str = ""
    """Its name in the model without wrappers, from which its stream is derived."""
    layout: WeightLayout | None = field(default=None, repr=False)
    """What was drawn: axes, fans and places of parts, so that it can be drawn again
    (`fanin.verify`).
    """

    @property
    def treatment(self) -> Treatment:
        """Whether it was touched, stays, waits for its shape, or is another one's second name."""
        if self.tied_to is not None:
            return "tied"
        if self.waiting:
            return "waiting"
        return "touched" if self.rule is not None or self.changed else "kept"

    def __str__(self) -> str:
        """All there is to know, a line each."""
        return _explain_parameter(self)


def _explain_parameter(record: ParameterRecord) -> str:
    """Everything about one parameter."""
    facts = {
        "shape": f"{_format_own_shape(record)}, {record.dtype}",
        "role": record.role,
        "rule": record.rule or "none: it stays as it is",
        "place": record.place,
        "why": record.reason,
        "fitted": record.fitted,
        "fans": format_fans(record.fan_in, record.fan_out),
        "gain": format_number(record.gain),
        "std": f"intended {format_number(record.intended_std)}, measured "
        f"{format_number(record.measured_std)}",
        "stream": "–" if record.stream is None else str(record.stream),
        "before": _describe_before(record.before),
    }
    lines = [record.name]
    for heading, text in facts.items():
        if heading in ("place", "fitted") and not text:
            continue
        first, *rest = textwrap.wrap(
            text, count_columns() - 10, break_long_words=False, break_on_hyphens=False
        ) or ["–"]
        lines += [f"  {heading:<7} {first}", *(f"  {'':<7} {line}" for line in rest)]
    for part in record.parts:
        std = f"std {format_number(part.intended_std)}, measured {format_number(part.measured_std)}"
        lines.append(
            f"  part {part.name:<2} {format_shape(part.shape)}, fans "
            f"{format_fans(part.fan_in, part.fan_out)}, "
            f"{std}"
        )
    return "\n".join(lines)


def _describe_before(before: PreviousValues | None) -> str:
    if before is None:
        return "–"
    if not before.filled:
        return "memory that nobody ever filled"
    if before.constant is not None:
        return f"constant {format_number(before.constant)}"
    return f"mean {format_number(before.mean)}, std {format_number(before.std)}"


def format_parameter(record: ParameterRecord, columns: RecordColumns) -> Iterator[str]:
    """The rows of one parameter in the table of a record."""
    widths = columns.widths
    name = shorten_name(record.name, widths[0])
    if record.rule is None:
        remark = f"kept: {record.reason}" if record.treatment == "kept" else record.reason
        start = f"{name:<{widths[0]}} {shorten(_format_own_shape(record), widths[1]):<{widths[1]}} "
        yield start + shorten(remark, columns.total - len(start))
        return
    times = f" ×{len(record.parts)}" if record.parts else ""
    rule = shorten(record.rule, widths[2] - len(times)) + times
    yield columns.format_row(name, format_shape(record.shape), rule, *_format_numbers(record))
    if len({(part.fan_in, part.fan_out, part.intended_std) for part in record.parts}) > 1:
        for part in record.parts:
            yield columns.format_row(
                f"  part {part.name}", format_shape(part.shape), "", *_format_numbers(part)
            )


def _format_own_shape(record: ParameterRecord) -> str:
    return "?" if record.waiting else format_shape(record.shape)


def _format_numbers(record: ParameterRecord | PartRecord) -> tuple[str, ...]:
    std = (record.intended_std, record.measured_std)
    return (
        format_fans(record.fan_in, record.fan_out),
        format_number(record.gain),
        *map(format_number, std),
    )
