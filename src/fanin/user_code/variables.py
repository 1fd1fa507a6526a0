"""The variables of imported user files, and which of them have changed since the import."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fanin.user_code.fingerprints import PLAIN, fingerprint

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


@dataclass(frozen=True)
class Number:
    """A number or another plain value, and where it is kept: in an owner, under a name."""

    owner: Any
    name: str
    value: Any

    def restore(self) -> None:
        """Put the value back where it was."""
        if getattr(self.owner, self.name, None) is not self.value:
            with contextlib.suppress(AttributeError, TypeError):  # an owner that cannot be changed
                setattr(self.owner, self.name, self.value)


def copy_numbers(functions: Iterable[object]) -> list[Number]:
    """The plain values in variables of the watched modules, in their classes, and in the closures
    of their functions and of `functions`, for code that counts there.
    """
    found = list[Number]()
    modules = [sys.modules[name] for name in _AT_IMPORT if name in sys.modules]
    values = [value for module in modules for value in _list_variables(module).values()]
    classes = [v for v in values if isinstance(v, type) and v.__module__ in _AT_IMPORT]
    for owner in (*modules, *classes):
        found += [
            Number(owner, name, value)
            for name, value in vars(owner).items()
            if type(value) in PLAIN and not name.startswith("__")
        ]
    for value in (*values, *functions):
        for cell in getattr(value, "__closure__", None) or ():
            content = getattr(cell, "cell_contents", value)  # an empty cell has none
            if type(content) in PLAIN:
                found.append(Number(cell, "cell_contents", content))
    return found


def _list_variables(module: ModuleType) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


def _shorten(module: ModuleType) -> str:
    """The name that the user knows: that of the file."""
    file = getattr(module, "__file__", None) or module.__name__
    return file.rpartition("/")[2].removesuffix(".py")
