"""Optimizers: equal to torch's and to Keras' step by step, also when the learning rate changes, and
restored exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fanin import seeds
from fanin.errors import SpecError, UnknownName
from fanin.training import optimizers

STEPS = 30

RATES = [0.01 * (0.1 if step >= 15 else 1.0) * (1 + step % 3) for step in range(STEPS)]
"""They change in every step, and drop by 10 half-way."""


class Weight(nn.Module):
    """A model of one parameter."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


def _gradients(scale: float) -> list[np.ndarray]:
    random = np.random.Generator(np.random.PCG64(7))
    return [(random.standard_normal((5, 3)) * scale).astype(np.float32) for _ in range(STEPS)]


def _made(spec: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return optimizers.REGISTRY.make(spec).build(model, lr)


def _trajectory(
    make: str | Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    gradients: list[np.ndarray],
    rates: Sequence[float],
) -> list[np.ndarray]:
    """Where a weight that starts at 1 stands after each step, under a spec or one of torch's own
    optimizers.
    """
    model = Weight(torch.ones(5, 3))
    optimizer = _made(make, model, rates[0]) if isinstance(make, str) else make([model.weight])
    points = []
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizers.set_rate(optimizer, rate)
        model.weight.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        points.append(model.weight.detach().numpy().copy())
    return points


def _keras_trajectory(
    name: str, options: dict[str, Any], gradients: list[np.ndarray], rates: Sequence[float]
) -> list[np.ndarray]:
    keras = pytest.importorskip("keras", reason='needs the extra "peers"')
    variable = keras.Variable(np.ones((5, 3), dtype="float32"))
    optimizer = getattr(keras.optimizers, name)(learning_rate=rates[0], **options)
    optimizer.build([variable])
    points = []
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
        points.append(np.asarray(variable.value).copy())
    return points


def _worst(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


CONSTANT = [0.001] * STEPS

TORCH: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {}),
    "sgd(weight_decay=0.1, decay=all)": (torch.optim.SGD, {"weight_decay": 0.1}),
    "sgd(momentum=0.9)": (torch.optim.SGD, {"momentum": 0.9}),
    "sgd(momentum=0.9, dampening=0.5)": (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}),
    "sgd(momentum=0.9, nesterov=true, weight_decay=0.1)": (
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    "rmsprop": (torch.optim.RMSprop, {}),
    "rmsprop(rho=0.9, epsilon=0.001, weight_decay=0.1)": (
        torch.optim.RMSprop,
        {"alpha": 0.9, "eps": 0.001, "weight_decay": 0.1},
    ),
    "rmsprop(momentum=0.9, centered=true)": (
        torch.optim.RMSprop,
        {"momentum": 0.9, "centered": True},
    ),
    "adam": (torch.optim.Adam, {}),
    "adam(weight_decay=0.1)": (torch.optim.Adam, {"weight_decay": 0.1}),
    "adamw": (torch.optim.AdamW, {}),
    "adamw(beta1=0.8, beta2=0.9, weight_decay=0.5)": (
        torch.optim.AdamW,
        {"betas": (0.8, 0.9), "weight_decay": 0.5},
    ),
}
"""Spec → torch's class and what it is given for the same."""


@pytest.mark.parametrize("spec", TORCH)
def test_an_optimizer_equals_torchs_slow_one_in_every_step_while_the_rate_changes(
    spec: str,
) -> None:
    cls, options = TORCH[spec]
    gradients = _gradients(1.0)
    slow: dict[str, Any] = (
        {"foreach": False} if cls is torch.optim.RMSprop else {"foreach": False, "fused": False}
    )
    theirs = _trajectory(
        lambda weights: cls(weights, lr=RATES[0], **options, **slow), gradients, RATES
    )  # type: ignore[call-arg]
    for ours, point in zip(_trajectory(spec, gradients, RATES), theirs, strict=True):
        np.testing.assert_allclose(ours, point, rtol=1e-5, atol=2e-7)


