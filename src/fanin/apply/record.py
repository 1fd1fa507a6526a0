"""The record of an initialization: what was done with each parameter, and why."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from fanin.apply.previous_values import PreviousValues
from fanin.apply.record_json import read_json, write_json
from fanin.apply.record_summary import summarize_kept
from fanin.apply.record_table import (
    HEADINGS,
    RecordColumns,
    format_fans,
    format_number,
    format_shape,
    format_share,
    shorten,
    shorten_name,
)
from fanin.errors import MissingExtra, UnknownName, UsageError, quote
from fanin.fans import Convention, Role, WeightLayout
from fanin.screen import count_columns

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 4

Treatment = Literal["touched", "kept", "waiting", "tied"]
"""What became of a parameter: touched is what was written, or would be after a preview."""

SPECIAL = "special"
"""How the reason of a parameter begins that keeps what its model has set."""

_SELECTIONS: tuple[Treatment, ...] = ("touched", "kept", "waiting")
_OVERLAPS_SHOWN = 3


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
    waiting: bool = False
    """Whether it is a lazy parameter that is filled when its shape is known."""
    fitted: str = ""
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


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A parameter that several patterns match: the last one counts."""

    name: str
    pattern: str
    over: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What `initialize` did, parameter by parameter, in the model's order; a sequence that takes
    names as well.

    >>> record = fanin.initialize(nn.Linear(784, 10), "he_normal", seed=0)
    >>> record["weight"].rule, round(record["weight"].intended_std, 4)
    ('he_normal', 0.0505)
    """

    rule: str
    """The default rule: for weights that no pattern matches."""
    rules: Mapping[str, Any] = field(default_factory=dict)
    """All rules that were given."""
    seed: int
    convention: Convention
    preview: bool
    parameters: tuple[ParameterRecord, ...]
    overlaps: tuple[Overlap, ...] = ()

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
        raise UnknownName.suggest(
            "parameter", key, (parameter.name for parameter in self.parameters)
        )

    @property
    def touched(self) -> tuple[ParameterRecord, ...]:
        """The parameters that were written, or would be after a preview; each once."""
        return self._select("touched")

    @property
    def kept(self) -> tuple[ParameterRecord, ...]:
        """The parameters that stay as they are, each with its reason: loaded, frozen, excluded,
        special, unknown, …
        """
        return self._select("kept")

    @property
    def waiting(self) -> tuple[ParameterRecord, ...]:
        """The lazy parameters that are filled when their shape is known."""
        return self._select("waiting")

    def complete(self, parameters: Iterable[ParameterRecord]) -> None:
        """Enter what became of parameters that waited; nothing else of a record ever changes."""
        done = {one.name: one for one in parameters}
        completed = tuple(done.get(one.name, one) for one in self.parameters)
        object.__setattr__(self, "parameters", completed)

    def _select(self, treatment: Treatment) -> tuple[ParameterRecord, ...]:
        return tuple(one for one in self.parameters if one.treatment == treatment)

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        names = {key: [one.name for one in self._select(key)] for key in _SELECTIONS}
        return {"schema": SCHEMA, **write_json(self), **names}

    @classmethod
    def from_json(cls, found: object) -> Record:
        """The record that `to_json` wrote: ``Record.from_json(json.loads(text))``.

        Raises `UsageError` for what is no record, or one of another schema.
        """
        if not isinstance(found, Mapping) or "schema" not in found:
            raise UsageError(
                f"Expected a record as record.to_json() writes it, an object with a schema, not "
                f"{quote(found)}."
            )
        if found["schema"] != SCHEMA:
            raise UsageError(
                f"The record has schema {quote(found['schema'])}; this fanin reads {SCHEMA}. Make "
                "the record again: initialize(…, preview=True) changes nothing."
            )
        derived = ("schema", *_SELECTIONS)
        plain = {key: value for key, value in found.items() if key not in derived}
        return read_json(cls, plain, "record")

    def to_frame(self) -> pd.DataFrame:
        """The record as a pandas frame: a row per parameter, and one per part of a packed one.

        Raises `MissingExtra` if pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise MissingExtra("pandas", "study", "A frame") from None
        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for parameter in self.parameters:
            row = asdict(replace(parameter, layout=None))
            parts = row.pop("parts")
            del row["layout"]
            row["treatment"] = parameter.treatment
            yield {"name": row.pop("name"), "part": "", **row}
            for part in parts:
                yield {**row, **part, "name": parameter.name, "part": part["name"]}

    def __str__(self) -> str:
        """A table as wide as the terminal; 80 columns where there is none."""
        return _format_table(self)


