"""F013: units that are equal and stay equal, and units that only look so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from audit_weight_cases import draw, examine, judge, make_mlp, pick
from combinations import for_each
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.equal_rows import find_equal_rows
from fanin.diagnosis.findings.identical_units import find_identical_units


def fill(model: nn.Sequential, value: float, *layers: int) -> nn.Sequential:
    """The model with constant weights, and biases of 0, in some layers."""
    for index in layers:
        nn.init.constant_(model[index].weight, value)  # type: ignore[arg-type]
        nn.init.zeros_(model[index].bias)  # type: ignore[arg-type]
    return model


def find(model: nn.Module, batch: Any) -> list[Finding]:
    """What is found of identical units."""
    return pick(judge(model, batch), "F013")


@for_each("value", [0.1, 0.0, -0.3])
@for_each("act", [nn.ReLU, nn.Tanh, nn.GELU])
def test_constant_hidden_layers_never_separate(value: float, act: type[nn.Module]) -> None:
    model = fill(make_mlp(10, 16, 16, 4, act=act), value, 0, 2, 4)
    (finding,) = find(model, draw(8, 10))
    assert finding.severity == "error"
    assert {"0.weight", "2.weight"} <= set(finding.places)
    assert finding.evidence["identical_units"] == finding.evidence["units"] == 16
    (patch,) = finding.patches
    assert patch.initializer == "auto"
    assert {"0.weight", "2.weight"} <= set(patch.parameters)


def test_an_equal_layer_between_equal_ones_is_stuck_though_the_last_is_random() -> None:
    (finding,) = find(fill(make_mlp(10, 16, 16, 4), 0.1, 0, 2), draw(8, 10))
    assert (finding.severity, finding.where) == ("error", "0.weight")


@for_each("layers", [(0,), (2,), (4,)])
def test_one_constant_layer_separates_and_is_a_warning(layers: tuple[int, ...]) -> None:
    (finding,) = find(fill(make_mlp(10, 16, 16, 4), 0.1, *layers), draw(8, 10))
    assert (finding.severity, finding.where) == ("warning", f"{layers[0]}.weight")


def test_constant_weights_with_biases_that_differ_are_a_warning() -> None:
    model = make_mlp(10, 16, 16, 4)
    for layer in (0, 2, 4):
        nn.init.constant_(model[layer].weight, 0.1)  # type: ignore[arg-type]
    (finding,) = find(model, draw(8, 10))
    assert finding.severity == "warning"
    assert set(finding.places) == {"0.weight", "2.weight", "4.weight"}


def test_units_that_are_dead_are_not_said_to_stay_equal() -> None:
    model = fill(make_mlp(10, 16, 16, 4), 0.0, 2, 4)
    nn.init.constant_(model[2].bias, -1.0)  # type: ignore[arg-type]
    nn.init.constant_(model[4].weight[:, :2], 0.5)  # type: ignore[index]
    assert find(model, draw(8, 10)) == []


@for_each("layer", [2, 4])
def test_one_layer_of_zeros_separates_where_the_slope_at_0_is_not_0(layer: int) -> None:
    model = fill(make_mlp(10, 16, 16, 4, act=nn.Tanh), 0.0, layer)
    assert find(model, draw(8, 10)) == []


def test_a_layer_of_zeros_before_a_head_of_zeros_is_stuck() -> None:
    (finding,) = find(fill(make_mlp(10, 16, 16, 4), 0.0, 2, 4), draw(8, 10))
    assert (finding.severity, finding.where) == ("error", "2.weight")


def test_copies_among_the_units_are_counted() -> None:
    model = make_mlp(10, 64, 64, 4)
    with torch.no_grad():
        model[0].weight[:20] = model[0].weight[0].clone()
        model[0].bias[:20] = 0
        model[2].weight[:, :20] = 0.1
    (finding,) = find(model, draw(32, 10))
    assert (finding.severity, finding.where) == ("error", "0.weight")
    assert finding.evidence["identical_units"] == 20
    assert finding.evidence["different_units"] == 45


def test_units_that_differ_in_sign_are_worth_one_in_a_tanh_net_and_two_in_a_relu_net() -> None:
    found = {}
    for act in (nn.Tanh, nn.ReLU):
        model = make_mlp(10, 16, 16, 4, act=act)
        with torch.no_grad():
            model[0].bias.zero_()
            model[0].weight[8:] = -model[0].weight[:8]
            model[2].weight[:, 8:] = -model[2].weight[:, :8]
        found[act] = find(model, draw(32, 10))
    (finding,) = found[nn.Tanh]
    assert (finding.where, finding.evidence["different_units"]) == ("0.weight", 8)
    assert found[nn.ReLU] == []


class Recurrent(nn.Module):
    """A recurrent layer and a head on its last state."""

    def __init__(self, kind: type[nn.RNNBase], layers: int = 1) -> None:
        super().__init__()
        self.rnn = kind(5, 8, layers, batch_first=True)  # type: ignore[call-arg]
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.rnn(x)[0][:, -1])
        return output


@for_each("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(kind: type[nn.RNNBase]) -> None:
    with seeds.preserve_torch_state(0):
        model = Recurrent(kind, 2)
    batch = draw(4, 6, 5)
    assert find(model, batch) == []
    nn.init.eye_(model.rnn.weight_hh_l0[:8])
    nn.init.zeros_(model.rnn.weight_hh_l1)
    assert find(model, batch) == []
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    (finding,) = find(model, batch)
    assert finding.severity == "error"
    assert {"rnn.weight_ih_l0", "rnn.weight_hh_l0"} <= set(finding.places)


def test_equal_queries_and_keys_are_stuck_though_the_values_are_random() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    batch = draw(2, 5, 16)
    assert find(model, batch) == []
    nn.init.zeros_(model.self_attn.in_proj_weight[:16])
    assert find(model, batch) == []  # queries of 0 learn from random keys
    nn.init.constant_(model.self_attn.in_proj_weight[:32], 0.1)
    (finding,) = find(model, batch)
    assert (finding.severity, finding.where) == ("error", "self_attn.in_proj_weight")


class RawMatrices(nn.Module):
    """Matrices that no layer class describes."""

    @seeds.preserve_torch_state(0)
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(0.3 * torch.randn(10, 16))
        self.second = nn.Parameter(0.3 * torch.randn(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.first) @ self.second


def test_matrices_of_one_s_own_are_looked_at_by_their_use() -> None:
    model = RawMatrices()
    assert find(model, draw(8, 10)) == []
    with torch.no_grad():
        model.first.fill_(0.1)
        model.second[:] = model.second[0].clone()
    (finding,) = find(model, draw(8, 10))
    assert (finding.severity, finding.where) == ("error", "first")


@seeds.preserve_torch_state(0)
def make_cnn(*second: int) -> nn.Sequential:
    """Two convolutions and a head; the second one's size and groups."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, second[0], groups=second[1]),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def test_convolutions_with_constant_filters() -> None:
    model = make_cnn(3, 1)
    batch = draw(4, 3, 8, 8)
    assert find(model, batch) == []
    (finding,) = find(fill(model, 0.1, 0, 3, 6), batch)
    assert finding.severity == "error"
    assert {"0.weight", "3.weight"} <= set(finding.places)