def test_the_comparison_with_torch_would_notice_another_decay_or_nesterov_left_out() -> None:
    gradients = _gradients(1.0)
    for one, other in (
        ("adam(weight_decay=0.1)", "adamw(weight_decay=0.1)"),
        ("sgd(momentum=0.9)", "sgd(momentum=0.8)"),
    ):
        assert (
            _worst(_trajectory(one, gradients, RATES), _trajectory(other, gradients, RATES)) > 1e-3
        )
    plain, nesterov = (
        _trajectory(f"sgd(momentum=0.9{more})", gradients, RATES)
        for more in ("", ", nesterov=true")
    )
    assert _worst(plain, nesterov) > 1e-3


KERAS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "sgd(momentum=0.9, form=keras)": ("SGD", {"momentum": 0.9}),
    "sgd(momentum=0.9, form=keras, nesterov=true)": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "sgd(momentum=0.9, form=keras, weight_decay=0.5)": (
        "SGD",
        {"momentum": 0.9, "weight_decay": 0.5},
    ),
    "rmsprop(form=keras)": ("RMSprop", {}),
    "rmsprop(form=keras, rho=0.99, epsilon=0.001)": ("RMSprop", {"rho": 0.99, "epsilon": 0.001}),
    "rmsprop(form=keras, momentum=0.9, weight_decay=0.5)": (
        "RMSprop",
        {"momentum": 0.9, "weight_decay": 0.5},
    ),
    "rmsprop(form=keras, momentum=0.9, centered=true)": (
        "RMSprop",
        {"momentum": 0.9, "centered": True},
    ),
    "adam(epsilon=keras)": ("Adam", {}),
    "adamw(epsilon=keras, weight_decay=0.004)": ("AdamW", {}),
    "adamw(epsilon=keras, weight_decay=0.5, decay=all)": ("Adam", {"weight_decay": 0.5}),
}
"""Spec → Keras' class and what it is given for the same."""


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-6])
@pytest.mark.parametrize("spec", KERAS)
@pytest.mark.usefixtures("draws_globally")
def test_keras_forms_equal_keras_in_every_step_while_the_rate_changes(
    spec: str, scale: float
) -> None:
    gradients = _gradients(scale)
    ours, theirs = (
        _trajectory(spec, gradients, RATES),
        _keras_trajectory(*KERAS[spec], gradients, RATES),
    )
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        # Moves are compared, not positions: a position near 1 hides a difference below 6e-8. fp32
        # near 1 resolves 6e-8, which 30 steps may add up.
        np.testing.assert_allclose(a - 1, b - 1, atol=2e-6, rtol=2e-4, err_msg=f"step {step + 1}")


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-8])
@pytest.mark.usefixtures("draws_globally")
def test_keras_epsilon_equals_keras_in_every_step(scale: float) -> None:
    gradients = _gradients(scale)
    ours, theirs = (
        _trajectory("adam(epsilon=keras)", gradients, CONSTANT),
        _keras_trajectory("Adam", {}, gradients, CONSTANT),
    )
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(a - 1, b - 1, atol=5e-7, rtol=2e-4, err_msg=f"step {step + 1}")


@pytest.mark.parametrize(
    ("wrong", "right", "scale"),
    [
        ("adam(epsilon=1e-7)", "adam(epsilon=keras)", 1e-6),
        ("adamw(epsilon=keras)", "adamw(epsilon=keras, weight_decay=0.004)", 1.0),
        ("sgd(momentum=0.9)", "sgd(momentum=0.9, form=keras)", 1.0),
        ("rmsprop(rho=0.9, epsilon=1e-7)", "rmsprop(form=keras)", 1e-4),
        (
            "rmsprop(rho=0.9, epsilon=1e-7, momentum=0.9, centered=true)",
            "rmsprop(form=keras, momentum=0.9, centered=true)",
            1.0,
        ),
    ],
)
@pytest.mark.usefixtures("draws_globally")
def test_the_comparison_with_keras_would_notice_torchs_form(
    wrong: str, right: str, scale: float
) -> None:
    gradients = _gradients(scale)
    assert (
        _worst(
            _trajectory(wrong, gradients, RATES), _keras_trajectory(*KERAS[right], gradients, RATES)
        )
        > 1e-3
    )


