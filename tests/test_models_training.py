"""The contract of every model in training: initialized whole, every parameter learns, random
targets are learnt by heart.
"""

from __future__ import annotations

import pytest
import torch
from model_cases import CASES, build, case_of, cases_of, inputs, learns_by_heart, loss, targets

import fanin
from fanin import models
from fanin.data import DataInfo
from fanin.models import ModelEntry

# torch's layers made by hand draw from the global generator, and so does dropout without keys.
pytestmark = pytest.mark.usefixtures("draws_globally")

HEAVY = {"vgg11", "vgg16", "resnet56", "resnet110"}
ENTRIES = list(models.REGISTRY)
RATES = {"vgg16": 1e-4}
"""Measured: within 20 steps at 0.0001, within 40 at 0.0003."""
RULES = {"mlp": "auto", "autoencoder": "auto", "siren": "siren"}
"""Those that he_normal does not suit: sigmoid and tanh, and sines of a frequency."""
UNKNOWN = {"vit": {"token", "positions"}}
"""What no initializer fills, and a model starts at a neutral value by itself."""

every_model = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


every_pair = pytest.mark.parametrize(
    ("entry", "case"),
    [
        # Of a heavy model the first kind of data is enough for every day.
        pytest.param(
            entry,
            case,
            id=f"{entry.name}-{case.name}",
            marks=[pytest.mark.slow] * (entry.name in HEAVY and not first),
        )
        for entry in ENTRIES
        for first, case in zip([True, *[False] * len(CASES)], cases_of(entry), strict=False)
    ],
)


def rule_of(entry: ModelEntry) -> str:
    return RULES.get(entry.name, "he_normal")


@every_model
@pytest.mark.parametrize("rule", ["auto", "he_normal"])
def test_an_initializer_knows_every_parameter_but_those_that_start_neutral(
    entry: ModelEntry, rule: str
) -> None:
    case = case_of(entry)
    record = fanin.initialize(build(entry, case), rule, seed=0, batch=inputs(case, 2))
    assert {one.name for one in record if one.role == "unknown"} == UNKNOWN.get(entry.name, set())
    assert all(one.changed for one in record if one.role == "weight")


@every_pair
def test_auto_knows_what_follows_every_layer(entry: ModelEntry, case: DataInfo) -> None:
    record = fanin.initialize(build(entry, case), "auto", seed=0, batch=inputs(case, 2))
    assert [one.name for one in record if "not known" in one.reason] == []


@every_pair
def test_one_step_changes_every_parameter_of_an_initialized_model(
    entry: ModelEntry, case: DataInfo
) -> None:
    module = build(entry, case, "he_normal").train()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    x = inputs(case, 32)
    loss(case, module(x), targets(case, x)).backward()
    optimizer.step()
    assert [
        name
        for name, parameter in module.named_parameters()
        if torch.equal(parameter, before[name])
    ] == []


@every_model
def test_the_same_seed_gives_the_same_outputs(entry: ModelEntry) -> None:
    case = case_of(entry)
    first, again, other = (
        build(entry, case, "he_normal", seed=seed).eval()(inputs(case)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, id=entry.name, marks=[pytest.mark.slow] * (entry.name in HEAVY))
        for entry in ENTRIES
    ],
)
def test_a_model_learns_random_targets_by_heart(entry: ModelEntry) -> None:
    case = case_of(entry)
    assert learns_by_heart(build(entry, case, rule_of(entry)), case, lr=RATES.get(entry.name, 1e-3))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_kind_of_data_has_a_model(case: DataInfo) -> None:
    assert [entry.name for entry in ENTRIES if case in cases_of(entry)]
