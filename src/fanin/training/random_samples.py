"""Random samples in place of a data set, to time steps and to try them before data are loaded."""

from __future__ import annotations

import torch
from torch import Tensor

from fanin import registry, seeds
from fanin.cell.cell import Cell
from fanin.data import DataInfo, InputPart, Subset
from fanin.models import ModelEntry
from fanin.training import metrics, user_loss
from fanin.training.objective import Objective
from fanin.training.user_loss import LossFunction


def make_random_objective(
    cell: Cell, info: DataInfo, samples: Subset, model: ModelEntry
) -> Objective:
    """The objective of a cell for random samples."""
    return Objective(
        info=info,
        metrics=metrics.select_metrics(info, cell.metrics),
        divisor=255.0 if samples.x.dtype == torch.uint8 else 1.0,
        channels_last=model.channels_last,
        smoothing=cell.label_smoothing,
        lends_copies=not registry.is_builtin(model.build),
        own_loss=None if cell.loss is None else _make_loss(cell.loss, info),
    )


def _make_loss(spec: str, info: DataInfo) -> LossFunction:
    """A user's loss, as if all classes had as many samples."""
    has_classes = info.task in ("classification", "token_classification")
    counts = (max(info.n_train // info.outputs, 1),) * info.outputs if has_classes else ()
    return user_loss.REGISTRY.make(spec).build(info.outputs, counts)


def _draw_part(part: InputPart, n: int, generator: torch.Generator) -> Tensor:
    """Random numbers or tokens of one of several inputs, as rows of float32."""
    if part.vocabulary is None:
        return seeds.standard_normal((n, part.size), generator)
    return torch.randint(part.vocabulary, (n, part.size), generator=generator).float()


def draw_samples(info: DataInfo, n: int) -> Subset:
    """Draw `n` random samples, of the types that data sets have: images are uint8."""
    generator = seeds.make_generator(0, "estimate")
    if info.parts:
        x = torch.cat([_draw_part(part, n, generator) for part in info.parts], dim=1)
    elif info.vocabulary is not None:
        x = torch.randint(info.vocabulary, (n, *info.input_shape), generator=generator)
    else:
        x = seeds.standard_normal((n, *info.input_shape), generator)
    if info.kind == "image":
        x = x.mul_(50).add_(128).clamp_(0, 255).to(torch.uint8)
    match info.task:
        case "classification":
            return Subset(x, torch.arange(n) % info.outputs)
        case "token_classification":
            return Subset(
                x, torch.randint(info.outputs, (n, info.input_shape[0]), generator=generator)
            )
        case "autoencoding":
            return Subset(x, x)
    shape = (n,) if info.outputs == 1 else (n, info.outputs)
    return Subset(x, seeds.standard_normal(shape, generator))
