"""What stays and what waits, counted by why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanin.apply.parameter_record import ParameterRecord

_KINDS = ("loaded", "frozen", "excluded", "outside of only", "special", "kept")
"""How the reasons begin that are no lack of knowledge."""


def summarize_kept(kept: Sequence[ParameterRecord], waiting: Sequence[ParameterRecord]) -> str:
    """One sentence: how many parameters are kept, and why; empty if all are filled."""
    kinds = Counter(_name_kind(one) for one in kept)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    texts = [f"{len(kept)} kept: {listed}"] if kept else []
    if waiting:
        texts.append(f"{len(waiting)} wait for their shape (lazy)")
    return "; ".join(texts)


def _name_kind(one: ParameterRecord) -> str:
    begun = next((kind for kind in _KINDS if one.reason.startswith(kind)), "")
    if begun == "kept" or one.reason.endswith("kept on request"):
        return "by rule"
    return begun or "of unknown use"
