"""Initializers against the laws they claim, on rectangular tensors and with the true fans of
grouped and transposed layers.

Kolmogorov–Smirnov tests have n above 200,000 and level 1e-4: they see a scale that is 3 % off (a
distance of 0.007 in a normal law against a critical 0.005), and every one of them is shown to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from initializer_cases import TENSOR_ENTRIES
from torch import Tensor, nn

from fanin import fans, initializers, seeds
from fanin.fans import Fans, WeightLayout
from fanin.initializers import distributions
from fanin.initializers.orthogonal import haar

special = pytest.importorskip("scipy.special", reason="the laws come from scipy")
stats = pytest.importorskip("scipy.stats", reason="the laws come from scipy")

LEVEL = 1e-4
PLANTED = 1.03

Law = Any
"""A frozen distribution of scipy, or what looks like one."""


def normal(std: float) -> Law:
    return stats.norm(0, std)


def uniform(std: float) -> Law:
    bound = math.sqrt(3) * std
    return stats.uniform(-bound, 2 * bound)


@dataclass(frozen=True)
class Truncated:
    """N(0, parent²) cut at two standard deviations; what scipy's truncnorm is, in a tenth of its
    time.
    """

    parent: float

    def cdf(self, x: np.ndarray) -> np.ndarray:
        below, above = special.ndtr(-2.0), special.ndtr(2.0)
        return np.clip((special.ndtr(x / self.parent) - below) / (above - below), 0, 1)

    def mean(self) -> float:
        return 0.0

    def std(self) -> float:
        return self.parent * float(stats.truncnorm(-2, 2).std())


def truncated(std: float) -> Law:
    """Cut at two standard deviations of the normal before the cut, its own standard deviation
    `std`.
    """
    return Truncated(std / Truncated(1.0).std())


LAWS: dict[str, Callable[[Fans], Law]] = {
    "normal(std=0.05)": lambda f: stats.norm(0, 0.05),
    "normal(mean=0.1, std=0.02)": lambda f: stats.norm(0.1, 0.02),
    "uniform": lambda f: stats.uniform(0, 1),
    "uniform(low=-0.05, high=0.1)": lambda f: stats.uniform(-0.05, 0.15),
    "truncated_normal": lambda f: stats.truncnorm(-2, 2),
    "truncated_normal(mean=0.5, std=0.1, cut=3.0)": lambda f: stats.truncnorm(-3, 3, 0.5, 0.1),
    "truncated_normal(cut=0.5)": lambda f: stats.truncnorm(-0.5, 0.5),
    "truncated_normal(cut=8.0)": lambda f: stats.norm(),
    "variance_scaling": lambda f: truncated(math.sqrt(1 / f.fan_in)),
    "variance_scaling(scale=2.0, mode=fan_out, distribution=normal)": lambda f: normal(
        math.sqrt(2 / f.fan_out)
    ),
    "variance_scaling(scale=0.5, mode=fan_avg, distribution=uniform)": lambda f: uniform(
        math.sqrt(1 / (f.fan_in + f.fan_out))
    ),
    "xavier_uniform": lambda f: uniform(math.sqrt(2 / (f.fan_in + f.fan_out))),
    "xavier_normal(gain=1.5)": lambda f: normal(1.5 * math.sqrt(2 / (f.fan_in + f.fan_out))),
    "xavier_normal(truncated=true)": lambda f: truncated(math.sqrt(2 / (f.fan_in + f.fan_out))),
    "part:xavier(gain=0.5, others=1.5)": lambda f: normal(
        1.5 * math.sqrt(2 / (f.fan_in + f.fan_out))
    ),
    "he_uniform": lambda f: uniform(math.sqrt(2 / f.fan_in)),
    "he_normal": lambda f: normal(math.sqrt(2 / f.fan_in)),
    "he_normal(a=0.5, mode=fan_out)": lambda f: normal(math.sqrt(2 / 1.25 / f.fan_out)),
    "he_normal(truncated=true)": lambda f: truncated(math.sqrt(2 / f.fan_in)),
    "lecun_uniform": lambda f: uniform(math.sqrt(1 / f.fan_in)),
    "lecun_normal": lambda f: normal(math.sqrt(1 / f.fan_in)),
    "lecun_normal(truncated=true)": lambda f: truncated(math.sqrt(1 / f.fan_in)),
    "random_walk": lambda f: normal(math.exp(1 / (2 * f.fan_in)) / math.sqrt(f.fan_in)),
    "random_walk(activation=relu)": lambda f: normal(
        math.sqrt(2 / f.fan_in) * math.exp(1.2 / (f.fan_in - 2.4))
    ),
    "siren": lambda f: uniform(math.sqrt(2 / f.fan_in) / 30),
    "siren(omega=5.0)": lambda f: uniform(math.sqrt(2 / f.fan_in) / 5),
    "siren(first=true)": lambda f: uniform(1 / (math.sqrt(3) * f.fan_in)),
    "small_init(dim=512)": lambda f: normal(math.sqrt(2 / (5 * 512))),
    "wang_init(layers=12, dim=512)": lambda f: normal(2 / (12 * math.sqrt(512))),
}

with seeds.preserve_torch_state(0):
    LAYERS = {
        "grouped": nn.Conv2d(256, 384, 3, groups=4),
        "depthwise": nn.Conv1d(4096, 8192, 25, groups=4096),
        "transposed, grouped": nn.ConvTranspose2d(384, 256, 3, stride=2, groups=4),
    }

every_law = pytest.mark.parametrize("spec", LAWS)
every_law_of_fans = pytest.mark.parametrize(
    "spec",
    [spec for spec, law in LAWS.items() if law(Fans(10, 20)).std() != law(Fans(40, 50)).std()],
)
every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


def follows(weights: np.ndarray, law: Law) -> bool:
    """Whether a one-sample KS test at the stated level lets the law stand."""
    assert weights.size > 200_000
    return bool(stats.ks_1samp(weights, law.cdf, method="asymp").pvalue > LEVEL)


def test_every_law_of_the_catalogue_is_tested_here() -> None:
    own_tests = {
        "orthogonal",
        "block_orthogonal",
        "scaled_uniform_orthogonal",
        "delta_orthogonal",
        "sparse",
        "chrono",
        "padded_identity",
        "spectral",
        "mamba_dt_bias",
        "mamba_a_log",
    }
    known = {spec.partition("(")[0] for spec in LAWS} | own_tests
    assert {entry.name for entry in TENSOR_ENTRIES if not entry.deterministic} <= known


@every_law
def test_a_rectangular_tensor_follows_the_law(spec: str) -> None:
    """n = 210,000; mean and standard deviation within 4.9 standard errors (level 1e-6), then KS; a
    planted 3 % is caught.
    """
    tensor = initializers.get(spec)(
        torch.empty(300, 700), generator=torch.Generator().manual_seed(1)
    )
    law, weights = LAWS[spec](Fans(700, 300)), tensor.double().flatten().numpy()
    n = weights.size
    assert abs(weights.mean() - law.mean()) < 4.9 * law.std() / math.sqrt(n)
    assert weights.std() == pytest.approx(law.std(), rel=4.9 / math.sqrt(2 * n))
    assert follows(weights, law)
    wrong = (weights - law.mean()) * PLANTED + law.mean()
    assert wrong.std() != pytest.approx(law.std(), rel=4.9 / math.sqrt(2 * n))
    assert not follows(wrong, law)


@every_law_of_fans
@every_layer
def test_a_layer_follows_the_law_with_its_true_fans(spec: str, layer: nn.Module) -> None:
    layout = fans.get_module_layout(layer)
    assert layout is not None
    assert layout.fans is not None
    weights = initializers.get(spec).sample(layout, torch.Generator().manual_seed(0))
    assert follows(weights.double().flatten().numpy(), LAWS[spec](layout.fans))


@pytest.mark.parametrize(
    ("name", "spec"), [("grouped", "he_normal(mode=fan_out)"), ("transposed, grouped", "he_normal")]
)
def test_the_fans_of_the_tensor_alone_would_be_caught(name: str, spec: str) -> None:
    layout = fans.get_module_layout(LAYERS[name])
    assert layout is not None
    blind = initializers.get(spec)(
        torch.empty(layout.shape), generator=torch.Generator().manual_seed(0)
    )
    fan = layout.fans.fan_out if "fan_out" in spec else layout.fans.fan_in
    assert not follows(blind.double().flatten().numpy(), normal(math.sqrt(2 / fan)))


def test_the_quick_truncated_law_is_scipys() -> None:
    x = np.linspace(-0.3, 0.3, 101)
    assert Truncated(0.1).cdf(x) == pytest.approx(stats.truncnorm(-2, 2, 0, 0.1).cdf(x), abs=1e-12)


# --- the transformations of z
# -----------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0.01, 0.5, 1.0, 2.0, 3.0, 5.0])
def test_the_std_of_a_truncated_normal_is_scipys(cut: float) -> None:
    assert distributions.truncated_std(cut) == pytest.approx(
        stats.truncnorm(-cut, cut).std(), rel=1e-6
    )


def test_the_correction_at_two_sigma_is_the_constant_of_keras_and_jax() -> None:
    assert distributions.truncated_std(2.0) == pytest.approx(0.87962566103423978, rel=1e-14)


@pytest.mark.parametrize("cut", [0.01, 1.0, 2.0, 6.0, 40.0])
def test_nothing_lies_beyond_the_cut_and_nothing_is_infinite(cut: float) -> None:
    w = distributions.truncated_normal(
        (1_000_000,), torch.Generator().manual_seed(0), std=1.0, cut=cut
    )
    assert w.abs().max().item() <= np.float32(cut)
    assert w.isfinite().all()


def test_uniform_and_truncated_are_increasing_functions_of_the_same_z() -> None:
    shape = (10_000,)
    z = distributions.normal(shape, torch.Generator().manual_seed(0), std=1.0)
    order = z.argsort()
    for w in (
        distributions.uniform(shape, torch.Generator().manual_seed(0), low=-2.0, high=3.0),
        distributions.truncated_normal(shape, torch.Generator().manual_seed(0), std=2.0, cut=2.0),
    ):
        assert (w[order].diff() >= 0).all()


def test_the_extremes_of_z_stay_inside_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    extreme = torch.tensor([-40.0, -6.0, 0.0, 6.0, 40.0])
    monkeypatch.setattr(distributions, "standard_normal", lambda shape, generator: extreme.clone())
    g = torch.Generator()
    assert (
        distributions.uniform((5,), g, low=0.1, high=0.3).clamp(0.1, 0.3).tolist()
        == distributions.uniform((5,), g, low=0.1, high=0.3).tolist()
    )
    assert distributions.truncated_normal((5,), g, std=1.0, cut=2.0).tolist() == pytest.approx(
        [-2, -2, 0, 2, 2], abs=1e-5
    )
    assert distributions.truncated_normal((5,), g, std=1.0, cut=50.0).isfinite().all()


# --- orthogonal
# -----------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1.0, 1.7])
@pytest.mark.parametrize(
    "layout",
    [
        WeightLayout((30, 50), Fans(50, 30)),
        WeightLayout((50, 30), Fans(30, 50)),
        WeightLayout((16, 8, 3, 3), Fans(72, 144)),
        WeightLayout((64, 2, 3), Fans(6, 192)),
        WeightLayout((24, 4, 3), Fans(12, 18), groups=4),
        WeightLayout((12, 5, 3), Fans(12, 15), groups=3, transposed=True),
        WeightLayout((4, 40), Fans(4, 40), transposed=True),
    ],
    ids=[
        "wide",
        "tall",
        "conv",
        "expanding conv",
        "grouped",
        "transposed, grouped",
        "transposed, expanding",
    ],
)
def test_the_rows_or_columns_of_every_group_are_orthonormal_times_the_gain(
    layout: WeightLayout, gain: float
) -> None:
    weight = initializers.Orthogonal(gain).sample(layout, torch.Generator().manual_seed(0))
    matrices = layout.to_matrices(weight).double()
    if matrices.shape[1] > matrices.shape[2]:
        matrices = matrices.mT
    expected = gain**2 * torch.eye(matrices.shape[1], dtype=torch.float64).expand(
        matrices.shape[0], -1, -1
    )
    assert torch.allclose(matrices @ matrices.mT, expected, atol=1e-5)


def test_an_orthogonal_grouped_layer_keeps_the_norm_of_every_group() -> None:
    layout = WeightLayout((8, 2), Fans(2, 2), groups=4)
    weight = (
        initializers.Orthogonal().sample(layout, torch.Generator().manual_seed(0)).unsqueeze(-1)
    )
    x = torch.randn(5, 8, 1, generator=torch.Generator().manual_seed(1))
    y = torch.conv1d(x, weight, groups=4)
    assert torch.allclose(y.view(5, 4, 2).norm(dim=-1), x.view(5, 4, 2).norm(dim=-1), atol=1e-5)


def even(q: Tensor) -> bool:
    """Whether matrices, shape (n, d, d), look evenly distributed over the orthogonal group, each
    check at level 1e-5.

    Under the Haar law the trace has mean 0 and mean square 1, half of the determinants are 1, and
    every entry is a coordinate of a point on the sphere: (q + 1)/2 ~ Beta((d - 1)/2, (d - 1)/2).
    """
    n, d = q.shape[0], q.shape[1]
    assert (n, d) == (20_000, 5)
    trace = q.diagonal(dim1=1, dim2=2).sum(-1)
    squares = trace.square()
    coordinate = stats.beta((d - 1) / 2, (d - 1) / 2, loc=-1, scale=2)
    corners = (q[:, 0, 0], q[:, -1, -1], q[:, 0, -1])
    return bool(
        abs(trace.mean()) < 4.42 / math.sqrt(n)
        and abs(squares.mean() - 1) < 4.42 * squares.std() / math.sqrt(n)
        and abs(torch.linalg.det(q).mean()) < 4.42 / math.sqrt(n)
        and all(stats.ks_1samp(entry.numpy(), coordinate.cdf).pvalue > 1e-5 for entry in corners)
    )


def square_normals() -> Tensor:
    return torch.randn(20_000, 5, 5, generator=torch.Generator().manual_seed(2))


def test_orthogonal_matrices_are_evenly_distributed() -> None:
    layout = WeightLayout((100_000, 5), Fans(5, 5), groups=20_000)
    weight = initializers.Orthogonal().sample(layout, torch.Generator().manual_seed(1))
    assert even(layout.to_matrices(weight).double())
    assert even(haar(square_normals()).double())


def test_a_decomposition_without_sign_correction_is_caught() -> None:
    q, _ = torch.linalg.qr(square_normals())
    assert not even(q.double())


def test_a_zero_on_the_diagonal_of_r_zeroes_no_column() -> None:
    z = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    z[0, :, 1] = 0.0
    z[1] = 0.0
    q = haar(z)
    assert torch.allclose(q.mT @ q, torch.eye(3).expand(2, -1, -1), atol=1e-5)


# --- sparse
# -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layout",
    [
        WeightLayout((40, 300), Fans(300, 40)),
        WeightLayout((40, 4), Fans(4, 40)),
        WeightLayout((12, 5, 3, 3), Fans(45, 27), groups=4),
        WeightLayout((12, 5, 3, 3), Fans(27, 45), groups=4, transposed=True),
        WeightLayout((200, 1, 3, 3), Fans(9, 9), groups=200),
    ],
    ids=["wide", "few inputs", "grouped", "transposed, grouped", "depthwise"],
)
@pytest.mark.parametrize("connections", [15, 3])
def test_every_unit_has_the_stated_number_of_connections(
    layout: WeightLayout, connections: int
) -> None:
    weight = initializers.Sparse(connections).sample(layout, torch.Generator().manual_seed(0))
    counts = (layout.to_matrices(weight) != 0).sum(-1)
    assert (counts == min(connections, layout.matrices_shape[2])).all()


def test_the_connections_of_sparse_are_normal_and_evenly_placed() -> None:
    """n = 240,000 connections (KS at 1e-4, a planted 3 % is caught); 60 places, χ² at level
    1e-5.
    """
    layout = WeightLayout((16_000, 60), Fans(60, 16_000))
    weight = initializers.Sparse(15, std=0.5).sample(layout, torch.Generator().manual_seed(0))
    values = weight[weight != 0].double().numpy()
    assert follows(values, normal(0.5))
    assert not follows(values * PLANTED, normal(0.5))
    assert stats.chisquare((weight != 0).sum(0).numpy()).pvalue > 1e-5


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_torchs_rule_zeroes_the_stated_fraction_of_every_column(sparsity: float) -> None:
    weight = initializers.Sparse(sparsity=sparsity)(
        torch.empty(64, 30), generator=torch.Generator().manual_seed(0)
    )
    assert ((weight == 0).sum(0) == math.ceil(sparsity * 64)).all()
