"""F029, F030 and F012: residual branches that are not scaled, wrong matrices that are, growth."""

from __future__ import annotations

import math

import pytest
import torch
from audit_scale_cases import (
    ATTENTION_OUT,
    DOWN,
    GATE,
    ROUTER,
    UP,
    WRITERS,
    Decoder,
    GatedExperts,
    GatedUnit,
    draw_matching,
    judge,
    list_serious,
    make,
    make_decoder,
    numbers,
    pick,
    tokens,
)
from torch import Tensor, nn

import fanin
from fanin.diagnosis.finding import Finding


def find(model: nn.Module, code: str) -> list[Finding]:
    return [one for one in judge(model, tokens()) if one.code == code]


def test_projections_that_were_never_scaled_are_found_in_all_blocks() -> None:
    (found,) = find(make_decoder(), "F029")
    assert found.severity == "warning"
    assert found.places == tuple(f"k.{i}.{name}" for i in range(6) for name in WRITERS)
    assert found.evidence["branches"] == 12
    assert found.evidence["ratio"] == pytest.approx(1, rel=0.1)
    (patch,) = found.patches
    assert (patch.operation, patch.value) == ("scale", pytest.approx(12**-0.5))
    assert patch.parameters == found.places


@pytest.mark.parametrize("ramp", [False, True])
def test_scaled_projections_are_right(ramp: bool) -> None:
    model = make_decoder(WRITERS, ramp=ramp)
    assert find(model, "F029") == find(model, "F030") == []


def test_a_rule_that_missed_one_kind_of_writers_is_found() -> None:
    (found,) = find(make_decoder((ATTENTION_OUT,)), "F029")
    assert found.severity == "warning"
    assert found.evidence["partly_scaled"]
    assert found.places == tuple(f"k.{i}.{DOWN}" for i in range(6))


def test_shallow_streams_get_a_note_and_very_shallow_ones_nothing() -> None:
    (found,) = find(make_decoder(blocks=3), "F029")
    assert found.severity == "note"
    assert find(make_decoder(blocks=1), "F029") == []


@pytest.mark.parametrize("ramp", [False, True])
def test_an_up_projection_that_is_scaled_with_the_writers_is_found(ramp: bool) -> None:
    (found,) = find(make_decoder((*WRITERS, UP), ramp=ramp), "F030")
    assert found.severity == "warning"
    assert found.places == tuple(f"k.{i}.{UP}" for i in range(6))
    assert found.evidence["role"] == "up"
    assert len(found.patches) == 6
    first = found.patches[0].value
    assert isinstance(first, float)
    assert first == pytest.approx(math.sqrt(2 if ramp else 12), rel=0.1)


def test_an_up_projection_that_is_scaled_instead_of_the_down_projection_is_found() -> None:
    model = make_decoder((ATTENTION_OUT, UP))
    (found,) = find(model, "F030")
    assert found.where == f"k.0.{UP}"
    (missed,) = find(model, "F029")
    assert missed.where == f"k.0.{DOWN}"


def test_a_scaled_gate_is_found() -> None:
    (found,) = find(make_decoder((*WRITERS, GATE)), "F030")
    assert found.evidence["role"] == "gate"


def test_a_scaled_router_is_found() -> None:
    model = make_decoder((ATTENTION_OUT, "g.weight", ROUTER), unit=GatedExperts)
    (found,) = find(model, "F030")
    assert found.places == tuple(f"k.{i}.u.r.weight" for i in range(6))
    assert find(make_decoder((ATTENTION_OUT, "g.weight"), unit=GatedExperts), "F030") == []


def test_a_scaled_embedding_and_head_are_found() -> None:
    (found,) = find(make_decoder((*WRITERS, "t.weight", "h.weight")), "F030")
    assert found.places == ("t.weight", "h.weight")


def test_a_small_up_projection_that_no_rule_of_depth_explains_is_none() -> None:
    model = make_decoder(WRITERS)
    draw_matching(model, lambda name: 0.4 * 0.02 if UP in name else None)
    assert find(model, "F030") == []


