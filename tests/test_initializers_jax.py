"""Initializers against jax.nn.initializers, side by side, on rectangular tensors.

Two-sample Kolmogorov–Smirnov tests with n = 420,000 on either side and level 1e-4, as in
`test_initializers_peers.py`: a scale that is 3 % off is shown to be caught in every comparison.
JAX' kernels are (*kernel, in, out).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from initializer_cases import filled
from peer_cases import KERNEL, MATRIX, as_torch, compare, elsewhere, ours

from fanin.errors import FitError

jax = pytest.importorskip("jax", reason='needs jax: pip install "fanin[peers]"')

Make = Callable[[ModuleType], Callable[..., object]]

LAWS: dict[str, Make] = {
    "normal(std=0.01)": lambda j: j.normal(),
    "normal(std=1.5)": lambda j: j.normal(1.5),
    "uniform(low=0.0, high=0.01)": lambda j: j.uniform(),
    "uniform(low=0.0, high=2.0)": lambda j: j.uniform(2.0),
    "truncated_normal(std=0.01)": lambda j: j.truncated_normal(),
    "truncated_normal(std=0.5, cut=3.0)": lambda j: j.truncated_normal(0.5, lower=-3.0, upper=3.0),
    "xavier_uniform": lambda j: j.glorot_uniform(),
    "xavier_normal(truncated=true)": lambda j: j.glorot_normal(),
    "he_uniform": lambda j: j.he_uniform(),
    "he_normal(truncated=true)": lambda j: j.he_normal(),
    "lecun_uniform": lambda j: j.lecun_uniform(),
    "lecun_normal(truncated=true)": lambda j: j.lecun_normal(),
    "orthogonal(gain=1.5)": lambda j: j.orthogonal(1.5),
}

MODES = ["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
DISTRIBUTIONS = {"normal": "normal", "truncated": "truncated_normal", "uniform": "uniform"}


def theirs(make: Make, shape: tuple[int, ...]) -> np.ndarray:
    """A weight of JAX, for a shape of torch."""
    return np.asarray(
        make(jax.nn.initializers)(jax.random.key(1), elsewhere(shape), np.float32), dtype=np.float64
    )


@pytest.mark.parametrize("shape", [MATRIX, KERNEL], ids=str)
@pytest.mark.parametrize("spec", LAWS)
def test_a_tensor_is_filled_in_the_law_of_jax(spec: str, shape: tuple[int, ...]) -> None:
    assert compare(ours(spec, shape), theirs(LAWS[spec], shape).flatten())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_variance_scaling_is_that_of_jax(mode: str, distribution: str) -> None:
    spec = f"variance_scaling(scale=0.7, mode={mode}, distribution={distribution})"
    drawn = theirs(lambda j: j.variance_scaling(0.7, mode, DISTRIBUTIONS[distribution]), KERNEL)
    assert compare(ours(spec, KERNEL), drawn.flatten())


@pytest.mark.parametrize(
    ("spec", "name"), [("he_normal", "he_normal"), ("lecun_normal", "lecun_normal")]
)
def test_without_truncation_he_and_lecun_are_not_those_of_jax(spec: str, name: str) -> None:
    assert not compare(ours(spec, MATRIX), theirs(lambda j: getattr(j, name)(), MATRIX).flatten())


def test_a_truncated_normal_has_no_correction_in_jax_and_none_here() -> None:
    corrected = theirs(lambda j: j.truncated_normal(0.01 / 0.87962566103423978), MATRIX)
    assert not compare(ours("truncated_normal(std=0.01)", MATRIX), corrected.flatten())


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("zero", lambda j: j.zeros),
        ("constant", lambda j: j.ones),
        ("constant(value=0.1)", lambda j: j.constant(0.1)),
    ],
)
def test_a_constant_is_that_of_jax(spec: str, make: Make) -> None:
    assert np.array_equal(ours(spec, (5, 7)), theirs(make, (5, 7)).astype(np.float32).flatten())


def test_delta_orthogonal_is_that_of_jax() -> None:
    """n = 420,000 weights at the centre of the kernel; the other taps are zero on both sides."""
    shape = (700, 600, 3)
    mine = filled("delta_orthogonal(gain=1.5)", torch.empty(shape))
    other = as_torch(theirs(lambda j: j.delta_orthogonal(1.5), shape))
    assert torch.equal(mine != 0, other != 0)
    assert compare(mine[..., 1].flatten().double().numpy(), other[..., 1].flatten().numpy())


@pytest.mark.parametrize("kernel", [(3,), (4,), (3, 4), (2, 5), (2, 3, 4)], ids=str)
def test_the_centre_of_a_delta_orthogonal_kernel_is_where_jax_has_it(
    kernel: tuple[int, ...],
) -> None:
    mine = filled("delta_orthogonal", torch.empty(8, 6, *kernel))
    other = as_torch(theirs(lambda j: j.delta_orthogonal(), (8, 6, *kernel)))
    assert torch.equal(mine != 0, other != 0)


def test_delta_orthogonal_refuses_what_jax_refuses() -> None:
    with pytest.raises(ValueError, match="less or equal"):
        theirs(lambda j: j.delta_orthogonal(), (6, 8, 3))
    with pytest.raises(FitError):
        filled("delta_orthogonal", torch.empty(6, 8, 3))


def test_every_initializer_of_jax_is_compared() -> None:
    """By JAX' own list, without the second names of the Glorot and He laws, and the type of them
    all.
    """
    public = {name for name in dir(jax.nn.initializers) if not name.startswith("_")} - {
        "Initializer"
    }
    names = {name for name in public if not name.startswith(("xavier", "kaiming"))}
    assert names == {
        "zeros",
        "ones",
        "constant",
        "normal",
        "uniform",
        "truncated_normal",
        "variance_scaling",
    } | {
        f"{family}_{law}" for family in ("glorot", "he", "lecun") for law in ("normal", "uniform")
    } | {"orthogonal", "delta_orthogonal"}
