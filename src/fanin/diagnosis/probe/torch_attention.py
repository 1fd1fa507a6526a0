"""How `nn.MultiheadAttention` weighs keys: it scores them inside one function, which is given the
projections.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fanin.diagnosis.measurement import AttentionState
from fanin.diagnosis.probe.attention_weights import HIDDEN, MAPS, QUERIES, summarize_scores

FUNCTION = "multi_head_attention_forward"
_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def describe_packed_call(
    name: str, node: int, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> AttentionState | None:
    """The state of one call of ``multi_head_attention_forward``, by the heads of its first sample;
    None if it cannot be read.
    """
    try:
        given = _SIGNATURE.bind(*args, **kwargs).arguments
    except TypeError:
        return None
    query, key, heads = given["query"], given["key"], given["num_heads"]
    if query.is_meta or query.is_nested or given.get("static_k") is not None:
        return None
    if query.dim() == 3:
        query, key = query[:, 0], key[:, 0]
    projections = _list_projections(given)
    if projections is None:
        return None
    (query_weight, query_bias), (key_weight, key_bias) = projections
    queries = _split_heads(_project(query[:QUERIES], query_weight, query_bias), heads)
    keys = _split_heads(_project(key, key_weight, key_bias), heads)
    scores = queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])
    hidden = torch.zeros(scores.shape, dtype=torch.bool)
    for mask in _list_masks(given, len(queries)):
        if mask.dtype == torch.bool:
            hidden = hidden | mask
        else:
            scores = scores + mask.float().clamp(min=2 * HIDDEN)
            hidden = hidden | (mask <= HIDDEN)
    return summarize_scores(name, node, scores, hidden)


def _list_projections(
    given: Mapping[str, Any],
) -> tuple[tuple[Tensor, Tensor | None], tuple[Tensor, Tensor | None]] | None:
    """Weight and bias of the query and of the key."""
    width = given["embed_dim_to_check"]
    packed, bias = given.get("in_proj_weight"), given.get("in_proj_bias")
    weights = [given.get("q_proj_weight"), given.get("k_proj_weight")]
    if not given.get("use_separate_proj_weight"):
        if packed is None:
            return None
        weights = [packed[:width], packed[width : 2 * width]]
    biases = [None, None] if bias is None else [bias[:width], bias[width : 2 * width]]
    if not isinstance(weights[0], Tensor) or not isinstance(weights[1], Tensor):
        return None
    return (weights[0], biases[0]), (weights[1], biases[1])


def _project(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    shift = None if bias is None else bias.detach().float().cpu()
    return F.linear(values.detach().float().cpu(), weight.detach().float().cpu(), shift)


def _split_heads(values: Tensor, heads: int) -> Tensor:
    """From steps × width to heads × steps × head width, of a few heads."""
    steps, width = values.shape
    return values.reshape(steps, heads, width // heads).transpose(0, 1)[:MAPS]


def _list_masks(given: Mapping[str, Any], heads: int) -> list[Tensor]:
    """The masks that scores of (heads, queries, keys) get."""
    masks = []
    mask, padding = given.get("attn_mask"), given.get("key_padding_mask")
    if isinstance(mask, Tensor):
        mask = mask[:heads] if mask.dim() == 3 else mask
        masks.append(mask.detach().cpu()[..., :QUERIES, :])
    if isinstance(padding, Tensor):
        masks.append((padding[0] if padding.dim() == 2 else padding).detach().cpu())
    return masks
