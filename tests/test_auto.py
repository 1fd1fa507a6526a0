"""auto: the gain of each layer from what really follows it, traced or observed; critical gains in
deep plain chains.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from apply_cases import built, equal, is_normal, state, unchanged
from torch import Tensor, nn

from fanin import gains, seeds
from fanin.apply import initialize
from fanin.errors import FitError
from fanin.initializers.auto import DEEP

RELU = math.sqrt(2)

ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "relu": (nn.ReLU, math.sqrt(2)),
    "leaky relu": (lambda: nn.LeakyReLU(0.2), math.sqrt(2 / 1.04)),
    "prelu": (nn.PReLU, math.sqrt(2 / (1 + 0.25**2))),
    "tanh": (nn.Tanh, 1.5925),
    "gelu": (nn.GELU, 1.5335),
    "gelu, tanh": (lambda: nn.GELU(approximate="tanh"), 1.5335),
    "silu": (nn.SiLU, 1.6765),
    "mish": (nn.Mish, 1.4868),
    "sigmoid": (nn.Sigmoid, 1.8462),
    "selu": (nn.SELU, 1.0),
    "elu": (nn.ELU, 1.2452),
    "softplus": (nn.Softplus, 1.0419),
    "hardtanh": (nn.Hardtanh, 1.3920),
    "identity": (nn.Identity, 1.0),
}
"""Numbers from the table of methods.md A3, by quadrature elsewhere."""


def followed_by(
    *after: Callable[[], nn.Module], first: Callable[[], nn.Module] = lambda: nn.Linear(30, 20)
) -> nn.Sequential:
    model = built(lambda: nn.Sequential(first(), *(make() for make in after)))
    assert isinstance(model, nn.Sequential)
    return model


def gain_of(model: nn.Module, name: str = "0.weight", **arguments: object) -> float:
    return initialize(model, "auto", seed=0, preview=True, **arguments)[name].gain  # type: ignore[arg-type, return-value]


# --- the gain that suits what follows
# -----------------------------------------------------------------------------


@pytest.mark.parametrize(("activation", "expected"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_the_gain_is_that_of_the_activation_behind_the_layer(
    activation: Callable[[], nn.Module], expected: float
) -> None:
    model = followed_by(activation, lambda: nn.Linear(20, 5))
    assert gain_of(model) == pytest.approx(expected, rel=1e-3)
    assert gain_of(model, batch=torch.zeros(2, 30)) == pytest.approx(expected, rel=1e-3)
    assert gain_of(model, "2.weight") == pytest.approx(1.0)  # nothing follows the output


def test_each_layer_has_the_gain_of_its_own_activation_and_the_record_says_why() -> None:
    model = followed_by(
        nn.ReLU,
        lambda: nn.Linear(20, 20),
        nn.Tanh,
        lambda: nn.Linear(20, 20),
        lambda: nn.Linear(20, 3),
    )
    record = initialize(model, "auto", seed=0)
    expected = {
        "0.weight": (RELU, "ReLU"),
        "2.weight": (1.5925, "Tanh"),
        "4.weight": (1.0, "Linear"),
        "5.weight": (1.0, "output"),
    }
    for name, (gain, why) in expected.items():
        assert record[name].gain == pytest.approx(gain, rel=1e-3)
        assert record[name].intended_std == pytest.approx(
            gain / math.sqrt(record[name].fan_in), rel=1e-3
        )
        assert why in record[name].reason
        assert f"gain {gain:.4g}"[:8] in record[name].reason
    assert record.rule == "auto"
    assert (model[0].bias == 0).all()


def test_weights_are_normal_with_that_gain_or_uniform_on_request() -> None:
    """n = 120,000, level 1e-4."""
    model = followed_by(nn.ReLU, first=lambda: nn.Linear(300, 400))
    initialize(model, "auto", seed=0)
    assert is_normal(model[0].weight, math.sqrt(2 / 300))
    record = initialize(model, "auto(distribution=uniform)", seed=0)
    assert model[0].weight.abs().max() <= math.sqrt(6 / 300) + 1e-6
    assert record["0.weight"].measured_std == pytest.approx(math.sqrt(2 / 300), rel=0.01)


@pytest.mark.parametrize(
    "norm",
    [
        lambda: nn.BatchNorm1d(20),
        lambda: nn.LayerNorm(20),
        lambda: nn.RMSNorm(20),
        lambda: nn.GroupNorm(4, 20),
    ],
)
def test_before_normalization_the_gain_is_one(norm: Callable[[], nn.Module]) -> None:
    model = followed_by(norm, nn.ReLU, lambda: nn.Linear(20, 5))
    record = initialize(model, "auto", seed=0)
    assert record["0.weight"].gain == pytest.approx(1.0)
    assert "Norm" in record["0.weight"].reason


def test_dropout_and_pooling_between_do_not_hide_the_activation() -> None:
    model = followed_by(
        lambda: nn.MaxPool2d(2),
        lambda: nn.Dropout(0.5),
        nn.ReLU,
        nn.Flatten,
        lambda: nn.Linear(36, 5),
        first=lambda: nn.Conv2d(3, 4, 3),
    )
    assert gain_of(model) == pytest.approx(RELU)


class Functional(nn.Module):
    """Activations that are functions, one of them written out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.a(x))
        x = self.b(x)
        x = x * torch.sigmoid(x)
        return self.d(torch.relu(self.c(x)))