def test_equal_filters_of_a_depthwise_convolution_have_different_inputs() -> None:
    model = make_cnn(3, 8)
    assert find(fill(model, 1 / 9, 3), draw(4, 3, 8, 8)) == []


def test_a_frozen_layer_with_equal_rows_is_no_finding() -> None:
    model = fill(make_mlp(10, 16, 16, 4), 0.1, 0)
    model[0].requires_grad_(requires_grad=False)
    assert find(model, draw(8, 10)) == []


@for_each("sizes", [(1, 8, 1), (2, 2, 1), (2, 2), (1, 1), (1, 1, 1), (4, 1, 4)])
def test_tiny_layers(sizes: tuple[int, ...]) -> None:
    assert judge(make_mlp(*sizes), draw(8, sizes[0])) == []


def look_linear(weight: Tensor) -> None:
    """Mirrored blocks, as in Balduzzi et al. (2017)."""
    rows, columns = weight.shape[0] // 2, weight.shape[1] // 2
    block = torch.empty(rows, columns)
    nn.init.orthogonal_(block, generator=seeds.make_generator(0, "block"))
    with torch.no_grad():
        top = torch.cat([block, -block], 1)
        weight.copy_(torch.cat([top, -top], 0))


STARTS: dict[str, Callable[[Tensor], Any]] = {
    "identity": nn.init.eye_,
    "a multiple of the identity": lambda weight: weight.copy_(0.9 * torch.eye(16)),
    "looks-linear": look_linear,
    "Hadamard": lambda weight: weight.copy_(_make_hadamard(16) / 4),
    "circulant": lambda weight: weight.copy_(
        torch.stack([torch.roll(draw(16), shift) for shift in range(16)])
    ),
}


@for_each("name", STARTS)
def test_structured_square_starts_are_no_finding(name: str) -> None:
    model = make_mlp(16, 16, 16, 16, 16)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                STARTS[name](layer.weight)
                nn.init.zeros_(layer.bias)
    assert find(model, draw(32, 16)) == []


def _make_hadamard(size: int) -> Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def test_a_model_that_cannot_be_copied_is_noted() -> None:
    model = fill(make_mlp(10, 16, 16, 4), 0.1, 0, 2, 4)
    model.register_buffer("held", torch.ones(1, requires_grad=True) * 2)  # deepcopy refuses this
    examination = examine(model, draw(8, 10))
    (finding,) = find_identical_units(examination)
    assert finding.severity == "warning"
    assert "could not be tried" in finding.summary
    assert "could not be tried" in examination.notes[0]


def test_the_model_and_the_random_state_stay_as_they_are() -> None:
    model = fill(make_mlp(10, 16, 16, 4), 0.1, 0, 2, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    assert find(model, draw(8, 10)) == find(model, draw(8, 10))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


def test_equal_rows_are_found_by_all_their_numbers() -> None:
    rows = draw(50, 40)
    rows[7] = rows[3]
    rows[30] = -rows[3]
    rows[9] = rows[4]
    rows[9, 39] += 1
    assert find_equal_rows(rows) == [[3, 7, 30]]
    assert find_equal_rows(torch.zeros(3, 2)) == [[0, 1, 2]]
    assert find_equal_rows(rows[:1]) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    model = fill(make_mlp(10, 16, 16, 4), 0.1, 0, 2, 4).to(dtype)
    (finding,) = find(model, draw(8, 10).to(dtype))
    assert finding.severity == "error"
    assert find(make_mlp(10, 16, 16, 4).to(dtype), draw(8, 10).to(dtype)) == []
