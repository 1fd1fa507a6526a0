"""initialize_lora: the start of LoRA's pairs; what the model computes stays the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fanin import seeds
from fanin.additions.lora_method import REGISTRY, LoraMethod, LoraTask
from fanin.additions.lora_pairs import LoraPair, list_pairs
from fanin.additions.lora_signals import record_signals
from fanin.errors import FitError, UnknownName, UsageError

Existing = Literal["refuse", "fold", "drop"]

_NOISE = 8
"""So many units of rounding of A and B may their product have and still count as zero."""


@dataclass(frozen=True, kw_only=True)
class PairChange:
    """What was done with one pair."""

    name: str
    rank: int
    scaling: float
    added: float
    """‖scaling·B·A‖ / ‖W‖ at the start."""
    subtracted: bool
    """Whether the weight gave that up."""
    deviation: float
    """How far W + scaling·B·A is from what it was, relative to the largest entry: rounding."""


@dataclass(frozen=True, kw_only=True)
class LoraRecord:
    """What `initialize_lora` did."""

    method: str
    seed: int
    pairs: tuple[PairChange, ...]

    def __str__(self) -> str:
        """A line per pair."""
        lines = [f"{self.method}, seed {self.seed}: {len(self.pairs)} pairs"]
        for one in self.pairs:
            given = f", given up by the weight (±{one.deviation:.1g})" if one.subtracted else ""
            lines.append(
                f"  {one.name}: rank {one.rank}, scaling {one.scaling:g}, adds {one.added:.3g} of "
                f"the weight{given}"
            )
        return "\n".join(lines)


def initialize_lora(
    model: nn.Module | LoraPair | Iterable[LoraPair],
    method: str = "kaiming",
    *,
    seed: int,
    adapter: str | None = None,
    batch: Any = None,
    existing: Existing = "refuse",
) -> LoraRecord:
    """Start LoRA's pairs by a method, in place. What the model computes stays the same.

    | method | A | B | the weight |
    |---|---|---|---|
    | kaiming | U(±1/√inputs) | 0 | |
    | gaussian | N(0, 1/rank²) | 0 | |
    | orthogonal | random | random, B·A = 0 | |
    | pissa, pissa(niter=16) | √(S/s)·Vᵀ | U·√(S/s) | gives up s·B·A |
    | olora | R | Q | gives up s·B·A |
    | eva | principal directions of the inputs | 0 | |

    s is the scaling, α/rank, or α/√rank in rsLoRA, as the layer has it. Computed in fp32 (fp64 for
    weights in fp64) and rounded to the layers' precision; the weight gives up the product of the
    rounded A and B.

    Args:
        model: a model with LoRA layers of peft on linear layers, convolutions, embeddings or
            Conv1D; or a `LoraPair`, or several.
        method: the spec of a method.
        seed: from 0 to 2**63 - 1; each pair has its own stream.
        adapter: the name of peft's adapter, if there are several.
        batch: for eva, the model's input (of a pair: that of its layer). Places that an
            ``attention_mask`` leaves out do not count.
        existing: what to do with pairs that add something already, as after PiSSA or training:
            "refuse", "fold" it into the weight first, so that the function stays, or "drop" it.

    Raises:
        UsageError: no pairs, an unknown method or adapter, or a batch that is missing.
        FitError: shapes that are no pair, a rank that a method cannot have, a weight that is
            quantized, tied or shared with another adapter and would have to give something up.
            Everything is unchanged then.

    >>> base, a, b = nn.Linear(6, 4), nn.Linear(6, 2, bias=False), nn.Linear(2, 4, bias=False)
    >>> pair = LoraPair(base, a, b, scaling=4.0)
    >>> record = initialize_lora(pair, "pissa", seed=0, existing="drop")
    >>> record.pairs[0].subtracted
    True

    peft: equal but for random numbers, which are drawn from `seed` here; OLoRA on Conv1D and PiSSA
    on convolutions work here. A peft adapter that changes its weight is saved without it: see
    peft's `path_initial_model_for_weight_conversion`.
    """
    chosen = REGISTRY.make(method)
    seed = seeds.check_seed(seed)
    if existing not in get_args(Existing):
        raise UnknownName.suggest("way with what exists", existing, get_args(Existing))
    if chosen.needs_data and batch is None:
        raise UsageError(f"{chosen} looks at what the layers receive: give batch=….")
    pairs = list_pairs(model, adapter)
    for pair in pairs:
        _check_pair(pair, chosen, writes_weight=chosen.subtracts or existing == "fold")
    found = [_find_addition(pair, existing) for pair in pairs]
    if chosen.subtracts or any(one is not None for one in found):
        _refuse_ties(model, pairs)
    signals = record_signals(model, pairs, batch) if chosen.needs_data else {}
    with torch.no_grad():
        made = [
            chosen.make_pair(_make_task(pair, seed, addition, signals.get(pair.name)))
            for pair, addition in zip(pairs, found, strict=True)
        ]
        changes = tuple(
            _write(pair, chosen, parts, addition)
            for pair, parts, addition in zip(pairs, made, found, strict=True)
        )
    return LoraRecord(method=chosen.spec, seed=seed, pairs=changes)


def _make_task(
    pair: LoraPair, seed: int, addition: Tensor | None, signals: Tensor | None
) -> LoraTask:
    def read_weight() -> Tensor:
        weight = pair.read_matrix()
        return weight if addition is None else weight + addition

    return LoraTask(
        name=pair.name,
        rank=pair.rank,
        outputs=pair.outputs,
        inputs=pair.inputs,
        scaling=pair.scaling,
        table=pair.is_table,
        seed=seed,
        read_weight=read_weight,
        signals=signals,
    )


def _check_pair(pair: LoraPair, method: LoraMethod, *, writes_weight: bool) -> None:
    a, b = pair.a_weight, pair.b_weight
    for what, one in (("A", a), ("B", b)):
        if one.dim() < 2 or not one.is_floating_point() or one.is_meta or not one.numel():
            raise FitError(
                f"{what} of {pair.name} is {tuple(one.shape)}, {one.dtype} on {one.device}; a "
                "floating-point matrix in memory was expected."
            )
    if isinstance(pair.base, _ConvNd) and (pair.base.groups > 1 or pair.base.transposed):
        raise FitError(
            f"{pair.name} is a grouped or transposed convolution, whose pair is no product of two "
            "matrices. Leave it to peft's own start."
        )
    if b[0].numel() != pair.rank:
        raise FitError(
            f"{pair.name} is no pair: A is {tuple(a.shape)} (rank, inputs) and B is "
            f"{tuple(b.shape)} (outputs, rank)."
        )
    weight = pair.weight
    if writes_weight and (not weight.is_floating_point() or weight.is_meta):
        raise FitError(
            f"{method} changes the weight of {pair.name}, which is {weight.dtype} on "
            f"{weight.device}. Use it before the model is quantized, or use kaiming."
        )
    if weight.is_floating_point():
        shape = (pair.inputs, pair.outputs) if pair.is_transposed else (pair.outputs, pair.inputs)
        seen = tuple(weight.flatten(1).shape)
        if seen != shape:
            raise FitError(
                f"A and B of {pair.name} make a weight of {shape}, and the layer's is {seen}."
            )
        if writes_weight and not bool(weight.isfinite().all()):
            raise FitError(f"The weight of {pair.name} holds NaN or infinity.")
    if method.subtracts and pair.others:
        raise FitError(
            f"{method} changes the weight of {pair.name}, which the adapters "
            f"{', '.join(pair.others)} use too. Use kaiming, gaussian, orthogonal or eva."
        )


def _find_addition(pair: LoraPair, existing: Existing) -> Tensor | None:
    """What a pair adds now and the weight shall take over; None if nothing."""
    if existing == "drop":
        return None
    a, b = (one.detach().cpu().flatten(1).double() for one in (pair.a_weight, pair.b_weight))
    squared = float(((b.T @ b) * (a @ a.T)).sum())
    noise = _NOISE * max(torch.finfo(one.dtype).eps for one in (pair.a_weight, pair.b_weight))
    bias = getattr(pair.b, "bias", None)
    if bias is not None and bool(bias.detach().any()):
        raise FitError(
            f"B of {pair.name} has a bias that is not 0. Set it to 0, or say existing='drop'."
        )
    if squared <= (noise * float(a.norm() * b.norm())) ** 2:
        return None
    if existing == "refuse":
        raise FitError(
            f"{pair.name} adds something to its weight already, as after PiSSA, OLoRA or training "
            "(or as torch's own start of two layers). existing='fold' puts that into the weight "
            "first, so that the function stays; existing='drop' forgets it."
        )
    return pair.compute_addition()


def _refuse_ties(model: object, pairs: Sequence[LoraPair]) -> None:
    """A weight that changes must be nobody else's."""
    if not isinstance(model, nn.Module):
        counts: dict[int, int] = {}
        for pair in pairs:
            counts[id(pair.weight)] = counts.get(id(pair.weight), 0) + 1
    else:
        counts = {}
        for _, parameter in model.named_parameters(remove_duplicate=False):
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    for pair in pairs:
        if counts.get(id(pair.weight), 0) > 1:
            raise FitError(
                f"The weight of {pair.name} is tied to another layer's, which would change with "
                "it. Use kaiming, gaussian, orthogonal or eva, or untie it."
            )