@pytest.mark.parametrize("rule", ["xavier_normal", "lecun_normal", "he_normal"])
def test_rules_of_fans_are_no_rules_of_depth(rule: str) -> None:
    model = make(lambda: Decoder(6, GatedUnit))
    fanin.initialize(model, rule, seed=0)
    assert find(model, "F030") == []
    (found,) = find(model, "F029")
    assert found.evidence["ratio"] == pytest.approx(1, rel=0.15)


def test_xavier_in_attention_beside_torchs_default_is_no_rule_of_depth() -> None:
    model = make(lambda: Decoder(3, GatedUnit))
    attention = {f"*.{name}.weight": "xavier_uniform" for name in ("s.a", "s.b", "s.c")}
    fanin.initialize(model, attention, default="torch_default", seed=0)
    assert find(model, "F030") == []


class PostNorm(nn.Module):
    """The stream is normalized after each sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.n = (nn.ModuleList() for _ in range(3))
        for _ in range(12):
            self.a.append(nn.Linear(16, 16))
            self.b.append(nn.Linear(16, 16))
            self.n.append(nn.LayerNorm(16))

    def forward(self, x: Tensor) -> Tensor:
        for a, b, n in zip(self.a, self.b, self.n, strict=True):
            x = n(x + b(torch.relu(a(x))))
        return x


class PreNorm(PostNorm):
    """Each branch is normalized, and scaled by a vector or a number."""

    def __init__(self, scale: Tensor | float) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale) if isinstance(scale, Tensor) else scale

    def forward(self, x: Tensor) -> Tensor:
        for a, b, n in zip(self.a, self.b, self.n, strict=True):
            x = x + self.scale * b(torch.relu(a(n(x))))
        return x


@pytest.mark.parametrize(
    "build",
    [
        PostNorm,
        lambda: PreNorm(torch.full((16,), 1e-6)),
        lambda: PreNorm(torch.zeros(1)),
        lambda: PreNorm(0.1),
    ],
    ids=["post-norm", "LayerScale", "ReZero", "constant"],
)
def test_streams_with_a_scale_of_their_own_are_right(build: type[nn.Module]) -> None:
    assert list_serious(judge(make(build), numbers(4, 16))) == []


class Plain(nn.Module):
    """Residual branches without normalization."""

    def __init__(self, branches: int, last: float) -> None:
        super().__init__()
        self.a, self.b = (
            nn.ModuleList(nn.Linear(32, 32) for _ in range(branches)) for _ in range(2)
        )
        for one in (*self.a, *self.b):
            nn.init.kaiming_normal_(one.weight)
        for one in self.b:
            with torch.no_grad():
                one.weight.mul_(last)

    def forward(self, x: Tensor) -> Tensor:
        for a, b in zip(self.a, self.b, strict=True):
            x = x + b(torch.relu(a(x)))
        return x


@pytest.mark.parametrize("measured", [False, True])
def test_a_stream_without_normalization_grows(measured: bool) -> None:
    found = pick(judge(make(lambda: Plain(8, 1.0)), numbers(8, 32), measured=measured), "F012")
    assert found.severity == "warning"
    assert found.places == tuple(f"b.{i}.weight" for i in range(8))
    growth = found.evidence["growth"]
    assert isinstance(growth, float)
    assert 20 < growth < 300  # √3 per branch: 81
    assert found.patches[0].value == pytest.approx(8**-0.5)


def test_forty_branches_are_ruin() -> None:
    found = pick(judge(make(lambda: Plain(40, 1.0)), numbers(8, 32), measured=True), "F012")
    assert found.severity == "error"


@pytest.mark.parametrize("last", [0.0, 8**-0.5])
@pytest.mark.parametrize("measured", [False, True])
def test_scaled_branches_do_not_grow(last: float, measured: bool) -> None:
    model = make(lambda: Plain(8, last))
    assert list_serious(judge(model, numbers(8, 32), measured=measured)) == []
