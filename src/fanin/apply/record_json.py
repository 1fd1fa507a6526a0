"""Records as JSON objects, and back.

A layout says nothing that is usual: what equals its default is left out. Everything else is written
as it is, so that what reads a record need not know defaults.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar

from fanin.errors import UsageError, quote
from fanin.fans import Fans, PackedPart, WeightLayout
from fanin.fans.layout import ViewStep

_BRIEF = (WeightLayout, PackedPart, ViewStep, Fans)
RecordT = TypeVar("RecordT")


def write_json(value: Any) -> Any:
    """Dataclasses as objects, tuples as lists, the rest as it is."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            one.name: write_json(getattr(value, one.name))
            for one in _list_fields(type(value))
            if not (isinstance(value, _BRIEF) and getattr(value, one.name) == one.default)
        }
    if isinstance(value, Mapping):
        return {key: write_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [write_json(one) for one in value]
    return value


def read_json(kind: type[RecordT], found: object, where: str) -> RecordT:
    """An object of the dataclass `kind`, from what `write_json` makes of one.

    Raises `UsageError` for anything else, with the place of what does not fit.
    """
    if not isinstance(found, Mapping):
        raise UsageError(f"{where}: expected a JSON object, not {quote(found)}.")
    known = {one.name: one for one in _list_fields(kind)}
    for key in found:
        if key not in known:
            raise UsageError(f"{where}: {quote(key)} is no field of a record.")
    missing = [name for name, one in known.items() if name not in found and _is_required(one)]
    if missing:
        raise UsageError(f"{where}: {', '.join(missing)} missing.")
    hints = _resolve_hints(kind)
    return kind(
        **{key: _read_value(hints[key], value, f"{where}.{key}") for key, value in found.items()}
    )


def _list_fields(kind: type) -> list[Field[Any]]:
    """The fields of a dataclass that are written: those by which two of them are compared."""
    return [one for one in fields(kind) if one.compare]


def _is_required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _resolve_hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read_value(hint: Any, value: object, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return tuple(value) if isinstance(value, list) else value
    if origin in (typing.Union, types.UnionType):
        return _read_union(args, value, where)
    if is_dataclass(hint) and isinstance(hint, type):
        return read_json(hint, value, where)
    if origin is tuple:
        return _read_tuple(args, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _make_error("an object", value, where)
        return {
            str(key): one if args[1] is Any else _read_value(args[1], one, f"{where}.{key}")
            for key, one in value.items()
        }
    if origin is typing.Literal:
        if value not in args:
            raise _make_error(" or ".join(map(repr, args)), value, where)
        return value
    return _read_plain(hint, value, where)


def _read_union(args: Sequence[Any], value: object, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    (kind, *others) = [one for one in args if one is not type(None)]
    assert not others, where
    return _read_value(kind, value, where)


def _read_tuple(args: Sequence[Any], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _make_error("a list", value, where)
    return tuple(_read_value(args[0], one, f"{where}[{i}]") for i, one in enumerate(value))


def _read_plain(kind: type, value: object, where: str) -> Any:
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise _make_error(f"a value of type {kind.__name__}", value, where)
    return value


def _make_error(expected: str, value: object, where: str) -> UsageError:
    return UsageError(f"{where}: expected {expected}, not {quote(value)}.")
