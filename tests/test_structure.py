"""What follows each layer: traced and observed, through modules, functions and methods, and nothing
of the model is changed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from combinations import for_each
from torch import Tensor, nn

from fanin import models, seeds
from fanin import structure as package
from fanin.errors import FitError, UsageError
from fanin.structure import (
    ElementwiseExpression,
    Follower,
    find_followers,
    find_graph_followers,
    trace_forward,
    trace_symbolically,
)

Found = dict[str, Follower]

# One behaviour, both ways of reading a model.
both = pytest.mark.parametrize("way", ["trace", "observe"])


def read(model: nn.Module, way: str, *shape: int) -> Found:
    """The followers by tracing, or by observing one batch of that shape."""
    return find_followers(model, None if way == "trace" else torch.ones(shape))


@seeds.preserve_torch_state(0)
def stack(*layers: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(*(layer() for layer in layers))


def linear(inputs: int = 4, outputs: int = 4) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(inputs, outputs)


class Net(nn.Module):
    """Layers by name, and a forward pass."""

    def __init__(self, forward: Callable[..., object], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.code = forward

    def forward(self, x: Tensor) -> object:
        return self.code(self, x)


@seeds.preserve_torch_state(0)
def net(forward: Callable[..., object], **layers: Callable[[], nn.Module]) -> Net:
    return Net(forward, **{name: make() for name, make in layers.items()})


def dense(forward: Callable[..., object], names: str = "a b c") -> Net:
    return net(forward, **{name: linear() for name in names.split()})


# --- one activation
# -----------------------------------------------------------------------------


@both
def test_a_module_that_follows_is_handed_over_itself(way: str) -> None:
    model = stack(linear(), nn.GELU, linear())
    found = read(model, way, 2, 4)
    assert found["0"] == Follower("0", "activation", model[1], False, 2, "followed by GELU")
    assert found["2"] == Follower("2", "output", None, False, 2, "nothing follows: output")
    assert list(found) == ["0", "2"]


FUNCTIONS = [
    (F.relu, "relu"),
    (F.relu_, "relu"),
    (torch.relu, "relu"),
    (lambda x: x.relu(), "relu"),
    (lambda x: x.relu_(), "relu"),
    (lambda x: F.relu(x, inplace=True), "relu"),
    (torch.tanh, "tanh"),
    (lambda x: x.tanh(), "tanh"),
    (lambda x: x.sigmoid(), "sigmoid"),
    (F.sigmoid, "sigmoid"),
    (torch.special.expit, "sigmoid"),
    (F.silu, "silu"),
    (F.mish, "mish"),
    (F.hardswish, "hardswish"),
    (F.selu, "selu"),
    (torch.sin, "sin"),
    (F.softplus, "softplus"),
    (lambda x: F.softplus(x, 2), "softplus(beta=2.0)"),
    (F.leaky_relu, "leaky_relu"),
    (lambda x: F.leaky_relu(x, 0.2), "leaky_relu(negative_slope=0.2)"),
    (lambda x: F.leaky_relu(x, negative_slope=0.2, inplace=True), "leaky_relu(negative_slope=0.2)"),
    (lambda x: F.elu(x, alpha=0.5), "elu(alpha=0.5)"),
    (lambda x: F.gelu(x, approximate="tanh"), "gelu(approximate=tanh)"),
    (F.gelu, "gelu"),
    (F.hardtanh, "hardtanh"),
    (lambda x: F.hardtanh(x, 0, 6), "hardtanh(min_val=0.0, max_val=6.0)"),
]


@both
@pytest.mark.parametrize(
    ("function", "spec"), FUNCTIONS, ids=[f"{i}-{spec}" for i, (_, spec) in enumerate(FUNCTIONS)]
)
def test_an_activation_that_is_called_as_a_function_is_named_with_its_options(
    way: str, function: Callable[[Tensor], Tensor], spec: str
) -> None:
    found = read(dense(lambda m, x: m.b(function(m.a(x))), "a b"), way, 2, 4)
    assert (found["a"].kind, found["a"].activation) == ("activation", spec)
    assert found["a"].reason == f"followed by {spec}"


@both
def test_an_activation_without_a_name_is_handed_over_as_a_function(way: str) -> None:
    found = read(dense(lambda m, x: m.b(torch.atan(m.a(x))), "a b"), way, 2, 4)
    x = torch.linspace(-3, 3, 7)
    assert isinstance(found["a"].activation, ElementwiseExpression)
    assert torch.equal(found["a"].activation(x), torch.atan(x))


WRITTEN_OUT = {
    "silu": (lambda x: x * torch.sigmoid(x), F.silu),
    "gelu": (
        lambda x: (
            0.5
            * x
            * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))
        ),
        lambda x: F.gelu(x, approximate="tanh"),
    ),
    "exact gelu": (lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))), F.gelu),
    "squared relu": (lambda x: F.relu(x).square(), lambda x: F.relu(x) ** 2),
    "square by itself": (lambda x: x * x, torch.square),
    "mish in place": (lambda x: x.mul_(torch.tanh(F.softplus(x))), F.mish),
    "clamp": (lambda x: x.clamp(min=0), F.relu),
}


@both
@for_each("name", WRITTEN_OUT)
def test_an_activation_that_is_written_out_becomes_a_function_that_computes_it(
    way: str, name: str
) -> None:
    written, expected = WRITTEN_OUT[name]
    found = read(dense(lambda m, x: m.b(written(m.a(x))), "a b"), way, 2, 4)["a"]
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    kept = x.clone()
    assert found.kind == "activation"
    assert isinstance(found.activation, ElementwiseExpression)
    assert not found.through_add
    torch.testing.assert_close(found.activation(x), expected(kept))
    assert torch.equal(x, kept)


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class RMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


@both
def test_activations_and_normalizations_that_torch_does_not_have_stay_whole(way: str) -> None:
    model = stack(linear(), QuickGELU, linear(), RMSNorm, linear())
    found = read(model, way, 2, 4)
    assert found["0"].activation is model[1]
    assert (found["2"].kind, found["2"].reason) == ("normalization", "followed by RMSNorm")


# --- what lies between
# -----------------------------------------------------------------------------


@both
def test_a_normalization_decides_before_the_activation_after_it(way: str) -> None:
    model = stack(lambda: nn.Conv2d(3, 4, 3), lambda: nn.BatchNorm2d(4), nn.ReLU)
    assert read(model, way, 2, 3, 8, 8) == {
        "0": Follower("0", "normalization", None, False, 1, "followed by BatchNorm2d"),
    }


@both
@pytest.mark.parametrize("pool_first", [True, False])
def test_pooling_before_or_after_the_activation_does_not_matter(way: str, pool_first: bool) -> None:
    middle = (
        [lambda: nn.MaxPool2d(2), nn.Tanh] if pool_first else [nn.Tanh, lambda: nn.MaxPool2d(2)]
    )
    model = stack(lambda: nn.Conv2d(3, 4, 3), *middle, nn.Flatten, linear(36, 2))
    found = read(model, way, 2, 3, 8, 8)
    assert found["0"].activation is model[1 + pool_first]
    assert found["4"].kind == "output"


BETWEEN = {
    "dropout": lambda x: F.dropout(x, 0.5, training=True),
    "reshape": lambda x: x.view(-1, 2, 2).permute(0, 2, 1).flatten(1),
    "pooling": lambda x: F.avg_pool1d(x.unsqueeze(1), 3, padding=1, stride=1).squeeze(1),
    "padding": lambda x: F.pad(x, (1, 1))[..., 1:-1],
    "parts": lambda x: torch.cat([(parts := x.chunk(2, dim=1))[0], parts[1]], dim=1),
    "transposition": lambda x: x.T.T,
    "copy": lambda x: x.contiguous().to(torch.float64).float(),
    "mean": lambda x: x.mean(1, keepdim=True).expand(-1, 4),
    "shape": lambda x: x.reshape(x.shape[0], x.size(1)),
}


@both
@for_each("between", BETWEEN)
def test_what_moves_or_selects_numbers_is_passed_through(way: str, between: str) -> None:
    found = read(dense(lambda m, x: m.b(F.relu(BETWEEN[between](m.a(x)))), "a b"), way, 2, 4)
    assert (found["a"].activation, found["a"].through_add, found["a"].reason) == (
        "relu",
        False,
        "followed by relu",
    )


CONSTANTS = {"scale": lambda x: x * 2 / 3, "shift": lambda x: 1 - x, "frequency": lambda x: 30 * x}


@both
@for_each("constant", CONSTANTS)
def test_constants_before_an_activation_are_part_of_it(way: str, constant: str) -> None:
    found = read(dense(lambda m, x: m.b(torch.sin(CONSTANTS[constant](m.a(x)))), "a b"), way, 2, 4)[
        "a"
    ]
    assert callable(found.activation)
    x = torch.linspace(-2, 2, 9)
    assert torch.allclose(found.activation(x), torch.sin(CONSTANTS[constant](x)))


@both
def test_a_constant_that_scales_a_branch_down_is_not_undone(way: str) -> None:
    found = read(dense(lambda m, x: m.b(x + 0.1 * F.gelu(m.a(x))), "a b"), way, 2, 4)["a"]
    assert found.activation == "gelu"


@both
def test_a_module_of_dropout_is_passed_through_also_that_of_fanin(way: str) -> None:
    model = stack(linear(), nn.Dropout, nn.ReLU, lambda: models.Dropout(0.5), linear())
    found = read(model, way, 2, 4)
    assert found["0"].activation is model[2]


@both
def test_a_layer_directly_after_a_layer_is_linear(way: str) -> None:
    found = read(stack(linear(), nn.Identity, linear()), way, 2, 4)
    assert (found["0"].kind, found["0"].reason) == ("linear", "followed by Linear 2")


@both
def test_a_softmax_is_named(way: str) -> None:
    found = read(stack(linear(), lambda: nn.LogSoftmax(1)), way, 2, 4)
    assert (found["0"].kind, found["0"].reason) == ("softmax", "followed by LogSoftmax")


@both
def test_a_function_that_is_not_known_is_named(way: str) -> None:
    found = read(dense(lambda m, x: m.b(torch.fft.fft(m.a(x)).real), "a b"), way, 2, 4)
    assert (found["a"].kind, found["a"].reason) == (
        "unknown",
        "followed by fft_fft, which fanin does not know",
    )


# --- sums, products, branches
# -----------------------------------------------------------------------------


@both
def test_a_residual_sum_is_passed_through_and_told(way: str) -> None:
    found = read(dense(lambda m, x: m.c(F.relu(x + m.b(F.tanh(m.a(x))))), "a b c"), way, 2, 4)
    assert (found["a"].activation, found["a"].through_add) == ("tanh", False)
    assert (found["b"].activation, found["b"].through_add) == ("relu", True)
    assert found["b"].reason == "followed by relu after a sum"


@both
def test_a_sum_of_parts_of_one_tensor_is_no_residual_sum(way: str) -> None:
    def rotated(y: Tensor) -> Tensor:
        return y * 0.8 + torch.cat([-y[..., 2:], y[..., :2]], -1) * 0.6

    found = read(dense(lambda m, x: m.b(F.relu(rotated(m.a(x)))), "a b"), way, 2, 4)
    assert (found["a"].activation, found["a"].through_add, found["a"].plain_depth) == (
        "relu",
        False,
        2,
    )


def _in_place_residual(m: Net, x: Tensor) -> Tensor:
    y = m.a(x)
    out = m.b(F.relu(y))
    out += y
    return m.c(out.tanh_())


def test_a_residual_sum_in_place_is_a_sum() -> None:
    found = find_followers(dense(_in_place_residual), torch.ones(2, 4))
    assert (found["b"].activation, found["b"].through_add) == ("tanh", True)
    assert (found["a"].activation, found["a"].through_add) == ("relu", False)
    assert "disagree, also: followed by tanh after a sum" in found["a"].reason


@both
def test_adding_a_constant_or_a_parameter_is_no_residual_sum(way: str) -> None:
    model = dense(lambda m, x: m.b(F.relu(m.a(x) + 1 + m.shift)), "a b")
    model.shift = nn.Parameter(torch.ones(1, 4))
    assert read(model, way, 2, 4)["a"].through_add is False


@both
def test_where_branches_disagree_the_activation_decides_and_the_reason_names_the_other(
    way: str,
) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        return m.b(y) + m.c(F.silu(y))

    found = read(dense(forward), way, 2, 4)
    assert (found["a"].kind, found["a"].activation) == ("activation", "silu")
    assert (
        found["a"].reason == "followed by silu; its branches disagree, also: followed by Linear b"
    )


@both
def test_branches_that_agree_are_not_mentioned(way: str) -> None:
    model = net(lambda m, x: m.relu(y := m.a(x)) + F.relu(y), a=linear(), relu=nn.ReLU)
    model.code = lambda m, x: (lambda y: m.b(m.relu(y)) + m.b(F.relu(y)))(m.a(x))
    model.b = copy.deepcopy(model.a)
    assert read(model, way, 2, 4)["a"].reason == "followed by ReLU"


@both
def test_the_gate_is_an_activation_and_the_gated_a_product(way: str) -> None:
    found = read(dense(lambda m, x: m.c(F.silu(m.a(x)) * m.b(x))), way, 2, 4)
    assert (found["a"].kind, found["a"].activation) == ("activation", "silu")
    assert (found["b"].kind, found["b"].reason) == ("product", "followed by mul")


@both
def test_the_halves_of_one_layer_are_different_signals(way: str) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        gate, value = m.a(x).chunk(2, dim=-1)
        return m.b(torch.cat([F.silu(gate) * value] * 2, -1))

    found = read(dense(forward, "a b"), way, 2, 4)
    assert found["a"].activation == "silu"
    assert found["a"].reason == "followed by silu; its branches disagree, also: followed by mul"


@both
def test_a_product_with_a_mask_of_the_input_is_no_gate(way: str) -> None:
    found = read(dense(lambda m, x: m.b(F.relu(m.a(x) * (x - 1))), "a b"), way, 2, 4)
    assert found["a"].activation == "relu"


@both
def test_a_shared_layer_says_where_its_uses_disagree(way: str) -> None:
    found = read(dense(lambda m, x: m.a(F.relu(m.a(x))), "a"), way, 2, 4)
    assert (found["a"].kind, found["a"].activation) == ("activation", "relu")
    assert (
        found["a"].reason == "followed by relu; its 2 calls disagree, also: nothing follows: output"
    )


@both
def test_a_shared_layer_whose_uses_agree_is_like_any_other(way: str) -> None:
    found = read(dense(lambda m, x: m.b(F.relu(m.a(F.relu(m.a(x))))), "a b"), way, 2, 4)
    assert found["a"].reason == "followed by relu"


@both
def test_a_layer_that_is_never_called_is_unknown(way: str) -> None:
    found = read(dense(lambda m, x: m.a(x), "a spare"), way, 2, 4)
    assert (found["spare"].kind, found["spare"].plain_depth) == ("unknown", 0)
    assert "did not reach" in found["spare"].reason


@both
def test_a_layer_whose_output_nobody_uses_is_unknown(way: str) -> None:
    found = read(dense(lambda m, x: (m.a(x), m.b(x))[1], "a b"), way, 2, 4)
    assert (found["a"].kind, found["a"].reason) == (
        "unknown",
        "nothing that can be seen uses its output",
    )


# --- weights without the call of their layer
# -----------------------------------------------------------------------------


class Dense(nn.Module):
    """A layer that somebody wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(4, 4))
        self.bias = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.kernel + self.bias)


