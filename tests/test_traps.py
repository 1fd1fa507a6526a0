"""Known traps of weight initialization, 1 to 14: fans, layouts, laws and streams. One or more tests
for each.

The numbers are those of the list of traps (methods.md E), collected from errors that libraries have
or had. 15 to 25 are in `test_traps_models.py`. Left out: 22 (methods that look at data) and 26
(statistics of comparisons), which are not about weights as they are drawn.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from apply_cases import built, equal, is_uniform, mlp, same_law
from torch import Tensor, nn

from fanin import fans, gains, initialize, initializers, seeds
from fanin.errors import SpecError
from fanin.fans import Fans, describe_parameters
from fanin.initializers.orthogonal import haar


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def middle(x: Tensor, border: int = 4) -> Tensor:
    """What the border does not reach, of a tensor with one or two spatial dimensions."""
    for dim in range(2, x.dim()):
        x = x.narrow(dim, border, x.shape[dim] - 2 * border)
    return x


def second_moments(
    layer: nn.Module, rule: str, *, convention: fans.Convention = "kernel"
) -> tuple[float, float]:
    """Of outputs for inputs of second moment 1, and of gradients at inputs for such gradients at
    outputs, over 40 draws.
    """
    forward, backward = [], []
    for seed in range(40):
        initialize(layer, rule, seed=seed, convention=convention)
        g = generator(seed)
        spatial = [24] * (layer.weight.dim() - 2)
        x = torch.randn(2, layer.in_channels, *spatial, generator=g, requires_grad=True)
        y = layer(x)
        y.backward(torch.randn(y.shape, generator=g))
        assert x.grad is not None
        forward.append(middle(y.detach()).square().mean())
        backward.append(middle(x.grad).square().mean())
    return torch.stack(forward).mean().item(), torch.stack(backward).mean().item()


# --- 1 to 5: fans and packs
# -----------------------------------------------------------------------------


def test_trap_01_grouped_fan_out_counts_one_group() -> None:
    """torch.nn.init sees (out, in/groups, *k) only, and takes 36 for the fan-out of a depthwise
    layer whose true one is 9.
    """
    layer = nn.Conv2d(4, 4, 3, groups=4, device="meta")
    assert fans.calculate_fans(layer) == Fans(9, 9)
    assert nn.init._calculate_fan_in_and_fan_out(layer.weight) == (9, 36)


@pytest.mark.parametrize("groups", [4, 16])
def test_trap_01_grouped_layers_keep_the_size_of_signals_and_of_gradients(groups: int) -> None:
    """16 channels to 32; of 40 draws the standard error is below 4 %. Without the groups gradients
    would be 4 times smaller.
    """
    layer = built(lambda: nn.Conv1d(16, 32, 5, groups=groups, padding=2))
    assert second_moments(layer, "variance_scaling(distribution=normal)")[0] == pytest.approx(
        1.0, rel=0.15
    )
    assert second_moments(layer, "variance_scaling(mode=fan_out, distribution=normal)")[
        1
    ] == pytest.approx(1.0, rel=0.15)


def test_trap_02_a_transposed_convolution_stores_its_inputs_first() -> None:
    """ConvTranspose2d(64, 16, 3) has 64·9 inputs per output; torch.nn.init takes the 144 of the
    other side.
    """
    layer = nn.ConvTranspose2d(64, 16, 3, device="meta")
    assert fans.calculate_fans(layer) == Fans(576, 144)
    assert nn.init._calculate_fan_in_and_fan_out(layer.weight) == (144, 576)


@pytest.mark.parametrize("stride", [1, 2])
def test_trap_02_the_stride_of_a_transposed_convolution_divides_its_fan_in(stride: int) -> None:
    """With stride 2 an output meets half of the 4 taps of each dimension, so kernel fans make the
    signal half as strong.
    """
    layer = built(lambda: nn.ConvTranspose1d(32, 8, 4, stride=stride))
    law = "variance_scaling(distribution=normal)"
    assert second_moments(layer, law, convention="effective")[0] == pytest.approx(1.0, rel=0.15)
    assert second_moments(layer, law)[0] == pytest.approx(1 / stride, rel=0.15)


def test_trap_03_packed_q_k_and_v_are_three_maps() -> None:
    """torch's own start takes the (3d, d) pack for one map: std·√d is 0.707 there and 1 for
    separate weights.
    """
    d = 128
    attention = built(lambda: nn.MultiheadAttention(d, 4))
    assert attention.in_proj_weight.std().item() * math.sqrt(d) == pytest.approx(0.707, abs=0.01)
    initialize(attention, "xavier_normal", seed=0)
    assert attention.in_proj_weight.std().item() * math.sqrt(d) == pytest.approx(1.0, abs=0.02)
    assert attention.out_proj.weight.std().item() * math.sqrt(d) == pytest.approx(1.0, abs=0.03)
    other = built(lambda: nn.MultiheadAttention(d, 4, kdim=d // 2))
    initialize(other, "xavier_normal", seed=0)
    assert other.k_proj_weight.std().item() == pytest.approx(math.sqrt(2 / (d + d // 2)), rel=0.03)


def test_trap_03_packs_with_fewer_keys_than_queries_are_split_by_their_sizes() -> None:
    """In grouped-query attention the rows of k and v are fewer, so that thirds would mix them."""
    layer = built(lambda: nn.Linear(64, 64 + 16 + 16))
    initialize(layer, "xavier_uniform", seed=0, split={"weight": [64, 16, 16]})
    q, k, v = layer.weight.detach().split([64, 16, 16])
    assert q.abs().max() <= math.sqrt(6 / 128) < k.abs().max() <= math.sqrt(6 / 80)
    assert v.abs().max() <= math.sqrt(6 / 80)


def test_trap_04_one_orthogonal_matrix_for_all_gates_leaves_none_of_them_orthogonal() -> None:
    """orthogonal_ on the (4H, H) pack gives every gate half the norm; here each gate is a matrix of
    its own.
    """
    h = 64
    lstm = built(lambda: nn.LSTM(h, h, num_layers=2, bidirectional=True))
    whole = nn.init.orthogonal_(torch.empty(4 * h, h), generator=generator())
    assert whole[:h].square().sum() / h == pytest.approx(1 / 4, abs=0.02)
    initialize(lstm, "orthogonal", seed=0)
    for name in ("weight_hh_l0", "weight_hh_l1", "weight_hh_l1_reverse"):
        for gate in lstm.get_parameter(name).detach().chunk(4):
            assert torch.allclose(gate @ gate.T, torch.eye(h), atol=1e-5)


def test_trap_04_xaviers_bound_is_that_of_a_gate() -> None:
    """n = 65,536. As one map the bound would be 0.137 at these sizes, and it is 0.217 per gate."""
    lstm = built(lambda: nn.LSTM(64, 64))
    initialize(lstm, "xavier_uniform", seed=0)
    assert math.sqrt(6 / (64 + 64)) == pytest.approx(0.217, abs=0.001)
    assert math.sqrt(6 / (64 + 256)) == pytest.approx(0.137, abs=0.001)
    wide = built(lambda: nn.LSTM(128, 128))
    initialize(wide, "xavier_uniform", seed=0)
    assert is_uniform(wide.weight_hh_l0, math.sqrt(6 / (128 + 128)))
    assert lstm.weight_hh_l0.abs().max() > 0.137


def test_trap_04_the_forget_gate_sees_the_sum_of_two_biases() -> None:
    """Setting both biases to 1 makes it 2."""
    lstm = built(lambda: nn.LSTM(3, 5, proj_size=2))
    initialize(lstm, "orthogonal", seed=0, biases="forget_gate")
    total = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
    assert total.tolist() == [0.0] * 5 + [1.0] * 5 + [0.0] * 10


def test_trap_05_gates_come_in_torchs_order() -> None:
    """i, f, g, o in an LSTM and r, z, n in a GRU; Keras' forget gate is the second too, its GRU
    begins with z.
    """
    for module, name, expected in (
        (built(lambda: nn.LSTM(2, 3)), "weight_ih_l0", {"i": 0, "f": 3, "g": 6, "o": 9}),
        (built(lambda: nn.GRU(2, 3)), "weight_hh_l0", {"r": 0, "z": 3, "n": 6}),
    ):
        assert {
            part.name: part.steps[0].args[1]
            for part in describe_parameters(module)[name].layout.parts
        } == expected


# --- 6 and 7: orthogonal
# -----------------------------------------------------------------------------


def test_trap_06_orthogonal_matrices_are_evenly_distributed() -> None:
    """Without the signs of R's diagonal they are not: for 2,000 of them, n × n with n = 6, E tr Q =
    0 and E tr(Q)² = 1.

    Standard errors are 0.022 and 0.03; the share of det = 1 is ½ within 0.011. Tolerances are 4 of
    them.
    """
    drawn = [
        initializers.get("orthogonal")(torch.empty(6, 6), generator=generator(seed))
        for seed in range(2000)
    ]
    traces = torch.stack([q.trace() for q in drawn])
    assert abs(traces.mean()) < 0.09
    assert traces.square().mean().item() == pytest.approx(1.0, abs=0.13)
    assert torch.stack(drawn).det().gt(0).float().mean().item() == pytest.approx(0.5, abs=0.045)
    q, _ = torch.linalg.qr(torch.randn(2000, 6, 6, generator=generator()))  # the planted mistake
    assert abs(q.diagonal(dim1=-2, dim2=-1).sum(-1).mean()) > 0.09


def test_trap_06_a_zero_on_the_diagonal_does_not_zero_a_column() -> None:
    """sign(0) = 0 would."""
    q = haar(torch.zeros(1, 5, 3))
    assert torch.allclose(q.mT @ q, torch.eye(3), atol=1e-6)


def test_trap_07_an_orthogonal_convolution_keeps_the_mean_square_only_while_it_does_not_widen() -> (
    None
):
    """From 4 channels to 24, twice the 4·3 weights of a row, its columns are orthonormal, and the
    mean square halves.
    """
    x = torch.randn(64, 4, 8, generator=generator())
    gains_found = {}
    for outputs in (4, 24):
        layer = built(
            lambda outputs=outputs: nn.Conv1d(
                4, outputs, 3, padding=1, padding_mode="circular", bias=False
            )
        )
        squares = []
        for seed in range(20):
            initialize(layer, "orthogonal", seed=seed)
            squares.append(layer(x).square().mean() / x.square().mean())
        gains_found[outputs] = torch.stack(squares).mean().item()
    assert gains_found[4] == pytest.approx(1.0, rel=0.1)
    assert gains_found[24] == pytest.approx(4 * 3 / 24, rel=0.1)


def test_trap_07_delta_orthogonal_keeps_every_norm_exactly() -> None:
    """Only that is an isometry of images; flattened orthogonality is not."""
    x = torch.randn(3, 8, 16, generator=generator())
    layer = built(lambda: nn.Conv1d(8, 8, 3, padding=1, padding_mode="circular", bias=False))
    initialize(layer, "delta_orthogonal", seed=0)
    assert torch.allclose(layer(x).square().sum((1, 2)), x.square().sum((1, 2)), rtol=1e-4)
    initialize(layer, "orthogonal", seed=0)
    assert not torch.allclose(layer(x).square().sum((1, 2)), x.square().sum((1, 2)), rtol=1e-2)


# --- 8 to 12: layouts, precision, gains
# -----------------------------------------------------------------------------


def test_trap_08_inputs_and_outputs_are_not_confused_on_rectangular_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Square layers hide it. torch's Linear is (out, in); transformers' Conv1D is (in, out)."""

    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = (
                nn.Parameter(torch.empty(400, 100)),
                nn.Parameter(torch.empty(100)),
            )

    monkeypatch.setattr(Conv1D, "__module__", "transformers.pytorch_utils")
    linear, transposed = built(lambda: nn.Linear(400, 100)), Conv1D()
    x = torch.randn(200, 400, generator=generator())
    for layer, apply in ((linear, lambda w: x @ w.T), (transposed, lambda w: x @ w)):
        record = initialize(layer, "lecun_normal", seed=0)
        assert (record["weight"].fan_in, record["weight"].fan_out) == (400, 100)
        assert apply(layer.weight).square().mean().item() == pytest.approx(
            1.0, rel=0.05
        )  # n = 20,000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_trap_09_short_floats_get_the_fp32_draw_rounded(dtype: torch.dtype) -> None:
    """torch's orthogonal_ raises there, and older trunc_normal_ drew rubbish."""
    short, full = (
        built(lambda: nn.Linear(200, 300, dtype=dtype)),
        built(lambda: nn.Linear(200, 300)),
    )
    for rule in ("orthogonal", "variance_scaling", "he_normal"):
        for layer in (short, full):
            initialize(layer, rule, seed=0)
        assert torch.equal(short.weight, full.weight.to(dtype))


