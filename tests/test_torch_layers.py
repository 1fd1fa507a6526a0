"""torch_default is torch's default everywhere: every class of ``torch.nn`` that has parameters,
found by walking it, against freshly built modules.

Of each parameter n = 3,000 numbers or more on either side; mean, mean square and mean fourth power
are compared, each within 5 standard errors of the difference (level 6e-7 per comparison). A
standard deviation that is 15 % off is shown to be seen.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.apply import initialize

N = 3_000
LIMIT = 5.0

pytestmark = pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")

CONV = {"in_channels": 6, "out_channels": 256, "kernel_size": 3}
MATERIALIZED: dict[str, tuple[int, ...]] = {
    "LazyLinear": (2, 20),
    **{
        f"Lazy{name}{d}d": (2, 6, *[5] * d)
        for name in ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm")
        for d in (1, 2, 3)
    },
}
"""The batch with which a lazy layer gets its shape."""

# Wide enough that the smallest parameter, often a bias, has `N` numbers after a dozen draws.
ARGUMENTS: dict[str, dict[str, object]] = {
    "Linear": {"in_features": 20, "out_features": 320},
    "LazyLinear": {"out_features": 320},
    "Bilinear": {"in1_features": 7, "in2_features": 5, "out_features": 320},
    **{f"Conv{d}d": CONV | {"groups": 2} for d in (1, 2, 3)},
    **{f"ConvTranspose{d}d": CONV | {"stride": 2, "groups": 2} for d in (1, 2, 3)},
    **{f"LazyConv{d}d": {"out_channels": 256, "kernel_size": 3} for d in (1, 2, 3)},
    **{f"LazyConvTranspose{d}d": {"out_channels": 256, "kernel_size": 3} for d in (1, 2, 3)},
    **{f"BatchNorm{d}d": {"num_features": 8} for d in (1, 2, 3)},
    "SyncBatchNorm": {"num_features": 8},
    **{f"InstanceNorm{d}d": {"num_features": 8, "affine": True} for d in (1, 2, 3)},
    **{f"LazyBatchNorm{d}d": {} for d in (1, 2, 3)},
    **{f"LazyInstanceNorm{d}d": {"affine": True} for d in (1, 2, 3)},
    "LayerNorm": {"normalized_shape": (4, 6)},
    "RMSNorm": {"normalized_shape": (4, 6)},
    "GroupNorm": {"num_groups": 2, "num_channels": 8},
    "Embedding": {"num_embeddings": 40, "embedding_dim": 30, "padding_idx": 3},
    "EmbeddingBag": {"num_embeddings": 40, "embedding_dim": 30, "padding_idx": 3},
    "RNN": {"input_size": 10, "hidden_size": 256},
    "LSTM": {"input_size": 10, "hidden_size": 64, "bidirectional": True, "proj_size": 8},
    "GRU": {"input_size": 10, "hidden_size": 96, "num_layers": 2},
    "RNNCell": {"input_size": 10, "hidden_size": 256},
    "LSTMCell": {"input_size": 10, "hidden_size": 64},
    "GRUCell": {"input_size": 10, "hidden_size": 96},
    "MultiheadAttention": {"embed_dim": 256, "num_heads": 2, "add_bias_kv": True, "kdim": 24},
    "PReLU": {"num_parameters": 5},
    "Transformer": {
        "d_model": 256, "nhead": 2, "num_encoder_layers": 1, "num_decoder_layers": 1,
        "dim_feedforward": 256,
    },
    "TransformerEncoderLayer": {"d_model": 256, "nhead": 2, "dim_feedforward": 256},
    "TransformerDecoderLayer": {"d_model": 256, "nhead": 2, "dim_feedforward": 256},
    "AdaptiveLogSoftmaxWithLoss": {"in_features": 32, "n_classes": 100, "cutoffs": [20, 50]},
    "LinearCrossEntropyLoss": {"in_features": 32, "num_classes": 100},
}  # fmt: skip

HOLDERS = {
    "Module",
    "Container",
    "DataParallel",
    "ModuleDict",
    "ModuleList",
    "ParameterDict",
    "ParameterList",
    "Sequential",
    "TransformerDecoder",
    "TransformerEncoder",
}
"""What has the parameters that it is given."""

BASES = {"RNNBase", "RNNCellBase"}
"""No layers by themselves."""


def classes() -> dict[str, type[nn.Module]]:
    """Every module class of ``torch.nn``, by name."""
    return {
        name: kind
        for name, kind in sorted(vars(nn).items())
        if inspect.isclass(kind) and issubclass(kind, nn.Module)
    }


def make(name: str) -> nn.Module:
    module: nn.Module = getattr(nn, name)(**ARGUMENTS[name])
    if name in MATERIALIZED:
        module(torch.ones(MATERIALIZED[name]))
    return module


def has_parameters(kind: type[nn.Module]) -> bool | None:
    """Whether a class that is built with as few small numbers as it takes has parameters; None if
    that does not build it.
    """
    for count in range(4):
        try:
            return next(kind(*itertools.repeat(2, count)).parameters(), None) is not None
        except (TypeError, ValueError, AttributeError):
            continue
    return None


@pytest.mark.usefixtures("draws_globally")
@pytest.mark.filterwarnings("ignore")
def test_every_class_of_torch_that_has_parameters_is_compared() -> None:
    """A class that a newer torch adds must be given arguments above."""
    found = {name for name, kind in classes().items() if has_parameters(kind)}
    unbuilt = {name for name, kind in classes().items() if has_parameters(kind) is None}
    assert found - set(ARGUMENTS) - HOLDERS - BASES == set()
    assert unbuilt - set(ARGUMENTS) - HOLDERS - BASES <= {"Unflatten", "ConstantPad1d"}


Values = dict[str, Tensor]


def drawn(draw: Callable[[int], Values]) -> Values:
    """At least `N` numbers of every parameter, from as many seeds as that takes, and of large ones
    about 4 `N` from all over them.
    """
    first = draw(0)
    sizes = [one.numel() for one in first.values() if len(one.unique()) > 1]
    draws = [first, *(draw(seed) for seed in range(1, math.ceil(N / min(sizes, default=N))))]
    steps = {name: max(1, one.numel() * len(draws) // (4 * N)) for name, one in first.items()}
    return {
        name: torch.cat([one[name][::step] for one in draws]).double()
        for name, step in steps.items()
    }


def read(module: nn.Module) -> Values:
    return {name: one.detach().flatten().clone() for name, one in module.named_parameters()}


def differ(ours: Tensor, theirs: Tensor) -> list[str]:
    """The moments in which two samples differ."""
    if len(theirs.unique()) == 1 or len(ours.unique()) == 1:
        return [] if torch.equal(ours.unique(), theirs.unique()) else ["constant"]
    found = []
    for power in (1, 2, 4):
        a, b = ours**power, theirs**power
        error = math.sqrt(float(a.var() / len(a) + b.var() / len(b)))
        if abs(float(a.mean() - b.mean())) > LIMIT * error:
            found.append(f"moment {power}")
    return found


def draw_ours(name: str) -> Values:
    with seeds.preserve_torch_state(0):
        model = make(name)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 7.0)

    def draw(seed: int) -> Values:
        initialize(model, "torch_default", seed=seed, special="overwrite")
        return read(model)

    return drawn(draw)


def draw_theirs(name: str) -> Values:
    def draw(seed: int) -> Values:
        with seeds.preserve_torch_state(seed):
            return read(make(name))

    return drawn(draw)


@pytest.mark.filterwarnings("ignore:.*nested_tensor")
@pytest.mark.parametrize("name", [name for name in ARGUMENTS if hasattr(nn, name)])
def test_every_parameter_has_the_moments_of_a_freshly_built_module(name: str) -> None:
    ours, theirs = draw_ours(name), draw_theirs(name)
    assert ours.keys() == theirs.keys()
    wrong = {key: found for key in theirs if (found := differ(ours[key], theirs[key]))}
    assert wrong == {}
    for key, numbers in theirs.items():
        if len(numbers.unique()) > 1:
            assert len(numbers) >= N
            assert differ(ours[key] * 1.15, numbers), f"a spread of {key} that is 15 % off"


@pytest.mark.usefixtures("draws_globally")
def test_a_users_class_that_is_called_conv1d_is_a_convolution() -> None:
    class Conv1D(nn.Conv1d):
        """As Keras calls it."""

    model = Conv1D(6, 64, 3)
    record = initialize(model, "torch_default", seed=0)
    assert record["weight"].rule is not None
    assert record["weight"].rule.startswith(f"uniform(high={18**-0.5:.5f}")
    assert record["weight"].reason == "torch's default of Conv1D"
    # n = 1,152: standard error of the standard deviation 1.3 %, tolerance 6 %.
    assert model.weight.std().item() == pytest.approx(54**-0.5, rel=0.06)
    assert model.bias is not None
    assert model.bias.unique().numel() == 64


@pytest.mark.usefixtures("draws_globally")
def test_a_transformer_inside_a_model_keeps_its_rule_and_its_neighbours_theirs() -> None:
    body = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
    model = nn.ModuleDict({"body": body, "head": nn.Linear(16, 8)})
    record = initialize(nn.DataParallel(model), "torch_default", seed=0)
    for name in ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight"):
        assert record[f"module.body.encoder.layers.0.{name}"].rule == "xavier_uniform"
    assert (
        record["module.body.encoder.layers.0.linear1.bias"].rule == "uniform(high=0.25, low=-0.25)"
    )
    assert record["module.body.encoder.layers.0.self_attn.out_proj.bias"].rule == "zero"
    assert record["module.head.weight"].rule == "uniform(high=0.25, low=-0.25)"


def test_keras_starts_the_slopes_of_prelu_at_zero() -> None:
    model = nn.PReLU(3)
    assert initialize(model, "keras_default", seed=0)["weight"].rule == "zero"
