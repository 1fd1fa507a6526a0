"""Rank initializers for one model by how it starts from each: `compare`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from torch import nn

from fanin import seeds as streams
from fanin.apply import Rules, collect_unfilled, initialize
from fanin.diagnosis.advice.comparison import AS_IT_IS, ComparedStart, Comparison, average_logs
from fanin.diagnosis.advice.copying import copy_model
from fanin.diagnosis.advice.improvement import Audited, get_loss_value, is_serious
from fanin.diagnosis.advice.start_score import list_hidden, score_start
from fanin.errors import FitError, UsageError, quote
from fanin.initializers import Initializer, get
from fanin.losses import LossFunction
from fanin.structure import unwrap_model

USUAL = ("auto", "he_normal", "xavier_uniform", "lecun_normal", "orthogonal", "torch_default")
"""What is compared if nothing else is asked for."""


def compare(
    audit: Callable[[nn.Module], Audited],
    model: nn.Module,
    initializers: Sequence[str | Initializer | Rules] = USUAL,
    *,
    seeds: int = 3,
    seed: int = 0,
    batch: Any = None,
    target: Any = None,
    loss: LossFunction | None = None,
) -> Comparison:
    """Initialize copies of a model in several ways, audit each, and rank them by a score.

    The score, and what it cannot say, is described in `fanin.diagnosis.advice.start_score`.
    Two are tied if their scores differ by less than two standard errors over the seeds, or by less
    than 0.3. The model's own weights take part too.

    Args:
        audit: the audit of a model, with everything but the model given.
        model: it is left unchanged.
        initializers: specs, initializers or `Rules`; as `fanin.initialize` takes them.
        seeds: how many draws of each.
        seed: what they are derived from.
        batch, target, loss: as in `fanin.initialize`.

    Raises:
        UnknownName: no initializer has that name.
        UsageError: no initializers, or a number of seeds below 1.
    """
    if isinstance(initializers, str) or not initializers:
        raise UsageError(
            "compare takes a list of initializers, such as ['he_normal', 'orthogonal'], not "
            f"{quote(initializers)}."
        )
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise UsageError(f"seeds must be a whole number of 1 or more, not {quote(seeds)}.")
    rules = [one if isinstance(one, Rules) else get(one) for one in initializers]
    numbers = [streams.derive_seed(seed, "compare", index) for index in range(seeds)]
    rows = [_describe(AS_IT_IS, [audit(model)])]
    given = {"batch": batch, "target": target, "loss": loss}
    rows += [_compare_one(audit, model, rule, numbers, given) for rule in dict.fromkeys(rules)]
    name = type(unwrap_model(model)).__name__
    ranked = sorted(rows, key=lambda row: row.score)
    return Comparison(rows=tuple(ranked), seeds=seeds, model_name=name)


def _compare_one(
    audit: Callable[[nn.Module], Audited],
    model: nn.Module,
    rule: Initializer | Rules,
    numbers: Sequence[int],
    given: Mapping[str, Any],
) -> ComparedStart:
    name = str(rule.default) if isinstance(rule, Rules) else rule.spec
    audits = []
    for number in numbers:
        copied = copy_model(model)
        try:
            with collect_unfilled():
                initialize(copied, rule, seed=number, **given)
        except (FitError, UsageError) as error:
            return _describe(name, [], problem=f"does not fit: {str(error).splitlines()[-1]}")
        audits.append(audit(copied))
    return _describe(name, audits)


def _describe(name: str, audits: Sequence[Audited], problem: str = "") -> ComparedStart:
    losses = [value for one in audits if (value := get_loss_value(one)) is not None]
    factors = [_measure_factors(one) for one in audits]
    codes = {one.code for audited in audits for one in audited.findings if is_serious(one)}
    return ComparedStart(
        initializer=name,
        scores=tuple(map(score_start, audits)),
        loss=fmean(losses) if losses and all(map(math.isfinite, losses)) else None,
        signal=average_logs([forward for forward, _ in factors]),
        gradient=average_logs([backward for _, backward in factors]),
        codes=tuple(sorted(codes)),
        problem=problem,
    )


def _measure_factors(audited: Audited) -> tuple[float | None, float | None]:
    """By what the signal changes from the first hidden layer to the last, and the gradient from the
    last to the first.
    """
    if audited.measurement is None:
        return None, None
    hidden = list_hidden(audited.measurement)
    if not hidden:
        return None, None
    first, last = hidden[0], hidden[-1]
    return _divide(last.rms, first.rms), _divide(first.gradient_rms, last.gradient_rms)


def _divide(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None
