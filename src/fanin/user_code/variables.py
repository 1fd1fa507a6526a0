"""The variables of imported user files, and which of them have changed since the import."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType

from fanin.user_code.fingerprints import fingerprint

_AT_IMPORT: dict[str, dict[str, str]] = {}
"""Module → variable → its fingerprint after the import."""


def watch(modules: Iterable[ModuleType]) -> None:
    """Remember the variables of modules that have just been imported."""
    added = [module for module in modules if module.__name__ not in _AT_IMPORT]
    names = {*_AT_IMPORT, *(module.__name__ for module in added)}
    for module in added:
        _AT_IMPORT[module.__name__] = fingerprint(_list_variables(module), modules=names)


def list_names() -> frozenset[str]:
    """The names of all modules that are watched."""
    return frozenset(_AT_IMPORT)


def find_changes() -> list[str]:
    """The variables that have changed since their module was imported, as ``module.name``."""
    found = []
    for name, before in _AT_IMPORT.items():
        module = sys.modules.get(name)
        if module is None:
            continue
        after = fingerprint(_list_variables(module), modules=list_names())
        found += [
            f"{_shorten(module)}.{variable}"
            for variable in before.keys() | after.keys()
            if before.get(variable) != after.get(variable)
        ]
    return sorted(found)


def _list_variables(module: ModuleType) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


def _shorten(module: ModuleType) -> str:
    """The name that the user knows: that of the file."""
    file = getattr(module, "__file__", None) or module.__name__
    return file.rpartition("/")[2].removesuffix(".py")
