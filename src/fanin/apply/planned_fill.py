"""The plan for each parameter, and its record.

The whole model is planned before the first number is written, so an error leaves it unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fanin import seeds
from fanin.apply import reparametrization
from fanin.apply.model_parameters import ParameterUse
from fanin.apply.parameter_record import ParameterRecord, PartRecord
from fanin.apply.refusals import find_write_obstacle
from fanin.apply.shared_stream import STREAM
from fanin.errors import FitError
from fanin.fans import WEIGHTS, PackedPart, WeightLayout
from fanin.initializers import Initializer
from fanin.initializers.initializer import unfit_numbers


@dataclass(frozen=True)
class Decision:
    """What fills a parameter, where it was found, and why."""

    use: ParameterUse
    initializer: Initializer | None
    reason: str
    layout: WeightLayout
    stream: str | None = None
    """The name of its random stream, if it shares one with other parameters."""


@dataclass(frozen=True)
class Piece:
    """What one draw fills: a whole parameter, or one of its parts."""

    layout: WeightLayout
    stream: str
    """The name of its random stream: its own, or the one that all weights share."""
    part: PackedPart | None = None


@dataclass(frozen=True)
class PlannedFill:
    """The plan for one parameter."""

    uses: Sequence[ParameterUse]
    """The places that hold it; the first one is filled."""
    initializer: Initializer | None
    """None if it stays as it is."""
    pieces: tuple[Piece, ...]
    records: tuple[ParameterRecord, ...]
    """One per use."""
    joint: bool = False
    """Whether it shares its random stream with other parameters on purpose."""

    @property
    def writes(self) -> bool:
        """Whether any number will be written."""
        return self.initializer is not None and math.prod(self.records[0].shape) > 0


def plan_fill(
    group: Sequence[ParameterUse], decision: Decision, seed: int, *, shared: bool
) -> PlannedFill:
    use, initializer, layout = decision.use, decision.initializer, decision.layout
    name = group[0].name
    others = tuple(_make_tied_record(other, name) for other in group[1:])
    carriers = tuple(
        _make_carrier_record(each, position)
        for each in group
        if each.through
        for position in range(len(each.carriers))
    )
    record = replace(_make_record(group[0], layout, decision.reason), role=use.role)
    if initializer is None:
        return PlannedFill(group, None, (), (record, *others, *carriers))
    _require_settable(group[0], initializer)
    stream = STREAM if shared and use.role == "weight" else group[0].bare_name
    pieces = _split_into_pieces(layout, initializer, decision.stream or stream)
    through = f", set through {use.through}" if use.through else ""
    remark = _describe_surprise(record, initializer)
    record = replace(
        _complete_record(record, pieces, initializer, seed),
        reason=decision.reason + through + remark,
        layout=layout,
    )
    records = (record, *others, *carriers)
    return PlannedFill(group, initializer, pieces, records, joint=decision.stream is not None)


def _describe_surprise(record: ParameterRecord, initializer: Initializer) -> str:
    """What a caller may not expect of the numbers: that there are none, or that a weight's have a
    mean.
    """
    if math.prod(record.shape) == 0:
        return "; it has no elements, so nothing is drawn"
    mean = initializer.intended_mean
    if record.role in WEIGHTS and mean:
        return f"; its intended mean is {mean:.4g}, not 0"
    return ""


def _require_settable(use: ParameterUse, initializer: Initializer) -> None:
    reason = reparametrization.find_obstacle(use.module, use.local) if use.through else None
    for one in use.carriers:
        reason = reason or unfit_numbers(one.parameter, initializer)
        reason = reason or find_write_obstacle(one.parameter)
    if reason:
        raise FitError(f"Expected a tensor that weights can be written into; this one {reason}.")


def _split_into_pieces(
    layout: WeightLayout, initializer: Initializer, stream: str
) -> tuple[Piece, ...]:
    """One piece per part, each with a stream of its own, unless the initializer looks at the parts
    together.
    """
    if not layout.parts or initializer.packs:
        return (Piece(layout, stream),)
    streams = [stream if stream == STREAM else f"{stream}[{part.name}]" for part in layout.parts]
    return tuple(
        Piece(part.layout, name, part) for part, name in zip(layout.parts, streams, strict=True)
    )


def _complete_record(
    record: ParameterRecord, pieces: Sequence[Piece], initializer: Initializer, seed: int
) -> ParameterRecord:
    """The record with rule, gain, intended std and stream, of the whole and of each part."""
    parts = [_make_part_record(piece, initializer, seed) for piece in pieces]
    stds = {part.intended_std for part in parts}
    gains = {part.gain for part in parts}
    return replace(
        record,
        rule=initializer.spec,
        gain=gains.pop() if len(gains) == 1 else None,
        intended_std=stds.pop() if len(stds) == 1 else _combine_stds(parts),
        stream=parts[0].stream if len(parts) == 1 else None,
        parts=tuple(parts) if len(parts) > 1 else (),
    )


def _combine_stds(parts: Sequence[PartRecord]) -> float | None:
    """The standard deviation of parts of mean zero taken together."""
    known = [
        (math.prod(part.shape), part.intended_std)
        for part in parts
        if part.intended_std is not None
    ]
    total = sum(size for size, _ in known)
    return (
        math.sqrt(sum(size * value * value for size, value in known) / total)
        if len(known) == len(parts) and total
        else None
    )


def _make_part_record(piece: Piece, initializer: Initializer, seed: int) -> PartRecord:
    layout, empty = piece.layout, math.prod(piece.layout.shape) == 0
    std = None if empty else initializer.intended_std(layout)
    fans = layout.fans if len(layout.shape) > 1 else None
    return PartRecord(
        name=layout.part,
        shape=layout.shape,
        rule=initializer.spec,
        fan_in=fans.fan_in if fans else None,
        fan_out=fans.fan_out if fans else None,
        gain=std * math.sqrt(fans.fan_in) if std is not None and fans else None,
        intended_std=std,
        stream=None
        if empty or initializer.deterministic
        else seeds.derive_stream(seed, "init", piece.stream),
    )


def _make_record(use: ParameterUse, layout: WeightLayout, reason: str) -> ParameterRecord:
    fans = {part.layout.fans for part in layout.parts} or {layout.fans}
    agreed = fans.pop() if len(fans) == 1 else None
    shown = (
        agreed if len(layout.shape) > 1 else None
    )  # a bias has the fans of its weight, which are not its own
    return ParameterRecord(
        name=use.name,
        shape=layout.shape if not layout.parts else use.layout.shape,
        dtype=str(use.parameter.dtype).removeprefix("torch."),
        role=use.role,
        rule=None,
        reason=reason,
        fan_in=shown.fan_in if shown else None,
        fan_out=shown.fan_out if shown else None,
        bare_name=use.bare_name,
    )


def _make_tied_record(use: ParameterUse, name: str) -> ParameterRecord:
    return replace(_make_record(use, use.layout, f"tied to {name}"), tied_to=name)


def _make_carrier_record(use: ParameterUse, position: int) -> ParameterRecord:
    """The record of a parameter that carries a reparametrized weight."""
    one = use.carriers[position]
    return ParameterRecord(
        name=one.name,
        shape=tuple(one.parameter.shape),
        dtype=str(one.parameter.dtype).removeprefix("torch."),
        role="unknown",
        rule=None,
        reason=f"carries {use.name} ({use.through})",
        tied_to=use.name,
        fan_in=None,
        fan_out=None,
        bare_name=one.name,
    )


def require_distinct_streams(planned_fills: Sequence[PlannedFill]) -> None:
    """No two streams of one model may coincide."""
    streams = {
        f"{record.name}[{part.name}]" if part else record.name: (part or record).stream
        for planned in planned_fills
        if not planned.joint
        for record in planned.records[:1]
        for part in (record.parts or (None,))
        if all(piece.stream != STREAM for piece in planned.pieces)
    }
    seeds.require_distinct({name: stream for name, stream in streams.items() if stream is not None})
