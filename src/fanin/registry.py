"""Registries: the entries of one kind, by name, and the components that they make from specs.

    REGISTRY: Registry[ComponentEntry, Schedule] = Registry("schedule", ComponentEntry)
    REGISTRY.add(ComponentEntry(component=Cosine, summary="Half a cosine wave."))
    REGISTRY.make("cosine(final=0.1)")  # Cosine(final=0.1); its .spec is "cosine(final=0.1)"

Every kind that a spec can name has one `REGISTRY` in its package. `Registry.make` is the way from a
spec to a component, for all of them: it parses the spec, finds the entry, or loads it if the name
is a reference to user code, checks the options, and returns one component. The component's `spec`
is the canonical spec: `make` turns it back into an equal component.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, final

from fanin import specs
from fanin.errors import SpecError, UnknownName, UsageError, quote

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


def is_name(text: object) -> bool:
    """Whether `text` can name an entry: at most 60 lower-case letters, digits, - and _; no path."""
    return isinstance(text, str) and len(text) <= 60 and _NAME.fullmatch(text) is not None


def is_builtin(function: object) -> bool:
    """Whether a function is fanin's own, not one of a plug-in, a user component or a notebook."""
    return str(getattr(function, "__module__", "")).partition(".")[0] == "fanin"


def import_modules(package: str, path: Sequence[str]) -> None:
    """Import every module of a package in alphabetical order, so that its entries are registered.

    Call it in an ``__init__.py`` as ``import_modules(__name__, __path__)``.
    """
    for module in sorted(pkgutil.iter_modules(path), key=lambda module: module.name):
        importlib.import_module(f"{package}.{module.name}")


class Entry(Protocol):
    """What a registry holds: a frozen record that makes a component from options."""

    @property
    def name(self) -> str:
        """The name that specs use."""

    @property
    def options(self) -> type:
        """A frozen dataclass whose fields are the options.

        Its defaults never change, because a canonical spec leaves them out.
        """

    def make(self, options: Any, /) -> Any:
        """The component with these options, an instance of `options`."""


class Component:
    """Base of components that are their own options: a frozen dataclass whose fields are options.

    Field types and ranges are checked when an instance is made, however it is made.
    """

    name: ClassVar[str]
    """The name in the registry and in specs."""

    def __post_init__(self) -> None:
        specs.coerce_fields(self.name, self)
        self.check()

    def check(self) -> None:
        """Raise `SpecError` if an option is out of range; accepts every option by default.

        The types of the options have been checked already.
        """

    @property
    @final
    def spec(self) -> str:
        """The canonical spec, such as ``he_normal(mode=fan_out)``."""
        return specs.render_canonical(self.name, self)

    def __str__(self) -> str:
        return self.spec


@dataclass(frozen=True, kw_only=True)
class ComponentEntry:
    """The entry of a `Component` class: `make` returns an instance of that class."""

    component: type[Component]
    summary: str

    @property
    def name(self) -> str:
        """The name of the component class."""
        return self.component.name

    @property
    def options(self) -> type:
        """The component class itself: its fields are the options."""
        return self.component

    def make(self, options: Any) -> Any:
        """`options`, which is the component."""
        return options


@dataclass(frozen=True)
class NoOptions:
    """The options of an entry that has none."""


@dataclass(frozen=True)
class UserEntry:
    """The entry of a user component, whose name is its reference."""

    name: str
    options: type
    make: Callable[[Any], Any]


class PlainEntry:
    """Base of entries without options: such an entry is also the component that it makes."""

    name: str
    options: ClassVar[type] = NoOptions

    @property
    def spec(self) -> str:
        """The canonical spec, which is the name."""
        return self.name

    def make(self, options: NoOptions) -> Self:
        """The entry itself."""
        return self


