"""initialize(model, …): plan what is to be done with every parameter, then do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import nn

from fanin import seeds
from fanin.apply.parameters import Patterns, Role, Use, left_out, tied, uses
from fanin.apply.record import ParameterRecord, Record
from fanin.apply.shared import STREAM, sample_in_keras_order
from fanin.errors import FitError, UsageError, shown, unknown
from fanin.fans import Convention, Layout
from fanin.initializers import Initializer, get
from fanin.initializers.base import require_fillable

KEEP = "keep"


@dataclass(frozen=True)
class _Step:
    """What is to be done with one parameter."""

    uses: Sequence[Use]
    """The places that hold it; the first one is filled."""
    layout: Layout
    initializer: Initializer | None
    """None where it stays as it is."""
    records: tuple[ParameterRecord, ...]
    """One per use."""
    stream: str
    """The name of its random stream: its own, or the one that all weights share."""


def initialize(
    model: nn.Module,
    rule: str | Initializer,
    *,
    seed: int,
    include: Patterns | None = None,
    exclude: Patterns | None = None,
    preview: bool = False,
    convention: Convention = "kernel",
    biases: str | Initializer = "zero",
    norms: str | Initializer = "constant",
    embeddings: str | Initializer = "normal(std=0.02)",
    shared_stream: bool = False,
) -> Record:
    """Initialize a model in place and return the record of every parameter.

    Weights of linear layers, convolutions and transposed convolutions are filled by `rule` with their true fans (groups and
    transposition included). Parameters that are frozen (``requires_grad`` is False) or whose role is unknown stay as they
    are, and the record says so. A tied parameter is filled once, in its first known role. Every parameter has a random
    stream of its own, a function of (seed, qualified name), so that other layers do not matter to it. Everything is checked
    before the first number is written.

    Args:
        model: the module; dtype, device and memory format of its parameters are kept.
        rule: spec string or initializer of the weights, or "keep" to leave them.
        seed: from 0 to 2**63 - 1; the caller's global random state is neither used nor moved.
        include: pattern or patterns over qualified parameter names, such as ``"encoder.*"``; the others stay as they are.
        exclude: likewise, of the parameters that stay as they are.
        preview: return the record and change nothing.
        convention: of the fans, "kernel" or "effective" (see `fanin.fans`).
        biases: spec of biases, or "keep".
        norms: spec of the scale of normalization layers (1 unless given), whose shift becomes 0; "keep" keeps both.
        embeddings: spec of embedding tables, or "keep". The padding row becomes zero.
        shared_stream: draw every weight from the start of one and the same stream, as a Keras 3 program does that gives one
            initializer object to all layers (`fanin.apply.shared`). For comparisons with such a program only.

    Raises:
        UsageError: not a module, a bad seed, an unknown rule, a pattern that matches nothing.
        FitError: parameters that their rule cannot fill, or that have no shape or memory yet; all of them are named.

    Example:
        >>> record = initialize(nn.Linear(784, 10), "xavier_uniform", seed=0)
        >>> record["weight"].fan_in
        784

    Differs from the defaults of torch's layers in biases (uniform there) and embeddings (N(0, 1) there; U(±0.05) in Keras).
    """
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"initialize takes a torch.nn.Module, not {shown(model)}. "
            f"One tensor is filled by fanin.get('he_normal')(tensor, generator=…)."
        )
    if convention not in get_args(Convention):
        raise unknown("fan convention", convention, get_args(Convention))
    seed = seeds.check_seed(seed)
    policy = _policy(rule, biases, norms, embeddings)
    found = tuple(uses(model))
    untouched = left_out([use.name for use in found], include, exclude)
    steps = _plan(tied(found), policy, untouched, seed=seed, convention=convention, shared_stream=shared_stream)
    done = [step.records if preview else _filled(step, seed) for step in steps]
    by_name = {record.name: record for records in done for record in records}
    return Record(
        rule=str(policy["weight"] or KEEP),
        seed=seed,
        convention=convention,
        preview=preview,
        parameters=tuple(by_name[use.name] for use in found),
    )


def _policy(
    weights: str | Initializer, biases: str | Initializer, norms: str | Initializer, embeddings: str | Initializer
) -> dict[Role, Initializer | None]:
    """The initializer of each role; None where what is there is kept."""
    given: dict[Role, str | Initializer] = {
        "weight": weights,
        "bias": biases,
        "norm scale": norms,
        "norm shift": KEEP if norms == KEEP else "zero",
        "embedding": embeddings,
    }
    return {role: None if rule == KEEP else get(rule) for role, rule in given.items()}


def _plan(
    groups: Sequence[Sequence[Use]],
    policy: Mapping[Role, Initializer | None],
    untouched: Mapping[str, str],
    *,
    seed: int,
    convention: Convention,
    shared_stream: bool,
) -> list[_Step]:
    """What is to be done with each parameter; raises one `FitError` that names all that cannot be done."""
    steps: list[_Step] = []
    problems: list[str] = []
    for group in groups:
        initializer = policy.get(group[0].role)
        reason = _reason_to_keep(group, initializer, untouched)
        try:
            steps.append(_step(group, None if reason else initializer, reason, seed, convention, shared=shared_stream))
        except FitError as error:
            problems.append(f"{group[0].name} ({group[0].role}, {initializer}): {error}")
    if problems:
        raise FitError("\n".join(["Some parameters cannot be filled, so nothing was changed.", *problems]))
    records = [step.records[0] for step in steps if step.stream != STREAM]
    seeds.require_distinct({record.name: record.stream for record in records if record.stream is not None})
    return steps


def _reason_to_keep(group: Sequence[Use], initializer: Initializer | None, untouched: Mapping[str, str]) -> str:
    """Why a parameter stays as it is; empty where it does not."""
    head = group[0]
    reasons = [untouched.get(use.name) for use in group]
    if not all(use.parameter.requires_grad for use in group):
        return "frozen (requires_grad is False)"
    if "excluded" in reasons:
        return "excluded"
    if all(reasons):
        return "not included"
    if head.role == "unknown":
        return f"unknown role in {type(head.module).__name__}"
    return "" if initializer else f"{head.role} kept on request"


def _step(
    group: Sequence[Use], initializer: Initializer | None, reason: str, seed: int, convention: Convention, *, shared: bool
) -> _Step:
    head = group[0]
    stream = STREAM if shared and head.role == "weight" else head.name
    layout = head.layout(convention)
    record = _record(head, layout, reason or f"{head.role} of {type(head.module).__name__}")
    if initializer is not None:
        require_fillable(head.parameter)
        empty = head.parameter.numel() == 0
        record = replace(
            record,
            rule=initializer.spec,
            intended_std=None if empty else initializer.intended_std(layout),
            stream=None if empty or initializer.deterministic else seeds.stream(seed, "init", stream),
        )
    others = (replace(_record(use, use.layout(convention), f"tied to {head.name}"), tied_to=head.name) for use in group[1:])
    return _Step(group, layout, initializer, (record, *others), stream)


def _record(use: Use, layout: Layout, reason: str) -> ParameterRecord:
    return ParameterRecord(
        name=use.name,
        shape=tuple(use.parameter.shape),
        dtype=str(use.parameter.dtype).removeprefix("torch."),
        role=use.role,
        rule=None,
        reason=reason,
        fan_in=layout.fans.fan_in if layout.fans else None,
        fan_out=layout.fans.fan_out if layout.fans else None,
    )


def _filled(step: _Step, seed: int) -> tuple[ParameterRecord, ...]:
    """Fill one parameter as planned; the records of its uses."""
    parameter = step.uses[0].parameter
    if step.initializer is None or parameter.numel() == 0:
        return step.records
    generator = seeds.generator(seed, "init", step.stream)
    if step.stream == STREAM:
        with torch.no_grad():
            parameter.copy_(sample_in_keras_order(step.initializer, step.layout, generator))
    else:
        step.initializer.fill(parameter, step.layout, generator=generator)
    head, *others = (replace(record, changed=True) for record in step.records)
    if head.stream is not None:
        head = replace(head, measured_std=parameter.detach().float().std(correction=0).item())
    for use in step.uses:
        _clear_padding(use)
    return head, *others


def _clear_padding(use: Use) -> None:
    if isinstance(use.module, nn.Embedding | nn.EmbeddingBag) and use.module.padding_idx is not None:
        with torch.no_grad():
            use.module.weight[use.module.padding_idx].zero_()
