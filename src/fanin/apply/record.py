"""The record of an initialization: what was done with each parameter, and why."""

from __future__ import annotations

import math
import textwrap
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from fanin.apply.parameter_groups import group_parameters
from fanin.apply.parameter_record import SPECIAL, ParameterRecord, Treatment, format_parameter
from fanin.apply.record_json import read_json, write_json
from fanin.apply.record_summary import summarize_kept
from fanin.apply.record_table import (
    HEADINGS,
    RecordColumns,
    format_number,
    format_share,
    shorten,
)
from fanin.errors import MissingExtra, UnknownName, UsageError, quote
from fanin.fans import Convention
from fanin.initializers.model_level import Multiplier, Requirement

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 4

_SELECTIONS: tuple[Treatment, ...] = ("touched", "kept", "waiting")
_OVERLAPS_SHOWN = 3


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
    requires: tuple[Requirement, ...] = ()
    """What the method requires besides these weights."""
    multipliers: Mapping[str, Multiplier] = field(default_factory=dict)
    """By parameter, the factor of its learning rate; one that is left out has 1."""
    model_reference: weakref.ref[nn.Module] | None = field(default=None, repr=False, compare=False)
    """The model, as long as it is in use; for `param_groups`."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "model_reference": None}

    def param_groups(
        self, lr: float, *, weight_decay: float | None = None, model: nn.Module | None = None
    ) -> list[dict[str, Any]]:
        """The groups for a ``torch.optim`` optimizer: lr times the multiplier of each parameter.

        Args:
            lr: the base learning rate, greater than 0.
            weight_decay: if given, each group has its own too, which the method may scale.
            model: the model that was initialized; needed only for a record that was saved, or if
                the model is another object.

        Every parameter that requires a gradient is in one group, in the model's order; without
        multipliers there is one group. Each has ``param_names`` beside ``params``.

        >>> torch.optim.AdamW(record.param_groups(3e-4))  # doctest: +SKIP
        """
        return group_parameters(self.multipliers, lr, weight_decay, model or self._find_model())

    def _find_model(self) -> nn.Module:
        found = None if self.model_reference is None else self.model_reference()
        if found is None:
            raise UsageError(
                "The record no longer knows its model. Give it: record.param_groups(lr, "
                "model=model)."
            )
        return found

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
        line for parameter in record.parameters for line in format_parameter(parameter, columns)
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
            *_format_requirements(record, columns),
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


def _format_requirements(record: Record, columns: RecordColumns) -> Iterator[str]:
    """What the method requires besides, and whose learning rates it scales."""
    for one in record.requires:
        state = "met" if one.met else "fanin cannot see whether it is met"
        text = f"Requires {one.what} ({state}): {one.change}"
        yield from textwrap.wrap(text, columns.total, subsequent_indent="  ")
    if record.multipliers:
        factors = [one.factor for one in record.multipliers.values()]
        text = (
            f"Scales the learning rate of {len(factors)} parameters by "
            f"{format_number(min(factors))} to {format_number(max(factors))}: "
            "torch.optim.AdamW(record.param_groups(lr))"
        )
        yield from textwrap.wrap(text, columns.total, subsequent_indent="  ")


def complete_record(record: Record, parameters: Iterable[ParameterRecord]) -> None:
    """Enter what became of parameters that waited; nothing else of a record ever changes."""
    done = {one.name: one for one in parameters}
    completed = tuple(done.get(one.name, one) for one in record.parameters)
    object.__setattr__(record, "parameters", completed)
