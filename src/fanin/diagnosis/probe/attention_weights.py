"""How attention weighs keys at the start: entropy, scores, masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fanin.diagnosis.measurement import AttentionState

MAPS, QUERIES = 4, 128
"""Heads × samples, and queries of each, that are looked at."""
HIDDEN = -1e4
"""Scores from which on a key counts as masked: transformers adds the least number of the dtype."""


def describe_attention_call(
    name: str, node: int, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> AttentionState | None:
    """The state of one call of ``scaled_dot_product_attention``; None if it cannot be read."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    query, key = given.get("query"), given.get("key")
    if not isinstance(query, Tensor) or not isinstance(key, Tensor) or query.is_meta:
        return None
    scale = given.get("scale") or 1 / math.sqrt(query.shape[-1])
    scores = _score(query, key, float(scale))
    hidden = torch.zeros(scores.shape, dtype=torch.bool)
    if given.get("is_causal"):
        count = scores.shape[-2], scores.shape[-1]
        hidden |= torch.ones(count, dtype=torch.bool).triu(1)
    mask = given.get("attn_mask")
    if isinstance(mask, Tensor):
        picked = _pick(mask, query.shape[:-2], scores.shape[-2])
        if picked.dtype == torch.bool:
            hidden |= ~picked
        else:
            scores = scores + picked.float().clamp(min=2 * HIDDEN)
            hidden |= picked <= HIDDEN
    return summarize_scores(name, node, scores, hidden)


def describe_scores(name: str, node: int, scores: Tensor) -> AttentionState | None:
    """The state of attention whose softmax takes `scores` of (…, queries, keys)."""
    if scores.dim() < 3 or scores.is_meta:
        return None
    picked = scores.detach().flatten(0, -3)[:MAPS, :QUERIES].float().cpu()
    return summarize_scores(name, node, picked.clamp(min=2 * HIDDEN), picked <= HIDDEN)


def summarize_scores(name: str, node: int, scores: Tensor, hidden: Tensor) -> AttentionState | None:
    """Entropy and spread over the keys that are not hidden."""
    if not scores.numel() or not bool(torch.isfinite(scores).all()):
        return None
    dark = hidden.all(-1)
    seen = (~hidden).sum(-1)
    usable = ~dark & (seen > 1)
    entropy = spread = None
    if bool(usable.any()):
        weights = torch.softmax(scores.masked_fill(hidden, -math.inf)[usable], -1)
        nats = -(weights * weights.clamp(min=1e-30).log()).sum(-1)
        entropy = float((nats / seen[usable].float().log()).mean())
        kept = scores.masked_fill(hidden, math.nan)[usable]
        centred = kept - kept.nanmean(-1, keepdim=True)
        spread = float(centred.square().nanmean().sqrt())
    queries, keys = scores.shape[-2:]
    later = torch.ones(queries, keys, dtype=torch.bool).triu(1 + keys - queries)
    causal = queries > 1 and bool(later.any()) and bool(hidden[..., later].all())
    return AttentionState(
        name=name,
        node=node,
        entropy=entropy,
        logit_std=spread,
        hidden_rows=float(dark.float().mean()),
        causal=causal,
    )


def _score(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """Scores of a few maps; keys of fewer heads (grouped queries) are repeated."""
    lead = query.shape[:-2]
    if key.shape[:-2] != lead and key.dim() >= 3 and lead[-1] % key.shape[-3] == 0:
        key = key.repeat_interleave(lead[-1] // key.shape[-3], dim=-3)
    queries = query.detach().flatten(0, -3)[:MAPS, :QUERIES].float().cpu()
    keys = key.detach().flatten(0, -3)[:MAPS].float().cpu()
    return queries @ keys.transpose(-1, -2) * scale


def _pick(mask: Tensor, lead: torch.Size, queries: int) -> Tensor:
    """The rows of a mask that belong to the scores that are looked at."""
    whole = mask.detach().expand(*lead, *mask.shape[-2:])
    return whole.flatten(0, -3)[:MAPS, :queries].cpu()
