"""Gains: the table, closed forms against quadrature, and signals sent through 50 random layers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from combinations import for_each
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fanin import seeds
from fanin.errors import SpecError, UnknownName, UsageError
from fanin.gains import Moments, calculate_gain, critical_gain, gain, gain_rules, moments
from fanin.gains.activation_functions import resolve_activation

quad = pytest.importorskip("scipy.integrate").quad

# E f, E f², forward, centred and backward gain at unit variance, by a quadrature that is not
# fanin's; to 4 digits.
TABLE = {
    "relu": (0.3989, 0.5000, 1.4142, 1.7129, 1.4142),
    "leaky_relu(negative_slope=0.2)": (0.3192, 0.5200, 1.3868, 1.5465, 1.3868),
    "tanh": (0, 0.3943, 1.5925, 1.5925, 1.4674),
    "sigmoid": (0.5, 0.2934, 1.8462, 4.8013, 4.7226),
    "softsign": (0, 0.1830, 2.3375, 2.3375, 2.0958),
    "elu": (0.1605, 0.6449, 1.2452, 1.2708, 1.2234),
    "selu": (0, 1.0, 1.0, 1.0, 0.9660),
    "gelu": (0.2821, 0.4252, 1.5335, 1.7009, 1.4811),
    "silu": (0.2066, 0.3558, 1.6765, 1.7872, 1.6233),
    "mish": (0.2404, 0.4523, 1.4868, 1.5920, 1.4448),
    "softplus": (0.8061, 0.9212, 1.0419, 1.9191, 1.8462),
    "hardswish": (0.1662, 0.3316, 1.7367, 1.8139, 1.6701),
    "hardtanh": (0, 0.5161, 1.3920, 1.3920, 1.2103),
    "sin": (0, 0.4323, 1.5209, 1.5209, 1.3273),
    "relu2": (0.5, 1.5, 0.8165, 0.8944, 0.7071),
    "linear": (0, 1, 1, 1, 1),
}

# Closed forms in fanin, as spec of a parameter p, and the same function for the quadrature.
CLOSED: dict[str, tuple[Callable[[float], str], Callable[[Tensor, float], Tensor]]] = {
    "linear": (lambda p: "linear", lambda x, p: x * 1.0),
    "relu": (lambda p: "relu", lambda x, p: x.clamp(min=0)),
    "leaky_relu": (
        lambda p: f"leaky_relu(negative_slope={p})",
        lambda x, p: torch.where(x > 0, x, p * x),
    ),
    "negative slope": (
        lambda p: f"leaky_relu(negative_slope=-{p})",
        lambda x, p: torch.where(x > 0, x, -p * x),
    ),
    "prelu": (lambda p: f"prelu(weight={p})", lambda x, p: torch.where(x > 0, x, p * x)),
    "relu6": (lambda p: "relu6", lambda x, p: x.clamp(0, 6)),
    "relu2": (lambda p: "relu2", lambda x, p: x.clamp(min=0) ** 2),
    "elu": (
        lambda p: f"elu(alpha={p})",
        lambda x, p: torch.where(x > 0, x, p * torch.expm1(x.clamp(max=0))),
    ),
    "selu": (lambda p: "selu", lambda x, p: F.selu(x)),
    "gelu": (lambda p: "gelu", lambda x, p: x * torch.special.ndtr(x)),
    "hardtanh": (
        lambda p: f"hardtanh(min_val=-{p}, max_val={2 * p})",
        lambda x, p: x.clamp(-p, 2 * p),
    ),
    "hardtanh of one side": (
        lambda p: f"hardtanh(min_val={p}, max_val={3 * p})",
        lambda x, p: x.clamp(p, 3 * p),
    ),
    "hardswish": (lambda p: "hardswish", lambda x, p: x * (x + 3).clamp(0, 6) / 6),
    "sin": (lambda p: f"sin(omega={10 * p})", lambda x, p: torch.sin(10 * p * x)),
}

# Without a closed form: the same formula in Python's floats.
FORMULAS: dict[str, Callable[[float], float]] = {
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "logsigmoid": lambda x: -math.log1p(math.exp(-x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "softplus(beta=2.0)": lambda x: math.log1p(math.exp(2 * x)) / 2,
    "celu(alpha=0.5)": lambda x: max(x, 0.0) + min(0.0, 0.5 * math.expm1(2 * x)),
    "gelu(approximate=tanh)": lambda x: (
        x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "hardsigmoid": lambda x: min(max(x / 6 + 0.5, 0.0), 1.0),
    "tanhshrink": lambda x: x - math.tanh(x),
    "hardshrink(lambd=0.7)": lambda x: x if abs(x) > 0.7 else 0.0,
    "softshrink(lambd=0.7)": lambda x: math.copysign(max(abs(x) - 0.7, 0.0), x),
}


def close(found: Moments, expected: Moments, tolerance: float) -> bool:
    """Whether all three agree, relative to the size of f (the mean may be 0) and of f'."""
    size = math.sqrt(expected.second)
    return (
        abs(found.mean - expected.mean) <= tolerance * size
        and abs(found.second - expected.second) <= tolerance * expected.second
        and abs(found.slope2 - expected.slope2) <= tolerance * expected.slope2
    )


