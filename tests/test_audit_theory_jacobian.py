"""Jacobians: partial norms and singular values against the whole Jacobian; nothing changes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.theory import estimate_apjn, jacobian, measure_jacobian
from fanin.errors import FitError, UsageError


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with seeds.preserve_torch_state(0):
        yield


def compute_jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """The whole Jacobian, (outputs, inputs)."""
    found = torch.autograd.functional.jacobian(model, x)
    assert isinstance(found, Tensor)
    return found.reshape(model(x).numel(), x.numel())


def test_singular_values_are_those_of_the_whole_jacobian() -> None:
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4))
    x = torch.randn(5, 6)
    found = measure_jacobian(model, x, samples=3)
    expected = torch.linalg.svdvals(compute_jacobian(model, x[:3]).double())
    assert found.exact
    assert found.samples == 3
    assert found.count == len(expected) == 12
    assert found.largest == pytest.approx(float(expected[0]), rel=1e-5)
    assert found.smallest == pytest.approx(float(expected[-1]), rel=1e-4)
    assert found.mean == pytest.approx(float(expected.mean()), rel=1e-5)
    assert found.rms == pytest.approx(float(expected.square().mean().sqrt()), rel=1e-5)
    assert found.condition == pytest.approx(float(expected[0] / expected[-1]), rel=1e-4)


def test_columns_are_computed_where_they_are_fewer() -> None:
    model = nn.Sequential(nn.Linear(2, 30), nn.Tanh(), nn.Linear(30, 300))
    x = torch.randn(1, 2)
    expected = torch.linalg.svdvals(compute_jacobian(model, x).double())
    found = measure_jacobian(model, x)
    assert found.exact
    assert found.count == 2
    assert found.largest == pytest.approx(float(expected[0]), rel=1e-5)


def test_an_orthogonal_linear_net_is_isometric() -> None:
    layers = [nn.Linear(12, 12, bias=False) for _ in range(20)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
    found = measure_jacobian(nn.Sequential(*layers), torch.randn(2, 12))
    assert found.condition == pytest.approx(1, abs=1e-4)


def test_a_dead_direction_makes_the_condition_infinite() -> None:
    model = nn.Linear(4, 3, bias=False)
    nn.init.zeros_(model.weight)
    with torch.no_grad():
        model.weight[0, 0] = 2.0
    found = measure_jacobian(model, torch.randn(1, 4))
    assert (found.largest, found.smallest, found.condition) == (2.0, 0.0, math.inf)


def test_a_large_jacobian_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jacobian, "MAX_ROWS", 4)
    model = nn.Sequential(nn.Linear(60, 80), nn.ReLU(), nn.Linear(80, 50))
    x = torch.randn(2, 60)
    expected = torch.linalg.svdvals(compute_jacobian(model, x).double())
    found = measure_jacobian(model, x, draws=64)
    assert not found.exact
    assert found.smallest is None
    assert found.largest == pytest.approx(float(expected[0]), rel=0.01)
    rms = float(expected.square().mean().sqrt())
    assert abs(found.rms - rms) < 4 * found.error < 0.2 * rms  # n = 64 cotangents, level 1e-4


def test_apjn_agrees_with_the_exact_partial_jacobians() -> None:
    first, second, third = nn.Linear(5, 20), nn.Linear(20, 30), nn.Linear(30, 4)
    model = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), third)
    x = torch.randn(3, 5)
    found = estimate_apjn(model, x, draws=400)
    assert [one.layer for one in found] == ["0", "2", "4"]
    for one, rest, start in zip(
        found,
        (model[1:], model[3:], nn.Identity()),
        (first(x), model[:3](x), model(x)),
        strict=True,
    ):
        exact = float(compute_jacobian(rest, start.detach()).square().sum()) / model(x).numel()
        # n = 400 cotangents, level 1e-4
        assert abs(one.apjn - exact) < 4 * one.error
        assert one.error < 0.1 * exact


def test_apjn_sees_through_activations_that_work_in_place() -> None:
    layers = [nn.Linear(16, 16) for _ in range(3)]
    inside = nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[1], nn.ReLU(True), layers[2])
    outside = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    x = torch.randn(4, 16)
    assert [one.apjn for one in estimate_apjn(inside, x)] == pytest.approx(
        [one.apjn for one in estimate_apjn(outside, x)]
    )


def test_apjn_stays_at_1_at_criticality_and_falls_below_it() -> None:
    def build(gain: float) -> nn.Module:
        layers = [nn.Linear(400, 400, bias=False) for _ in range(8)]
        for layer in layers:
            nn.init.normal_(layer.weight, std=gain / 20)
        return nn.Sequential(*[part for one in layers for part in (one, nn.ReLU())][:-1])

    x = torch.randn(4, 400)
    critical = estimate_apjn(build(math.sqrt(2)), x)
    ordered = estimate_apjn(build(1.0), x)
    assert critical[0].apjn == pytest.approx(1, abs=0.4)  # 8 layers of 400: 3·√(5·8/400)
    assert ordered[0].apjn == pytest.approx(2**-7, rel=0.7)


def test_nothing_of_the_model_changes() -> None:
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)
    )
    model[0].weight.requires_grad_(False)
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    x = torch.randn(4, 6)
    state = torch.get_rng_state()
    measure_jacobian(model, x)
    estimate_apjn(model, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert not model[0].weight.requires_grad
    assert all(one.grad is None for one in model.parameters())
    assert not x.requires_grad
    assert not any(module._forward_hooks for module in model.modules())


def test_the_same_seed_gives_the_same_numbers() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    x = torch.randn(4, 6)
    assert estimate_apjn(model, x, seed=3) == estimate_apjn(model, x, seed=3)
    assert estimate_apjn(model, x, seed=3) != estimate_apjn(model, x, seed=4)


def test_a_model_that_takes_indices_is_differentiated_by_what_they_look_up() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2, bias=False))
    found = measure_jacobian(model, torch.randint(0, 10, (1, 3)))
    assert found.largest == pytest.approx(
        float(torch.linalg.svdvals(model[2].weight.detach())[0]), rel=1e-5
    )


def test_attention_can_be_differentiated_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jacobian, "MAX_ROWS", 4)
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(1, 5, 8)
    found = measure_jacobian(model, x)
    expected = torch.linalg.svdvals(compute_jacobian(model, x).double())
    assert found.largest == pytest.approx(float(expected[0]), rel=0.02)


def test_low_precision_and_one_sample_are_measured() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).bfloat16()
    found = measure_jacobian(model, torch.randn(1, 6, dtype=torch.bfloat16))
    assert found.rms > 0
    assert len(estimate_apjn(model, torch.randn(1, 6, dtype=torch.bfloat16))) == 2


def test_what_has_no_jacobian_says_so() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(1)

    with pytest.raises(FitError, match="output"):
        measure_jacobian(Rounded(), torch.randn(2, 3))
    with pytest.raises(UsageError, match="samples"):
        measure_jacobian(nn.Linear(2, 2), torch.randn(2, 2), samples=0)
    with pytest.raises(UsageError, match="draws"):
        estimate_apjn(nn.Linear(2, 2), torch.randn(2, 2), draws=0)
