"""Theory against direct simulation: signals, gradients and differences by depth."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean, pstdev

import pytest
import torch
import torch.nn.functional as F
from audit_theory_cases import (
    agree,
    build_mlp,
    compare_gradient,
    compare_signal,
    draw_batch,
    draw_models,
    measure_and_predict,
    predict_wrongly,
)
from combinations import for_each
from torch import Tensor, nn

from fanin.diagnosis.probe import measure_start
from fanin.diagnosis.theory import predict

WIDTHS = (200, 400, 250, 500, 300, 400)
DRAWS = 6

NETS: dict[str, tuple[Callable[[], nn.Module], float, float]] = {
    "tanh": (nn.Tanh, 1.5, 0.2),
    "relu": (nn.ReLU, math.sqrt(2), 0.0),
    "relu with biases": (nn.ReLU, 1.2, 0.3),
    "gelu": (nn.GELU, 1.4, 0.1),
    "sigmoid": (nn.Sigmoid, 1.5, 0.3),
    "silu": (nn.SiLU, 1.3, 0.2),
    "leaky relu": (lambda: nn.LeakyReLU(0.3), 1.3, 0.0),
    "identity": (nn.Identity, 1.0, 0.1),
    "softplus": (nn.Softplus, 0.8, 0.0),
}


@for_each("name", NETS)
def test_a_wide_network_is_as_predicted(name: str) -> None:
    # n = 6 draws, level 1e-4 for each of the last layer's signal and the first's gradient.
    activation, weight_std, bias_std = NETS[name]
    batch = draw_batch(16, WIDTHS[0])
    signals, gradients, distances, wrong, wrong_gradients = [], [], [], [], []
    for model in draw_models(lambda: build_mlp(activation, WIDTHS, weight_std, bias_std), DRAWS):
        measured, predicted = measure_and_predict(model, batch)
        layers = [one.node for one in measured.layers]
        last, first = layers[-1], layers[0]
        signals.append(compare_signal(measured.signals[last], predicted.signals[last]))
        gradients.append(compare_gradient(measured.signals[first], predicted.signals[first]))
        distance, expected = measured.signals[last], predicted.signals[last].predicted_distance
        assert distance.input_distance is not None
        assert expected is not None
        distances.append(math.log(distance.input_distance / expected))
        planted = predict_wrongly(model, measured, model[-1])
        wrong.append(compare_signal(measured.signals[last], planted.signals[last]))
        wrong_gradients.append(compare_gradient(measured.signals[first], planted.signals[first]))
    assert agree(signals)
    assert agree(gradients)
    assert abs(fmean(distances)) < 0.1
    assert not agree(wrong)
    assert not agree(wrong_gradients)


@pytest.mark.parametrize("samples", [1, 12])
def test_the_spread_of_narrow_networks_is_as_allowed(samples: int) -> None:
    # n = 50 draws of depth 8 and width 60: the standard deviation is known to 10 %.
    # Var ln q = 5·7/60 + 2/60: Hanin and Rolnick's Σ 1/width.
    batch = draw_batch(samples, 60)
    logs, allowed = [], 0.0
    for model in draw_models(lambda: build_mlp(nn.ReLU, [60] * 9, math.sqrt(2)), 50):
        measured, predicted = measure_and_predict(model, batch)
        last = measured.layers[-1].node
        gap = compare_signal(measured.signals[last], predicted.signals[last])
        logs.append(gap.log)
        allowed = gap.spread
    assert allowed == pytest.approx(math.sqrt(37 / 60) / 2, rel=0.15)
    found = pstdev(logs)
    if samples == 1:
        assert 0.65 * allowed < found < 1.35 * allowed
    else:
        assert found < allowed


class Periodic(nn.Sequential):
    """Convolutions that wrap around, with strides, groups and a rectangular kernel."""

    def __init__(self, activation: Callable[[], nn.Module], padding_mode: str) -> None:
        mode = {"padding_mode": padding_mode}
        layers = [
            nn.Conv2d(8, 96, 3, padding=1, **mode),
            nn.Conv2d(96, 64, 3, stride=2, padding=1, groups=2, **mode),
            nn.Conv2d(64, 128, (3, 5), padding=(1, 2), **mode),
            nn.Conv2d(128, 64, 3, padding=1, dilation=1, **mode),
        ]
        for layer in layers:
            fan = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
            nn.init.normal_(layer.weight, std=1.4 / math.sqrt(fan))
            nn.init.normal_(layer.bias, std=0.1)
        super().__init__(*[part for one in layers for part in (one, activation())][:-1])


@for_each("padding_mode", ["circular", "zeros"])
@for_each("activation", [nn.ReLU, nn.Tanh])
def test_convolutions_are_as_predicted(
    activation: Callable[[], nn.Module], padding_mode: str
) -> None:
    # n = 4 draws. Padding with zeros: what meets the edges is predicted on average.
    batch = draw_batch(4, 8, 16, 12)
    signals, gradients = [], []
    for model in draw_models(lambda: Periodic(activation, padding_mode), 4):
        measured, predicted = measure_and_predict(model, batch)
        first, last = measured.layers[0].node, measured.layers[-1].node
        signals.append(compare_signal(measured.signals[last], predicted.signals[last]))
        gradients.append(compare_gradient(measured.signals[first], predicted.signals[first]))
    assert agree(signals)
    assert agree(gradients)


def test_padding_with_zeros_matters() -> None:
    # On 4×4 numbers a 5×5 kernel meets 10.24 taps on average, not 25: an error of 0.45 in ln rms.
    def build() -> nn.Module:
        layer = nn.Conv2d(64, 128, 5, padding=2, bias=False)
        return nn.Sequential(layer)

    gaps = []
    for model in draw_models(build, 4):
        measured, predicted = measure_and_predict(model, draw_batch(4, 64, 4, 4))
        node = measured.layers[0].node
        gaps.append(compare_signal(measured.signals[node], predicted.signals[node]))
    assert agree(gaps)
    assert fmean(gap.spread for gap in gaps) < 0.1


def test_a_transposed_convolution_is_as_predicted() -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.ConvTranspose2d(32, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 32, 3, padding=1),
        )

    signals, gradients = [], []
    for model in draw_models(build, 6):
        measured, predicted = measure_and_predict(model, draw_batch(4, 32, 8, 8))
        first, last = measured.layers[0].node, measured.layers[-1].node
        signals.append(compare_signal(measured.signals[last], predicted.signals[last]))
        gradients.append(compare_gradient(measured.signals[first], predicted.signals[first]))
    assert agree(signals)
    assert agree(gradients)


class PreNorm(nn.Module):
    """A residual perceptron before which a normalization stands."""

    def __init__(self, size: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm, self.up, self.down = (
            norm(size),
            nn.Linear(size, 3 * size),
            nn.Linear(3 * size, size),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x + down(f(up(norm(x))))."""
        return x + self.down(F.dropout(F.gelu(self.up(self.norm(x))), 0.1, self.training))


