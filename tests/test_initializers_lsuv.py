"""lsuv: outputs of unit variance on the batch, found in one pass, as the slow loop finds them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from fitted_models import CNN_BATCH, PLAIN_BATCH, cnn, encoder, make, normal, plain, raw
from torch import Tensor, nn

import fanin
from fanin.errors import FitError

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def measure_outputs(model: nn.Module, batch: Any) -> dict[str, float]:
    """The std of what each layer puts out, dropout off, batch normalization on the batch."""
    copied, found = copy.deepcopy(model), dict[str, float]()
    for name, module in copied.named_modules():
        module.training = not isinstance(module, nn.Dropout)
        if isinstance(module, LAYERS):

            def note(module: nn.Module, args: object, output: Tensor, name: str = name) -> None:
                found.setdefault(name, float(output.detach().double().std(correction=0)))

            module.register_forward_hook(note)
    with torch.no_grad():
        copied(batch)
    return found


def fit(model: nn.Module, batch: Any, spec: str = "lsuv", **options: Any) -> fanin.Record:
    return fanin.initialize(model, spec, seed=0, batch=batch, **options)


def test_hidden_layers_have_unit_variance_and_the_last_stays_orthonormal() -> None:
    model = cnn()
    fit(model, CNN_BATCH)
    *hidden, last = measure_outputs(model, CNN_BATCH).values()
    assert all(abs(std - 1) < 0.1 for std in hidden)
    weight = model[9].weight.detach()
    assert torch.allclose(weight @ weight.T, torch.eye(10), atol=1e-5)
    assert abs(last - 1) > 0.1  # or the exemption would not show
    assert all(not one.any() for name, one in model.named_parameters() if name == "0.bias")


def test_last_true_scales_the_last_layer_too() -> None:
    model = cnn()
    fit(model, CNN_BATCH, "lsuv(last=true, tolerance=0.001)")
    assert all(abs(std - 1) < 0.001 for std in measure_outputs(model, CNN_BATCH).values())


def test_another_std_is_reached() -> None:
    model = plain()
    fit(model, PLAIN_BATCH, "lsuv(std=0.5, tolerance=0.01)")
    *hidden, _ = measure_outputs(model, PLAIN_BATCH).values()
    assert all(abs(std - 0.5) < 0.01 for std in hidden)


def test_one_pass_gives_what_the_papers_loop_over_layers_gives() -> None:
    """A pass per layer and try, as the paper has it, from the same orthonormal weights."""
    fast, slow = plain(), plain()
    fit(fast, PLAIN_BATCH)
    fanin.initialize(slow, "orthogonal", seed=0)
    names = [name for name, one in slow.named_modules() if isinstance(one, nn.Linear)]
    for name in names[:-1]:
        for _ in range(10):
            std = measure_outputs(slow, PLAIN_BATCH)[name]
            if abs(std - 1) < 0.1:
                break
            slow.get_submodule(name).weight.data /= std
    for name, one in fast.named_parameters():
        assert torch.allclose(one, slow.get_parameter(name), rtol=1e-5, atol=1e-7), name


def test_a_hundred_layers_of_tanh_keep_their_signal() -> None:
    model = make(
        lambda: nn.Sequential(
            *(one for _ in range(100) for one in (nn.Linear(30, 30), nn.Tanh())), nn.Linear(30, 2)
        )
    )
    batch = normal(64, 30)
    fit(model, batch, "lsuv(tolerance=0.01)")
    *hidden, _ = measure_outputs(model, batch).values()
    assert len(hidden) == 100
    assert all(abs(std - 1) < 0.01 for std in hidden)


class Backwards(nn.Module):
    """Layers are registered in the opposite order of their use; one is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(20, 3)
        self.shared = nn.Linear(20, 20)
        self.first = nn.Linear(24, 20)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(3 * x).relu()
        h = self.shared(h).relu() * 5
        out: Tensor = self.last(self.shared(h))
        return out