@for_each(("spec", "row"), TABLE.items(), ids=TABLE)
def test_moments_and_gains_are_those_of_the_table(spec: str, row: tuple[float, ...]) -> None:
    found = moments(spec)
    values = (
        found.mean,
        found.second,
        gain(spec),
        gain(spec, center=True),
        gain(spec, direction="backward"),
    )
    assert values == pytest.approx(row, abs=5.1e-5)


@given(name=st.sampled_from(sorted(CLOSED)), p=st.floats(0.05, 3), variance=st.floats(0.02, 50))
@settings(deadline=None, max_examples=150)
def test_a_closed_form_is_what_quadrature_finds(name: str, p: float, variance: float) -> None:
    spec, function = CLOSED[name]
    expected = moments(lambda x: function(x, p), variance=variance)
    assert close(moments(spec(p), variance=variance), expected, 1e-10)


@for_each(
    ("name", "variance"),
    # The quadrature does not follow millions of oscillations, and says so.
    [(name, v) for name in CLOSED for v in (1e-8, 1e-3, 1e4, 1e12) if (name, v) != ("sin", 1e12)],
)
def test_a_closed_form_keeps_its_accuracy_at_extreme_variances(name: str, variance: float) -> None:
    spec, function = CLOSED[name]
    expected = moments(lambda x: function(x, 0.5), variance=variance)
    assert close(moments(spec(0.5), variance=variance), expected, 1e-10)


@for_each("variance", [1e-300, 1e300])
@for_each("spec", ["relu", "tanh", "gelu", "hardswish", "hardtanh", "elu", "sin", "silu"])
def test_moments_are_finite_at_any_variance_that_a_float_can_hold(
    spec: str, variance: float
) -> None:
    found = moments(spec, variance=variance)
    assert all(map(math.isfinite, (found.mean, found.second, found.slope2)))


def test_a_closed_form_of_another_parameter_would_be_seen() -> None:
    assert not close(moments("elu(alpha=0.5)"), moments(lambda x: F.elu(x, 0.500001)), 1e-10)


@for_each("variance", [0.3, 1.0, 4.0])
@for_each("spec", FORMULAS)
def test_quadrature_agrees_with_scipy(spec: str, variance: float) -> None:
    function, std = FORMULAS[spec], math.sqrt(variance)

    def expected(power: int) -> float:
        kinks = [kink / std for kink in (-3, -0.7, 0, 0.7, 3)]
        value, _ = quad(
            lambda z: function(std * z) ** power * math.exp(-z * z / 2) / math.sqrt(math.tau),
            -12,
            12,
            points=kinks,
            epsabs=1e-13,
            epsrel=1e-13,
            limit=400,
        )
        return value

    found = moments(spec, variance=variance)
    assert (found.mean, found.second) == pytest.approx(
        (expected(1), expected(2)), rel=1e-10, abs=1e-11
    )


