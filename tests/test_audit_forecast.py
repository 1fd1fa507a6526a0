"""Forecasts: hopeless and sound starts are told apart, the reasons say why, nothing changes."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from combinations import for_each
from forecast_grid.networks import make_network
from torch import Tensor, nn

import fanin
from fanin import seeds
from fanin.diagnosis.forecast import Forecast
from fanin.diagnosis.forecast.linear_readout import measure_readout
from fanin.diagnosis.forecast.trainability import (
    FITS,
    PENALTIES,
    compute_penalties,
    compute_probability,
)
from fanin.errors import FitError, UnknownName, UsageError

SEEDS = (0, 1, 2)
X = torch.randn(128, 10, generator=torch.Generator().manual_seed(0))
Y = (X[:, :3] + 0.5 * X[:, 3:6]).argmax(1)


def build(
    start: str, depth: int, activation: str, seed: int = 0, kind: str = "plain", width: int = 32
) -> nn.Module:
    """A small network from one initializer."""
    model = make_network(kind, depth, width, activation, (10,), 3)
    fanin.initialize(model, start, seed=seed)
    return model


def forecast(model: nn.Module, optimizer: str = "adam", steps: int = 150) -> Forecast:
    """Of a model on the data of this file."""
    return fanin.audit(model, X, target=Y).forecast(optimizer=optimizer, steps=steps)


HOPELESS = {
    "chaotic tanh": ("normal(std=1)", 30, "tanh"),
    "ReLU from 1/n, 50 layers": ("lecun_normal", 50, "relu"),
    "sigmoid": ("lecun_normal", 12, "sigmoid"),
    "tiny weights": ("normal(std=0.01)", 20, "tanh"),
    "loud ReLU": ("normal(std=1)", 20, "relu"),
}
SOUND = {
    "shallow ReLU": ("he_normal", 2, "relu", "plain"),
    "tanh": ("orthogonal", 8, "tanh", "plain"),
    "torch's own": ("torch_default", 2, "relu", "plain"),
    "residual": ("lecun_normal(gain=0.5)", 6, "relu", "residual"),
}


@for_each("name", HOPELESS)
def test_hopeless_starts_do_not_train(name: str) -> None:
    for seed in SEEDS:
        for optimizer in ("adam", "sgd"):
            found = forecast(build(*HOPELESS[name], seed=seed), optimizer)
            assert found.verdict == "does not train", (seed, optimizer, str(found))
            assert found.probability < 0.3


@for_each("name", SOUND)
def test_sound_starts_train(name: str) -> None:
    start, depth, activation, kind = SOUND[name]
    for seed in SEEDS:
        for optimizer in ("adam", "adamw", "sgd"):
            found = forecast(build(start, depth, activation, seed, kind), optimizer)
            assert found.verdict == "trains", (seed, optimizer, str(found))
            assert 0.7 < found.probability < 1


def test_the_weightiest_reason_comes_first_and_has_its_number() -> None:
    found = forecast(build("normal(std=1)", 30, "tanh"))
    assert found.reasons[0].name == "drift"
    assert found.reasons[0].value > 100
    assert f"{found.reasons[0].value:.2g}" in found.reasons[0].text
    assert {one.name for one in found.reasons} == set(PENALTIES)
    weights = [one.log_odds for one in found.reasons]
    assert weights == sorted(weights)
    log_odds = FITS["adam"].intercept + sum(weights)
    assert found.probability == pytest.approx(1 / (1 + math.exp(-log_odds)))


def test_more_of_a_fault_never_makes_the_forecast_better() -> None:
    usual = forecast(build("he_normal", 6, "relu")).quantities
    for family in FITS:
        best = compute_probability(compute_penalties(usual, 150), family)
        for worse in (
            {"gradient": 1e-9},
            {"gradient": 1e9},
            {"readout": -1.0},
            {"loss": 1e6},
            {"layers": 100},
        ):
            found = replace(usual, **worse)
            assert compute_probability(compute_penalties(found, 150), family) <= best
        assert compute_probability(compute_penalties(usual, 20), family) <= best


def test_the_same_audit_gives_the_same_forecast_and_nothing_changes() -> None:
    model = build("he_normal", 4, "relu", kind="batch_norm")
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    audit = fanin.audit(model, X, target=Y)
    first, second = audit.forecast(), audit.forecast()
    assert first == second
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_text_fits_into_eighty_columns_and_the_record_into_json() -> None:
    class ANetworkWhoseNameIsSoLongThatALineCannotHoldItAndTheVerdict(nn.Sequential):
        pass

    with seeds.preserve_torch_state(0):
        model = ANetworkWhoseNameIsSoLongThatALineCannotHoldItAndTheVerdict(
            nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3)
        )
    found = fanin.audit(model, X[:20], target=Y[:20]).forecast(steps=100_000)
    assert max(map(len, str(found).splitlines())) <= 80
    assert str(found).startswith("ANetworkWhose")
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["verdict"] == found.verdict
    assert record["steps"] == 100_000


def test_what_lies_beyond_the_grid_is_said() -> None:
    inside = forecast(build("he_normal", 4, "relu"))
    assert inside.outside == ()
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(nn.LSTM(10, 8, batch_first=True), Last(), nn.Linear(8, 3))
    found = fanin.audit(model, X[:20, None], target=Y[:20]).forecast(steps=5000)
    text = " ".join(found.outside)
    for word in ("layers", "5000 steps", "20 samples", "LSTM"):
        assert word in text
    assert "Beyond its range" in str(found)


class Last(nn.Module):
    """The last step of a recurrent layer's output."""

    def forward(self, found: tuple[Tensor, object]) -> Tensor:
        return found[0][:, -1]


