"""auto_init: each rule against a simulation of what it is about, and layers of unit variance."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from fitted_models import encoder, make, normal, raw
from torch import Tensor, nn

import fanin
from fanin import seeds
from fanin.errors import FitError, SpecError
from fanin.initializers import signal_rules
from fanin.initializers.signal_rules import MeanVariance

N = 400_000
"""Numbers of a simulation: the standard error of a mean is 0.0016 σ, of a variance 0.0022 σ² for
normal numbers, and at most 0.006 for those below. Tolerances are 0.02, more than three of them."""


def draw(mean: float, variance: float, seed: int = 0) -> Tensor:
    z = seeds.standard_normal((N,), seeds.make_generator(seed, "simulation"))
    return z.double() * math.sqrt(variance) + mean


def require_like(found: MeanVariance, numbers: Tensor) -> None:
    assert found.mean == pytest.approx(float(numbers.mean()), abs=0.02)
    assert found.variance == pytest.approx(float(numbers.var()), rel=0.03, abs=0.005)


class Layer(nn.Module):
    """Steps before one weighted layer."""

    def __init__(self, *steps: nn.Module, width: int = 8) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.layer = nn.Linear(width, 30)


class OneStep(Layer):
    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        out: Tensor = self.layer(x)
        return out


def read_entering(model: nn.Module, name: str = "layer.weight", **options: object) -> MeanVariance:
    """What the record says entered a layer."""
    record = fanin.initialize(model, "auto_init(mean=0.4, variance=1.7)", seed=0, **options)
    text = record[name].fitted or ""
    mean, variance = text.split("mean ")[1].split(", variance ")
    return MeanVariance(float(mean), float(variance))


ACTIVATIONS = [nn.ReLU(), nn.GELU(), nn.Tanh(), nn.Sigmoid(), nn.LeakyReLU(0.2), nn.Softplus()]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda one: type(one).__name__)
def test_activations_follow_their_quadrature(activation: nn.Module) -> None:
    found = read_entering(make(lambda: OneStep(activation)))
    require_like(found, activation(draw(0.4, 1.7)))


def test_two_activations_in_a_row_are_one_function() -> None:
    found = read_entering(make(lambda: OneStep(nn.ReLU(), nn.Tanh())))
    require_like(found, torch.tanh(F.relu(draw(0.4, 1.7))))


def test_what_lies_between_an_activation_and_the_next_is_taken_as_normal() -> None:
    first = signal_rules.measure(F.relu(draw(0.4, 1.7)))
    assert first is not None
    found = read_entering(make(lambda: OneStep(nn.ReLU(), nn.Dropout(0.0), nn.Tanh())))
    require_like(found, torch.tanh(draw(first.mean, first.variance, 1)))


def test_dropout_divides_what_it_keeps() -> None:
    found = read_entering(make(lambda: OneStep(nn.Dropout(0.3))))
    kept = seeds.standard_normal((N,), seeds.make_generator(1, "mask")) > -0.5244005  # P = 0.7
    require_like(found, draw(0.4, 1.7) * kept / 0.7)


@pytest.mark.parametrize("size", [2, 3])
def test_pooling_follows_independent_normal_numbers(size: int) -> None:
    numbers = draw(0.4, 1.7)[: N // size**2 * size**2].view(-1, size**2)
    for step, pooled in (
        (nn.AvgPool2d(size), numbers.mean(1)),
        (nn.MaxPool2d(size), numbers.amax(1)),
    ):
        found = read_entering(make(lambda step=step: OneStep(step)))  # type: ignore[misc]
        require_like(found, pooled)
    found = read_entering(make(lambda: OneStep(nn.GELU(), nn.MaxPool2d(size))))
    require_like(found, F.gelu(numbers).amax(1))


def test_the_largest_of_n_normal_numbers_has_its_known_moments() -> None:
    known = {1: (0.0, 1.0), 2: (1 / math.sqrt(math.pi), 1 - 1 / math.pi)}
    known[3] = (3 / (2 * math.sqrt(math.pi)), 1 + math.sqrt(3) / math.tau - 9 / (4 * math.pi))
    for count, (mean, variance) in known.items():
        found = signal_rules.describe_maximum(count)
        assert found == pytest.approx((mean, variance), abs=1e-8)


class Sums(Layer):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.layer(3 * x - y / 2 + 0.5)
        return out


class Products(Layer):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.layer(torch.relu(x) * y)
        return out


class Joins(Layer):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(torch.cat([torch.relu(x), x, x], dim=1))
        return out


def test_sums_products_and_constants_follow_independent_numbers() -> None:
    x, y = draw(0.4, 1.7), draw(0.4, 1.7, 1)
    require_like(read_entering(make(Sums)), 3 * x - y / 2 + 0.5)
    require_like(read_entering(make(Products)), torch.relu(x) * y)


def test_concatenation_averages_by_size() -> None:
    batch = (draw(0.4, 1.7)[: 8 * 4000].view(-1, 8)).float()
    found = read_entering(make(lambda: Joins(width=24)), batch=batch)
    require_like(found, torch.cat([torch.relu(batch), batch, batch], dim=1).double())


def test_without_a_batch_sizes_come_from_the_layers() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.layer = nn.Linear(4, 6), nn.Linear(6, 18), nn.Linear(24, 3)

        def forward(self, x: Tensor) -> Tensor:
            a = self.a(x)
            out: Tensor = self.layer(torch.cat([a, torch.relu(self.b(a))], dim=1))
            return out

    found = read_entering(make(Dense))
    x = draw(0.0, 1.0)
    joined = torch.cat([x[: N // 4], torch.relu(x[: 3 * N // 4])])
    require_like(found, joined)


@pytest.mark.parametrize(
    ("norm", "mean", "variance"),
    [
        (nn.LayerNorm(8), 0.2, 0.09),
        (nn.BatchNorm1d(8), 0.2, 0.09),
        (nn.GroupNorm(2, 8), 0.2, 0.09),
        (nn.RMSNorm(8), 0.3 * 0.4 / math.sqrt(1.86), 0.09 * 1.7 / 1.86),
    ],
    ids=lambda one: type(one).__name__,
)
def test_normalization_gives_scale_and_shift(norm: nn.Module, mean: float, variance: float) -> None:
    with torch.no_grad():
        norm.weight.fill_(0.3)
        if getattr(norm, "bias", None) is not None:
            norm.bias.fill_(0.2)
    record = fanin.initialize(
        make(lambda: OneStep(norm)),
        "auto_init(mean=0.4, variance=1.7)",
        seed=0,
        norms="keep",
    )
    text = record["layer.weight"].fitted
    assert f"mean {mean:.4g}, variance {variance:.4g}" in text


def test_glu_and_written_out_activations() -> None:
    class Written(Layer):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x * torch.sigmoid(1.7 * x))
            return out

    x, y = draw(0.4, 1.7), draw(0.4, 1.7, 1)
    require_like(read_entering(make(lambda: OneStep(nn.GLU()))), x * torch.sigmoid(y))
    require_like(read_entering(make(Written)), x * torch.sigmoid(1.7 * x))


class Mixed(nn.Module):
    """Several activations, pooling, dropout, a sum and a concatenation; wide."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 5)
        self.deep = nn.Conv2d(64, 128, 3, groups=2)
        self.one, self.two = nn.Linear(128, 256), nn.Linear(256, 256)
        self.head = nn.Linear(512, 200)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(F.relu(self.conv(x)), 2)
        h = F.gelu(self.deep(h)).flatten(1)
        h = torch.tanh(self.one(self.drop(h)))
        h = h + 0.5 * F.softplus(self.two(h))
        out: Tensor = self.head(torch.cat([h, F.elu(h)], dim=1)).softmax(-1)
        return out


