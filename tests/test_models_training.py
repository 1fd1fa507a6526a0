"""The contract of every model in training: initialized whole, every parameter learns, random labels are learnt by heart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from model_cases import CIFAR, CLASSES, DIGITS, MNIST, images, initialized, labels, overfits

import fanin
from fanin import models
from fanin.errors import FitError
from fanin.models import ModelEntry

# torch's layers made by hand draw from the global generator, and so does dropout without keys.
pytestmark = pytest.mark.usefixtures("draws_globally")

HEAVY = {"vgg11", "vgg16", "resnet56", "resnet110"}
ENTRIES = [entry for entry in models.REGISTRY if entry.task != "regression"]
RATES = {"vgg16": 1e-4}
"""Measured: within 20 steps at 0.0001, within 40 at 0.0003."""
UNKNOWN = {"vit": {"token", "positions"}}
"""What no initializer fills, and a model starts at a neutral value by itself."""

every_model = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


def shape_of(entry: ModelEntry) -> tuple[int, ...]:
    """The smallest of the data sets' images that a model takes."""
    for shape in (DIGITS, MNIST):
        try:
            models.get(entry.name).check(shape, CLASSES, "classification")
        except FitError:
            continue
        return shape
    return CIFAR


@every_model
@pytest.mark.parametrize("rule", ["auto", "he_normal"])
def test_an_initializer_knows_every_parameter_but_those_that_start_neutral(entry: ModelEntry, rule: str) -> None:
    shape = shape_of(entry)
    record = fanin.initialize(models.get(entry.name).build(shape, CLASSES), rule, seed=0, batch=images(shape, 2))
    assert {one.name for one in record if one.role == "unknown"} == UNKNOWN.get(entry.name, set())
    assert all(one.changed for one in record if one.role == "weight")


@every_model
def test_auto_knows_what_follows_every_layer(entry: ModelEntry) -> None:
    shape = shape_of(entry)
    record = fanin.initialize(models.get(entry.name).build(shape, CLASSES), "auto", seed=0, batch=images(shape, 2))
    assert [one.name for one in record if "not known" in one.reason] == []


@every_model
def test_one_step_changes_every_parameter_of_an_initialized_model(entry: ModelEntry) -> None:
    shape = shape_of(entry)
    module = initialized(entry.name, shape).train()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    F.cross_entropy(module(images(shape, 32)), labels(32)).backward()
    optimizer.step()
    assert [name for name, parameter in module.named_parameters() if torch.equal(parameter, before[name])] == []


@every_model
def test_the_same_seed_gives_the_same_outputs(entry: ModelEntry) -> None:
    shape = shape_of(entry)
    first, again, other = (initialized(entry.name, shape, seed=seed).eval()(images(shape)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize(
    "entry",
    [pytest.param(entry, id=entry.name, marks=[pytest.mark.slow] * (entry.name in HEAVY)) for entry in ENTRIES],
)
def test_a_model_learns_random_labels_by_heart(entry: ModelEntry) -> None:
    rule = "auto" if entry.name == "mlp" else "he_normal"  # mlp is sigmoid and tanh
    assert overfits(initialized(entry.name, shape_of(entry), rule), shape_of(entry), lr=RATES.get(entry.name, 1e-3))