def test_gelu_has_the_moments_of_its_closed_form_at_unit_variance() -> None:
    third, root = 1 / 3, 2 * math.pi * math.sqrt(3)
    expected = Moments(1 / (2 * math.sqrt(math.pi)), third + 1 / root, third + 4 / 3 / root)
    assert close(moments("gelu"), expected, 1e-14)
    assert close(moments(F.gelu), expected, 1e-12)


@pytest.mark.parametrize(("spec", "gamma"), [("relu", 1.7129), ("gelu", 1.7009), ("silu", 1.7872)])
def test_the_centred_gains_are_the_gammas_of_nf_nets(spec: str, gamma: float) -> None:
    assert gain(spec, center=True) == pytest.approx(gamma, abs=1e-4)


def test_the_centred_gain_of_relu_is_the_published_formula() -> None:
    assert gain("relu", center=True) == pytest.approx(math.sqrt(2 / (1 - 1 / math.pi)), rel=1e-14)


@pytest.mark.parametrize("spec", ["relu", "leaky_relu(negative_slope=0.3)", "prelu", "linear"])
def test_forward_and_backward_agree_for_rectifiers(spec: str) -> None:
    assert gain(spec) == pytest.approx(gain(spec, direction="backward"), rel=1e-14)


@for_each("spec", ["tanh", "sigmoid", "gelu", "silu", "mish", "elu", "selu", "softplus", "sin"])
def test_forward_and_backward_differ_for_smooth_activations(spec: str) -> None:
    assert abs(gain(spec) / gain(spec, direction="backward") - 1) > 0.01


# Activations as modules and functions.


@pytest.mark.parametrize(
    ("module", "spec"),
    [
        (nn.Identity(), "identity"),
        (nn.ReLU(inplace=True), "relu"),
        (nn.LeakyReLU(0.2), "leaky_relu(negative_slope=0.2)"),
        (nn.PReLU(init=0.5), "prelu(weight=0.5)"),
        (nn.ELU(0.5), "elu(alpha=0.5)"),
        (nn.CELU(0.5), "celu(alpha=0.5)"),
        (nn.GELU(), "gelu(approximate=none)"),
        (nn.GELU(approximate="tanh"), "gelu(approximate=tanh)"),
        (nn.SiLU(), "swish"),
        (nn.Softplus(beta=2, threshold=3), "softplus(beta=2, threshold=3)"),
        (nn.Hardtanh(-0.5, 2), "hardtanh(min_val=-0.5, max_val=2)"),
        (nn.ReLU6(), "hardtanh(min_val=0, max_val=6)"),
        (nn.Hardshrink(0.3), "hardshrink(lambd=0.3)"),
        (nn.Softshrink(0.3), "softshrink(lambd=0.3)"),
        (nn.Tanhshrink(), "tanhshrink"),
    ],
    ids=str,
)
def test_a_module_with_its_parameters_is_the_spec_that_names_it(
    module: nn.Module, spec: str
) -> None:
    assert moments(module, variance=1.7) == moments(spec, variance=1.7)


def test_a_subclass_is_what_its_own_forward_computes() -> None:
    class Doubled(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    assert gain(Doubled()) == pytest.approx(math.sqrt(2) / 2, rel=1e-10)


def test_a_prelu_of_several_slopes_counts_the_mean_of_their_squares() -> None:
    module = nn.PReLU(3)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([-0.5, 0.25, 1.0]))
    square = (0.25 + 0.0625 + 1) / 3
    expected = Moments((1 - 0.25) / math.sqrt(math.tau), (1 + square) / 2, (1 + square) / 2)
    assert close(moments(module), expected, 1e-14)
    assert critical_gain(module).gain == pytest.approx(math.sqrt(2 / (1 + square)))
    assert moments("prelu(weight=[-0.5, 0.25, 1.0])") == moments(module)


