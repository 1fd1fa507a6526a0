"""Patterns: which parameters are meant, by name, by a regular expression or by a layer's class.

| pattern                 | in Python         | means the parameters                         |
|-------------------------|-------------------|----------------------------------------------|
| ``encoder.*``           |                   | whose qualified name it fits; it may have    |
|                         |                   | ``*``, ``?`` and ``[ab]``                    |
| ``re:encoder[.][0-3]…`` | ``re.compile(…)`` | whose whole name the expression matches      |
| ``class:Conv2d``        |                   | of layers of a class of that name, and of    |
|                         |                   | its subclasses                               |
| ``class:torch.nn.Conv2d`` | ``nn.Conv2d``   | the same, of this very class                 |

A pattern that is a parameter's name means that parameter, whatever characters the name has in it:
brackets, a star. Under a wrapper such as torch.compile's, a pattern means what it means in the bare
model or, if that is nothing, the names that the wrapped model has. A layer's parameters are its own
and those of the modules inside it, such as the out_proj of attention. The name of a class takes
``*`` and ``?`` too: ``class:*Norm*``.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

from fanin.apply.model_parameters import ParameterUse
from fanin.errors import UnknownName, UsageError, quote

Pattern = str | type[nn.Module] | re.Pattern[str]
Patterns = Pattern | Sequence[Pattern]

ValueT = TypeVar("ValueT")

OUTSIDE = "outside of only"
"""Why a parameter stays of which `only` says nothing."""

_CLASS, _EXPRESSION = "class:", "re:"
_FLAGS = {re.ASCII: "a", re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}
_LEADING_FLAGS = re.compile(r"\s*\(\?[aimsux]+\)")


def write_pattern(pattern: object, argument: str) -> str:
    """A pattern as text: what a rules file would write for a class or an expression of Python.

    >>> write_pattern(nn.Conv2d, "rules"), write_pattern(re.compile("a|b", re.I), "rules")
    ('class:torch.nn.Conv2d', 're:(?i)a|b')

    Raises `UsageError` for anything that is no pattern; `argument` is what it was given for.
    """
    if isinstance(pattern, type) and issubclass(pattern, nn.Module):
        return _CLASS + _write_class(pattern)
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        flags = "".join(letter for flag, letter in _FLAGS.items() if pattern.flags & flag)
        bare = _LEADING_FLAGS.sub("", pattern.pattern, count=1) if flags else pattern.pattern
        return _EXPRESSION + (f"(?{flags})" if flags else "") + bare
    if not isinstance(pattern, str) or not pattern:
        raise UsageError(
            f"{argument}: expected a pattern over parameter names, such as 'encoder.*', a layer "
            f"class such as nn.Conv2d, or a regular expression, not {quote(pattern)}."
        )
    if pattern.startswith(_EXPRESSION):
        _compile(pattern, argument)
    return pattern


def write_patterns(given: Mapping[Any, ValueT], argument: str) -> dict[str, ValueT]:
    """What is given by pattern, in the same order, with every pattern as text."""
    written: dict[str, ValueT] = {}
    for pattern, value in given.items():
        text = write_pattern(pattern, argument)
        written.pop(text, None)  # written twice: the later place counts
        written[text] = value
    return written


def match_uses(
    uses: Sequence[ParameterUse], pattern: object, argument: str
) -> tuple[ParameterUse, ...]:
    """The places of parameters that a pattern means.

    Raises `UnknownName` if there are none, with near names, and `UsageError` for what is no
    pattern.
    """
    text = write_pattern(pattern, argument)
    for get_name in (_get_bare_name, _get_name):
        found = tuple(use for use in uses if get_name(use) == text) or tuple(
            _find_by_kind(uses, text, argument, get_name)
        )
        if found:
            return found
    raise _make_error(uses, text, argument)


def _get_bare_name(use: ParameterUse) -> str:
    return use.bare_name


def _get_name(use: ParameterUse) -> str:
    return use.name


def find_untouched(
    uses: Sequence[ParameterUse], only: Patterns | None, exclude: Patterns | None
) -> dict[str, str]:
    """The names that are not to be touched, each with the reason."""
    names = [use.name for use in uses]
    inside = set(names) if only is None else _match_all(uses, only, "only")
    excluded = set() if exclude is None else _match_all(uses, exclude, "exclude")
    return {
        name: "excluded" if name in excluded else OUTSIDE
        for name in names
        if name in excluded or name not in inside
    }


def _match_all(uses: Sequence[ParameterUse], patterns: Patterns, argument: str) -> set[str]:
    single = isinstance(patterns, str | type | re.Pattern)
    if not (single or isinstance(patterns, Sequence)) or (argument == "only" and not patterns):
        raise UsageError(
            f"{argument} takes one or more patterns such as 'encoder.*', not {quote(patterns)}."
        )
    listed: Iterable[object] = [patterns] if single else patterns  # type: ignore[assignment]
    return {use.name for pattern in listed for use in match_uses(uses, pattern, argument)}


def _find_by_kind(
    uses: Sequence[ParameterUse],
    text: str,
    argument: str,
    get_name: Callable[[ParameterUse], str],
) -> Iterable[ParameterUse]:
    if text.startswith(_CLASS):
        return _find_in_class(uses, text.removeprefix(_CLASS))
    if text.startswith(_EXPRESSION):
        expression = _compile(text, argument)
        return (use for use in uses if expression.fullmatch(get_name(use)))
    found = [use for use in uses if fnmatch.fnmatchcase(get_name(use), text)]
    if found or "[" not in text:
        return found
    # Not a choice of characters then, but a bracket that is part of a name.
    literal = text.replace("[", "[[]")
    return (use for use in uses if fnmatch.fnmatchcase(get_name(use), literal))


# --- classes ------------------------------------------------------------------------------------


def _find_in_class(uses: Sequence[ParameterUse], name: str) -> Iterable[ParameterUse]:
    known = _find_class(name)
    classes = {type(module) for use in uses for module in use.enclosing}
    meant = {cls for cls in classes if _is_of_class(cls, name, known)}
    return (use for use in uses if any(type(module) in meant for module in use.enclosing))


def _is_of_class(cls: type, name: str, known: object) -> bool:
    """Whether a class has that name, or is a subclass of one that has it."""
    return any(
        base is known
        or fnmatch.fnmatchcase(f"{base.__module__}.{base.__qualname__}", name)
        or ("." not in name and fnmatch.fnmatchcase(base.__name__, name))
        for base in cls.__mro__
        if base is not object
    )


def _write_class(cls: type) -> str:
    """The qualified name of a class, by the shortest package that offers it under its own name."""
    parts = cls.__module__.split(".")
    packages = (".".join(parts[: count + 1]) for count in range(len(parts)))
    names = (f"{package}.{cls.__qualname__}" for package in packages)
    return next(
        (name for name in names if _find_class(name) is cls), f"{cls.__module__}.{cls.__qualname__}"
    )


def _find_class(name: str) -> object:
    """What a qualified name means among the modules that are imported; None if nothing."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        found: object = sys.modules.get(".".join(parts[:count]))
        for part in parts[count:]:
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        if isinstance(found, type):
            return found
    return None