@for_each("norm", [nn.LayerNorm, nn.RMSNorm])
def test_residual_branches_add_up(norm: Callable[[int], nn.Module]) -> None:
    def build() -> nn.Module:
        blocks = [PreNorm(200, norm) for _ in range(4)]
        for block in blocks:
            nn.init.normal_(block.down.weight, std=1 / math.sqrt(600))
            nn.init.uniform_(block.norm.weight, 0.5, 1.5)
        return nn.Sequential(nn.Linear(50, 200), *blocks, norm(200), nn.Linear(200, 100))

    signals, gradients, sums = [], [], []
    for model in draw_models(build, 6):
        measured, predicted = measure_and_predict(model, draw_batch(32, 50))
        stream = [one.node for one in measured.signals.values() if one.kind == "add"]
        first, last = measured.layers[0].node, measured.layers[-1].node
        assert len(stream) == 4
        sums.append(compare_signal(measured.signals[stream[-1]], predicted.signals[stream[-1]]))
        signals.append(compare_signal(measured.signals[last], predicted.signals[last]))
        gradients.append(compare_gradient(measured.signals[first], predicted.signals[first]))
        assert predicted.phases == ()
    assert agree(sums)
    assert agree(signals)
    assert agree(gradients, bias=0.05)


class PostActivation(nn.Module):
    """ResNet's block: batch normalization, and a ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)])

    def forward(self, x: Tensor) -> Tensor:
        """relu(x + branch)."""
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(y)))


def test_a_residual_network_with_batch_normalization_is_as_predicted() -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(16, 64, 3, padding=1),
            *[PostActivation(64)] * 0,
            *[PostActivation(64) for _ in range(3)],
        )

    sums = []
    for model in draw_models(build, 3):
        measured, predicted = measure_and_predict(model, draw_batch(8, 16, 12, 12))
        stream = [one.node for one in measured.signals.values() if one.kind == "add"]
        sums.append(compare_signal(measured.signals[stream[-1]], predicted.signals[stream[-1]]))
    assert agree(sums, bias=0.05)


class WrittenOut(nn.Module):
    """Raw weights, a written-out activation, a gate, constants."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(300, 400) / math.sqrt(300))
        self.gate = nn.Parameter(torch.randn(300, 400) / math.sqrt(300))
        self.last = nn.Linear(400, 300, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """A gated unit, half of its size."""
        h, gate = x @ self.first, x @ self.gate
        return self.last(gate * torch.sigmoid(1.702 * gate) * h) * 0.5


def test_products_of_independent_signals_and_written_out_activations_are_predicted() -> None:
    gaps, gradients = [], []
    for model in draw_models(WrittenOut, 6):
        measured, predicted = measure_and_predict(model, draw_batch(32, 300))
        last, first = measured.layers[-1].node, measured.layers[0].node
        gaps.append(compare_signal(measured.signals[last], predicted.signals[last]))
        gradients.append(compare_gradient(measured.signals[first], predicted.signals[first]))
        assert predicted.signals[last].start == 0
    assert agree(gaps)
    assert agree(gradients)


def test_where_theory_has_no_rule_it_says_so_and_starts_anew() -> None:
    (model,) = draw_models(
        lambda: nn.Sequential(
            nn.Linear(24, 24),
            nn.TransformerEncoderLayer(24, 4, 48, batch_first=True),
            nn.Linear(24, 8),
        ),
        1,
    )
    measured = measure_start(model, draw_batch(4, 6, 24))
    found = predict(model, measured)
    reasons = [one.reason for one in found.signals.values() if one.predicted_rms is None]
    assert any("attention" in reason or "softmax" in reason for reason in reasons)
    assert all(reasons)
    assert found.notes
    last = measured.layers[-1].node
    assert found.signals[last].start not in (None, 0)


class Twice(nn.Module):
    """One weight used twice, and a sum of a signal with its own activation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        """Summands that share weights."""
        return self.layer(x) + self.layer(torch.tanh(self.layer(x)))


def test_summands_that_share_weights_are_not_taken_for_independent() -> None:
    (model,) = draw_models(Twice, 1)
    measured = measure_start(model, draw_batch(8, 64))
    (index,) = [one.node for one in measured.signals.values() if one.kind == "add"]
    found = predict(model, measured).signals[index]
    assert found.predicted_rms is None
    assert "share" in found.reason


def test_a_network_too_narrow_for_its_depth_is_not_predicted() -> None:
    (model,) = draw_models(lambda: build_mlp(nn.ReLU, [12] * 20, math.sqrt(2)), 1)
    measured, predicted = measure_and_predict(model, draw_batch(8, 12))
    found = predicted.signals[measured.layers[-1].node]
    assert found.predicted_rms is None
    assert "narrow" in found.reason


class Odd(nn.Module):
    """Layers of no and of one unit."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 1), nn.Linear(1, 3)])
        self.empty = nn.Parameter(torch.zeros(0, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Through a bottleneck of one unit."""
        return self.layers[1](torch.relu(self.layers[0](x))) + (x @ self.empty.t()).sum()


@for_each("dtype", [torch.float32, torch.bfloat16, torch.float64])
@for_each("samples", [1, 3])
def test_odd_models_do_not_break(samples: int, dtype: torch.dtype) -> None:
    (model,) = draw_models(lambda: Odd().to(dtype), 1)
    batch = draw_batch(samples, 4).to(dtype)
    found = predict(model, measure_start(model, batch))
    assert len(found.signals) == len(measure_start(model, batch).graph.nodes)


def test_a_vector_and_a_model_of_zeros_do_not_break() -> None:
    (model,) = draw_models(lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)), 1)
    predict(model, measure_start(model, draw_batch(6)))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    predict(model, measure_start(model, draw_batch(3, 6)))
    nn.init.constant_(model[0].weight, math.nan)
    predict(model, measure_start(model, draw_batch(3, 6)))


def test_constant_weights_are_predicted_with_their_mean() -> None:
    # Random-sign theory would say √64·0.1·1; all inputs are 1, so that they add up to 6.4.
    (model,) = draw_models(lambda: nn.Sequential(nn.Linear(64, 32, bias=False)), 1)
    nn.init.constant_(model[0].weight, 0.1)
    measured = measure_start(model, torch.ones(4, 64))
    found = predict(model, measured).signals[measured.layers[0].node]
    assert found.predicted_rms == pytest.approx(6.4, rel=1e-3)


def test_nothing_of_the_model_changes() -> None:
    (model,) = draw_models(lambda: build_mlp(nn.GELU, [30, 40, 20], 1.0), 1)
    measured = measure_start(model, draw_batch(4, 30))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    predict(model, measured)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert predict(model, measured) == predict(model, measured)
