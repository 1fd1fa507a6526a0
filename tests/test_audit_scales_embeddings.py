"""F032 and F033: the scale of embeddings, and of those that are tied to the head."""

from __future__ import annotations

import math

import pytest
from audit_scale_cases import (
    WRITERS,
    draw_matching,
    judge,
    list_serious,
    make,
    make_decoder,
    pick,
    tokens,
)
from torch import Tensor, nn

from fanin.diagnosis.finding import Finding

WIDTH = 64


class Sum(nn.Module):
    """Two tables that are added up, and a classifier."""

    def __init__(self, first: float, second: float, factor: float = 1.0) -> None:
        super().__init__()
        self.a, self.b = nn.Embedding(64, WIDTH), nn.Embedding(64, WIDTH)
        self.n, self.o = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)
        self.factor = factor
        nn.init.normal_(self.a.weight, std=first)
        nn.init.normal_(self.b.weight, std=second)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.o(self.n(self.a(x) * self.factor + self.b(x)))
        return result


def find(model: nn.Module, code: str, *, measured: bool = False) -> list[Finding]:
    found = judge(model, tokens(64), measured=measured)
    return [one for one in found if one.code == code]


@pytest.mark.parametrize("measured", [False, True])
def test_a_table_that_drowns_another_is_found(measured: bool) -> None:
    (found,) = find(make(lambda: Sum(1.0, 0.02)), "F032", measured=measured)
    assert (found.severity, found.where) == ("warning", "a.weight")
    assert found.evidence["ratio"] == pytest.approx(50, rel=0.1)
    assert found.patches[0].value == pytest.approx(1 / 50, rel=0.1)


@pytest.mark.parametrize("measured", [False, True])
def test_a_table_that_is_scaled_up_is_right(measured: bool) -> None:
    model = make(lambda: Sum(0.02, 1.0, 50.0))
    assert list_serious(find(model, "F032", measured=measured)) == []
    assert find(make(lambda: Sum(0.02, 0.01)), "F032", measured=measured) == []


def test_torchs_default_alone_is_a_note() -> None:
    (found,) = find(make(lambda: Sum(1.0, 1.0)), "F032")
    assert (found.severity, found.places) == ("note", ("a.weight", "b.weight"))


def test_positions_that_start_at_zero_are_meant() -> None:
    assert list_serious(find(make(lambda: Sum(1.0, 0.0)), "F032")) == []


def test_embeddings_beside_which_all_branches_are_nothing_are_found() -> None:
    model = make_decoder(WRITERS)
    draw_matching(model, lambda name: 30.0 if name == "t.weight" else None)
    (found,) = find(model, "F032", measured=True)
    assert (found.severity, found.where) == ("warning", "t.weight")
    assert found.patches[0].initializer == "normal(std=0.02)"


class Tied(nn.Module):
    """A table that is the head too."""

    def __init__(self, std: float, factor: float = 1.0) -> None:
        super().__init__()
        self.e, self.l, self.n = (
            nn.Embedding(64, WIDTH),
            nn.Linear(WIDTH, WIDTH),
            nn.LayerNorm(WIDTH),
        )
        self.h = nn.Linear(WIDTH, 64, bias=False)
        self.h.weight = self.e.weight
        self.factor = factor
        nn.init.normal_(self.e.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.h(self.n(self.l(self.e(x))) * self.factor)
        return result


@pytest.mark.parametrize("measured", [False, True])
def test_a_tied_table_of_standard_normals_is_an_error(measured: bool) -> None:
    found = pick(judge(make(lambda: Tied(1.0)), tokens(64), measured=measured), "F033")
    assert (found.severity, found.where, found.also) == ("error", "e.weight", ("h.weight",))
    assert found.evidence["logit_std"] == pytest.approx(math.sqrt(WIDTH), rel=0.15)
    assert found.patches[0].initializer == "normal(std=0.02)"


@pytest.mark.parametrize("measured", [False, True])
def test_a_table_in_between_is_a_warning(measured: bool) -> None:
    found = pick(judge(make(lambda: Tied(0.4)), tokens(64), measured=measured), "F033")
    assert found.severity == "warning"


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize(("std", "factor"), [(0.02, 1.0), (WIDTH**-0.5, 1.0), (1.0, WIDTH**-0.5)])
def test_tied_tables_of_the_right_size_are_right(std: float, factor: float, measured: bool) -> None:
    model = make(lambda: Tied(std, factor))
    assert find(model, "F033", measured=measured) == []