# --- mistakes -----------------------------------------------------------------------------------


def _compile(text: str, argument: str) -> re.Pattern[str]:
    try:
        return re.compile(text.removeprefix(_EXPRESSION))
    except re.error as error:
        raise UsageError(
            f"{argument}: {text!r} is no regular expression of Python: {error}. Such as "
            "'re:encoder[.][0-3][.].*'."
        ) from None


def _make_error(uses: Sequence[ParameterUse], text: str, argument: str) -> UnknownName:
    if text.startswith(_CLASS):
        classes = {
            type(module).__name__
            for use in uses
            for module in use.enclosing
            if type(module).__module__ != "builtins"
        }
        kind = f"class of a layer with parameters that {argument} could mean"
        return UnknownName.suggest(kind, text.removeprefix(_CLASS), classes)
    names = [use.name for use in uses]
    kind = f"parameter that {argument} could mean"
    if text.startswith(_EXPRESSION):
        expression = _compile(text, argument)
        near = next((name for name in names if expression.search(name)), None)
        hint = f"A regular expression must match the whole name, such as {near!r}."
        return UnknownName.suggest(kind, text, names, hint=hint if near else "")
    return UnknownName.suggest(kind, text, _list_near(names, text) or names)


def _list_near(names: Sequence[str], pattern: str) -> list[str]:
    """What is meant by the name of a module, or by an index in brackets: patterns that match."""
    dotted = re.sub(r"\[(\w+)\]", r".\1", pattern).strip(".")
    tries = dict.fromkeys((dotted, f"{dotted}.*", f"*.{dotted}", f"*.{dotted}.*"))
    return [
        other
        for other in tries
        if other != pattern and any(fnmatch.fnmatchcase(name, other) for name in names)
    ][:1]
