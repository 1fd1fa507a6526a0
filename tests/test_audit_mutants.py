"""Mutants: there are enough, each differs from its twin, and labels do not depend on how they were
trained.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from audit_faults.bases import BASES
from audit_faults.harm import Spread, get_uninformed
from audit_faults.kinds import KINDS, WEIGHT_KINDS
from audit_faults.training import can_train_together, measure, train, train_together
from audit_mutants import Mutant, build_twin, make_mutants
from combinations import for_each
from sound_models.entry import Case

MUTANTS = make_mutants()


def test_there_are_at_least_three_hundred_with_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 300
    assert {mutant.kind for mutant in MUTANTS} == set(KINDS)


@for_each("base", BASES)
def test_every_mutant_differs_from_its_twin(base: str) -> None:
    twin = build_twin(base)
    for mutant in (one for one in MUTANTS if one.base == base):
        case = mutant.build()
        assert describe(case) != describe(twin), mutant.name


def describe(case: Case) -> list[object]:
    """Everything that a mutant may change."""
    held = [(n, p.requires_grad, p.tolist()) for n, p in case.model.named_parameters()]
    data = [one.tolist() for one in (*as_tuple(case.batch), case.target)]
    return [str(case.model), held, data]


def as_tuple(batch: Any) -> tuple[torch.Tensor, ...]:
    return batch if isinstance(batch, tuple) else (batch,)


def test_a_twin_is_the_same_every_time() -> None:
    first, second = build_twin("cnn", 3), build_twin("cnn", 3)
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@for_each("base", ["relu_3", "batch_norm_4", "regressor", "binary", "ratings", "language"])
def test_training_together_and_alone_come_to_the_same_loss(base: str) -> None:
    chosen = [one for one in MUTANTS if one.base == base and one.kind in WEIGHT_KINDS]
    chosen = [one for one in chosen if one.kind in ("freeze", "scale", "equal_rows")][:4]
    assert can_train_together(build_twin(base).model)
    together = train_together([one.build(1) for one in chosen], [1] * len(chosen), steps=8)
    alone = [train(one.build(1), 1, steps=8) for one in chosen]
    assert together == pytest.approx(alone, rel=2e-2, abs=1e-4)


def test_training_is_deterministic_and_lowers_the_loss() -> None:
    case = build_twin("regressor")
    before = measure(case)
    after = train(case, 0)
    assert after == train(build_twin("regressor"), 0)
    assert after < 0.5 * min(before, get_uninformed(case))


def test_what_is_not_finite_is_infinite() -> None:
    mutant = Mutant("relu_3", "not_finite", "0.weight", math.nan)
    assert train(mutant.build(), 0, steps=2) == math.inf
    assert train_together([mutant.build()], [0], steps=2) == [math.inf]


def test_harm_is_three_standard_deviations() -> None:
    spread = Spread.of([0.9, 1.0, 1.1], uninformed=1.0)
    assert spread.judge([1.31]) == "worse"
    assert spread.judge([1.29]) == "alike"
    assert spread.judge([0.69]) == "better"
    assert spread.judge([1.0, math.inf]) == "worse"
    assert Spread.of([1.0, 1.0], uninformed=2.0).deviation == 0.02