def test_a_function_and_a_module_of_another_kind_are_integrated() -> None:
    expected = moments("tanh")
    assert close(moments(torch.tanh), expected, 1e-14)
    assert close(moments(nn.Sequential(nn.Identity(), nn.Tanh())), expected, 1e-14)
    assert close(moments(lambda x: x.tanh_()), expected, 1e-14)


def test_a_kink_at_an_unusual_place_costs_no_accuracy() -> None:
    cut, density = 0.3, math.exp(-0.045) / math.sqrt(math.tau)
    above = math.erfc(cut / math.sqrt(2)) / 2
    expected = Moments(density - cut * above, (1 + cut * cut) * above - cut * density, above)
    assert close(moments(lambda x: (x - cut).relu()), expected, 1e-10)


@given(cut=st.floats(-3, 3), variance=st.floats(0.1, 5))
@example(cut=2.04, variance=2.875)  # next to the end of a panel
@example(cut=3.0, variance=0.1)  # the function is 0 up to 9.5 standard deviations
@settings(deadline=None, max_examples=25)
def test_a_kink_is_found_wherever_it_is(cut: float, variance: float) -> None:
    found = moments(lambda x: (x - cut).relu(), variance=variance)
    assert found.slope2 == pytest.approx(math.erfc(cut / math.sqrt(2 * variance)) / 2, rel=1e-10)


def test_a_function_that_grows_nearly_too_fast_has_its_moments() -> None:
    # E exp(a·z²)² = 1/√(1 − 4a): most of it lies beyond 5 standard deviations of z.
    found = moments(lambda x: (0.24 * x * x).exp())
    assert found.second == pytest.approx(5, rel=1e-10)


def test_a_jump_has_its_moments_and_no_slope() -> None:
    found = moments(lambda x: torch.sign(x - 0.3))
    assert found.second == pytest.approx(1, rel=1e-12)
    assert found.mean == pytest.approx(math.erfc(0.3 / math.sqrt(2)) - 1, abs=1e-10)
    assert found.slope2 == 0


def test_a_fast_oscillation_is_resolved() -> None:
    assert close(moments(lambda x: torch.sin(3000 * x)), moments("sin(omega=3000.0)"), 1e-10)


def test_a_function_in_float32_is_accurate_to_a_millionth() -> None:
    assert close(moments(lambda x: x.float().tanh()), moments("tanh"), 1e-6)


def test_a_module_stays_as_it_was() -> None:
    module = nn.Sequential(nn.PReLU(init=0.3), nn.Dropout(0.5).eval(), nn.Tanh())
    module.train()
    module[1].eval()
    before, modes = copy.deepcopy(module.state_dict()), [part.training for part in module.modules()]
    gain(module)
    critical_gain(module)
    assert [part.training for part in module.modules()] == modes
    assert all(
        torch.equal(value, before[key]) and value.dtype == torch.float32
        for key, value in module.state_dict().items()
    )
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in module.parameters()
    )


def test_a_module_is_read_anew_each_time() -> None:
    module = nn.PReLU(init=0.0)
    assert gain(module) == pytest.approx(math.sqrt(2))
    with torch.no_grad():
        module.weight.fill_(1.0)
    assert gain(module) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, lambda: torch.device("meta")]
)
def test_the_callers_mode_changes_nothing(mode: Callable[[], torch.no_grad]) -> None:
    expected = moments(torch.tanh), critical_gain(torch.tanh), gain(nn.Sequential(nn.PReLU()))
    with mode():
        module = nn.Sequential(nn.PReLU(device="cpu"))
        assert (moments(torch.tanh), critical_gain(torch.tanh), gain(module)) == expected