@both
def test_a_weight_that_is_used_by_a_function_belongs_to_the_layer_that_owns_it(way: str) -> None:
    found = read(
        dense(lambda m, x: F.relu(F.linear(x, m.a.weight.t().contiguous(), m.a.bias)), "a"),
        way,
        2,
        4,
    )
    assert found["a"].activation == "relu"


@both
def test_a_layer_that_somebody_wrote_is_followed_inside(way: str) -> None:
    found = read(stack(Dense, linear()), way, 2, 4)
    assert (found["0"].activation, found["0"].plain_depth) == ("tanh", 2)
    assert found["1"].kind == "output"


class Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight


class OpaqueDense(Dense):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = Opaque.apply(x, self.kernel)
        return result


def test_a_layer_whose_inside_cannot_be_seen_is_one_step() -> None:
    model = stack(linear(), OpaqueDense, nn.ReLU)
    found = find_followers(model, torch.ones(2, 4))
    assert (found["0"].kind, found["1"].activation) == ("linear", model[2])


@both
def test_a_single_layer_is_a_model(way: str) -> None:
    (layer,) = stack(linear())
    assert read(layer, way, 2, 4) == {
        "": Follower("", "output", None, False, 1, "nothing follows: output")
    }


@both
def test_a_parametrized_layer_is_itself(way: str) -> None:
    model = stack(linear(), nn.ReLU, linear())
    with seeds.preserve_torch_state(0):
        nn.utils.parametrizations.spectral_norm(model[0])
    found = read(model, way, 2, 4)
    assert list(found) == ["0", "2"]
    assert found["0"].activation is model[1]