def _format_table(record: Record) -> str:
    """A row per parameter, further ones for parts that differ, and what must be said about the
    whole.
    """
    columns = RecordColumns.fit()
    rows = [
        line for parameter in record.parameters for line in _format_parameter(parameter, columns)
    ]
    done = "to fill" if record.preview else "filled"
    return "\n".join(
        [
            columns.format_row(*HEADINGS),
            *rows,
            *textwrap.wrap(
                f"{_count_filled(record, done)}; seed {record.seed}; {record.convention} fans",
                columns.total,
            ),
            *textwrap.wrap(summarize_kept(record.kept, record.waiting), columns.total),
            *_list_special(record, columns),
            *(
                ["Long names are shortened; print(record[name]) tells all about one."]
                if _has_long_names(record, columns)
                else []
            ),
            *_format_overlaps(record, columns),
            *(["Preview: nothing was changed."] if record.preview else []),
        ]
    )


def _count_filled(record: Record, done: str) -> str:
    """How many parameters are filled, and which share of the numbers they hold."""
    distinct = [parameter for parameter in record.parameters if parameter.tied_to is None]
    filled = [one for one in distinct if one.rule is not None and not one.waiting]
    numbers, total = (sum(math.prod(one.shape) for one in each) for each in (filled, distinct))
    share = format_share(numbers, total)
    return f"{len(filled)} of {len(distinct)} parameters {done}, {share} of the numbers"


def _list_special(record: Record, columns: RecordColumns) -> Iterator[str]:
    """What stays as the model has set it, and what nobody ever filled."""
    special = [one for one in record.parameters if one.reason.startswith(SPECIAL)]
    if special:
        names = ", ".join(one.name for one in special)
        yield f"{len(special)} keep what the model has set; special='overwrite' fills them:"
        yield shorten(f"  {names}", columns.total)
    empty = [
        one
        for one in record.parameters
        if one.rule is None and one.before and not one.before.filled
    ]
    if empty:
        names = ", ".join(one.name for one in empty)
        yield f"{len(empty)} hold memory that nobody ever filled, and no rule fills them:"
        yield shorten(f"  {names}", columns.total)


def _has_long_names(record: Record, columns: RecordColumns) -> bool:
    return any(len(parameter.name) > columns.widths[0] for parameter in record.parameters)


def _explain_parameter(record: ParameterRecord) -> str:
    """Everything about one parameter."""
    facts = {
        "shape": f"{_format_shape(record)}, {record.dtype}",
        "role": record.role,
        "rule": record.rule or "none: it stays as it is",
        "why": record.reason,
        "fans": format_fans(record.fan_in, record.fan_out),
        "gain": format_number(record.gain),
        "std": f"intended {format_number(record.intended_std)}, measured "
        f"{format_number(record.measured_std)}",
        "stream": "–" if record.stream is None else str(record.stream),
        "before": _describe_before(record.before),
    }
    lines = [record.name]
    for heading, text in facts.items():
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


def _format_parameter(record: ParameterRecord, columns: RecordColumns) -> Iterator[str]:
    widths = columns.widths
    name = shorten_name(record.name, widths[0])
    if record.rule is None or record.waiting:
        stays = record.reason if record.waiting else f"kept: {record.reason}"
        remark = record.reason if record.tied_to else stays
        start = f"{name:<{widths[0]}} {shorten(_format_shape(record), widths[1]):<{widths[1]}} "
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


def _format_shape(record: ParameterRecord) -> str:
    return "?" if record.waiting else format_shape(record.shape)


def _format_numbers(record: ParameterRecord | PartRecord) -> tuple[str, ...]:
    std = (record.intended_std, record.measured_std)
    return (
        format_fans(record.fan_in, record.fan_out),
        format_number(record.gain),
        *map(format_number, std),
    )


def _format_overlaps(record: Record, columns: RecordColumns) -> Iterator[str]:
    if not record.overlaps:
        return
    yield f"{len(record.overlaps)} parameters match several patterns; the last one counts:"
    for overlap in record.overlaps[:_OVERLAPS_SHOWN]:
        yield shorten(
            f"  {overlap.name}: {overlap.pattern!r} over {', '.join(map(repr, overlap.over))}",
            columns.total,
        )
    if len(record.overlaps) > _OVERLAPS_SHOWN:
        yield "  … (record.overlaps has all)"
