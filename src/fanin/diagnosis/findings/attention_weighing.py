"""Attention that sees one key only, or none: F046, F049."""

from __future__ import annotations

from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.measurement import AttentionState

SHARP = 0.3
"""The entropy of the weights over that of equal weights. Scores of standard deviation 1 leave 0.9;
of 5, about 0.3: the softmax passes little gradient.
"""
MANY_HIDDEN = 0.99
"""The share of queries that see no key: padded queries are some, not all."""


def judge_attention(examination: Examination) -> Iterator[Finding]:
    """Masks that hide every key, and scores so large that one key takes all."""
    measurement = examination.measurement
    if measurement is None:
        return
    hidden = [one for one in measurement.attentions if one.hidden_rows >= MANY_HIDDEN]
    sharp = [
        one for one in measurement.attentions if one.entropy is not None and one.entropy < SHARP
    ]
    if hidden:
        yield Finding(
            code="F046",
            severity="error",
            where=_find_module(hidden[0]),
            also=_list_others(hidden),
            summary=(
                f"The mask hides every key from {hidden[0].hidden_rows:.0%} of the queries: the "
                "attention gives the same mixture, or numbers that are not finite, for all inputs."
            ),
            remedy=(
                "Check the mask's meaning: torch's attn_mask lets True pass in "
                "scaled_dot_product_attention and hides True in nn.MultiheadAttention."
            ),
            evidence={"share of hidden queries": hidden[0].hidden_rows},
        )
    if sharp:
        worst = min(sharp, key=lambda one: one.entropy or 0.0)
        yield Finding(
            code="F049",
            severity="warning",
            where=_find_module(worst),
            also=_list_others(one for one in sharp if one is not worst),
            summary=(
                f"Attention scores have standard deviation {worst.logit_std or 0:.3g}: the entropy "
                f"of the weights is {worst.entropy:.0%} of its largest, so that nearly one key "
                "takes all and little gradient passes."
            ),
            remedy=(
                "Divide the scores by √(head width), normalize queries and keys, or draw their "
                "projections smaller."
            ),
            evidence={"score std": worst.logit_std, "relative entropy": worst.entropy},
        )


def _find_module(state: AttentionState) -> str:
    return state.name.partition(":")[0]


def _list_others(states: object) -> tuple[str, ...]:
    names = list(dict.fromkeys(map(_find_module, states)))  # type: ignore[call-overload]
    return tuple(names[1:])
