"""Known traps of weight initialization, 15 to 25: what goes wrong in whole models. For 1 to 14 see
`test_traps.py`.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from apply_cases import built, everything, state
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from fanin import initialize, initializers, seeds
from fanin.errors import FitError, UnknownName


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- 15 and 16: identity and symmetry
# -----------------------------------------------------------------------------


def test_trap_15_dirac_leaves_outputs_beyond_the_inputs_dead_and_repeating_does_not() -> None:
    """From 4 channels to 8, four filters of dirac_ are zero."""
    layer = built(lambda: nn.Conv1d(4, 8, 3))
    initialize(layer, "dirac", seed=0)
    assert (layer.weight.abs().sum((1, 2)) == 0).sum() == 4
    initialize(layer, "identity(repeat=true)", seed=0)
    assert (layer.weight.abs().sum((1, 2)) == 0).sum() == 0


def test_trap_15_the_centre_of_an_even_kernel_is_where_padding_same_leaves_the_signal() -> None:
    """dirac_ takes tap k//2 = 2 of 4, which moves it by one."""
    x = torch.randn(1, 2, 9, generator=generator())
    weights = {
        rule: built(lambda: nn.Conv1d(2, 2, 4, bias=False)) for rule in ("dirac", "identity")
    }
    outputs = {}
    for rule, layer in weights.items():
        initialize(layer, rule, seed=0)
        outputs[rule] = F.conv1d(F.pad(x, (1, 2)), layer.weight)  # as padding="same" does
    assert torch.equal(outputs["identity"], x)
    assert not torch.equal(outputs["dirac"], x)


def reached(model: nn.Sequential, steps: int = 3) -> set[str]:
    """The parameters that had a gradient within the first steps."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    found: set[str] = set()
    for step in range(steps):
        x, y = (
            torch.randn(8, 5, generator=generator(step)),
            torch.randn(8, 5, generator=generator(9 + step)),
        )
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        found |= {
            name
            for name, one in model.named_parameters()
            if one.grad is not None and one.grad.any()
        }
        optimizer.step()
    return found


def test_trap_15_two_zero_factors_never_learn_and_one_does() -> None:
    """Zero for both matrices of a product gives zero gradients for ever; zero for the last one
    alone is a good start.
    """
    model = built(lambda: nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)))
    initialize(model, "zero", seed=0)
    assert reached(model) == set()
    initialize(model, {"1.weight": "zero"}, default="he_normal", seed=0)
    assert reached(model) == {"0.weight", "1.weight"}


def test_trap_16_layers_that_torch_clones_start_apart() -> None:
    """All layers of nn.TransformerEncoder are copies of one, to the bit."""

    def make() -> nn.Module:
        layer = nn.TransformerEncoderLayer(8, 2, 16)
        return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    model = built(make)
    names = (
        "self_attn.in_proj_weight",
        "self_attn.out_proj.weight",
        "linear1.weight",
        "linear2.weight",
    )
    assert all(
        torch.equal(model.layers[0].get_parameter(name), model.layers[2].get_parameter(name))
        for name in names
    )
    initialize(model, "xavier_uniform", seed=0)
    for name in names:
        assert (
            len({tuple(layer.get_parameter(name).flatten().tolist()) for layer in model.layers})
            == 3
        )


def test_trap_16_what_nothing_is_drawn_for_is_marked_as_the_same_under_every_seed() -> None:
    """A constant makes all units of a layer alike; no record can be taken for one of random
    weights.
    """
    model = built(lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)))
    record = initialize(model, {"0.weight": "constant(value=0.1)"}, default="he_normal", seed=0)
    assert len(model[0].weight.unique(dim=0)) == 1
    assert record["0.weight"].stream is None
    assert initializers.get(record["0.weight"].rule).deterministic
    assert record["1.weight"].stream is not None
    assert len(model[1].weight.unique(dim=0)) == 3


# --- 17 and 18: language models
# -----------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(32, 96), nn.Linear(32, 32)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(32, 128), "c_proj": nn.Linear(128, 32)})


class Language(nn.Module):
    """The parameters of a small GPT, its head tied to its table."""

    def __init__(self, rows: int = 200) -> None:
        super().__init__()
        self.wte = nn.Embedding(rows, 32)
        self.blocks = nn.ModuleList([Block() for _ in range(6)])
        self.ln_f = nn.LayerNorm(32)
        self.head = nn.Linear(32, rows, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Without the blocks: what matters here is the head."""
        return self.head(self.ln_f(self.wte(tokens)))


