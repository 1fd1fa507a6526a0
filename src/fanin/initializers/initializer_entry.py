"""The entries of the initializers, and the registry that holds them."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from fanin.errors import SpecError
from fanin.initializers.initializer import Initializer
from fanin.registry import ComponentEntry, Registry

Level = Literal["tensor", "model"]
Need = Literal["data", "loss", "followers", "structure"]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where a method comes from."""

    authors: str
    title: str
    year: int
    link: str

    def __str__(self) -> str:
        stop = "" if self.title.endswith(("?", "!")) else "."
        return f"{self.authors} ({self.year}). {self.title}{stop} {self.link}"


@dataclass(frozen=True, kw_only=True)
class InitializerEntry(ComponentEntry):
    """An initializer as the catalogue describes it."""

    component: type[Initializer]
    formula: str
    paper: Paper
    suited: str
    """When to use it: the networks it is for."""
    avoid: str
    """When not to use it, and why."""
    cost: str
    """What computing it costs, relative to a draw of normal numbers."""
    differs: str
    """Where torch, Keras or JAX do something else under this name."""
    examples: tuple[str, ...] = ()
    """Spec strings that show its options."""
    level: Level = "tensor"
    needs: tuple[Need, ...] = ()
    """What it looks at besides the shape of the weight."""

    @property
    def example(self) -> str:
        """A spec string that works: the name alone, or the first example if an option must be
        given.
        """
        options = fields(self.component)  # type: ignore[arg-type]
        required = any(
            option.default is MISSING and option.default_factory is MISSING for option in options
        )
        return self.examples[0] if required else self.name

    @property
    def year(self) -> int:
        """The year of the paper."""
        return self.paper.year

    @property
    def deterministic(self) -> bool:
        """Whether another seed gives the same weights."""
        return self.component.deterministic


REGISTRY: Registry[InitializerEntry, Initializer] = Registry("initializer", InitializerEntry)


def get(spec: str | Initializer, **options: Any) -> Initializer:
    """The initializer that a spec, or a name and options, describes.

    ``get("he_normal(mode=fan_out)")`` and ``get("he_normal", mode="fan_out")`` are equal. A user
    component is named by a reference, such as ``get("my_file.py:my_init_(gain=2.0)")``
    (`fanin.initializers.user_initializer`). An `Initializer` is returned as it is.

    >>> get("he_normal", mode="fan_out")
    HeNormal(mode='fan_out', a=0.0, truncated=False)

    Raises `UnknownName` for an unknown name or option, with near names, `SpecError` for a malformed
    spec or a value that the option does not accept, and for a reference what `fanin.user_code.load`
    raises.
    """
    if not isinstance(spec, Initializer):
        return REGISTRY.make(spec, **options)
    if options:
        raise SpecError(
            f"{spec} has its options already; {', '.join(options)} cannot be added to it."
        )
    return spec


def names() -> tuple[str, ...]:
    """The names of all initializers, including third-party ones."""
    return REGISTRY.names()
