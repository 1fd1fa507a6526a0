"""Whether one audit is better than another, finding by finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from fanin.diagnosis.finding import SEVERITIES, Finding
from fanin.diagnosis.measurement import LossState, Measurement

LOSS_ROOM = 0.5
"""By this share a repaired model's initial loss may exceed both the loss before and that of an
uninformed prediction without a question: a network of zeros predicts nothing, with the uninformed
loss exactly, and a healthy one starts somewhat above it."""
LOSS_CODES = ("F031", "F037")
"""Warnings about the initial loss itself: a loss that was high and rises a little may pass their
threshold.
"""
EASED = 0.5
"""A finding at no more than this share of its places is eased."""


class Audited(Protocol):
    """What `fix` and `compare` read of an audit."""

    @property
    def findings(self) -> Sequence[Finding]:
        """All of them."""

    @property
    def measurement(self) -> Measurement | None:
        """None if the model could not be run."""


def is_serious(finding: Finding) -> bool:
    """Whether it is an error or a warning."""
    return finding.severity != "note"


def rank_severity(finding: Finding) -> int:
    """0 for the worst."""
    return SEVERITIES.index(finding.severity)


def find_remains(finding: Finding, after: Audited) -> list[Finding]:
    """What a later audit says at the same places under the same code, at least as a warning; for a
    note at least as a note.
    """
    places = set(finding.places)
    return [
        one
        for one in after.findings
        if one.code == finding.code
        and places & set(one.places)
        and (is_serious(one) or not is_serious(finding))
    ]


def is_gone(finding: Finding, after: Audited) -> bool:
    """Whether a later audit does not find it any more."""
    return not find_remains(finding, after)


def is_eased(finding: Finding, after: Audited) -> bool:
    """Whether it is gone, less severe, or found at half of the places at most."""
    remains = find_remains(finding, after)
    if not remains:
        return True
    if min(map(rank_severity, remains)) > rank_severity(finding):
        return True
    places = set(finding.places)
    left = {place for one in remains for place in one.places} & places
    return len(left) <= EASED * len(places)


def find_new(before: Audited, after: Audited) -> list[Finding]:
    """Errors and warnings that the earlier audit did not have at any of these places, or as
    something milder.
    """
    return [
        one
        for one in after.findings
        if is_serious(one)
        and not any(
            old.code == one.code
            and set(old.places) & set(one.places)
            and rank_severity(old) <= rank_severity(one)
            for old in before.findings
        )
    ]


def find_harm(before: Audited, after: Audited) -> str:
    """What is worse than before, in words; empty if nothing is.

    What an error hid may come to light: where an error is gone, a new warning is no harm, and
    neither is a loss that rises; where the loss has become finite, nothing is. A rise that no
    finding tells of is no harm either, if findings are gone.
    """
    old, new = _get_loss(before), _get_loss(after)
    if after.measurement is None and before.measurement is not None:
        return "the model cannot be run any more"
    if new is not None and not new.finite and (old is None or old.finite):
        return "the loss is not finite any more"
    if old is not None and not old.finite and new is not None and new.finite:
        return ""
    errors = [sum(one.severity == "error" for one in audit.findings) for audit in (before, after)]
    for one in find_new(before, after):
        of_loss = one.code in LOSS_CODES and one.severity != "error"  # judged by the loss, below
        if not of_loss and (one.severity == "error" or errors[1] >= errors[0]):
            return f"{one.code} appears at {one.where or 'the model'}: {one.summary}"
    risen = old is not None and new is not None and _is_loss_worse(old, new)
    if old is not None and new is not None and risen and not _is_worth(before, after):
        return f"the initial loss rises from {old.value:.4g} to {new.value:.4g}"
    return ""


def _is_worth(before: Audited, after: Audited) -> bool:
    """Whether what is gone is worth a loss that rises. Dead units and vanished signals predict
    next to nothing, which costs less at the start than what random weights say.
    """
    told = any(one.code in LOSS_CODES and is_serious(one) for one in after.findings)
    found = [[one for one in audit.findings if is_serious(one)] for audit in (before, after)]
    errors = [sum(one.severity == "error" for one in some) for some in found]
    return errors[1] < errors[0] or (len(found[1]) < len(found[0]) and not told)


def get_loss_value(audit: Audited) -> float | None:
    """The initial loss; None if there is none."""
    state = _get_loss(audit)
    return None if state is None else state.value


def _get_loss(audit: Audited) -> LossState | None:
    return None if audit.measurement is None else audit.measurement.loss


def _is_loss_worse(old: LossState, new: LossState) -> bool:
    if old.value is None or new.value is None or not math.isfinite(old.value):
        return False
    known = new.uninformed if new.uninformed is not None else new.prior
    reference = max(old.value, known if known is not None else old.value)
    return new.value > reference + LOSS_ROOM * abs(reference)