def test_the_default_dtype_changes_nothing_and_is_not_changed() -> None:
    expected = moments(torch.tanh)
    torch.set_default_dtype(torch.float16)
    try:
        assert moments(torch.tanh) == expected
        assert torch.get_default_dtype() == torch.float16
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_moments_of_a_named_activation_are_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = moments("mish", variance=1.25)
    monkeypatch.setattr(gain_rules, "integrate_moments", lambda *_: pytest.fail("computed again"))
    assert moments(nn.Mish(), variance=1.25) == expected


# Critical gains.


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("tanh", 1),
        ("softsign", 1),
        ("hardtanh", 1),
        ("linear", 1),
        ("sin", 1),
        ("sin(omega=30.0)", 1 / 30),
        (nn.Tanh(), 1),
        (torch.erf, math.sqrt(math.pi) / 2),
        (torch.atan, 1),
        (lambda x: -2 * torch.tanh(x), 1 / 2),
        (lambda x: x.relu() - (-x).relu(), 1),
    ],
)
def test_an_odd_activation_is_critical_at_the_inverse_of_its_slope_at_zero(
    activation, expected: float
) -> None:
    found = critical_gain(activation)
    assert found.gain == pytest.approx(expected, rel=1e-12)
    assert found.depth is None
    assert "odd" in found.rule


@pytest.mark.parametrize(
    "activation",
    [
        torch.sinh,
        "tanhshrink",
        lambda x: x**3,
        lambda x: torch.tanh(x) + 1e-6 * x * x,
        "leaky_relu(negative_slope=0.9999)",
    ],
    ids=["steeper outside", "flat at 0", "cubic", "nearly odd", "nearly linear"],
)
def test_the_rule_for_odd_activations_is_not_used_where_it_does_not_hold(activation) -> None:
    assert "odd" not in critical_gain(activation).rule


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("relu", math.sqrt(2)),
        ("leaky_relu(negative_slope=0.2)", math.sqrt(2 / 1.04)),
        ("prelu", math.sqrt(2 / 1.0625)),
    ],
)
def test_a_rectifier_is_critical_at_any_depth(spec: str, expected: float) -> None:
    found = critical_gain(spec)
    assert found.gain == pytest.approx(expected, rel=1e-14)
    assert found.depth is None


@pytest.mark.parametrize(
    "spec", ["sigmoid", "elu", "selu", "gelu", "silu", "mish", "softplus", "hardswish", "relu2"]
)
def test_any_other_activation_is_critical_where_gradients_are_kept_at_unit_variance(
    spec: str,
) -> None:
    assert critical_gain(spec).gain == gain(spec, direction="backward")


# Signals sent through random networks: 50 layers of 512 units, 2 networks, 64 inputs of unit
# variance, zero biases. The second moment of one layer has a relative standard error of about
# √(5/512/2) = 7 % (relu; less where f is bounded). It adds up over the layers of a rectifier, whose
# map q → q forgets nothing, to a factor of √e^(50 · 5/512/2) ≈ 1.6, and does not where the map
# pulls back to a fixed point.

WIDTH, LAYERS, NETS = 512, 50, 2

STEADY = ["tanh", "sigmoid", "softsign", "elu", "selu", "softplus", "hardtanh", "sin"]
RECTIFIERS = ["relu", "leaky_relu(negative_slope=0.2)", "prelu"]
ODD = ["tanh", "softsign", "hardtanh", "sin"]
SHALLOW = ["gelu", "silu", "mish", "hardswish"]

Nets = list[tuple[Tensor, list[Tensor]]]


@pytest.fixture(scope="module")
def nets() -> Nets:
    """Inputs of shape (64, width) and one matrix of variance 1/width per layer, for each
    network.
    """
    found = []
    for net in range(NETS):
        inputs = seeds.standard_normal(
            (64, WIDTH), seeds.make_generator(0, "test gains", "inputs", net)
        )
        shape = (LAYERS, WIDTH, WIDTH)
        matrices = seeds.standard_normal(shape, seeds.make_generator(0, "test gains", net)).div_(
            math.sqrt(WIDTH)
        )
        found.append((inputs, list(matrices)))
    return found


