"""Imports from the folder of a user's file, while that file is imported.

As when Python runs a script, ``import layers`` finds ``layers.py`` beside the file. If two files in
different folders each have such a sibling of the same name, each gets its own.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_MODULES_OF_FOLDER: dict[Path, dict[str, ModuleType]] = {}
"""The modules imported so far from each folder, by name."""


@contextmanager
def allow_sibling_imports(folder: Path) -> Iterator[Callable[[], list[ModuleType]]]:
    """A context in which modules in `folder` can be imported, and no siblings of other files.

    Yields a function that lists the modules of the folder that were imported in it.
    """
    if any(Path(entry or ".").resolve() == folder for entry in sys.path):
        loaded = set(sys.modules)  # its modules can be imported anyway
        yield lambda: [
            sys.modules[name] for name in set(sys.modules) - loaded if _is_in_folder(name, folder)
        ]
        return
    siblings = _MODULES_OF_FOLDER.setdefault(folder, {})
    hidden = {
        name: module
        for other, modules in _MODULES_OF_FOLDER.items()
        if other != folder
        for name, module in modules.items()
    }
    for name in hidden:
        sys.modules.pop(name, None)
    sys.modules.update(siblings)
    names_before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield lambda: list(siblings.values())
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
        imported = set(sys.modules) - names_before
        siblings |= {name: sys.modules[name] for name in imported if _is_in_folder(name, folder)}
        sys.modules.update(
            {name: module for name, module in hidden.items() if name not in sys.modules}
        )


def _is_in_folder(name: str, folder: Path) -> bool:
    """Whether a module, or the package that it is in, lies directly in the folder.

    A package installed in a folder below, such as a virtual environment, does not.
    """
    origin = getattr(sys.modules.get(name.partition(".")[0]), "__file__", None)
    if not isinstance(origin, str):
        return False
    file = Path(origin).resolve()
    return folder in (file.parent, file.parent.parent if file.name == "__init__.py" else None)