def test_trap_17_a_rule_for_residual_projections_reaches_them_all_and_nothing_else() -> None:
    """Two writes to the stream per layer: std/√(2L). Both kinds of matrix, every layer, not the
    table and not the head.
    """
    model = built(Language)
    scaled = f"normal(std={0.02 / math.sqrt(2 * 6)})"
    record = initialize(model, {"*.c_proj.weight": scaled}, default="normal(std=0.02)", seed=0)
    hit = {parameter.name for parameter in record if parameter.rule == scaled}
    assert hit == {
        f"blocks.{n}.{name}" for n in range(6) for name in ("c_proj.weight", "mlp.c_proj.weight")
    }
    # n = 4,096 and 12,288 numbers: standard errors 1.1 % and 0.6 %.
    assert record["blocks.5.mlp.c_proj.weight"].measured_std == pytest.approx(0.00577, rel=0.05)
    assert record["wte.weight"].measured_std == pytest.approx(0.02, rel=0.05)


def test_trap_17_a_pattern_that_matches_nothing_is_an_error() -> None:
    """GPT-2's scaling was never applied in a release: its condition compared "c_proj.weight" with
    whole qualified names.
    """
    with pytest.raises(UnknownName, match=r"c_proj\.weight"):
        initialize(built(Language), {"c_proj.weight": "zero"}, default="normal(std=0.02)", seed=0)


def test_trap_18_a_table_tied_to_the_head_is_filled_once_and_at_first_the_loss_is_ln_rows() -> None:
    """With N(0, 1) for the table the first cross entropy is in the tens; it should be ln(rows)."""
    model = built(Language)
    tokens = torch.randint(200, (400,), generator=generator())
    target = torch.randint(200, (400,), generator=generator(1))
    assert F.cross_entropy(model(tokens), target) > 10
    record = initialize(model, "normal(std=0.02)", seed=0)
    assert record["head.weight"].tied_to == "wte.weight"
    assert F.cross_entropy(model(tokens), target).item() == pytest.approx(math.log(200), abs=0.1)


# --- 19 to 21: parametrizations, norms, biases
# -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [parametrizations.weight_norm, parametrizations.orthogonal],
    ids=lambda wrap: wrap.__name__,
)
def test_trap_19_a_reparametrized_weight_survives_the_forward_pass(wrap: type[nn.Module]) -> None:
    """What is written to .weight there is overwritten by the next one."""
    model, plain = (
        built(lambda: nn.Sequential(wrap(nn.Linear(6, 6)))),
        built(lambda: nn.Sequential(nn.Linear(6, 6))),
    )
    for each in (model, plain):
        initialize(each, "orthogonal", seed=0)
    model(torch.zeros(1, 6))
    assert torch.allclose(model[0].weight, plain[0].weight, atol=1e-5)


def test_trap_19_the_singular_vectors_of_spectral_norm_are_those_of_the_new_weight() -> None:
    """Stale ones would divide by another number than the norm."""
    model = built(lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(30, 20)))).eval()
    initialize(model, "he_normal", seed=0)
    assert torch.linalg.matrix_norm(model[0].weight, 2).item() == pytest.approx(1.0, abs=1e-3)


def test_trap_20_a_pattern_for_biases_does_not_reach_into_normalization() -> None:
    """*.bias matches the shifts of norm layers as well."""
    model = built(lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.BatchNorm1d(4)))
    record = initialize(model, {"*.bias": "constant(value=0.5)"}, default="he_normal", seed=0)
    assert (model[0].bias == 0.5).all()
    assert not model[1].bias.any()
    assert not model[2].bias.any()
    assert record["1.bias"].reason == "norm shift of LayerNorm"


def test_trap_20_only_what_was_declared_is_changed() -> None:
    """The last scale of a residual branch may be zero; other norms, running statistics and the rest
    stay as they are.
    """
    model = everything()
    model.norms[0].running_mean.fill_(3.0)
    before = state(model)
    initialize(
        model,
        {"norms.0.weight": "zero"},
        default="keep",
        seed=0,
        biases="keep",
        norms="keep",
        embeddings="keep",
    )
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"norms.0.weight"}


