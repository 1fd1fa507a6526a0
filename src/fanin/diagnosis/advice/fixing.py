"""Apply the patches of an audit's findings to a copy, audit again, and keep what helped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

from torch import nn

from fanin.diagnosis.advice.code import write_code
from fanin.diagnosis.advice.copying import copy_model
from fanin.diagnosis.advice.fix_report import FixedFinding, FixReport, Outcome
from fanin.diagnosis.advice.improvement import (
    Audited,
    find_harm,
    find_new,
    find_remains,
    get_loss_value,
    is_eased,
    is_gone,
    is_serious,
    rank_severity,
)
from fanin.diagnosis.advice.patch_choice import Patched, choose_patches, drop_overwritten
from fanin.diagnosis.advice.patching import ParameterPlace, apply_patches, find_places
from fanin.diagnosis.finding import Finding
from fanin.errors import FaninError

MOST_AUDITS = 12
"""An audit takes about four forward and backward passes, so a fix takes as long as some 50 steps of
training at most."""
SMALL = 0.25
"""A change of this share of the numbers that another one changes, or less, is tried before it: a
bias that is off may be all that is wrong, and then the weights stay as they are."""

AuditT = TypeVar("AuditT", bound=Audited)

_NOT_GONE = "the finding is still there with the patch, so that it was undone"


def fix(
    audit: Callable[[nn.Module], AuditT],
    model: nn.Module,
    before: AuditT,
    *,
    seed: int,
    batch: Any = None,
    notes: bool = False,
    most_audits: int = MOST_AUDITS,
) -> tuple[nn.Module, AuditT, FixReport]:
    """Repair a copy of a model, as far as patches can, and say what helped.

    Patches of errors and warnings are applied together, and the copy is audited. If every finding
    is gone or milder and nothing is worse, they are kept. Otherwise those whose finding is still
    there are left out; if the rest does harm, each finding is tried alone, worst first, on top of
    what was kept. Then the findings of the last audit have their turn, since an error may have
    hidden them.

    Changes of few numbers are tried before changes of many, and factors (``scale``) last: they are
    calculated from signals that a new draw changes. Of several patches for one parameter that of
    the worst finding counts.

    Harm is a new error or warning, or an initial loss that rises (`improvement.find_harm` says
    when it counts). What was not gone and not eased is undone.

    Args:
        audit: the audit of a model, with everything but the model given.
        model: the model that `before` is about; it is left unchanged.
        before: its audit.
        seed: of the numbers that patches draw.
        batch: as in `apply_patches`.
        notes: whether to apply the patches of notes too.
        most_audits: how many audits it may take.

    Returns:
        the repaired copy, its audit, and the report.

    Raises `UsageError` if the model cannot be copied.
    """
    repair = _Repair(audit, model, before, seed, batch, most_audits)
    while candidates := repair.list_candidates(notes=notes):
        repair.improve(candidates)
    return repair.build(()), repair.current, _make_report(repair, before)


_Key = tuple[str, str]


def _get_key(finding: Finding) -> _Key:
    return finding.code, finding.where


def _scales(finding: Finding) -> bool:
    return any(patch.operation == "scale" for patch in finding.patches)


def _count_numbers(finding: Finding, places: Mapping[str, ParameterPlace]) -> int:
    """How many numbers its patches change."""
    changed = {
        places[name].identity: math.prod(places[name].shape)
        for patch in finding.patches
        for name in patch.parameters
        if name in places
    }
    return sum(changed.values())


class _Inapplicable(Exception):
    """A finding's patches cannot be applied."""

    def __init__(self, finding: Finding, reason: str) -> None:
        super().__init__(reason)
        self.finding = finding


