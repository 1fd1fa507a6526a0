"""The call in Python that continues a study, as the page shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.errors import FaninError

if TYPE_CHECKING:
    from fanin.study.study import Study

_DEFAULTS = (None, False, "cpu")


def format_python_call(study: Study, folder: Path, options: Mapping[str, object]) -> str:
    """``import fanin; fanin.run('my_study.toml', out='runs/mine', replicates=2)``.

    Args:
        study: what was run.
        folder: its results folder, in which ``study.toml`` is the study as it was run.
        options: the other arguments of the call; those that say what is the default anyway are
            left out.
    """
    given = {"out": str(folder), **options}
    words = [f"{name}={value!r}" for name, value in given.items() if value not in _DEFAULTS]
    return f"import fanin; fanin.run({', '.join([repr(_find_source(study, folder)), *words])})"


def _find_source(study: Study, folder: Path) -> str:
    """What to load for the same study: its file or its name, if that has not been changed in
    Python, else the copy in the results folder.
    """
    source = study.name
    if study.file is not None:
        below = study.file.is_relative_to(Path.cwd())
        source = str(study.file.relative_to(Path.cwd()) if below else study.file)
    with contextlib.suppress(FaninError):
        if type(study).load(source) == study:
            return source
    return str(folder / "study.toml")