def test_trap_09_moments_of_a_truncated_normal_survive_short_floats() -> None:
    """n = 60,000: mean, spread and kurtosis (2.37 of this law; it was 28,000 in a broken
    version).
    """
    layer = built(lambda: nn.Linear(200, 300, dtype=torch.bfloat16))
    initialize(layer, "truncated_normal(std=0.02)", seed=0)
    z = layer.weight.detach().double().flatten() / 0.02
    assert abs(z.mean()) < 0.015
    assert z.std().item() == pytest.approx(0.8796, rel=0.01)
    assert (z.pow(4).mean() / z.var() ** 2).item() == pytest.approx(2.37, abs=0.05)


def test_trap_10_the_spread_after_truncation_is_the_one_that_is_asked_for() -> None:
    """Cutting at ±2 takes 12 % of the spread; widened beforehand, the cut lies at 2.27 of the
    target. n = 240,000.
    """
    layer = built(lambda: nn.Linear(400, 600))
    for rule in ("variance_scaling", "he_normal(truncated=true)", "lecun_normal(truncated=true)"):
        std = initialize(layer, rule, seed=0)["weight"].intended_std
        assert layer.weight.std().item() == pytest.approx(std, rel=0.01)
        assert layer.weight.abs().max().item() == pytest.approx(
            2 / 0.87962566103424 * std, rel=1e-3
        )