def test_both_forms_of_momentum_are_the_same_while_the_rate_is_constant() -> None:
    gradients = _gradients(1.0)
    for nesterov in ("", ", nesterov=true"):
        torch_form, keras_form = (
            f"sgd(momentum=0.9{nesterov}{form})" for form in ("", ", form=keras")
        )
        assert (
            _worst(
                _trajectory(torch_form, gradients, CONSTANT),
                _trajectory(keras_form, gradients, CONSTANT),
            )
            < 1e-6
        )


def test_after_a_drop_by_10_keras_momentum_goes_on_with_the_rates_of_old_gradients() -> None:
    gradients = [np.ones((5, 3), dtype=np.float32)] * 200
    rates = [0.001] * 199 + [0.0001]
    moves = {}
    for form in ("torch", "keras"):
        *_, before, after = _trajectory(f"sgd(momentum=0.9, form={form})", gradients, rates)
        moves[form] = float((after - before)[0, 0])
    assert moves["keras"] / moves["torch"] == pytest.approx(9.1, rel=1e-2)


def test_a_small_first_step_of_keras_rmsprop_is_a_tenth_of_that_with_epsilon_outside() -> None:
    gradients = [np.full((5, 3), 1e-4, dtype=np.float32)]
    (inside,) = _trajectory("rmsprop(form=keras)", gradients, [0.001])
    (outside,) = _trajectory("rmsprop(rho=0.9, epsilon=1e-7)", gradients, [0.001])
    assert (1 - inside[0, 0]) / (1 - outside[0, 0]) == pytest.approx(0.1, rel=0.02)


def test_five_small_gradients_move_a_weight_as_measured_in_keras() -> None:
    gradients, rates = [np.full((5, 3), 1e-6, dtype=np.float32)] * 5, [0.001] * 5
    assert _trajectory("adam(epsilon=keras)", gradients, rates)[-1][0, 0] - 1 == pytest.approx(
        -0.0017, abs=5e-5
    )
    assert _trajectory("adam(epsilon=1e-7)", gradients, rates)[-1][0, 0] - 1 == pytest.approx(
        -0.0045, abs=5e-5
    )


@pytest.mark.parametrize(
    "spec", ["sgd(momentum=0.9)", "sgd(momentum=0.9, form=keras)", "rmsprop(form=keras)", "adamw"]
)
def test_a_parameter_whose_gradient_comes_later_starts_then(spec: str) -> None:
    late, punctual = Weight(torch.ones(2, 2)), Weight(torch.ones(2, 2))
    both = nn.ModuleList([late, Weight(torch.ones(2, 2))])
    together, alone = _made(spec, both, 0.1), _made(spec, punctual, 0.1)
    for step in range(4):
        gradient = torch.full((2, 2), 1.0 + step)
        both[1].weight.grad = gradient.clone()
        if step >= 2:
            late.weight.grad, punctual.weight.grad = gradient.clone(), gradient.clone()
            alone.step()
        together.step()
    assert torch.equal(late.weight, punctual.weight)


# Weight decay and its groups


def _linear() -> nn.Linear:
    with seeds.preserve_torch_state(0):
        return nn.Linear(2, 2)


