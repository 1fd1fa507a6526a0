"""initialize(model, …): plan what is to be done with every parameter, give it memory where it has
none, then fill it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import nn

from fanin import seeds
from fanin.apply import meta
from fanin.apply.fill import PlannedFill, fill, fill_all
from fanin.apply.filling_plan import RuleResolver, find_followers, needs_followers
from fanin.apply.model_parameters import ParameterUse, Patterns, find_untouched, find_uses
from fanin.apply.record import ParameterRecord, Record
from fanin.apply.reparametrization import undo_on_error
from fanin.apply.rules import Rule, Rules, Split
from fanin.errors import FitError, UnknownName, UsageError, quote
from fanin.fans import Convention

_NEEDS_DEFAULT = "Rules by pattern need a default for the weights that no pattern means: default='auto', another rule, or default='keep'."


def initialize(
    model: nn.Module,
    rules: Rule | Mapping[str, Rule] | Rules,
    *,
    seed: int,
    default: Rule | None = None,
    batch: Any = None,
    device: str | torch.device | None = None,
    include: Patterns | None = None,
    exclude: Patterns | None = None,
    preview: bool = False,
    convention: Convention = "kernel",
    recurrent: Rule | None = None,
    biases: Rule | None = None,
    norms: Rule | None = None,
    embeddings: Rule | None = None,
    split: Mapping[str, Split] | None = None,
    shared_stream: bool = False,
) -> Record:
    """Initialize a model in place and return the record of every parameter.

    Weights of linear layers, convolutions, attention and recurrent layers are filled with their
    true fans: groups and transposition are taken into account, and each of the maps that a
    parameter packs (q, k, v; the gates of an LSTM) is drawn on its own. Frozen parameters
    (``requires_grad`` is False) and those of unknown role stay as they are, and the record says so.
    A tied parameter is filled once, in its first known role; a reparametrized one (weight_norm,
    spectral_norm, orthogonal) through its parametrization. Every parameter has a random stream of
    its own, a function of (seed, qualified name), so that other layers do not matter to it.
    Everything is checked before the first number is written.

    Args:
        model: the module; dtype, device, memory format and sharding (DTensor, FSDP2) are kept and
            do not change what is drawn.
        rules: a spec string or initializer for all weights, "keep" to leave them, rules by pattern
            over qualified names such as ``{"*.attn.*": "xavier_uniform"}`` (the last one that
            matches counts), or `Rules`.
        seed: from 0 to 2**63 - 1; the caller's global random state is neither used nor moved.
        default: the rule of weights that no pattern means; needed with patterns.
        batch: inputs on which a model-level rule may observe the model, as it takes them (a tuple
            for several, a dict for named ones); without it the model is traced.
        device: where a model on the device meta gets its memory. What no rule fills there, buffers
            for one, the reset method of its module fills, or that is an error. What has memory
            stays where it is.
        include: pattern or patterns over qualified parameter names, such as ``"encoder.*"``; the
            others stay as they are.
        exclude: likewise, of the parameters that stay as they are.
        preview: return the record and change nothing.
        convention: of the fans, "kernel" or "effective" (see `fanin.fans`).
        recurrent: rule of hidden-to-hidden weights; that of all weights unless given.
        biases: rule of biases; zero unless given. ``forget_gate`` and ``chrono`` know the gates of
            LSTM and GRU.
        norms: rule of the scale of normalization layers (1 unless given), whose shift becomes 0;
            "keep" keeps both.
        embeddings: rule of embedding tables; normal(std=0.02) unless given. The padding row becomes
            zero.
        split: parts of parameters that pack several maps unknown to fanin, by pattern:
            ``{"*.qkv.*": {"q": 768, "k": 256, "v": 256}}``, a list of sizes, or into how many equal
            parts.
        shared_stream: draw every weight from the start of one and the same stream, as a Keras 3
            program does that gives one initializer object to all layers
            (`fanin.apply.shared_stream`). For comparisons with such a program only.

    Raises:
        UsageError: not a module, a bad seed, an unknown rule, a pattern that matches nothing.
        FitError: parameters that their rule cannot fill, or that have no shape or memory yet; all
            of them are named.

    Example:
        >>> record = initialize(nn.Linear(784, 10), "xavier_uniform", seed=0)
        >>> record["weight"].fan_in
        784

    Differs from torch's layers in biases (uniform there) and embeddings (N(0, 1) there): see
    "torch_default", "keras_default".
    """
    seed = _check_arguments(model, convention, seed)
    by_role = {
        "recurrent": recurrent,
        "biases": biases,
        "norms": norms,
        "embeddings": embeddings,
        "split": split,
    }
    chosen = _collect_rules(rules, default, by_role)
    target = meta.check_device(device)
    found = find_uses(model, convention)
    followers = find_followers(model, batch) if needs_followers(chosen) else {}
    resolver = RuleResolver(
        found, chosen, followers, find_untouched([use.name for use in found], include, exclude)
    )
    planned_fills = resolver.plan_fills(seed, shared=shared_stream)
    done = (
        [planned.records for planned in planned_fills]
        if preview
        else _fill(model, planned_fills, target, seed)
    )
    return Record(
        rule=str(chosen.default),
        rules=chosen.to_json(),
        seed=seed,
        convention=convention,
        preview=preview,
        parameters=_sort_records(found, done),
        overlaps=resolver.overlaps,
    )


def _check_arguments(model: object, convention: object, seed: object) -> int:
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"initialize takes a torch.nn.Module, not {quote(model)}. "
            f"One tensor is filled by fanin.get('he_normal')(tensor, generator=…)."
        )
    if convention not in get_args(Convention):
        raise UnknownName.suggest("fan convention", convention, get_args(Convention))
    return seeds.check_seed(seed)


def _collect_rules(rules: object, default: Rule | None, by_role: Mapping[str, Any]) -> Rules:
    """All that was given as one object."""
    given = {name: value for name, value in by_role.items() if value is not None}
    if isinstance(rules, Rules):
        if default is not None or given:
            extra = ", ".join(["default"] * (default is not None) + list(given))
            raise UsageError(
                f"Rules have everything in them; {extra} cannot be given besides. Use "
                "dataclasses.replace(rules, …)."
            )
        return rules
    if isinstance(rules, Mapping):
        if default is None:
            raise UsageError(_NEEDS_DEFAULT)
        return Rules(default=default, patterns=rules, **given)
    if default is not None:
        raise UsageError(
            f"default belongs to rules by pattern, such as {{'*.attn.*': 'xavier_uniform'}}; the "
            f"rules are {quote(rules)}."
        )
    return Rules(default=rules, **given)  # type: ignore[arg-type]


def _sort_records(
    found: Sequence[ParameterUse], done: Sequence[tuple[ParameterRecord, ...]]
) -> tuple[ParameterRecord, ...]:
    """The records in the order of the model; those behind a reparametrized weight after it."""
    by_name = {record.name: record for records in done for record in records}
    names = [name for use in found for name in (use.name, *(one.name for one in use.carriers))]
    return tuple(by_name[name] for name in dict.fromkeys(names))


def _fill(
    model: nn.Module, planned_fills: Sequence[PlannedFill], device: torch.device | None, seed: int
) -> list[tuple[ParameterRecord, ...]]:
    """Fill every parameter; reparametrized ones first, since a user's parametrization may fail, and
    then all is put back.
    """
    reset = {
        id(planned)
        for planned in planned_fills
        if planned.initializer is None and planned.uses[0].parameter.is_meta and device is not None
    }
    through = [planned for planned in planned_fills if planned.writes and planned.uses[0].through]
    with _provide_memory(model, planned_fills, device, seed):
        with undo_on_error(
            [(planned.uses[0].module, planned.uses[0].local) for planned in through]
        ):
            done = {id(planned): fill(planned, seed) for planned in through}
        rest = [planned for planned in planned_fills if id(planned) not in done]
        done |= {
            id(planned): records
            for planned, records in zip(rest, fill_all(rest, seed), strict=True)
        }
    return [
        _mark_reset(done[id(planned)]) if id(planned) in reset else done[id(planned)]
        for planned in planned_fills
    ]


def _provide_memory(
    model: nn.Module, planned_fills: Sequence[PlannedFill], device: torch.device | None, seed: int
) -> contextlib.AbstractContextManager[None]:
    """Memory for a model on meta; what is left out may stay there as long as no device is given."""
    filled_groups = [planned.uses for planned in planned_fills if planned.initializer is not None]
    kept_groups = [planned.uses for planned in planned_fills if planned.initializer is None]
    names = meta.list_meta_parameters(use for group in filled_groups for use in group)
    left = meta.list_meta_parameters(use for group in kept_groups for use in group)
    buffers = meta.list_meta_buffers(model)
    if device is not None and (names or left or buffers):
        return meta.materialize(model, filled_groups, kept_groups, device, seed)
    missing = names or ([] if left else buffers)
    if missing:
        listed = ", ".join(missing[:5]) + (
            f", … ({len(missing)} in all)" if len(missing) > 5 else ""
        )
        raise FitError(
            f"{listed}: no memory (device meta). Say where it is to be: fanin.initialize(model, …, "
            "device='cpu')."
        )
    return contextlib.nullcontext()


def _mark_reset(records: tuple[ParameterRecord, ...]) -> tuple[ParameterRecord, ...]:
    """The records of a parameter that no rule fills, and that had no values to keep."""
    head, *others = (replace(record, changed=True) for record in records)
    return replace(
        head, reason=f"{head.reason}; it had no memory, and its module's own reset method filled it"
    ), *others
