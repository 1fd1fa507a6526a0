"""The catalogue: every entry of every kind can be named, found and described."""

from __future__ import annotations

import dataclasses
import json

import pytest
from combinations import for_each

import fanin
from fanin import catalogue
from fanin.errors import UnknownName, UsageError

ENTRIES = [(kind, name) for kind in catalogue.kinds() for name in catalogue.names(kind)]


@for_each(("kind", "name"), ENTRIES)
def test_every_entry_is_described_in_words(kind: str, name: str) -> None:
    found = catalogue.describe(kind, name)
    assert (found.kind, found.name) == (kind, name)
    assert found.summary
    assert found.examples
    assert all(found.facts.values()) or found.kind == "initializers"
    assert json.loads(json.dumps(dataclasses.asdict(found)))["name"] == name


@for_each(("kind", "name"), ENTRIES)
def test_every_entry_is_found_by_its_name_and_by_its_qualified_name(kind: str, name: str) -> None:
    found = catalogue.find(f"{kind}:{name}")
    assert found == catalogue.find(f"{catalogue.singular(kind)}:{name}")
    if [entry for _, entry in ENTRIES].count(name) == 1:
        assert catalogue.find(name) == found
    else:
        with pytest.raises(UsageError, match=f"{kind}:{name}"):
            catalogue.find(name)


@for_each("name", catalogue.names("initializers"))
def test_the_example_of_an_initializer_is_a_spec_that_works(name: str) -> None:
    for example in catalogue.describe("initializers", name).examples:
        specs = example.split('"')[1::2]
        assert name in [fanin.get(spec).name for spec in specs]


def test_options_have_the_defaults_of_the_entry() -> None:
    options = {
        option.name: option for option in catalogue.describe("initializers", "he_normal").options
    }
    assert options["mode"].default == "fan_in"
    assert options["mode"].takes == "fan_in or fan_out or fan_avg or fan_geo_avg"
    assert options["truncated"].default == "false"


def test_a_formula_and_a_paper_stand_with_every_initializer() -> None:
    for name in catalogue.names("initializers"):
        facts = catalogue.describe("initializers", name).facts
        assert facts["formula"]
        assert facts["paper"]
        assert facts["when to use"]


def test_names_takes_the_singular_too() -> None:
    assert fanin.names("initializer") == fanin.names("initializers")
    assert "quick" in fanin.names("studies")


def test_an_unknown_kind_or_name_offers_near_ones() -> None:
    with pytest.raises(UnknownName, match="initializers"):
        catalogue.names("initialisers")
    with pytest.raises(UnknownName, match="he_normal"):
        catalogue.find("he_norml")
    with pytest.raises(UnknownName, match="quick"):
        catalogue.find("studies:quik")


def test_a_name_of_two_things_must_be_qualified(monkeypatch: pytest.MonkeyPatch) -> None:
    models = catalogue._KINDS["models"]
    monkeypatch.setitem(
        catalogue._KINDS, "models", catalogue._Kind(lambda: ("quick", "mlp"), models.describe)
    )
    with pytest.raises(UsageError, match="models:quick or studies:quick"):
        catalogue.find("quick")
    assert catalogue.find("studies:quick").kind == "studies"
