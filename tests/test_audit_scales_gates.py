"""F034 and F035: gates, and the parameters of normalizations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from audit_scale_cases import chain, draw, judge, list_serious, make, numbers, pick
from torch import Tensor, nn

import fanin
from fanin.diagnosis.finding import Finding

H = 16


class Recurrent(nn.Module):
    """A recurrent layer and a head."""

    def __init__(self, kind: Any = nn.LSTM) -> None:
        super().__init__()
        self.r, self.o = kind(8, H, batch_first=True), nn.Linear(H, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.o(self.r(x)[0][:, -1])
        return result


def set_biases(model: nn.Module, first: list[float], second: list[float] | None = None) -> None:
    """One number per gate, in torch's order."""
    layer: Any = model.r
    zeros = [0.0] * len(first)
    for bias, values in ((layer.bias_ih_l0, first), (layer.bias_hh_l0, second or zeros)):
        with torch.no_grad():
            bias.copy_(torch.tensor(values).repeat_interleave(H))


def find(model: nn.Module, code: str = "F034", *shape: int) -> list[Finding]:
    return [one for one in judge(model, numbers(*(shape or (2, 5, 8)))) if one.code == code]


def test_a_missing_forget_bias_is_a_note() -> None:
    (found,) = find(make(Recurrent))
    assert (found.severity, found.where) == ("note", "r.bias_ih_l0")
    first, second = found.patches
    assert (first.parameters, first.value, first.rows) == (("r.bias_ih_l0",), 1.0, (H, 2 * H))
    assert (second.parameters, second.value, second.rows) == (("r.bias_hh_l0",), 0.0, (H, 2 * H))


def test_a_forget_bias_that_is_set_twice_is_a_note() -> None:
    model = make(Recurrent)
    set_biases(model, [0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0])
    (found,) = find(model)
    assert (found.severity, found.where) == ("note", "r.bias_hh_l0")
    assert found.evidence["bias_sum"] == 2


@pytest.mark.parametrize(
    ("biases", "gate"),
    [
        ([0.0, -4.0, 0.0, 0.0], "forget"),
        ([-5.0, 1.0, 0.0, 0.0], "input"),
        ([0.0, 1.0, 0.0, -5.0], "output"),
        ([0.0, 6.0, 0.0, 0.0], "forget"),
    ],
)
def test_gates_that_are_stuck_are_found(biases: list[float], gate: str) -> None:
    model = make(Recurrent)
    set_biases(model, biases)
    found = [one for one in find(model) if one.severity == "warning"]
    assert [one.evidence["gate"] for one in found] == [gate]


def test_a_gru_that_never_takes_anything_in_is_found() -> None:
    model = make(lambda: Recurrent(nn.GRU))
    set_biases(model, [0.0, 8.0, 0.0])
    (found,) = find(model)
    assert found.evidence["gate"] == "update"


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("biases", ["forget_gate", "chrono(t_max=500)"])
def test_biases_of_gates_that_are_meant_are_right(kind: Any, biases: str) -> None:
    model = make(lambda: Recurrent(kind))
    fanin.initialize(model, "orthogonal", seed=0, biases=biases)
    assert find(model) == []


def test_mirrored_biases_are_meant() -> None:
    model = make(Recurrent)
    set_biases(model, [-4.0, 4.0, 0.0, 0.0])
    assert find(model) == []


