"""Wrong gains (F028): weights that are too large or too small for what follows them, where nothing
puts that right, so that signals or gradients drift from layer to layer.

It is the drift that is judged, not the distance of a gain from a table: a gain before a
normalization, or in a shallow network, costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.anatomy import get_anatomy
from fanin.diagnosis.findings.plain_layers import (
    Drift,
    PathLayer,
    list_plain_paths,
    predict_drift,
)
from fanin.diagnosis.findings.scaling_schemes import FAN_SCHEMES, list_followed
from fanin.diagnosis.measurement import Measurement
from fanin.diagnosis.patch import Patch

NOTABLE = math.log(10)
"""A signal that changes its size tenfold: Adam copes, with a learning rate that suits one end."""
HARMFUL = math.log(100)
"""A hundredfold: what one layer needs as a learning rate is ruin or standstill for another."""
PART = 0.5
"""So much of the drift (of its logarithm) must be explained by gains, and be gone with right ones.
"""
NEAR = 1e-3
"""Gains squared that differ by less have one name."""
_KEY = "wrong gains"
OFF = math.log(1.1)
"""Gains that are off by less than 10 % are not to blame."""


def find_wrong_gains(examination: Examination) -> Iterator[Finding]:
    """F028, one finding for plain paths of one kind: as many layers, the same activation, the same
    direction, as in the blocks of one model.
    """
    known = examination.worked_out.get(_KEY)
    if known is None:
        known = examination.worked_out[_KEY] = tuple(_gather(_judge_paths(examination)))
    yield from known


def _gather(findings: Iterable[tuple[tuple[object, ...], Finding]]) -> Iterator[Finding]:
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for kind, one in findings:
        groups.setdefault((*kind, one.severity), []).append(one)
    for members in groups.values():
        first = max(members, key=lambda one: abs(math.log(_get_factor(one))))
        places = [place for one in (first, *members) for place in one.places]
        specs: dict[str, list[str]] = {}
        for one in (first, *members):
            for patch in one.patches:
                specs.setdefault(patch.initializer, []).extend(patch.parameters)
        more = f" The same holds of {len(members) - 1} more such paths." if members[1:] else ""
        yield replace(
            first,
            summary=first.summary + more,
            also=tuple(dict.fromkeys(places))[1:],
            patches=tuple(_make_patches(specs)),
        )


def _get_factor(finding: Finding) -> float:
    signal, gradient = (
        float(finding.evidence[name] or 1.0) for name in ("signal_factor", "gradient_factor")
    )
    return max((signal, gradient), key=lambda one: abs(math.log(one)))


def _judge_paths(examination: Examination) -> Iterator[tuple[tuple[object, ...], Finding]]:
    """What distinguishes kinds of paths, and the finding of each path."""
    for path in list_plain_paths(get_anatomy(examination)):
        if len(path) < 2 or any(not one.map.draw.std > 0 for one in path):
            continue
        predicted = predict_drift(path, [one.gain for one in path])
        repaired = predict_drift(path, [one.best for one in path])
        drift = _measure_drift(examination.measurement, path) or predicted
        blamed = _list_blamed(path, drift.worst)
        if (
            blamed
            and abs(drift.worst) >= NOTABLE
            and _explains(predicted, drift)
            and abs(repaired.worst) < PART * abs(predicted.worst)
        ):
            found = _describe(path, blamed, drift, predicted, repaired)
            yield (len(path), blamed[0].activation.name, drift.worst > 0), found


def _explains(predicted: Drift, drift: Drift) -> bool:
    same = predicted.worst * drift.worst > 0
    return same and abs(predicted.worst) >= PART * abs(drift.worst)


def _list_blamed(path: Sequence[PathLayer], drift: float) -> list[PathLayer]:
    """The layers whose gain is off in the direction of the drift, the worst first."""
    off = [one for one in path if one.excess * drift > 0 and abs(one.excess) > OFF]
    return sorted(off, key=lambda one: -round(abs(one.excess), 1))


def _measure_drift(measurement: Measurement | None, path: Sequence[PathLayer]) -> Drift | None:
    """Of that part of the signal in which samples differ, and of gradients."""
    if measurement is None:
        return None
    first, last = (measurement.signals.get(path[place].node) for place in (0, -1))
    if first is None or last is None or not (first.finite and last.finite):
        return None
    sizes = [
        one.rms * (1.0 if one.input_distance is None else one.input_distance)
        for one in (first, last)
    ]
    if not all(sizes):
        return None
    backward = 0.0
    if first.gradient_rms and last.gradient_rms:
        backward = math.log(first.gradient_rms / last.gradient_rms)
    return Drift(math.log(sizes[1] / sizes[0]), backward)


def _describe(
    path: Sequence[PathLayer],
    blamed: Sequence[PathLayer],
    drift: Drift,
    predicted: Drift,
    repaired: Drift,
) -> Finding:
    severity: Severity = "warning" if abs(drift.worst) >= HARMFUL else "note"
    names = tuple(dict.fromkeys(one.map.name for one in blamed))
    worst = blamed[0]
    what = "signal" if abs(drift.forward) >= abs(drift.backward) else "gradient"
    direction = "grows" if drift.worst > 0 else "shrinks"
    rules = list_followed(worst.map.draw, worst.map.fans, FAN_SCHEMES)
    rule = f" ({rules[0].name})" if rules else ""
    return Finding(
        code="F028",
        severity=severity,
        where=names[0],
        also=names[1:],
        summary=(
            f"The gain {worst.gain:.3g}{rule} is not the {worst.best:.3g} that "
            f"{worst.activation.name} needs: over {len(path)} layers without "
            f"normalization what the weights make of the {what} {direction} "
            f"{math.exp(abs(drift.worst)):.3g}-fold."
        ),
        remedy=(
            f"Draw these weights by {', '.join(sorted({_choose_initializer(o) for o in blamed}))}, "
            f"or let fanin.initialize(model, 'auto', …) choose.{_warn_of_limits(worst)}"
        ),
        evidence={
            "gain": worst.gain,
            "expected_gain": worst.best,
            "layers": len(path),
            "signal_factor": math.exp(min(drift.forward, 700)),
            "gradient_factor": math.exp(min(drift.backward, 700)),
            "predicted_signal_factor": math.exp(min(predicted.forward, 700)),
            "signal_factor_with_right_gains": math.exp(min(repaired.forward, 700)),
        },
        patches=tuple(_list_patches(blamed)),
    )


def _list_patches(blamed: Sequence[PathLayer]) -> Iterator[Patch]:
    specs: dict[str, list[str]] = {}
    for one in blamed:
        specs.setdefault(_choose_initializer(one), []).append(one.map.name)
    yield from _make_patches(specs)


def _make_patches(specs: Mapping[str, Sequence[str]]) -> Iterator[Patch]:
    for spec, names in specs.items():
        yield Patch(
            operation="initialize", parameters=tuple(dict.fromkeys(names)), initializer=spec
        )


def _choose_initializer(one: PathLayer) -> str:
    """By the name that people know, where there is one."""
    scale = one.best**2
    if abs(scale - 2) < NEAR:
        return "he_normal"
    if abs(scale - 1) < NEAR:
        return "lecun_normal"
    return f"variance_scaling(scale={scale:.4g}, distribution=normal)"


def _warn_of_limits(one: PathLayer) -> str:
    """Of activations that no gain is right for: neither size nor slope is kept at unit variance."""
    moments = one.activation.compute_moments(1.0)
    if moments.slope2 <= 0 or 0.5 < moments.second / moments.slope2 < 2:
        return ""
    return (
        f" No gain keeps both signal and gradient through {one.activation.name}: choose ReLU or "
        "tanh, or normalize."
    )
