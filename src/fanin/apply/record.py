"""The record of an initialization: what was done with each parameter, and why."""

from __future__ import annotations

import textwrap
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from fanin.apply.parameter_groups import group_parameters
from fanin.apply.parameter_record import ParameterRecord, Treatment
from fanin.apply.record_json import read_json, write_json
from fanin.apply.record_table import RecordColumns
from fanin.apply.record_text import (
    Overlap,
    count_filled,
    describe_rest,
    format_overlaps,
    format_parameters,
    format_requirements,
)
from fanin.errors import MissingExtra, UnknownName, UsageError, quote
from fanin.fans import Convention
from fanin.initializers.model_level import Multiplier, Requirement

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 4

_SELECTIONS: tuple[Treatment, ...] = ("touched", "kept", "waiting")


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
    """A row per parameter, and what must be said about the whole."""
    columns, parameters = RecordColumns.fit(), record.parameters
    said = count_filled(parameters, preview=record.preview)
    return "\n".join(
        [
            *format_parameters(parameters, columns),
            *textwrap.wrap(f"{said}; seed {record.seed}; {record.convention} fans", columns.total),
            *describe_rest(parameters, columns),
            *format_overlaps(record.overlaps, columns),
            *format_requirements(record.requires, record.multipliers, columns),
            *(["Preview: nothing was changed."] if record.preview else []),
        ]
    )


def complete_record(record: Record, parameters: Iterable[ParameterRecord]) -> None:
    """Enter what became of parameters that waited; nothing else of a record ever changes."""
    done = {one.name: one for one in parameters}
    completed = tuple(done.get(one.name, one) for one in record.parameters)
    object.__setattr__(record, "parameters", completed)