@both
def test_tied_weights_keep_their_layers_apart(way: str) -> None:
    model = stack(lambda: nn.Embedding(9, 4), linear(), nn.ReLU, linear(4, 9))
    model[3].weight = model[0].weight
    found = find_followers(model, None if way == "trace" else torch.tensor([[1, 2]]))
    assert [found[name].kind for name in ("0", "1", "3")] == ["linear", "activation", "output"]


# --- models that cannot be traced
# -----------------------------------------------------------------------------


def _data_dependent(m: Net, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.b(F.relu(y)) if y.sum() > 1e9 else m.c(torch.tanh(y))


def test_a_model_whose_control_flow_depends_on_data_is_observed_and_not_traced() -> None:
    model = dense(_data_dependent)
    with pytest.raises(
        FitError, match=r"Net cannot be traced without data: TraceError.*Give batch="
    ):
        find_followers(model)
    found = find_followers(model, torch.ones(2, 4))
    assert found["a"].activation == "tanh"
    assert found["b"].kind == "unknown"


def test_tracing_takes_optional_arguments_at_their_defaults() -> None:
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(
            self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0, mode: str = "plain"
        ) -> Tensor:
            y: Tensor = self.a(x)
            return F.relu(y) if mask is None and mode == "plain" else y * mask

    with seeds.preserve_torch_state(0):
        model = Optional()
    assert find_followers(model)["a"].activation == "relu"


def test_a_batch_may_be_a_dict_or_a_tuple() -> None:
    model = net(lambda m, x: F.relu(m.a(x)), a=linear())
    for batch in ({"x": torch.ones(2, 4)}, (torch.ones(2, 4),), [torch.ones(2, 4)]):
        assert find_followers(model, batch)["a"].activation == "relu"


def test_the_multilayer_perceptron_is_traced_with_its_activations() -> None:
    model = _build("mlp", (1, 28, 28))
    found = find_followers(model)
    assert [found[name].activation for name in ("hidden.0", "hidden.1")] == list(model.activations)
    assert (found["output"].kind, found["output"].plain_depth) == ("output", 3)
    assert find_followers(model, torch.ones(2, 1, 28, 28)) == found


def test_the_convolutional_network_is_observed_with_its_activations() -> None:
    model = _build("cnn", (1, 28, 28))
    with pytest.raises(FitError, match="CNN cannot be traced"):
        trace_symbolically(model)
    found = find_followers(model, torch.ones(2, 1, 28, 28))
    assert [found[name].activation for name in ("conv.0", "conv.1", "hidden.0")] == list(
        model.activations
    )
    assert {follower.plain_depth for follower in found.values()} == {4}


@seeds.preserve_torch_state(0)
def _build(name: str, shape: tuple[int, ...]) -> nn.Module:
    return models.get(name).build(shape, 10)


# --- attention and recurrence
# -----------------------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_transformer_layer_is_seen_inside_in_training_and_in_evaluation(
    norm_first: bool, training: bool
) -> None:
    (model,) = stack(
        lambda: nn.TransformerEncoderLayer(
            8, 2, 16, activation="gelu", batch_first=True, norm_first=norm_first
        )
    )
    found = find_followers(model.train(training), torch.ones(2, 3, 8))
    assert found["linear1"].activation == "gelu"
    assert (found["self_attn"].kind, found["self_attn"].plain_depth) == ("linear", 2)
    assert (found["self_attn.out_proj"].kind, found["self_attn.out_proj"].through_add) == (
        "normalization",
        True,
    )
    assert found["linear2"].kind == ("output" if norm_first else "normalization")
    assert found["linear2"].plain_depth == 2
    assert model.training is training
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_stack_of_transformer_layers_is_seen_inside() -> None:
    (model,) = stack(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3)
    )
    found = find_followers(model.eval(), torch.ones(2, 3, 8))
    assert [found[f"layers.{i}.linear1"].activation for i in range(3)] == ["relu"] * 3