def test_layers_come_in_the_order_of_use_and_a_shared_one_is_scaled_at_its_first() -> None:
    model = make(Backwards)
    record = fit(model, normal(64, 24))
    stds = measure_outputs(model, normal(64, 24))  # of the first call of each
    assert stds["first"] == pytest.approx(1, abs=1e-4)
    assert stds["shared"] == pytest.approx(1, abs=1e-4)
    assert (record["shared.weight"].fitted or "").count("scaled by") == 1
    assert "last layer" in record["last.weight"].fitted


def test_raw_parameters_are_scaled_and_recurrent_layers_are_not() -> None:
    model = raw()
    record = fit(model, PLAIN_BATCH, "lsuv(tolerance=0.01)")
    with torch.no_grad():
        first = PLAIN_BATCH @ model.first
        second = nn.functional.linear(nn.functional.gelu(first), model.second)
    assert float(first.std()) == pytest.approx(1, abs=0.01)
    assert float(second.std()) == pytest.approx(1, abs=0.01)
    hidden = model.rnn.weight_hh_l0.detach()[:16]
    assert torch.allclose(hidden @ hidden.T, torch.eye(16), atol=1e-5)
    assert "recurrent" in record["rnn.weight_ih_l0"].fitted
    assert "last layer" in record["one.weight"].fitted
    assert "last layer" in record["other.weight"].fitted


def test_each_map_of_attention_is_a_layer() -> None:
    attention = make(lambda: nn.MultiheadAttention(24, 3, batch_first=True))
    model = make(lambda: nn.Sequential(nn.Linear(24, 24), Attending(attention), nn.Linear(24, 2)))
    batch = 2 * normal(16, 7, 24)
    record = fit(model, batch, "lsuv(tolerance=0.01)")
    with torch.no_grad():
        entering = model[0](batch)
        maps = (entering @ attention.in_proj_weight.T).chunk(3, dim=-1)
        out = attention(entering, entering, entering)[0]
    for one in (*maps, out):
        assert float(one.std()) == pytest.approx(1, abs=0.01)
    assert [part in record["1.inner.in_proj_weight"].fitted for part in ("q:", "k:", "v:")] == [
        True,
        True,
        True,
    ]


class Attending(nn.Module):
    def __init__(self, inner: nn.MultiheadAttention) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x, x, x)[0]
        return out


def test_torchs_encoder_is_scaled_through() -> None:
    model = encoder()
    record = fit(model, normal(16, 5, 16))
    for one in record.parameters:
        if one.role == "weight":
            assert "std of its output" in one.fitted or "last layer" in one.fitted


def test_transposed_convolutions_are_scaled() -> None:
    model = make(
        lambda: nn.Sequential(
            nn.ConvTranspose2d(4, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 5, 2), nn.Flatten()
        )
    )
    fit(model, normal(16, 4, 5, 5), "lsuv(last=true, tolerance=0.01)")
    stds = measure_outputs(model, normal(16, 4, 5, 5))
    assert all(abs(std - 1) < 0.01 for std in stds.values())


def test_dropout_does_not_matter() -> None:
    one, other = cnn(), cnn()
    other[8].p = 0.9
    fit(one, CNN_BATCH)
    fit(other, CNN_BATCH)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_layer_that_is_within_the_tolerance_stays_orthonormal() -> None:
    model = plain()
    fit(model, PLAIN_BATCH, "lsuv(tolerance=1000.0)")
    weight = model[2].weight.detach()
    assert torch.allclose(weight @ weight.T, torch.eye(40), atol=1e-5)


def test_a_batch_of_one_number_has_no_variance_and_is_refused() -> None:
    model = make(lambda: nn.Sequential(nn.Linear(3, 1), nn.Tanh(), nn.Linear(1, 2)))
    with pytest.raises(FitError, match="several samples"):
        fit(model, normal(1, 3))


def test_a_rule_by_pattern_scales_its_own_layers_only() -> None:
    model = plain()
    record = fanin.initialize(
        model, {"2.*": "lsuv"}, default="he_normal", seed=0, batch=PLAIN_BATCH
    )
    assert record["2.weight"].fitted
    assert not record["4.weight"].fitted
    assert measure_outputs(model, PLAIN_BATCH)["2"] == pytest.approx(1, abs=0.1)
