"""Parameters that pack several maps: each of q, k and v, and of the gates of a recurrent layer, is
drawn on its own.
"""

from __future__ import annotations

import math

import pytest
import torch
from apply_cases import Recurrent, built, critical, distance, equal, is_uniform, same_law
from torch import Tensor, nn

from fanin import initializers, seeds
from fanin.apply import initialize
from fanin.errors import FitError, UnknownName, UsageError
from fanin.fans import describe_parameters

D = 256


def recurrent() -> Recurrent:
    model = built(Recurrent)
    assert isinstance(model, Recurrent)
    return model


def gates(module: nn.Module, name: str) -> dict[str, Tensor]:
    """The parts of a parameter, copied, by name."""
    parts = describe_parameters(module)[name].layout.parts
    return {part.name: part.of(module.get_parameter(name).detach()).clone() for part in parts}


# --- attention
# -----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["xavier_uniform", "xavier_normal", "he_normal", "lecun_uniform"])
def test_packed_q_k_and_v_have_the_law_of_separate_ones(rule: str) -> None:
    """n = 65,536 numbers on either side, level 1e-4; as one map Xavier's would be 0.71 of it."""
    packed = built(lambda: nn.MultiheadAttention(D, 4))
    separate = built(
        lambda: nn.MultiheadAttention(D, 4, kdim=D, vdim=D + 8)
    )  # so that torch does not pack
    initialize(packed, rule, seed=0)
    initialize(separate, rule, seed=1)
    found = gates(packed, "in_proj_weight")
    assert same_law(found["q"], separate.q_proj_weight)
    assert same_law(found["k"], separate.k_proj_weight)
    assert same_law(found["v"], separate.q_proj_weight)


def test_xavier_of_q_k_and_v_has_the_bound_of_a_square_map() -> None:
    """n = 65,536, level 1e-4."""
    attention = built(lambda: nn.MultiheadAttention(D, 4))
    initialize(attention, "xavier_uniform", seed=0)
    for weight in (*gates(attention, "in_proj_weight").values(), attention.out_proj.weight):
        assert is_uniform(weight, math.sqrt(6 / (D + D)))


def test_keys_and_values_of_other_dimensions_have_their_own_fans() -> None:
    attention = built(lambda: nn.MultiheadAttention(16, 2, kdim=10, vdim=40, add_bias_kv=True))
    record = initialize(attention, "he_normal", seed=0)
    stds = {
        name: record[name].intended_std
        for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    }
    assert stds == {
        "q_proj_weight": math.sqrt(2 / 16),
        "k_proj_weight": math.sqrt(2 / 10),
        "v_proj_weight": math.sqrt(2 / 40),
    }
    for name in ("in_proj_bias", "bias_k", "bias_v"):
        assert not attention.get_parameter(name).any()


def test_each_part_is_what_the_rule_draws_for_it_from_a_stream_of_its_own() -> None:
    attention = built(lambda: nn.MultiheadAttention(16, 2))
    initialize(nn.ModuleDict({"attn": attention}), "orthogonal", seed=3)
    for part in describe_parameters(attention)["in_proj_weight"].layout.parts:
        expected = initializers.get("orthogonal").sample(
            part.layout, seeds.make_generator(3, "init", f"attn.in_proj_weight[{part.name}]")
        )
        assert torch.equal(part.of(attention.in_proj_weight), expected)


def test_parts_keep_the_numbers_of_the_version_that_first_drew_them() -> None:
    attention = built(lambda: nn.MultiheadAttention(4, 2))
    initialize(attention, "he_normal", seed=11)
    first = attention.in_proj_weight[4].tolist()  # of k
    assert first == pytest.approx([-0.95433092, -0.03786166, 0.83924133, 0.12602927], rel=1e-5)


def test_the_record_has_a_row_of_facts_for_each_part() -> None:
    record = initialize(built(lambda: nn.MultiheadAttention(16, 2)), "he_normal", seed=0)
    weight = record["in_proj_weight"]
    assert (weight.shape, weight.fan_in, weight.fan_out, weight.stream) == ((48, 16), 16, 16, None)
    assert [part.name for part in weight.parts] == ["q", "k", "v"]
    assert len({part.stream for part in weight.parts}) == 3
    for part in weight.parts:
        assert (part.rule, part.shape, part.fan_in, part.fan_out) == ("he_normal", (16, 16), 16, 16)
        assert part.intended_std == weight.intended_std == math.sqrt(2 / 16)
        assert part.measured_std == pytest.approx(
            part.intended_std, rel=0.25
        )  # n = 256: standard error 4.4 %
    squares = [part.measured_std**2 for part in weight.parts]
    assert weight.measured_std == pytest.approx(math.sqrt(sum(squares) / 3))


# --- recurrent weights
# -----------------------------------------------------------------------------


