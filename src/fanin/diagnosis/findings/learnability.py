"""Parameters that get no gradient, and whether they ever do: F021, F023, F024."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.measurement import Measurement, ParameterState
from fanin.diagnosis.probe.training_steps import Awakening, follow_steps
from fanin.errors import FaninError

STEPS = 20
"""Steps after which what has had no gradient is taken to have none ever: zero-gamma, ReZero and
adaLN-zero need one or two."""
LARGE, FEW_STEPS = 30_000_000, 2
"""Models of more numbers are followed for two steps only at the level fast."""


def judge_learnability(examination: Examination) -> Iterator[Finding]:
    """What gets no gradient: cut off, dead, or zero by design."""
    measurement = examination.measurement
    if measurement is None or not measurement.loss.finite:
        return
    trainable = [
        one for one in measurement.parameters.values() if one.trainable and 0 not in one.shape
    ]
    if not trainable:
        examination.add_note(
            "No parameter is trainable (requires_grad is False everywhere): gradients were not "
            "judged."
        )
        return
    yield from _judge_unreached(examination, [one for one in trainable if not one.reached])
    silent = [one for one in trainable if one.reached and one.gradient_rms == 0]
    if silent:
        yield from _judge_silent(examination, silent)


def _judge_unreached(
    examination: Examination, unreached: list[ParameterState]
) -> Iterator[Finding]:
    measurement = examination.measurement
    assert measurement is not None
    if not unreached:
        return
    groups: dict[str, list[ParameterState]] = defaultdict(list)
    for one in unreached:
        groups[_explain(examination, measurement, one)].append(one)
    for reason, members in groups.items():
        yield _report_unreached(measurement, reason, members)


def _explain(examination: Examination, measurement: Measurement, parameter: ParameterState) -> str:
    """Why no gradient came back: ``cut``, ``unused``, ``expert``, ``side`` or ``vector``."""
    structure = examination.structure
    if structure is not None:
        role = structure.get_role(parameter.layer) or structure.get_role(parameter.name)
        if role is not None and role.expert:
            return "expert"
    nodes = [
        one.node
        for one in measurement.signals.values()
        if one.name == parameter.layer or one.name == parameter.name
    ]
    if not nodes:
        return "unused" if len(parameter.shape) > 1 else "vector"
    leading = measurement.list_ancestors()
    return "cut" if any(node in leading for node in nodes) else "side"


_REASONS: dict[str, tuple[Severity, str, str]] = {
    "cut": (
        "error",
        "{what} reaches the loss, and no gradient comes back: something between cuts it.",
        "Look for detach(), no_grad(), .data, argmax, rounding or NumPy between there and the "
        "loss; if it is meant, set requires_grad=False.",
    ),
    "unused": (
        "error",
        "{what} took no part in the forward pass: it can never learn.",
        "Call it, or remove it.",
    ),
    "side": (
        "warning",
        "{what} computes something that the loss does not depend on: it gets no gradient.",
        "Use its output in the loss, or remove it.",
    ),
    "vector": (
        "warning",
        "{what} took no part in the forward pass of this batch: it gets no gradient.",
        "Check that some batches use it, or remove it.",
    ),
    "expert": (
        "note",
        "{what} belongs to experts that no sample of this batch was sent to.",
        "A larger batch reaches more of them.",
    ),
}


def _report_unreached(
    measurement: Measurement, reason: str, members: list[ParameterState]
) -> Finding:
    severity, text, remedy = _REASONS[reason]
    if measurement.loss.kind == "cotangent" and reason in ("unused", "side"):
        severity = "note"  # there may be a loss of other outputs
    places = _list_places(members)
    return Finding(
        code="F021",
        severity=severity,
        where=places[0],
        also=places[1:],
        summary=text.format(what=_describe(places, members)),
        remedy=remedy,
        evidence={"parameters": len(members), "reason": reason},
    )


def _describe(places: tuple[str, ...], members: list[ParameterState]) -> str:
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    kind = "The parameter" if places[0] == members[0].name else "The layer"
    return f"{kind} {places[0]}{more}"


def _list_places(members: Iterable[ParameterState]) -> tuple[str, ...]:
    """The layers of these parameters; a parameter of the model itself by its own name."""
    return tuple(dict.fromkeys(one.layer or one.name for one in members))


def _judge_silent(examination: Examination, silent: list[ParameterState]) -> Iterator[Finding]:
    try:
        awakening = _follow(examination, silent)
    except FaninError as error:
        examination.add_note(f"Whether zero gradients stay zero could not be tried. {error}")
        return
    except Exception as error:
        examination.add_note(
            f"Whether zero gradients stay zero could not be tried: {type(error).__name__}: {error}"
        )
        return
    stuck = [one for one in silent if awakening.first_gradient[one.name] is None]
    woken = [one for one in silent if awakening.first_gradient[one.name] is not None]
    if stuck:
        yield _report_stuck(examination, stuck, awakening)
    if woken:
        yield _report_woken(woken, awakening)


def _follow(examination: Examination, silent: list[ParameterState]) -> Awakening:
    size = sum(one.numel() for one in examination.model.parameters())
    steps = FEW_STEPS if size > LARGE and examination.level == "fast" else STEPS
    return follow_steps(
        examination.model,
        examination.batch,
        examination.target,
        examination.loss,
        [one.name for one in silent],
        steps,
        examination.seed,
    )


def _report_stuck(
    examination: Examination, stuck: list[ParameterState], awakening: Awakening
) -> Finding:
    parameters = examination.measurement.parameters if examination.measurement else {}
    learning = {one.layer for one in parameters.values() if one.gradient_rms}
    partly = all(one.layer in learning for one in stuck)
    places = tuple(one.name for one in stuck) if partly else _list_places(stuck)
    sure = awakening.steps >= STEPS and not partly
    severity: Severity = "error" if sure else "warning"
    if all(len(one.shape) == 1 for one in stuck) or _are_lone_keys(examination, stuck):
        severity = "note"  # a bias that cancels in a difference; attention over one key
    total = len(parameters)
    return Finding(
        code="F023",
        severity=severity,
        where=places[0],
        also=places[1:],
        summary=(
            f"{_describe(places, stuck)} has a gradient of exactly 0, at the start and after "
            f"{awakening.steps} steps of training: {len(stuck)} of {total} parameters cannot learn."
        ),
        remedy=(
            "Something on the way to the loss is dead or multiplies by 0: all units of a layer "
            "off, two factors of a product both 0, an activation at its bound. Initialize the "
            "layers that follow with numbers that are not 0."
        ),
        evidence={"steps": awakening.steps, "parameters": len(stuck)},
    )


def _are_lone_keys(examination: Examination, stuck: list[ParameterState]) -> bool:
    """Whether all are queries and keys: with one key to choose from they make no difference."""
    structure = examination.structure
    roles = [None if structure is None else structure.get_role(one.layer) for one in stuck]
    return all(
        one is not None and set(one.roles) <= {"query", "key"} and one.roles for one in roles
    )


def _report_woken(woken: list[ParameterState], awakening: Awakening) -> Finding:
    places = _list_places(woken)
    latest = max(awakening.first_gradient[one.name] or 0 for one in woken)
    return Finding(
        code="F024",
        severity="note",
        where=places[0],
        also=places[1:],
        summary=(
            f"{_describe(places, woken)} has no gradient at the start, since what follows is "
            f"exactly 0, and learns after {latest} step{'s' if latest != 1 else ''}."
        ),
        remedy="Nothing to do, if the zero is meant (zero-gamma, ReZero, LoRA, a zero head).",
        evidence={"steps until it learns": latest, "parameters": len(woken)},
    )
