"""F028 and F036: gains on plain paths, and torch's default."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from audit_scale_cases import chain, judge, list_serious, make, numbers, pick
from torch import Tensor, nn

import fanin
from fanin import gains
from fanin.diagnosis.findings.quick_moments import KnownActivation


def make_chain(depth: int, activation: Callable[[], nn.Module], width: int = 64) -> nn.Module:
    def build() -> nn.Module:
        hidden = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
        return chain(*hidden, nn.Linear(width, 5))

    return make(build)


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize(
    ("activation", "spec"),
    [
        (nn.ReLU, "he_normal"),
        (nn.Tanh, "lecun_normal"),
        (nn.GELU, "variance_scaling(scale=2.194, distribution=normal)"),
    ],
)
def test_torchs_default_in_a_deep_plain_net_is_found(
    activation: Any, spec: str, measured: bool
) -> None:
    found = judge(make_chain(16, activation), numbers(32, 64), measured=measured)
    one = pick(found, "F028")
    assert one.severity == "warning"
    assert set(one.places) == {f"{2 * i}.weight" for i in range(16)}
    assert one.evidence["gain"] == pytest.approx(1 / math.sqrt(3), rel=0.05)
    assert [patch.initializer for patch in one.patches] == [spec]
    assert not [other for other in found if other.code == "F036"]


@pytest.mark.parametrize("measured", [False, True])
def test_xavier_before_relu_is_found_where_it_is_deep(measured: bool) -> None:
    deep, shallow = make_chain(20, nn.ReLU), make_chain(4, nn.ReLU)
    for model in (deep, shallow):
        fanin.initialize(model, "xavier_normal", seed=0)
    found = pick(judge(deep, numbers(32, 64), measured=measured), "F028")
    assert found.severity == "warning"
    factor = found.evidence["predicted_signal_factor"]
    assert isinstance(factor, float)
    assert factor == pytest.approx(2 ** (-19 / 2), rel=0.5)
    assert list_serious(judge(shallow, numbers(32, 64), measured=measured)) == []


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("rule", ["he_normal", "he_uniform", "auto", "orthogonal(gain=1.4142)"])
def test_right_gains_are_right_at_any_depth(rule: str, measured: bool) -> None:
    model, x = make_chain(30, nn.ReLU), numbers(32, 64)
    fanin.initialize(model, rule, seed=0, batch=x)
    assert list_serious(judge(model, x, measured=measured)) == []


def test_large_weights_make_the_signal_grow() -> None:
    model = make_chain(8, nn.ReLU)
    fanin.initialize(model, "variance_scaling(scale=8, distribution=normal)", seed=0)
    found = pick(judge(model, numbers(32, 64), measured=True), "F028")
    assert "grows" in found.summary
    assert found.evidence["expected_gain"] == pytest.approx(math.sqrt(2), rel=1e-3)


def test_a_normalization_hides_every_gain() -> None:
    def build() -> nn.Module:
        parts: list[nn.Module] = []
        for _ in range(16):
            parts += [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
        return chain(*parts, nn.Linear(64, 5))

    found = judge(make(build), numbers(32, 64), measured=True)
    assert [one.code for one in found] == ["F036"]


def test_one_layer_that_is_off_is_the_place() -> None:
    model = make_chain(6, nn.ReLU)
    fanin.initialize(model, "he_normal", seed=0)
    with torch.no_grad():
        model.get_parameter("4.weight").mul_(300)
    found = pick(judge(model, numbers(32, 64), measured=True), "F028")
    assert found.places[0] == "4.weight"
    assert len(found.places) == 1


@pytest.mark.parametrize("measured", [False, True])
def test_a_last_layer_may_be_small_before_its_activation_too(measured: bool) -> None:
    def build() -> nn.Module:
        hidden = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
        model = chain(*hidden, nn.Linear(64, 3), nn.Tanh())
        nn.init.uniform_(model.get_parameter("4.weight"), -3e-3, 3e-3)
        return model

    assert list_serious(judge(make(build), numbers(32, 64), measured=measured)) == []


def test_no_gain_is_promised_for_sigmoids() -> None:
    model = make_chain(16, nn.Sigmoid)
    fanin.initialize(model, "xavier_normal", seed=0)
    found = pick(judge(model, numbers(32, 64)), "F028")
    assert "No gain keeps both" in found.remedy


class Written(nn.Module):
    """SiLU, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        for one in self.layers:
            x = one(x)
            x = x * torch.sigmoid(x)
        return x


def test_activations_that_are_written_out_count() -> None:
    found = pick(judge(make(Written), numbers(32, 64), measured=True), "F028")
    assert found.evidence["expected_gain"] == pytest.approx(gains.gain("silu"), rel=1e-3)


def test_tiny_layers_give_no_alarm_by_chance() -> None:
    """100 nets of width 3 by the right rule: no finding but of what is visible, a large drift."""
    alarms = 0
    for seed in range(100):
        model = make_chain(3, nn.ReLU, width=3)
        fanin.initialize(model, "he_normal", seed=seed)
        alarms += bool(list_serious(judge(model, numbers(8, 3))))
    assert alarms == 0


@pytest.mark.parametrize(
    "activation", ["relu", "tanh", "gelu", "silu", "sigmoid", "elu", "selu", "softplus"]
)
@pytest.mark.parametrize("variance", [0.01, 1.0, 30.0])
def test_quick_moments_are_those_of_the_quadrature(activation: str, variance: float) -> None:
    quick = KnownActivation(activation).compute_moments(variance)
    exact = gains.moments(activation, variance=variance)
    assert quick.second == pytest.approx(exact.second, rel=2e-3)
    assert quick.slope2 == pytest.approx(exact.slope2, rel=1e-2)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "softsign", "sigmoid", "selu"])
def test_quick_gains_are_those_of_gains(activation: str) -> None:
    known = KnownActivation(activation)
    assert known.compute_gain() == pytest.approx(gains.gain(activation), rel=1e-3)
    exact = gains.critical_gain(activation).gain
    assert known.compute_critical_gain() == pytest.approx(exact, rel=5e-3)


def test_torchs_default_is_a_note_with_all_layers() -> None:
    found = judge(make_chain(2, nn.ReLU), numbers(32, 64))
    assert [one.code for one in found] == ["F036"]
    assert found[0].severity == "note"
    assert found[0].places == ("0.weight", "2.weight", "4.weight")


@pytest.mark.parametrize("rule", ["he_uniform", "xavier_uniform", "lecun_uniform", "normal"])
def test_other_rules_are_not_torchs_default(rule: str) -> None:
    model = make_chain(2, nn.ReLU)
    fanin.initialize(model, rule, seed=0)
    assert [one for one in judge(model, numbers(32, 64)) if one.code == "F036"] == []
