"""Study files: TOML with a head, one [base], shared [axes], [[grid]] and [[exclude]] blocks, and
[tune].

A file is read into a `StudyDocument`, which knows the names and types of the head's keys and the
lines of the file. `fanin.study.study` makes a study of a document, and a document of a study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import pydantic
import tomli_w

from fanin.cell.cell import FIELDS
from fanin.errors import StudyError, UnknownName, UsageError, quote
from fanin.study.builtin_studies import (
    list_builtin_studies,
    list_claim_studies,
    read_builtin_study,
)
from fanin.study.line_numbers import LineNumbers
from fanin.study.toml_limits import find_excess
from fanin.toml_text import decode_toml, parse_toml

MAX_BYTES = 1_000_000


class TuneTable(pydantic.BaseModel):
    """The block [tune]."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    learning_rate: list[float]
    replicates: int = pydantic.Field(default=2, ge=1, le=1000)
    metric: str = "val_loss"
    better: Literal["max", "min"] | None = None
    beside: bool = False
    equal_budgets: bool | None = None
    per: list[str] = []
    at: dict[str, Any] = {}


class StudyTables(pydantic.BaseModel):
    """The keys of a study file. Values of [base], [axes] and [[grid]] are checked later."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    question: str = ""
    protocol: str = "sound"
    replicates: int = pydantic.Field(default=1, ge=1, le=10**6)
    seed: int = pydantic.Field(default=0, ge=0, le=2**63 - 1)
    time: str = ""
    metric: str = ""
    reference: str = ""
    notes: list[str] = []
    tune: TuneTable | None = None
    base: dict[str, Any] = {}
    axes: dict[str, Any] = {}
    exclude: list[dict[str, Any]] = []
    grid: list[dict[str, Any]] = []


@dataclass(frozen=True)
class StudyDocument:
    """What a study file says, and on which lines."""

    name: str
    tables: StudyTables
    lines: LineNumbers = field(default_factory=LineNumbers)
    file: Path | None = None
    """The file itself; None for a built-in study, or one that was made in Python."""

    def locate(self, table: str, key: str, number: int = 0) -> str:
        """``Study NAME, line 7`` for a key of a table, as an error begins."""
        return f"Study {self.name}{self.lines.locate_key(table, key, number)}"


def read_document(name_or_path: str | PathLike[str]) -> StudyDocument:
    """Read a built-in study by its name, or a file, whose path ends in ``.toml``.

    Raises `UnknownName` or `StudyError`.
    """
    if isinstance(name_or_path, PathLike):
        path = Path(name_or_path)
        return replace(parse_document(_read_text(path), path.stem), file=path.absolute())
    if name_or_path.endswith(".toml"):
        return read_document(Path(name_or_path))
    builtin = list_builtin_studies()
    if name_or_path not in (*builtin, *list_claim_studies()):
        raise UnknownName.suggest("study", name_or_path, (*builtin, "my_study.toml (a file)"))
    return parse_document(read_builtin_study(name_or_path), name_or_path)


def parse_document(text: str, name: str) -> StudyDocument:
    """Read a TOML text as a study of that name.

    Raises `StudyError`, which lists all mistakes of the head at once, with their lines.
    """
    if excess := find_excess(text):
        raise StudyError(f"Study {name}{excess}. No study needs that.")
    lines = LineNumbers.from_toml(text)
    try:
        return StudyDocument(name, StudyTables.model_validate(parse_toml(text)), lines)
    except UsageError as error:
        raise StudyError(f"Study {name} is not valid TOML: {error}{_suggest(error)}") from None
    except pydantic.ValidationError as error:
        raise StudyError(list_mistakes(name, error, lines)) from None


def is_cell_key(key: str) -> bool:
    """Whether a key is a field of a cell, which is no key of the head."""
    field = FIELDS.get(key.partition(".")[0])
    return field is not None and field.form is not None


def write_document(document: StudyDocument, *, comment: str = "") -> str:
    """The TOML text that `parse_document` reads as an equal document.

    A comment becomes the first line.
    """
    tables = document.tables.model_dump(exclude_none=True, exclude={"grid"})
    if not tables["metric"]:
        del tables["metric"]  # studies from before there was one are written as they were
    if not tables["reference"]:
        del tables["reference"]  # studies from before there was one are written as they were
    head = tomli_w.dumps({key: value for key, value in tables.items() if value not in ({}, [])})
    grids = [
        "\n[[grid]]\n" + "".join(_write_axis(axis, values) for axis, values in grid.items())
        for grid in document.tables.grid
    ]
    printable = "".join(character if character.isprintable() else " " for character in comment)
    return (f"# {printable}\n" if comment else "") + head + "".join(grids)


def _write_axis(axis: str, values: list[Any]) -> str:
    """An axis with one value a line.

    tomli_w by itself would write long values as tables behind all other axes, but the order of the
    axes is the order of the cells.
    """
    lines = [f"    {_write_value(value)},\n" for value in values]
    return f"{_write_key(axis)} = [\n{''.join(lines)}]\n"


def _write_value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_write_key(key)} = {_write_value(item)}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")


def _write_key(key: str) -> str:
    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")


def _suggest(error: UsageError) -> str:
    """What to do about ``model = …`` beside ``model.depth = …``, which TOML does not allow."""
    if "overwrite" in str(error) or "mutate" in str(error):
        return ' Beside its spec an option is written in quotes: "model.depth" = …'
    return ""


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise StudyError(f"{path} has {size:,} bytes; a study file has at most {MAX_BYTES:,}.")
        return decode_toml(path.read_bytes())
    except FileNotFoundError:
        raise StudyError(
            f"There is no file {path}. Give a TOML file or a built-in study: "
            f"{', '.join(list_builtin_studies())}."
        ) from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8 text ({error}).") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{quote(str(path))} cannot be read: {error}.") from None


def list_mistakes(
    name: str, error: pydantic.ValidationError, lines: LineNumbers | None = None
) -> str:
    """All mistakes of a study's tables, as the text of an error; with the lines of a file."""
    lines = lines or LineNumbers()
    mistakes = []
    for mistake in error.errors():
        key = ".".join(map(str, mistake["loc"]))
        line = lines.locate_key("", str(mistake["loc"][0])).removeprefix(", ")
        if mistake["type"] == "extra_forbidden":
            text = str(UnknownName.suggest("key of a study file", key, StudyTables.model_fields))
            if is_cell_key(key):
                text = f"{key} is no key of the head: it belongs to base or, as a list, to axes."
        else:
            text = (
                f"{key}: {_describe_mistake(mistake['msg'])}; received {quote(mistake['input'])}."
            )
        mistakes.append(f"{line}: {text}" if line else text)
    return f"Study {name} cannot be read:\n  " + "\n  ".join(mistakes)


def _describe_mistake(text: str) -> str:
    """pydantic's words for a wrong type, in those of this package."""
    words = {"valid dictionary": "mapping of keys to values", "valid string": "text"}
    for word, shown in words.items():
        text = text.replace(f"Input should be a {word}", f"expected a {shown}")
    return text.replace("Input should be", "expected").replace("a text", "text")
