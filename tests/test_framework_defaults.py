"""torch_default, keras_default and irnn: the laws that fresh layers of torch and Keras have,
parameter by parameter.

Two-sample Kolmogorov–Smirnov tests with n = 40,000 numbers or more on either side and level 1e-4;
each is shown to see a spread that is 5 % off. Layers with few biases are built and filled many
times, so that there are as many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
import torch
from apply_cases import built, everything, is_uniform, same_law
from torch import Tensor, nn

from fanin import seeds
from fanin.apply import initialize
from fanin.errors import FitError, SpecError
from fanin.fans import describe_parameters
from fanin.initializers import get

N = 40_000
"""Numbers on either side."""

TORCH: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(50, 800),
    "convolution": lambda: nn.Conv2d(8, 800, (3, 2), dilation=2),
    "grouped": lambda: nn.Conv1d(16, 800, 3, groups=4),
    "depthwise": lambda: nn.Conv1d(400, 800, 3, groups=400),
    "transposed": lambda: nn.ConvTranspose2d(8, 800, 2, stride=2),
    "transposed, grouped": lambda: nn.ConvTranspose1d(16, 800, 3, groups=4),
    "embedding": lambda: nn.Embedding(200, 40, padding_idx=5),
    "bag": lambda: nn.EmbeddingBag(200, 40),
    "bilinear": lambda: nn.Bilinear(12, 5, 800),
    "rnn": lambda: nn.RNN(40, 400),
    "lstm": lambda: nn.LSTM(40, 100, bidirectional=True, proj_size=30),
    "gru": lambda: nn.GRU(40, 100, num_layers=2),
    "cell": lambda: nn.LSTMCell(40, 100),
    "norms": lambda: nn.ModuleList(
        [nn.BatchNorm2d(4), nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.RMSNorm(4)]
    ),
    "attention": lambda: nn.MultiheadAttention(60, 2),
    "attention with other keys": lambda: nn.MultiheadAttention(60, 2, kdim=40, vdim=80),
}


def fresh(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with seeds.preserve_torch_state(seed):
        return make()


def filled(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    model = fresh(make, 0)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 7.0)
    initialize(model, "torch_default", seed=seed, special="overwrite")
    return model


def pooled(
    make: Callable[[], nn.Module], how: Callable[[Callable[[], nn.Module], int], nn.Module]
) -> dict[str, Tensor]:
    """At least `N` numbers of every parameter, from models of as many seeds as that takes."""
    first = how(make, 0)
    drawn = [parameter.numel() for parameter in first.parameters() if len(parameter.unique()) > 1]
    models = [
        first,
        *(how(make, seed) for seed in range(1, math.ceil(N / min(drawn)) if drawn else 1)),
    ]
    return {
        name: torch.cat(
            [
                model.get_parameter(name).detach().flatten()[: max(N // len(models), 1) + 1]
                for model in models
            ]
        )
        for name, _ in first.named_parameters()
    }


@pytest.mark.parametrize("make", TORCH.values(), ids=TORCH)
def test_every_parameter_has_the_law_of_a_fresh_layer_of_torch(
    make: Callable[[], nn.Module],
) -> None:
    ours, theirs = pooled(make, filled), pooled(make, fresh)
    for name, numbers in theirs.items():
        if len(numbers.unique()) == 1:
            assert torch.equal(ours[name].unique(), numbers.unique()), name
        else:
            assert same_law(ours[name], numbers), name


def test_every_kind_of_layer_that_fanin_knows_is_compared() -> None:
    kinds = {
        type(module)
        for make in TORCH.values()
        for module in built(make).modules()
        if describe_parameters(module)
    }
    known = {
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.Embedding,
        nn.EmbeddingBag,
        nn.Bilinear,
    }
    known |= {
        nn.RNN,
        nn.LSTM,
        nn.GRU,
        nn.LSTMCell,
        nn.MultiheadAttention,
        nn.BatchNorm2d,
        nn.LayerNorm,
        nn.GroupNorm,
        nn.RMSNorm,
    }
    assert known <= kinds


def test_the_extra_key_and_value_of_attention_have_xaviers_law_with_d_as_a_kernel() -> None:
    """n = 12,800 numbers: standard error of the standard deviation 0.6 %, tolerance 3 %; torch sees
    fans of d, both.
    """
    make = lambda: nn.MultiheadAttention(64, 2, add_bias_kv=True)  # noqa: E731
    for how in (filled, fresh):
        models = [how(make, seed) for seed in range(100)]
        numbers = torch.cat(
            [torch.cat([model.bias_k, model.bias_v]).detach().flatten() for model in models]
        )
        assert numbers.std().item() == pytest.approx(math.sqrt(2 / (64 + 64)), rel=0.03)


def test_transformers_conv1d_starts_as_transformers_starts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = (
                nn.Parameter(torch.ones(300, 400)),
                nn.Parameter(torch.ones(400)),
            )

    monkeypatch.setattr(Conv1D, "__module__", "transformers.pytorch_utils")
    layer = Conv1D()
    record = initialize(layer, "torch_default", seed=0)
    assert (record["weight"].rule, record["bias"].rule) == ("normal(std=0.02)", "zero")
    assert record["weight"].reason == "transformers' default of Conv1D"


def test_a_padding_row_is_zero_as_in_torch() -> None:
    table = filled(TORCH["embedding"], 0)
    assert not table.weight[5].any()
    assert table.weight[4].all()


def test_biases_of_the_output_of_attention_are_zero_and_those_of_other_layers_are_not() -> None:
    model = filled(lambda: nn.TransformerEncoderLayer(8, 2, 16), 0)
    assert not model.self_attn.out_proj.bias.any()
    assert not model.self_attn.in_proj_bias.any()
    assert model.linear1.bias.all()
    lone = built(lambda: nn.ModuleDict({"out_proj": nn.Linear(9, 5), "other": nn.Linear(9, 5)}))
    initialize(lone, "torch_default", seed=0)
    assert lone["out_proj"].bias.all()  # the name alone does not make it attention's


def test_what_is_given_besides_a_preset_counts_more() -> None:
    model = built(lambda: nn.Sequential(nn.Linear(4, 3), nn.Embedding(5, 4), nn.LayerNorm(4)))
    record = initialize(
        model, "torch_default", seed=0, biases="zero", embeddings="normal(std=0.02)", norms="zero"
    )
    assert [record[name].rule for name in ("0.bias", "1.weight", "2.weight")] == [
        "zero",
        "normal(std=0.02)",
        "zero",
    ]
    assert record["0.weight"].rule == "uniform(high=0.5, low=-0.5)"
    assert record["0.weight"].reason == "torch's default of Linear"


def test_presets_are_rules_for_a_part_of_a_model_too() -> None:
    model = built(lambda: nn.Sequential(nn.LSTM(4, 3), nn.Linear(3, 2)))
    record = initialize(
        model, {"0.*": "keras_default"}, default="he_normal", seed=0, biases="torch_default"
    )
    assert record["0.weight_ih_l0"].rule == "xavier_uniform"
    assert record["0.weight_ih_l0"].reason == "pattern '0.*': Keras' default of LSTM"
    assert record["0.bias_ih_l0"].reason == "torch's default of LSTM"
    assert record["1.weight"].rule == "he_normal"


@pytest.mark.parametrize("name", ["torch_default", "keras_default", "irnn", "auto"])
def test_a_model_level_rule_cannot_fill_one_tensor_and_says_what_can_be_done(name: str) -> None:
    tensor = torch.ones(3, 4)
    with pytest.raises(
        FitError, match=rf"{name} looks at a whole model.*fanin\.initialize\(model, '{name}'"
    ):
        get(name)(tensor, generator=torch.Generator())
    assert (tensor == 1).all()


@pytest.mark.parametrize("name", ["torch_default", "keras_default"])
def test_a_preset_leaves_what_no_preset_knows(name: str) -> None:
    model = everything()
    model.register_parameter("own", nn.Parameter(torch.ones(3, 4)))
    record = initialize(model, name, seed=0)
    assert record["own"].rule is None
    assert record["own"].reason == "a parameter of its own in Everything"
    assert record["frozen.weight"].rule is None
    assert all(
        parameter.rule
        for parameter in record
        if parameter.role != "unknown" and "frozen" not in parameter.name and not parameter.tied_to
    )


# --- Keras
# -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def layers() -> ModuleType:
    pytest.importorskip("jax", reason='needs jax: pip install "fanin[peers]"')
    return pytest.importorskip("keras", reason='needs Keras: pip install "fanin[peers]"').layers


def keras_weights(layer: object, shape: tuple[int, ...]) -> list[Tensor]:
    import keras

    keras.utils.set_random_seed(3)
    layer.build(shape)  # type: ignore[attr-defined]
    return [torch.from_numpy(np.array(weight.value)) for weight in layer.weights]  # type: ignore[attr-defined]


def ours(make: Callable[[], nn.Module], seed: int = 0) -> Mapping[str, Tensor]:
    model = fresh(make, 0)
    initialize(model, "keras_default", seed=seed)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.usefixtures("draws_globally")
@pytest.mark.parametrize(
    ("make", "theirs", "shape"),
    [
        (lambda: nn.Linear(200, 300), lambda k: k.Dense(300), (None, 200)),
        (lambda: nn.Conv2d(30, 200, (3, 5)), lambda k: k.Conv2D(200, (3, 5)), (None, 9, 9, 30)),
        (
            lambda: nn.Conv1d(60, 600, 4, groups=3),
            lambda k: k.Conv1D(600, 4, groups=3),
            (None, 9, 60),
        ),
        (
            lambda: nn.ConvTranspose2d(30, 200, 3, stride=2),
            lambda k: k.Conv2DTranspose(200, 3, strides=2),
            (None, 9, 9, 30),
        ),
    ],
    ids=["Dense", "Conv2D", "grouped", "Conv2DTranspose"],
)
def test_kernels_have_the_law_of_keras_and_biases_are_zero(
    make: Callable[[], nn.Module],
    theirs: Callable[[ModuleType], object],
    shape: tuple[int, ...],
    layers: ModuleType,
) -> None:
    kernel, bias = keras_weights(theirs(layers), shape)
    found = ours(make)
    assert found["weight"].numel() == kernel.numel()
    assert same_law(found["weight"], kernel)
    assert torch.equal(found["bias"], bias)


@pytest.mark.usefixtures("draws_globally")
def test_an_lstm_has_the_kernel_the_orthogonal_state_and_the_forget_bias_of_keras(
    layers: ModuleType,
) -> None:
    """Both take the gates as one map, in the order i, f, cell, o."""
    h, inputs = 120, 90
    kernel, recurrent, bias = keras_weights(layers.LSTM(h), (None, 7, inputs))
    found = ours(lambda: nn.LSTM(inputs, h))
    assert same_law(found["weight_ih_l0"], kernel)
    assert is_uniform(found["weight_ih_l0"], math.sqrt(6 / (inputs + 4 * h)))
    assert torch.allclose(recurrent @ recurrent.T, torch.eye(h), atol=1e-4)
    assert torch.allclose(found["weight_hh_l0"].T @ found["weight_hh_l0"], torch.eye(h), atol=1e-4)
    assert torch.equal(found["bias_ih_l0"] + found["bias_hh_l0"], bias)


@pytest.mark.usefixtures("draws_globally")
@pytest.mark.parametrize(("make", "name", "gates"), [(nn.GRU, "GRU", 3), (nn.RNN, "SimpleRNN", 1)])
def test_a_gru_and_an_rnn_are_those_of_keras(
    make: type[nn.RNNBase], name: str, gates: int, layers: ModuleType
) -> None:
    h, inputs = 200, 250
    kernel, recurrent, bias = keras_weights(getattr(layers, name)(h), (None, 7, inputs))
    found = ours(lambda: make(inputs, h))
    assert found["weight_ih_l0"].shape == kernel.T.shape
    assert same_law(found["weight_ih_l0"], kernel)
    for matrix in (recurrent, found["weight_hh_l0"].T):
        assert matrix.shape == (h, gates * h)
        assert torch.allclose(matrix @ matrix.T, torch.eye(h), atol=1e-4)
    assert not bias.any()
    assert not found["bias_ih_l0"].any()
    assert not found["bias_hh_l0"].any()


@pytest.mark.usefixtures("draws_globally")
def test_tables_and_norms_are_those_of_keras(layers: ModuleType) -> None:
    (table,) = keras_weights(layers.Embedding(500, 200), (None,))
    assert same_law(ours(lambda: nn.Embedding(500, 200))["weight"], table)
    scale, shift = keras_weights(layers.LayerNormalization(), (None, 6))
    found = ours(lambda: nn.LayerNorm(6))
    assert torch.equal(found["weight"], scale)
    assert torch.equal(found["bias"], shift)


# --- IRNN
# -----------------------------------------------------------------------------


def test_irnn_starts_as_an_integrator() -> None:
    """A state goes on unchanged: the identity, and ReLU of what is not negative."""
    model = built(
        lambda: nn.ModuleDict(
            {"rnn": nn.RNN(3, 50, nonlinearity="relu"), "head": nn.Linear(50, 900)}
        )
    )
    record = initialize(model, "irnn", seed=0)
    rnn = model["rnn"]
    assert torch.equal(rnn.weight_hh_l0.detach(), torch.eye(50))
    assert not any(
        model.get_parameter(name).any()
        for name in ("rnn.bias_ih_l0", "rnn.bias_hh_l0", "head.bias")
    )
    # n = 45,000: standard error 0.33 %.
    assert model["head"].weight.std().item() == pytest.approx(0.001, rel=0.02)
    state = torch.rand(1, 1, 50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, after = rnn(torch.zeros(100, 1, 3), state)
    assert torch.allclose(after, state)
    assert record["rnn.weight_hh_l0"].reason == "IRNN: recurrent weight"


def test_irnn_has_a_gain_and_a_spread() -> None:
    model = built(lambda: nn.RNN(300, 200, nonlinearity="relu"))
    record = initialize(model, "irnn(gain=0.5, std=0.01)", seed=0)
    assert torch.equal(model.weight_hh_l0.detach(), torch.eye(200) / 2)
    assert record["weight_ih_l0"].rule == "normal(std=0.01)"
    for spec in ("irnn(gain=-1.0)", "irnn(std=-0.1)"):
        with pytest.raises(SpecError, match="at least 0"):
            get(spec)
