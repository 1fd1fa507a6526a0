"""Initializers by spec: an entry of the catalogue, or a user's own."""

from __future__ import annotations

from typing import Any

from fanin import specs
from fanin.errors import SpecError, quote
from fanin.initializers import user_initializer
from fanin.initializers.initializer import REGISTRY, Initializer


def get(spec: str | Initializer, **options: Any) -> Initializer:
    """The initializer that a spec string, or a name and options, describes.

    ``get("he_normal(mode=fan_out)")`` and ``get("he_normal", mode="fan_out")`` are equal. A user's
    own is named by its target, such as ``get("my_file.py:my_init_(gain=2.0)")``
    (`fanin.initializers.user_initializer`). An `Initializer` is returned as it is. Raises
    `UnknownName` (near names are offered) or `SpecError`, and for a target what
    `fanin.user_code.load` raises.
    """
    if isinstance(spec, Initializer):
        if options:
            raise SpecError(
                f"{spec} has its options already; {', '.join(options)} cannot be added to it."
            )
        return spec
    name, written = specs.parse(spec)
    make = None if specs.is_reference(name) else REGISTRY.get(name).make
    twice = sorted(written.keys() & options.keys())
    if twice:
        raise SpecError(f"{quote(spec)} gives {', '.join(twice)} already. Give each option once.")
    if make is None:
        return user_initializer.initializer(name, written | options)
    return specs.construct(name, make, written | options)