class Mixed(nn.Module):
    """A convolution, three normalizations (one with a scale of two dimensions), attention, an
    embedding, tied weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.batch_norm = nn.BatchNorm2d(4)
        self.layer_norm = nn.LayerNorm((4, 5))
        self.group_norm = nn.GroupNorm(2, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.embedding = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6)
        self.head.weight = self.embedding.weight
        self.scale = nn.Parameter(torch.ones(4))


def test_weight_decay_spares_norms_biases_and_vectors() -> None:
    with seeds.preserve_torch_state(0):
        model = Mixed()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, spared = optimizers.make_parameter_groups(model, 0.1)
    assert [names[id(p)] for p in decayed["params"]] == [
        "conv.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "embedding.weight",
    ]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert {names[id(p)] for p in spared["params"]} == {
        "scale",
        "conv.bias",
        *(
            f"{norm}_norm.{part}"
            for norm in ("batch", "layer", "group")
            for part in ("weight", "bias")
        ),
        "attention.in_proj_bias",
        "attention.out_proj.bias",
        "head.bias",
    }


@pytest.mark.parametrize(("weight_decay", "decay"), [(0.0, "weights"), (0.1, "all")])
def test_one_group_in_the_models_order_holds_everything_where_nothing_is_spared(
    weight_decay: float, decay: optimizers.Decay
) -> None:
    with seeds.preserve_torch_state(0):
        model = Mixed()
    (group,) = optimizers.make_parameter_groups(model, weight_decay, decay)
    assert list(map(id, group["params"])) == list(map(id, model.parameters()))
    assert group["weight_decay"] == weight_decay


@pytest.mark.parametrize(
    "name",
    [
        "sgd",
        "sgd(momentum=0.9)",
        "sgd(momentum=0.9, form=keras)",
        "rmsprop",
        "rmsprop(form=keras)",
        "adam",
        "adamw",
    ],
)
def test_without_gradients_to_speak_of_only_weights_shrink_unless_all_decay(name: str) -> None:
    kind, _, options = name.partition("(")
    for decay, bias_shrinks in (("weights", False), ("all", True)):
        model = _linear()
        nn.init.ones_(model.weight)
        nn.init.ones_(model.bias)
        spec = f"{kind}(weight_decay=0.5, decay={decay}, {options or ')'}"
        optimizer = _made(spec, model, 0.1)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        assert (model.weight < 0.99).all()
        assert bool((model.bias < 0.99).all()) is bias_shrinks


# Specs


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("adam(beta1=0.9)", "adam"),
        ("adam(epsilon='keras', beta1=0.5)", "adam(beta1=0.5, epsilon=keras)"),
        ("adam(weight_decay=0)", "adam"),
        ("adamw(weight_decay=0.01, decay=weights)", "adamw"),
        ("sgd(nesterov=true, momentum=0.9)", "sgd(momentum=0.9, nesterov=true)"),
        ("sgd(form=torch)", "sgd"),
        ("rmsprop(rho=0.99, epsilon=1e-8)", "rmsprop"),
        ("rmsprop(rho=0.9)", "rmsprop(rho=0.9)"),
        ("rmsprop(form=keras, rho=0.9, epsilon=1e-7)", "rmsprop(form=keras)"),
        ("rmsprop(form=keras, rho=0.99)", "rmsprop(form=keras, rho=0.99)"),
    ],
)
def test_one_training_has_one_spec(spec: str, canonical: str) -> None:
    assert optimizers.REGISTRY.make(spec).spec == canonical
    assert optimizers.REGISTRY.make(canonical) == optimizers.REGISTRY.make(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "adam(beta1=1.0)",
        "adam(epsilon=-1)",
        "adam(epsilon=torch)",
        "adam(beta2='x')",
        "adam(weight_decay=-0.1)",
        "adam(decay=some, weight_decay=0.1)",
        "adamw(beta2=1)",
        "adamw(weight_decay=-0.1)",
        "sgd(momentum=1)",
        "sgd(momentum=-0.1)",
        "sgd(momentum=0.9, dampening=1)",
        "sgd(weight_decay=-1)",
        "rmsprop(rho=1)",
        "rmsprop(epsilon=-1)",
        "rmsprop(momentum=1)",
        "rmsprop(form=jax)",
    ],
)
def test_options_out_of_range_are_refused(spec: str) -> None:
    with pytest.raises(SpecError, match=r"=…\).* must be "):
        optimizers.REGISTRY.make(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "sgd(nesterov=true)",
        "sgd(dampening=0.5)",
        "sgd(form=keras)",
        "sgd(momentum=0.9, dampening=0.5, nesterov=true)",
        "sgd(momentum=0.9, dampening=0.5, form=keras)",
        "sgd(decay=all)",
        "adam(decay=all)",
        "adamw(weight_decay=0, decay=all)",
        "rmsprop(decay=all)",
    ],
)
def test_options_that_change_nothing_or_exclude_each_other_are_refused(spec: str) -> None:
    with pytest.raises(SpecError, match=r"[Ll]eave (it|one|decay|nesterov|dampening|form) out"):
        optimizers.REGISTRY.make(spec)


@pytest.mark.parametrize("spec", ["adamw2", "adam(momentum=0.9)", "momentum", "nesterov"])
def test_unknown_names_are_refused(spec: str) -> None:
    with pytest.raises(UnknownName):
        optimizers.REGISTRY.make(spec)