class Highway(nn.Module):
    """t·H(x) + (1 - t)·x."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.h, self.t, self.o = nn.Linear(H, H), nn.Linear(H, H), nn.Linear(H, 3)
        nn.init.constant_(self.t.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        t = torch.sigmoid(self.t(x))
        result: Tensor = self.o(t * torch.relu(self.h(x)) + (1 - t) * x)
        return result


def test_a_highway_gate_is_closed_a_little_on_purpose() -> None:
    assert find(make(lambda: Highway(-2.0)), "F034", 4, H) == []


@pytest.mark.parametrize("bias", [-12.0, 12.0])
def test_a_highway_gate_that_is_shut_or_open_for_good_is_found(bias: float) -> None:
    (found,) = find(make(lambda: Highway(bias)), "F034", 4, H)
    assert (found.where, found.severity) == ("t.bias", "warning")


class Gated(nn.Module):
    """SwiGLU in a branch."""

    def __init__(self, zero: str) -> None:
        super().__init__()
        self.n = nn.LayerNorm(H)
        self.gate, self.up = (nn.Linear(H, 2 * H, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * H, H, bias=False)
        nn.init.zeros_(self.get_parameter(f"{zero}.weight"))

    def forward(self, x: Tensor) -> Tensor:
        h = self.n(x)
        result: Tensor = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return result


def test_a_zero_gate_is_found_and_a_zero_down_projection_is_meant() -> None:
    (found,) = find(make(lambda: Gated("gate")), "F034", 4, H)
    assert (found.where, found.severity) == ("gate.weight", "warning")
    assert find(make(lambda: Gated("down")), "F034", 4, H) == []


# --- normalizations


def make_norms() -> nn.Module:
    return make(
        lambda: chain(nn.Linear(H, H), nn.LayerNorm(H), nn.ReLU(), nn.Linear(H, H), nn.LayerNorm(H))
    )


def list_norms(model: nn.Module) -> list[nn.LayerNorm]:
    return [one for one in model.modules() if isinstance(one, nn.LayerNorm)]


def test_scales_drawn_as_weights_are_found() -> None:
    model = make_norms()
    draw({one.weight: 0.02 for one in list_norms(model)})
    (found,) = find(model, "F035", 4, H)
    assert found.severity == "warning"
    assert found.places == ("1.weight", "4.weight")
    assert [(one.operation, one.value) for one in found.patches] == [("set", 1.0)]


def test_scales_around_one_are_right() -> None:
    model = make_norms()
    draw({one.weight: 0.02 for one in list_norms(model)})
    with torch.no_grad():
        for one in list_norms(model):
            one.weight.add_(1)
    assert find(model, "F035", 4, H) == []


class Offset(nn.Module):
    """RMSNorm that multiplies by 1 + w."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((H,), value))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (1 + self.w)


@pytest.mark.parametrize(("value", "found"), [(0.0, False), (1.0, False), (-1.0, True)])
def test_the_offset_of_a_scale_is_added(value: float, found: bool) -> None:
    model = make(lambda: chain(nn.Linear(H, H), Offset(value), nn.Linear(H, 3)))
    assert bool(find(model, "F035", 4, H)) is found


class Residual(nn.Module):
    """A branch of two convolutions with batch normalization."""

    def __init__(self, zero: str) -> None:
        super().__init__()
        self.stem, self.a, self.b = (nn.Conv2d(H, H, 3, padding=1) for _ in range(3))
        self.m, self.n, self.k = (nn.BatchNorm2d(H) for _ in range(3))
        nn.init.zeros_(self.get_parameter(f"{zero}.weight"))

    def forward(self, x: Tensor) -> Tensor:
        x = self.k(self.stem(x)).relu()
        result: Tensor = (x + self.n(self.b(self.m(self.a(x)).relu()))).relu()
        return result


def test_a_zero_scale_belongs_to_the_end_of_a_branch() -> None:
    assert list_serious(judge(make(lambda: Residual("n")), numbers(2, H, 6, 6))) == []
    found = pick(judge(make(lambda: Residual("m")), numbers(2, H, 6, 6)), "F035")
    assert (found.where, found.severity) == ("m.weight", "warning")


def test_a_zero_scale_on_a_stream_that_is_normalized_is_found() -> None:
    layer = make(
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(H, 2, H, batch_first=True), 2, enable_nested_tensor=False
        )
    )
    fanin.initialize(layer, "xavier_uniform", seed=0)
    nn.init.zeros_(layer.get_parameter("layers.0.norm1.weight"))
    (found,) = find(layer, "F035", 2, 5, H)
    assert found.where == "layers.0.norm1.weight"


@pytest.mark.parametrize("value", [50.0, 0.01, -1.0])
def test_constants_far_from_one_are_found(value: float) -> None:
    model = make_norms()
    nn.init.constant_(model.get_parameter("1.weight"), value)
    (found,) = find(model, "F035", 4, H)
    assert found.where == "1.weight"


def test_shifts_are_a_note() -> None:
    model = make_norms()
    nn.init.constant_(model.get_parameter("1.bias"), 0.5)
    (found,) = find(model, "F035", 4, H)
    assert (found.where, found.severity) == ("1.bias", "note")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("running_var", 0.0),
        ("running_var", 1e4),
        ("running_mean", 7.0),
        ("running_var", float("inf")),
    ],
)
def test_running_statistics_that_no_training_made_are_found(name: str, value: float) -> None:
    model: Any = make(lambda: Residual("n"))
    getattr(model.m, name).fill_(value)
    found = pick(judge(model, numbers(2, H, 6, 6)), "F035")
    assert (found.where, found.severity) == ("m", "warning")


def test_statistics_that_were_tracked_are_right() -> None:
    model: Any = make(lambda: Residual("n"))
    model.m.running_var.fill_(1e4)
    model.m.num_batches_tracked.fill_(5)
    assert list_serious(judge(model, numbers(2, H, 6, 6))) == []