def test_trap_10_bounds_are_counted_in_standard_deviations() -> None:
    """torch's trunc_normal_ cuts at ±2 whatever std is: with std 0.02 that is no cut at all."""
    layer = built(lambda: nn.Linear(400, 600))
    initialize(layer, "truncated_normal(std=0.02)", seed=0)
    assert layer.weight.abs().max() <= 0.04


def test_trap_11_every_gain_says_which_one_it_is() -> None:
    """torch's 5/3 for tanh, 3/4 for selu and 1 for sigmoid keep no moment at one layer."""
    assert gains.gain("tanh") == pytest.approx(1.5925, abs=1e-4)
    assert gains.gain("tanh", direction="backward") == pytest.approx(1.4674, abs=1e-4)
    assert gains.critical_gain("tanh").gain == 1
    assert gains.calculate_gain("tanh") == nn.init.calculate_gain("tanh") == 5 / 3
    assert gains.gain("selu") == pytest.approx(1.0, abs=1e-6)
    assert gains.gain("sigmoid") == pytest.approx(1.8462, abs=1e-4)


def test_trap_11_a_truth_value_is_no_gain_and_a_slope_is_no_gain_either() -> None:
    """True is an int in Python, and he_normal's `a` is the slope of a leaky ReLU."""
    for spec in ("orthogonal(gain=true)", "he_normal(a=true)", "xavier_uniform(gain=-1.0)"):
        with pytest.raises(SpecError):
            initializers.get(spec)
    weight = initialize(built(lambda: nn.Linear(400, 10)), "he_normal(a=1.0)", seed=0)["weight"]
    assert weight.gain == pytest.approx(1.0)


