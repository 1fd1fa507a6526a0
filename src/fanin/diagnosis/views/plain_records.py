"""An audit as plain lists and dicts for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fanin._version import __version__
from fanin.diagnosis.finding import SEVERITIES
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.views.conclusion import conclude, find_title
from fanin.diagnosis.views.shown_audit import ShownAudit

SCHEMA = 1
"""Of the record; it changes if an entry is removed or gets another meaning."""


def to_record(audit: ShownAudit) -> dict[str, Any]:
    """Everything that the audit found: JSON values, finite numbers only.

    NaN and the infinities are the texts ``nan``, ``inf`` and ``-inf``, which Python's ``float``
    and JavaScript's ``Number`` (except for ``inf``) read.
    """
    found = audit.findings
    record = {
        "schema": SCHEMA,
        "fanin": __version__,
        "model": audit.model_name,
        "level": audit.level,
        "conclusion": conclude(audit),
        "counts": {word: sum(one.severity == word for one in found) for word in SEVERITIES},
        "findings": [one.to_json() | {"title": find_title(one.code)} for one in found],
        "loss": None if audit.measurement is None else asdict(audit.measurement.loss),
        "layers": [_to_layer(signal) for signal in audit.layers],
        **_describe_pass(audit.measurement),
        "thorough": _describe_thorough(audit),
        "structure": None if audit.structure is None else audit.structure.to_json(),
        "notes": list(audit.notes),
    }
    finite: dict[str, Any] = make_finite(record)
    return finite


def _describe_thorough(audit: ShownAudit) -> dict[str, Any] | None:
    found = getattr(audit, "thorough", None)
    return None if found is None else asdict(found)


def _to_layer(signal: Signal) -> dict[str, Any]:
    return asdict(signal) | {"shape": list(signal.shape), "inputs": list(signal.inputs)}


def _describe_pass(measurement: Measurement | None) -> dict[str, Any]:
    if measurement is None:
        return {"parameters": [], "inputs": {}, "attentions": [], "samples": None}
    return {
        "parameters": [
            asdict(one) | {"gradient_ratio": one.gradient_ratio}
            for one in measurement.parameters.values()
        ],
        "inputs": {name: _to_layer(one) for name, one in measurement.batch_stats.items()},
        "attentions": [asdict(one) for one in measurement.attentions],
        "samples": measurement.samples,
    }


def make_finite(value: Any) -> Any:
    """The value with tuples as lists, and numbers that are not finite as texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): make_finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [make_finite(one) for one in value]
    return value