def _write(
    pair: LoraPair, method: LoraMethod, parts: tuple[Tensor, Tensor], addition: Tensor | None
) -> PairChange:
    a, b = parts
    readable = pair.weight.is_floating_point() and not pair.weight.is_meta
    wanted = pair.read_matrix() if readable else None
    if wanted is not None and addition is not None:
        wanted = wanted + addition
    pair.a_weight.detach().copy_(a.reshape(pair.a_weight.shape))
    pair.b_weight.detach().copy_(b.reshape(pair.b_weight.shape))
    bias = getattr(pair.b, "bias", None)
    if bias is not None:
        bias.detach().zero_()
    product = pair.compute_addition()
    if wanted is None:
        return _describe(pair, 0.0, 0.0, subtracted=False)
    if method.subtracts:
        pair.write_matrix(wanted - product.to(wanted.dtype))
    elif addition is not None:
        pair.write_matrix(wanted)
    size, largest = float(wanted.norm()), float(wanted.abs().max())
    now = pair.read_matrix() + product.to(wanted.dtype)
    return _describe(
        pair,
        float(product.norm()) / size if size else 0.0,
        float((now - wanted).abs().max()) / largest if largest else 0.0,
        subtracted=method.subtracts,
    )


def _describe(pair: LoraPair, added: float, deviation: float, *, subtracted: bool) -> PairChange:
    return PairChange(
        name=pair.name,
        rank=pair.rank,
        scaling=pair.scaling,
        added=added,
        subtracted=subtracted,
        deviation=deviation,
    )
