"""Study files: TOML with a head, one [base], shared [axes], [[grid]] and [[exclude]] blocks, and
[tune].

A key of [base], [axes] or [[grid]] is a field of a cell, or an option of one: ``model.depth = [2,
8, 32]``. An [[exclude]] block names values of axes; cells that have one of them on every axis named
are left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic

from fanin.cell.protocol import REGISTRY as PROTOCOLS
from fanin.errors import FaninError, StudyError, UnknownName, quote
from fanin.study.canonical_cell import check_key
from fanin.study.learning_rate_tuning import LearningRateTuning
from fanin.study.line_numbers import LineNumbers
from fanin.study.study import AxisValue, Exclusion, Study

MAX_BYTES = 1_000_000
MAX_LABEL = 80

_SCALARS = (bool, int, float, str)


class _Tune(pydantic.BaseModel):
    """The block [tune]."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    learning_rate: list[float]
    replicates: int = pydantic.Field(default=2, ge=1, le=1000)
    per: list[str] = []
    at: dict[str, Any] = {}


class _Head(pydantic.BaseModel):
    """The keys of a study file. Values of [base], [axes] and [[grid]] are checked when cells are
    made of them.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    question: str = ""
    time: str = ""
    protocol: str = "sound"
    replicates: int = pydantic.Field(default=1, ge=1, le=10**6)
    seed: int = pydantic.Field(default=0, ge=0, le=2**63 - 1)
    notes: list[str] = []
    base: dict[str, Any] = {}
    axes: dict[str, Any] = {}
    grid: list[dict[str, Any]] = []
    exclude: list[dict[str, Any]] = []
    tune: _Tune | None = None


def list_builtin_studies() -> tuple[str, ...]:
    """The studies that come with fanin."""
    folder = resources.files("fanin.study") / "catalogue"
    return tuple(
        sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))
    )


def load(name_or_path: str) -> Study:
    """A built-in study by name, or one from a TOML file (anything that ends in .toml)."""
    if not name_or_path.endswith(".toml"):
        if name_or_path not in list_builtin_studies():
            raise UnknownName.suggest(
                "study", name_or_path, (*list_builtin_studies(), "my_study.toml (a file)")
            )
        text = (resources.files("fanin.study") / "catalogue" / f"{name_or_path}.toml").read_text(
            encoding="utf-8"
        )
        return parse(text, name_or_path)
    path = Path(name_or_path)
    return parse(_read(path), path.stem)


def parse(text: str, name: str) -> Study:
    """The study that a TOML text describes; raises `StudyError` that lists every mistake of the
    file's head at once.

    Errors name the line where it is known.
    """
    places = LineNumbers.of(text)
    try:
        head = _Head.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"Study {name} is not valid TOML: {error}.{_hint(error)}") from None
    except pydantic.ValidationError as error:
        raise StudyError(_mistakes(name, error, places)) from None
    try:
        PROTOCOLS.get(head.protocol)
    except FaninError as error:
        raise error.add_context(f"Study {name}{places.of_key('', 'protocol')}") from None
    file = _File(name, places)
    shared = file.axes(head.axes, "axes", 0)
    grids = tuple(
        {**own, **{axis: choices for axis, choices in shared.items() if axis not in own}}
        for own in (
            file.axes(grid, "grid", number) for number, grid in enumerate(head.grid or [{}])
        )
    )
    return Study(
        name=name,
        question=head.question,
        base=file.values(head.base, "base", 0),
        grids=grids,
        protocol=head.protocol,
        replicates=head.replicates,
        seed=head.seed,
        notes=tuple(head.notes),
        exclude=tuple(
            file.wanted(block, "exclude", number) for number, block in enumerate(head.exclude)
        ),
        tuning=file.tuning(head.tune, head.base, grids) if head.tune else None,
        time=head.time,
        places=places,
    )


def _hint(error: tomllib.TOMLDecodeError) -> str:
    """TOML has no room for ``model = …`` and ``model.depth = …`` in one table, unless the second is
    in quotes.
    """
    in_the_way = "overwrite" in str(error) or "mutate" in str(error)
    return (
        ' Beside its spec an option is written in quotes: "model.depth" = …' if in_the_way else ""
    )


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StudyError(
                f"{path} has {path.stat().st_size:,} bytes; a study file has at most {MAX_BYTES:,}."
            )
        return path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
    except FileNotFoundError:
        raise StudyError(
            f"There is no file {path}. Give a TOML file or a built-in study: "
            f"{', '.join(list_builtin_studies())}."
        ) from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8 text ({error}).") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{quote(str(path))} cannot be read: {error}.") from None


class _File:
    """The tables of one file, read with errors that name study, key and line."""

    def __init__(self, name: str, places: LineNumbers) -> None:
        self._name, self._places = name, places

    def values(self, table: Mapping[str, Any], name: str, number: int) -> dict[str, Any]:
        """The keys of a table and their values, ``model.depth`` as one key."""
        found = dict(_flattened(table))
        for key in found:
            try:
                check_key(key, "key of [base], [axes] or [[grid]]")
            except FaninError as error:
                raise error.add_context(self._where(name, key, number)) from None
        return found

    def axes(
        self, table: Mapping[str, Any], name: str, number: int
    ) -> dict[str, tuple[AxisValue, ...]]:
        """The axes of a table."""
        return {
            axis: self._choices(axis, values, name, number)
            for axis, values in self.values(table, name, number).items()
        }

    def wanted(self, table: Mapping[str, Any], name: str, number: int) -> Exclusion:
        """Axis → labels or values, each as text."""
        if not table:
            raise StudyError(
                f"{self._where(name, '', number)}: [[{name}]] is empty; name the values of an axis."
            )
        found = self.values(table, name, number)
        return {
            axis: tuple(map(_text, value if isinstance(value, list) else [value]))
            for axis, value in found.items()
        }

    def tuning(
        self,
        tune: _Tune,
        base: Mapping[str, Any],
        grids: tuple[Mapping[str, tuple[AxisValue, ...]], ...],
    ) -> LearningRateTuning:
        """The block [tune]."""
        axes = {axis: None for grid in grids for axis in grid}
        for key in (*tune.per, *dict(_flattened(tune.at))):
            if key not in axes:
                raise UnknownName.suggest("axis of the study", key, axes).add_context(
                    self._where("tune", "per", 0)
                )
        if "learning_rate" in axes:
            raise StudyError(
                f"{self._where('tune', 'learning_rate', 0)}: the learning rate is an axis already. "
                "Leave out one."
            )
        if "learning_rate" in base:
            raise StudyError(
                f"{self._where('base', 'learning_rate', 0)}: the learning rate is tuned, and given "
                "here too. Leave out one."
            )
        try:
            at = self.wanted(tune.at, "tune", 0) if tune.at else {}
            return LearningRateTuning(
                tuple(tune.learning_rate), tune.replicates, tuple(tune.per), at
            )
        except StudyError as error:
            raise error.add_context(self._where("tune", "learning_rate", 0)) from None

    def _where(self, table: str, key: str, number: int) -> str:
        return f"Study {self._name}{self._places.of_key(table, key, number)}"

    def _choices(self, axis: str, values: Any, table: str, number: int) -> tuple[AxisValue, ...]:
        where = self._where(table, axis, number)
        if not isinstance(values, list):
            raise StudyError(
                f"{where}: {table}.{axis} must be a list, such as [{quote(values)}]; received "
                f"{quote(values)}."
            )
        if not values:
            raise StudyError(f"{where}: axis {axis} is empty; give at least one value.")
        choices = tuple(_choice(where, axis, value) for value in values)
        if any(choices.count(choice) > 1 for choice in choices):
            raise StudyError(
                f"{where}: axis {axis} lists a value twice, and with it the same cell twice. "
                "Remove one."
            )
        labels = [choice.label for choice in choices]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise StudyError(
                f"{where}: two values of axis {axis} are called {quote(twice[0])}. Give each a "
                "label of its own."
            )
        return choices


def _flattened(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """TOML reads ``model.depth = 3`` as a table in a table."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        else:
            yield key, value


