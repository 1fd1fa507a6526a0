"""Spec strings: ``name`` or ``name(key=value, …)``, the one way to write an entry and its options
as text.

Values are numbers, ``true`` / ``false`` / ``none``, words (quoted or bare) and lists of those:
``he_normal(mode=fan_out)``, ``mlp(widths=[256, 128], activation=[sigmoid, tanh])``. Nothing is ever
evaluated.

A name is that of an entry, or a reference to a user component:
``my_model.py:make`` in a file, ``package.module:make`` in an installed package (`fanin.user_code`).
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import keyword as python_keyword
import math
import re
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from fanin.errors import SpecError, UnknownName, quote

MAX_LENGTH = 1000

Value = bool | int | float | str | None | tuple[Any, ...]

_WORDS: dict[str, bool | None] = {
    "true": True,
    "false": False,
    "none": None,
    "True": True,
    "False": False,
    "None": None,
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_QUALIFIED = re.compile(r"(?:recipe|part):[A-Za-z][A-Za-z0-9_-]*")
"""A name with its kind before it, where another kind has the same name."""
_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
# A path may have anything in it but brackets, with which the options begin.
_TARGET = re.compile(rf"(?:[^()]+\.py|{_WORD}(?:\.{_WORD})*):{_WORD}")


def parse(text: str) -> tuple[str, dict[str, Value]]:
    """Split a spec string into its name and its options.

    Raises `SpecError` for anything else than one name with keyword options.
    """
    if not isinstance(text, str):
        raise SpecError(f"A spec is text such as he_normal(mode=fan_out), not {quote(text)}.")
    text = text.strip()
    if len(text) > MAX_LENGTH:
        raise SpecError(
            f"A spec has at most {MAX_LENGTH} characters; this one has {len(text)}: "
            f"{quote(text, 40)}"
        )
    name, bracket, rest = text.partition("(")
    name = name.strip()
    if not (_NAME.fullmatch(name) or is_qualified(name) or is_reference(name)):
        wanted = "name or name(key=value, …), such as he_normal(mode=fan_out)"
        if ".py" in text:
            wanted = (
                "a file and what to call in it, such as my_file.py:make(key=value), without "
                "brackets in the path"
            )
        raise SpecError(f"{quote(text)} is not a spec. Expected {wanted}.")
    return name, _options(text, rest) if bracket else {}


def is_reference(name: str) -> bool:
    """Whether the name of a spec is a target: ``path/to/file.py:callable`` or
    ``package.module:callable``.
    """
    if not isinstance(name, str) or not name.isprintable() or is_qualified(name):
        return False
    return _TARGET.fullmatch(name) is not None


def is_qualified(name: str) -> bool:
    """Whether the name of a spec has its kind before it: ``recipe:gpt2``."""
    return isinstance(name, str) and _QUALIFIED.fullmatch(name) is not None


def render(name: str, options: Mapping[str, Any]) -> str:
    """The spec string of a name and its options, keys in the order given; `parse` undoes it."""
    inside = ", ".join(f"{key}={render_value(value)}" for key, value in options.items())
    return f"{name}({inside})" if inside else name


def _options(text: str, rest: str) -> dict[str, Value]:
    try:
        # Names of models and data sets may contain "-", so only what stands in the brackets goes to
        # Python's parser.
        call = ast.parse(f"f({rest}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise SpecError(
            f"{quote(text)} is malformed. Expected name(key=value, …), such as "
            "he_normal(mode=fan_out)."
        ) from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise SpecError(
            f"{quote(text)}: options are written key=value, such as he_normal(mode=fan_out)."
        )
    options: dict[str, Value] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in options:
            raise SpecError(f"{quote(text)}: options are written key=value, each key once.")
        options[keyword.arg] = _value(keyword.value, text)
    return options


def _value(node: ast.expr, text: str) -> Value:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return _finite(value, text)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return _finite(-number, text)
        case ast.Name(id=word):
            return _WORDS.get(word, word)
        case ast.BinOp(
            op=ast.Sub(), left=left, right=ast.Name(id=word)
        ):  # fashion-mnist, which Python reads as a difference
            before = _value(left, text)
            if isinstance(before, str):
                return f"{before}-{word}"
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return tuple(_value(item, text) for item in items)
    raise SpecError(
        f"{quote(text)}: values are numbers, words, true, false, none and lists of those."
    )


def _finite(value: Value, text: str) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{quote(text)}: numbers must be finite.")
    return value


def render_value(value: Any) -> str:
    """An option's value as a spec writes it."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(render_value(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # ASCII only: Python's parser normalises other identifiers, so that they would come back
        # changed.
        bare = (
            value.isascii()
            and value.isidentifier()
            and value not in _WORDS
            and not python_keyword.iskeyword(value)
        )
        return value if bare else repr(value)
    return repr(value)


