"""Loading a reference: importing the file or package that it names, and finding the callable there."""

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
from fanin.user_code.sibling_imports import allow_sibling_imports

_EXAMPLE = "my_file.py:make, or package.module:make where it is installed"


@dataclass(frozen=True)
class LoadedCallable:
    """What a target names."""

    reference: str
    """As it was written, without what a path does not need: ``./my_file.py:make`` is
    ``my_file.py:make``.
    """
    function: Callable[..., Any]
    sha256: str
    """Of the bytes of `file`; what that file imports is not in it."""
    file: Path
    """The file; of a package, the source of the module that the target names."""


@dataclass(frozen=True)
class _Source:
    """An imported module and the bytes it was made of."""

    place: str
    module: ModuleType
    sha256: str
    file: Path


_IMPORTED: dict[tuple[Path, str], ModuleType] = {}
_IMPORT_LOCK = threading.RLock()  # importing a file changes where Python looks for modules


def load(reference: str) -> LoadedCallable:
    """The callable that a target names, its file or package imported.

    A file is imported once for each content, under a name of its own, so that nothing else is
    replaced; modules that lie beside it can be imported by it. A package is imported as ``import``
    does, once. The caller's random state of torch and of Python is where it was.

    Raises `UserCodeError` where there is no such file or module, or importing it fails (with the line
    of the user's file), `UnknownName` where nothing there has that name, with near names.
    """
    if not specs.is_reference(reference):
        raise UserCodeError(
            f"{quote(reference)} names nothing that can be loaded. Expected {_EXAMPLE}."
        )
    place, _, name = reference.rpartition(":")
    with _IMPORT_LOCK:
        source = _load_file(place) if place.endswith(".py") else _import_package(place)
    if not hasattr(source.module, name):
        raise UnknownName.suggest(f"callable in {place}", name, _list_callables(source.module))
    function = getattr(source.module, name)
    if not callable(function):
        raise UserCodeError(
            f"{reference} is {quote(function)}, which cannot be called. Expected a function or a "
            f"class; {place} has "
            f"{', '.join(_list_callables(source.module)) or 'none'}."
        )
    return LoadedCallable(f"{source.place}:{name}", function, source.sha256, source.file)


def locate_error(error: BaseException, file: Path) -> str:
    """Where in a user's file an error arose, for a message: `` (my_file.py, line 3)``; empty where
    it was not there.
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


def _load_file(place: str) -> _Source:
    path = _resolve_path(place)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserCodeError(f"{place} cannot be read: {error.strerror or error}.") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if (path, sha256) not in _IMPORTED:
        _IMPORTED[path, sha256] = _import_file(path, content, sha256)
    return _Source(PurePath(place).as_posix(), _IMPORTED[path, sha256], sha256, path)


def _resolve_path(place: str) -> Path:
    try:
        path = Path(place).expanduser().resolve()
        found = path.is_file()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # a name too long, a circle of links, a home that nobody has
        raise UserCodeError(
            f"{quote(place)} is not a path that can be read: {str(error).rstrip(chr(46))}."
        ) from None
    if found:
        return path
    beside = (
        sorted(one.name for one in path.parent.glob("*.py"))[:10] if path.parent.is_dir() else []
    )
    there = (
        f"In {path.parent}: {', '.join(beside) or 'no .py file'}"
        if path.parent.is_dir()
        else f"No folder {path.parent}"
    )
    raise UserCodeError(
        f"There is no file {place}. A relative path is looked for from the working directory. "
        f"{there}."
    )


class _BytesLoader(importlib.abc.SourceLoader):
    """Makes a module of the bytes that were hashed: neither read again, nor taken from a cache of
    byte code.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self._path, self._content = path, content

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:
        return self._content


def _import_file(path: Path, content: bytes, sha256: str) -> ModuleType:
    name = f"_fanin_target_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{sha256[:8]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_BytesLoader(path, content))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and type hints look for it
    try:
        with (
            seeds.preserve_torch_state(),
            seeds.preserve_python_state(),
            allow_sibling_imports(path.parent),
        ):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, FaninError) or not isinstance(error, (Exception, SystemExit)):
            raise
        raise UserCodeError(
            f"{path} cannot be imported: {describe_error(error)}{locate_error(error, path)}."
        ) from error
    return module


@cache
def _import_package(place: str) -> _Source:
    try:
        with seeds.preserve_torch_state(), seeds.preserve_python_state():
            module = importlib.import_module(place)
    except FaninError:
        raise
    except (Exception, SystemExit) as error:
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name
            and f"{place}.".startswith(f"{error.name}.")
        ):
            raise UserCodeError(
                f"No module {error.name} is installed here, for {place}. Expected {_EXAMPLE}."
            ) from None
        raise UserCodeError(f"{place} cannot be imported: {describe_error(error)}.") from error
    origin = getattr(module, "__file__", None)
    if origin is None:
        raise UserCodeError(
            f"The module {place} has no file, so it cannot be told apart from another version. "
            f"Expected {_EXAMPLE}."
        )
    file = Path(origin).resolve()
    return _Source(place, module, hashlib.sha256(file.read_bytes()).hexdigest(), file)


def _list_callables(module: ModuleType) -> list[str]:
    """The functions and classes that a module itself defines; where there are none, those that it
    imports.
    """
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
