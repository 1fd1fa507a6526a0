"""F025 to F027: fans of the wrong axis, and packs that were drawn as one map."""

from __future__ import annotations

import math
from typing import Any

import pytest
import structure_cases
import torch
from audit_scale_cases import chain, fill_all, judge, list_serious, make, numbers, pick
from torch import Tensor, nn

import fanin
from fanin.diagnosis.findings.weight_draws import measure_draw

pytestmark = pytest.mark.usefixtures("draws_globally")


def fan_out_he(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, mode="fan_out")


def make_depthwise(*, norm: bool = False) -> nn.Module:
    def build() -> nn.Module:
        def block(*args: Any, **options: Any) -> list[nn.Module]:
            conv = nn.Conv2d(*args, **options)
            return [conv, *([nn.BatchNorm2d(args[1])] if norm else []), nn.ReLU()]

        return chain(
            *block(3, 64, 3, padding=1),
            *block(64, 64, 3, padding=1, groups=64),
            *block(64, 96, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(96, 5),
        )

    return make(build)


def test_a_depthwise_fan_out_over_all_groups_is_found() -> None:
    model = fill_all(make_depthwise(), fan_out_he, nn.Conv2d)
    found = pick(judge(model, numbers(2, 3, 8, 8)), "F025")
    assert (found.where, found.also, found.severity) == ("2.weight", (), "warning")
    assert found.evidence["mistake"] == "groups"
    assert (found.evidence["fan_out"], found.evidence["wrong_fan_out"]) == (9, 576)
    (patch,) = found.patches
    assert (patch.operation, patch.value) == ("scale", pytest.approx(8.0))


def test_a_normalization_undoes_it() -> None:
    model = fill_all(make_depthwise(norm=True), fan_out_he, nn.Conv2d)
    assert pick(judge(model, numbers(2, 3, 8, 8)), "F025").severity == "note"


def make_generator() -> nn.Module:
    return make(
        lambda: chain(
            nn.ConvTranspose2d(64, 16, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 3, padding=1),
        )
    )


def test_a_transposed_convolution_that_was_taken_for_a_convolution_is_found() -> None:
    model = fill_all(make_generator(), nn.init.kaiming_normal_, nn.ConvTranspose2d)
    found = pick(judge(model, numbers(2, 64, 4, 4)), "F025")
    assert (found.where, found.severity) == ("0.weight", "warning")
    assert found.evidence["mistake"] == "transposed"
    assert found.patches[0].value == pytest.approx(0.5)


@pytest.mark.parametrize("rule", ["he_normal", "auto", "xavier_uniform", "normal(std=0.02)"])
def test_transposed_convolutions_with_their_own_fans_are_right(rule: str) -> None:
    model, x = make_generator(), numbers(2, 64, 4, 4)
    fanin.initialize(model, rule, seed=0, batch=x)
    assert [one for one in judge(model, x) if one.code == "F025"] == []


def test_torchs_default_of_transposed_convolutions_is_a_note() -> None:
    assert pick(judge(make_generator(), numbers(2, 64, 4, 4)), "F025").severity == "note"


class FromInputs(nn.Module):
    """Matrices of (in, out)."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.v = (nn.Parameter(torch.empty(s)) for s in ((64, 256), (256, 32)))
        nn.init.kaiming_uniform_(self.w)
        nn.init.kaiming_uniform_(self.v)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.w) @ self.v


def test_matrices_that_are_multiplied_from_the_left_are_transposed() -> None:
    found = pick(judge(make(FromInputs), numbers(4, 64)), "F025")
    assert set(found.places) == {"w", "v"}
    factors = {patch.parameters[0]: patch.value for patch in found.patches}
    assert factors == {"w": pytest.approx(2.0), "v": pytest.approx(1 / math.sqrt(8))}


def sum_fans(weight: Tensor) -> None:
    kernel = sum(weight.shape[2:])
    nn.init.normal_(weight, std=math.sqrt(2 / (sum(weight.shape[:2]) + 2 * kernel)))


def test_a_sum_over_the_kernel_instead_of_a_product_is_found() -> None:
    model = make(lambda: chain(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 32, 3), nn.ReLU()))
    found = pick(judge(fill_all(model, sum_fans, nn.Conv2d), numbers(2, 64, 8, 8)), "F025")
    assert set(found.places) == {"0.weight", "2.weight"}
    assert found.evidence["mistake"] == "sum"
    assert found.evidence["std"] == pytest.approx(2.9 * found.evidence["expected_std"], rel=0.1)


def test_one_shape_is_too_little_for_that() -> None:
    model = make(lambda: chain(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU()))
    found = judge(fill_all(model, sum_fans, nn.Conv2d), numbers(2, 64, 8, 8))
    assert [one for one in found if one.code == "F025"] == []


@pytest.mark.parametrize("gain", [0.3, 0.9, 1.1, 1.3, 1.9])
def test_gains_that_nobody_knows_are_no_wrong_fans(gain: float) -> None:
    model = make(make_depthwise)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan = module.weight[0].numel()
            fill_all(module, lambda w, f=fan: nn.init.normal_(w, std=gain / f**0.5), nn.Conv2d)
    assert [one for one in judge(model, numbers(2, 3, 8, 8)) if one.code == "F025"] == []


# --- packs


def make_encoder() -> nn.Module:
    def build() -> nn.Module:
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    return make(build)


def test_torchs_attention_draws_q_k_and_v_as_one_map() -> None:
    found = pick(judge(make_encoder(), numbers(2, 5, 32)), "F026")
    assert found.severity == "warning"
    assert found.places == tuple(f"layers.{i}.self_attn.in_proj_weight" for i in range(2))
    assert found.evidence["fan_out_of_pack"] == 96
    assert [patch.value for patch in found.patches] == [pytest.approx(math.sqrt(2))] * 2


def test_each_drawn_as_its_own_map_is_right() -> None:
    model = make_encoder()
    fanin.initialize(model, "xavier_uniform", seed=0)
    assert list_serious(judge(model, numbers(2, 5, 32))) == []


def test_a_pack_that_only_its_use_shows_is_found() -> None:
    model = structure_cases.write(
        structure_cases.run_timm,
        qkv=structure_cases.linear(8, 24),
        proj=structure_cases.linear(),
        norm=structure_cases.norm,
    )
    nn.init.orthogonal_(model.qkv.weight)  # type: ignore[arg-type]
    found = pick(judge(model, structure_cases.sequence()), "F026")
    assert found.where == "qkv.weight"
    assert [patch.rows for patch in found.patches] == [(0, 8), (8, 16), (16, 24)]


class Recurrent(nn.Module):
    """A recurrent layer and a head."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.r, self.o = kind(24, 32, batch_first=True), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.o(self.r(x)[0][:, -1])
        return result


def make_recurrent(kind: Any, fill: Any) -> nn.Module:
    model = make(lambda: Recurrent(kind))
    for parameter in model.r.parameters():  # type: ignore[union-attr]
        if parameter.dim() > 1:
            fill(parameter)
    return model


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_an_orthogonal_pack_of_gates_is_found(kind: Any, gates: int) -> None:
    model = make_recurrent(kind, nn.init.orthogonal_)
    found = pick(judge(model, numbers(2, 5, 24)), "F027")
    assert set(found.places) == {"r.weight_ih_l0", "r.weight_hh_l0"}
    assert found.evidence["std"] == pytest.approx(1 / math.sqrt(32 * gates), rel=1e-3)
    assert found.evidence["expected_std"] == pytest.approx(1 / math.sqrt(32), rel=1e-3)
    assert len(found.patches) == 2 * gates
    assert found.patches[0].initializer == "orthogonal"


def test_xaviers_bound_on_a_pack_of_gates_is_found() -> None:
    model = make_recurrent(nn.LSTM, nn.init.xavier_uniform_)
    found = pick(judge(model, numbers(2, 5, 24)), "F027")
    assert "r.weight_hh_l0" in found.places
    factors = dict(zip(found.places, (one.value for one in found.patches), strict=True))
    assert factors["r.weight_hh_l0"] == pytest.approx(math.sqrt(5 / 2))


@pytest.mark.parametrize("rule", ["orthogonal", "xavier_uniform", "torch_default", "auto"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_gates_drawn_one_by_one_are_right(rule: str, kind: Any) -> None:
    model, x = make(lambda: Recurrent(kind)), numbers(2, 5, 24)
    fanin.initialize(model, rule, seed=0, batch=x)
    assert list_serious(judge(model, x)) == []


def test_gates_that_are_written_out_are_found() -> None:
    model = structure_cases.write(
        structure_cases.run_lstm,
        w=structure_cases.linear(8, 32),
        u=structure_cases.linear(8, 32),
        head=structure_cases.linear(8, 2),
    )
    nn.init.orthogonal_(model.u.weight)  # type: ignore[arg-type]
    found = pick(judge(model, structure_cases.sequence()), "F027")
    assert (found.where, found.evidence["parts"]) == ("u.weight", 4)


# --- draws


@pytest.mark.parametrize(
    ("fill", "kind"),
    [
        (nn.init.normal_, "normal"),
        (nn.init.uniform_, "other"),
        (lambda w: nn.init.uniform_(w, -1, 1), "uniform"),
        (lambda w: nn.init.trunc_normal_(w, a=-2, b=2), "truncated"),
        (nn.init.ones_, "constant"),
        (nn.init.eye_, "sparse"),
        (nn.init.orthogonal_, "orthogonal"),
    ],
)
def test_distributions_are_told_apart(fill: Any, kind: str) -> None:
    weight = fill_all(nn.Linear(64, 96), fill, nn.Linear).weight
    assert isinstance(weight, Tensor)
    assert measure_draw(weight, weight[None]).kind == kind


def test_the_error_of_a_standard_deviation_is_that_of_repeated_draws() -> None:
    """200 draws of 500 numbers each; their scatter is known to 5 %, four of which are allowed."""
    draws = [measure_draw(numbers(200, 500)[i]) for i in range(200)]
    scatter = float(torch.tensor([one.std for one in draws]).std())
    assert scatter == pytest.approx(draws[0].error, rel=0.2)