class Block(nn.Module):
    """One block of a GPT, with attention written out or fused."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.ln_1, self.ln_2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.c_proj = nn.Linear(8, 8)
        self.c_fc, self.c_out = nn.Linear(8, 32), nn.Linear(32, 8)

    def attention(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).view(2, 3, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q @ k.transpose(-2, -1)) * 0.5
            scores = scores.masked_fill(torch.ones(3, 3).tril() == 0, float("-inf"))
            y = F.dropout(F.softmax(scores, dim=-1), 0.1, self.training) @ v
        return self.c_proj(y.transpose(1, 2).reshape(2, 3, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.ln_1(x))
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x))))


@both
@pytest.mark.parametrize("fused", [True, False])
def test_a_block_of_a_transformer_that_somebody_wrote(way: str, fused: bool) -> None:
    (model,) = stack(lambda: Block(fused))
    found = read(model, way, 2, 3, 8)
    meeting = "softmax" if fused else "product"
    assert [found[name].kind for name in "qkv"] == [meeting, meeting, "linear"]
    assert found["v"].reason == "followed by Linear c_proj"
    assert (found["c_proj"].kind, found["c_proj"].through_add) == ("normalization", True)
    assert found["c_fc"].activation == "gelu"
    assert (found["c_out"].kind, found["c_out"].through_add) == ("output", True)
    assert {follower.plain_depth for follower in found.values()} == {2}


def test_recurrent_layers_say_what_is_inside_them() -> None:
    for make, kind, activation in (
        (lambda: nn.RNN(4, 4), "activation", "tanh"),
        (lambda: nn.RNN(4, 4, nonlinearity="relu"), "activation", "relu"),
        (lambda: nn.LSTM(4, 4), "unknown", None),
        (lambda: nn.GRU(4, 4), "unknown", None),
    ):
        model = net(lambda m, x: m.head(F.relu(m.cell(x)[0])), cell=make, head=linear())
        found = find_followers(model, torch.ones(3, 2, 4))["cell"]
        assert (found.kind, found.activation, found.plain_depth) == (kind, activation, 2)
        assert ("gates" in found.reason) is (kind == "unknown")


# --- depth
# -----------------------------------------------------------------------------


@both
def test_all_layers_of_a_plain_network_are_as_deep_as_the_network(way: str) -> None:
    model = stack(*[layer for _ in range(50) for layer in (linear(), nn.Tanh)])
    assert {follower.plain_depth for follower in read(model, way, 2, 4).values()} == {50}


@both
def test_normalizations_end_the_plain_depth(way: str) -> None:
    model = stack(
        *[layer for _ in range(10) for layer in (linear(), lambda: nn.LayerNorm(4), nn.ReLU)],
        linear(),
    )
    assert {follower.plain_depth for follower in read(model, way, 2, 4).values()} == {1}


@both
def test_residual_sums_end_the_plain_depth(way: str) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        for first, second in zip(m.first, m.second, strict=True):
            x = x + second(F.relu(first(x)))
        return x

    layers = {
        name: lambda: nn.ModuleList(nn.Linear(4, 4) for _ in range(10))
        for name in ("first", "second")
    }
    assert {
        follower.plain_depth for follower in read(net(forward, **layers), way, 2, 4).values()
    } == {2}


def test_the_plain_depth_is_that_of_the_longest_path() -> None:
    found = find_followers(
        dense(lambda m, x: m.d(torch.cat([m.a(x)[:, :2], m.c(m.b(x))[:, 2:]], 1)), "a b c d")
    )
    assert [found[name].plain_depth for name in "abcd"] == [2, 3, 3, 3]


# --- nothing is changed
# -----------------------------------------------------------------------------


class Stateful(nn.Module):
    """A model with everything that a forward pass may change."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.register_buffer("replaced", torch.zeros(1))
        self.calls = 0
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.replaced = self.replaced + 1
        self.train(not self.training)
        self.seen = x
        x = self.drop(self.norm(self.layer(x.add_(1))))
        if self.fails:
            self.layer(x[:, :3])
        return F.relu(x) * torch.rand(1)


