"""Options read off a signature: each parameter that fanin does not pass becomes a field of a frozen
dataclass.

What a field accepts is what its annotation says, or else the type of its default:

==========================================  ==============================
``width: int = 64``, ``width=64``           a whole number
``scale: float = 2``, ``scale=2.0``         a number
``mode: Literal["a", "b"] = "a"``           one of these
``widths: tuple[int, ...] = (64, 32)``      a list
``cut: float | None = None``                a number, or none
``cut=None``                                a number, a word, true, false or none
==========================================  ==============================
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Any, Literal, Union

from fanin import specs
from fanin.errors import SpecError, UserCodeError, quote
from fanin.user_code.contracts import Contract

_SCALARS = (bool, int, float, str)
_ANYTHING: Any = bool | int | float | str | None

_TAKEN = (
    "Options are numbers, words, true or false, None, tuples of these, and Literal[…] of these: "
    "such as width: int = 64 or "
    "widths: tuple[int, ...] = (64, 32)"
)

Field = tuple[str, Any, Any]
"""Name, type, and a `dataclasses.field` with the default."""


def read_parameters(function: Callable[..., Any], reference: str) -> list[Parameter]:
    """The parameters of a callable, annotations evaluated where they can be."""
    try:
        return list(inspect.signature(function, eval_str=True).parameters.values())
    except Exception:  # an annotation may name what only type checkers import
        pass
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise UserCodeError(
            f"{reference} does not say what parameters it has. Put a Python function around it."
        ) from None


def split_parameters(
    parameters: Sequence[Parameter], contract: Contract, reference: str
) -> tuple[tuple[str, ...], tuple[Parameter, ...]]:
    """The names of what is offered and taken, and the parameters that are options.

    Raises `UserCodeError` where the callable cannot be called as the contract says.
    """
    positional = [
        p
        for p in parameters
        if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]
    first, rest = positional[: len(contract.positional)], positional[len(contract.positional) :]
    any_number = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
    missing = list(contract.positional[len(first) :]) if not any_number else []
    # A first parameter with a default and another name is an option, which would silently be given
    # something else.
    mistaken = [
        p.name
        for p, name in zip(first, contract.positional, strict=False)
        if p.default is not p.empty and p.name != name
    ]
    surplus = [p.name for p in rest if p.default is p.empty and p.name not in contract.optional]
    if missing or mistaken or surplus:
        why = (
            f"it has no parameter for {' and '.join(missing or mistaken)}"
            if missing
            else f"{mistaken[0]} stands where {contract.positional[0]} is passed"
            if mistaken
            else f"nothing is passed for {' and '.join(surplus)}"
        )
        written = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)
        raise UserCodeError(
            f"{reference} cannot make {contract.kind}: {why}. Expected {contract.call}, which returns "
            f"{contract.returns}; its "
            f"parameters are ({written}). Options are given a default, or stand behind *."
        )
    named = [
        p
        for p in (*rest, *parameters)
        if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    ]
    taken = tuple(name for name in contract.optional if any(p.name == name for p in named))
    names = {p.name for p in first} | set(taken)
    return taken, tuple(p for p in parameters if p in named and p.name not in names)


def make_options_class(options: Sequence[Parameter], reference: str) -> type:
    """The frozen dataclass whose fields are the options; see the module."""
    name = reference.rpartition(":")[2]
    return dataclasses.make_dataclass(
        f"{name}_options", [make_field(p, reference) for p in options], frozen=True, kw_only=True
    )


def make_field(parameter: Parameter, reference: str) -> Field:
    """The field of one option. Raises `SpecError` for a type or a default that no spec can write."""
    what = f"{reference}({parameter.name}=…)"
    hint, default = _hint(parameter, what), parameter.default
    if default is parameter.empty:
        return parameter.name, hint, dataclasses.field()
    try:
        return parameter.name, hint, dataclasses.field(default=specs.coerce(default, hint, what))
    except SpecError:
        raise SpecError(
            f"The default of {what} must be {specs.describe_type(hint)}, as its annotation says, not "
            f"{quote(default)}."
        ) from None


def _hint(parameter: Parameter, what: str) -> Any:
    annotation, default = parameter.annotation, parameter.default
    if annotation is parameter.empty or annotation in (Any, object) or isinstance(annotation, str):
        if default is parameter.empty:
            raise SpecError(f"{what} has neither a type nor a default. {_TAKEN}.")
        hint = _type_of(default)
        if hint is None:
            raise SpecError(
                f"The default of {what} is {quote(default)}, which a spec cannot write. {_TAKEN}."
            )
        return hint
    if annotation is tuple and isinstance(default, tuple):
        annotation = _type_of(default)
    hint = _writable(annotation)
    if hint is None:
        raise SpecError(
            f"{what} takes {_name(parameter.annotation)}, which a spec cannot write. {_TAKEN}."
        )
    return hint


def _type_of(default: object) -> Any:
    """What an option with this default accepts; None where nothing can be said."""
    if default is None:
        return _ANYTHING
    if type(default) in _SCALARS:
        return type(default)
    if type(default) is not tuple or not default:
        return None
    kinds = {type(item) for item in default}
    kinds = {float} if kinds == {int, float} else kinds
    return tuple[kinds.pop(), ...] if len(kinds) == 1 and kinds <= set(_SCALARS) else None  # type: ignore[misc]


def _writable(annotation: Any) -> Any:
    """The part of a type that specs can write: ``float | Tensor`` becomes float; None where nothing
    is left.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _SCALARS:
        return annotation
    if origin is typing.Annotated:
        return _writable(arguments[0])
    if origin is Literal and all(value is None or type(value) in _SCALARS for value in arguments):
        return annotation
    if origin in (Union, types.UnionType):
        kept = [
            writable
            for one in arguments
            if one is not type(None) and (writable := _writable(one)) is not None
        ]
        none = (None,) if type(None) in arguments else ()
        return Union[(*kept, *none)] if kept else None
    if origin is tuple and arguments:
        items = {_writable(one) for one in arguments if one is not Ellipsis}
        return tuple[items.pop(), ...] if len(items) == 1 and None not in items else None  # type: ignore[misc]
    return None


def _name(annotation: Any) -> str:
    return (
        annotation.__name__
        if isinstance(annotation, type) and not typing.get_args(annotation)
        else str(annotation)
    )
