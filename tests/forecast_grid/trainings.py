"""All trainings of a group at once: parameters stacked, a learning rate for each of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, replace_all_batch_norm_modules_, vmap

from fanin import seeds
from forecast_grid.grids import Group

RATES = {"adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), "sgd": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)}
SEEDS, BATCH = 5, 32
STEPS = (50, 150)
"""Validation errors are measured after so many steps."""

Errors = list[list[list[float]]]
"""By number of steps, learning rate and seed."""


def train_start(group: Group, start: str) -> Errors:
    """The validation errors of one initializer, from all seeds at all rates."""
    rates = RATES[group.optimizer]
    models = [group.build(start, seed) for seed in range(SEEDS)]
    stacked = {
        name: torch.stack([one.get_parameter(name).detach() for one in models]).repeat(
            len(rates), *[1] * parameter.dim()
        )
        for name, parameter in models[0].named_parameters()
    }
    each = torch.tensor(rates).repeat_interleave(SEEDS)
    stepper = Stepper(group.optimizer, each, stacked)
    network = replace_all_batch_norm_modules_(copy.deepcopy(models[0]).train())
    task, found = group.task, []
    for step, chosen in enumerate(draw_batches(len(task.x), len(rates)), 1):
        _step(network, group, stepper, chosen)
        if step in STEPS:
            errors = _measure(network, group, stepper.parameters)
            found.append(errors.view(len(rates), SEEDS).tolist())
    return found


def draw_batches(samples: int, rates: int) -> Iterator[Tensor]:
    """The samples of each step: those of one seed are the same at all rates."""
    streams = [seeds.make_generator(seed, "order") for seed in range(SEEDS)]
    for _ in range(max(STEPS)):
        rows = [torch.randint(samples, (BATCH,), generator=one) for one in streams]
        yield torch.stack(rows).repeat(rates, 1)


def _step(network: nn.Module, group: Group, stepper: Stepper, chosen: Tensor) -> None:
    task = group.task

    def compute(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        output: Tensor = functional_call(network, parameters, (x,))
        return task.compute_loss(output, y)

    leaves = {name: one.requires_grad_() for name, one in stepper.parameters.items()}
    losses = vmap(compute)(leaves, task.x[chosen], task.y[chosen])
    stepper.step(torch.autograd.grad(losses.sum(), list(leaves.values())))


@torch.no_grad()
def _measure(network: nn.Module, group: Group, parameters: dict[str, Tensor]) -> Tensor:
    """Validation errors; those of outputs that are not finite are infinite."""
    task = group.task
    outputs = vmap(lambda one: functional_call(network, one, (task.x_valid,)))(parameters)
    errors = task.measure_errors(outputs)
    return torch.where(outputs.isfinite().all(-1).all(-1), errors, torch.inf)


class Stepper:
    """Adam, or plain gradient descent, with a learning rate for each row of the parameters."""

    def __init__(self, optimizer: str, rates: Tensor, parameters: dict[str, Tensor]) -> None:
        self.optimizer, self.parameters, self.count = optimizer, parameters, 0
        self._rates = [rates.view(-1, *[1] * (one.dim() - 1)) for one in parameters.values()]
        self._first = [torch.zeros_like(one) for one in parameters.values()]
        self._second = [torch.zeros_like(one) for one in parameters.values()]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step of all."""
        self.count += 1
        places = zip(
            self.parameters.values(), gradients, self._rates, self._first, self._second, strict=True
        )
        for parameter, gradient, rate, first, second in places:
            if self.optimizer == "sgd":
                parameter.sub_(rate * gradient)
                continue
            first.lerp_(gradient, 0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            size = (second / (1 - 0.999**self.count)).sqrt_().add_(1e-8)
            parameter.sub_(rate / (1 - 0.9**self.count) * first / size)