def _stateful() -> tuple[Stateful, Tensor]:
    (model,) = stack(Stateful)
    batch = torch.arange(8.0).view(2, 4)
    model(batch.clone()).sum().backward()
    assert isinstance(model, Stateful)
    return model.train(), batch


def _everything(model: Stateful) -> list[object]:
    tensors = [
        *model.parameters(),
        *model.buffers(),
        *(p.grad for p in model.parameters() if p.grad is not None),
    ]
    hooks = [len(h) for m in model.modules() for h in (m._forward_hooks, m._forward_pre_hooks)]
    return [
        [t.tolist() for t in tensors],
        hooks,
        [m.training for m in model.modules()],
        model.calls,
        sorted(vars(model)),
    ]


@pytest.mark.usefixtures("draws_globally")
@pytest.mark.parametrize("fails", [False, True])
def test_observing_leaves_model_batch_and_random_state_as_they_were_also_where_it_fails(
    fails: bool,
) -> None:
    model, batch = _stateful()
    model.fails = fails
    buffers, before, kept, random = (
        list(model.buffers()),
        _everything(model),
        batch.clone(),
        torch.get_rng_state(),
    )
    if fails:
        with pytest.raises(
            FitError,
            match=r"failed in layer \(Linear\): RuntimeError.*Expected a batch that the model",
        ):
            trace_forward(model, batch)
    else:
        assert find_followers(model, batch)["layer"].kind == "normalization"
    assert _everything(model) == before
    assert all(one is other for one, other in zip(model.buffers(), buffers, strict=True))
    assert torch.equal(batch, kept)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.usefixtures("draws_globally")