def measured(nets: Nets, spec: str, factor: float, *, center: bool = False) -> Tensor:
    """The second moment of the pre-activations of each layer, the mean over units, inputs and
    networks.
    """
    function = resolve_activation(spec)
    total = torch.zeros(LAYERS)
    for h, matrices in nets:
        for layer, matrix in enumerate(matrices):
            weight = matrix - matrix.mean(1, keepdim=True) if center else matrix
            h = factor * F.linear(function(h), weight)
            total[layer] += h.square().mean()
    return total / NETS


def predicted(spec: str, factor: float) -> Tensor:
    """The same by mean-field theory."""
    q = [1.0]
    for _ in range(LAYERS):
        q.append(factor**2 * moments(spec, variance=q[-1]).second)
    return torch.tensor(q[1:])


def kept(found: Tensor, factor: float) -> bool:
    """Whether every layer, averaged with its neighbours, is within a factor of 1."""
    smooth = found.unfold(0, 5, 1).mean(1)
    return bool((smooth < factor).all() and (smooth > 1 / factor).all())


@pytest.mark.parametrize("spec", STEADY)
def test_the_forward_gain_keeps_unit_variance_through_50_layers(nets: Nets, spec: str) -> None:
    assert kept(measured(nets, spec, gain(spec)), 1.2)


@pytest.mark.parametrize("spec", STEADY)
def test_a_gain_that_is_a_fifth_too_large_does_not(nets: Nets, spec: str) -> None:
    assert not kept(measured(nets, spec, 1.2 * gain(spec)), 1.2)


@pytest.mark.parametrize("spec", RECTIFIERS)
def test_the_critical_gain_of_a_rectifier_keeps_the_second_moment_through_50_layers(
    nets: Nets, spec: str
) -> None:
    assert kept(measured(nets, spec, critical_gain(spec).gain), 2.5)


@pytest.mark.parametrize("planted", [0.97, 1.03, 1 / math.sqrt(2)])
@pytest.mark.parametrize("spec", RECTIFIERS)
def test_a_gain_that_is_a_little_wrong_does_not_keep_it(
    nets: Nets, spec: str, planted: float
) -> None:
    assert not kept(measured(nets, spec, planted * critical_gain(spec).gain), 2.5)


@pytest.mark.parametrize("spec", ODD)
def test_the_signal_of_an_odd_activation_falls_algebraically_as_theory_says(
    nets: Nets, spec: str
) -> None:
    """A power of depth of at most 2 leaves a quarter from layer 25 to 50; a gain that is a tenth
    too small 0.81^25 = 0.5 %.
    """
    factor = critical_gain(spec).gain
    found = measured(nets, spec, factor)
    assert torch.allclose(found, predicted(spec, factor), rtol=0.15)
    assert found[49] / found[24] > 0.2
    small = measured(nets, spec, 0.9 * factor)
    assert small[49] / small[24] < 0.02


@pytest.mark.parametrize("spec", SHALLOW)
def test_the_second_moment_leaves_its_interval_after_the_layers_that_are_said(
    nets: Nets, spec: str
) -> None:
    found = critical_gain(spec)
    assert found.depth is not None
    inside = (predicted(spec, found.gain) >= 0.5).long()
    assert inside.sum() == found.depth == inside.cumprod(0).sum()
    signal = measured(nets, spec, found.gain)
    assert signal[: found.depth - 1].min() > 0.5
    assert signal[found.depth + 3] < 0.5
    assert measured(nets, spec, 1.2 * found.gain)[found.depth - 1] > 2


@pytest.mark.parametrize("spec", SHALLOW)
def test_unit_variance_is_unstable_where_the_table_of_depths_is_short(
    nets: Nets, spec: str
) -> None:
    assert not kept(measured(nets, spec, gain(spec)), 2.5)


