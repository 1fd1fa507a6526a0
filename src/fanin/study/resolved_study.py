"""The resolved copy of a study: a study file that says everything explicitly, kept with the
results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanin.study.study import AxisValue, Study


def to_toml(study: Study, *, only: Mapping[str, Sequence[str]] | None = None) -> str:
    """A study file that `fanin.study.study_file.parse` turns back into an equal study; `only`
    becomes a comment.
    """
    chosen = [f"{axis}={','.join(wanted)}" for axis, wanted in (only or {}).items()]
    lines = [f"# Run with --only {' '.join(chosen)}".replace("\n", " ")] if chosen else []
    lines += _pairs(
        {"question": study.question, "protocol": study.protocol, "replicates": study.replicates}
    )
    lines += _pairs({"seed": study.seed, "time": study.time, "notes": list(study.notes)})
    if study.tuning:
        tuning = study.tuning
        numbers = {
            "learning_rate": list(tuning.rates),
            "replicates": tuning.replicates,
            "per": list(tuning.per),
        }
        lines += [
            "",
            "[tune]",
            *_pairs({**numbers, "at": {axis: list(wanted) for axis, wanted in tuning.at.items()}}),
        ]
    lines += ["", "[base]", *_pairs(study.base)]
    for exclusion in study.exclude:
        lines += [
            "",
            "[[exclude]]",
            *_pairs({axis: list(wanted) for axis, wanted in exclusion.items()}),
        ]
    for grid in study.grids:
        lines += ["", "[[grid]]"]
        for axis, choices in grid.items():
            lines += [f"{_key(axis)} = [", *(f"    {_choice(choice)}," for choice in choices), "]"]
    return "\n".join(lines) + "\n"


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in values.items()]


def _key(key: str) -> str:
    return json.dumps(key) if "." in key else key


def _choice(choice: AxisValue) -> str:
    return f"{{ label = {_value(choice.label)}, use = {_value(choice.value)} }}"


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list() | tuple():
            return "[" + ", ".join(map(_value, value)) + "]"
        case dict():
            return (
                "{ "
                + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
                + " }"
                if value
                else "{}"
            )
        case str():
            return json.dumps(value).replace("\x7f", "\\u007f")
    return repr(value)
