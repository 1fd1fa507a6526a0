"""Options read from a signature: the fields of a frozen dataclass.

Each parameter that fanin does not pass is an option. What it accepts follows from its annotation,
or else from the type of its default:

| parameter                              | accepts                                   |
|----------------------------------------|-------------------------------------------|
| ``width: int = 64``, ``width=64``      | a whole number                            |
| ``scale: float = 2``, ``scale=2.0``    | a number                                  |
| ``mode: Literal["a", "b"] = "a"``      | one of these                              |
| ``widths: tuple[int, ...] = (64, 32)`` | a list                                    |
| ``cut: Optional[float] = None``        | a number, or none                         |
| ``cut=None``                           | a number, a word, true, false or none     |
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
_ANY_SCALAR: Any = bool | int | float | str | None

_SUPPORTED = (
    "Options are numbers, words, true or false, None, tuples of these, and Literal[…] of these: "
    "such as width: int = 64 or widths: tuple[int, ...] = (64, 32)"
)

Field = tuple[str, Any, Any]
"""Name, type, and a `dataclasses.field` with the default."""


def read_parameters(function: Callable[..., Any], reference: str) -> list[Parameter]:
    """The parameters of a callable, with evaluated annotations if they can be evaluated."""
    try:
        return list(inspect.signature(function, eval_str=True).parameters.values())
    except Exception:  # an annotation may name what only type checkers import
        pass
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise UserCodeError(
            f"Cannot inspect the parameters of {reference}. Wrap it in a function."
        ) from None


def split_parameters(
    parameters: Sequence[Parameter], contract: Contract, reference: str
) -> tuple[tuple[str, ...], tuple[Parameter, ...]]:
    """The optional arguments that the callable accepts, and the parameters that are options.

    Raises `UserCodeError` if the callable cannot be called as the contract says.
    """
    by_position = [
        p
        for p in parameters
        if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]
    count = len(contract.positional)
    first, rest = by_position[:count], by_position[count:]
    if problem := _find_problem(parameters, first, rest, contract):
        signature = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)
        raise UserCodeError(
            f"{reference} cannot make {contract.kind}: {problem}. Expected {contract.call}, which "
            f"must return {contract.returns}; its parameters are ({signature}). Give options a "
            "default or make them keyword-only."
        )
    by_keyword = [
        p
        for p in (*rest, *parameters)
        if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    ]
    accepts = tuple(name for name in contract.optional if any(p.name == name for p in by_keyword))
    passed = {p.name for p in first} | set(accepts)
    return accepts, tuple(p for p in parameters if p in by_keyword and p.name not in passed)


def _find_problem(
    parameters: Sequence[Parameter],
    first: Sequence[Parameter],
    rest: Sequence[Parameter],
    contract: Contract,
) -> str:
    """Why the callable cannot be called as the contract says; empty if it can be.

    Args:
        parameters: all of them.
        first: those that receive `Contract.positional`.
        rest: the others that may be passed by position.
        contract: what fanin passes.
    """
    any_number = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
    missing = contract.positional[len(first) :]
    if missing and not any_number:
        return f"it has no parameter for {' and '.join(missing)}"
    # A first parameter with a default and another name is an option: it would silently receive the
    # positional argument.
    for parameter, name in zip(first, contract.positional, strict=False):
        if parameter.default is not parameter.empty and parameter.name != name:
            return f"its parameter {parameter.name} is where {contract.positional[0]} is passed"
    unfilled = [p.name for p in rest if p.default is p.empty and p.name not in contract.optional]
    return f"nothing is passed for {' and '.join(unfilled)}" if unfilled else ""


def make_options_class(options: Sequence[Parameter], reference: str) -> type:
    """The frozen dataclass whose fields are the options; see the module."""
    name = reference.rpartition(":")[2]
    return dataclasses.make_dataclass(
        f"{name}_options", [make_field(p, reference) for p in options], frozen=True, kw_only=True
    )


def make_field(parameter: Parameter, reference: str) -> Field:
    """The field of one option; `SpecError` for a type or a default that no spec can write."""
    what = f"{reference}({parameter.name}=…)"
    hint, default = _find_hint(parameter, what), parameter.default
    if default is parameter.empty:
        return parameter.name, hint, dataclasses.field()
    try:
        return parameter.name, hint, dataclasses.field(default=specs.coerce(default, hint, what))
    except SpecError:
        raise SpecError(
            f"The default of {what} must be {specs.describe_type(hint)}, as its annotation says, "
            f"not {quote(default)}."
        ) from None


def _find_hint(parameter: Parameter, what: str) -> Any:
    """The type of one option, from its annotation or its default."""
    annotation, default = parameter.annotation, parameter.default
    if annotation is parameter.empty or annotation in (Any, object) or isinstance(annotation, str):
        if default is parameter.empty:
            raise SpecError(f"{what} has neither a type nor a default. {_SUPPORTED}.")
        hint = _infer_hint(default)
        if hint is None:
            raise SpecError(
                f"The default of {what} is {quote(default)}, which a spec cannot write. "
                f"{_SUPPORTED}."
            )
        return hint
    if annotation is tuple and isinstance(default, tuple):
        annotation = _infer_hint(default)
    hint = _reduce_to_writable(annotation)
    if hint is None:
        raise SpecError(
            f"{what} takes {_format_annotation(parameter.annotation)}, which a spec cannot write. "
            f"{_SUPPORTED}."
        )
    return hint


def _infer_hint(default: object) -> Any:
    """What an option with this default accepts; None if that cannot be inferred."""
    if default is None:
        return _ANY_SCALAR
    if type(default) in _SCALARS:
        return type(default)
    if type(default) is not tuple or not default:
        return None
    kinds = {type(item) for item in default}
    kinds = {float} if kinds == {int, float} else kinds
    return tuple[kinds.pop(), ...] if len(kinds) == 1 and kinds <= set(_SCALARS) else None  # type: ignore[misc]


def _reduce_to_writable(annotation: Any) -> Any:
    """The part of a type that specs can write, such as float of ``float | Tensor``; or None."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _SCALARS:
        return annotation
    if origin is typing.Annotated:
        return _reduce_to_writable(arguments[0])
    if origin is Literal and all(value is None or type(value) in _SCALARS for value in arguments):
        return annotation
    if origin in (Union, types.UnionType):
        choices = [_reduce_to_writable(one) for one in arguments if one is not type(None)]
        writable = [choice for choice in choices if choice is not None]
        none = (None,) if type(None) in arguments else ()
        return Union[(*writable, *none)] if writable else None
    if origin is tuple and arguments:
        items = {_reduce_to_writable(one) for one in arguments if one is not Ellipsis}
        return tuple[items.pop(), ...] if len(items) == 1 and None not in items else None  # type: ignore[misc]
    return None


def _format_annotation(annotation: Any) -> str:
    is_plain_class = isinstance(annotation, type) and not typing.get_args(annotation)
    return annotation.__name__ if is_plain_class else str(annotation)
