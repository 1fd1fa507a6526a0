"""The studies that come with fanin, as files. This needs no package beyond the light core."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fanin.toml_text import parse_toml


def list_builtin_studies() -> tuple[str, ...]:
    """The names of the studies that come with fanin."""
    return tuple(
        sorted(Path(entry.name).stem for entry in _FOLDER.iterdir() if entry.name.endswith(".toml"))
    )


def read_builtin_study(name: str) -> str:
    """The TOML text of a study that comes with fanin."""
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def read_question(name: str) -> str:
    """The question of a study that comes with fanin, in one line."""
    return " ".join(str(parse_toml(read_builtin_study(name)).get("question", "")).split())


_FOLDER = resources.files("fanin.study") / "catalogue"
