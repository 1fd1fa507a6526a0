"""The two grids. They share no depth, no width, no activation, no data and no gain."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

import fanin
from forecast_grid.networks import make_network
from forecast_grid.tasks import Task, make_task


@dataclass(frozen=True)
class Group:
    """The cases that differ in their initializer alone and are compared with one another."""

    data: str
    kind: str
    depth: int
    width: int
    activation: str
    optimizer: str
    starts: tuple[str, ...]

    @property
    def network(self) -> str:
        """The name of data and network."""
        return f"{self.data}/{self.kind}-{self.depth}x{self.width}-{self.activation}"

    @property
    def name(self) -> str:
        """A name that tells it from all others."""
        return f"{self.network}/{self.optimizer}"

    @property
    def task(self) -> Task:
        """The data."""
        return make_task(self.data)

    def build(self, start: str, seed: int) -> nn.Module:
        """The network as it starts."""
        task = self.task
        model = make_network(
            self.kind, self.depth, self.width, self.activation, tuple(task.x[0].shape), task.outputs
        )
        fanin.initialize(model, start, seed=seed)
        return model


_SHARED = ("torch_default", "auto", "orthogonal")
STARTS = {
    "development": (
        *_SHARED,
        "xavier_uniform",
        "normal(std=1)",
        "normal(std=0.01)",
        "lecun_normal(gain=0.6)",
        "lecun_normal(gain=2.5)",
    ),
    "held-out": (
        *_SHARED,
        "xavier_normal",
        "normal(std=0.5)",
        "normal(std=0.05)",
        "lecun_normal(gain=0.8)",
        "lecun_normal(gain=3)",
    ),
}

_BOTH, _ADAM, _SGD = ("adam", "sgd"), ("adam",), ("sgd",)
_NETWORKS: dict[str, tuple[tuple[tuple[str, str, int, int, str], tuple[str, ...]], ...]] = {
    "development": (
        (("digits", "plain", 2, 40, "relu"), _BOTH),
        (("wine", "plain", 6, 24, "relu"), _ADAM),
        (("digits", "plain", 12, 40, "relu"), _BOTH),
        (("diabetes", "plain", 20, 24, "relu"), _SGD),
        (("digits", "plain", 40, 24, "relu"), _ADAM),
        (("diabetes", "plain", 2, 24, "tanh"), _BOTH),
        (("digits", "plain", 6, 40, "tanh"), _SGD),
        (("wine", "plain", 12, 24, "tanh"), _BOTH),
        (("digits", "plain", 20, 24, "tanh"), _BOTH),
        (("wine", "plain", 40, 24, "tanh"), _SGD),
        (("digits", "plain", 12, 24, "gelu"), _ADAM),
        (("diabetes", "plain", 6, 40, "gelu"), _BOTH),
        (("digits", "plain", 6, 24, "sigmoid"), _BOTH),
        (("digits", "layer_norm", 12, 24, "tanh"), _ADAM),
        (("wine", "batch_norm", 12, 24, "relu"), _SGD),
        (("digits", "residual", 12, 24, "relu"), _BOTH),
        (("digits", "conv", 5, 8, "relu"), _ADAM),
    ),
    "held-out": (
        (("breast-cancer", "plain", 3, 32, "leaky_relu"), _BOTH),
        (("fashion-mnist", "plain", 8, 32, "leaky_relu"), _BOTH),
        (("california-housing", "plain", 16, 32, "leaky_relu"), _BOTH),
        (("fashion-mnist", "plain", 30, 20, "leaky_relu"), _BOTH),
        (("california-housing", "plain", 8, 16, "selu"), _BOTH),
        (("fashion-mnist", "plain", 16, 32, "selu"), _BOTH),
        (("breast-cancer", "plain", 30, 20, "selu"), _BOTH),
        (("california-housing", "plain", 3, 32, "hardtanh"), _BOTH),
        (("fashion-mnist", "plain", 8, 48, "hardtanh"), _BOTH),
        (("breast-cancer", "plain", 16, 20, "hardtanh"), _BOTH),
        (("california-housing", "plain", 30, 20, "hardtanh"), _BOTH),
        (("breast-cancer", "plain", 8, 32, "silu"), _BOTH),
        (("fashion-mnist", "plain", 16, 20, "silu"), _BOTH),
        (("fashion-mnist", "plain", 4, 32, "softplus"), _BOTH),
        (("fashion-mnist", "layer_norm", 16, 20, "silu"), _BOTH),
        (("california-housing", "batch_norm", 16, 20, "elu"), _BOTH),
        (("fashion-mnist", "residual", 16, 20, "selu"), _BOTH),
        (("california-housing", "residual", 8, 32, "hardtanh"), _BOTH),
        (("fashion-mnist", "conv", 7, 10, "leaky_relu"), _ADAM),
    ),
}


def list_groups(grid: str) -> list[Group]:
    """The groups of one grid."""
    return [
        Group(*network, optimizer, STARTS[grid])
        for network, optimizers in _NETWORKS[grid]
        for optimizer in optimizers
    ]
