"""Initializers against torch.nn.init and Keras, in distribution, on rectangular tensors.

Two-sample Kolmogorov–Smirnov tests with n = 420,000 on either side and level 1e-4: the critical distance is 0.0049, a scale
that is 3 % off has at least 0.007, and in every comparison it is shown to be caught.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import init

from fanin import initializers

stats = pytest.importorskip("scipy.stats", reason="needs scipy for the tests of distributions")

LEVEL = 1e-4
PLANTED = 1.03

MATRIX = (600, 700)
KERNEL = (200, 300, 7)
"""Shapes as torch has them: (out, in, *kernel)."""

Fill = Callable[[Tensor, torch.Generator], object]

TORCH: dict[str, Fill] = {
    "normal": lambda w, g: init.normal_(w, generator=g),
    "normal(mean=0.1, std=0.05)": lambda w, g: init.normal_(w, 0.1, 0.05, generator=g),
    "uniform": lambda w, g: init.uniform_(w, generator=g),
    "uniform(low=-0.1, high=0.3)": lambda w, g: init.uniform_(w, -0.1, 0.3, generator=g),
    "truncated_normal": lambda w, g: init.trunc_normal_(w, generator=g),
    "truncated_normal(std=0.02)": lambda w, g: init.trunc_normal_(w, 0.0, 0.02, -0.04, 0.04, generator=g),
    "xavier_uniform(gain=1.5)": lambda w, g: init.xavier_uniform_(w, 1.5, generator=g),
    "xavier_normal": lambda w, g: init.xavier_normal_(w, generator=g),
    "he_uniform": lambda w, g: init.kaiming_uniform_(w, generator=g),
    "he_uniform(a=0.5, mode=fan_out)": lambda w, g: init.kaiming_uniform_(w, 0.5, "fan_out", generator=g),
    "he_normal": lambda w, g: init.kaiming_normal_(w, generator=g),
    "he_normal(a=0.5, mode=fan_out)": lambda w, g: init.kaiming_normal_(w, 0.5, "fan_out", generator=g),
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
    "variance_scaling(mode=fan_out, distribution=normal)": lambda k: k.VarianceScaling(1.0, "fan_out", "untruncated_normal", 1),
    "xavier_uniform": lambda k: k.GlorotUniform(seed=1),
    "xavier_normal(truncated=true)": lambda k: k.GlorotNormal(seed=1),
    "he_uniform": lambda k: k.HeUniform(seed=1),
    "he_normal(truncated=true)": lambda k: k.HeNormal(seed=1),
    "lecun_uniform": lambda k: k.LecunUniform(seed=1),
    "lecun_normal(truncated=true)": lambda k: k.LecunNormal(seed=1),
    "orthogonal(gain=1.5)": lambda k: k.Orthogonal(1.5, seed=1),
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ours(spec: str, shape: tuple[int, ...]) -> np.ndarray:
    return initializers.get(spec)(torch.empty(shape), generator=generator(0)).flatten().double().numpy()


def ks_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance of the two samples' distribution functions; both samples sorted (scipy's is slow at this size)."""
    n, m = a.size, b.size
    above = np.arange(1, n + 1) / n - np.searchsorted(b, a, side="right") / m
    below = np.searchsorted(b, a, side="left") / m - np.arange(n) / n
    return float(max(above.max(), below.max()))


def compare(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether mean and standard deviation agree within 4.9 standard errors and a two-sample KS test lets them stand.

    Asserts on the way that the KS test alone would see a spread that is 3 % off.
    """
    assert a.size == b.size == 420_000
    a, b = np.sort(a), np.sort(b)
    spread, n = max(a.std(), b.std()), a.size
    critical = math.sqrt(-math.log(LEVEL / 2) / n)
    assert ks_distance((a - a.mean()) * PLANTED + a.mean(), b) > critical
    return bool(
        abs(a.mean() - b.mean()) < 4.9 * spread * math.sqrt(2 / n)
        and abs(a.std() / b.std() - 1) < 4.9 / math.sqrt(n)
        and ks_distance(a, b) < critical
    )


def test_the_quick_distance_is_scipys() -> None:
    g = np.random.default_rng(0)
    a, b = g.normal(size=500).round(1), g.normal(0.1, 1.2, size=700).round(1)  # with ties
    assert ks_distance(np.sort(a), np.sort(b)) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize("shape", [MATRIX, KERNEL], ids=str)
@pytest.mark.parametrize("spec", TORCH)
def test_a_tensor_is_filled_in_the_law_of_torch(spec: str, shape: tuple[int, ...]) -> None:
    theirs = torch.empty(shape)
    TORCH[spec](theirs, generator(1))
    assert compare(ours(spec, shape), theirs.flatten().double().numpy())


@pytest.mark.parametrize(("spec", "fill"), [("zero", init.zeros_), ("constant", init.ones_)])
def test_a_constant_is_that_of_torch(spec: str, fill: Callable[[Tensor], Tensor]) -> None:
    assert np.array_equal(ours(spec, (5, 7)), fill(torch.empty(5, 7)).flatten().double().numpy())


def test_sparse_with_torchs_rule_is_torchs_sparse() -> None:
    """n = 42,000 weights of which 70 % are zero: as many in every column, and the others in one law (level 1e-4)."""
    theirs = torch.empty(60, 700)
    with torch.random.fork_rng():
        init.sparse_(theirs, 0.7, std=0.5)
    mine = initializers.get("sparse(sparsity=0.7, std=0.5)")(torch.empty(60, 700), generator=generator(0))
    assert torch.equal((mine == 0).sum(0), (theirs == 0).sum(0))
    assert stats.ks_2samp(mine[mine != 0].numpy(), theirs[theirs != 0].numpy()).pvalue > LEVEL


def test_every_initializer_that_torch_has_is_compared() -> None:
    compared = {spec.partition("(")[0] for spec in TORCH} | {"zero", "constant", "sparse"}
    assert set(initializers.names()) - compared == {"variance_scaling"}  # torch has none


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    pytest.importorskip("jax", reason='needs jax: pip install "fanin[peers]"')
    return pytest.importorskip("keras", reason='needs Keras: pip install "fanin[peers]"').initializers


@pytest.mark.usefixtures("draws_globally")
@pytest.mark.parametrize("spec", KERAS)
def test_a_tensor_is_filled_in_the_law_of_keras(spec: str, keras: ModuleType) -> None:
    out, features, *kernel = KERNEL
    theirs = np.asarray(KERAS[spec](keras)((*kernel, features, out)), dtype=np.float64)
    assert compare(ours(spec, KERNEL), theirs.flatten())


@pytest.mark.usefixtures("draws_globally")
@pytest.mark.parametrize(("spec", "name"), [("he_normal", "HeNormal"), ("lecun_normal", "LecunNormal")])
def test_without_truncation_he_and_lecun_are_not_those_of_keras(spec: str, name: str, keras: ModuleType) -> None:
    theirs = np.asarray(getattr(keras, name)(seed=1)(MATRIX[::-1]), dtype=np.float64)
    assert not compare(ours(spec, MATRIX), theirs.flatten())
