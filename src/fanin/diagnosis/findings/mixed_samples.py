"""What an output depends on and should not: other samples (F044), later tokens (F045)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.probe.second_passes import change_tensors, predict
from fanin.structure.forward_tracing import collect_tensors

CHANGED = 1e-3
"""Relative to the spread of the outputs. Other sums of the same numbers differ by 1e-6 or so."""
NEXT_TOKEN = 0.95
"""The share of targets that are the next input from which on a model predicts what follows."""


def judge_sample_independence(examination: Examination) -> Iterator[Finding]:
    """F044: in eval mode the first or last sample's output changes with the others."""
    measurement = examination.measurement
    if measurement is None or measurement.samples < 3 or measurement.output is None:
        return
    if not any(one.trainable for one in measurement.parameters.values()):
        return  # a quantized model scales its numbers by those of the whole batch
    count = measurement.samples
    tensors = collect_tensors(examination.batch)
    if not tensors or any(not one.dim() or len(one) != count for one in tensors):
        return  # graphs and the like: an axis of other things than samples
    if any(one.dim() > 1 and one.shape[1] == count for one in (*tensors, measurement.output)):
        return  # pairs of samples: contrastive losses, adjacency
    if not measurement.output.dim() or len(measurement.output) != count:
        return
    before = _try(examination, examination.batch)
    after = _try(examination, change_tensors(examination.batch, _exchange_others))
    if before is None or after is None:
        return
    # In a recurrent layer only what comes before has an influence.
    kept = [0, count - 1]
    if not _differ(before, after, before[kept], after[kept]):
        return
    yield Finding(
        code="F044",
        severity="warning",
        where="",
        summary=(
            "In eval mode the output for the first or last sample changes when the samples between "
            "are exchanged: samples of a batch influence one another."
        ),
        remedy=(
            "Look for a view, reshape, transpose, softmax or mean over the axis of samples. A view "
            "that should swap axes needs transpose or permute."
        ),
        evidence={"change": float((before[kept] - after[kept]).abs().max())},
    )


def _exchange_others(values: Tensor) -> Tensor:
    """The samples between the first and the last in the reverse order, the first of them replaced:
    (a b c d e) becomes (a a c b e).
    """
    order = [0, *range(len(values) - 2, 0, -1), len(values) - 1]
    order[1] = 0
    return values[order]


def judge_causality(examination: Examination) -> Iterator[Finding]:
    """F045: a model that predicts the next token sees it."""
    measurement = examination.measurement
    tokens = _find_tokens(examination)
    if measurement is None or tokens is None or measurement.output is None:
        return
    length = tokens.shape[1]
    if _arrange_by_step(measurement.output, tokens) is None:
        return
    middle = length // 2
    before = _arrange_by_step(_try(examination, examination.batch), tokens)

    def change(values: Tensor) -> Tensor:
        if values.shape != tokens.shape or not torch.equal(values, tokens):
            return values
        changed = values.clone()
        changed[:, middle:] = changed[:, middle:].flip(0).flip(1)
        return changed

    after = _arrange_by_step(_try(examination, change_tensors(examination.batch, change)), tokens)
    if before is None or after is None:
        return
    if not _differ(before, after, before[:, :middle], after[:, :middle]):
        return
    leaking = [one.name.partition(":")[0] for one in measurement.attentions if not one.causal]
    yield Finding(
        code="F045",
        severity="error",
        where=leaking[0] if leaking else "",
        also=tuple(dict.fromkeys(leaking))[1:],
        summary=(
            "The target is the next token, and outputs change with later tokens: the model sees "
            "what it has to predict, and will be perfect in training and useless afterwards."
        ),
        remedy="Mask the attention (is_causal=True), and pad convolutions on the left only.",
        evidence={"first changed token": middle},
    )


def _arrange_by_step(output: Tensor | None, tokens: Tensor) -> Tensor | None:
    """Outputs as samples × steps × classes, also of a model that puts the classes second, as
    cross_entropy takes them, or has one row for each step; None if they are not for each step.
    """
    if output is None:
        return None
    samples, length = tokens.shape
    if output.dim() == 3 and output.shape[:2] == tokens.shape:
        return output
    if output.dim() == 3 and (output.shape[0], output.shape[2]) == (samples, length):
        return output.transpose(1, 2)
    if output.dim() == 2 and len(output) == samples * length:
        return output.reshape(samples, length, -1)
    return None


def _find_tokens(examination: Examination) -> Tensor | None:
    """The input of whole numbers whose next ones are the target."""
    labels = examination.target
    if labels is None and isinstance(examination.batch, dict):
        labels = examination.batch.get("labels")
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.dim() > 2:
        return None
    given = examination.batch
    inputs = [one for key, one in _list_named(given) if key != "labels"]
    for one in inputs:
        if one.is_floating_point() or one.dim() != 2 or one.shape[1] < 4:
            continue
        if labels.numel() != one.numel() or (labels.dim() == 2 and labels.shape != one.shape):
            continue
        same = (labels.reshape(one.shape)[:, :-1] == one[:, 1:]).float().mean()
        if float(same) >= NEXT_TOKEN and not bool((one == one[:, :1]).all()):
            return one
    return None


def _list_named(batch: Any) -> list[tuple[str, Tensor]]:
    if isinstance(batch, dict):
        return [(key, one) for key, one in batch.items() if isinstance(one, Tensor)]
    return [("", one) for one in collect_tensors(batch)]


def _try(examination: Examination, batch: Any) -> Tensor | None:
    try:
        return predict(examination.model, batch)
    except Exception as error:
        examination.add_note(
            f"A second pass in eval mode failed, so that it is not known what outputs depend on: "
            f"{type(error).__name__}: {error}"
        )
        return None


def _differ(before: Tensor, after: Tensor, left: Tensor, right: Tensor) -> bool:
    """Whether a part changed, while the whole did and is finite."""
    if before.shape != after.shape or not left.numel():
        return False
    if not bool(torch.isfinite(before).all()) or not bool(torch.isfinite(after).all()):
        return False
    spread = float(before.float().std()) or float(before.float().abs().max())
    return float((left - right).float().abs().max()) > CHANGED * spread > 0
