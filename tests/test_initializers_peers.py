"""Initializers against torch.nn.init and Keras, side by side, on rectangular tensors.

Two-sample Kolmogorov–Smirnov tests with n = 420,000 on either side and level 1e-4: the critical
distance is 0.0049, a scale that is 3 % off has at least 0.007, and in every comparison it is shown
to be caught.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from combinations import for_each
from initializer_cases import GATE_BIASES, TENSOR_ENTRIES, filled, generator
from peer_cases import KERNEL, LEVEL, MATRIX, as_torch, compare, elsewhere, ks_distance, ours
from torch import Tensor, nn
from torch.nn import init

from fanin import fans, initializers, seeds

stats = pytest.importorskip("scipy.stats", reason="needs scipy for the tests of distributions")

Fill = Callable[[Tensor, torch.Generator], object]

TORCH: dict[str, Fill] = {
    "normal": lambda w, g: init.normal_(w, generator=g),
    "normal(mean=0.1, std=0.05)": lambda w, g: init.normal_(w, 0.1, 0.05, generator=g),
    "uniform": lambda w, g: init.uniform_(w, generator=g),
    "uniform(low=-0.1, high=0.3)": lambda w, g: init.uniform_(w, -0.1, 0.3, generator=g),
    "truncated_normal": lambda w, g: init.trunc_normal_(w, generator=g),
    "truncated_normal(std=0.02)": lambda w, g: init.trunc_normal_(
        w, 0.0, 0.02, -0.04, 0.04, generator=g
    ),
    "xavier_uniform(gain=1.5)": lambda w, g: init.xavier_uniform_(w, 1.5, generator=g),
    "xavier_normal": lambda w, g: init.xavier_normal_(w, generator=g),
    "he_uniform": lambda w, g: init.kaiming_uniform_(w, generator=g),
    "he_uniform(a=0.5, mode=fan_out)": lambda w, g: init.kaiming_uniform_(
        w, 0.5, "fan_out", generator=g
    ),
    "he_normal": lambda w, g: init.kaiming_normal_(w, generator=g),
    "he_normal(a=0.5, mode=fan_out)": lambda w, g: init.kaiming_normal_(
        w, 0.5, "fan_out", generator=g
    ),
    "lecun_normal": lambda w, g: init.kaiming_normal_(w, nonlinearity="linear", generator=g),
    "lecun_uniform": lambda w, g: init.kaiming_uniform_(w, nonlinearity="linear", generator=g),
    "orthogonal(gain=1.5)": lambda w, g: init.orthogonal_(w, 1.5, generator=g),
}

KERAS: dict[str, Callable[[ModuleType], object]] = {
    "normal(std=0.05)": lambda k: k.RandomNormal(seed=1),
    "uniform(low=-0.05, high=0.05)": lambda k: k.RandomUniform(seed=1),
    "truncated_normal(std=0.05)": lambda k: k.TruncatedNormal(seed=1),
    "variance_scaling": lambda k: k.VarianceScaling(seed=1),
    "variance_scaling(scale=2.0, mode=fan_avg, distribution=uniform)": lambda k: k.VarianceScaling(
        2.0, "fan_avg", "uniform", 1
    ),
    "variance_scaling(mode=fan_out, distribution=normal)": lambda k: k.VarianceScaling(
        1.0, "fan_out", "untruncated_normal", 1
    ),
    "xavier_uniform": lambda k: k.GlorotUniform(seed=1),
    "xavier_normal(truncated=true)": lambda k: k.GlorotNormal(seed=1),
    "he_uniform": lambda k: k.HeUniform(seed=1),
    "he_normal(truncated=true)": lambda k: k.HeNormal(seed=1),
    "lecun_uniform": lambda k: k.LecunUniform(seed=1),
    "lecun_normal(truncated=true)": lambda k: k.LecunNormal(seed=1),
    "orthogonal(gain=1.5)": lambda k: k.Orthogonal(1.5, seed=1),
}


def test_the_quick_distance_is_scipys() -> None:
    g = np.random.default_rng(0)
    a, b = g.normal(size=500).round(1), g.normal(0.1, 1.2, size=700).round(1)  # with ties
    assert ks_distance(np.sort(a), np.sort(b)) == pytest.approx(
        stats.ks_2samp(a, b).statistic, abs=1e-12
    )


@pytest.mark.parametrize("shape", [MATRIX, KERNEL], ids=str)
@pytest.mark.parametrize("spec", TORCH)
def test_a_tensor_is_filled_in_the_law_of_torch(spec: str, shape: tuple[int, ...]) -> None:
    theirs = torch.empty(shape)
    TORCH[spec](theirs, generator(1))
    assert compare(ours(spec, shape), theirs.flatten().double().numpy())


@pytest.mark.parametrize(
    ("spec", "fill"),
    [
        ("zero", init.zeros_),
        ("constant", init.ones_),
        ("constant(value=0.1)", lambda w: init.constant_(w, 0.1)),
    ],
)
def test_a_constant_is_that_of_torch(spec: str, fill: Callable[[Tensor], Tensor]) -> None:
    assert np.array_equal(ours(spec, (5, 7)), fill(torch.empty(5, 7)).flatten().double().numpy())


def test_sparse_with_torchs_rule_is_torchs_sparse() -> None:
    """n = 42,000 weights of which 70 % are zero: as many in every column, and the others in one law
    (level 1e-4).
    """
    theirs = torch.empty(60, 700)
    with torch.random.fork_rng():
        init.sparse_(theirs, 0.7, std=0.5)
    mine = initializers.get("sparse(sparsity=0.7, std=0.5)")(
        torch.empty(60, 700), generator=generator(0)
    )
    assert torch.equal((mine == 0).sum(0), (theirs == 0).sum(0))
    assert stats.ks_2samp(mine[mine != 0].numpy(), theirs[theirs != 0].numpy()).pvalue > LEVEL


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7)], ids=str)
@pytest.mark.parametrize("spec", ["identity", "dirac"])
def test_the_identity_of_a_matrix_is_that_of_torch(spec: str, shape: tuple[int, ...]) -> None:
    assert torch.equal(filled(spec, torch.empty(shape)), init.eye_(torch.empty(shape)))


@for_each("groups", [1, 2, 4])
@for_each("kernel", [(3,), (4,), (3, 3), (4, 2), (2, 3, 4)], ids=str)
@for_each("channels", [(8, 8), (16, 8), (8, 16)], ids=["square", "widening", "narrowing"])
@for_each("transposed", [False, True])
def test_dirac_is_that_of_torch(
    channels: tuple[int, int], kernel: tuple[int, ...], groups: int, transposed: bool
) -> None:
    kinds = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        if transposed
        else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )
    with seeds.preserve_torch_state(0):
        layer = kinds[len(kernel) - 1](*channels, kernel, groups=groups)
    layout = fans.get_module_layout(layer)
    mine = initializers.get("dirac").sample(layout, generator())
    assert torch.equal(mine, init.dirac_(torch.empty(layout.shape), groups))
    assert torch.equal(mine, initializers.get("identity(even=right)").sample(layout, generator()))


def test_the_centre_of_an_even_kernel_is_where_torch_does_not_have_it_unless_asked() -> None:
    theirs = init.dirac_(torch.empty(8, 8, 4))
    assert not torch.equal(filled("identity", torch.empty(8, 8, 4)), theirs)


def test_every_initializer_of_torch_is_compared() -> None:
    public = {name for name in dir(init) if name.endswith("_") and not name.startswith("_")}
    recipes = {
        "uniform_",
        "normal_",
        "trunc_normal_",
        "xavier_uniform_",
        "xavier_normal_",
        "kaiming_uniform_",
        "kaiming_normal_",
    }
    assert public == recipes | {
        "orthogonal_",
        "sparse_",
        "zeros_",
        "ones_",
        "constant_",
        "eye_",
        "dirac_",
    }


def test_every_initializer_that_torch_has_is_compared() -> None:
    compared = {spec.partition("(")[0] for spec in TORCH} | {
        "zero",
        "constant",
        "sparse",
        "identity",
        "dirac",
    }
    unique = {
        "variance_scaling",
        "block_orthogonal",
        "scaled_uniform_orthogonal",
        "delta_orthogonal",
        "random_walk",
        "siren",
        "small_init",
        "wang_init",
        "forget_gate",
        "chrono",
        "spectral",
        "sinusoidal",
        "hadamard",
        "padded_identity",
        "mamba_dt_bias",
        "mamba_a_log",
    }
    assert {entry.name for entry in TENSOR_ENTRIES} - compared == unique  # torch has none of them


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    pytest.importorskip("jax", reason='needs jax: pip install "fanin[peers]"')
    return pytest.importorskip(
        "keras", reason='needs Keras: pip install "fanin[peers]"'
    ).initializers


@pytest.mark.usefixtures("draws_globally")
@pytest.mark.parametrize("spec", KERAS)
def test_a_tensor_is_filled_in_the_law_of_keras(spec: str, keras: ModuleType) -> None:
    theirs = np.asarray(KERAS[spec](keras)(elsewhere(KERNEL)), dtype=np.float64)
    assert compare(ours(spec, KERNEL), theirs.flatten())


@pytest.mark.usefixtures("draws_globally")
@pytest.mark.parametrize(
    ("spec", "name"), [("he_normal", "HeNormal"), ("lecun_normal", "LecunNormal")]
)
def test_without_truncation_he_and_lecun_are_not_those_of_keras(
    spec: str, name: str, keras: ModuleType
) -> None:
    theirs = np.asarray(getattr(keras, name)(seed=1)(MATRIX[::-1]), dtype=np.float64)
    assert not compare(ours(spec, MATRIX), theirs.flatten())


@pytest.mark.usefixtures("draws_globally")
@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("zero", lambda k: k.Zeros()),
        ("constant", lambda k: k.Ones()),
        ("constant(value=0.1)", lambda k: k.Constant(0.1)),
        ("identity", lambda k: k.Identity()),
        ("identity(gain=1.5)", lambda k: k.Identity(1.5)),
    ],
)
def test_what_is_not_drawn_is_that_of_keras(
    spec: str, make: Callable[[ModuleType], object], keras: ModuleType
) -> None:
    for shape in [(5, 7), (7, 5), (6, 6)]:
        assert torch.equal(
            filled(spec, torch.empty(shape)), as_torch(make(keras)(elsewhere(shape)))
        )


@pytest.mark.usefixtures("draws_globally")
def test_the_forget_gate_is_that_of_keras(keras: ModuleType) -> None:
    from keras import layers

    layer = layers.LSTM(8)
    layer.build((None, None, 6))
    mine = initializers.get("forget_gate").sample(GATE_BIASES["LSTM"], generator())
    assert np.array_equal(
        mine.numpy(), np.asarray(layer.cell.bias)
    )  # i, f, c, o there and i, f, g, o here


@pytest.mark.usefixtures("draws_globally")
def test_every_initializer_of_keras_is_compared(keras: ModuleType) -> None:
    """By the names of their classes, each of which has several; except STFT, which holds the matrix
    of a Fourier transform.
    """
    public = {kind.__name__ for kind in vars(keras).values() if isinstance(kind, type)} - {
        "Initializer",
        "STFT",
    }
    exact = {"Zeros", "Ones", "Constant", "Identity"}
    drawn = {"RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Orthogonal"}
    assert public == exact | drawn | {
        f"{family}{law}" for family in ("Glorot", "He", "Lecun") for law in ("Normal", "Uniform")
    }
