"""Gates of recurrent layers that were drawn as one map (F027)."""

from __future__ import annotations

from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.packed_projections import (
    describe_packs,
    is_recurrent,
    iterate_packed_draws,
)


def find_packed_gates(examination: Examination) -> Iterator[Finding]:
    """F027, one finding for each rule: LSTM (4H × H) and GRU (3H × H), and those written out."""
    found = list(iterate_packed_draws(examination, is_recurrent))
    for rule in dict.fromkeys(one.rule for one in found):
        some = [one for one in found if one.rule == rule]
        gates = len(some[0].state.maps)
        yield describe_packs("F027", some, f"the {gates} gates of a recurrent layer as one map")
