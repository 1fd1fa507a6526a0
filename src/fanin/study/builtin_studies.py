"""The studies that come with fanin, as files. This needs no package beyond the light core."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from fanin.toml_text import parse_toml


def list_builtin_studies() -> tuple[str, ...]:
    """The names of the studies that come with fanin, without those of its claims."""
    return _list_names(_FOLDER)


def list_claim_studies() -> tuple[str, ...]:
    """The names of the studies that were made for claims alone (`fanin.claims`)."""
    return _list_names(_CLAIMS)


def read_builtin_study(name: str) -> str:
    """The TOML text of a study that comes with fanin."""
    folder = _CLAIMS if name in list_claim_studies() else _FOLDER
    return (folder / f"{name}.toml").read_text(encoding="utf-8")


def read_question(name: str) -> str:
    """The question of a study that comes with fanin, in one line."""
    return " ".join(str(parse_toml(read_builtin_study(name)).get("question", "")).split())


def _list_names(folder: Traversable) -> tuple[str, ...]:
    return tuple(
        sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))
    )


_FOLDER = resources.files("fanin.study") / "catalogue"
_CLAIMS = _FOLDER / "claims"
