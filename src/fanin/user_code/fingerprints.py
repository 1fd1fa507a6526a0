"""Fingerprints of what user code remembers: attributes, closures, variables of its files.

They tell whether anything has changed within one process, such as a counter or a list that grows.
Constants of the code are known by name: modules, and functions and classes that are not the user's.
"""

from __future__ import annotations

import collections
import copyreg
import hashlib
import inspect
import io
import logging
import threading
import types
import warnings
import weakref
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

PLAIN = (type(None), bool, int, float, complex, str, bytes)
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Event, threading.Condition)
_CONSTANT = (
    types.ModuleType,
    types.BuiltinFunctionType,
    types.CodeType,
    property,
    classmethod,
    staticmethod,
    io.IOBase,
    logging.Logger,
    weakref.ref,
    torch.dtype,
    torch.device,
    *_LOCKS,
)
"""Known by name: they hold nothing that training could depend on."""


def fingerprint(
    named: Mapping[str, object], *, modules: Collection[str] = (), known: Collection[object] = ()
) -> dict[str, str]:
    """The fingerprint of each value by name.

    Args:
        named: the values.
        modules: names of the user's modules, whose functions and classes are looked into.
        known: objects that are not looked into, such as the model's layers and parameters.

    A value that cannot be read, such as a running generator, never equals itself.
    """
    reader = _Reader(frozenset(modules), known)
    return {name: reader.read(value) for name, value in named.items()}


class _Reader:
    """Reads values into hashes; an object that was met before counts as the same object."""

    def __init__(self, modules: frozenset[str], known: Collection[object]) -> None:
        self._modules = modules
        self._numbers = {id(value): number for number, value in enumerate(known)}
        self._alive: list[object] = list(known)  # so that no id is used twice
        self._hash = hashlib.blake2b()

    def read(self, value: object) -> str:
        self._hash = hashlib.blake2b(digest_size=16)
        try:
            self._add(value)
        except RecursionError:
            self._add_unreadable(value)
        return self._hash.hexdigest()

    def _say(self, *words: object) -> None:
        for word in words:
            self._hash.update(word if isinstance(word, bytes) else str(word).encode())
            self._hash.update(b"\x1f")

    def _add(self, value: object) -> None:
        kind = type(value)
        if kind in PLAIN:
            self._say(kind.__name__, repr(value))
            return
        if id(value) in self._numbers:
            self._say("same", self._numbers[id(value)])
            return
        self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        self._say(kind.__qualname__)
        for kinds, add in _ADD:
            if isinstance(value, kinds):
                add(self, value)
                return
        self._add_object(value)

    def _add_all(self, *values: object) -> None:
        for value in values:
            self._add(value)

    def _add_tensor(self, value: Tensor) -> None:
        self._say(value.dtype, tuple(value.shape), value.device)
        if not value.is_meta and value.layout == torch.strided:
            flat = value.detach().cpu().contiguous().reshape(-1)
            self._say(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")

    def _add_array(self, value: np.ndarray) -> None:
        self._say(value.dtype, value.shape)
        if value.dtype == object:
            self._add_all(*value.flat)
        else:
            self._say(value.tobytes())

    def _add_mapping(self, value: Mapping[Any, Any]) -> None:
        for key, item in list(value.items()):
            self._add_all(key, item)
        self._add_attributes(value)

    def _add_items(self, value: Collection[object]) -> None:
        self._say(len(value))
        self._add_all(*list(value))
        self._add_attributes(value)

    def _add_constant(self, value: object) -> None:
        self._say(getattr(value, "__qualname__", getattr(value, "__name__", "")))

    def _add_function(self, value: types.FunctionType) -> None:
        self._say(value.__module__, value.__qualname__)
        if value.__module__ in self._modules:
            cells = value.__closure__ or ()
            self._add_all(value.__dict__, value.__defaults__, value.__kwdefaults__)
            self._add_all(*(_read_cell(cell) for cell in cells))

    def _add_class(self, value: type) -> None:
        self._say(value.__module__, value.__qualname__)
        if value.__module__ in self._modules:
            own = {
                name: item
                for name, item in vars(value).items()
                if not (name.startswith(("__", "_abc_")) or inspect.isdatadescriptor(item))
            }
            self._add(own)

    def _add_method(self, value: types.MethodType) -> None:
        self._add_all(value.__self__, value.__func__)

    def _add_partial(self, value: partial[Any]) -> None:
        self._add_all(value.func, value.args, value.keywords)

    def _add_generator(self, value: torch.Generator) -> None:
        self._add_tensor(value.get_state())

    def _add_attributes(self, value: object) -> bool:
        """Add what an object's attributes hold; whether it has any."""
        attributes = dict(getattr(value, "__dict__", {}))
        for owner in type(value).__mro__:
            slots = owner.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, name):
                    attributes[name] = getattr(value, name)
        for name, item in attributes.items():
            if name not in ("__dict__", "__weakref__"):
                self._add_all(name, item)
        return bool(attributes)

    def _add_object(self, value: object) -> None:
        if self._add_attributes(value) or type(value).__module__ in self._modules:
            return
        if hasattr(value, "cache_info"):  # a cache returns what the function would
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reduce = copyreg.dispatch_table.get(type(value))
                reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception:
            self._add_unreadable(value)
            return
        self._add_all(*(reduced if isinstance(reduced, tuple) else (reduced,)))

    def _add_unreadable(self, value: object) -> None:
        global _unreadable
        _unreadable += 1
        self._say("unreadable", _unreadable)


_unreadable = 0

_ADD: tuple[tuple[Any, Callable[[_Reader, Any], object]], ...] = (
    (Tensor, _Reader._add_tensor),
    (np.ndarray, _Reader._add_array),
    (torch.Generator, _Reader._add_generator),
    (_CONSTANT, _Reader._add_constant),
    (type, _Reader._add_class),
    (types.FunctionType, _Reader._add_function),
    (types.MethodType, _Reader._add_method),
    (partial, _Reader._add_partial),
    (Mapping, _Reader._add_mapping),
    ((list, tuple, set, frozenset, collections.deque), _Reader._add_items),
)


def _read_cell(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