def test_every_gate_of_every_recurrent_layer_is_orthogonal() -> None:
    model = recurrent()
    initialize(model, "orthogonal", seed=0)
    seen = 0
    for module in model.modules():
        for name, held in describe_parameters(module).items():
            if held.role not in ("weight", "recurrent weight") or name not in dict(
                module.named_parameters(recurse=False)
            ):
                continue
            whole = module.get_parameter(name).detach()
            for gate in gates(module, name).values() or [whole]:
                small = gate @ gate.T if gate.shape[0] <= gate.shape[1] else gate.T @ gate
                assert torch.allclose(small, torch.eye(len(small)), atol=1e-5)
                seen += 1
    # 1 matrix per RNN weight; an LSTM of 2 layers and 2 directions has 4·(4 + 4) gates and 4
    # projections; a GRU 2·(3 + 3).
    assert seen == 2 + 4 * (4 + 4 + 1) + 2 * (3 + 3) + (2 + 8 + 6)


@pytest.mark.parametrize(("make", "count"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_xavier_of_a_gate_has_the_bound_of_that_gate(make: type[nn.RNNBase], count: int) -> None:
    """n = 49,152 per gate, level 1e-4; the pack as one map would have √((192 + 256)/(192 +
    256·gates)) of the bound.
    """
    module = built(lambda: make(192, D))
    initialize(module, "xavier_uniform", seed=0)
    found = gates(module, "weight_ih_l0")
    assert len(found) == count
    assert all(is_uniform(gate, math.sqrt(6 / (192 + D))) for gate in found.values())


def test_no_two_gates_are_equal() -> None:
    model = recurrent()
    initialize(model, "normal", seed=0)
    found = [
        gate
        for name in ("weight_hh_l0", "weight_hh_l1", "weight_hh_l0_reverse")
        for gate in gates(model.lstm, name).values()
    ]
    assert len({tuple(gate.flatten().tolist()) for gate in found}) == 12


def test_recurrent_weights_can_have_a_rule_of_their_own() -> None:
    model = recurrent()
    record = initialize(model, "lecun_normal", seed=0, recurrent="identity")
    assert torch.equal(model.rnn.weight_hh_l0, torch.eye(6))
    assert torch.equal(gates(model.gru, "weight_hh_l1")["n"], torch.eye(6))
    assert {parameter.rule for parameter in record if "weight_ih" in parameter.name} == {
        "lecun_normal"
    }
    assert {parameter.rule for parameter in record if "weight_hr" in parameter.name} == {
        "lecun_normal"
    }


# --- biases of gates
# -----------------------------------------------------------------------------


def sums(module: nn.Module) -> list[Tensor]:
    """What the gates see: bias_ih + bias_hh, of every layer and direction."""
    held = dict(module.named_parameters(recurse=False))
    return [
        (held[name] + held[name.replace("_ih", "_hh")]).detach()
        for name in held
        if name.startswith("bias_ih")
    ]


H = 6


@pytest.mark.parametrize("how", ["biases", "pattern"])
def test_the_two_biases_of_a_forget_gate_add_up_to_its_value(how: str) -> None:
    """torch's order is i, f, g, o, so that the forget gate is [H:2H]; a GRU's update gate z, of r,
    z, n, is there as well.
    """
    model = recurrent()
    rule = "forget_gate(value=1.5)"
    if how == "biases":
        initialize(model, "orthogonal", seed=0, biases=rule)
    else:
        initialize(model, {"*.bias_*": rule}, default="orthogonal", seed=0)
    for module, gate_count in (
        (model.lstm, 4),
        (model.cells[1], 4),
        (model.gru, 3),
        (model.cells[2], 3),
    ):
        expected = torch.zeros(gate_count * H)
        expected[H : 2 * H] = 1.5
        found = sums(module)
        assert found
        assert all(torch.equal(bias, expected) for bias in found)
    assert not any(bias.any() for bias in (*sums(model.rnn), *sums(model.cells[0])))  # no gates


def test_the_second_bias_alone_can_have_the_law_of_the_sum() -> None:
    module = built(lambda: nn.LSTM(3, H))
    initialize(module, {"bias_hh_l0": "forget_gate"}, default="orthogonal", seed=0)
    assert not module.bias_ih_l0.any()
    assert torch.equal(module.bias_hh_l0[H : 2 * H].detach(), torch.ones(H))


def test_the_record_says_why_the_second_bias_is_zero() -> None:
    record = initialize(built(lambda: nn.LSTM(3, H)), "orthogonal", seed=0, biases="forget_gate")
    assert record["bias_ih_l0"].rule == "forget_gate"
    assert record["bias_hh_l0"].rule == "zero"
    assert "sum with bias_ih" in record["bias_hh_l0"].reason


def test_chrono_spreads_memories_from_2_to_t_max_steps() -> None:
    """n = 1,000 units, level 1e-4: exp b_f is uniform on [1, t_max - 1], and b_i = -b_f unit by
    unit.
    """
    module = built(lambda: nn.LSTM(1, 1000))
    initialize(module, "zero", seed=0, biases="chrono(t_max=101)")
    (bias,) = sums(module)
    i, f, g, o = bias.chunk(4)
    steps = f.exp()
    assert steps.min() >= 1
    assert steps.max() <= 100 + 1e-3
    assert (
        distance(steps, lambda x: ((x - 1) / 99).clamp(0, 1))
        < critical(1000)
        < distance(f, lambda x: x.clamp(0, 4.6) / 4.6)
    )
    assert torch.equal(i, -f)
    assert not torch.cat([g, o]).any()


# --- packs that fanin does not know: split
# -----------------------------------------------------------------------------

QKV = {"q": 64, "k": 16, "v": 16}


def fused() -> nn.Module:
    """Grouped-query attention: one linear layer for 64 queries, 16 keys and 16 values, and a
    transposed one.
    """
    return built(lambda: nn.ModuleDict({"qkv": nn.Linear(64, 96), "other": nn.Linear(64, 96)}))


@pytest.mark.parametrize("sizes", [QKV, [64, 16, 16], (64, 16, 16)], ids=str)
def test_a_fused_weight_is_split_by_hand(sizes: object) -> None:
    model = fused()
    record = initialize(model, "xavier_normal", seed=0, split={"qkv.*": sizes})  # type: ignore[dict-item]
    expected = {
        "q": math.sqrt(2 / (64 + 64)),
        "k": math.sqrt(2 / (64 + 16)),
        "v": math.sqrt(2 / (64 + 16)),
    }
    assert {part.name: part.intended_std for part in record["qkv.weight"].parts} == expected
    assert record["qkv.weight"].fan_out is None  # the parts do not agree
    assert record["other.weight"].parts == ()
    assert record["other.weight"].intended_std == math.sqrt(2 / (64 + 96))
    layout = initializers.get("xavier_normal").sample
    for part, start in (("q", 0), ("k", 64), ("v", 80)):
        size = QKV[part]
        stream = seeds.make_generator(0, "init", f"qkv.weight[{part}]")
        wanted = layout(
            describe_parameters(nn.Linear(64, size, device="meta"))["weight"].layout, stream
        )
        assert torch.equal(model["qkv"].weight[start : start + size], wanted)


def test_equal_parts_are_given_by_their_number() -> None:
    model = fused()
    thirds = initialize(model, "orthogonal", seed=0, split={"qkv.weight": 3})["qkv.weight"]
    assert [(part.name, part.shape) for part in thirds.parts] == [
        ("q", (32, 64)),
        ("k", (32, 64)),
        ("v", (32, 64)),
    ]
    for block in model["qkv"].weight.detach().chunk(3):
        assert torch.allclose(block @ block.T, torch.eye(32), atol=1e-5)
    halves = initialize(model, "orthogonal", seed=0, split={"qkv.weight": 2})["qkv.weight"]
    assert [part.name for part in halves.parts] == ["0", "1"]


def test_the_outputs_of_a_weight_stored_the_other_way_are_its_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = (
                nn.Parameter(torch.zeros(32, 96)),
                nn.Parameter(torch.zeros(96)),
            )

    monkeypatch.setattr(Conv1D, "__module__", "transformers.pytorch_utils")
    layer = Conv1D()
    record = initialize(layer, "orthogonal", seed=0, split={"*": 3})
    assert [part.shape for part in record["weight"].parts] == [(32, 32)] * 3
    assert [part.shape for part in record["bias"].parts] == [(32,)] * 3
    for block in layer.weight.detach().chunk(3, dim=1):
        assert torch.allclose(block @ block.T, torch.eye(32), atol=1e-5)


@pytest.mark.parametrize(
    ("split", "error", "text"),
    [
        ({"qkv.weight": [64, 16]}, FitError, "add up to 80"),
        ({"qkv.weight": {"q": 64, "k": 33}}, FitError, "add up to 97"),
        ({"qkv.weight": 5}, FitError, "equal parts"),
        ({"qkv.weight": 0}, FitError, "equal parts"),
        ({"qkv.weight": True}, FitError, "equal parts"),
        ({"qkv.weight": "qkv"}, FitError, "equal parts"),
        ({"qkv.weight": []}, FitError, "equal parts"),
        ({"qkv.weight": [112, -16]}, FitError, "equal parts"),
        ({"qkv.weight": {"q": 48.0, "k": 48}}, FitError, "equal parts"),
        ({"vkq.*": 3}, UnknownName, "split could mean"),
        ({"": 3}, UsageError, "split: expected a pattern"),
        (3, UsageError, "split maps patterns"),
    ],
    ids=str,
)
def test_a_split_that_does_not_fit_is_an_error_and_changes_nothing(
    split: object, error: type[Exception], text: str
) -> None:
    model = fused()
    with pytest.raises(error, match=text):
        initialize(model, "zero", seed=0, split=split)  # type: ignore[arg-type]
    assert equal(model, fused())


def test_what_is_packed_already_or_grouped_is_not_split_again() -> None:
    with pytest.raises(FitError, match=r"split of in_proj_weight: .*has parts already"):
        initialize(
            built(lambda: nn.MultiheadAttention(8, 2)), "zero", seed=0, split={"in_proj_weight": 3}
        )
    with pytest.raises(FitError, match="cannot be split"):
        initialize(built(lambda: nn.Conv1d(6, 6, 3, groups=3)), "zero", seed=0, split={"weight": 3})
    with pytest.raises(FitError, match="role: unknown"):
        initialize(nn.PReLU(6), "zero", seed=0, split={"weight": 3})
