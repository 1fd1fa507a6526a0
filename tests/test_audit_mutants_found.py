"""Harmful mutants of many kinds are found with the right code, and repaired; their twins are not
blamed. `benchmarks/audit_mutants.py` measures all of them.
"""

from __future__ import annotations

import functools

import pytest
import torch
from audit_mutants import Mutant, build_twin
from combinations import for_each
from sound_models.entry import Case
from torch import nn

import fanin
from fanin import seeds

FOUND = {
    ("relu_3", "freeze", "0", 1.0): "F022",
    ("relu_3", "squash", "", 1.0): "F008",
    ("tanh_4", "fill", "0.weight", 0.0): "F010",
    ("tanh_4", "equal_rows", "8.weight", 1.0): "F013",
    ("tanh_4", "scale", "8.weight", 0.001): "F028",
    ("tanh_4", "input_scale", "", 0.1): "F042",
    ("batch_norm_4", "scale", "0.weight", 1000.0): "F028",
    ("batch_norm_4", "uniform_positive", "6.weight", 1.0): "F053",
    ("regressor", "drop", "2", 0.95): "F047",
    ("binary", "fill", "4.weight", 0.215): "F053",
    ("binary", "shift", "0.bias", 10.0): "F054",
    ("residual", "shift_biases", "", 1.0): "F054",
    ("residual", "scale", "stem.weight", 10.0): "F028",
    ("cnn", "scale", "0.weight", 0.1): "F028",
    ("cnn", "zero_rows", "4.weight", 0.5): "F016",
    ("cnn", "end_multiplied", "", 0.001): "F004",
    ("language", "scale", "tokens.weight", 1000.0): "F032",
    ("language", "scale", "positions.weight", 30.0): "F032",
    ("lstm", "scale", "layer.weight_hh_l0", 1000.0): "F028",
    ("gru", "draw_all", "", 0.02): "F028",
    ("ratings", "scale", "items.weight", 1000.0): "F032",
    ("ratings", "linearize", "", 1.0): "F051",
}
REPAIRED = [
    ("relu_3", "freeze", "0", 1.0),
    ("relu_3", "not_finite", "6.weight", float("inf")),
    ("batch_norm_4", "scale", "0.weight", 1000.0),
    ("regressor", "shift", "0.bias", -10.0),
    ("regressor", "shift", "4.bias", -10.0),
    ("regressor", "end_multiplied", "", 30.0),
    ("binary", "shift", "4.bias", 10.0),
    ("lstm", "scale_all", "", 0.1),
]

Key = tuple[str, str, str, float]


def audit(case: Case) -> fanin.Audit:
    return fanin.audit(case.model, case.batch, target=case.target, loss=case.loss)


def list_serious(found: fanin.Audit) -> set[tuple[str, str]]:
    serious = (*found.errors, *found.warnings)
    return {(one.code, place) for one in serious for place in one.places}


@functools.cache
def audit_twin(base: str) -> set[tuple[str, str]]:
    return list_serious(audit(build_twin(base)))


@for_each("key", list(FOUND))
def test_a_harmful_fault_is_found_by_its_code(key: Key) -> None:
    base, kind, place, size = key
    new = list_serious(audit(Mutant(base, kind, place, size).build())) - audit_twin(base)
    assert FOUND[key] in {code for code, _ in new}, new
    layer = place.removesuffix(".weight").removesuffix(".bias")
    assert not layer or any(where.startswith(layer) for _, where in new), new


@for_each("key", REPAIRED)
def test_what_weights_can_repair_is_repaired(key: Key) -> None:
    base, kind, place, size = key
    found = audit(Mutant(base, kind, place, size).build())
    assert found.findings
    _, after = found.fix()
    assert list_serious(after) <= audit_twin(base)


def make_stack(*frozen: int) -> nn.Sequential:
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(
            nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)
        )
    for index in frozen:
        model[index].requires_grad_(False)
    return model


def audit_stack(model: nn.Module) -> fanin.Audit:
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(32, 8, generator=generator)
    return fanin.audit(model, batch, target=torch.randint(3, (32,), generator=generator))


def list_codes(model: nn.Module) -> set[str]:
    found = audit_stack(model)
    return {one.code for one in (*found.errors, *found.warnings)}


def test_one_fresh_layer_that_is_frozen_is_found_and_most_layers_are_not() -> None:
    assert "F022" in list_codes(make_stack(0))
    assert "F022" not in list_codes(make_stack(0, 2))  # a trained head on a fixed body
    trained = make_stack(0)
    with torch.no_grad():
        trained[0].weight.pow_(5)  # tails, as training leaves them
    assert "F022" not in list_codes(trained)


def test_frozen_layers_train_after_the_fix() -> None:
    model = make_stack(0)
    found = audit_stack(model)
    assert "requires_grad_()" in found.code()
    fixed, after = found.fix()
    assert all(one.requires_grad for one in fixed.parameters())
    assert not model[0].weight.requires_grad
    assert after.repair is not None
    assert [patch.to_json() for patch in after.repair.patches] == [
        {"operation": "train", "parameters": ["0.weight", "0.bias"]}
    ]


@for_each("factor", [0.01, 0.1, 2.0])
def test_a_small_or_somewhat_large_last_layer_is_a_choice(factor: float) -> None:
    model = make_stack()
    with torch.no_grad():
        model[4].weight.mul_(factor)
    assert not list_codes(model) & {"F028", "F006", "F008"}


@pytest.mark.parametrize("constant", [0.1, 0.3])
def test_small_constant_biases_are_a_choice(constant: float) -> None:
    model = make_stack()
    for index in (0, 2):
        nn.init.constant_(model[index].bias, constant)
    assert "F054" not in list_codes(model)
