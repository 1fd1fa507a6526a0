"""Registries: frozen entries by name, and third-party entries by entry point."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, Protocol, TypeVar

from fanin.errors import UnknownName, UsageError, quote

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


def is_name(text: object) -> bool:
    """Whether `text` can name an entry: lower-case letters, digits, - and _, 60 at most; never a
    path.
    """
    return isinstance(text, str) and len(text) <= 60 and _NAME.fullmatch(text) is not None


class Named(Protocol):
    """What a registry holds: any frozen record with a name."""

    @property
    def name(self) -> str: ...


EntryT = TypeVar("EntryT", bound=Named)


class Registry(Generic[EntryT]):
    """Entries of one kind by name.

    Built-in entries are added when the package that holds them is imported. Third-party entries
    come from the entry-point group ``fanin.<kind>s`` the first time the registry is asked for
    anything; each entry point loads to an entry, or to a function without arguments that returns
    one. One that fails to load, or whose name is taken, is left out with a warning that names its
    distribution.
    """

    def __init__(self, kind: str, entry_type: type[EntryT]) -> None:
        self.kind = kind
        self.group = f"fanin.{kind}s"
        self._type = entry_type
        self._entries: dict[str, EntryT] = {}
        self._plugins_loaded = False

    def add(self, entry: EntryT) -> EntryT:
        """Register an entry and return it; a second entry of the same name raises."""
        if not isinstance(entry, self._type):
            raise UsageError(
                f"A {self.kind} entry must be a {self._type.__name__}, not {quote(entry)}."
            )
        if not is_name(entry.name):
            raise UsageError(
                f"{quote(entry.name)} cannot name a {self.kind}: use lower-case letters, digits, - "
                "and _ (60 at most)."
            )
        if entry.name in self._entries:
            raise UsageError(
                f"There is a {self.kind} called {entry.name} already: "
                f"{self._entries[entry.name]!r}."
            )
        self._entries[entry.name] = entry
        return entry

    def get(self, name: str) -> EntryT:
        """The entry of that name; an unknown one raises `UnknownName` with near names."""
        self._load_plugins()
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise UnknownName.suggest(self.kind, name, self._entries) from None

    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        self._load_plugins()
        return tuple(self._entries)

    def __iter__(self) -> Iterator[EntryT]:
        self._load_plugins()
        return iter(tuple(self._entries.values()))

    def __contains__(self, name: object) -> bool:
        self._load_plugins()
        return name in self._entries

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for point in entry_points(group=self.group):
            try:
                self.add(_loaded(point, self._type))
            except Exception as error:  # a broken plug-in must not break what does not use it
                owner = (
                    f"{point.dist.name} {point.dist.version}"
                    if point.dist
                    else "an unknown distribution"
                )
                warnings.warn(
                    f"{self.kind} {point.name} of {owner} is left out: {error}", stacklevel=3
                )


def _loaded(point: EntryPoint, entry_type: type[EntryT]) -> EntryT:
    target: EntryT | Callable[[], EntryT] = point.load()
    if isinstance(target, entry_type):
        return target
    if callable(target):
        return target()
    raise UsageError(
        f"{point.value} is neither a {entry_type.__name__} nor a function that returns one."
    )
