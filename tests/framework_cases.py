"""What torch's, Keras', JAX' and mmcv's own tests of initializers ask for, as a table of moments.

A row names an initializer as that framework's user types it, a shape as torch has it, and what must
come out: mean, standard deviation and bounds of the entries, computed here from the definitions and
the shape alone. Rows that are drawn have at least 40,000 numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import inf, sqrt

MATRIX = (200, 300)
KERNEL = (40, 50, 5, 5)
VECTOR = (50_000,)
LARGE = (1000, 1000)
"""Where most entries are zero, the standard deviation needs more of them."""
GROWING = (300, 200, 3)
"""More outputs than inputs, as a kernel that keeps norms must have."""

KERNEL_IN, KERNEL_OUT = 50 * 25, 40 * 25

# The standard normal cut at two standard deviations, and how far its ends are in units of its own.
CUT_STD = 0.87962566103423978
CUT_ENDS = 2 / CUT_STD


@dataclass(frozen=True)
class Moments:
    """Of the entries of a weight."""

    mean: float
    std: float
    low: float = -inf
    high: float = inf


@dataclass(frozen=True)
class Case:
    """One row: what is typed, what is filled, what must come out."""

    home: str
    spec: str
    shape: tuple[int, ...]
    moments: Moments
    home_spec: str = ""
    """The same in the words of its home, where they are others."""

    @property
    def is_drawn(self) -> bool:
        """Whether the numbers are random; all others are exact."""
        return self.spec.partition("(")[0] not in EXACT

    def __str__(self) -> str:
        return f"{self.home}: {self.spec} on {self.shape}"


EXACT = {"constant_", "constant", "zeros_", "ones_", "zeros", "ones", "eye_", "dirac_", "Identity"}
EXACT |= {"Zeros", "Ones", "Constant"}


def even(std: float, bound: float) -> Moments:
    """Mean 0, and bounds on both sides."""
    return Moments(mean=0.0, std=std, low=-bound, high=bound)


def uniform(std: float) -> Moments:
    return even(std, sqrt(3) * std)


def cut(std: float) -> Moments:
    """The truncated normal of Keras and JAX, whose standard deviation after the cut is `std`."""
    return even(std, CUT_ENDS * std)


def normal(std: float) -> Moments:
    return even(std, inf)


def share(ones: int, size: int) -> Moments:
    """A share of ones among zeros."""
    p = ones / size
    return Moments(mean=p, std=sqrt(p * (1 - p)), low=0.0, high=1.0)


def interval(low: float, high: float) -> Moments:
    """Uniform between two bounds."""
    return Moments(mean=(low + high) / 2, std=(high - low) / sqrt(12), low=low, high=high)


def between(
    low: float, high: float, mean: float = 0.0, std: float = 1.0, steps: int = 20_000
) -> Moments:
    """A normal between two bounds, its moments by the midpoint rule: slow, and obviously right."""
    width = (high - low) / steps
    points = [low + (k + 0.5) * width for k in range(steps)]
    weights = [math.exp(-(((x - mean) / std) ** 2) / 2) for x in points]
    total = sum(weights)
    first = sum(w * x for w, x in zip(weights, points, strict=True)) / total
    second = sum(w * (x - first) ** 2 for w, x in zip(weights, points, strict=True)) / total
    return Moments(mean=first, std=sqrt(second), low=low, high=high)


def fixed(value: float) -> Moments:
    return Moments(mean=value, std=0.0, low=value, high=value)


TORCH = [
    Case("torch", "uniform_(a=-1.3, b=2.2)", VECTOR, interval(-1.3, 2.2)),
    Case("torch", "uniform_(a=2.5, b=3.5)", MATRIX, interval(2.5, 3.5)),
    Case("torch", "uniform_", KERNEL, interval(0.0, 1.0)),
    Case("torch", "uniform_(a=1.0, b=1.0)", (30, 40), fixed(1.0)),
    Case("torch", "normal_(mean=-2.1, std=3.3)", VECTOR, Moments(-2.1, 3.3)),
    Case("torch", "normal_(mean=1.7, std=1.2)", MATRIX, Moments(1.7, 1.2)),
    Case("torch", "normal_", KERNEL, Moments(0.0, 1.0)),
    Case("torch", "trunc_normal_", MATRIX, even(CUT_STD, 2.0)),
    Case(
        "torch",
        "trunc_normal_(mean=0.5, std=1.5, a=-1.0, b=3.0)",
        VECTOR,
        between(-1, 3, 0.5, 1.5),
    ),
    Case("torch", "trunc_normal_(a=0.0, b=1.0)", MATRIX, between(0, 1)),
    Case("torch", "trunc_normal_(mean=1.0, std=1.5)", KERNEL, between(-2, 2, 1.0, 1.5)),
    Case("torch", "trunc_normal_(std=0.02)", MATRIX, Moments(0.0, 0.02)),
    Case("torch", "constant_(val=4.25)", (3, 4), fixed(4.25)),
    Case("torch", "ones_", (5,), fixed(1.0)),
    Case("torch", "zeros_", (2, 3, 4, 5), fixed(0.0)),
    Case("torch", "eye_", (4, 7), share(4, 28)),
    Case("torch", "eye_", (7, 4), share(4, 28)),
    Case("torch", "dirac_", (9, 3, 3), share(3, 81)),
    Case("torch", "dirac_", (4, 5, 2, 3), share(4, 120)),
    Case("torch", "dirac_", (3, 3, 3, 3, 3), share(3, 243)),
    Case("torch", "xavier_uniform_", MATRIX, uniform(sqrt(2 / 500))),
    Case(
        "torch",
        "xavier_uniform_(gain=1.7)",
        KERNEL,
        uniform(1.7 * sqrt(2 / (KERNEL_IN + KERNEL_OUT))),
    ),
    Case("torch", "xavier_normal_", KERNEL, normal(sqrt(2 / (KERNEL_IN + KERNEL_OUT)))),
    Case("torch", "xavier_normal_(gain=0.3)", MATRIX, normal(0.3 * sqrt(2 / 500))),
    Case("torch", "kaiming_uniform_", MATRIX, uniform(sqrt(2 / 300))),
    Case("torch", "kaiming_uniform_(a=0.7)", KERNEL, uniform(sqrt(2 / 1.49 / KERNEL_IN))),
    Case(
        "torch",
        "kaiming_uniform_(a=1.2, mode=fan_out)",
        KERNEL,
        uniform(sqrt(2 / 2.44 / KERNEL_OUT)),
    ),
    Case("torch", "kaiming_uniform_(nonlinearity=tanh)", MATRIX, uniform(5 / 3 / sqrt(300))),
    Case("torch", "kaiming_uniform_(a=3.0, nonlinearity=relu)", MATRIX, uniform(sqrt(2 / 300))),
    Case("torch", "kaiming_normal_", MATRIX, normal(sqrt(2 / 300))),
    Case("torch", "kaiming_normal_(a=0.4, mode=fan_out)", MATRIX, normal(sqrt(2 / 1.16 / 200))),
    Case(
        "torch",
        "kaiming_normal_(mode=fan_out, nonlinearity=selu)",
        KERNEL,
        normal(0.75 / sqrt(KERNEL_OUT)),
    ),
    Case("torch", "kaiming_normal_(nonlinearity=linear)", MATRIX, normal(sqrt(1 / 300))),
    Case("torch", "kaiming_normal_(nonlinearity=sigmoid)", MATRIX, normal(sqrt(1 / 300))),
    Case("torch", "sparse_(sparsity=0.25)", LARGE, normal(0.01 * sqrt(0.75))),
    Case("torch", "sparse_(sparsity=0.9, std=2.0)", LARGE, normal(2 * sqrt(0.1))),
    Case("torch", "orthogonal_", MATRIX, normal(sqrt(1 / 300))),
    Case("torch", "orthogonal_(gain=1.9)", (300, 20, 2, 4), normal(1.9 / sqrt(300))),
]

KERAS = [
    Case("Keras", "RandomNormal", MATRIX, normal(0.05)),
    Case("Keras", "RandomNormal(mean=0.0, stddev=1.0)", KERNEL, normal(1.0)),
    Case("Keras", "RandomUniform", MATRIX, interval(-0.05, 0.05)),
    Case("Keras", "RandomUniform(minval=-1.0, maxval=1.0)", KERNEL, interval(-1, 1)),
    Case("Keras", "TruncatedNormal", MATRIX, even(0.05 * CUT_STD, 0.1)),
    Case(
        "Keras",
        "TruncatedNormal(mean=1.0, stddev=0.5)",
        KERNEL,
        Moments(1.0, 0.5 * CUT_STD, 0.0, 2.0),
    ),
    Case("Keras", "VarianceScaling(scale=2.0, mode=fan_in)", MATRIX, cut(sqrt(2 / 300))),
    Case("Keras", "VarianceScaling(scale=2.0, mode=fan_out)", KERNEL, cut(sqrt(2 / KERNEL_OUT))),
    Case(
        "Keras",
        "VarianceScaling(mode=fan_avg, distribution=untruncated_normal)",
        MATRIX,
        normal(sqrt(1 / 250)),
    ),
    Case("Keras", "VarianceScaling(distribution=uniform)", MATRIX, uniform(sqrt(1 / 300))),
    Case("Keras", "GlorotUniform", KERNEL, uniform(sqrt(2 / (KERNEL_IN + KERNEL_OUT)))),
    Case("Keras", "GlorotNormal", MATRIX, cut(sqrt(2 / 500))),
    Case("Keras", "HeUniform", MATRIX, uniform(sqrt(2 / 300))),
    Case("Keras", "HeNormal", KERNEL, cut(sqrt(2 / KERNEL_IN))),
    Case("Keras", "LecunUniform", KERNEL, uniform(sqrt(1 / KERNEL_IN))),
    Case("Keras", "LecunNormal", MATRIX, cut(sqrt(1 / 300))),
    Case("Keras", "Orthogonal(gain=2.0)", MATRIX, normal(2 / sqrt(300))),
    Case("Keras", "Identity", (6, 6), share(6, 36)),
    Case("Keras", "Zeros", (3, 4), fixed(0.0)),
    Case("Keras", "Ones", (3, 4), fixed(1.0)),
    Case("Keras", "Constant", (3, 4), fixed(0.0)),
    Case("Keras", "Constant(value=2.0)", (3, 4), fixed(2.0)),
]

JAX = [
    Case("JAX", "normal(stddev=0.3)", MATRIX, normal(0.3)),
    Case(
        "JAX", "uniform(a=0.0, b=0.7)", MATRIX, interval(0.0, 0.7), home_spec="uniform(scale=0.7)"
    ),
    Case("JAX", "truncated_normal(stddev=0.3)", KERNEL, even(0.3 * CUT_STD, 0.6)),
    Case(
        "JAX",
        "truncated_normal(stddev=0.5, low=-0.25, high=1.5)",
        MATRIX,
        between(-0.25, 1.5, 0.0, 0.5),
        home_spec="truncated_normal(stddev=0.5, lower=-0.5, upper=3.0)",
    ),
    Case("JAX", "glorot_normal", MATRIX, cut(sqrt(2 / 500))),
    Case("JAX", "glorot_uniform", KERNEL, uniform(sqrt(2 / (KERNEL_IN + KERNEL_OUT)))),
    Case("JAX", "xavier_uniform", MATRIX, uniform(sqrt(2 / 500))),
    Case("JAX", "HeNormal", MATRIX, cut(sqrt(2 / 300)), home_spec="kaiming_normal"),
    Case("JAX", "kaiming_uniform", KERNEL, uniform(sqrt(2 / KERNEL_IN))),
    Case("JAX", "LecunNormal", KERNEL, cut(sqrt(1 / KERNEL_IN)), home_spec="lecun_normal"),
    Case("JAX", "lecun_uniform", MATRIX, uniform(sqrt(1 / 300))),
    Case("JAX", "orthogonal(scale=1.5)", MATRIX, normal(1.5 / sqrt(300))),
    Case("JAX", "delta_orthogonal(scale=1.5)", GROWING, normal(1.5 / sqrt(300 * 3))),
    *(
        Case(
            "JAX",
            f"variance_scaling(scale=3.0, mode={mode}, distribution={distribution})",
            KERNEL,
            law(sqrt(3 / fan)),
        )
        for mode, fan in {
            "fan_in": KERNEL_IN,
            "fan_out": KERNEL_OUT,
            "fan_avg": (KERNEL_IN + KERNEL_OUT) / 2,
            "fan_geo_avg": sqrt(KERNEL_IN * KERNEL_OUT),
        }.items()
        for distribution, law in {
            "truncated_normal": cut,
            "normal": normal,
            "uniform": uniform,
        }.items()
    ),
    Case("JAX", "zeros", (3, 4), fixed(0.0)),
    Case("JAX", "ones", (3, 4), fixed(1.0)),
]

MMCV = [
    Case("mmcv", "constant(val=0.1)", (16, 3, 3, 3), fixed(0.1)),
    Case("mmcv", "xavier_normal(gain=100.0)", MATRIX, normal(100 * sqrt(2 / 500))),
    Case("mmcv", "xavier_uniform", KERNEL, uniform(sqrt(2 / (KERNEL_IN + KERNEL_OUT)))),
    Case("mmcv", "normal(mean=100.0, std=0.01)", MATRIX, Moments(100.0, 0.01)),
    Case("mmcv", "trunc_normal(mean=100.0, std=0.5, a=0.0, b=200.0)", MATRIX, Moments(100.0, 0.5)),
    Case("mmcv", "trunc_normal", KERNEL, even(CUT_STD, 2.0)),
    Case("mmcv", "uniform(a=100.0, b=100.0)", (4, 3, 3, 3), fixed(100.0)),
    Case("mmcv", "uniform(a=0.0, b=1.0)", KERNEL, interval(0.0, 1.0)),
    Case(
        "mmcv",
        "kaiming_normal(mode=fan_out, nonlinearity=relu)",
        KERNEL,
        normal(sqrt(2 / KERNEL_OUT)),
    ),
    Case("mmcv", "kaiming_normal(a=100.0)", MATRIX, normal(sqrt(2 / 10_001 / 300))),
    Case(
        "mmcv",
        "kaiming_uniform(a=1.0, mode=fan_in, nonlinearity=leaky_relu)",
        KERNEL,
        uniform(sqrt(1 / KERNEL_IN)),
    ),
]

CASES = [*TORCH, *KERAS, *JAX, *MMCV]
