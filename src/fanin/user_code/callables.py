"""Loading a reference: importing its file or package, and finding the callable there."""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.util
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from fanin import seeds, specs
from fanin.errors import FaninError, UnknownName, UserCodeError, quote
from fanin.user_code import variables
from fanin.user_code.code_folders import list_places
from fanin.user_code.sibling_imports import allow_sibling_imports

_EXAMPLE = "my_file.py:make, or package.module:make for an installed package"


@dataclass(frozen=True)
class LoadedCallable:
    """What a reference names."""

    reference: str
    """The reference with a normalized path: ``./my_file.py:make`` is ``my_file.py:make``."""
    function: Callable[..., Any]
    sha256: str
    """Of the bytes of `file`, without what that file imports."""
    file: Path
    """The file; of a package, the source of the module that the reference names."""


@dataclass(frozen=True)
class _Source:
    """An imported module and the bytes it was made from."""

    origin: str
    """The part of the reference before the colon: a path or a dotted module name."""
    module: ModuleType
    sha256: str
    file: Path


_MODULES: dict[tuple[Path, str], ModuleType] = {}
"""The imported files by path and SHA-256."""

_NOT_THE_USERS = ("torch", "fanin")
"""Packages that keep variables of their own, which say nothing about a cell."""

_IMPORT_LOCK = threading.RLock()
"""Importing a file changes where Python looks for modules."""


def load(reference: str) -> LoadedCallable:
    """The callable that a reference names, its file or package imported.

    A file is imported once for each content, under a module name of its own, so that it replaces no
    other module; it can import the modules beside it. A package is imported once, as ``import``
    does. The caller's random state of torch and Python is not moved.

    Raises `UserCodeError` if there is no such file or module, or if importing it fails (with the
    line of the user's file), and `UnknownName` with near names if it has no such callable.
    """
    if not specs.is_reference(reference):
        raise UserCodeError(f"{quote(reference)} is not a reference. Expected {_EXAMPLE}.")
    origin, _, name = reference.rpartition(":")
    with _IMPORT_LOCK:
        source = _import_file(origin) if origin.endswith(".py") else _import_package(origin)
    if not hasattr(source.module, name):
        raise UnknownName.suggest(f"callable in {origin}", name, _list_callables(source.module))
    function = getattr(source.module, name)
    if not callable(function):
        raise UserCodeError(
            f"{reference} is {quote(function)}, which cannot be called. Expected a function or a "
            f"class; {origin} has {', '.join(_list_callables(source.module)) or 'none'}."
        )
    return LoadedCallable(f"{source.origin}:{name}", function, source.sha256, source.file)


def locate_error(error: BaseException, file: Path) -> str:
    """Where in a user's file an error was raised, for a message: `` (my_file.py, line 3)``.

    Empty if the file is not in the traceback.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file)
    ]
    return f" ({file.name}, line {lines[-1]})" if lines else ""


def describe_error(error: BaseException) -> str:
    """An error of a user's code in one line: its class and its text."""
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__


def _import_file(origin: str) -> _Source:
    path = _resolve_path(origin)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserCodeError(f"{origin} cannot be read: {error.strerror or error}.") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if (path, sha256) not in _MODULES:
        _MODULES[path, sha256] = _execute(path, content, sha256)
    return _Source(PurePath(origin).as_posix(), _MODULES[path, sha256], sha256, path)


def _resolve_path(origin: str) -> Path:
    try:
        places = [place.resolve() for place in list_places(origin)]
        found = next((place for place in places if place.is_file()), None)
    except (OSError, RuntimeError, ValueError) as error:
        # A name that is too long, a circle of links, the home of an unknown user.
        reason = str(error).rstrip(".")
        raise UserCodeError(f"{quote(origin)} cannot be used as a path: {reason}.") from None
    if found:
        return found
    path = places[0]
    if path.parent.is_dir():
        files = ", ".join(sorted(file.name for file in path.parent.glob("*.py"))[:10])
        hint = f"Files in {path.parent}: {files or 'no .py file'}."
    else:
        hint = f"There is no folder {path.parent}."
    raise UserCodeError(
        f"There is no file {origin}. A relative path starts at the folder of the study file, or "
        f"else at the working directory. {hint}"
    )


class _BytesLoader(importlib.abc.SourceLoader):
    """Makes a module from the bytes that were hashed, not from the file or cached byte code."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path, self._content = path, content

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:
        return self._content


def _execute(path: Path, content: bytes, sha256: str) -> ModuleType:
    """The module of a file's content, under a name that no other module has."""
    path_hash = hashlib.sha256(str(path).encode()).hexdigest()
    name = f"_fanin_user_code_{path_hash[:8]}_{sha256[:8]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_BytesLoader(path, content))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and type hints look for it
    try:
        with (
            seeds.preserve_torch_state(),
            seeds.preserve_python_state(),
            allow_sibling_imports(path.parent) as list_siblings,
        ):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, FaninError) or not isinstance(error, (Exception, SystemExit)):
            raise
        raise UserCodeError(
            f"{path} cannot be imported: {describe_error(error)}{locate_error(error, path)}."
        ) from error
    variables.watch((module, *list_siblings()))
    return module


@cache
def _import_package(origin: str) -> _Source:
    try:
        with seeds.preserve_torch_state(), seeds.preserve_python_state():
            module = importlib.import_module(origin)
    except FaninError:
        raise
    except (Exception, SystemExit) as error:
        if missing := _find_missing_module(origin, error):
            raise UserCodeError(
                f"{origin} cannot be imported: no module {missing} is installed. Expected "
                f"{_EXAMPLE}."
            ) from None
        raise UserCodeError(f"{origin} cannot be imported: {describe_error(error)}.") from error
    path = getattr(module, "__file__", None)
    if path is None:
        raise UserCodeError(
            f"The module {origin} has no file, so fanin cannot tell one version of it from "
            "another. "
            f"Expected {_EXAMPLE}."
        )
    file = Path(path).resolve()
    if origin.partition(".")[0] not in _NOT_THE_USERS:
        variables.watch([module])
    return _Source(origin, module, hashlib.sha256(file.read_bytes()).hexdigest(), file)


def _find_missing_module(origin: str, error: BaseException) -> str | None:
    """The module `origin`, or the package around it, that is not installed; None if it is."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return missing if missing and f"{origin}.".startswith(f"{missing}.") else None


def _list_callables(module: ModuleType) -> list[str]:
    """The functions and classes that a module defines, or those it imports if it defines none."""
    public = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value)
    }
    defined = [
        name
        for name, value in public.items()
        if getattr(value, "__module__", None) == module.__name__
    ]
    return sorted(defined or public)
