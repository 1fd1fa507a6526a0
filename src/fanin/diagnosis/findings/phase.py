"""Plain stretches that are deeper than signals reach, by theory and by measurement: F008, F009."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Evidence, Finding, Severity
from fanin.diagnosis.findings.plain_paths import measure_norm
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.patch import Patch
from fanin.diagnosis.theory import PathPhase
from fanin.errors import FaninError
from fanin.gains import critical_gain
from fanin.gains.mean_field import TRAINABLE

LOST = 3e-3
"""The length of the gradient at the first layer over that at the last, or how different samples
are at the last over the first. Tanh networks of 4 to 30 layers that were above it ended at most
0.09 higher than their critical twins after 400 steps of Adam; those below ended at 0.2 and more.
"""
GROWN = 20.0
"""The same for gradients that grow: at 18, 32 and 450 the loss ended at 0.26, 0.44 and 2.3."""
DEAD_GRADIENT, DEAD_GROWTH = 1e-6, 1e6
"""Beyond these, one learning rate for all layers trains none or breaks some."""
ALIKE = 1.2e-5
"""Samples that differ by a hundred roundings of float32 are the same input to what follows."""


def judge_phase(examination: Examination) -> Iterator[Finding]:
    """The plain stretch that theory finds furthest from the edge of chaos, if it is longer than
    six depth scales and the measured signals say the same.
    """
    measurement, prediction = examination.measurement, examination.prediction
    if measurement is None or prediction is None or prediction.phase is None:
        return
    path = prediction.phase
    signals = [measurement.signals.get(index) for index in path.nodes]
    first, last = signals[0], signals[-1]
    if first is None or last is None or path.gradient_scales <= TRAINABLE:
        return
    gradient = _compare_gradients(first, last)
    if path.phase == "ordered":
        gradient = _leave_out_small_head(gradient, signals)
        distance = _compare_distances(first, last)
        if min(gradient or 1.0, distance or 1.0) < LOST:
            yield _report_order(measurement, path, first, last, gradient, distance)
    elif _is_chaotic(path) and gradient is not None and gradient > GROWN:
        yield _report_chaos(measurement, path, first, gradient)


def _leave_out_small_head(gradient: float | None, signals: Sequence[Signal | None]) -> float | None:
    """The gradient's loss without the last layer, if that is less: a last layer that is small on
    purpose shortens the gradient once, and not layer by layer.
    """
    first, before, steps = signals[0], signals[-2], len(signals) - 1
    if gradient is None or first is None or before is None or steps < 2:
        return gradient
    inner = _compare_gradients(first, before)
    return gradient if inner is None else max(gradient, inner ** (steps / (steps - 1)))


def _is_chaotic(path: PathPhase) -> bool:
    """Whether like inputs part. Where signals explode, as with ReLU, they keep their angle: that
    is no chaos, and judged as growth.
    """
    return path.phase == "chaotic" and path.correlation is not None and path.correlation < 1


def _compare_gradients(first: Signal, last: Signal) -> float | None:
    """The length of the gradient at the first layer over that at the last; None if one of them is
    0, which has other reasons than size.
    """
    before, after = measure_norm(first), measure_norm(last)
    return None if not before or not after else before / after


def _compare_distances(first: Signal, last: Signal) -> float | None:
    """How much less different samples are at the last layer than at the first."""
    if not first.input_distance or last.input_distance is None or not last.rms:
        return None
    return last.input_distance / first.input_distance


def _report_order(
    measurement: Measurement,
    path: PathPhase,
    first: Signal,
    last: Signal,
    gradient: float | None,
    distance: float | None,
) -> Finding:
    severity: Severity = "warning"
    if (gradient is not None and gradient < DEAD_GRADIENT) or (
        distance is not None and last.input_distance is not None and last.input_distance < ALIKE
    ):
        severity = "error"
    shown = []
    if gradient is not None:
        shown.append(f"the gradient at the first is {gradient:.2g} of that at the last")
    if distance is not None and distance < LOST:
        shown.append(f"samples are {distance:.2g} as different at the last as at the first")
    return Finding(
        code="F008",
        severity=severity,
        where=first.name,
        also=_list_others(measurement, path),
        summary=(
            f"The {path.depth} layers from {first.name} to {last.name} are "
            f"{path.gradient_scales:.0f} depth scales deep (χ₁ = {path.chi:.2g} a layer, and six "
            f"can be trained): {'; '.join(shown)}."
        ),
        remedy=_advise(path),
        evidence=_list_evidence(path, gradient, distance),
        patches=_propose(measurement, path),
    )


def _report_chaos(
    measurement: Measurement, path: PathPhase, first: Signal, gradient: float
) -> Finding:
    return Finding(
        code="F009",
        severity="error" if gradient > DEAD_GROWTH else "warning",
        where=first.name,
        also=_list_others(measurement, path),
        summary=(
            f"{path.depth} layers of χ₁ = {path.chi:.2g} are chaotic: the gradient at {first.name} "
            f"is {gradient:.2g} times that at the last, and a small change of the input changes "
            "everything behind them."
        ),
        remedy=_advise(path),
        evidence=_list_evidence(path, gradient, None),
        patches=_propose(measurement, path),
    )


def _list_others(measurement: Measurement, path: PathPhase) -> tuple[str, ...]:
    """The other layers of the path, each once."""
    names = [
        measurement.signals[index].name for index in path.nodes if index in measurement.signals
    ]
    return tuple(name for name in dict.fromkeys(names) if name != names[0])


def _advise(path: PathPhase) -> str:
    """The gain at the edge of chaos, if there is one for this depth."""
    critical = _find_critical_gain(path)
    if critical is None:
        return (
            f"No gain carries {path.activation} through {path.depth} layers: use another "
            "activation, normalizations or shortcuts."
        )
    return (
        f"Draw weights with a standard deviation of {critical:.3g}/√fan-in (now "
        f"{path.weight_std:.2g}/√fan-in) and set biases to 0, or use normalizations, shortcuts or "
        "fewer layers."
    )


def _find_critical_gain(path: PathPhase) -> float | None:
    """None if the activation is not known by name, or no gain holds for two layers."""
    try:
        found = critical_gain(path.activation)
    except FaninError:
        return None
    return None if found.depth is not None and found.depth < 2 else found.gain


def _propose(measurement: Measurement, path: PathPhase) -> tuple[Patch, ...]:
    """The critical gain on all layers but a last one that nothing follows, and biases of 0."""
    critical = _find_critical_gain(path)
    if critical is None:
        return ()
    followed = path.nodes if _is_followed(measurement, path.nodes[-1]) else path.nodes[:-1]
    layers = [measurement.signals[index].name for index in followed]
    weights = [f"{name}.weight" for name in layers if f"{name}.weight" in measurement.parameters]
    biases = [f"{name}.bias" for name in layers if f"{name}.bias" in measurement.parameters]
    spec = f"variance_scaling(scale={critical * critical:.6g})"
    draw = Patch(operation="initialize", parameters=tuple(weights), initializer=spec)
    if not biases or not path.bias_std:
        return (draw,) if weights else ()
    return draw, Patch(operation="set", parameters=tuple(biases), value=0.0)


def _is_followed(measurement: Measurement, index: int) -> bool:
    """Whether another layer comes after a node."""
    waiting, seen = [index], {index}
    while waiting:
        for user in set(measurement.graph.users[waiting.pop()]) - seen:
            if measurement.graph.nodes[user].kind == "layer":
                return True
            seen.add(user)
            waiting.append(user)
    return False


def _list_evidence(
    path: PathPhase, gradient: float | None, distance: float | None
) -> Mapping[str, Evidence]:
    return {
        "layers": path.depth,
        "depth scales": path.depth_scales,
        "chi": path.chi,
        "weight std": path.weight_std,
        "bias std": path.bias_std,
        "predicted gradient ratio": path.gradient_ratio,
        "measured gradient ratio": gradient,
        "measured difference ratio": distance,
    }
