"""Whether one parameter holds what its record says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from fanin.apply.model_parameters import ParameterUse
from fanin.apply.parameter_record import ParameterRecord
from fanin.apply.previous_values import PreviousValues
from fanin.apply.record_table import format_shape
from fanin.apply.redraw import Redraw, draw_reference, flatten, read_redraw
from fanin.apply.verification_reasons import explain_constant, explain_difference
from fanin.apply.verification_statistics import Expected, combine, measure_p_values
from fanin.apply.verification_values import (
    compare_numbers,
    complete_redraw,
    drop_padding,
    find_precision,
    read_values,
)
from fanin.fans import WEIGHTS

Method = Literal["numbers", "moments", "nothing"]

_ROUNDING = 1e-5
"""Relative to the size of the numbers: what a sum in another order may differ by."""


@dataclass(frozen=True, kw_only=True)
class ParameterCheck:
    """Whether a parameter holds what was recorded, how that was told, and what it holds."""

    name: str
    shape: tuple[int, ...]
    as_recorded: bool | None
    """None if that cannot be told."""
    by: Method
    """Compared with the recorded draw or values, number by number; tested by mean, variance and
    distribution; or not at all.
    """
    why: str
    p_value: float | None = None
    """How probable moments and distribution that far from the recorded rule are, if the parameter
    follows it; adjusted for all parameters that are tested (Holm). None where nothing was tested.
    """
    n: int = 0
    """How many numbers it has."""
    mean: float | None = None
    std: float | None = None
    expected_std: float | None = None
    group: tuple[ParameterUse, ...] = field(default=(), repr=False, compare=False)
    redraw: Redraw | None = field(default=None, repr=False, compare=False)
    values: Tensor | None = field(default=None, repr=False, compare=False)
    """The numbers, kept until other seeds have been tried on them."""


@dataclass(frozen=True)
class _Subject:
    """A parameter, its record, and what it holds."""

    record: ParameterRecord
    group: tuple[ParameterUse, ...]
    values: Tensor

    def make(self, **facts: object) -> ParameterCheck:
        own = flatten(self.values)
        known = len(own) > 0
        return ParameterCheck(
            name=self.record.name,
            shape=self.record.shape,
            n=self.values.numel(),
            mean=float(own.mean()) if known else None,
            std=float(own.std(correction=0)) if known else None,
            expected_std=_get_expected_std(self.record),
            **facts,  # type: ignore[arg-type]
        )


def check_parameter(
    record: ParameterRecord, group: Sequence[ParameterUse], seed: int
) -> ParameterCheck:
    """Check one parameter of a model; `group` are all places that hold it."""
    values = read_values(group[0])
    if isinstance(values, str):
        return _make_unread(record, values)
    if record.waiting:
        return _make_unread(record, "its shape was not known yet when the record was saved")
    if tuple(values.shape) != record.shape:
        there = f"the shape {format_shape(tuple(values.shape))} instead of "
        why = f"{there}{format_shape(record.shape)}: another model, or one shard of it"
        return _make_unread(record, why, as_recorded=False)
    subject = _Subject(record, tuple(group), values)
    if values.numel() == 0:
        return subject.make(as_recorded=True, by="numbers", why="no elements")
    if record.rule is None:
        return _check_kept(subject)
    redraw = read_redraw(record, seed)
    if isinstance(redraw, str):
        return _check_moments(subject, redraw)
    drawn = complete_redraw(group, redraw.draw(), seed)
    if drawn is None:
        return _check_moments(subject, f"it cannot be set again through {group[0].through}")
    return _check_numbers(subject, redraw, drawn)


def make_absent(record: ParameterRecord) -> ParameterCheck:
    """A parameter that the model does not have."""
    why = "the model has no such parameter: another model, or another name"
    return _make_unread(record, why, as_recorded=False)


def check_tie(record: ParameterRecord, use: ParameterUse, head: ParameterUse) -> str:
    """What is wrong with a tie that the record has; empty if it is there, or cannot be seen."""
    one, other = use.parameter, head.parameter
    if one is other or use.through or head.through:
        return ""
    shared = not one.is_meta and one.data_ptr() == other.data_ptr() != 0
    if shared and one.shape == other.shape:
        return ""
    return f"no longer {record.reason}: they are two parameters, and will be trained apart"


def _make_unread(
    record: ParameterRecord, why: str, *, as_recorded: bool | None = None
) -> ParameterCheck:
    return ParameterCheck(
        name=record.name, shape=record.shape, as_recorded=as_recorded, by="nothing", why=why
    )


def _get_expected_std(record: ParameterRecord) -> float | None:
    if record.rule is None:
        return record.before.std if record.before else None
    return record.intended_std if record.intended_std is not None else record.measured_std


def _check_kept(subject: _Subject) -> ParameterCheck:
    """A parameter that no rule filled: it should hold what it held."""
    before, record = subject.record.before, subject.record
    if record.changed:
        why = "its module's own function filled it, which the record does not know"
        return subject.make(as_recorded=None, by="nothing", why=why)
    if before is None or not before.filled:
        why = "it was kept, and what it held was not measured"
        return subject.make(as_recorded=None, by="nothing", why=why)
    if _has_moments(subject.values, before):
        why = "kept, with the mean and std that it had"
        return subject.make(as_recorded=True, by="moments", why=why)
    why = (
        f"kept then, and changed since: it had mean {before.mean:.4g}, std {before.std:.4g}; "
        "trained or loaded over"
    )
    return subject.make(as_recorded=False, by="moments", why=why)


def _has_moments(values: Tensor, before: PreviousValues) -> bool:
    own = flatten(values)
    scale = math.sqrt(before.mean**2 + before.std**2) or 1.0
    allowed = max(_ROUNDING, torch.finfo(find_precision(values)).eps) * scale
    found = float(own.mean()), float(own.std(correction=0))
    pairs = zip(found, (before.mean, before.std), strict=True)
    return all(abs(one - other) <= allowed for one, other in pairs)


def _check_numbers(subject: _Subject, redraw: Redraw, drawn: Tensor) -> ParameterCheck:
    """Compare with the recorded draw; where it differs, say how."""
    loose = redraw.initializer.factorizes or bool(subject.group[0].through)
    values, record = subject.values, subject.record
    matched = compare_numbers(values, drawn, loose=loose)
    if matched is None and record.fitted:
        matched = _match_scaled(values, drawn)
    if matched is not None:
        return subject.make(as_recorded=True, by="numbers", why=f"the recorded draw, {matched}")
    if record.fitted:
        return _check_moments(subject, "it was fitted after the draw")
    if not redraw.random:
        why = _explain_fixed(values, drawn)
        return subject.make(as_recorded=False, by="numbers", why=why)
    p_value = combine(_test_parts(subject, redraw))
    why = explain_difference(values, drawn, alike=p_value is None or p_value > 0.01)
    return subject.make(
        as_recorded=False,
        by="numbers",
        why=why,
        p_value=p_value,
        group=subject.group,
        redraw=redraw,
        values=values,
    )


def _match_scaled(values: Tensor, drawn: Tensor) -> str | None:
    """Whether the values are the draw but for one factor, as a method that fits scales leaves
    them.
    """
    own, other = flatten(values), flatten(drawn)
    scale = float(own @ other) / max(float(other @ other), 1e-300)
    near = compare_numbers(values, drawn * scale, loose=False)
    return None if near is None else f"times {scale:.4g}, as it was fitted"


def _explain_fixed(values: Tensor, drawn: Tensor) -> str:
    low, high = (float(one) for one in torch.aminmax(flatten(drawn)))
    if low == high:
        return explain_constant(values, low)
    return explain_difference(values, drawn, alike=False)


def _test_parts(subject: _Subject, redraw: Redraw) -> dict[str, float]:
    """The p-values of all tests of all parts, by name."""
    found: dict[str, float] = {}
    for name, part, layout in redraw.list_parts():
        whole = subject.values if part else drop_padding(subject.group, subject.values)
        own = flatten(part.of(whole) if part else whole)
        reference = draw_reference(redraw, part)
        std = redraw.initializer.intended_std(layout)
        plain = subject.record.role in WEIGHTS and std is not None
        expected = Expected(
            redraw.initializer.intended_mean if plain else float(reference.mean()),
            std if plain and std is not None else float(reference.std(correction=0)),
            reference,
        )
        tests = measure_p_values(own, expected)
        found |= {f"{name} {test}": p_value for test, p_value in tests.items()}
    return found


def _check_moments(subject: _Subject, obstacle: str) -> ParameterCheck:
    """Test the spread that the record intends, or that it measured; the verdict follows when all
    are tested.
    """
    record = subject.record
    std = record.measured_std if record.fitted or record.intended_std is None else None
    std = record.intended_std if std is None else std
    if std is None:
        return subject.make(as_recorded=None, by="nothing", why=f"{obstacle}, and has no known std")
    centred = record.role in WEIGHTS and record.intended_std is not None and not record.fitted
    mean = 0.0 if centred else None
    p_value = combine(measure_p_values(flatten(subject.values), Expected(mean, std)))
    why = f"{obstacle}; tested by its moments"
    return subject.make(as_recorded=True, by="moments", why=why, p_value=p_value)