def test_every_layer_of_a_mixed_model_puts_out_unit_variance() -> None:
    """n = 8 draws: one second moment varies by some 20 % (64 to 256 units that share the mean of
    their inputs), so the mean of eight by 7 %, and a mean of outputs by 0.03.
    """
    batch = 0.3 + 2 * normal(64, 3, 10, 10)
    found: dict[str, list[Tensor]] = {name: [] for name in ("conv", "deep", "one", "two", "head")}
    for seed in range(8):
        model = make(Mixed)
        fanin.initialize(model, "auto_init", seed=seed, batch=batch)
        for name, outputs in found.items():

            def note(
                module: nn.Module, args: object, output: Tensor, kept: list[Tensor] = outputs
            ) -> None:
                kept.append(output.detach().double())

            model.get_submodule(name).register_forward_hook(note)
        with torch.no_grad(), seeds.preserve_torch_state(1):
            model(batch)
    for name, outputs in found.items():
        together = torch.stack(outputs)
        assert len(outputs) == 8
        assert float(together.square().mean()) == pytest.approx(1, abs=0.25), name
        assert abs(float(together.mean())) < 0.1, name


def test_a_step_that_keeps_all_numbers_does_not_change_what_a_pool_finds() -> None:
    def pooled(*between: nn.Module) -> str:
        chain = make(
            lambda: nn.Sequential(
                nn.Conv2d(2, 40, 1), nn.ReLU(), *between, nn.MaxPool2d(2), nn.Conv2d(40, 8, 1)
            )
        )
        record = fanin.initialize(chain, "auto_init", seed=0)
        return record[f"{len(chain) - 1}.weight"].fitted or ""

    plain = pooled()
    assert pooled(nn.Dropout(0.0)) == plain
    assert pooled(nn.Identity(), nn.Flatten(2), nn.Unflatten(2, (6, 6))) == plain
    assert pooled(nn.Dropout(0.5)) != plain