@pytest.mark.parametrize("spec", ["sigmoid", "softplus"])
def test_a_depth_of_zero_means_that_the_first_layer_leaves(nets: Nets, spec: str) -> None:
    found = critical_gain(spec)
    assert found.depth == 0
    assert measured(nets, spec, found.gain)[0] > 2


@pytest.mark.parametrize("spec", ["elu", "selu"])
def test_a_depth_of_none_means_that_the_second_moment_stays(nets: Nets, spec: str) -> None:
    found = critical_gain(spec)
    assert found.depth is None
    assert kept(measured(nets, spec, found.gain), 2)


def test_the_centred_gain_keeps_the_second_moment_under_centred_weights(nets: Nets) -> None:
    assert kept(measured(nets, "relu", gain("relu", center=True), center=True), 1.2)
    assert not kept(measured(nets, "relu", gain("relu"), center=True), 1.2)
    assert not kept(measured(nets, "relu", gain("relu", center=True)), 1.2)


def gradient(nets: Nets, spec: str, factor: float) -> float:
    """The second moment of gradients at the input over that at the output, of one network."""
    inputs, matrices = nets[0]
    function, h = resolve_activation(spec), inputs.clone().requires_grad_()
    leaf = h
    for matrix in matrices:
        h = factor * F.linear(function(h), matrix)
    up = seeds.standard_normal(tuple(h.shape), seeds.make_generator(0, "test gains", "gradient"))
    (found,) = torch.autograd.grad(h, leaf, up)
    return (found.square().mean() / up.square().mean()).item()


def test_gradients_of_tanh_explode_under_the_forward_gain_and_not_under_the_critical_one(
    nets: Nets,
) -> None:
    """Theory: (1.5925/1.4674)^(2 · 50) = 3600, and a power of depth."""
    assert gradient(nets, "tanh", gain("tanh")) > 500
    assert 1e-3 < gradient(nets, "tanh", critical_gain("tanh").gain) < 1


# What torch says.

TORCH_NAMES = [
    *(
        "linear",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
    ),
    *("sigmoid", "tanh", "relu", "leaky_relu", "selu"),
]


@for_each("param", [None, 0, 1, 0.0, 0.2, -0.5, math.sqrt(5)])
@for_each("name", TORCH_NAMES)
def test_calculate_gain_is_that_of_torch(name: str, param: float | None) -> None:
    assert calculate_gain(name, param) == nn.init.calculate_gain(name, param)


@for_each("param", [True, False, "0.2", math.nan, math.inf, 10**400, [0.2]])
def test_calculate_gain_takes_no_slope_that_is_no_finite_number(param: object) -> None:
    with pytest.raises(SpecError, match="negative slope"):
        calculate_gain("leaky_relu", param)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gelu", "identity", "ReLU", None, ["relu"]])
def test_calculate_gain_says_what_torch_knows_and_who_knows_more(name: object) -> None:
    with pytest.raises(UnknownName, match=r"knows linear, .* leaky_relu\. Use fanin\.gains\.gain"):
        calculate_gain(name)  # type: ignore[arg-type]


# Errors.


