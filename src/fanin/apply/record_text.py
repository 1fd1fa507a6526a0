"""A record as text: a row per parameter, and what must be said about the whole."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fanin.apply.parameter_record import SPECIAL, ParameterRecord, format_parameter
from fanin.apply.record_summary import summarize_kept
from fanin.apply.record_table import (
    HEADINGS,
    RecordColumns,
    format_number,
    format_share,
    shorten,
)
from fanin.initializers.model_level import Multiplier, Requirement

_OVERLAPS_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A parameter that several patterns match: the last one counts."""

    name: str
    pattern: str
    over: tuple[str, ...]


def format_parameters(parameters: Sequence[ParameterRecord], columns: RecordColumns) -> list[str]:
    """The heading, a row per parameter, and further ones for parts that differ."""
    rows = [line for parameter in parameters for line in format_parameter(parameter, columns)]
    return [columns.format_row(*HEADINGS), *rows]


def count_filled(parameters: Sequence[ParameterRecord], *, preview: bool) -> str:
    """How many parameters are filled, and which share of the numbers they hold."""
    done = "to fill" if preview else "filled"
    distinct = [parameter for parameter in parameters if parameter.tied_to is None]
    filled = [one for one in distinct if one.rule is not None and not one.waiting]
    numbers, total = (sum(math.prod(one.shape) for one in each) for each in (filled, distinct))
    share = format_share(numbers, total)
    return f"{len(filled)} of {len(distinct)} parameters {done}, {share} of the numbers"


def describe_rest(parameters: Sequence[ParameterRecord], columns: RecordColumns) -> Iterator[str]:
    """What is kept or waits, what the model has set, what nobody ever filled, and long names."""
    kept, waiting = (
        tuple(one for one in parameters if one.treatment == treatment)
        for treatment in ("kept", "waiting")
    )
    yield from textwrap.wrap(summarize_kept(kept, waiting), columns.total)
    special = [one for one in parameters if one.reason.startswith(SPECIAL)]
    if special:
        names = ", ".join(one.name for one in special)
        yield f"{len(special)} keep what the model has set; special='overwrite' fills them:"
        yield shorten(f"  {names}", columns.total)
    empty = [one for one in parameters if one.rule is None and one.before and not one.before.filled]
    if empty:
        names = ", ".join(one.name for one in empty)
        yield f"{len(empty)} hold memory that nobody ever filled, and no rule fills them:"
        yield shorten(f"  {names}", columns.total)
    if any(len(parameter.name) > columns.widths[0] for parameter in parameters):
        yield "Long names are shortened; print(record[name]) tells all about one."


def format_overlaps(overlaps: Sequence[Overlap], columns: RecordColumns) -> Iterator[str]:
    """The first of the parameters that several patterns match."""
    if not overlaps:
        return
    yield f"{len(overlaps)} parameters match several patterns; the last one counts:"
    for overlap in overlaps[:_OVERLAPS_SHOWN]:
        yield shorten(
            f"  {overlap.name}: {overlap.pattern!r} over {', '.join(map(repr, overlap.over))}",
            columns.total,
        )
    if len(overlaps) > _OVERLAPS_SHOWN:
        yield "  … (record.overlaps has all)"


def format_requirements(
    requires: Sequence[Requirement],
    multipliers: Mapping[str, Multiplier],
    columns: RecordColumns,
) -> Iterator[str]:
    """What the method requires besides, and whose learning rates it scales."""
    for one in requires:
        state = "met" if one.met else "fanin cannot see whether it is met"
        text = f"Requires {one.what} ({state}): {one.change}"
        yield from textwrap.wrap(text, columns.total, subsequent_indent="  ")
    if multipliers:
        factors = [one.factor for one in multipliers.values()]
        text = (
            f"Scales the learning rate of {len(factors)} parameters by "
            f"{format_number(min(factors))} to {format_number(max(factors))}: "
            "torch.optim.AdamW(record.param_groups(lr))"
        )
        yield from textwrap.wrap(text, columns.total, subsequent_indent="  ")