def test_activations_that_are_called_or_written_out_are_seen() -> None:
    model = built(Functional)
    for arguments in ({}, {"batch": torch.zeros(2, 8)}):
        record = initialize(model, "auto", seed=0, preview=True, **arguments)
        found = [record[f"{name}.weight"].gain for name in "abcd"]
        assert found == pytest.approx([1.5335, 1.6765, RELU, 1.0], rel=1e-3)


class Swish3(nn.Module):
    """An activation of a user's."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(3 * x)


def test_an_activation_of_a_users_own_has_its_own_gain() -> None:
    expected = gains.gain(lambda x: x * torch.sigmoid(3 * x))
    assert gain_of(followed_by(Swish3, lambda: nn.Linear(20, 5))) == pytest.approx(
        expected, rel=1e-6
    )


# --- fans and other layers
# -----------------------------------------------------------------------------


def test_a_transposed_convolution_has_effective_fans() -> None:
    """Stride 2 in two dimensions: of 4 × 4 taps an output meets 2 × 2."""
    model = followed_by(
        nn.ReLU, lambda: nn.Conv2d(4, 2, 3), first=lambda: nn.ConvTranspose2d(8, 4, 4, stride=2)
    )
    weight = initialize(model, "auto", seed=0)["0.weight"]
    assert weight.fan_in == 8 * 4
    assert weight.intended_std == pytest.approx(math.sqrt(2 / 32))
    assert initialize(model, "he_normal", seed=0)["0.weight"].fan_in == 8 * 16


def test_recurrent_matrices_are_orthogonal_gate_by_gate_and_inputs_keep_the_variance() -> None:
    model = built(lambda: nn.LSTM(30, 20))
    record = initialize(model, "auto", seed=0, batch=torch.zeros(3, 2, 30))
    for gate in model.weight_hh_l0.detach().chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(20), atol=1e-5)
    assert record["weight_ih_l0"].gain == pytest.approx(1.0)
    assert "sigmoid and tanh" in record["weight_ih_l0"].reason


def test_attention_keeps_the_variance_of_each_of_its_maps() -> None:
    model = built(lambda: nn.TransformerEncoderLayer(16, 2, 32, activation="gelu"))
    record = initialize(model, "auto", seed=0, batch=torch.zeros(3, 2, 16))
    assert [part.gain for part in record["self_attn.in_proj_weight"].parts] == pytest.approx(
        [1.0] * 3
    )
    assert record["self_attn.out_proj.weight"].gain == pytest.approx(1.0)
    assert record["linear1.weight"].gain == pytest.approx(1.5335, rel=1e-3)


def test_a_layer_that_is_not_reached_keeps_the_variance_and_says_so() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x).relu()

    record = initialize(built(Idle), "auto", seed=0)
    assert record["idle.weight"].gain == pytest.approx(1.0)
    assert "did not reach it" in record["idle.weight"].reason
    assert record["used.weight"].gain == pytest.approx(RELU)


def test_auto_may_be_a_default_or_the_rule_of_a_pattern() -> None:
    model = followed_by(nn.ReLU, lambda: nn.Linear(20, 20), nn.ReLU, lambda: nn.Linear(20, 5))
    default = initialize(model, {"4.weight": "zero"}, default="auto", seed=0)
    assert (default["0.weight"].gain, default["4.weight"].rule) == (pytest.approx(RELU), "zero")
    pattern = initialize(model, {"2.weight": "auto"}, default="lecun_normal", seed=0)
    assert (pattern["0.weight"].gain, pattern["2.weight"].gain) == (
        pytest.approx(1.0),
        pytest.approx(RELU),
    )
    assert pattern["2.weight"].reason.startswith("pattern '2.weight': followed by ReLU")


def test_biases_tables_and_norms_keep_their_usual_rules_under_auto() -> None:
    model = built(lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.LayerNorm(4)))
    record = initialize(model, "auto", seed=0)
    assert [record[name].rule for name in ("0.weight", "1.bias", "2.weight")] == [
        "normal(std=0.02)",
        "zero",
        "constant",
    ]
    assert (
        initialize(model, "zero", seed=0, biases="auto")["1.bias"].rule == "zero"
    )  # auto has nothing to say about biases


# --- deep and plain
# -----------------------------------------------------------------------------


def deep(depth: int, activation: Callable[[], nn.Module], width: int = 100) -> nn.Sequential:
    layers = itertools.chain.from_iterable(
        [(lambda: nn.Linear(width, width)), activation] for _ in range(depth - 1)
    )
    return followed_by(
        *itertools.islice(layers, 1, None),
        lambda: nn.Linear(width, width),
        first=lambda: nn.Linear(width, width),
    )


def test_a_deep_plain_chain_has_the_critical_gain_and_a_shallow_one_has_not() -> None:
    assert gain_of(deep(DEEP - 1, nn.Tanh)) == pytest.approx(1.5925, rel=1e-3)
    record = initialize(deep(DEEP, nn.Tanh), "auto", seed=0)
    assert record["0.weight"].gain == pytest.approx(1.0)
    assert f"plain chain of {DEEP} layers" in record["0.weight"].reason


def test_normalization_or_a_residual_sum_makes_a_chain_not_plain() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(20)])

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = x + torch.tanh(layer(x))
            return x

    assert gain_of(built(Residual), "layers.7.weight") == pytest.approx(1.5925, rel=1e-3)


@pytest.mark.parametrize(
    ("activation", "lowest"),
    [(nn.Tanh, 1 / (2 * 50)), (nn.ReLU, 1.0), (nn.Softsign, 3e-4), (nn.Hardtanh, 0.1)],
    ids=["tanh", "relu", "softsign", "hardtanh"],
)
def test_fifty_plain_layers_keep_their_signal_and_gradient(
    activation: Callable[[], nn.Module], lowest: float
) -> None:
    """Mean squares of five networks of width 300, forward and backward: not below a third of what
    is expected and not above 10.

    tanh falls as 1/(2·layer), softsign faster, but algebraically too; of torch's own start less
    than 1e-6 is left.
    """
    forward, backward, torchs = [], [], []
    for seed in range(5):
        model = deep(50, activation, 300)
        x = torch.randn(50, 300, generator=torch.Generator().manual_seed(seed), requires_grad=True)
        torchs.append(model(x).sub(model(torch.zeros(1, 300))).square().mean().item())
        initialize(model, "auto", seed=seed)
        y = model(x)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(seed + 9)))
        forward.append(y.square().mean().item())
        assert x.grad is not None
        backward.append(x.grad.square().mean().item())
    assert lowest / 3 < sum(forward) / 5 < 10
    assert lowest / 3 < sum(backward) / 5 < 10
    assert max(torchs) < 1e-6


def test_an_activation_for_which_no_gain_will_do_is_told() -> None:
    record = initialize(deep(30, nn.Sigmoid), "auto", seed=0)
    assert "that keeps the signal for about" in record["0.weight"].reason
    assert "normalize, or choose an odd activation" in record["0.weight"].reason


# --- reading the model
# -----------------------------------------------------------------------------


class Branching(nn.Module):
    """Its control flow depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x))) if x.sum() >= 0 else self.a(x)


