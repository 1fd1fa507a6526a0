"""Optimizers between steps: state restored exactly, rates that are set, gradients that are
clipped.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fanin import seeds
from fanin.training import optimizers

REMEMBERING = (
    "sgd(momentum=0.9)",
    "sgd(momentum=0.9, nesterov=true, weight_decay=0.1)",
    "sgd(momentum=0.9, dampening=0.5)",
    "sgd(momentum=0.9, form=keras)",
    "sgd(momentum=0.9, nesterov=true, weight_decay=0.1, form=keras)",
    "rmsprop",
    "rmsprop(momentum=0.9, centered=true, weight_decay=0.1)",
    "rmsprop(form=keras)",
    "rmsprop(momentum=0.9, centered=true, weight_decay=0.1, form=keras)",
    "adam",
    "adam(weight_decay=0.1)",
    "adam(epsilon=keras)",
    "adamw",
    "adamw(epsilon=keras, decay=all)",
)
"""Every way to have a state."""


def _made(spec: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return optimizers.REGISTRY.make(spec).build(model, lr)


def _linear(inputs: int) -> nn.Linear:
    with seeds.preserve_torch_state(0):
        return nn.Linear(inputs, 2)


def _model() -> nn.Module:
    """Weights of all kinds of strides."""
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(
            nn.Conv2d(4, 8, 3),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 1, bias=False),
            nn.Flatten(),
            nn.Linear(8, 3),
        )
    for parameter in model.parameters():
        parameter.data = torch.linspace(-1, 1, parameter.numel()).view_as(parameter)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    optimizers.set_rate(optimizer, 0.01 / (1 + step))
    for index, parameter in enumerate(model.parameters()):
        noise = torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(100 * step + index)
        )
        parameter.grad = torch.empty_like(parameter).copy_(noise)
    optimizer.step()


@pytest.mark.parametrize("spec", ["sgd", "sgd(weight_decay=0.1)", *REMEMBERING])
def test_a_restored_optimizer_continues_bit_for_bit_on_channels_last_weights(spec: str) -> None:
    undisturbed, resumed = _model(), _model()
    first = _made(spec, undisturbed, 0.01)
    for step in range(3):
        _step(undisturbed, first, step)
    resumed.load_state_dict(undisturbed.state_dict())
    second = _made(spec, resumed, 0.01)
    stored = {
        name: tensor.contiguous().clone()
        for name, tensor in optimizers.read_state_tensors(first).items()
    }
    optimizers.restore_state_tensors(second, stored)
    for step in range(3, 6):
        _step(undisturbed, first, step)
        _step(resumed, second, step)
    assert all(
        torch.equal(a, b)
        for a, b in zip(undisturbed.parameters(), resumed.parameters(), strict=True)
    )


@pytest.mark.parametrize("spec", REMEMBERING)
def test_an_optimizer_that_forgot_its_state_would_be_noticed(spec: str) -> None:
    undisturbed, forgetful = _model(), _model()
    first = _made(spec, undisturbed, 0.01)
    for step in range(3):
        _step(undisturbed, first, step)
    forgetful.load_state_dict(undisturbed.state_dict())
    second = _made(spec, forgetful, 0.01)
    _step(undisturbed, first, 3)
    _step(forgetful, second, 3)
    assert not all(
        torch.equal(a, b)
        for a, b in zip(undisturbed.parameters(), forgetful.parameters(), strict=True)
    )


def test_an_optimizer_without_memory_has_no_state() -> None:
    model = _model()
    optimizer = _made("sgd", model, 0.01)
    _step(model, optimizer, 0)
    assert optimizers.read_state_tensors(optimizer) == {}


def test_the_names_of_the_state_are_positions_in_the_groups() -> None:
    model = nn.Sequential(_linear(3), _linear(2))
    optimizer = _made("adamw", model, 0.01)
    _step(model, optimizer, 0)
    shapes = {
        name: tuple(t.shape)
        for name, t in optimizers.read_state_tensors(optimizer).items()
        if name.endswith(".exp_avg")
    }
    assert shapes == {
        "0.exp_avg": (2, 3),
        "1.exp_avg": (2, 2),
        "2.exp_avg": (2,),
        "3.exp_avg": (2,),
    }


def test_a_rate_that_is_set_reaches_every_group() -> None:
    optimizer = _made("adamw", _linear(2), 0.01)
    optimizers.set_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 1000.0])
def test_gradients_are_clipped_to_their_norm_over_all_parameters(max_norm: float) -> None:
    model = _model()
    for index, parameter in enumerate(model.parameters()):
        parameter.grad = torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(index)
        )
    before = torch.cat(
        [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    ).double()
    norm = optimizers.clip_gradients_(model.parameters(), max_norm)
    after = torch.cat(
        [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    )
    assert float(norm) == pytest.approx(float(before.norm()), rel=1e-5)
    expected = before * min(1.0, max_norm / (float(before.norm()) + 1e-6))
    torch.testing.assert_close(after, expected.float(), rtol=1e-5, atol=1e-8)
