"""Phases of plain paths, and what is said of networks too deep for theirs: F008, F009."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from audit_theory_cases import build_mlp, draw_batch, draw_models
from combinations import for_each
from torch import Tensor, nn

import fanin
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings import JUDGES
from fanin.diagnosis.findings.phase import judge_phase
from fanin.diagnosis.model_audit import audit, examine
from fanin.diagnosis.probe import measure_start
from fanin.diagnosis.theory import PathPhase, predict
from fanin.diagnosis.theory.settled_state import find_settled_state
from fanin.gains import mean_field, moments
from fanin.gains.normal_response import Activation

WIDTH = 200


@for_each("variance", [0.01, 0.7, 9.0])
@for_each("name", ["tanh", "relu", "gelu", "silu", "elu", "hardtanh", "leaky_relu", "softplus"])
def test_the_fast_moments_are_those_of_quadrature(name: str, variance: float) -> None:
    exact = moments(name, variance=variance)
    found = Activation(name).respond(0.0, variance)
    assert (found.mean, found.second) == pytest.approx((exact.mean, exact.second), rel=1e-5)
    assert found.slope2 == pytest.approx(exact.slope2, rel=4e-3)


def test_moments_around_another_mean_are_those_of_the_shifted_function() -> None:
    exact = moments(lambda x: torch.nn.functional.relu(x + 0.4), variance=2.0)
    found = Activation("relu").respond(0.4, 2.0)
    assert found.second == pytest.approx(exact.second, rel=1e-4)
    assert found.slope2 == pytest.approx(exact.slope2, rel=4e-3)


def test_the_fluctuations_of_relu_are_those_of_hanin_and_rolnick() -> None:
    found = Activation("relu").respond(0.0, 1.7)
    assert (found.spread, found.slope_spread, found.sensitivity) == pytest.approx((5, 5, 1))
    linear = Activation("linear").respond(0.0, 1.7)
    assert (linear.spread, linear.slope_spread, linear.sensitivity) == pytest.approx((2, 2, 1))


@for_each("correlation", [-0.5, 0.0, 0.9, 1 - 1e-4, 1 - 1e-9])
def test_two_inputs_part_as_the_arc_cosine_kernel_says(correlation: float) -> None:
    # E relu(u₁) relu(u₂) = (sin θ + (π − θ) cos θ)/2π, Cho and Saul 2009.
    angle = math.acos(correlation)
    kernel = (math.sin(angle) + (math.pi - angle) * correlation) / math.tau
    found = Activation("relu").separate(0.0, 1.0, 1 - correlation)
    assert found == pytest.approx(0.5 - kernel, rel=1e-2, abs=1e-12)


@for_each("spec", ["relu(1.2, 0.5)", "sigmoid(1.0, 0.1)", "gelu(1.4, 0.1)"])
def test_the_settled_state_is_that_of_the_slow_iteration(spec: str) -> None:
    name, _, numbers = spec.rstrip(")").partition("(")
    weight, bias = map(float, numbers.split(", "))
    exact = mean_field(name, weight, bias)
    found = find_settled_state(Activation(name), weight**2, bias**2, 1.0)
    assert found is not None
    assert found.second_moment == pytest.approx(exact.second_moment, rel=1e-5)
    assert found.chi == pytest.approx(exact.chi, rel=1e-3)
    assert found.correlation == exact.correlation == 1


def test_the_chaotic_fixed_point_is_that_of_the_slow_iteration() -> None:
    # mean_field("tanh", 1.5, 0.1), which takes seconds.
    found = find_settled_state(Activation("tanh"), 2.25, 0.01, 1.0)
    assert found is not None
    assert found.second_moment == pytest.approx(0.8133223, rel=1e-5)
    assert found.chi == pytest.approx(1.1290527, rel=1e-5)
    assert found.correlation == pytest.approx(0.1800842, rel=1e-3)
    assert -1 / math.log(found.slope) == pytest.approx(14.845, rel=1e-2)


@for_each("weight", [1.2, math.sqrt(2), 1.6])
def test_relu_without_biases_has_no_isolated_fixed_point(weight: float) -> None:
    assert find_settled_state(Activation("relu"), weight**2, 0.0, 1.0) is None


def find_path(
    activation: Callable[[], nn.Module], depth: int, std: float, bias: float
) -> PathPhase:
    (model,) = draw_models(lambda: build_mlp(activation, [WIDTH] * (depth + 1), std, bias), 1)
    found = predict(model, measure_start(model, draw_batch(8, WIDTH))).phase
    assert found is not None
    assert found.depth == depth
    return found


def test_phases_of_networks_are_those_of_their_fixed_points() -> None:
    ordered = find_path(nn.Tanh, 20, 0.8, 0.3)
    chaotic = find_path(nn.Tanh, 20, 2.5, 0.3)
    critical = find_path(nn.ReLU, 20, math.sqrt(2), 0.0)
    assert (ordered.phase, chaotic.phase, critical.phase) == ("ordered", "chaotic", "critical")
    # mean_field("tanh", …), which takes seconds
    assert ordered.depth_scale == pytest.approx(1.425, rel=0.1)
    assert chaotic.depth_scale == pytest.approx(5.109, rel=0.2)
    assert ordered.second_moment == pytest.approx(0.1751, rel=0.1)
    assert chaotic.correlation is not None
    assert 0 < chaotic.correlation < 0.5
    assert ordered.correlation == 1
    assert not ordered.is_trainable
    assert critical.is_trainable
    assert critical.second_moment is None
    assert ordered.weight_std == pytest.approx(0.8, rel=0.02)
    assert ordered.bias_std == pytest.approx(0.3, rel=0.1)


def test_a_plain_path_goes_through_pooling_and_ends_at_a_sum() -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 10),
        )

    (model,) = draw_models(build, 1)
    found = predict(model, measure_start(model, draw_batch(4, 3, 8, 8)))
    (path,) = found.phases
    assert path.depth == 3
    (model,) = draw_models(lambda: Residual(6), 1)
    assert predict(model, measure_start(model, draw_batch(4, WIDTH))).phases == ()


class Residual(nn.Module):
    """x + tanh(layer(x)), again and again."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        """The head of the stream."""
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        result: Tensor = self.head(x)
        return result


def judge(model: nn.Module, *shape: int) -> list[Finding]:
    return list(judge_phase(examine(model, draw_batch(*shape))))


def build_deep(
    activation: Callable[[], nn.Module], depth: int, std: float, bias: float = 0.0
) -> nn.Sequential:
    (model,) = draw_models(
        lambda: build_mlp(activation, [*[WIDTH] * depth, 4], std, bias),
        1,
    )
    assert isinstance(model, nn.Sequential)
    return model


def test_a_network_too_ordered_for_its_depth_is_found_and_repaired() -> None:
    model = build_deep(nn.Tanh, 30, 0.8, 0.3)
    (found,) = judge(model, 8, WIDTH)
    assert found.code == "F008"
    assert found.where == "0"
    assert found.evidence["layers"] == 30
    assert len(found.places) == 30
    repair(model, found)
    assert judge(model, 8, WIDTH) == []


def test_a_network_in_which_nothing_comes_back_is_an_error() -> None:
    (found,) = judge(build_deep(nn.Sigmoid, 20, 1.0), 8, WIDTH)
    assert (found.code, found.severity) == ("F008", "error")
    assert not found.patches  # no gain helps a deep stack of sigmoids
    (found,) = judge(build_deep(nn.Tanh, 16, 0.6), 8, WIDTH)
    assert (found.code, found.severity) == ("F008", "warning")


def test_a_chaotic_network_is_found_and_repaired() -> None:
    model = build_deep(nn.Tanh, 25, 3.0)
    (found,) = judge(model, 8, WIDTH)
    assert (found.code, found.severity) == ("F009", "warning")
    chi = found.evidence["chi"]
    assert isinstance(chi, float)
    assert chi > 1.3
    repair(model, found)
    assert judge(model, 8, WIDTH) == []


def repair(model: nn.Module, found: Finding) -> None:
    """Apply the patches by hand."""
    for patch in found.patches:
        for index, name in enumerate(patch.parameters):
            parameter = model.get_parameter(name)
            if patch.operation == "set":
                nn.init.constant_(parameter, patch.value)
            else:
                generator = fanin.seeds.make_generator(index, "test-patch")
                fanin.get(patch.initializer)(parameter, generator=generator)


SOUND: dict[str, tuple[Callable[[], nn.Module], Sequence[int]]] = {
    "relu, critical": (lambda: build_mlp(nn.ReLU, [WIDTH] * 31, math.sqrt(2)), (8, WIDTH)),
    "tanh, critical": (lambda: build_mlp(nn.Tanh, [WIDTH] * 31, 1.0), (8, WIDTH)),
    "tanh, a little chaotic": (lambda: build_mlp(nn.Tanh, [WIDTH] * 13, 1.5), (8, WIDTH)),
    "a short default": (lambda: nn.Sequential(*list_default(5)), (8, WIDTH)),
    "a narrow one": (lambda: build_mlp(nn.ReLU, [16] * 9, math.sqrt(2)), (8, 16)),
    "residual": (lambda: Residual(40), (8, WIDTH)),
    "normalized": (lambda: nn.Sequential(*list_normalized(30)), (8, WIDTH)),
}


def list_default(depth: int) -> list[nn.Module]:
    return [part for _ in range(depth) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())][:-1]


def list_normalized(depth: int) -> list[nn.Module]:
    parts = [(nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.Tanh()) for _ in range(depth)]
    return [part for three in parts for part in three]


@for_each("name", SOUND)
def test_sound_networks_are_not_judged(name: str) -> None:
    build, shape = SOUND[name]
    for model in draw_models(build, 2):
        assert judge(model, *shape) == []


def test_relu_networks_that_explode_are_not_called_chaotic() -> None:
    assert judge(build_deep(nn.ReLU, 25, 2.0), 8, WIDTH) == []


def test_theory_without_a_measured_sign_is_not_enough() -> None:
    examination = examine(build_deep(nn.Tanh, 30, 0.8, 0.3), draw_batch(8, WIDTH))
    measurement = examination.measurement
    assert measurement is not None
    alike = {
        index: replace(one, gradient_rms=1.0, input_distance=0.5)
        for index, one in measurement.signals.items()
    }
    changed = replace(examination, measurement=replace(measurement, signals=alike))
    assert list(judge_phase(examination))
    assert not list(judge_phase(changed))


def test_an_audit_shows_the_prediction_and_the_finding() -> None:
    assert judge_phase in JUDGES
    found = audit(build_deep(nn.Tanh, 30, 1.0, 0.7), draw_batch(8, WIDTH))
    assert found.theory is not None
    assert found.theory.phase is not None
    assert found.theory.phase.phase == "ordered"
    assert "F008" in [one.code for one in found.findings]
    assert found.theory.to_json()["phases"][0]["activation"] == "tanh"
