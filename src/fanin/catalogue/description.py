"""What the catalogue says of an entry, read from the entry's options and docstring."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from fanin import specs
from fanin.errors import MissingExtra
from fanin.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of an entry."""

    name: str
    default: str
    """As a spec writes it; empty if the option is required."""
    takes: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """An entry of the catalogue, in words."""

    kind: str
    name: str
    summary: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """What there is to know, by heading, such as formula and paper."""
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()
    """Lines to copy."""


def list_options(cls: type) -> tuple[Option, ...]:
    hints = typing.get_type_hints(cls)
    return tuple(
        Option(
            name=option.name,
            default=_format_default(option),
            takes=specs.describe_type(hints[option.name]),
        )
        for option in dataclasses.fields(cls)
        if option.init
    )


def _format_default(option: dataclasses.Field[Any]) -> str:
    if option.default is not dataclasses.MISSING:
        return specs.render_value(option.default)
    return (
        ""
        if option.default_factory is dataclasses.MISSING
        else specs.render_value(option.default_factory())
    )


def drop_empty(facts: dict[str, str]) -> dict[str, str]:
    """The facts that there are."""
    return {heading: text for heading, text in facts.items() if text}


def read_summary(of: type) -> str:
    """The docstring up to the first paragraph that ends with a full stop, so that a formula is not
    cut off, or to a table.
    """
    text = ""
    for paragraph in (of.__doc__ or "").split("\n\n"):
        if "====" in paragraph:
            return f"{text.rstrip(':')}."
        text = f"{text} {' '.join(paragraph.split())}".strip()
        if text.endswith("."):
            break
    return text


def import_part(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"fanin.{name}")
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "a package", "study", "A study") from None


def get_registry(kind: str) -> Registry[Any, Any]:
    """The registry of optimizers, schedules or augmentations."""
    module = {"augmentations": "augmentation"}.get(kind, kind)
    registry: Registry[Any, Any] = import_part(f"training.{module}").REGISTRY
    return registry
