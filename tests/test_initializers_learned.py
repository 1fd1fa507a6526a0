"""meta_init and grad_init: their objectives, computed once more in slow ways, fall; only norms
change.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fitted_models import PLAIN_BATCH, PLAIN_LABELS, make, normal, plain
from torch import Tensor, nn

import fanin
from fanin import initializers
from fanin.errors import SpecError

ENTROPY = nn.functional.cross_entropy


def quotient(model: nn.Module, batch: Tensor, target: Tensor) -> float:
    """The gradient quotient from the whole Hessian, which only a small model can afford."""
    names = [name for name, _ in model.named_parameters()]
    flat = torch.cat([one.detach().flatten() for one in model.parameters()]).double()
    shapes = [one.shape for one in model.parameters()]
    wide = copy.deepcopy(model).double()

    def loss(numbers: Tensor) -> Tensor:
        parts = numbers.split([shape.numel() for shape in shapes])
        given = {
            name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)
        }
        return ENTROPY(torch.func.functional_call(wide, given, (batch.double(),)), target)

    flat.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(flat), flat, create_graph=True)
    rows = [torch.autograd.grad(one, flat, retain_graph=True)[0] for one in gradient]
    gradient = gradient.detach()
    moved = torch.stack(rows) @ gradient
    away = torch.where(gradient >= 0, 1e-5, -1e-5)
    return float(((gradient - moved) / (gradient + away) - 1).abs().mean())


def small() -> Any:
    return make(lambda: nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5)))


BATCH, TARGET = normal(32, 6), torch.arange(32) % 5


def fit(model: nn.Module, spec: str, batch: Tensor, target: Tensor) -> fanin.Record:
    return fanin.initialize(model, spec, seed=0, batch=batch, target=target)


def read_pair(text: str, what: str) -> tuple[float, float]:
    """`what` before and after, as a record says it."""
    found = re.search(rf"{what} ([\d.e+-]+) → ([\d.e+-]+)", text)
    assert found, text
    return float(found[1]), float(found[2])


def test_the_gradient_quotient_is_that_of_the_definition_and_falls() -> None:
    start, model = small(), small()
    fanin.initialize(start, "he_normal", seed=0)
    record = fit(model, "meta_init(steps=60)", BATCH, TARGET)
    before, after = read_pair(record["0.weight"].fitted, "gradient quotient")
    assert before == pytest.approx(quotient(start, BATCH, TARGET), rel=0.02)
    assert after == pytest.approx(quotient(model, BATCH, TARGET), rel=0.02)
    assert after < 0.8 * before


@pytest.mark.parametrize("spec", ["meta_init(steps=25)", "grad_init(steps=8)"])
def test_only_the_norm_of_each_weight_changes(spec: str) -> None:
    start, model = plain(), plain()
    fanin.initialize(start, "he_normal", seed=0)
    fit(model, spec, PLAIN_BATCH, PLAIN_LABELS)
    changed = 0
    for one, other in zip(model.parameters(), start.parameters(), strict=True):
        if not other.any():
            assert not one.any()
            continue
        ratio = float((one.norm() / other.norm()).detach())
        assert torch.allclose(one, other * ratio, rtol=1e-4, atol=1e-7)
        changed += abs(ratio - 1) > 1e-4
    assert changed >= 3


@pytest.mark.parametrize("std", [0.02, 0.5])
def test_a_bad_start_is_repaired(std: float) -> None:
    """Weights ten times too small, and twice too large: both end at the quotient of a good one."""
    model = plain()
    record = fit(model, f"meta_init(base='normal(std={std})', steps=60)", PLAIN_BATCH, PLAIN_LABELS)
    before, after = read_pair(record["0.weight"].fitted, "gradient quotient")
    assert before > 0.9
    assert after < 0.3


def test_noise_needs_no_like_data_and_is_the_same_each_time() -> None:
    one, other = small(), small()
    fit(one, "meta_init(steps=5, inputs=noise)", BATCH, TARGET)
    fit(other, "meta_init(steps=5, inputs=noise)", 100 * BATCH, TARGET)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def after_step(model: nn.Module, step: Callable[[nn.Module], None]) -> tuple[float, Tensor]:
    """The loss after one step, and the gradient before."""
    copied = copy.deepcopy(model)
    loss = ENTROPY(copied(PLAIN_BATCH), PLAIN_LABELS)
    loss.backward()
    gradient = torch.cat([one.grad.flatten() for one in copied.parameters()])
    step(copied)
    with torch.no_grad():
        return float(ENTROPY(copied(PLAIN_BATCH), PLAIN_LABELS)), gradient


def step_sgd(model: nn.Module) -> None:
    norm = torch.cat([one.grad.flatten() for one in model.parameters()]).norm()
    torch.optim.SGD(model.parameters(), lr=0.1 / float(norm)).step()


def step_adam(model: nn.Module) -> None:
    torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-20).step()


@pytest.mark.parametrize(
    ("spec", "step", "order", "bound"),
    [
        ("grad_init(steps=80, gamma=2.0)", step_sgd, 2, 2.0),
        ("grad_init(optimizer=adam, steps=80, gamma=60.0)", step_adam, 1, 60.0),
    ],
)
def test_the_loss_after_one_real_step_falls_and_the_gradient_is_bounded(
    spec: str, step: Callable[[nn.Module], None], order: int, bound: float
) -> None:
    start, model = plain(), plain()
    fanin.initialize(start, "he_normal", seed=0)
    record = fit(model, spec, PLAIN_BATCH, PLAIN_LABELS)
    (before, _), (after, gradient) = after_step(start, step), after_step(model, step)
    said = read_pair(record["0.weight"].fitted, "loss after one step")
    assert said == pytest.approx((before, after), rel=1e-3)
    assert after < before - 0.02
    assert float(gradient.norm(order)) <= bound * 1.001


def test_a_bound_that_is_not_reached_is_said() -> None:
    record = fit(plain(), "grad_init(steps=2, gamma=0.0001)", PLAIN_BATCH, PLAIN_LABELS)
    assert "not within 0.0001" in record["0.weight"].fitted


def test_factors_stay_above_the_least() -> None:
    model = plain()
    start = plain()
    fanin.initialize(start, "he_normal", seed=0)
    fit(model, "grad_init(steps=40, rate=0.5, least=0.4, gamma=0.001)", PLAIN_BATCH, PLAIN_LABELS)
    ratios = [
        float((one.norm() / other.norm()).detach())
        for one, other in zip(model.parameters(), start.parameters(), strict=True)
        if other.any()
    ]
    assert min(ratios) == pytest.approx(0.4, rel=1e-4)


@pytest.mark.parametrize("name", ["meta_init", "grad_init"])
def test_a_base_that_looks_at_data_or_is_unknown_is_refused(name: str) -> None:
    for base in ("lsuv", "auto", "no_such"):
        with pytest.raises((SpecError, fanin.errors.UnknownName)):
            initializers.get(name, base=base)
    assert initializers.get(name, base="he_normal(mode=fan_in)").base == "he_normal"
