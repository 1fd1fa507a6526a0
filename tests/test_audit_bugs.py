"""Real bugs are found with the right code at the right place, and not in their sound twins."""

from __future__ import annotations

import re

import pytest
import torch
from audit_faults.bug import RealBug
from audit_real_bugs import REAL_BUGS
from combinations import for_each
from sound_models.entry import Case, Training, call, collect_tensors

import fanin
from fanin.diagnosis import Finding

BUGS = list(REAL_BUGS.values())
SAMPLE = BUGS[::5]
"""`make test` audits every fifth."""


OPEN: dict[str, str] = {}
"""Bugs that are not found yet, and why. It may only become shorter."""


def name(bug: RealBug) -> str:
    return bug.name


def audit(bug: RealBug, case: Case, seed: int) -> tuple[Finding, ...]:
    """The findings."""
    options = bug.get_options(seed)
    found = fanin.audit(case.model, case.batch, target=case.target, loss=case.loss, **options)
    return tuple(found.findings)


def choose_right(bug: RealBug, findings: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    """Code, severity and place of the findings that are right."""
    return [
        (one.code, one.severity, one.where)
        for one in findings
        if one.code in bug.codes
        and any(re.fullmatch(pattern, place) for pattern in bug.places for place in one.places)
    ]


def check(bug: RealBug, seed: int) -> None:
    if bug.name in OPEN:
        with pytest.raises(AssertionError):  # found? then it comes off the list
            check_found(bug, seed)
    else:
        check_found(bug, seed)


def check_found(bug: RealBug, seed: int) -> None:
    findings = audit(bug, bug.build(seed), seed)
    of_twin = audit(bug, bug.build_twin(seed), seed)
    right = [one for one in choose_right(bug, findings) if one not in choose_right(bug, of_twin)]
    shown = [(one.code, one.severity, one.where) for one in findings]
    assert right, f"expected one of {bug.codes} at {bug.places}, found {shown}"
    assert [one.summary for one in of_twin if one.severity == "error"] == []


@for_each("bug", SAMPLE, ids=name)
def test_a_sample_of_real_bugs_is_found_in_the_right_place(bug: RealBug) -> None:
    check(bug, 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@for_each("seed", [0, 1, 2])
@for_each("bug", BUGS, ids=name)
def test_real_bugs_are_found_in_the_right_place(bug: RealBug, seed: int) -> None:
    check(bug, seed)


@for_each("bug", BUGS, ids=name)
def test_each_bug_differs_from_its_twin(bug: RealBug) -> None:
    one, other = bug.build(), bug.build_twin()
    tensors = [(case.batch, *case.model.parameters()) for case in (one, other)]
    if len(tensors[0]) != len(tensors[1]):
        return  # the bug hides parameters
    same_state = [
        torch.equal(a, b) and a.requires_grad == b.requires_grad
        for a, b in zip(*tensors, strict=True)
    ]
    with torch.no_grad():
        outputs = [collect_tensors(call(case.model.eval(), case.batch)) for case in (one, other)]
    same_output = all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    same_target = torch.equal(one.target, other.target)
    assert not (all(same_state) and same_output and same_target) or describe(one) != describe(other)


def describe(case: Case) -> str:
    """Modules with their options, and their own numbers and flags."""
    own = [
        {key: value for key, value in vars(module).items() if isinstance(value, bool | float)}
        for module in case.model.modules()
    ]
    return f"{case.model} {own}"


@pytest.mark.slow
@for_each("bug", BUGS, ids=name)
def test_the_sound_twin_of_each_bug_trains(bug: RealBug) -> None:
    losses = Training(bug.build_twin(), rate=1e-2).run(30)
    assert losses[-1] < 0.9 * losses[0]
