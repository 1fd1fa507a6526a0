"""The folder of a user's file as a place to import from while that file is imported.

As when Python runs a script, ``import layers`` finds ``layers.py`` beside the file. Two files in
different folders may each have such a sibling of the same name: each gets its own.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_OF_FOLDER: dict[Path, dict[str, ModuleType]] = {}


@contextmanager
def allow_sibling_imports(folder: Path) -> Iterator[None]:
    """Inside, modules in `folder` can be imported, and those that lie beside files of other folders
    are out of the way.
    """
    if any(Path(entry or ".").resolve() == folder for entry in sys.path):
        yield  # modules there are everybody's
        return
    mine = _OF_FOLDER.setdefault(folder, {})
    hidden = {
        name: module
        for other in _OF_FOLDER
        if other != folder
        for name, module in _OF_FOLDER[other].items()
    }
    for name in hidden:
        sys.modules.pop(name, None)
    sys.modules.update(mine)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
        mine |= {
            name: sys.modules[name]
            for name in set(sys.modules) - before
            if _is_in_folder(name, folder)
        }
        sys.modules.update(
            {name: module for name, module in hidden.items() if name not in sys.modules}
        )


def _is_in_folder(name: str, folder: Path) -> bool:
    """Whether a module, or the package that it is in, lies directly in the folder; what is
    installed below it does not.
    """
    origin = getattr(sys.modules.get(name.partition(".")[0]), "__file__", None)
    if not isinstance(origin, str):
        return False
    file = Path(origin).resolve()
    return folder in (file.parent, file.parent.parent if file.name == "__init__.py" else None)