def _choice(where: str, axis: str, value: Any) -> AxisValue:
    if isinstance(value, dict):
        if (
            set(value) != {"label", "use"}
            or not isinstance(value["label"], str)
            or isinstance(value["use"], dict)
        ):
            raise StudyError(
                f'{where}: a value of axis {axis} with a label is written {{ label = "name", use = '
                "value }, "
                f"not {quote(value)}."
            )
        if not value["label"].isprintable() or not 0 < len(value["label"]) <= MAX_LABEL:
            raise StudyError(
                f"{where}: a label has 1 to {MAX_LABEL} printable characters, not "
                f"{quote(value['label'])}."
            )
        return AxisValue(value["use"], value["label"])
    return AxisValue(value, _text(value))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mistakes(name: str, error: pydantic.ValidationError, places: LineNumbers) -> str:
    lines = []
    for mistake in error.errors():
        where = ".".join(map(str, mistake["loc"]))
        line = places.of_key("", str(mistake["loc"][0])).removeprefix(", ")
        if mistake["type"] == "extra_forbidden":
            said = str(UnknownName.suggest("key of a study file", where, _Head.model_fields))
        else:
            said = f"{where}: {mistake['msg']}; received {quote(mistake['input'])}."
        lines.append(f"{line}: {said}" if line else said)
    return f"Study {name} cannot be read:\n  " + "\n  ".join(lines)
