"""forget_gate and chrono: which slice of a bias they fill, what torch's own layers do with it, and
the law of chrono.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from initializer_cases import ATTENTION, GATE_BIASES, LAYOUTS, LSTM, VECTORS, filled, generator
from torch import Tensor, nn

from fanin import fans, initialize, initializers, seeds
from fanin.errors import FitError
from fanin.fans import Fans, WeightLayout, pack

integrate = pytest.importorskip(
    "scipy.integrate", reason="the moments are compared to scipy's integrals"
)
stats = pytest.importorskip("scipy.stats", reason="the laws come from scipy")

LAWS = ["forget_gate", "forget_gate(value=2.0)", "chrono(t_max=100.0)"]
LEVEL = 1e-4


def bias_of(spec: str, layout: WeightLayout) -> Tensor:
    return initializers.get(spec).sample(layout, generator())


def without_weights(make: Callable[[], nn.Module], spec: str) -> nn.Module:
    """A recurrent layer of zeros whose first bias is drawn, so that its gates do not depend on
    anything.
    """
    with seeds.preserve_torch_state(0):
        layer = make()
    layout = fans.describe_parameters(layer)["bias_ih"].layout
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.bias_ih.copy_(bias_of(spec, layout))
    return layer


def test_an_lstms_forget_gate_starts_at_the_value_and_all_else_at_zero() -> None:
    bias = bias_of("forget_gate(value=2.0)", GATE_BIASES["LSTM"])
    assert bias.tolist() == [0.0] * 8 + [2.0] * 8 + [0.0] * 16


def test_a_grus_update_gate_starts_at_the_value_and_all_else_at_zero() -> None:
    bias = bias_of("forget_gate(value=2.0)", GATE_BIASES["GRU"])
    assert bias.tolist() == [0.0] * 8 + [2.0] * 8 + [0.0] * 8


def test_torchs_lstm_forgets_at_the_rate_that_the_forget_gate_says() -> None:
    cell = without_weights(lambda: nn.LSTMCell(3, 5), "forget_gate(value=2.0)")
    state = torch.zeros(1, 5), torch.ones(1, 5)
    _, memory = cell(torch.randn(1, 3, generator=generator()), state)
    assert torch.allclose(memory, torch.full((1, 5), 1 / (1 + math.exp(-2))))


def test_torchs_gru_forgets_at_the_rate_that_the_update_gate_says() -> None:
    cell = without_weights(lambda: nn.GRUCell(3, 5), "forget_gate(value=2.0)")
    memory = cell(torch.randn(1, 3, generator=generator()), torch.ones(1, 5))
    assert torch.allclose(memory, torch.full((1, 5), 1 / (1 + math.exp(-2))))


@pytest.mark.parametrize(
    "make", [lambda: nn.LSTMCell(3, 500), lambda: nn.GRUCell(3, 500)], ids=["LSTM", "GRU"]
)
def test_memories_of_torchs_layers_last_from_two_steps_to_t_max(
    make: Callable[[], nn.Module],
) -> None:
    """The time in which a state decays to 1/e is -1/log f, about u + 1/2 steps for u ~ U[1, t_max -
    1]; 500 units.
    """
    cell = without_weights(make, "chrono(t_max=50.0)")
    lstm = isinstance(cell, nn.LSTMCell)
    ones = torch.ones(1, 500)
    after = cell(torch.zeros(1, 3), (ones, ones) if lstm else ones)
    kept = (after[1] if lstm else after).detach().flatten()
    steps = -1 / kept.log()
    assert 1 < steps.min().item() < 3
    assert 48 < steps.max().item() < 50
    assert steps.mean().item() == pytest.approx(25.5, rel=0.1)


@pytest.mark.parametrize("spec", LAWS)
def test_a_gate_is_found_by_its_name_in_any_order(spec: str) -> None:
    whole = WeightLayout((32,), Fans(6, 32))
    for order in ("ifco", "ofig", "gfio"):
        layout = pack(whole, dict.fromkeys(order, 8))
        bias = {part.name: part.of(bias_of(spec, layout)) for part in layout.parts}
        assert (bias["f"] > 0).all()
        assert all((bias[name] == 0).all() for name in order if name not in "fi")
        assert torch.equal(bias["i"], -bias["f"] if "chrono" in spec else torch.zeros(8))


@pytest.mark.parametrize("spec", LAWS)
def test_whatever_has_no_gates_becomes_zero_without_a_draw(spec: str) -> None:
    others = [
        *VECTORS.values(),
        *LAYOUTS.values(),
        LSTM["weight_ih_l0"].layout,
        ATTENTION["in_proj_bias"].layout,
    ]
    for layout in (*others, replace(GATE_BIASES["LSTM"], parts=())):
        g = generator()
        before = g.get_state()
        assert (initializers.get(spec).sample(layout, g) == 0).all()
        assert torch.equal(before, g.get_state())
        assert initializers.get(spec).intended_std(layout) == 0
    assert (filled(spec, torch.ones(12, 8)) == 0).all()


# --- the law of chrono
# -----------------------------------------------------------------------------


def wide(gates: str) -> WeightLayout:
    return pack(WeightLayout((250_000 * len(gates),), Fans(6, 1)), dict.fromkeys(gates, 250_000))


def follows(bias: np.ndarray, t_max: float) -> bool:
    """Whether a KS test at level 1e-4 lets the law stand in which exp(bias) ~ U[1, t_max - 1]."""
    assert bias.size == 250_000
    return bool(
        stats.ks_1samp(
            bias, lambda x: np.clip(np.expm1(x) / (t_max - 2), 0, 1), method="asymp"
        ).pvalue
        > LEVEL
    )


@pytest.mark.parametrize("t_max", [3.0, 100.0, 10_000.0])
@pytest.mark.parametrize("gates", ["ifgo", "rzn"])
def test_chrono_follows_its_law(gates: str, t_max: float) -> None:
    """n = 250,000 units; a t_max that is 3 % off, and a uniform bias of the same range, are
    caught.
    """
    layout = wide(gates)
    bias = bias_of(f"chrono(t_max={t_max})", layout)
    parts = {part.name: part.of(bias).double().numpy() for part in layout.parts}
    kept = parts["f" if "f" in gates else "z"]
    assert follows(kept, t_max)
    assert kept.min() >= 0
    assert kept.max() <= math.log(t_max - 1) + 1e-6
    assert not follows(kept, 2 + (t_max - 2) * 1.03)
    assert not follows(np.expm1(kept) / (t_max - 2) * math.log(t_max - 1), t_max)


def test_the_input_gate_is_the_negative_of_the_forget_gate_unit_by_unit() -> None:
    bias = bias_of("chrono(t_max=100.0)", GATE_BIASES["LSTM"])
    assert torch.equal(bias[:8], -bias[8:16])
    assert (bias[16:] == 0).all()


def test_chrono_grows_with_the_shared_normal_draw() -> None:
    layout = GATE_BIASES["LSTM"]
    z = seeds.standard_normal(layout.shape, generator())
    order = z[8:16].argsort()
    assert (bias_of("chrono(t_max=100.0)", layout)[8:16][order].diff() > 0).all()


@pytest.mark.parametrize("t_max", [2.001, 2.5, 3.0, 100.0, 1e6])
def test_the_intended_std_of_chrono_is_that_of_an_integral(t_max: float) -> None:
    moments = [
        integrate.quad(lambda u, p=power: math.log(u) ** p / (t_max - 2), 1, t_max - 1)[0]
        for power in (1, 2)
    ]
    mean, square = moments
    lstm, gru = (
        initializers.get(f"chrono(t_max={t_max})").intended_std(GATE_BIASES[name])
        for name in ("LSTM", "GRU")
    )
    assert lstm == pytest.approx(math.sqrt(square / 2), rel=1e-5)
    assert gru == pytest.approx(math.sqrt(square / 3 - (mean / 3) ** 2), rel=1e-5)


# --- what has no gates
# -----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", LAWS)
def test_a_bare_tensor_has_no_gates_and_the_error_says_what_to_do(spec: str) -> None:
    for tensor in (torch.ones(32), torch.ones(12, 8)):
        with pytest.raises(FitError) as caught:
            initializers.get(spec)(tensor, generator=generator())
        assert (tensor == 1).all()
        for says in (f"biases='{spec}'", "fanin.initialize(model", "split={'*.bias'", "'f': 64"):
            assert says in str(caught.value)


def test_what_the_error_says_works_on_a_layer_of_ones_own() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(nn.Linear(3, 8))
    sizes = {"i": 2, "f": 2, "g": 2, "o": 2}
    initialize(model, "orthogonal", biases="forget_gate", split={"*.bias": sizes}, seed=0)
    assert model[0].bias.tolist() == [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