def test_what_follows_the_last_layer_needs_no_formula() -> None:
    fanin.initialize(make(Mixed), "auto_init", seed=0)  # softmax at the end


def test_unknown_steps_are_named_without_a_batch_and_measured_with_one() -> None:
    model = make(raw)
    with pytest.raises(FitError, match=r"GRU: its gates have no formula.*Give batch="):
        fanin.initialize(model, "auto_init", seed=0)
    record = fanin.initialize(model, "auto_init", seed=0, batch=normal(256, 24))
    assert "orthogonal" in record["rnn.weight_hh_l0"].fitted
    found: list[Tensor] = []
    model.rnn.register_forward_hook(
        lambda module, args, output: found.append(output[0].detach().double())
    )
    with torch.no_grad():
        model(normal(256, 24))
    mean, variance = float(found[0].mean()), float(found[0].var(correction=0))
    assert f"mean {mean:.4g}, variance {variance:.4g}" in record["one.weight"].fitted


def test_a_layer_that_is_called_twice_is_scaled_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.layer = nn.Linear(40, 40), nn.Linear(40, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(self.shared(torch.relu(self.shared(x))))
            return out

    record = fanin.initialize(make(Twice), "auto_init", seed=0)
    assert record["shared.weight"].fitted.startswith("scaled by 1:")
    # E relu² = 1/2 enters the second call, so that its output has variance 1/2
    assert "mean 0, variance 0.5" in record["layer.weight"].fitted


def test_attention_is_measured_on_the_batch() -> None:
    model, batch = encoder(), 2 * normal(32, 5, 16)
    fanin.initialize(model, "auto_init", seed=0, batch=batch)
    layer = model[0].layers[0]
    with torch.no_grad():
        maps = (batch @ layer.self_attn.in_proj_weight.T).chunk(3, dim=-1)
        out = layer.self_attn.eval()(batch, batch, batch)[0]
    for one in maps:
        assert float(one.square().mean()) == pytest.approx(1, abs=0.25)
    assert float(out.square().mean()) == pytest.approx(1, abs=0.02)
    with pytest.raises(FitError, match="Give batch="):
        fanin.initialize(encoder(), "auto_init", seed=0)


def test_the_function_of_attention_is_measured_too_and_named_without_a_batch() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            out: Tensor = self.out(F.scaled_dot_product_attention(q, k, v))
            return out

    model, batch = make(Attention), 2 * normal(32, 5, 16)
    fanin.initialize(model, "auto_init", seed=0, batch=batch)
    with torch.no_grad():
        assert float(model(batch).square().mean()) == pytest.approx(1, abs=0.3)  # 16 units
    with pytest.raises(FitError, match=r"scaled_dot_product_attention.*Give batch="):
        fanin.initialize(make(Attention), "auto_init", seed=0)


def test_kept_layers_pass_their_own_moments_on() -> None:
    model = make(lambda: nn.Sequential(nn.Linear(50, 60), nn.ReLU(), nn.Linear(60, 5)))
    with torch.no_grad():
        model[0].weight.copy_(3 * normal(60, 50))
        model[0].bias.fill_(2.0)
    record = fanin.initialize(model, "auto_init", seed=0, exclude="0.*")
    text = record["2.weight"].fitted or ""
    mean, variance = (float(one) for one in text.split("mean ")[1].split(", variance "))
    expected = F.relu(draw(2.0, 50 * float(model[0].weight.detach().double().square().mean())))
    assert mean == pytest.approx(float(expected.mean()), rel=0.05)
    assert variance == pytest.approx(float(expected.var()), rel=0.05)


def test_an_input_of_zeros_and_bad_moments_are_refused() -> None:
    with pytest.raises(FitError, match="0 everywhere"):
        fanin.initialize(make(Mixed), "auto_init", seed=0, batch=torch.zeros(4, 3, 10, 10))
    for spec in ("auto_init(variance=-1.0)", "auto_init(variance=0.0)"):
        with pytest.raises(SpecError):
            fanin.get(spec)
