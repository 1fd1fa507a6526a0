"""The record of an initialization: what was done with each parameter, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fanin.apply import record_table
from fanin.errors import MissingExtra, UnknownName
from fanin.fans import Convention, Role

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 2


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
    """Spec of the initializer that fills it; None where it stays as it is."""
    reason: str
    """Why it got this rule, or none."""
    tied_to: str | None = None
    """The name under which a parameter that occurs more than once is filled, or the weight that it
    is set through.
    """
    fan_in: float | None
    fan_out: float | None
    """Of a packed parameter those of its parts, where they agree."""
    gain: float | None = None
    """intended std · √fan-in: 1 keeps the variance of a linear layer, √2 the second moment through
    ReLU.
    """
    intended_std: float | None = None
    measured_std: float | None = None
    """Of the weight that the layer uses; None where nothing was drawn. A padding row is not yet
    zero when this is measured.
    """
    stream: int | None = None
    """The 32-bit number of its random stream; None where nothing is drawn, or each part has one."""
    changed: bool = False
    """Whether it was written."""
    parts: tuple[PartRecord, ...] = ()
    """One per map that it packs."""

    def __str__(self) -> str:
        """All there is to know, a line each."""
        return record_table.explain_parameter(self)


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
    """

    rule: str
    """The default rule: that of weights which no pattern means."""
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

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return {"schema": SCHEMA, **asdict(self)}

    def to_frame(self) -> pd.DataFrame:
        """The record as a pandas frame: a row per parameter, and one per part of a packed one.

        Raises `MissingExtra` where pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise MissingExtra("pandas", "study", "A frame") from None
        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for parameter in self.parameters:
            row = asdict(parameter)
            parts = row.pop("parts")
            yield {"name": row.pop("name"), "part": "", **row}
            for part in parts:
                yield {**row, **part, "name": parameter.name, "part": part["name"]}

    def __str__(self) -> str:
        """A table of at most 80 columns."""
        return record_table.format_table(self)
