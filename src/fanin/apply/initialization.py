"""initialize(model, …): plan every parameter, allocate memory if it has none, then fill it."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from fanin.apply import meta
from fanin.apply.arguments import check_arguments, collect_rules
from fanin.apply.fill import fill, fill_all
from fanin.apply.fitting import FitBatch, check_fit_batch, fit_model, restore_weights_on_error
from fanin.apply.fully_sharded import gather_flat_parameters
from fanin.apply.loaded_parameters import find_loaded, warn_if_all_loaded
from fanin.apply.materialization import list_kept, mark_change, mark_made, materialize_model
from fanin.apply.model_facts import list_model_initializers
from fanin.apply.model_parameters import find_uses
from fanin.apply.module_function import Materialize
from fanin.apply.parameter_record import ParameterRecord
from fanin.apply.patterns import Patterns, find_untouched
from fanin.apply.planned_fill import PlannedFill
from fanin.apply.previous_values import remember_written
from fanin.apply.record import Record
from fanin.apply.reparametrization import undo_on_error
from fanin.apply.requirements import collect_multipliers, collect_requirements
from fanin.apply.resolution import Resolution, resolve_rules
from fanin.apply.rules import Rule, Rules
from fanin.apply.told_layouts import Split
from fanin.apply.unfilled import require_known
from fanin.apply.waiting_layers import attach_all, plan_waiting, refuse_whole_model_rules
from fanin.errors import FitError
from fanin.fans import Convention, Layout
from fanin.losses import LossFunction


def initialize(
    model: nn.Module,
    rules: Rule | Mapping[Any, Rule] | Rules,
    *,
    seed: int,
    default: Rule | None = None,
    batch: Any = None,
    target: Any = None,
    loss: LossFunction | None = None,
    roles: Mapping[str, str] | None = None,
    device: str | torch.device | None = None,
    materialize: Materialize | None = None,
    only: Patterns | None = None,
    exclude: Patterns | None = None,
    loaded: Mapping[str, Any] | None = None,
    preview: bool = False,
    convention: Convention = "kernel",
    recurrent: Rule | None = None,
    biases: Rule | None = None,
    norms: Rule | None = None,
    embeddings: Rule | None = None,
    split: Mapping[str, Split] | None = None,
    layouts: Mapping[str, Layout] | None = None,
    special: str | None = None,
    strict: bool = False,
    shared_stream: bool = False,
) -> Record:
    """Initialize a model in place and return the record of every parameter.

    Everything is checked before the first number is written; an error leaves the model unchanged.
    Weights are filled with their true fans (groups, transposition, packed parts such as the gates
    of an LSTM). A parameter's random stream depends on (seed, qualified name) only. `fanin.apply`
    describes frozen, tied and reparametrized parameters.

    Args:
        model: the module; dtype, device, memory format and sharding (DTensor, FSDP2) stay as they
            are and do not affect the draws.
        rules: a spec or initializer for all weights, "keep", `Rules`, or rules by pattern, of which
            the last match counts: over qualified names (``{"*.attn.*": "xavier_uniform"}``), by
            layer class (``{nn.Conv2d: "he_normal"}``, subclasses too) or by ``re.compile(…)``.
        seed: from 0 to 2**63 - 1; the global random state is neither used nor changed.
        default: the rule for weights that no pattern matches; required with patterns.
        batch: inputs (a tuple for several, a dict for named ones) of a forward pass that shows what
            follows each layer, how raw parameters are used and which maps a layer packs. Without it
            the model is traced, and no packed maps are found.
        target: labels of the batch, for methods that look at the loss: cross-entropy for whole
            numbers, the mean squared error for real ones.
        loss: a function of (output, target), or of the output alone without `target`; instead of
            the loss that the target implies, or of the output's own ``.loss``.
        roles: what layers do, by pattern over their names, where the graph does not show it or you
            see it otherwise: ``{"*.w3": "up"}`` (`fanin.structure.describe_structure`).
        device: the device for a model on "meta". Buffers, and trainable parameters that no rule
            fills, are filled by their module's reset method, or raise; frozen ones raise.
        materialize: a function that fills a model on "meta" before the rules do, for what only its
            constructor knew: called with each module, inner ones first, as transformers'
            ``model._init_weights``, or once without arguments, as timm's ``model.init_weights``.
        only: pattern or patterns of the parameters that may be touched, such as ``"encoder.*"`` or
            ``nn.Conv2d``; all others stay.
        exclude: pattern or patterns of the parameters to leave unchanged.
        loaded: the state dict that was loaded into the model: its parameters stay, and those that
            it lacks are initialized. Default: what transformers' ``from_pretrained`` has loaded, by
            its flags (`fanin.apply.loaded_parameters`). ``{}``: nothing was.
        preview: return the record without changing the model; nothing is fitted to a batch.
        convention: how fans are counted, "kernel" or "effective" (see `fanin.fans`).
        recurrent: rule for hidden-to-hidden weights; default: as other weights.
        biases: rule for biases; default: zero. See ``forget_gate`` and ``chrono``.
        norms: rule for scales of normalization layers; default: 1. Shifts become 0 unless "keep".
        embeddings: rule for embedding tables; default: normal(std=0.02). Padding rows become 0.
        split: packed parameters that fanin does not know, by pattern: ``{"q": 768, "k": 256, "v":
            256}``, a list of sizes, or a number of equal parts.
        layouts: which axes count inputs, outputs and maps, by pattern, for parameters that no layer
            describes: ``{"*.experts.up": fanin.Layout(in_axis=2, out_axis=1, batch_axis=0)}``.
        special: "keep" (the default) or "overwrite" values that the model has set on purpose and
            that no rule names, such as zero gammas and LoRA's B (see `fanin.apply`).
        strict: raise if a tenth of the numbers or more would stay as they are because fanin does
            not know their parameters; without it that is a warning.
        shared_stream: draw every weight from one stream, as Keras 3 does with a shared initializer.

    Raises:
        UsageError: not a module, a bad seed, an unknown rule, or a pattern without a match.
        FitError: parameters that cannot be filled, or that have no shape or memory; names them all.

    >>> record = initialize(nn.Linear(784, 10), "xavier_uniform", seed=0)
    >>> record["weight"].fan_in
    784

    torch's layers differ: uniform biases, embeddings from N(0, 1). See "torch_default".
    """
    seed = check_arguments(model, convention, seed)
    chosen = collect_rules(
        rules, default, (recurrent, biases, norms, embeddings, split, layouts, special)
    )
    place = meta.check_device(device)
    fit_batch = FitBatch(batch, target, loss)
    fits = not preview and check_fit_batch(list_model_initializers(chosen), fit_batch)
    with gather_flat_parameters(model):
        uses = find_uses(model, convention)
        untouched = find_untouched(uses, only, exclude) | find_loaded(model, uses, loaded)
        kept = list_kept(uses, chosen, untouched)
        with materialize_model(model, materialize, place, seed, kept=kept, undo=preview) as made:
            uses = find_uses(model, convention)
            refuse_whole_model_rules(uses, chosen)
            found = resolve_rules(model, uses, chosen, untouched, batch, roles)
            waiting, late = plan_waiting(
                found.resolver,
                found.uses,
                chosen,
                untouched,
                seed=seed,
                shared=shared_stream,
                convention=convention,
                strict=strict,
            )
            plan = mark_made(found.resolver.plan_fills(seed, shared=shared_stream), made)
            requires = collect_requirements(found.resolver.plans)
            require_known(plan, strict=strict)
            warn_if_all_loaded(plan)
            tried = materialize is not None
            with restore_weights_on_error(model, needed=fits):
                records = _fill(model, plan, place, seed, tried=tried, preview=preview)
                if fits:
                    records = fit_model(found, plan, records, fit_batch)
    record = Record(
        rule=str(chosen.default),
        rules=chosen.to_json(),
        seed=seed,
        convention=convention,
        preview=preview,
        parameters=_sort_records(found, [*records, *late]),
        overlaps=found.resolver.overlaps,
        requires=requires,
        multipliers=collect_multipliers(found.resolver),
        model_reference=weakref.ref(model),
    )
    if not preview:
        attach_all(model, waiting, record)
    return record


def _sort_records(
    found: Resolution, done: Sequence[tuple[ParameterRecord, ...]]
) -> tuple[ParameterRecord, ...]:
    """The records in the order of the model, with what was there before; those behind a
    reparametrized weight after it.
    """
    by_name = {record.name: record for records in done for record in records}
    names = [name for use in found.uses for name in (use.name, *(one.name for one in use.carriers))]
    return tuple(
        replace(
            by_name[name],
            before=found.previous.get(name),
            place=found.resolver.describe_place(name),
        )
        for name in dict.fromkeys(names)
    )


def _fill(
    model: nn.Module,
    planned_fills: Sequence[PlannedFill],
    device: torch.device | None,
    seed: int,
    *,
    tried: bool,
    preview: bool,
) -> list[tuple[ParameterRecord, ...]]:
    """Fill every parameter; reparametrized ones first, since a user's parametrization may fail, and
    then all is put back. A preview fills none.
    """
    if preview:
        return [planned.records for planned in planned_fills]
    reset = {
        id(planned)
        for planned in planned_fills
        if planned.initializer is None and planned.uses[0].parameter.is_meta and device is not None
    }
    through = [planned for planned in planned_fills if planned.writes and planned.uses[0].through]
    with _provide_memory(model, planned_fills, device, seed, tried=tried):
        with undo_on_error(
            [(planned.uses[0].module, planned.uses[0].local) for planned in through]
        ):
            done = {id(planned): fill(planned, seed) for planned in through}
        rest = [planned for planned in planned_fills if id(planned) not in done]
        done |= {
            id(planned): records
            for planned, records in zip(rest, fill_all(rest, seed), strict=True)
        }
        remember_written(
            one.parameter
            for planned in planned_fills
            if planned.writes
            for one in planned.uses[0].carriers
        )
    return [
        mark_change(
            done[id(planned)], "it had no memory, and its module's own reset method filled it"
        )
        if id(planned) in reset
        else done[id(planned)]
        for planned in planned_fills
    ]


def _provide_memory(
    model: nn.Module,
    planned_fills: Sequence[PlannedFill],
    device: torch.device | None,
    seed: int,
    *,
    tried: bool,
) -> AbstractContextManager[None]:
    """Allocate a model on meta; parameters that are left out may stay if no device is given."""
    filled_groups = [planned.uses for planned in planned_fills if planned.initializer is not None]
    kept_groups = [planned.uses for planned in planned_fills if planned.initializer is None]
    names = meta.list_meta_parameters(use for group in filled_groups for use in group)
    left = meta.list_meta_parameters(use for group in kept_groups for use in group)
    buffers = meta.list_meta_buffers(model)
    if device is not None and (names or left or buffers):
        return meta.provide_values(model, filled_groups, kept_groups, device, seed, tried=tried)
    missing = names or ([] if left else buffers)
    if missing:
        raise FitError(
            f"{meta.list_some(missing)}: no memory (device meta). Choose a device: "
            "fanin.initialize(model, …, device='cpu')."
        )
    return nullcontext()