@dataclass
class _Repair(Generic[AuditT]):
    """The patches that are kept so far, and the audit of the model with them."""

    audit: Callable[[nn.Module], AuditT]
    model: nn.Module
    current: AuditT
    seed: int
    batch: Any
    most_audits: int
    kept: list[Patched] = field(default_factory=list)
    reasons: dict[_Key, str] = field(default_factory=dict)
    """Why findings were left out."""
    audits: int = 0

    @cached_property
    def places(self) -> dict[str, ParameterPlace]:
        """The model's parameters by bare name."""
        return find_places(self.model)

    def list_candidates(self, *, notes: bool) -> list[Finding]:
        """The findings of the last audit whose turn it is, worst first."""
        waiting = [
            finding
            for finding in sorted(self.current.findings, key=rank_severity)
            if finding.patches
            and (notes or is_serious(finding))
            and _get_key(finding) not in self.reasons
        ]
        if any(not _scales(finding) for finding in waiting):
            waiting = [finding for finding in waiting if not _scales(finding)]
        sizes = [_count_numbers(finding, self.places) for finding in waiting]
        most = min(sizes, default=0) / SMALL
        return [one for one, size in zip(waiting, sizes, strict=True) if size < most or not size]

    def improve(self, candidates: Sequence[Finding]) -> None:
        """Keep what helps of the candidates' patches; of what is left out, the reason."""
        if self._improve_together(candidates):
            return
        for finding in candidates:
            if _get_key(finding) not in self.reasons and not is_gone(finding, self.current):
                self._try([finding])

    def build(self, patched: Sequence[Patched]) -> nn.Module:
        """A copy with what is kept and what is tried."""
        copied = copy_model(self.model)
        for finding, patches in (*self.kept, *patched):
            try:
                apply_patches(copied, patches, seed=self.seed, batch=self.batch)
            except FaninError as error:
                raise _Inapplicable(finding, str(error)) from error
        return copied

    def _improve_together(self, candidates: Sequence[Finding]) -> bool:
        """Try all, then those that were gone; whether that was enough."""
        is_kept, after = self._try(candidates)
        if is_kept or after is None:
            return is_kept
        tried = [finding for finding, _ in choose_patches(candidates, self.places)]
        useful = [finding for finding in tried if is_eased(finding, after)]
        if not useful or len(useful) == len(tried):
            return False
        is_kept, _ = self._try(useful)
        if is_kept:
            for finding in tried:
                if finding not in useful:
                    self.reasons[_get_key(finding)] = _NOT_GONE
        return is_kept

    def _try(self, findings: Sequence[Finding]) -> tuple[bool, AuditT | None]:
        """Whether the findings' patches help and are kept, and the audit with them."""
        if self.audits >= self.most_audits:
            for finding in findings:
                self.reasons[_get_key(finding)] = f"not tried: {self.audits} audits were made"
            return False, None
        patched = choose_patches(findings, self.places)
        copied = None
        while copied is None and patched:
            try:
                copied = self.build(patched)
            except _Inapplicable as error:
                self.reasons[_get_key(error.finding)] = f"the patch cannot be applied: {error}"
                patched = [one for one in patched if one[0] is not error.finding]
        if copied is None:
            return False, None
        self.audits += 1
        after = self.audit(copied)
        harm = find_harm(self.current, after)
        if not harm and all(is_eased(finding, after) for finding, _ in patched):
            self.kept += patched
            self.current = after
            return True, after
        if len(patched) == 1:
            self.reasons[_get_key(patched[0][0])] = f"undone, since {harm}" if harm else _NOT_GONE
        return False, after


def _make_report(repair: _Repair[AuditT], before: AuditT) -> FixReport:
    every = [patch for _, patches in repair.kept for patch in patches]
    kept = drop_overwritten(every, repair.places)
    return FixReport(
        findings=tuple(_describe_outcome(repair, finding) for finding in before.findings),
        new=tuple(find_new(before, repair.current)),
        patches=kept,
        code=write_code(repair.model, kept, seed=repair.seed, batch=repair.batch) if kept else "",
        loss_before=get_loss_value(before),
        loss_after=get_loss_value(repair.current),
        audits=repair.audits,
    )


def _describe_outcome(repair: _Repair[AuditT], finding: Finding) -> FixedFinding:
    """What became of a finding of the first audit."""
    own = tuple(
        patch
        for kept, patches in repair.kept
        if _get_key(kept) == _get_key(finding)
        for patch in patches
    )
    outcome: Outcome
    remains = find_remains(finding, repair.current)
    if not remains:
        outcome, why = "repaired", "" if own else "gone with what else was repaired"
    elif own and is_eased(finding, repair.current):
        outcome, why = "eased", f"{remains[0].summary} {finding.remedy}"
    elif not is_serious(finding):
        outcome, why = "note", finding.remedy
    elif not finding.patches:
        outcome, why = "code", finding.remedy
    else:
        reason = repair.reasons.get(_get_key(finding), _NOT_GONE)
        outcome, why = "left", f"{reason}. {finding.remedy}"
    return FixedFinding(finding=finding, outcome=outcome, why=why, patches=own)