@pytest.mark.parametrize("optimizer", ["lbfgs", "", None, "adm"])
def test_an_unknown_optimizer_is_refused(optimizer: str) -> None:
    audit = fanin.audit(build("he_normal", 2, "relu"), X, target=Y)
    with pytest.raises(UnknownName, match="optimizer of a forecast"):
        audit.forecast(optimizer=optimizer)


@pytest.mark.parametrize("steps", [0, -3, 1.5, True, "10"])
def test_impossible_steps_are_refused(steps: int) -> None:
    audit = fanin.audit(build("he_normal", 2, "relu"), X, target=Y)
    with pytest.raises(UsageError, match="whole number of at least 1"):
        audit.forecast(steps=steps)


def test_what_cannot_be_forecast_says_why() -> None:
    model = build("he_normal", 2, "relu")
    with pytest.raises(UsageError, match="no target was given"):
        fanin.audit(model, X).forecast()
    with pytest.raises(FitError, match="could not be run"):
        fanin.audit(model, X[:, :7], target=Y).forecast()
    bare = nn.Sequential(nn.ReLU())
    with pytest.raises(FitError, match="none"):
        fanin.audit(bare, X[:, :3].clone().requires_grad_(), target=Y).forecast()


# --- the readout


def read(model: nn.Module, x: Tensor, y: Tensor) -> float | None:
    """What `measure_readout` says of a model."""
    seen = fanin.audit(model, x, target=y).examination
    assert seen.measurement is not None
    return measure_readout(seen, seen.measurement)


def test_the_readout_is_leave_one_out() -> None:
    """The closed form is what as many regressions give, each without one sample."""
    x, y = X[:40].double(), (X[:40, :1] + 0.3 * X[:40, 1:2] ** 2).double()
    ridge = 0.1 * x.square().sum(1).mean() * torch.eye(10, dtype=x.dtype)
    error = constant = 0.0
    for index in range(len(x)):
        rest = torch.arange(len(x)) != index
        mean, level = x[rest].mean(0), y[rest].mean(0)
        rows = x[rest] - mean
        slopes = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ (y[rest] - level))
        error += float((y[index] - level - (x[index] - mean) @ slopes).square())
        constant += float((y[index] - level).square())
    with seeds.preserve_torch_state(0):
        model = nn.Linear(10, 1).double()
    found = read(model, x, y)
    assert found == pytest.approx(1 - error / constant, abs=1e-6)


def test_the_readout_tells_lost_inputs() -> None:
    sound = read(build("orthogonal", 6, "tanh"), X, Y)
    ordered = read(build("torch_default", 20, "tanh"), X, Y)
    chaotic = read(build("normal(std=1)", 20, "tanh"), X, Y)
    assert sound is not None
    assert ordered is not None
    assert chaotic is not None
    assert sound > 0.2 > 0.1 > max(ordered, chaotic)


def test_there_is_no_readout_without_single_targets_or_of_few_samples() -> None:
    model = build("he_normal", 2, "relu")
    assert read(model, X[:10], Y[:10]) is None
    assert read(model, X, Y) is not None
    assert read(model, X, torch.zeros_like(Y)) is None  # nothing to foretell
    with seeds.preserve_torch_state(0):
        tokens = nn.Sequential(nn.Embedding(11, 16), nn.Linear(16, 11))
    indices = torch.arange(32).reshape(4, 8) % 11
    assert read(tokens, indices, indices) is not None