def test_a_model_that_cannot_be_traced_asks_for_a_batch_and_takes_it() -> None:
    model = built(Branching)
    before = state(model)
    with pytest.raises(FitError, match=r"cannot be traced without data.*batch="):
        initialize(model, "auto", seed=0)
    assert unchanged(model, before)
    assert initialize(model, "auto", seed=0, batch=torch.ones(3, 6))[
        "a.weight"
    ].gain == pytest.approx(RELU)


def test_traced_and_observed_give_the_same_weights_and_leave_the_model_as_it_was() -> None:
    def make() -> nn.Module:
        return followed_by(
            lambda: nn.BatchNorm1d(20), nn.ReLU, lambda: nn.Dropout(0.5), lambda: nn.Linear(20, 5)
        )

    traced, observed = make(), make()
    initialize(traced, "auto", seed=0)
    initialize(observed, "auto", seed=0, batch=torch.ones(3, 30))
    assert equal(traced, observed)  # running statistics too
    assert observed.training


def test_a_batch_that_does_not_fit_is_an_error_and_nothing_is_changed() -> None:
    model = followed_by(nn.ReLU)
    before = state(model)
    with pytest.raises(FitError, match="batch"):
        initialize(model, "auto", seed=0, batch=torch.ones(3, 7))
    assert unchanged(model, before)


def test_rules_that_do_not_ask_what_follows_need_no_batch() -> None:
    assert initialize(built(Branching), "he_normal", seed=0)["a.weight"].changed
    with seeds.preserve_torch_state(0):
        assert initialize(built(Branching), "torch_default", seed=0)["a.weight"].changed
