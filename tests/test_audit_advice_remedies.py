"""Remedies: the rule that suits what follows a layer, biases, heads, priors, and lines of code."""

from __future__ import annotations

import math
from collections.abc import Iterator

import audit_advice_cases as cases
import pytest
import torch
from torch import nn

import fanin
from fanin import seeds
from fanin.diagnosis.advice.proposing import propose_patches
from fanin.diagnosis.advice.remedies import (
    calculate_prior,
    choose_rule,
    shrink,
    suggest_biases,
    suggest_prior_bias,
    suggest_weights,
    write_standardization,
)
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.model_audit import examine
from fanin.errors import UsageError
from fanin.structure import find_followers, trace_symbolically


@pytest.fixture(autouse=True)
def draw_the_same() -> Iterator[None]:
    """Modules draw from torch's global generator: always the same, and its state is restored."""
    with seeds.preserve_torch_state(0):
        yield


@pytest.mark.parametrize(
    ("activation", "depth", "rule"),
    [
        (nn.ReLU, 3, "he_normal"),
        (nn.ReLU, 20, "he_normal"),
        (lambda: nn.LeakyReLU(0.2), 3, "he_normal(a=0.2)"),
        (nn.SELU, 3, "lecun_normal"),
        (nn.Tanh, 3, "lecun_normal(gain=1.5925)"),
        (nn.Tanh, 20, "orthogonal"),
        (nn.GELU, 3, "lecun_normal(gain=1.5335)"),
        (nn.Identity, 3, "lecun_normal"),
    ],
)
def test_the_rule_suits_what_follows(activation: type[nn.Module], depth: int, rule: str) -> None:
    model = cases.make_mlp(activation, depth)
    assert choose_rule(find_followers(model)["0"])[0] == rule
    assert choose_rule(find_followers(model)[str(2 * depth)])[0] == "lecun_normal"


def test_a_layer_of_which_nothing_is_known_gets_lecun() -> None:
    assert choose_rule(None) == ("lecun_normal", "what follows is not known")


def test_a_stack_that_no_gain_repairs_is_said_to_be_one() -> None:
    follower = find_followers(cases.make_mlp(nn.Sigmoid, 12))["0"]
    assert "no gain keeps its signal" in choose_rule(follower)[1]


def test_weights_are_grouped_by_rule_and_recurrent_ones_are_orthogonal() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    found = suggest_weights(model, trace_symbolically(model), ["0", "2", "4", "1", "nowhere"])
    assert {(one.initializer, one.parameters) for one in found} == {
        ("he_normal", ("0.weight", "2.weight")),
        ("lecun_normal", ("4.weight",)),
    }
    recurrent = nn.Sequential(nn.RNN(4, 4))
    rules = {
        name: patch.initializer
        for patch in suggest_weights(recurrent, trace_symbolically(recurrent), ["0"])
        for name in patch.parameters
    }
    assert rules["0.weight_hh_l0"] == "orthogonal"
    assert rules["0.weight_ih_l0"] == "lecun_normal(gain=1.5925)"


def test_strides_of_a_transposed_convolution_are_counted_as_auto_counts_them() -> None:
    model = nn.Sequential(nn.ConvTranspose2d(8, 8, 4, stride=2), nn.ReLU(), nn.Conv2d(8, 4, 3))
    (patch,) = suggest_weights(model, trace_symbolically(model), ["0"])
    record = fanin.initialize(model, {"0.weight": patch.initializer}, default="keep", seed=0)
    other = fanin.initialize(model, "auto", seed=0)
    assert record["0.weight"].intended_std == pytest.approx(
        other["0.weight"].intended_std, rel=1e-3
    )


def test_biases_of_layers_are_set() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.LSTM(2, 2))
    patch = suggest_biases(model, ["0", "1", "2"])
    assert patch is not None
    assert patch.parameters == ("0.bias", "2.bias_ih_l0", "2.bias_hh_l0")
    assert suggest_biases(nn.Sequential(nn.Linear(2, 2, bias=False)), ["0"]) is None


def test_a_head_is_shrunk_to_what_is_wanted_and_not_enlarged() -> None:
    patch = shrink(["head.weight"], 12.5)
    assert patch is not None
    assert patch.value == 0.008
    assert shrink(["head.weight"], 0.05) is None
    assert shrink(["head.weight"], math.nan) is None


def test_the_prior_of_labels_is_what_a_bias_alone_can_predict() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2] + [-100] * 50)
    values = torch.tensor(calculate_prior(labels, kind="classes", outputs=4))
    shares = values.softmax(0)
    torch.testing.assert_close(shares, torch.tensor([90.5, 9.5, 1.5, 0.5]) / 102, rtol=1e-3, atol=0)
    assert abs(float(values.mean())) < 1e-5
    odds = calculate_prior(torch.tensor([[1.0], [0], [0], [0]]), kind="probabilities")
    assert odds == (pytest.approx(math.log(1.5 / 3.5), rel=1e-4),)
    assert calculate_prior(torch.tensor([[1.0, 5], [3, 7]]), kind="numbers") == (2, 6)
    patch = suggest_prior_bias("head.bias", labels, kind="classes", outputs=4)
    assert isinstance(patch.value, tuple)
    assert len(patch.value) == 4
    with pytest.raises(UsageError, match="without elements"):
        calculate_prior(torch.tensor([]), kind="numbers")


def test_standardization_is_code_that_runs() -> None:
    names = {"x": 7.0}
    exec(write_standardization("x", -3.0, 2.0), names)
    assert names["x"] == 5


# --- proposals for findings without patches -----------------------------------------------------


def propose(model: nn.Module, code: str, where: str) -> set[tuple[str, str]]:
    inputs, labels = cases.make_batch()
    finding = Finding(code=code, severity="error", where=where, summary="", remedy="")
    patches = propose_patches(examine(model, inputs, target=labels), finding)
    return {(name, one.initializer or one.operation) for one in patches for name in one.parameters}


def test_weights_of_the_wrong_size_on_a_plain_path_are_drawn_anew() -> None:
    model = cases.make_mlp(nn.ReLU, 3)
    fanin.initialize(model, "he_normal", seed=0)
    assert propose(model, "F004", "0") == set()
    with torch.no_grad():
        model[2].weight.mul_(0.1)
    assert propose(model, "F004", "0") == {("2.weight", "he_normal")}


def test_the_size_of_a_last_layer_is_left_to_the_judge_of_the_output() -> None:
    found = propose(cases.make_deep_relu(), "F010", "40")
    assert found == {(f"{2 * i}.weight", "he_normal") for i in range(20)}


def test_large_biases_are_proposed_before_weights_and_constants_anywhere() -> None:
    assert propose(cases.make_dead_biases(), "F002", "2") == {("2.bias", "set")}
    assert propose(cases.make_zeros(), "F023", "0") == {
        *((f"{i}.weight", "he_normal") for i in (0, 2, 4, 6)),
        ("8.weight", "lecun_normal"),
    }
    assert ("8.weight", "lecun_normal") in propose(cases.make_constant(), "F006", "0")


def test_nothing_is_proposed_for_other_findings() -> None:
    assert propose(cases.make_deep_relu(), "F042", "input") == set()