def test_tracing_leaves_the_model_and_the_random_state_as_they_were() -> None:
    model, _ = _stateful()
    before, random = _everything(model), torch.get_rng_state()
    assert find_followers(model)["layer"].kind == "normalization"
    assert _everything(model) == before
    assert torch.equal(torch.get_rng_state(), random)


def test_a_model_that_catches_an_error_inside_is_followed_beyond_it() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        try:
            m.a(x[:, :3])
        except RuntimeError:
            x = F.relu(m.a(x))
        return m.b(x)

    found = find_followers(dense(forward, "a b"), torch.ones(2, 4))
    assert (found["a"].activation, found["b"].kind) == ("relu", "output")


def test_what_is_no_model_or_no_batch_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected a torch\.nn\.Module, not 'resnet'"):
        find_followers("resnet")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="A batch is a tensor"):
        find_followers(nn.ReLU(), 3)  # type: ignore[arg-type]


@both
def test_a_lazy_model_is_refused_and_not_given_a_shape(way: str) -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(FitError, match=r"0\.weight has no shape yet"):
        read(model, way, 2, 4)
    assert isinstance(model[0], nn.LazyLinear)


def test_the_graph_can_be_kept_and_read_again() -> None:
    graph = trace_symbolically(stack(linear(), nn.ReLU))
    assert [node.kind for node in graph.nodes] == ["input", "layer", "activation", "output"]
    assert [node.inputs for node in graph.nodes] == [(), (0,), (1,), (2,)]
    assert graph.layers == ("0",)
    assert find_graph_followers(graph) == find_graph_followers(graph)


