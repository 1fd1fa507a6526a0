"""Adam: equal to Keras' and to torch's, step by step, and restored exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fanin.errors import SpecError, UnknownName
from fanin.study import optimizers

STEPS = 30


def _gradients(scale: float) -> list[np.ndarray]:
    random = np.random.Generator(np.random.PCG64(7))
    return [(random.standard_normal((5, 3)) * scale).astype(np.float32) for _ in range(STEPS)]


def _trajectory(spec: str, gradients: list[np.ndarray], lr: float = 0.001) -> list[np.ndarray]:
    parameter = torch.nn.Parameter(torch.ones(5, 3))
    optimizer = optimizers.get(spec)[1].make([parameter], lr)
    points = []
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        points.append(parameter.detach().numpy().copy())
    return points


def _keras_trajectory(gradients: list[np.ndarray]) -> list[np.ndarray]:
    keras = pytest.importorskip("keras", reason='needs the extra "peers"')
    variable = keras.Variable(np.ones((5, 3), dtype="float32"))
    adam = keras.optimizers.Adam(learning_rate=0.001)
    adam.build([variable])
    points = []
    for gradient in gradients:
        adam.apply([keras.ops.convert_to_tensor(gradient)])
        points.append(np.asarray(variable.value).copy())
    return points


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-8])
def test_keras_epsilon_equals_keras_in_every_step(scale: float) -> None:
    gradients = _gradients(scale)
    ours, theirs = _trajectory("adam(epsilon=keras)", gradients), _keras_trajectory(gradients)
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        # Moves are compared, not positions: a position near 1 hides a difference below 6e-8. fp32 near 1 resolves 6e-8,
        # which 30 steps may add up.
        np.testing.assert_allclose(a - 1, b - 1, atol=5e-7, rtol=2e-4, err_msg=f"step {step + 1}")


def test_the_comparison_with_keras_would_notice_a_constant_epsilon() -> None:
    gradients = _gradients(1e-6)
    constant, theirs = _trajectory("adam(epsilon=1e-7)", gradients), _keras_trajectory(gradients)
    assert np.abs(constant[4] - theirs[4]).max() > 1e-3


def test_five_small_gradients_move_a_weight_as_measured_in_keras() -> None:
    gradients = [np.full((5, 3), 1e-6, dtype=np.float32)] * 5
    assert _trajectory("adam(epsilon=keras)", gradients)[-1][0, 0] - 1 == pytest.approx(-0.0017, abs=5e-5)
    assert _trajectory("adam(epsilon=1e-7)", gradients)[-1][0, 0] - 1 == pytest.approx(-0.0045, abs=5e-5)


def test_adam_equals_torchs_slow_adam_in_every_step() -> None:
    gradients = _gradients(1.0)
    parameter = torch.nn.Parameter(torch.ones(5, 3))
    slow = torch.optim.Adam([parameter], lr=0.01, foreach=False, fused=False)
    for ours, gradient in zip(_trajectory("adam", gradients, lr=0.01), gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
        slow.step()
        np.testing.assert_allclose(ours, parameter.detach().numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("spec", ["adam", "adam(epsilon=keras)"])
def test_a_restored_optimizer_continues_bit_for_bit_on_channels_last_weights(spec: str) -> None:
    def weight() -> torch.nn.Parameter:
        return torch.nn.Parameter(torch.linspace(-1, 1, 8 * 4 * 3 * 3).view(8, 4, 3, 3).to(memory_format=torch.channels_last))

    def step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer, t: int) -> None:
        noise = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(t))
        parameter.grad = noise.to(memory_format=torch.channels_last)
        optimizer.step()

    undisturbed, resumed = weight(), weight()
    first = optimizers.get(spec)[1].make([undisturbed], 0.01)
    for t in range(3):
        step(undisturbed, first, t)
    with torch.no_grad():
        resumed.copy_(undisturbed)
    second = optimizers.get(spec)[1].make([resumed], 0.01)
    stored = {name: tensor.contiguous().clone() for name, tensor in optimizers.state_tensors(first).items()}
    optimizers.restore_state(second, stored)
    for t in range(3, 6):
        step(undisturbed, first, t)
        step(resumed, second, t)
    assert torch.equal(undisturbed, resumed)


def test_identities_leave_defaults_out() -> None:
    assert optimizers.get("adam(beta1=0.9)")[0] == "adam"
    assert optimizers.get("adam(epsilon='keras', beta1=0.5)")[0] == "adam(beta1=0.5, epsilon=keras)"


@pytest.mark.parametrize("spec", ["adam(beta1=1.0)", "adam(epsilon=-1)", "adam(epsilon=torch)", "adam(beta2='x')"])
def test_options_out_of_range_are_refused(spec: str) -> None:
    with pytest.raises(SpecError):
        optimizers.get(spec)


@pytest.mark.parametrize("spec", ["adamw2", "adam(momentum=0.9)"])
def test_unknown_names_are_refused(spec: str) -> None:
    with pytest.raises(UnknownName):
        optimizers.get(spec)
