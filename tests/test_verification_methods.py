"""Every initializer and recipe leaves a record from which its weights are verified."""

from __future__ import annotations

import json

import pytest
import torch
from combinations import for_each
from home_cases import find_home, shorten
from initializer_cases import MODEL_ENTRIES, TENSOR_ENTRIES, specs_of
from recipe_models import FAMILIES, make_model
from torch import nn

import fanin
from fanin.apply import Verification
from fanin.errors import FitError
from fanin.initializers import InitializerEntry
from fanin.initializers.recipes import REGISTRY, RecipeEntry
from fanin.seeds import preserve_torch_state

pytestmark = pytest.mark.usefixtures("own_folder")


def verify_saved(model: nn.Module, record: fanin.Record) -> Verification:
    """The verification by the record after a way through JSON, which must be the same."""
    saved = fanin.Record.from_json(json.loads(json.dumps(record.to_json())))
    assert saved == record
    found = fanin.verify(model, saved)
    filled = [check for check in found if record[check.name].rule is not None]
    fitted = {one.name for one in record if one.fitted}
    assert all(check.by == "numbers" or check.name in fitted for check in filled), str(found)
    return found


@for_each("entry", MODEL_ENTRIES, ids=lambda entry: entry.name)
def test_the_weights_of_every_method_are_verified(entry: InitializerEntry) -> None:
    for spec in map(shorten, specs_of(entry)):
        home = find_home(entry.name)
        model = home.make()
        record = fanin.initialize(model, spec, seed=0, **home.get_options(entry.needs))
        found = verify_saved(model, record)
        assert found.passed, f"{spec}\n{found}"


@for_each("entry", tuple(REGISTRY), ids=lambda entry: entry.name)
def test_the_weights_of_every_recipe_are_verified(entry: RecipeEntry) -> None:
    model, batch = make_model(FAMILIES[entry.name])
    record = fanin.initialize(model, f"recipe:{entry.name}", seed=0, batch=batch)
    found = verify_saved(model, record)
    assert found.passed, str(found)


@for_each("entry", TENSOR_ENTRIES, ids=lambda entry: entry.name)
def test_the_weights_of_every_initializer_are_verified_and_a_change_is_seen(
    entry: InitializerEntry,
) -> None:
    for spec in specs_of(entry):
        with preserve_torch_state(0):
            model = nn.Sequential(nn.Linear(20, 20), nn.Conv2d(4, 12, 3))
        try:
            record = fanin.initialize(model, spec, seed=0)
        except FitError:  # biases of gates, or another shape
            continue
        assert verify_saved(model, record).passed, spec
        with torch.no_grad():
            model[0].weight[3, 4] += 0.01
        found = fanin.verify(model, record)
        assert [check.name for check in found.failed] == ["0.weight"], f"{spec}\n{found}"
