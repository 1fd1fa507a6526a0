"""The registry: entries by name, duplicates, near names, and plug-ins good and bad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from fanin import registry
from fanin.errors import UnknownName, UsageError
from fanin.registry import Registry


@dataclass(frozen=True)
class Thing:
    """An entry."""

    name: str


@dataclass(frozen=True)
class Distribution:
    """What a plug-in was installed from."""

    name: str = "plugin"
    version: str = "1.0"


@dataclass(frozen=True)
class Point:
    """What stands in for an entry point."""

    name: str
    target: Callable[[], object]
    value: str = "plugin:thing"
    dist: Distribution = Distribution()

    def load(self) -> object:
        return self.target()


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[Point]:
    """The entry points that an installation offers in the group of things."""
    points: list[Point] = []
    monkeypatch.setattr(
        registry, "entry_points", lambda group: points if group == "fanin.things" else []
    )
    return points


@pytest.fixture
def things(plugins: list[Point]) -> Registry[Thing]:
    made = Registry("thing", Thing)
    made.add(Thing("first"))
    made.add(Thing("second-one"))
    return made


def test_entries_are_found_by_name_in_the_order_of_registration(things: Registry[Thing]) -> None:
    assert things.names() == ("first", "second-one")
    assert [thing.name for thing in things] == ["first", "second-one"]
    assert things.get("first") == Thing("first")
    assert "first" in things
    assert "third" not in things


def test_a_second_entry_of_a_name_raises_and_shows_the_first(things: Registry[Thing]) -> None:
    with pytest.raises(UsageError, match=r"Thing\(name='first'\)"):
        things.add(Thing("first"))


def test_an_unknown_name_offers_near_ones(things: Registry[Thing]) -> None:
    with pytest.raises(UnknownName, match="Did you mean first"):
        things.get("frist")


@pytest.mark.parametrize("name", ["zzz", "", 3, None, [7]])
def test_a_name_that_is_near_nothing_gets_all_names(things: Registry[Thing], name: object) -> None:
    with pytest.raises(UnknownName, match="Known: first, second-one"):
        things.get(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "Upper", "a b", "../x", "-a", "a--b", "é", "a" * 61])
def test_a_name_that_could_not_be_typed_is_refused(things: Registry[Thing], name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a thing"):
        things.add(Thing(name))


def test_an_entry_of_another_type_is_refused(things: Registry[Thing]) -> None:
    with pytest.raises(UsageError, match="must be a Thing"):
        things.add(SimpleNamespace(name="x"))  # type: ignore[arg-type]


def test_a_plugin_may_be_an_entry_or_a_function_that_makes_one(
    things: Registry[Thing], plugins: list[Point]
) -> None:
    plugins += [Point("a", lambda: Thing("third")), Point("b", lambda: lambda: Thing("fourth"))]
    assert things.names() == ("first", "second-one", "third", "fourth")


def test_plugins_are_loaded_once_and_not_before_they_are_needed(
    things: Registry[Thing], plugins: list[Point]
) -> None:
    loads: list[str] = []
    plugins.append(Point("a", lambda: loads.append("load") or Thing("third")))
    assert loads == []
    assert things.get("third") == things.get("third")
    assert loads == ["load"]


def _raises() -> object:
    raise ImportError("no module named missing")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (_raises, "no module named missing"),
        (lambda: 3, "neither a Thing"),
        (lambda: Thing("first"), "called first already"),
    ],
    ids=["does not load", "is something else", "takes a name that is taken"],
)
def test_a_bad_plugin_is_left_out_with_a_warning_that_names_it(
    things: Registry[Thing], plugins: list[Point], target: Callable[[], object], message: str
) -> None:
    plugins += [Point("bad", target), Point("good", lambda: Thing("third"))]
    with pytest.warns(UserWarning, match=f"thing bad of plugin 1.0 is left out: .*{message}"):
        names = things.names()
    assert names == ("first", "second-one", "third")
    assert things.get("first") == Thing("first")