OptionsT = TypeVar("OptionsT")


def construct(name: str, cls: type[OptionsT], options: Mapping[str, Any]) -> OptionsT:
    """An instance of the frozen dataclass `cls` from a spec's options, each checked against the
    type of its field.

    An int is accepted for a float, and a list for a tuple. Raises `UnknownName`
    for an option that `cls` does not have and `SpecError` for a value of the wrong type or a
    missing option; `cls` itself checks ranges.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    if options and not fields:
        raise SpecError(f"{name} takes no options; received {', '.join(options)}.")
    hints = _hints(cls)
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in fields:
            raise UnknownName.suggest(f"option of {name}", key, fields)
        values[key] = coerce(value, hints[key], f"{name}({key}=…)")
    required = [
        key
        for key, field in fields.items()
        if _default(field) is dataclasses.MISSING and key not in values
    ]
    if required:
        raise SpecError(f"{name} needs {', '.join(required)}, such as {name}({required[0]}=…).")
    return cls(**values)


def coerce_fields(name: str, instance: Any) -> None:
    """Check the fields of a frozen dataclass that was built directly as `construct` does, and
    convert them in place.

    For ``__post_init__``, so that ``Normal(std=1)`` and ``normal(std=1.0)`` are the same to the
    last character of their spec.
    """
    hints = _hints(type(instance))
    for field in dataclasses.fields(instance):
        value = coerce(getattr(instance, field.name), hints[field.name], f"{name}({field.name}=…)")
        object.__setattr__(instance, field.name, value)


def render_canonical(name: str, instance: Any) -> str:
    """The canonical spec string of an instance: options that equal their default left out, the
    others sorted by name.

    Defaults are frozen for this reason: changing one would change what a stored identity means.
    """
    changed = {
        field.name: getattr(instance, field.name)
        for field in dataclasses.fields(instance)
        if field.init and getattr(instance, field.name) != _default(field)
    }
    return render(name, dict(sorted(changed.items())))


_KNOWN_HINTS: dict[type, dict[str, Any]] = {}


def _hints(cls: type) -> dict[str, Any]:
    """The types of a class' fields, evaluated once: that is most of the time that a spec takes."""
    if cls not in _KNOWN_HINTS:
        _KNOWN_HINTS[cls] = typing.get_type_hints(cls)
    return _KNOWN_HINTS[cls]


def _default(field: dataclasses.Field[Any]) -> Any:
    return (
        field.default_factory()
        if field.default_factory is not dataclasses.MISSING
        else field.default
    )


def coerce(value: Any, hint: Any, what: str) -> Any:
    """`value` as the type `hint`, or a `SpecError` that begins with `what`; see `construct`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for choice in arguments:
            with contextlib.suppress(SpecError):
                return coerce(value, choice, what)
    elif origin is typing.Literal:
        if value in arguments:
            return value
        raise SpecError(
            f"{what} must be one of {', '.join(map(str, arguments))}, not {quote(value)}."
        )
    elif origin is tuple and isinstance(value, (list, tuple)):
        return tuple(coerce(item, arguments[0], what) for item in value)
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if (
            abs(value) <= sys.float_info.max
        ):  # false for nan and inf, and for integers too large for a float
            return float(value)
    elif hint is type(value) or (value is None and hint is type(None)):
        return value
    raise SpecError(f"{what} must be {describe_type(hint)}, not {quote(value)}.")


def describe_type(hint: Any) -> str:
    """What an option of that type takes, in words."""
    words = {
        float: "a finite number",
        int: "a whole number",
        bool: "true or false",
        str: "a word",
        type(None): "none",
    }
    if hint in words:
        return words[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return f"a list such as [x, y] where each is {describe_type(arguments[0])}"
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(str, arguments))
    return " or ".join(describe_type(choice) for choice in arguments) if arguments else str(hint)
