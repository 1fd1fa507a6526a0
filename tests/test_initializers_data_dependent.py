"""data_dependent: units of mean β and variance 1 on the batch; layers of one relative gradient."""

from __future__ import annotations

import math

import pytest
import torch
from fitted_models import CNN_BATCH, PLAIN_BATCH, cnn, make, normal, plain
from torch import Tensor, nn

import fanin
from fanin import seeds
from fanin.errors import FitError


def fit(model: nn.Module, batch: Tensor, spec: str) -> fanin.Record:
    return fanin.initialize(model, spec, seed=0, batch=batch)


def collect(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """What each layer puts out, units first: (units, numbers)."""
    found: dict[str, Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            axis = 1 if isinstance(module, nn.Conv2d) else -1

            def note(
                module: nn.Module, args: object, output: Tensor, name: str = name, axis: int = axis
            ) -> None:
                found[name] = output.detach().double().movedim(axis, 0).flatten(1)

            handles.append(module.register_forward_hook(note))
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_every_unit_has_the_mean_and_unit_variance(bias: float) -> None:
    model = cnn()
    fit(model, CNN_BATCH, f"data_dependent(bias={bias}, iterations=0)")
    outputs = collect(model, CNN_BATCH)
    assert len(outputs) == 4
    for name, numbers in outputs.items():
        assert torch.allclose(numbers.std(1, correction=0), torch.ones(1).double(), atol=1e-4), name
        if model.get_submodule(name).bias is not None:
            assert torch.allclose(numbers.mean(1), torch.full((1,), bias).double(), atol=1e-4), name


def rates(model: nn.Module, batch: Tensor) -> list[float]:
    """rms(gradient) / rms(weight) of each layer for a linear loss, written down once more."""
    output = model(batch)
    eta = seeds.standard_normal(tuple(output.shape), seeds.make_generator(5, "other"))
    weights = [one for one in model.parameters() if one.dim() > 1]
    grads = torch.autograd.grad((output * eta).sum(), weights)
    return [
        float((grad.square().mean().sqrt() / one.square().mean().sqrt()).detach())
        for grad, one in zip(grads, weights, strict=True)
    ]


def test_layers_of_a_chain_change_at_one_rate_after_one_iteration() -> None:
    """Another random loss than the one that was used, so rates agree up to its chance."""
    without, model = plain(8), plain(8)
    fit(without, PLAIN_BATCH, "data_dependent(iterations=0)")
    record = fit(model, PLAIN_BATCH, "data_dependent")
    before, after = rates(without, PLAIN_BATCH), rates(model, PLAIN_BATCH)
    assert max(before) / min(before) > 3
    assert max(after) / min(after) < 1.4
    assert "in 1 iterations" in record["0.weight"].fitted


def test_in_a_chain_of_relu_the_outputs_stay_as_they_were() -> None:
    """The factors multiply to 1, and biases follow: the function is the same."""
    without, model = plain(8), plain(8)
    fit(without, PLAIN_BATCH, "data_dependent(bias=0.1, iterations=0)")
    fit(model, PLAIN_BATCH, "data_dependent(bias=0.1)")
    factors = [
        float((one.norm() / other.norm()).detach())
        for one, other in zip(model.parameters(), without.parameters(), strict=True)
        if one.dim() > 1
    ]
    assert max(factors) > 1.2
    assert math.prod(factors) == pytest.approx(1, abs=0.01)
    assert torch.allclose(model(PLAIN_BATCH), without(PLAIN_BATCH), atol=0.02)


def test_rates_agree_across_normalization_too() -> None:
    model = make(
        lambda: nn.Sequential(
            nn.Linear(24, 30),
            nn.LayerNorm(30),
            nn.ReLU(),
            nn.Linear(30, 20),
            nn.Tanh(),
            nn.Linear(20, 4),
        )
    )
    fit(model, PLAIN_BATCH, "data_dependent")
    found = rates(model, PLAIN_BATCH)
    assert max(found) / min(found) < 1.6  # by chance of the other loss


def test_dead_units_are_named_and_counted() -> None:
    model = plain()
    batch = PLAIN_BATCH.clone()
    batch[:] = batch[:1]
    with pytest.raises(FitError, match=r"40 of 40 units of 0\.weight are dead"):
        fit(model, batch, "data_dependent")


def test_one_sample_is_refused() -> None:
    with pytest.raises(FitError, match="several samples"):
        fit(plain(), normal(1, 24), "data_dependent")


def test_a_branch_that_no_gradient_reaches_keeps_its_unit_variance() -> None:
    class Closed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.last = nn.Linear(24, 24), nn.Linear(24, 24), nn.Linear(24, 3)
            self.gate = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            h = self.one(x)
            out: Tensor = self.last(h + self.gate * self.two(h))
            return out

    model = make(Closed)
    record = fit(model, PLAIN_BATCH, "data_dependent")
    assert "then multiplied" not in record["two.weight"].fitted
    assert "then multiplied" in record["one.weight"].fitted


def test_units_are_the_columns_where_a_weight_counts_inputs_first() -> None:
    """GPT-2 in transformers keeps (inputs, outputs), and packs q, k and v."""
    transformers = pytest.importorskip("transformers")
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 30, "n_positions": 12}
    model = make(lambda: transformers.GPT2Model(transformers.GPT2Config(**sizes))).eval()
    tokens = torch.arange(96).reshape(8, 12) % 29
    fanin.initialize(
        model, "data_dependent(iterations=0)", seed=0, batch={"input_ids": tokens},
    )  # fmt: skip
    found: dict[str, Tensor] = {}
    for number, block in enumerate(model.h):
        for name, module in {"attn": block.attn.c_attn, "mlp": block.mlp.c_fc}.items():
            module.register_forward_hook(
                lambda module, args, output, key=f"{number}.{name}": found.update({key: output})
            )
    with torch.no_grad():
        model(tokens)
    assert {key: output.shape[-1] for key, output in found.items()} == {
        "0.attn": 48, "0.mlp": 64, "1.attn": 48, "1.mlp": 64,
    }  # fmt: skip
    for key, output in found.items():
        std = output.double().flatten(0, 1).std(0, correction=0)
        assert torch.allclose(std, torch.ones_like(std), atol=1e-3), key


def test_a_layer_without_units_of_its_own_weights_is_scaled_as_one() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.pair = nn.Linear(24, 6), nn.Bilinear(6, 6, 5, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            out: Tensor = self.pair(h, h)
            return out

    model = make(Pair)
    fit(model, PLAIN_BATCH, "data_dependent(iterations=0)")
    assert float(model(PLAIN_BATCH).detach().std(correction=0)) == pytest.approx(1.0, abs=1e-4)
