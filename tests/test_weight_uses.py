"""Raw parameters described by their use: products, einsum, convolutions, experts, tables."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fanin
from fanin.structure import find_weight_uses

pytestmark = pytest.mark.usefixtures("draws_globally")


class Raw(nn.Module):
    """One raw parameter, used as a function says."""

    def __init__(self, shape: tuple[int, ...], use: object) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(shape))
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(x, self.w)  # type: ignore[operator, no-any-return]


X = torch.randn(2, 5, 4)
"""Two samples, five positions, four features."""

USES = {
    "x @ w": ((4, 6), lambda x, w: x @ w, ((0,), (1,), ())),
    "F.linear": ((6, 4), lambda x, w: F.linear(x, w), ((1,), (0,), ())),
    "x @ w.t()": ((6, 4), lambda x, w: x @ w.t(), ((1,), (0,), ())),
    "w @ x": ((6, 5), lambda x, w: w @ x, ((1,), (0,), ())),
    "bmm": ((2, 4, 6), lambda x, w: torch.bmm(x, w), ((1,), (2,), (0,))),
    "bmm of a transposed": ((2, 6, 4), lambda x, w: torch.bmm(x, w.mT), ((2,), (1,), (0,))),
    "in bfloat16": ((4, 6), lambda x, w: x.bfloat16() @ w.to(torch.bfloat16), ((0,), (1,), ())),
    "addmm": (
        (4, 6),
        lambda x, w: torch.addmm(x.new_zeros(6), x[0], w),
        ((0,), (1,), ()),
    ),
    "einsum of heads": (
        (4, 3, 2),
        lambda x, w: torch.einsum("bld,dhk->blhk", x, w),
        ((0,), (1, 2), ()),
    ),
    "einsum of experts": (
        (3, 4, 6),
        lambda x, w: torch.einsum("bld,edf->eblf", x, w),
        ((1,), (0, 2), ()),
    ),
    "einsum with a batch": (
        (2, 4, 6),
        lambda x, w: torch.einsum("bld,bdf->blf", x, w),
        ((1,), (2,), (0,)),
    ),
    "a matrix made of a stack": ((3, 6, 4), lambda x, w: F.linear(x, w[1]), ((2,), (1,), (0,))),
    "reshaped heads": (
        (4, 3, 2),
        lambda x, w: x @ w.reshape(4, 6),
        ((0,), (1, 2), ()),
    ),
    "conv1d": ((6, 5, 3), lambda x, w: F.conv1d(x, w), ((1,), (0,), ())),
    "conv_transpose1d": ((5, 6, 3), lambda x, w: F.conv_transpose1d(x, w), ((0,), (1,), ())),
}


@pytest.mark.parametrize("batch", [None, X], ids=["traced", "observed"])
@pytest.mark.parametrize("name", USES)
def test_the_axes_are_those_of_the_use(name: str, batch: Tensor | None) -> None:
    shape, use, expected = USES[name]
    found = find_weight_uses(Raw(shape, use), ["w"], batch)["w"]
    assert found.kind == "weight"
    assert (found.in_axes, found.out_axes, found.batch_axes) == expected


def test_what_is_no_matrix_is_said_to_be_none() -> None:
    model = Raw((5, 4), lambda x, w: x + w)
    assert find_weight_uses(model, ["w"], X)["w"].kind == "added"
    with pytest.warns(fanin.errors.UnfilledWarning, match="it is added to a signal in Raw"):
        record = fanin.initialize(model, "he_normal", seed=0)
    assert record["w"].rule is None
    model = Raw((5, 4), lambda x, w: x * w)
    assert find_weight_uses(model, ["w"], X)["w"].kind == "scale"


def test_a_table_is_an_embedding() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(12, 32))
            self.head = nn.Linear(32, 12)

        def forward(self, tokens: Tensor) -> Tensor:
            out: Tensor = self.head(self.table[tokens])
            return out

    tokens = torch.randint(0, 12, (2, 5))
    record = fanin.initialize(Table(), "he_normal", batch=tokens, seed=0)
    assert record["table"].role == "embedding"
    assert record["table"].intended_std == pytest.approx(0.02)


def test_two_uses_that_disagree_tell_nothing() -> None:
    model = Raw((4, 4), lambda x, w: (x @ w) + F.linear(x, w))
    assert find_weight_uses(model, ["w"], X) == {}


def test_a_layer_of_ones_own_that_is_named_like_torchs_has_its_own_fans() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 700))
            self.bias = nn.Parameter(torch.randn(700))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight + self.bias

    record = fanin.initialize(nn.Sequential(Linear(), nn.ReLU()), "he_normal", seed=0)
    assert (record["0.weight"].fan_in, record["0.weight"].fan_out) == (5, 700)
    assert record["0.weight"].reason == "weight, as matmul uses it in Linear"
    assert record["0.bias"].rule == "zero"


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(Raw((4, 6), lambda x, w: x @ w), nn.BatchNorm1d(5), nn.Dropout())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    find_weight_uses(model, ["0.w"], X)
    assert torch.equal(state, torch.random.get_rng_state())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(module._forward_hooks for module in model.modules())


def test_experts_are_known_without_a_batch_and_on_meta() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=4,
    )
    with torch.device("meta"):
        model = transformers.MixtralForCausalLM(config)
    found = find_weight_uses(
        model, [name for name, _ in model.named_parameters() if "experts" in name]
    )
    assert {
        name.rpartition(".")[2]: (use.in_axes, use.out_axes, use.batch_axes)
        for name, use in found.items()
    } == {"gate_up_proj": ((2,), (1,), (0,)), "down_proj": ((2,), (1,), (0,))}


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_normalization_of_anybodys_is_known_by_what_it_computes(offset: float) -> None:
    class Anything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.g = nn.Parameter(torch.full((8,), 1 - offset))

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (self.g + offset)

    model = nn.Sequential(nn.Linear(8, 8), Anything())
    record = fanin.initialize(model, "he_normal", seed=0)
    assert record["1.g"].role == ("norm offset" if offset else "norm scale")
    assert record["1.g"].rule == ("zero" if offset else "constant")
    assert torch.equal(model[1].g, torch.full((8,), 1 - offset))


def test_a_vector_that_is_no_scale_of_a_normalization_is_not_taken_for_one() -> None:
    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.full((8,), 0.3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0, x, x * self.slope)

    record = fanin.initialize(nn.Sequential(nn.Linear(90, 8), Slope()), "he_normal", seed=0)
    assert record["1.slope"].role == "unknown"
    assert record["1.slope"].reason.endswith("test_weight_uses.Slope")


def test_the_bias_of_a_raw_linear_is_a_bias_and_one_map_is_no_pack() -> None:
    class Router(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(6))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight, self.bias)

    record = fanin.initialize(nn.Sequential(Router()), "he_normal", seed=0)
    assert record["0.bias"].rule == "zero"
    assert record["0.bias"].reason == "bias, added after 0.weight in Router"
    heads = Raw((4, 3, 2), lambda x, w: torch.einsum("bld,dhk->blhk", x, w))
    record = fanin.initialize(heads, "he_normal", batch=X, seed=0)
    assert record["w"].parts == ()
    assert record["w"].stream is not None
