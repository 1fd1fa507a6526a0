"""Study files: TOML with a head, one [base], shared [axes] and [[grid]] blocks."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic

from fanin.errors import StudyError, shown, unknown
from fanin.study.protocol import PROTOCOLS
from fanin.study.spec import AXES, Choice, Study

MAX_BYTES = 1_000_000
MAX_LABEL = 80

_SCALARS = (bool, int, float, str)


class _Head(pydantic.BaseModel):
    """The keys of a study file. Values of [base], [axes] and [[grid]] are checked when cells are made of them."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    question: str = ""
    protocol: str = "sound"
    replicates: int = pydantic.Field(default=1, ge=1, le=10**6)
    seed: int = pydantic.Field(default=0, ge=0, le=2**63 - 1)
    notes: list[str] = []
    base: dict[str, Any] = {}
    axes: dict[str, list[Any]] = {}
    grid: list[dict[str, list[Any]]] = []


def builtin_names() -> tuple[str, ...]:
    """The studies that come with fanin."""
    folder = resources.files("fanin.study") / "catalogue"
    return tuple(sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load(name_or_path: str) -> Study:
    """A built-in study by name, or one from a TOML file (anything that ends in .toml)."""
    if not name_or_path.endswith(".toml"):
        if name_or_path not in builtin_names():
            raise unknown("study", name_or_path, (*builtin_names(), "my_study.toml (a file)"))
        text = (resources.files("fanin.study") / "catalogue" / f"{name_or_path}.toml").read_text(encoding="utf-8")
        return parse(text, name_or_path)
    path = Path(name_or_path)
    return parse(_read(path), path.stem)


def parse(text: str, name: str) -> Study:
    """The study that a TOML text describes; raises `StudyError` that lists every mistake of the file at once."""
    try:
        head = _Head.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"Study {name} is not valid TOML: {error}.") from None
    except pydantic.ValidationError as error:
        raise StudyError(_mistakes(name, error)) from None
    PROTOCOLS.get(head.protocol)
    for table in (head.base, head.axes, *head.grid):
        for key in table:
            if key not in AXES:
                raise StudyError(f"Study {name}: {unknown('key of [base], [axes] or [[grid]]', key, AXES)}")
    shared = {axis: _choices(name, axis, values) for axis, values in head.axes.items()}
    grids = tuple(
        {
            **{axis: _choices(name, axis, values) for axis, values in grid.items()},
            **{a: c for a, c in shared.items() if a not in grid},
        }
        for grid in head.grid or [{}]
    )
    return Study(
        name=name,
        question=head.question,
        base=head.base,
        grids=grids,
        protocol=head.protocol,
        replicates=head.replicates,
        seed=head.seed,
        notes=tuple(head.notes),
    )


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StudyError(f"{path} has {path.stat().st_size:,} bytes; a study file has at most {MAX_BYTES:,}.")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(
            f"There is no file {path}. Give a TOML file or a built-in study: {', '.join(builtin_names())}."
        ) from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8 text ({error}).") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{shown(str(path))} cannot be read: {error}.") from None


def _choices(study: str, axis: str, values: list[Any]) -> tuple[Choice, ...]:
    if not values:
        raise StudyError(f"Study {study}: axis {axis} is empty; give at least one value.")
    return tuple(_choice(study, axis, value) for value in values)


def _choice(study: str, axis: str, value: Any) -> Choice:
    if isinstance(value, dict):
        if set(value) != {"label", "use"} or not isinstance(value["label"], str) or isinstance(value["use"], dict):
            raise StudyError(
                f'Study {study}: a value of axis {axis} with a label is written {{ label = "name", use = value }}, '
                f"not {shown(value)}."
            )
        if not value["label"].isprintable() or not 0 < len(value["label"]) <= MAX_LABEL:
            raise StudyError(f"Study {study}: a label has 1 to {MAX_LABEL} printable characters, not {shown(value['label'])}.")
        return Choice(value["use"], value["label"])
    return Choice(value, "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value))


def _mistakes(name: str, error: pydantic.ValidationError) -> str:
    lines = []
    for mistake in error.errors():
        where = ".".join(map(str, mistake["loc"]))
        if mistake["type"] == "extra_forbidden":
            lines.append(str(unknown("key of a study file", where, _Head.model_fields)))
        else:
            lines.append(f"{where}: {mistake['msg']}; received {shown(mistake['input'])}.")
    return f"Study {name} cannot be read:\n  " + "\n  ".join(lines)
