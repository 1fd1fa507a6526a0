"""What every initializer of whole models promises, on a model that it is for."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from combinations import for_each
from home_cases import find_home, shorten
from initializer_cases import MODEL_ENTRIES, specs_of
from torch import nn

import fanin
from fanin.initializers import InitializerEntry

pytestmark = pytest.mark.usefixtures("own_folder")

HAS_SAFETENSORS = importlib.util.find_spec("safetensors") is not None
ENTRIES = [one for one in MODEL_ENTRIES if HAS_SAFETENSORS or one.name != "weight_selection"]
"""Without the extra "study" there is nothing that weight_selection can read."""

every_model_entry = for_each("entry", ENTRIES, ids=lambda entry: entry.name)


def start(entry: InitializerEntry, spec: str, seed: int = 0) -> nn.Module:
    """The home of an entry, initialized."""
    home = find_home(entry.name)
    model = home.make()
    fanin.initialize(model, spec, seed=seed, **home.get_options(entry.needs))
    return model


def list_weights(model: nn.Module) -> list[torch.Tensor]:
    return [one.detach() for one in model.parameters() if one.dim() >= 2]


@every_model_entry
def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    entry: InitializerEntry,
) -> None:
    first, again, other = (start(entry, shorten(entry.example), seed) for seed in (0, 0, 1))
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(one, same) for one, same in pairs)
    moved = zip(list_weights(first), list_weights(other), strict=True)
    assert any(not torch.equal(one, new) for one, new in moved) is not entry.deterministic


@every_model_entry
def test_all_numbers_are_finite_and_flags_stay(entry: InitializerEntry) -> None:
    for spec in specs_of(entry):
        model = start(entry, shorten(spec))
        assert all(bool(one.isfinite().all()) for one in model.parameters())
        assert all(one.requires_grad and one.grad is None for one in model.parameters())
        assert model.training


@every_model_entry
def test_a_preview_changes_nothing_and_says_the_same(entry: InitializerEntry) -> None:
    home = find_home(entry.name)
    model = home.make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = home.get_options(entry.needs)
    spec = shorten(entry.example)
    shown = fanin.initialize(model, spec, seed=0, preview=True, **options)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    done = fanin.initialize(model, spec, seed=0, **options)
    assert [(one.name, one.rule) for one in shown.parameters] == [
        (one.name, one.rule) for one in done.parameters
    ]
    assert shown.requires == done.requires


@every_model_entry
def test_what_a_method_requires_is_met_by_the_model_that_it_is_for(
    entry: InitializerEntry,
) -> None:
    home = find_home(entry.name)
    record = fanin.initialize(
        home.make(), shorten(entry.example), seed=0, **home.get_options(entry.needs)
    )
    for one in record.requires:
        assert one.met is not False
        assert one.what
        assert one.change
    assert "structure" not in entry.needs or any(one.place for one in record.parameters)
