"""One start trained at several learning rates at once: the same weights, batches and steps.

Small networks spend most of their time on calls. Here the copies of a network, one per rate, are
one network with a leading axis (`torch.func.vmap`), whose optimizer is written out.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from experiment.effects import subtract
from experiment.figures import Line, Panel, draw_panels
from experiment.records import Records, round_values
from fanin import Record, seeds


def sweep_rates(
    model: nn.Module,
    rates: Sequence[float],
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    factors: Mapping[str, float] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
) -> list[list[float]]:
    """Train copies of a model with Adam, each at its own learning rate.

    Args:
        model: with the weights that all copies start from; it is not changed.
        rates: one per copy.
        x, y: samples and targets.
        steps: how many.
        batch_size: an epoch's incomplete last batch is left out.
        seed: of the order of the samples.
        factors: parameter → factor on its learning rate; 1 for those that are left out.
        loss: of outputs and targets.
        betas, epsilon: as in ``torch.optim.Adam``, which takes the same steps.

    Returns:
        For each rate `steps` losses, each of the batch before its step; inf once one is not finite.
    """
    names = [name for name, _ in model.named_parameters()]
    buffers = dict(model.named_buffers())
    first = {name: p.detach() for name, p in model.named_parameters()}
    p = {name: first[name].expand(len(rates), *first[name].shape).clone() for name in names}
    m = {name: torch.zeros_like(p[name]) for name in names}
    v = {name: torch.zeros_like(p[name]) for name in names}
    lr = torch.tensor(rates)
    skeleton = copy.deepcopy(model).to("meta").train()

    def compute_loss(parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return loss(functional_call(skeleton, (parameters, buffers), (inputs,)), targets)

    differentiate = vmap(grad_and_value(compute_loss), in_dims=(0, None, None))
    per_epoch = len(x) // batch_size
    found = []
    for step in range(steps):
        if step % per_epoch == 0:
            order = seeds.draw_order(seed, step // per_epoch, len(x))
        at = order[step % per_epoch * batch_size :][:batch_size]
        with sdpa_kernel(SDPBackend.MATH):  # the others have no rule for a leading axis
            gradients, losses = differentiate(p, x[at], y[at])
        found.append(losses)
        first_left, second_left = (1 - beta ** (step + 1) for beta in betas)
        for name in names:
            g = gradients[name]
            m[name].lerp_(g, 1 - betas[0])
            v[name].mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
            scale = lr.view(-1, *[1] * (g.ndim - 1)) * (factors or {}).get(name, 1.0) / first_left
            p[name] -= scale * m[name] / ((v[name] / second_left).sqrt() + epsilon)
    return [_end_at_divergence(column) for column in torch.stack(found, 1).tolist()]


def read_factors(record: Record) -> dict[str, float]:
    """Parameter → factor on its learning rate, as the record of an initialization says."""
    groups = record.param_groups(1.0)
    return {name: group["lr"] for group in groups for name in group["param_names"]}


def summarize_sweep(
    rates: Sequence[float], curves: Sequence[Sequence[float]], last: int
) -> dict[str, Any]:
    """What a record keeps of a sweep: the mean of the last losses at each rate, and the best."""
    losses = round_values(sum(curve[-last:]) / last for curve in curves)
    return {
        "loss": min(losses),
        "log2_best_rate": round(find_best_rate(rates, losses), 3),
        "rates": list(rates),
        "losses": losses,
    }


def make_rate_line(label: str, records: Records) -> Line:
    """The losses of a condition by learning rate."""
    return Line(label, records[0].values["rates"], [r.values["losses"] for r in records])


def measure_rate_shift(
    records: Records, start: str, factor: str, low: float, high: float
) -> list[float]:
    """log2 of the best rate of a start at a high value of a factor, minus that at a low one."""
    return subtract(
        records, "log2_best_rate", {"start": start, factor: high}, {"start": start, factor: low}
    )


def draw_rate_panels(
    records: Records,
    starts: Sequence[str],
    factor: str,
    labels: Mapping[float, str],
    *,
    log_y: bool = False,
) -> Figure:
    """Losses by rate: a panel for each start, with a line for each value of a factor."""
    panels = []
    for start in starts:
        lines = [
            make_rate_line(label, records.pick(start=start, **{factor: value}))
            for value, label in labels.items()
        ]
        panels.append(Panel(start, "learning rate", "training loss", lines, True, log_y))
    return draw_panels(panels)


def find_best_rate(rates: Sequence[float], losses: Sequence[float]) -> float:
    """log2 of the rate with the smallest loss, by the parabola through it and its neighbours.

    At an end of the grid, and beside a diverged run, the rate itself.
    """
    best = min(range(len(rates)), key=lambda at: losses[at])
    logs = [math.log2(rate) for rate in rates]
    around = losses[max(best - 1, 0) : best + 2]
    if len(around) < 3 or not all(map(math.isfinite, around)):
        return logs[best]
    left, middle, right = around
    bend = left - 2 * middle + right
    step = logs[best + 1] - logs[best]
    return logs[best] + (step * 0.5 * (left - right) / bend if bend > 0 else 0.0)


def _end_at_divergence(losses: Sequence[float]) -> list[float]:
    diverged = False
    ended = []
    for value in losses:
        diverged = diverged or not math.isfinite(value)
        ended.append(math.inf if diverged else value)
    return ended