@pytest.mark.parametrize(
    ("activation", "text"),
    [
        (nn.Softmax(dim=-1), "Softmax is not an elementwise"),
        (nn.LogSoftmax(dim=0), "not an elementwise"),
        (nn.GLU(), "GLU is not an elementwise"),
        (nn.LayerNorm(()), "LayerNorm"),
        (nn.Dropout(0.5), "Dropout is not an elementwise.*eval mode"),
        (nn.RReLU(), "chance"),
        (nn.Flatten(), "Flatten cannot be computed"),
        ("softmax", "softmax is not an elementwise"),
        ("glu", "glu is not an elementwise"),
        (lambda x: x - x.mean(), "not an elementwise"),
        (lambda x: x.cumsum(0), "not an elementwise"),
        (lambda x: x.sum(), r"shape \(\)"),
        (lambda x: x > 0, "torch.bool"),
        (lambda x: 1.0, "received 1.0"),
        (lambda x: x + "a", "cannot be computed"),
        (torch.log, "not finite"),
        (lambda x: torch.sqrt(x * x) / x.floor(), "not finite"),
        (lambda x: (x * x).exp(), "grows too fast"),
        (lambda x: x.abs().sqrt(), "do not converge"),
        (lambda x: torch.cos(1e9 * x), "do not converge"),
        (lambda x: torch.from_numpy(np.sin(x.detach().numpy())), "cannot be differentiated"),
        (nn.ReLU, "not <class"),
        (3, "not 3"),
        (None, "not None"),
        (nn.PReLU(device="meta"), "PReLU cannot be read"),
        (nn.Sequential(nn.PReLU(device="meta")), "Sequential cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_activation_says_why(activation, text: str) -> None:
    for ask in (moments, gain, critical_gain):
        with pytest.raises(UsageError, match=f"(?s){text}"):
            ask(activation)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("gellu", "gelu"),
        ("swiish", "swish"),
        ("leaky_relu(slope=0.2)", "negative_slope"),
    ],
)
def test_an_unknown_name_or_option_offers_the_near_one(spec: str, text: str) -> None:
    with pytest.raises(UnknownName, match=text):
        gain(spec)


def test_an_activation_without_options_takes_none() -> None:
    with pytest.raises(SpecError, match="relu takes no options; received alpha"):
        gain("relu(alpha=1)")


@pytest.mark.parametrize(
    "spec",
    [
        "elu(alpha=true)",
        "elu(alpha=one)",
        "gelu(approximate=erf)",
        "prelu(weight=[])",
        "prelu(weight=[0.1, a])",
        "hardtanh(min_val=1, max_val=-1)",
        "leaky_relu(negative_slope=1e200)",
        "leaky_relu(0.2)",
        "",
    ],
)
def test_a_bad_option_is_an_error(spec: str) -> None:
    with pytest.raises(SpecError):
        gain(spec)


def test_a_bad_option_of_a_module_is_an_error() -> None:
    with pytest.raises(SpecError, match="negative_slope"):
        gain(nn.LeakyReLU(math.nan))


def test_an_option_that_torch_refuses_is_an_error() -> None:
    with pytest.raises(UsageError, match="softshrink cannot be computed"):
        gain("softshrink(lambd=-1.0)")


@pytest.mark.parametrize("variance", [0, -1.0, math.nan, math.inf, 10**400, True, "1", None])
def test_a_variance_is_a_finite_number_above_zero(variance: object) -> None:
    with pytest.raises(SpecError, match="variance must be"):
        moments("relu", variance=variance)  # type: ignore[arg-type]


def test_an_unknown_direction_is_an_error() -> None:
    with pytest.raises(UnknownName, match="forward"):
        gain("relu", direction="foward")  # type: ignore[arg-type]


def test_a_centred_backward_gain_is_an_error() -> None:
    with pytest.raises(UsageError, match="Leave center out"):
        gain("relu", direction="backward", center=True)


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda: gain(torch.zeros_like), "E f²"),
        (lambda: gain(lambda x: 0 * x), "E f²"),
        (lambda: gain("hardtanh(min_val=90, max_val=91)", center=True), "Var f"),
        (lambda: gain(torch.ones_like, center=True), "Var f"),
        (lambda: gain(lambda x: 1.3 + 0 * x, center=True), "Var f"),
        (lambda: gain(torch.sign, direction="backward"), "E f'²"),
        (lambda: critical_gain(torch.sign), "E f'²"),
        (lambda: critical_gain(torch.ones_like), "E f'²"),
    ],
)
def test_an_activation_whose_moment_is_zero_has_no_gain(
    ask: Callable[[], object], text: str
) -> None:
    with pytest.raises(SpecError, match=f"{text} .* is 0"):
        ask()


def test_a_constant_has_a_forward_gain() -> None:
    assert gain(lambda x: 2 + 0 * x) == pytest.approx(1 / 2)