class ForeignWords(Protocol):
    """What other frameworks call the entries of one kind, and their options."""

    @property
    def names(self) -> Mapping[str, str]:
        """Each foreign name, and the name of the entry that it stands for."""

    def translate(self, name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """A name and options in the words of fanin; those that are so already stay as they are."""


EntryT = TypeVar("EntryT", bound=Entry)
ComponentT = TypeVar("ComponentT")


class Registry(Generic[EntryT, ComponentT]):
    """The entries of one kind by name.

    Built-in entries are added when the package that holds them is imported. Third-party entries
    come from entry points the first time the registry is asked for anything; each entry point loads
    to an entry, or to a function without arguments that returns one. One that fails to load, or
    whose name is taken, is left out with a warning that names its distribution.

    Args:
        kind: what one component is called, for errors: "initializer".
        entry_type: the class of the entries.
        aliases: other names of entries, and the names that they stand for.
        groups: the groups of the entry points; ``fanin.<kind>s`` by default.
    """

    def __init__(
        self,
        kind: str,
        entry_type: type[EntryT],
        *,
        aliases: Mapping[str, str] | None = None,
        groups: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.groups = groups or (f"fanin.{kind}s",)
        self._type = entry_type
        self._load_user_entry: Callable[[str], Entry] | None = None
        self._foreign: ForeignWords | None = None
        self._qualified: dict[str, Registry[Any, Any]] = {}
        self._aliases = dict(aliases or {})
        self._entries: dict[str, EntryT] = {}
        self._plugins_loaded = False

    def make(self, spec: str, /, **options: Any) -> ComponentT:
        """The component that a spec describes, or a name and options.

        ``make("cosine(final=0.1)")`` and ``make("cosine", final=0.1)`` return equal components.

        Raises `UnknownName` for an unknown name or option, with near names, `SpecError` for a
        malformed spec or a value that the option does not accept, and for a reference what
        `fanin.user_code.load` raises.
        """
        name, written = specs.parse(spec)
        if twice := sorted(written.keys() & options.keys()):
            raise SpecError(
                f"{quote(spec)} gives {', '.join(twice)} already. Give each option once."
            )
        name, given = self._translate(name, written | options)
        entry = self.find(name)
        made: ComponentT = entry.make(specs.construct(entry.name, entry.options, given))
        return made

    def find(self, name: str) -> Entry:
        """The entry of a name or an alias, of a qualified name, or of a reference to user code."""
        kind, colon, rest = name.partition(":")
        if colon and kind in self._qualified:
            return self._qualified[kind].find(rest)
        if self._load_user_entry is not None and specs.is_reference(name):
            return self._load_user_entry(name)
        return self.get(name)

    def get(self, name: str) -> EntryT:
        """The registered entry of a name, an alias or a foreign name.

        Raises `UnknownName` with near names if there is none.
        """
        self._load_plugins()
        try:
            return self._entries[self._aliases.get(name, name)]
        except (KeyError, TypeError):
            foreign = self.foreign_names
            if isinstance(name, str) and name in foreign:
                return self._entries[foreign[name]]
            known = (*self._entries, *self._aliases)
            raise UnknownName.suggest(
                self.kind, name, known, also=foreign, hint=self._hint_at_own()
            ) from None

    def add(self, entry: EntryT) -> EntryT:
        """Register an entry and return it; a second entry of the same name raises `UsageError`."""
        if not isinstance(entry, self._type):
            raise UsageError(
                f"A {self.kind} entry must be a {self._type.__name__}, not {quote(entry)}."
            )
        if not is_name(entry.name):
            raise UsageError(
                f"{quote(entry.name)} cannot name a {self.kind}: use lower-case letters, digits, - "
                "and _ (60 at most)."
            )
        if entry.name in self._entries or entry.name in self._aliases:
            taken = self._entries.get(entry.name) or f"an alias of {self._aliases[entry.name]}"
            raise UsageError(f"There is a {self.kind} called {entry.name} already: {taken!r}.")
        self._entries[entry.name] = entry
        return entry

    def load_user_entries_with(self, load: Callable[[str], Entry]) -> None:
        """Support user components: `load` returns the entry of a reference to user code."""
        self._load_user_entry = load

    def include(self, other: Registry[Any, Any]) -> None:
        """Take the entries of another kind too, by names with the kind before them:
        ``recipe:gpt2``.
        """
        self._qualified[other.kind] = other

    def understand(self, foreign: ForeignWords) -> None:
        """Translate the words of other frameworks into those of the entries.

        A registered entry goes before a foreign name, so that a plug-in keeps its name.
        """
        self._foreign = foreign

    @property
    def foreign_names(self) -> Mapping[str, str]:
        """Each foreign name, and the name of the entry that it stands for."""
        names = self._foreign.names if self._foreign is not None else {}
        return {
            name: meant
            for name, meant in names.items()
            if meant in self._entries and name not in self._entries
        }

    def _translate(self, name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        self._load_plugins()
        if (
            self._foreign is None
            or specs.is_qualified(name)
            or (name in self._entries and name in self._foreign.names)
        ):
            return name, options
        return self._foreign.translate(name, options)

    def _hint_at_own(self) -> str:
        """How a user's own component is named; empty if this kind does not support them."""
        return f"Your own {self.kind}: my_file.py:make." if self._load_user_entry else ""

    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration; without aliases."""
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
        for point in (point for group in self.groups for point in entry_points(group=group)):
            try:
                self.add(_load_entry(point, self._type))
            # a broken plug-in, even one that ends the process, breaks nothing that does not use it
            except (Exception, SystemExit) as error:
                owner = (
                    f"{point.dist.name} {point.dist.version}"
                    if point.dist
                    else "an unknown distribution"
                )
                warnings.warn(
                    f"{self.kind} {point.name} of {owner} is left out: {error}", stacklevel=3
                )


def _load_entry(point: EntryPoint, entry_type: type[EntryT]) -> EntryT:
    loaded: EntryT | Callable[[], EntryT] = point.load()
    if isinstance(loaded, entry_type):
        return loaded
    if callable(loaded):
        return loaded()
    raise UsageError(
        f"{point.value} is neither a {entry_type.__name__} nor a function that returns one."
    )
