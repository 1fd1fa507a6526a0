"""Learning rates of single parameters in a cell's training: those that its initializer asks for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import fanin
from fanin import models, seeds
from fanin.initializers.model_level import Multiplier
from fanin.study.canonical_cell import make_cell
from fanin.training import optimizers
from fanin.training.train import DataCache, train

SPECS = ("sgd", "sgd(momentum=0.9, weight_decay=0.1)", "adam", "adamw(weight_decay=0.1)", "rmsprop")


def make_net() -> nn.Module:
    """Two layers."""
    with seeds.preserve_torch_state(0):
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, rates: list[float]) -> None:
    """Steps on fixed data, at given rates."""
    x = seeds.standard_normal((7, 6), seeds.make_generator(0, "test"))
    for rate in rates:
        optimizers.set_rate(optimizer, rate)
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("spec", SPECS)
def test_a_factor_of_a_tenth_is_the_rate_of_a_tenth(spec: str) -> None:
    """One parameter at a tenth, the others as they are; against an optimizer for each alone."""
    rates, named = [0.02, 0.01, 0.02], "2.weight"
    model, other, slow = make_net(), make_net(), make_net()
    optimizer = optimizers.REGISTRY.make(spec).build(model, 0.02)
    optimizers.multiply_rates(optimizer, model, {named: Multiplier(0.1, "a tenth")}, 0.02)
    take_steps(model, optimizer, rates[:1])
    for net, rate in ((other, rates[0]), (slow, rates[0] / 10)):
        take_steps(net, optimizers.REGISTRY.make(spec).build(net, 0.02), [rate])
    for name, parameter in model.named_parameters():
        wanted = slow if name == named else other
        torch.testing.assert_close(parameter, dict(wanted.named_parameters())[name])
    take_steps(model, optimizer, rates[1:])
    shares = {round(group["lr"] / rates[-1], 6) for group in optimizer.param_groups}
    assert shares == {1.0, 0.1}


@pytest.mark.parametrize("spec", SPECS)
def test_without_factors_nothing_changes_to_the_last_bit(spec: str) -> None:
    plain, same = make_net(), make_net()
    first, second = (optimizers.REGISTRY.make(spec).build(net, 0.02) for net in (plain, same))
    optimizers.multiply_rates(second, same, {}, 0.02)
    assert [len(group["params"]) for group in first.param_groups] == [
        len(group["params"]) for group in second.param_groups
    ]
    take_steps(plain, first, [0.02, 0.01])
    take_steps(same, second, [0.02, 0.01])
    assert all(map(torch.equal, plain.parameters(), same.parameters()))


def test_decay_has_a_factor_of_its_own() -> None:
    model = make_net()
    optimizer = optimizers.REGISTRY.make("adamw(weight_decay=0.1)").build(model, 0.02)
    optimizers.multiply_rates(optimizer, model, {"0.weight": Multiplier(0.5, "", 2.0)}, 0.02)
    weight = dict(model.named_parameters())["0.weight"]
    (group,) = [one for one in optimizer.param_groups if one["params"][0] is weight]
    assert (group["lr"], group["weight_decay"]) == (0.01, 0.2)
    assert len(group["params"]) == 1
    assert sum(len(one["params"]) for one in optimizer.param_groups) == 4


def test_the_scalars_of_fixup_train_at_a_tenth() -> None:
    model = models.get("resnet(norm=none, residual=fixup, width=4)").build((1, 8, 8), 10)
    x = torch.zeros(2, 1, 8, 8)
    record = fanin.initialize(model, "fixup", seed=0, batch=x)
    optimizer = optimizers.REGISTRY.make("sgd(momentum=0.9)").build(model, 0.1)
    optimizers.multiply_rates(optimizer, model, record.multipliers, 0.1)
    slow = {
        id(one)
        for group in optimizer.param_groups
        if group["lr"] == pytest.approx(0.01)
        for one in group["params"]
    }
    scalars = {id(one) for one in model.parameters() if one.numel() == 1}
    assert slow == scalars
    assert len(scalars) > 10


@pytest.mark.parametrize(("initializer", "slow"), [("fixup", True), ("he_normal", False)])
def test_a_cell_trains_at_the_rates_that_its_initializer_asks_for(
    initializer: str, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_cell(
        {
            "data": "digits",
            "model": "resnet(norm=none, residual=fixup, width=4)",
            "initializer": initializer,
            "batch_size": 512,
            "epochs": 1,
        }
    )
    given: list[dict[str, float]] = []
    multiply = optimizers.multiply_rates

    def watch(optimizer: Any, model: Any, multipliers: Any, lr: float) -> None:
        given.append({name: one.factor for name, one in multipliers.items()})
        multiply(optimizer, model, multipliers, lr)

    monkeypatch.setattr(optimizers, "multiply_rates", watch)
    assert train(cell, cache=DataCache(), environment={}).outcome == "ok"
    assert set(given[0].values()) == ({0.1} if slow else set())
