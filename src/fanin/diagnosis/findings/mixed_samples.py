"""What an output depends on and should not: other samples (F044), later tokens (F045)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.measurement import Measurement
from fanin.diagnosis.probe.second_passes import change_tensors, predict
from fanin.losses import IGNORED
from fanin.structure.forward_tracing import collect_tensors

CHANGED = 1e-3
"""Relative to the spread of the outputs. Other sums of the same numbers differ by 1e-6 or so."""
SAME_LOSS = 1e-4
"""Relative. Sums in another order differ by 1e-6; labels in other places, by 1e-3 and more."""
FEW = 4
"""Samples of the second passes: the first, the last, one that is replaced and one that moves."""
_KEY, _TOKENS = "outputs of second passes", "tokens of a next-token target"
NEXT_TOKEN = 0.95
"""The share of targets that are the next input from which on a model predicts what follows."""


def judge_sample_independence(examination: Examination) -> Iterator[Finding]:
    """F044: in eval mode the first or last sample's output changes with the others."""
    if not _has_samples(examination):
        return
    before, after = _run_both(examination)
    if before is None or after is None:
        return
    # In a recurrent layer only what comes before has an influence.
    kept = [0, len(before) - 1]
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


def _has_samples(examination: Examination) -> bool:
    """Whether it is known which axis counts samples, and that they should be independent."""
    measurement = examination.measurement
    if measurement is None or measurement.samples < 3 or measurement.output is None:
        return False
    if not any(one.trainable for one in measurement.parameters.values()):
        return False  # a quantized model scales its numbers by those of the whole batch
    count = measurement.samples
    tensors = collect_tensors(examination.batch)
    if not tensors or any(not one.dim() or len(one) != count for one in tensors):
        return False  # graphs and the like: an axis of other things than samples
    if any(one.dim() > 1 and one.shape[1] == count for one in (*tensors, measurement.output)):
        return False  # pairs of samples: contrastive losses, adjacency
    return measurement.output.dim() > 0 and len(measurement.output) == count


def _run_both(examination: Examination) -> tuple[Tensor | None, Tensor | None]:
    """The outputs in eval mode for the batch, and for one whose samples between the first and the
    last are others, with other tokens from the middle on: one pass for both questions.
    """
    if _KEY not in examination.worked_out:
        tokens = _find_tokens(examination)

        def exchange(values: Tensor) -> Tensor:
            if tokens is not None and _is_equal(values, tokens):
                values = values.clone()
                values[1:-1] = _change_later(values[1:-1])
            values = keep(values)
            return values[_order_others(len(values))]

        # With tokens a leak may touch few numbers: all samples are compared.
        keep = _keep_few if tokens is None else torch.Tensor.clone
        before = _try(examination, _change(examination, keep))
        after = None if before is None else _try(examination, _change(examination, exchange))
        examination.worked_out[_KEY] = before, after
    found: tuple[Tensor | None, Tensor | None] = examination.worked_out[_KEY]
    return found


def _keep_few(values: Tensor) -> Tensor:
    """The first samples and the last: more would only take longer."""
    return values if len(values) <= FEW else torch.cat([values[: FEW - 1], values[-1:]])


def _change(examination: Examination, change: Callable[[Tensor], Tensor]) -> Any:
    return change_tensors(examination.batch, change)


def _order_others(count: int) -> list[int]:
    """The samples between the first and the last in the reverse order, the first of them replaced:
    (a b c d e) becomes (a a c b e).
    """
    order = [0, *range(count - 2, 0, -1), count - 1]
    order[1] = 0
    return order


def _is_equal(values: Tensor, tokens: Tensor) -> bool:
    return values.shape == tokens.shape and torch.equal(values, tokens)


def _change_later(tokens: Tensor) -> Tensor:
    """Other tokens from the middle on."""
    changed = tokens.clone()
    middle = tokens.shape[1] // 2
    changed[:, middle:] = changed[:, middle:].flip(0).flip(1)
    return changed