def test_trap_12_behind_a_relu_the_second_moment_is_kept_and_not_the_variance() -> None:
    """Its mean is not 0: in a deep network E h² stays while what differs between inputs dies away.

    20 layers of width 500, 10 networks: the standard error of E h² is about 20 %.
    """
    squares, spreads = [], []
    for seed in range(10):
        model = built(lambda: nn.Sequential(*(nn.Linear(500, 500) for _ in range(20))))
        initialize(model, "he_normal", seed=seed)
        h = model[0](torch.randn(40, 500, generator=generator(seed)))
        for layer in model[1:]:
            h = layer(F.relu(h))
        squares.append(h.square().mean() / 2)
        spreads.append(h.var(0).mean() / 2)
    assert torch.stack(squares).mean().item() == pytest.approx(1.0, rel=0.6)
    assert torch.stack(spreads).mean() < 0.3 * torch.stack(squares).mean()


# --- 13 and 14: streams and sparsity
# -----------------------------------------------------------------------------


def test_trap_13_the_draw_does_not_depend_on_other_layers_dtype_threads_or_the_global_state() -> (
    None
):
    """Streams are named: adding, removing or moving a layer changes no other one."""
    small, large = (
        mlp(),
        nn.ModuleDict(
            {
                "new": built(lambda: nn.Linear(7, 7)),
                **{str(i): layer for i, layer in enumerate(mlp())},
            }
        ),
    )
    double = mlp().double()
    threads = torch.get_num_threads()
    with seeds.preserve_torch_state(123):
        initialize(small, "he_normal", seed=0)
    try:
        torch.set_num_threads(2)
        initialize(large, "he_normal", seed=0)
    finally:
        torch.set_num_threads(threads)
    initialize(double, "he_normal", seed=0)
    assert torch.equal(small[2].weight, large["2"].weight)
    assert torch.equal(small[2].weight.double(), double[2].weight)