def test_trap_21_biases_have_a_rule_of_their_own_that_is_zero_unless_told_otherwise() -> None:
    """torch's U(±1/√fan-in) adds a third of 1/fan-in to the variance, and a custom initialization
    that forgets it keeps it.
    """
    model = built(lambda: nn.Sequential(nn.Linear(100, 50), nn.LSTM(50, 20)))
    assert model[0].bias.var().item() == pytest.approx(1 / 300, rel=0.6)
    record = initialize(model, "he_normal", seed=0)
    assert not any(
        parameter.any() for name, parameter in model.named_parameters() if "bias" in name
    )
    assert {parameter.rule for parameter in record if "bias" in parameter.role} == {"zero"}
    kept = initialize(model, "he_normal", seed=0, biases="keep")
    assert kept["0.bias"].reason == "bias kept on request"


# --- 23 to 25: borders, memory, shapes
# -----------------------------------------------------------------------------


def test_trap_23_zero_padding_weakens_the_border_which_is_why_the_interior_is_measured() -> None:
    """A 3 × 3 kernel has 4 of its 9 taps inside the map at a corner and 6 at an edge. 300 draws of
    8 channels: 4 % of error.
    """
    layer = built(lambda: nn.Conv2d(8, 8, 3, padding=1))
    squares = []
    for seed in range(300):
        initialize(layer, "lecun_normal", seed=seed)
        squares.append(
            layer(torch.randn(4, 8, 8, 8, generator=generator(seed))).detach().square().mean((0, 1))
        )
    mean = torch.stack(squares).mean(0)
    assert mean[1:-1, 1:-1].mean().item() == pytest.approx(1.0, rel=0.05)
    assert mean[[0, 0, -1, -1], [0, -1, 0, -1]].mean().item() == pytest.approx(4 / 9, rel=0.15)
    assert mean[0, 1:-1].mean().item() == pytest.approx(6 / 9, rel=0.1)
    assert mean.mean().item() == pytest.approx((36 + 24 * 6 / 9 + 4 * 4 / 9) / 64, rel=0.05)


def test_trap_24_a_parameter_without_memory_is_filled_or_refused_and_never_passed_over() -> None:
    """Writing to a tensor on meta is silently nothing. Shards have their own test
    (`test_apply_sharded.py`).
    """
    model = nn.Linear(4, 3, device="meta")
    with pytest.raises(FitError, match=r"weight, bias: no memory"):
        initialize(model, "he_normal", seed=0)
    record = initialize(model, "he_normal", seed=0, device="cpu")
    assert record["weight"].changed
    assert model.weight.any()


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_trap_24_a_lazy_parameter_waits_for_its_shape_and_is_not_passed_over() -> None:
    """It has no shape, so no fans. See `test_lazy.py`."""
    model = nn.Sequential(nn.LazyLinear(3))
    record = initialize(model, "zero", seed=0)
    assert record["0.weight"].treatment == "waiting"
    with seeds.preserve_torch_state(0):  # torch fills what it materialises
        model(torch.ones(2, 5))
    assert not model[0].weight.any()
    assert record["0.weight"].shape == (3, 5)


def test_trap_25_the_key_and_value_biases_of_attention_are_biases() -> None:
    """They are (1, 1, d), so that torch takes d for the size of a kernel. Here they are zero, as
    biases are.
    """
    attention = built(lambda: nn.MultiheadAttention(64, 2, add_bias_kv=True))
    assert attention.bias_k.any()
    assert initialize(attention, "xavier_normal", seed=0)["bias_k"].role == "bias"
    assert not attention.bias_k.any()
    with pytest.raises(FitError, match="bias_k"):
        initialize(attention, "zero", seed=0, biases="xavier_normal", only="bias_k")


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), max_size=6).map(tuple),
    rule=st.sampled_from(
        ["he_normal", "orthogonal", "normal", "sparse", "zero", "xavier_uniform", "identity"]
    ),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.complex64]),
)
def test_trap_25_a_parameter_of_any_shape_is_filled_or_refused_with_nothing_changed(
    shape: tuple[int, ...], rule: str, dtype: torch.dtype
) -> None:
    """Scalars, vectors, empty ones, six dimensions, complex numbers."""
    model = nn.Module()
    model.register_parameter("mine", nn.Parameter(torch.full(shape, 7.0, dtype=dtype)))
    try:
        record = initialize(model, {"mine": rule}, default="zero", seed=0)
    except FitError:
        assert (model.mine == 7).all()
    else:
        assert model.mine.isfinite().all()
        assert record["mine"].changed is (model.mine.numel() > 0)
        assert (model.mine.dtype, tuple(model.mine.shape)) == (dtype, shape)