def judge_causality(examination: Examination) -> Iterator[Finding]:
    """F045: a model that predicts the next token sees it."""
    measurement = examination.measurement
    tokens = _find_tokens(examination)
    if measurement is None or tokens is None or measurement.output is None:
        return
    if _arrange_by_step(measurement.output, tokens) is None:
        return
    middle = tokens.shape[1] // 2
    found = _compare_earlier(examination, tokens)
    if found is None or not _differ(*found, found[0][:, :middle], found[1][:, :middle]):
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


def _compare_earlier(examination: Examination, tokens: Tensor) -> tuple[Tensor, Tensor] | None:
    """The outputs for the same samples before and after a change of their later tokens."""
    if _has_samples(examination):
        before, after = _run_both(examination)
        if before is None or after is None:
            return None
        kept = [0, len(before) - 1]
        if not _differ(before, after, before[kept], after[kept]):
            # Of the samples between, the first is a copy of the first sample, with its tokens.
            order = _order_others(len(before))[2:-1]
            if order:
                return _arrange_both(before[order], after[2:-1], tokens[order])
    before = _try(examination, examination.batch)
    after = _try(
        examination,
        _change(examination, lambda one: _change_later(one) if _is_equal(one, tokens) else one),
    )
    return None if before is None or after is None else _arrange_both(before, after, tokens)


def _arrange_both(before: Tensor, after: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor] | None:
    one, other = _arrange_by_step(before, tokens), _arrange_by_step(after, tokens)
    return None if one is None or other is None else (one, other)


def _find_tokens(examination: Examination) -> Tensor | None:
    """The input of whole numbers whose next ones are the target; searched once."""
    if _TOKENS not in examination.worked_out:
        examination.worked_out[_TOKENS] = _search_tokens(examination)
    found: Tensor | None = examination.worked_out[_TOKENS]
    return found


def _search_tokens(examination: Examination) -> Tensor | None:
    given, labels = examination.batch, examination.target
    inputs = [one for key, one in _list_named(given) if key != "labels"]
    if labels is None and isinstance(given, dict):
        labels = given.get("labels")
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.dim() > 2:
        return None
    shifted = _shifts_labels(examination.measurement, labels)
    for one in inputs:
        if one.is_floating_point() or one.dim() != 2 or one.shape[1] < 4:
            continue
        if labels.numel() != one.numel() or (labels.dim() == 2 and labels.shape != one.shape):
            continue
        fitted = labels.reshape(one.shape)
        same = (fitted == one)[fitted != IGNORED] if shifted else fitted[:, :-1] == one[:, 1:]
        if float(same.float().mean()) >= NEXT_TOKEN and not bool((one == one[:, :1]).all()):
            return one
    return None


def _shifts_labels(measurement: Measurement | None, labels: Tensor) -> bool:
    """Whether the model's own loss compares each output with the label after it, as causal models
    of transformers do: it is that cross-entropy, and not the one of labels in their places.
    """
    if measurement is None or measurement.loss.kind != "model" or measurement.loss.value is None:
        return False
    output, value = measurement.output, measurement.loss.value
    if output is None or output.dim() != 3 or output.shape[:2] != labels.shape:
        return False
    if not bool(((labels >= 0) & (labels < output.shape[2]) | (labels == IGNORED)).all()):
        return False
    labels, totals = labels.to(output.device), output.logsumexp(-1)
    shifted = _compare(output[:, :-1], totals[:, :-1], labels[:, 1:])
    return _is_close(shifted, value) and not _is_close(_compare(output, totals, labels), value)


def _compare(output: Tensor, totals: Tensor, labels: Tensor) -> float:
    """The cross-entropy, where `totals` is the logarithm of the sum over classes."""
    known = labels != IGNORED
    picked = output.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return float((totals - picked)[known].float().mean())


def _is_close(found: float, value: float) -> bool:
    return abs(found - value) <= SAME_LOSS * abs(value)


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
    gap = float((left - right).abs().max())
    if gap == 0 or not _is_finite(before) or not _is_finite(after):
        return False
    spread = float(before.float().std()) or float(before.float().abs().max())
    return gap > CHANGED * spread > 0


def _is_finite(values: Tensor) -> bool:
    return all(math.isfinite(one) for one in map(float, torch.aminmax(values)))
