"""How much of the target a linear reading of the last layer's input tells: `measure_readout`.

The last layer sees what all layers before it have made of the input. Where samples have become
alike, or so chaotic that like samples have nothing in common, no reading of it foretells the target
of a sample that was left out, before training as after it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.measurement import Measurement
from fanin.diagnosis.probe.start_measurement import set_train_mode
from fanin.errors import FaninError
from fanin.losses import IGNORED
from fanin.structure.forward_tracing import split_batch
from fanin.structure.model_state import preserve_model

RIDGE = 0.1
"""The penalty, over the mean squared length of what is read: with it, differences between samples
count in proportion to the size of the signal, as they do in a step of training."""
MIN_ROWS, MAX_ROWS = 16, 512


def measure_readout(examination: Examination, measurement: Measurement) -> float | None:
    """1 − (squared error on samples left out) / (that of the mean), by ridge regression from the
    last layer's input; 1 is perfect, 0 or less is no better than the mean.

    None without a target that belongs to single samples, of fewer than `MIN_ROWS` samples, or if
    the last layer is no module.
    """
    target = examination.target
    module = measurement.graph.nodes[measurement.layers[-1].node].module
    if not isinstance(target, Tensor) or module is None:
        return None
    try:
        found = _record_input(examination.model, module, examination.batch)
    except FaninError:
        return None
    if found is None:
        return None
    rows = _pair_rows(found, target.detach())
    return None if rows is None else _regress(*rows)


def _record_input(model: nn.Module, module: nn.Module, batch: Any) -> Tensor | None:
    """What a module is given, in the last of its calls."""
    seen: list[Tensor] = []

    def record(_: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            seen.append(args[0].detach())

    args, kwargs = split_batch(batch)
    with torch.inference_mode(False), preserve_model(model):
        set_train_mode(model)
        handle = module.register_forward_pre_hook(record)
        try:
            model(*args, **kwargs)
        finally:
            handle.remove()
    return seen[-1] if seen else None


def _pair_rows(signal: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
    """Rows of numbers, and for each what it should foretell; None if they cannot be paired."""
    classes = not target.is_floating_point()
    rows = signal.flatten(1) if signal.dim() > 1 and len(signal) == len(target) else None
    if classes and target.dim() > 1 and signal.dim() > 1 and signal.shape[:-1] == target.shape:
        rows, target = signal.flatten(0, -2), target.flatten()
    if rows is None or target.is_complex() or (classes and target.numel() != len(rows)):
        return None
    values = target.reshape(len(rows), -1).to(torch.float64)
    rows = rows.to(torch.float64)
    if classes:
        kept = target.flatten() != IGNORED
        rows, labels = rows[kept], target.flatten()[kept]
        values = F.one_hot(labels.unique(return_inverse=True)[1]).to(torch.float64)
    step = max(-(-len(rows) // MAX_ROWS), 1)
    rows, values = rows[::step], values[::step]
    if len(rows) < MIN_ROWS or not float((values - values.mean(0)).square().sum()) > 0:
        return None
    return rows, values


def _regress(rows: Tensor, values: Tensor) -> float:
    """Leave-one-out of ridge regression in closed form: residual / (1 − leverage)."""
    size = rows.square().sum(1).mean()
    if not bool(rows.isfinite().all()) or not float(size) > 0:
        return 0.0
    count = len(rows)
    centred, wanted = rows - rows.mean(0), values - values.mean(0)
    gram = centred @ centred.T / size
    identity = torch.eye(count, dtype=gram.dtype, device=gram.device)
    hat = gram @ torch.linalg.inv(gram + RIDGE * identity)
    leverage = hat.diagonal() + 1 / count
    left_out = (wanted - hat @ wanted) / (1 - leverage).unsqueeze(1)
    constant = wanted * (count / (count - 1))
    return float(1 - left_out.square().sum() / constant.square().sum())