def test_all_public_names_exist() -> None:
    assert all(hasattr(package, name) for name in package.__all__)


# --- models of others
# -----------------------------------------------------------------------------


def published(model: str, config: str, **options: object) -> nn.Module:
    """A model of transformers; where that cannot be imported, or its own imports fail, the test is
    skipped.
    """
    transformers = pytest.importorskip("transformers")
    try:
        make, options_of = getattr(transformers, model), getattr(transformers, config)
    except ImportError as error:
        pytest.skip(str(error))
    with seeds.preserve_torch_state(0):
        built: nn.Module = make(options_of(**options))
    return built


def test_a_small_gpt2() -> None:
    model = published(
        "GPT2LMHeadModel", "GPT2Config", vocab_size=17, n_positions=8, n_embd=8, n_layer=2, n_head=2
    )
    found = find_followers(model, {"input_ids": torch.tensor([[1, 2, 3]])})
    for block in ("transformer.h.0", "transformer.h.1"):
        assert found[f"{block}.mlp.c_fc"].activation is model.get_submodule(f"{block}.mlp.act")
        assert found[f"{block}.attn.c_attn"].kind == "softmax"
        assert "followed by Conv1D" in found[f"{block}.attn.c_attn"].reason
        for name in ("attn.c_proj", "mlp.c_proj"):
            assert (found[f"{block}.{name}"].kind, found[f"{block}.{name}"].through_add) == (
                "normalization",
                True,
            )
    assert found["lm_head"].kind == "output"
    assert found["transformer.wte"].kind == found["transformer.wpe"].kind == "normalization"
    assert {follower.plain_depth for follower in found.values()} <= {1, 2}


def test_a_small_resnet() -> None:
    sizes = {
        "embedding_size": 4,
        "hidden_sizes": [4, 8],
        "depths": [1, 1],
        "layer_type": "basic",
        "num_labels": 3,
    }
    model = published("ResNetForImageClassification", "ResNetConfig", num_channels=3, **sizes)
    found = find_followers(model, {"pixel_values": torch.ones(2, 3, 32, 32)})
    convolutions = [name for name in found if name != "classifier.1"]
    assert convolutions
    assert {found[name].kind for name in convolutions} == {"normalization"}
    assert found["classifier.1"].kind == "output"
    assert {follower.plain_depth for follower in found.values()} == {1}