def test_trap_13_the_zeros_of_sparse_come_from_the_generator_too() -> None:
    """torch's sparse_ takes a generator and draws the places of the zeros without it."""
    first, again, other = (built(lambda: nn.Linear(40, 30)) for _ in range(3))
    for layer, seed in ((first, 0), (again, 0), (other, 1)):
        initialize(layer, "sparse(sparsity=0.5)", seed=seed)
    assert equal(first, again)
    assert not torch.equal(first.weight == 0, other.weight == 0)


def test_trap_14_sparsity_counts_the_inputs_of_a_unit_and_leaves_none_dead() -> None:
    """Martens limits incoming weights; per column, with a ceiling, small layers can lose all of
    theirs.
    """
    layer = built(lambda: nn.Linear(60, 20))
    initialize(layer, "sparse(connections=15)", seed=0)
    assert (layer.weight != 0).sum(1).tolist() == [15] * 20
    for seed in range(20):
        small = built(lambda: nn.Linear(3, 2))
        initialize(small, "sparse", seed=seed)
        assert (small.weight != 0).any(1).all()


def test_every_law_of_a_pack_is_that_of_its_parts() -> None:
    """Traps 3 and 4 together: q of attention and the gates of an LSTM have the law of a linear
    layer of their shape.
    """
    attention, lstm, linear = (
        built(make)
        for make in (
            lambda: nn.MultiheadAttention(256, 2),
            lambda: nn.LSTM(256, 256),
            lambda: nn.Linear(256, 256),
        )
    )
    for module in (attention, lstm, linear):
        initialize(module, "xavier_normal", seed=0)
    for part in (attention.in_proj_weight[:256], lstm.weight_ih_l0[256:512]):
        assert same_law(part, linear.weight)
